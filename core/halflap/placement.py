"""Which device runs what, decided and shown before anything is allocated."""

from __future__ import annotations

import fnmatch
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, field, frozen

from halflap.device.conversion import stand_ins
from halflap.device.interface import Device
from halflap.device.opening import open_devices
from halflap.errors import PlanError, UnsupportedOpError
from halflap.graph.ir import BLOCK_TOKENS, Graph, StateGroup, Value
from halflap.graph.passes import Stage, retype, rotate_kv, split
from halflap.graph.step import Limits

STEP_TOKENS = 512
SEQUENCES = 16
ROWS = 32
STATES = 3
"""Of recurrent state and of windows, for each sequence: its own, and what later ones may resume with."""
POOL_SHARE = 0.25
"""Of the memory that is left after the weights, how much the default KV pool may take."""


@frozen
class Wishes:
    """What the user asked of placement; everything is optional.

    Attributes:
        devices: names in order; a name given twice is opened twice.
        split: share of the layers per device.
        caps: bytes per device that must not be passed.
        layers: layers per device, counted from the first.
        pins: tensor name pattern -> device name, such as {"*_exps.*": "cpu"}.
        strict: refuse ops that only the reference device could run.
        kv_rotation: store K and V after a Hadamard rotation; None: where their type is quantised.
    """

    devices: tuple[str, ...] = ()
    split: tuple[float, ...] = ()
    caps: tuple[int | None, ...] = ()
    layers: tuple[int, ...] = ()
    pins: Mapping[str, str] = {}
    strict: bool = False
    ctx: int | None = None
    kv_bytes: int | None = None
    kv_type: tuple[str, str] = ("f16", "f16")
    kv_rotation: bool | None = None
    threads: int | None = None

    @property
    def rotates(self) -> bool:
        """Whether K and V are stored rotated: as wished, else where they are quantised."""
        return any(kind.startswith("q") for kind in self.kv_type) if self.kv_rotation is None else self.kv_rotation


@frozen
class Placed:
    """One device of a plan and the bytes it will hold.

    Attributes:
        weights: packed form -> bytes; "in place" is the file's own mapping, "Q9_X as F16" what is converted.
        state: bytes of KV blocks and slots.
        slots: those of the slots among them: recurrent state, one slot per sequence.
        free: bytes the device had when the plan was made.
        stand_ins: weight type that the device lacks -> what it is converted to.
    """

    device: str
    about: str
    segments: tuple[str, ...]
    weights: Mapping[str, int]
    state: int
    scratch: int
    free: int
    stand_ins: Mapping[str, str] = field(factory=dict)
    slots: int = 0

    @property
    def total(self) -> int:
        return sum(self.weights.values()) + self.state + self.scratch


@frozen
class Plan:
    """A finished placement: data, printable, and enough to load the same way again.

    Attributes:
        ctx: most tokens of one sequence.
        kv_tokens: tokens that all sequences together may keep.
        kv_bytes: bytes of the pool behind them, over all devices.
        nodes: for each op of the graph, the index of its device.
        notes: what the user should know (ops on the reference device, a context that was shrunk).
    """

    model: str
    devices: tuple[str, ...]
    placed: tuple[Placed, ...]
    ctx: int
    kv_tokens: int
    kv_bytes: int
    kv_type: tuple[str, str]
    kv_rotation: bool
    limits: Limits
    nodes: tuple[int, ...]
    threads: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def sequences_at_full_length(self) -> int:
        return self.kv_tokens // self.ctx

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sequences_at_full_length": self.sequences_at_full_length}

    def save(self, path: str | Path) -> None:
        """Write the plan for `load(plan=…)`.

        Raises:
            PlanError: the file cannot be written.
        """
        try:
            Path(path).write_text(json.dumps(self.to_dict(), indent=1))
        except OSError as cause:
            raise PlanError(
                f"plan file {str(path)!r}", got=cause.strerror or cause, want="a path that can be written"
            ) from cause

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """A plan that `save` wrote.

        Raises:
            PlanError: the file is not one.
        """
        try:
            data = json.loads(Path(path).read_text())
            data.pop("sequences_at_full_length")
            limits = {**data.pop("limits")}
            limits["kv_types"] = tuple(limits["kv_types"])
            placed = tuple(Placed(**{**p, "segments": tuple(p["segments"])}) for p in data.pop("placed"))
            for key in ("devices", "nodes", "notes", "kv_type"):
                data[key] = tuple(data[key])
            return cls(**data, limits=Limits(**limits), placed=placed)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as cause:
            raise PlanError(
                f"plan file {str(path)!r}",
                got=f"{type(cause).__name__}: {cause}",
                want="a saved plan",
                fix="Make one with `halflap plan MODEL --save FILE`.",
            ) from cause

    def stages(self, graph: Graph) -> list[Stage]:
        graph = rotate_kv(graph) if self.kv_rotation else graph
        if len(self.nodes) != sum(1 for _ in graph.nodes()):
            raise PlanError(
                "plan",
                got=f"{len(self.nodes)} ops",
                want="a plan made for this model",
                fix="Make a new one with `halflap plan`.",
            )
        return _stages(graph, self.nodes, [placed.stand_ins for placed in self.placed])


