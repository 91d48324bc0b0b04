"""From wishes to a running model: what `halflap.load` and `halflap.plan` do."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from attrs import evolve

from halflap import loading, placement, plugins
from halflap.architectures.changes import Changes, Override
from halflap.device.interface import Device
from halflap.device.opening import open_devices
from halflap.engine.engine import Engine
from halflap.engine.runner import Runner
from halflap.engine.speculation import Drafter
from halflap.errors import InvalidRequestError, PlanError
from halflap.events import Progress
from halflap.images import Eyes
from halflap.model import Model
from halflap.placement import Plan, Wishes
from halflap.text.chat import named_templates
from halflap.text.tokenizer import Tokenizer

STAGES = ("file", "tokenizer", "plan", "weights", "ready")
"""Of loading, in order."""


def load(
    model: str | os.PathLike[str],
    /,
    *,
    devices: Sequence[str] | None = None,
    plan: Plan | str | os.PathLike[str] | None = None,
    ctx: int | None = None,
    kv_type: str | tuple[str, str] = "f16",
    kv_rotation: bool | None = None,
    kv_bytes: int | None = None,
    threads: int | None = None,
    overrides: Mapping[str, Override] | None = None,
    skip_layers: Sequence[int] = (),
    split: Sequence[float] = (),
    projector: str | os.PathLike[str] | None = None,
    media_path: str | os.PathLike[str] | None = None,
    adapters: Mapping[str, str | os.PathLike[str]] | None = None,
    taps: Sequence[str] = (),
    draft: str | os.PathLike[str] | None = None,
    policy: str = "first_come",
    deterministic: bool = False,
    isolation: Literal["thread", "process"] = "thread",
    restart: bool = False,
    mmap: bool = True,
    chat_template: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Model:
    """Load a model.

    Args:
        model: a registered name ("starter") or the path of a GGUF file.
        devices: where to run, in order; None: the best backend that is installed. A name given twice is opened twice.
        plan: a placement made before (`halflap plan --save`), instead of the wishes that follow.
        ctx: most tokens of one sequence; None: the model's, or what fits.
        kv_type: storage of K and V: "f32", "f16", "bf16", "q8_0" or "q4_0", or one for each.
        kv_rotation: store K and V after a Hadamard rotation; None: where their type is quantised.
        kv_bytes: pool for all sequences; None: a share of what is free.
        threads: CPU threads; None: one per physical core.
        split: share of the layers per device.
        overrides: metadata to read otherwise than the file has it, such as {"llama.expert_used_count": 4}.
        skip_layers: layers to leave out, counted from 0.
        projector: file of the model's image projector (`mmproj`); chats may then hold images.
        media_path: folder from which messages may name images as `file:` URLs; None: none.
        adapters: LoRA files by name, which requests then choose with `adapters={name: scale}`.
        taps: layers such as "layer.3" whose results `Model.hidden` may ask for.
        draft: who guesses the next tokens, for the model to check several at once: "lookup" (what followed the same
            words before), a plugin's drafter, or a smaller model with the same vocabulary, by name or path.
        policy: who goes first: "first_come", "fair" (between users), or a plugin's.
        deterministic: refuse devices on which an answer may depend on what else runs beside it.
        isolation: "process" has the devices in a process of their own, whose death the host survives.
        restart: start that process again when it dies, and have every request go on from its tokens.
        mmap: read weights in place. False copies the file into memory, which survives the file being cut.
        chat_template: Jinja text, or the name of a built-in template ("chatml", "llama3", …), instead of the file's.
        progress: called before each stage of loading and once at the end, on this thread.

    Raises:
        ModelNotFoundError, ModelFormatError, UnsupportedModelError: the file.
        PlanError, DeviceError: the devices.
    """
    if isolation == "process":
        return _isolated(model, {**locals()})
    named_templates.check(chat_template)
    types = (kv_type, kv_type) if isinstance(kv_type, str) else tuple(kv_type)
    wishes = Wishes(
        devices=tuple(devices or ()),
        split=tuple(split),
        ctx=ctx,
        kv_bytes=kv_bytes,
        kv_type=(types[0], types[-1]),
        kv_rotation=kv_rotation,
        threads=threads,
    )

    changes = Changes(dict(overrides or {}), tuple(skip_layers))

    def report(stage: str) -> None:
        if progress is not None:
            progress(Progress(stage, STAGES.index(stage), len(STAGES) - 1))

    report("file")
    file = loading.open_model(model, mmap=mmap)
    if mmap:
        loading.read_ahead(file)
    opened, owned = [], [file.close]
    try:
        projection = None
        if projector is not None:
            projector_file, projection = loading.open_projection(projector, file, mmap=mmap)
            owned.append(projector_file.close)
            changes = evolve(changes, given_width=projection.width)
        architecture, bank = loading.extended(file, loading.open_architecture(file, changes), adapters or {}, taps)
        graph = architecture.graph
        report("tokenizer")
        tokenizer = loading.open_tokenizer(changes.metadata(file.metadata))
        report("plan")
        if plan is None:
            opened = loading.open_wished(wishes)
            plan = placement.make_plan(file.path.name, architecture.graph, architecture.context, wishes, opened)
            opened += open_devices(plan.devices[len(opened) :])
        else:
            plan = plan if isinstance(plan, Plan) else Plan.read(Path(plan))
            opened = open_devices(plan.devices, {"threads": str(plan.threads)} if plan.threads else {})
        if deterministic:
            _check_row_invariant(opened)
        report("weights")
        eyes = None
        if projection is not None:
            (sees,) = open_devices(plan.devices[:1], {"threads": str(plan.threads)} if plan.threads else {})
            owned.append(sees.close)
            eyes = Eyes(projection, sees, architecture.graph, plan.limits.tokens)
            owned.append(eyes.close)
        ready, weights = plan, ChainMap(dict(bank.weights), loading.weights_of(file))  # type: ignore[arg-type]
        make_drafter = None if draft is None else _drafter(draft, tokenizer, plan, owned)
        engine = Engine(
            lambda: Runner(ready, graph, weights, opened),
            graph.groups,
            plan.limits,
            graph.whole,
            plugins.get("policies", policy)(),
            make_drafter,
            graph.source_groups(),
        )
    except BaseException:
        for device in opened:
            device.close()
        _release(owned)
        raise
    report("ready")
    info, folder = loading.model_info(file, architecture, changes), Path(media_path) if media_path is not None else None
    identity = cache(lambda: loading.identity(file, graph, ready))
    return Model(info, tokenizer, plan, engine, lambda: _release(owned), identity, eyes, folder, bank, chat_template)


def _isolated(model: str | os.PathLike[str], options: dict[str, Any]) -> Model:
    """The same `load` in a child, and a model here that passes everything on to it."""
    from halflap.isolation import Child, IsolatedModel

    for name in ("model", "isolation"):
        del options[name]
    progress, restart = options.pop("progress"), options.pop("restart")
    child = Child(model, options, restart, progress)
    return IsolatedModel(child, load_tokenizer(model, overrides=options["overrides"]))


def plan(
    model: str | os.PathLike[str],
    /,
    *,
    devices: Sequence[str] | None = None,
    split: Sequence[float] = (),
    caps: Sequence[int | None] = (),
    layers: Sequence[int] = (),
    pins: Mapping[str, str] | None = None,
    strict: bool = False,
    ctx: int | None = None,
    kv_type: str | tuple[str, str] = "f16",
    kv_rotation: bool | None = None,
    kv_bytes: int | None = None,
    threads: int | None = None,
    overrides: Mapping[str, Override] | None = None,
    skip_layers: Sequence[int] = (),
    adapters: Mapping[str, str | os.PathLike[str]] | None = None,
    taps: Sequence[str] = (),
) -> Plan:
    """Place a model without loading it; `load(model, plan=…)` then follows the plan.

    Args:
        split: share of the layers per device.
        caps: most bytes per device.
        layers: layers per device, counted from the first.
        pins: tensor name pattern -> device, such as {"*_exps.*": "cpu"}.
        strict: refuse ops that only the reference device could run.
        overrides, skip_layers, adapters, taps: as in `load`.

    Raises:
        PlanError: the wishes contradict each other, or a device lacks memory; says how many bytes.
        UnsupportedOpError: with `strict`.
    """
    types = (kv_type, kv_type) if isinstance(kv_type, str) else tuple(kv_type)
    wishes = Wishes(
        devices=tuple(devices or ()),
        split=tuple(split),
        caps=tuple(caps),
        layers=tuple(layers),
        pins=dict(pins or {}),
        strict=strict,
        ctx=ctx,
        kv_bytes=kv_bytes,
        kv_type=(types[0], types[-1]),
        kv_rotation=kv_rotation,
        threads=threads,
    )
    changes = Changes(dict(overrides or {}), tuple(skip_layers))
    return loading.make_plan(model, wishes, changes, adapters=adapters, taps=taps)


def load_tokenizer(model: str | os.PathLike[str], /, *, overrides: Mapping[str, Override] | None = None) -> Tokenizer:
    """A model file's tokenizer alone; no weight is read."""
    return loading.open_tokenizer(tokenizer_metadata(model, overrides=overrides))