def make_plan(model: str, graph: Graph, context: int, wishes: Wishes, devices: Sequence[Device]) -> Plan:
    """Place a graph on open devices.

    Args:
        model: name shown in the plan.
        context: tokens the model was trained for.

    Raises:
        PlanError: a wish contradicts another, or some device lacks memory; says how many bytes.
        UnsupportedOpError: with `strict`, an op that no wished device runs.
    """
    _check_wishes(wishes, len(devices))
    graph = rotate_kv(graph) if wishes.rotates else graph
    nodes, notes, everyone = _assign(graph, wishes, devices)
    ctx = min(wishes.ctx or context, 1 << 24)
    if wishes.ctx and wishes.ctx > context:
        notes.append(f"context {wishes.ctx} is longer than the {context} tokens the model was trained for")
    slots = SEQUENCES * STATES
    while True:
        plan = _sized(model, graph, nodes, everyone, wishes, ctx, slots, notes)
        lacking = _lacking(plan, wishes)
        if not lacking:
            return plan
        fixed, recurrent = wishes.ctx is not None or ctx <= 512, sum(placed.slots for placed in plan.placed)
        if recurrent and slots > 1 and (fixed or recurrent > plan.kv_bytes):  # the larger of the two gives way
            slots //= 2
            if slots < SEQUENCES:
                notes = [n for n in notes if "at once" not in n]
                notes.append(f"{slots} sequences at once, so that their state fits")
            continue
        if fixed:
            raise lacking
        ctx = max(512, ctx // 2)  # the context gives way last: weights cannot
        notes = [n for n in notes if "shrunk" not in n] + [f"context shrunk from {context} to {ctx} tokens to fit"]


def parse_numbers(option: str, text: str, count: int | None = None) -> tuple[float, ...]:
    """Numbers between commas, strictly: "63,37".

    Raises:
        PlanError: names the first character that cannot stand there.
    """
    for place, char in enumerate(text):
        if char not in "0123456789.,":
            raise PlanError(option, got=f"{char!r} at character {place + 1}", want="digits, '.' and ','", char=place)
    parts = text.split(",")
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        bad = next(i for i, part in enumerate(parts) if not _is_number(part))
        place = sum(len(part) + 1 for part in parts[:bad])
        raise PlanError(option, got=f"{text!r}", want="a number between commas", char=place) from None
    if count is not None and len(numbers) != count:
        place = len(",".join(parts[:count]))  # of the comma too many, or the end
        many = len(numbers) > count
        got = f"{len(numbers)} {f'with character {place + 1}' if many else f'up to character {len(text)}'}"
        raise PlanError(option, got=got, want=f"{count}, one per device", char=place)
    if not math.fsum(numbers) > 0:
        raise PlanError(option, got=text, want="at least one number above 0", char=0)
    return numbers


def parse_integers(option: str, text: str, count: int | None = None) -> tuple[int, ...]:
    """Whole numbers between commas, strictly.

    Raises:
        PlanError: names the first character that cannot stand there.
    """
    if "." in text:
        place = text.index(".")
        raise PlanError(option, got=f"'.' at character {place + 1}", want="digits and ','", char=place)
    return tuple(int(number) for number in parse_numbers(option, text, count))


def _is_number(text: str) -> bool:
    return text.count(".") <= 1 and any(c.isdigit() for c in text)


def _check_wishes(wishes: Wishes, count: int) -> None:
    for option, given in (("split", wishes.split), ("caps", wishes.caps), ("layers", wishes.layers)):
        if given and len(given) != count:
            raise PlanError(option, got=f"{len(given)} entries", want=f"{count}, one per device")
    if wishes.split and (min(wishes.split) < 0 or not sum(wishes.split) > 0):
        raise PlanError("split", got=wishes.split, want="shares of at least 0 and one above")
    if wishes.ctx is not None and wishes.ctx < 1:
        raise PlanError("ctx", got=wishes.ctx, want="at least 1 token")
    for kind in wishes.kv_type:
        if kind not in ("f32", "f16", "bf16", "q8_0", "q4_0"):
            raise PlanError("kv_type", got=repr(kind), want="one of 'f32', 'f16', 'bf16', 'q8_0', 'q4_0'")


def _assign(graph: Graph, wishes: Wishes, devices: Sequence[Device]) -> tuple[tuple[int, ...], list[str], list[Device]]:
    """A device for each node; the reference device joins at the end if some op needs it."""
    by_segment = _segments_to_devices(graph, wishes, devices)
    names = [device.info.id for device in devices]
    pins = {pattern: _device_index(name, names) for pattern, name in wishes.pins.items()}
    everyone, nodes, notes = list(devices), [], []
    # The graph as each device would have it.
    read = [retype(graph, stand_ins(graph, device.info)) for device in devices]
    for segment, wished in zip(graph.segments, by_segment, strict=True):
        for node in segment.nodes:
            index = wished
            for pattern, pinned in pins.items():
                if any(fnmatch.fnmatch(name, pattern) for name in node.inputs):
                    index = pinned
            reasons = []
            for candidate in [index, *(i for i in range(len(everyone)) if i != index)]:
                reason = everyone[candidate].supports(node, read[candidate])
                if reason is None:
                    break
                reasons.append(f"{everyone[candidate].info.id}: {reason}")
            else:
                if wishes.strict:
                    raise UnsupportedOpError(
                        f"op {node.op!r}", got="; ".join(reasons), want="a device that runs it", op=node.op
                    )
                everyone += open_devices(["reference"])
                read.append(graph)
                candidate = len(everyone) - 1
            if candidate != index:
                note = f"{node.op} of {segment.name} runs on {everyone[candidate].info.id}: {reasons[0]}"
                notes.append(note)
            nodes.append(candidate)
    return tuple(nodes), notes, everyone


def _segments_to_devices(graph: Graph, wishes: Wishes, devices: Sequence[Device]) -> list[int]:
    """Layers in order over the devices: by count, by share, or by free memory; the head goes with the last layer."""
    names = [segment.name for segment in graph.segments]
    layers = [name for name in names if name.startswith("layer.") and not name.endswith(".rows")]
    if wishes.layers:
        counts = list(wishes.layers)
        if sum(counts) != len(layers):
            raise PlanError("layers", got=f"{sum(counts)} in all", want=f"{len(layers)}, as many as the model has")
    else:
        shares = wishes.split or [min(d.info.memory_free, d.info.largest_allocation) for d in devices]
        edges = [round(len(layers) * math.fsum(shares[: i + 1]) / math.fsum(shares)) for i in range(len(shares))]
        counts = [edge - before for edge, before in zip(edges, [0, *edges], strict=False)]
    owners = [device for device, count in enumerate(counts) for _ in range(count)]
    place = dict(zip(layers, owners, strict=True))
    result = []
    current = owners[0] if owners else 0
    for name in names:
        current = place.get(name, current)
        result.append(place.get(name.removesuffix(".rows"), current))  # "layer.3.rows": what layer 3 will read
    return result


def _device_index(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise PlanError("pinned device", got=repr(name), want=f"one of {list(names)}", device=name)
    return names.index(name)


def _sized(
    model: str,
    graph: Graph,
    nodes: tuple[int, ...],
    devices: Sequence[Device],
    wishes: Wishes,
    ctx: int,
    slots: int,
    notes: list[str],
) -> Plan:
    """The plan for one context length and count of slots, with the pool as large as wished or as memory allows."""
    instead = [stand_ins(graph, device.info) for device in devices]
    stages = _stages(graph, nodes, instead)
    one = _limits(graph, ctx, ctx, slots, wishes)
    single = [_placed(graph, i, device, stages, one) for i, device in enumerate(devices)]
    growing = [p.state - p.slots for p in single]  # with the tokens kept; slots grow with the sequences only
    state = sum(growing)
    if wishes.kv_bytes is not None:
        tokens = wishes.kv_bytes * ctx // max(state, 1)
        if tokens < BLOCK_TOKENS:
            raise PlanError("kv_bytes", got=wishes.kv_bytes, want=f"at least {state * BLOCK_TOKENS // ctx + 1}")
        ctx = min(ctx, tokens)
    else:
        rooms = [(p.free - p.total + size) / size for p, size in zip(single, growing, strict=True) if size]
        tokens = int(ctx * min(max(min(rooms, default=math.inf) * POOL_SHARE, 1), SEQUENCES))
    limits = _limits(graph, ctx, max(tokens, ctx), slots, wishes)
    placed = tuple(_placed(graph, i, device, stages, limits) for i, device in enumerate(devices))
    return Plan(
        model=model,
        devices=tuple(d.info.id for d in devices),
        placed=placed,
        ctx=ctx,
        kv_tokens=max(tokens, ctx),
        kv_bytes=sum(p.state - p.slots for p in placed),
        kv_type=wishes.kv_type,
        kv_rotation=wishes.rotates,
        limits=limits,
        nodes=nodes,
        threads=wishes.threads,
        notes=tuple(dict.fromkeys(notes)),
    )


def _limits(graph: Graph, ctx: int, tokens: int, slots: int, wishes: Wishes) -> Limits:
    step = max(STEP_TOKENS, ctx) if graph.whole or graph.source_groups() else min(STEP_TOKENS, ctx)
    blocks = {}
    for group in (g for g in graph.groups if g.kind == "blocks"):
        sequences = SEQUENCES * STATES if group.window else SEQUENCES
        blocks[group.name] = min(-(-tokens // group.block_tokens), sequences * most_blocks(group, tokens, step))
    pools = {group.name: slots for group in graph.groups if group.kind == "slots"}
    rows = step if graph.whole else ROWS  # a sequence that is not cut has all of its wanted rows in one step
    return Limits(step, SEQUENCES, rows, ctx, blocks, wishes.kv_type, slots=pools)


def most_blocks(group: StateGroup, length: int, step_tokens: int) -> int:
    """Blocks of a group that one sequence of this length holds at once: of a window and a step, one cut at each end."""
    full = -(-length // group.block_tokens)
    return min(full, -(-(group.window + step_tokens) // group.block_tokens) + 1) if group.window else full


def _stages(graph: Graph, nodes: Sequence[int], instead: Sequence[Mapping[str, str]]) -> list[Stage]:
    """The graph cut by device, each stage with the weight types that its device packs."""
    return [evolve(stage, graph=retype(stage.graph, instead[stage.device])) for stage in split(graph, nodes)]


def _placed(graph: Graph, index: int, device: Device, stages: Sequence[Stage], limits: Limits) -> Placed:
    info = device.info
    mine = [stage for stage in stages if stage.device == index]
    reports = [device.estimate(stage.graph, limits) for stage in mine]
    held = weights_of(stages, index)
    weights = Counter(device.estimate(held, limits).weights)
    replaced: dict[str, str] = {}
    for was, now, alone in _converted(graph, held):
        replaced[was] = now
        forms = device.estimate(alone, limits).weights
        weights.subtract(forms)
        weights[f"{was} as {now}"] += sum(forms.values())
    return Placed(
        device=info.id,
        about=info.about,
        segments=tuple(s.name for stage in mine for s in stage.graph.segments),
        weights={form: size for form, size in weights.items() if size},
        state=max((r.state for r in reports), default=0),
        scratch=sum(r.scratch for r in reports),
        free=info.memory_free,
        stand_ins=replaced,
        slots=max((_slot_bytes(device, stage.graph, limits) for stage in mine), default=0),
    )


def weights_of(stages: Sequence[Stage], device: int) -> Graph:
    """A graph of nothing but the weights that a device holds, each once however many of its stages read it."""
    mine = [stage.graph for stage in stages if stage.device == device]
    return Graph("weights", {name: graph.values[name] for graph in mine for name in graph.weights()}, (), ())


def _slot_bytes(device: Device, graph: Graph, limits: Limits) -> int:
    groups = tuple(group for group in graph.groups if group.kind == "slots")
    return device.estimate(Graph("slots", {}, (), (), groups), limits).state if groups else 0


def _converted(graph: Graph, stage: Graph) -> Iterator[tuple[str, str, Graph]]:
    """For each type that the stage has converted: its name, the new one, and a graph of these weights alone."""
    by_type: dict[tuple[str, str], dict[str, Value]] = {}
    for name in stage.weights():
        was, value = graph.values[name].dtype, stage.values[name]
        if was != value.dtype:
            by_type.setdefault((was, value.dtype), {})[name] = value
    for (was, now), values in by_type.items():
        yield was, now, Graph("weights", values, (), ())


def _lacking(plan: Plan, wishes: Wishes) -> PlanError | None:
    for index, placed in enumerate(plan.placed):
        cap = wishes.caps[index] if index < len(wishes.caps) else None
        # A mapped file costs page cache, which the system gives back; only what is allocated must be free.
        needed = placed.total if cap is not None else placed.total - placed.weights.get("in place", 0)
        room = placed.free if cap is None else min(cap, placed.free)
        if needed > room:
            return PlanError(
                f"memory of device {placed.device!r}",
                got=f"{room:,} bytes",
                want=f"{needed:,}",
                fix=f"It lacks {needed - room:,} bytes: fewer layers, a shorter ctx or a smaller kv_type would help.",
                device=placed.device,
                missing=needed - room,
            )
    return None