def tokenizer_metadata(
    model: str | os.PathLike[str], /, *, overrides: Mapping[str, Override] | None = None
) -> dict[str, Any]:
    """What a model file says of its tokenizer; `loading.open_tokenizer` makes one of it where the file is not."""
    with loading.open_model(model) as file:
        metadata = Changes(dict(overrides or {})).metadata(file.metadata)
        return {key: metadata[key] for key in metadata if key.startswith("tokenizer.") or key == "general.name"}


def _check_row_invariant(devices: Sequence[Device]) -> None:
    """Raises PlanError if some device's rows depend on what else a step computes."""
    for device in devices:
        if "row_invariant" not in device.info.features:
            raise PlanError(
                f"device {device.info.id!r}",
                got="no feature 'row_invariant'",
                want="it, as deterministic=True asks",
                device=device.info.id,
            )


def _drafter(
    draft: str | os.PathLike[str], tokenizer: Tokenizer, plan: Plan, owned: list[Callable[[], None]]
) -> Callable[[], Drafter]:
    """What makes the drafter on the engine's thread; the files it needs are appended to `owned`.

    Raises:
        InvalidRequestError: a model that cannot draft for this one.
    """
    name = os.fspath(draft)
    if name in plugins.names("drafters"):
        made: Callable[[], Drafter] = plugins.get("drafters", name)
        return made
    from halflap.engine.drafting import ModelDrafter

    file = loading.open_model(draft)
    owned.append(file.close)
    architecture = loading.open_architecture(file)
    graph = architecture.graph
    if loading.open_tokenizer(file.metadata).vocabulary.tokens != tokenizer.vocabulary.tokens:
        raise InvalidRequestError("draft model", got=f"{name!r}, another vocabulary", want="the model's", field="draft")
    if graph.whole or any(group.kind == "slots" for group in graph.groups):
        want = "a model without recurrent state, which could not be taken back"
        raise InvalidRequestError("draft model", got=f"{file.architecture}", want=want, field="draft")
    options = {"threads": str(plan.threads)} if plan.threads else {}
    devices = open_devices(plan.devices[:1], options)
    wishes = Wishes(devices=plan.devices[:1], ctx=min(plan.ctx, architecture.context), threads=plan.threads)
    placed = placement.make_plan(file.path.name, graph, architecture.context, wishes, devices)
    weights = loading.weights_of(file)
    return lambda: ModelDrafter(lambda: Runner(placed, graph, weights, devices), graph.groups, placed.limits)


def _release(owned: Sequence[Callable[[], None]]) -> None:
    """Close what a model owns, last opened first."""
    for close in reversed(owned):
        close()
