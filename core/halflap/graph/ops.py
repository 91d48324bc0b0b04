"""The op table: what each op takes, what it gives, and which attributes it has.

An op's meaning is the numpy function of the same name in `reference.py`. Ops speak LLM, not linear algebra, so that a
device sees whole intentions and fuses what it likes. Plugins add ops through the hook `register_ops`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from attrs import field, frozen

from halflap import plugins
from halflap.errors import ModelFormatError
from halflap.graph.ir import Attribute, Dim, Value

Typed = tuple[str, tuple[Dim, ...]]
Rule = Callable[[Sequence[Value | None], Mapping[str, Any]], list[Typed]]

REQUIRED = object()
MOST_AXES = 4
"""Axes that a step's positions may have: time, height, width, and one to spare."""


@frozen
class Rows:
    """What an op keeps in one layer of a blocks group.

    Attributes:
        k: elements of the K rows that it writes; None: it writes none, or the layer says how many.
        v: those of the V rows.
        written: the op writes rows, and not only reads them.
        prefix: before `group` and `layer`, the attributes that name the layer.
        own: rows of the step's own tokens, which are addressed by their index; else those of a source text.
    """

    k: int | None
    v: int | None
    written: bool
    window: int = 0
    rate: int = 1
    prefix: str = ""
    own: bool = True


@frozen
class Op:
    """One op of the table.

    Attributes:
        inputs: names of the inputs in order; a trailing "?" marks an optional one.
        attributes: name -> default, or REQUIRED; a default's type is the attribute's type.
        rule: shapes and dtypes of the results from those of the inputs; raises through `mismatch`.
        context: the definition takes the step and the state first (halflap.graph.reference.Context).
        definition: the numpy meaning as "module:function"; core's is the function of the same name in reference.py.
        keeps: elements of f32 kept per sequence, from inputs and attributes; the op's layer is of a slots group.
        whole: it must see a whole sequence in one step, for it keeps no state.
        rows: the layers of blocks groups that it uses; without it, its second and third input are K and V rows.
    """

    name: str
    inputs: tuple[str, ...]
    rule: Rule
    attributes: Mapping[str, Any] = field(factory=dict)
    version: int = 1
    context: bool = False
    definition: str = ""
    keeps: Callable[[Sequence[Value | None], Mapping[str, Any]], int] | None = None
    whole: bool = False
    rows: Callable[[Sequence[Value | None], Mapping[str, Any]], tuple[Rows, ...]] | None = None

    def kept_rows(self, inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> tuple[Rows, ...]:
        """The layers of blocks groups that a node of this op uses."""
        if "group" not in self.attributes or self.keeps is not None:
            return ()
        if self.rows is not None:
            return self.rows(inputs, attributes)
        k, v = (row_width(value) for value in inputs[1:3])
        own = not attributes.get("cross", False)
        return (Rows(k, v, k is not None, attributes.get("window", 0), own=own),)

    def meaning(self) -> Callable[..., Any]:
        """The numpy function that defines this op."""
        return _imported(self.definition or f"halflap.graph.reference:{self.name}")

    def complete(self, given: Sequence[bool]) -> bool:
        """Whether every input that is not optional is among those given."""
        return all(there or name.endswith("?") for name, there in zip(self.inputs, given, strict=True))

    def check_attributes(self, given: Mapping[str, Any]) -> dict[str, Attribute]:
        """Defaults filled in, in the table's order."""
        unknown = given.keys() - self.attributes.keys()
        if unknown:
            raise mismatch(self.name, f"attributes {sorted(unknown)}", f"only {sorted(self.attributes)}")
        complete: dict[str, Attribute] = {}
        for name, default in self.attributes.items():
            value = given.get(name, default)
            if value is REQUIRED:
                raise mismatch(self.name, f"no attribute {name!r}", "it to be given")
            complete[name] = value
        return complete


@cache
def _imported(reference: str) -> Callable[..., Any]:
    module, _, function = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


@cache
def find(name: str) -> Op:
    """The op of this name, from core or a plugin.

    Raises:
        NotRegisteredError: nobody registered it.
    """
    op: Op = plugins.get("ops", name)
    return op


def mismatch(op: str, got: str, want: str) -> ModelFormatError:
    return ModelFormatError(f"op {op!r}", got=got, want=want, field=op)


def row_width(value: Value | None) -> int | None:
    """Elements of a value's row; None if it is absent."""
    return int(value.shape[-1]) if value is not None else None


def shown(value: Value | None) -> str:
    return "nothing" if value is None else f"{value.name} {value.dtype}{list(value.shape)}"


def _same(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    first = inputs[0]
    assert first is not None
    return [("f32", first.shape)]


def _embed(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    ids, table, embeds = inputs
    assert ids is not None
    given, column = embeds.shape[1] if embeds is not None else 0, attributes["column"]
    if table is None and embeds is None:
        raise mismatch("embed", "neither table nor embeds", "one of them")
    width = table.shape[1] if table is not None else attributes["width"]
    if not isinstance(width, int) or width < 1:
        raise mismatch("embed", f"width {width}", "at least 1")
    if attributes["blank"] >= 0 and (table is None or embeds is not None or attributes["blank"] >= table.shape[0]):
        raise mismatch("embed", f"blank {attributes['blank']}", "a row of the table, and no embeds")
    if embeds is not None and (not isinstance(given, int) or column < 0 or column + width > given):
        raise mismatch("embed", f"{shown(embeds)} from column {column}", f"{width} columns")
    return [("f32", (*ids.shape, width))]


def _add_positions(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, table = inputs
    assert x is not None
    assert table is not None
    if len(table.shape) != 2 or x.shape != ("T", table.shape[1]):
        raise mismatch("add_positions", f"{shown(x)} with {shown(table)}", "a row of the table for each token")
    if not isinstance(table.shape[0], int) or not -1 <= attributes["row"] < table.shape[0]:
        raise mismatch("add_positions", f"row {attributes['row']} of {shown(table)}", "a row of it, or -1")
    return [("f32", x.shape)]


def _linear(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, weight, bias = inputs
    assert x is not None
    assert weight is not None
    if x.shape[-1] != weight.shape[1]:
        raise mismatch("linear", f"{shown(x)} times {shown(weight)}", "equal last dimensions")
    if bias is not None and bias.shape != (weight.shape[0],):
        raise mismatch("linear", f"bias {shown(bias)}", f"shape [{weight.shape[0]}]")
    return [("f32", (*x.shape[:-1], weight.shape[0]))]


def _group_width(op: str, x: Value, groups: int) -> int:
    width = x.shape[-1]
    if not isinstance(width, int) or groups < 1 or width % groups:
        raise mismatch(op, f"{shown(x)} in {groups} groups", "a width that the groups divide")
    return width // groups


def _rms_norm(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, weight = inputs
    assert x is not None
    width = _group_width("rms_norm", x, attributes["groups"])
    if weight is not None and weight.shape not in ((width,), (attributes["groups"], width)):
        raise mismatch("rms_norm", f"weight {shown(weight)}", f"shape [{width}] or [{attributes['groups']}, {width}]")
    return [("f32", x.shape)]


def _layer_norm(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, *given = inputs
    assert x is not None
    groups = attributes["groups"]
    width = _group_width("layer_norm", x, groups)
    for value in given:
        if value is not None and value.shape not in ((width,), (groups, width)):
            raise mismatch("layer_norm", shown(value), f"shape [{width}], or [{groups}, {width}]")
    return [("f32", x.shape)]


def _rope(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, *factors = inputs
    assert x is not None
    head_dim, pairs, offset = attributes["head_dim"], len(attributes["frequencies"]), attributes["offset"]
    if not isinstance(x.shape[-1], int) or x.shape[-1] % head_dim:
        raise mismatch("rope", shown(x), f"a width that head_dim {head_dim} divides")
    if offset < 0 or not 0 < 2 * pairs <= head_dim - offset:
        raise mismatch("rope", f"{pairs} pairs from element {offset}", f"pairs within {head_dim} elements")
    if attributes["layout"] not in ("interleaved", "half"):
        raise mismatch("rope", f"layout {attributes['layout']!r}", "'interleaved' or 'half'")
    for value in factors:
        if value is not None and value.shape != (pairs,):
            raise mismatch("rope", f"factors {shown(value)}", f"shape [{pairs}]")
    if attributes["every"] < 1:
        raise mismatch("rope", f"every {attributes['every']}", "at least 1")
    axes = attributes["axes"]
    if axes and (len(axes) != pairs or not all(0 <= axis < MOST_AXES for axis in axes)):
        raise mismatch("rope", f"axes {axes}", f"none, or {pairs} from 0 to {MOST_AXES - 1}")
    return [("f32", x.shape)]


def _hadamard(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, block = inputs[0], attributes["block"]
    assert x is not None
    if block < 1 or block & (block - 1):
        raise mismatch("hadamard", f"block {block}", "a power of two")
    if not isinstance(x.shape[-1], int) or x.shape[-1] % block:
        raise mismatch("hadamard", shown(x), f"a width that block {block} divides")
    return [("f32", x.shape)]


def _attention(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    q, k, v, sinks, bias = inputs
    assert q is not None
    heads, kv_heads = attributes["heads"], attributes["kv_heads"]
    head_dim, v_head_dim = attributes["head_dim"], attributes["v_head_dim"]
    if kv_heads < 1 or heads % kv_heads:
        raise mismatch("attention", f"{heads} heads over {kv_heads} KV heads", "a whole number of heads per KV head")
    for value, width in ((q, heads * head_dim), (k, kv_heads * head_dim), (v, kv_heads * v_head_dim)):
        if value is not None and value.shape[-1] != width:
            raise mismatch("attention", shown(value), f"width {width}")
    if sinks is not None and sinks.shape != (heads,):
        raise mismatch("attention", f"sinks {shown(sinks)}", f"shape [{heads}]")
    if attributes["window_kind"] not in ("sliding", "chunked"):
        raise mismatch("attention", f"window_kind {attributes['window_kind']!r}", "'sliding' or 'chunked'")
    check_buckets("attention", bias, attributes["buckets"], heads)
    if attributes["slopes"] and len(attributes["slopes"]) != heads:
        raise mismatch("attention", f"{len(attributes['slopes'])} slopes", f"none, or {heads}")
    own = [value for value in (k, v, bias) if value is not None]
    if attributes["cross"] and (own or attributes["window"] or attributes["slopes"]):
        raise mismatch("attention", "cross with k, v, a window, a bias or slopes", "q and sinks alone")
    return [("f32", (*q.shape[:-1], heads * v_head_dim))]


def check_buckets(op: str, bias: Value | None, buckets: tuple[int, ...], heads: int) -> None:
    """Raises ModelFormatError unless a bias by distance has its buckets, an odd number, and a row for each."""
    if (bias is None) != (not buckets) or (buckets and len(buckets) % 2 == 0):
        raise mismatch(op, f"{len(buckets)} buckets with {shown(bias)}", "bias and an odd number, or none")
    if bias is not None and (bias.shape[1:] != (heads,) or not all(0 <= b < int(bias.shape[0]) for b in buckets)):
        raise mismatch(op, shown(bias), f"a row of {heads} numbers for each bucket")


def _broadcast(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    a, b = inputs
    assert a is not None
    assert b is not None
    if b.shape not in (a.shape, a.shape[-1:], (*a.shape[:-1], 1), (1,)):
        raise mismatch("add or mul", f"{shown(a)} with {shown(b)}", "equal shapes, one row, one column or one number")
    return [("f32", a.shape)]


def _glu(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    gate, up = inputs
    assert gate is not None
    if up is None:
        return [("f32", (*gate.shape[:-1], _group_width("glu", gate, 2)))]
    if gate.shape != up.shape:
        raise mismatch("glu", f"{shown(gate)} with {shown(up)}", "equal shapes")
    return [("f32", gate.shape)]


def _take(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, rows = inputs
    assert x is not None
    assert rows is not None
    return [(x.dtype, (*rows.shape, *x.shape[1:]))]


def _split(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    (x,) = inputs
    assert x is not None
    sizes, groups = attributes["sizes"], attributes["groups"]
    if not sizes or min(sizes) < 1 or groups < 1 or x.shape[-1] != groups * sum(sizes):
        raise mismatch("split", f"{shown(x)} into {groups} times {list(sizes)}", "sizes that add up to its width")
    return [("f32", (*x.shape[:-1], groups * size)) for size in sizes]


def _grouped_linear(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, weight = inputs
    assert x is not None
    assert weight is not None
    groups = attributes["groups"]
    width = _group_width("grouped_linear", x, groups)
    if len(weight.shape) != 2 or weight.shape[1] != width or int(weight.shape[0]) % groups:
        raise mismatch("grouped_linear", f"{shown(x)} times {shown(weight)}", f"{groups} matrices of width {width}")
    return [("f32", (*x.shape[:-1], weight.shape[0]))]


def _route(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    logits, bias, scales, ids, table = inputs
    assert logits is not None
    experts, used = logits.shape[-1], attributes["used"]
    groups, groups_used = attributes["groups"], attributes["groups_used"]
    size = _group_width("route", logits, groups)
    if not 0 < groups_used <= groups or not 0 < attributes["group_best"] <= size:
        raise mismatch("route", f"{groups_used} of {groups} groups", "at least one, at most all")
    if not 0 < used <= groups_used * size:
        raise mismatch("route", f"{used} experts used of {groups_used * size}", "at least one, at most all")
    for value in (bias, scales):
        if value is not None and value.shape not in ((experts,), (1, experts)):
            raise mismatch("route", shown(value), f"shape [{experts}]")
    if (ids is None) != (table is None):
        raise mismatch("route", f"{shown(ids)} and {shown(table)}", "both or neither")
    if ids is not None and table is not None and (ids.shape != logits.shape[:-1] or table.shape[1:] != (used,)):
        raise mismatch("route", f"{shown(ids)} and {shown(table)}", f"an id of each row, and {used} experts of each id")
    return [("i32", (*logits.shape[:-1], used)), ("f32", (*logits.shape[:-1], used))]


def _moe(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, ids, weights, gate, up, down, *biases = inputs
    assert x is not None
    assert ids is not None
    assert weights is not None
    assert up is not None
    assert down is not None
    n, (experts, rows), hidden = x.shape[-1], up.shape[:2], down.shape[-1]
    allowed = (hidden,) if gate is not None else (hidden, 2 * int(hidden))
    if up.shape[2] != n or rows not in allowed or down.shape != (experts, n, hidden):
        raise mismatch("moe", f"{shown(up)}, {shown(down)}", f"(E, F, {n}), (E, {n}, F); without gate F may be doubled")
    if gate is not None and gate.shape != up.shape:
        raise mismatch("moe", f"{shown(gate)}, {shown(up)}", "equal shapes")
    for bias, width in zip(biases, (rows, rows, n), strict=True):
        if bias is not None and bias.shape != (experts, width):
            raise mismatch("moe", f"bias {shown(bias)}", f"shape [{experts}, {width}]")
    return [("f32", x.shape)]


TABLE = (
    # Token ids read rows of the table, times `scale`; an id of -1-j is row j of `embeds`, from `column` on. Without a
    # table, token ids read as zeros and `width` says how many; without embeds, ids below 0 read row `blank`, if any.
    Op("embed", ("ids", "table?", "embeds?"), _embed, {"scale": 1.0, "column": 0, "width": 0, "blank": -1}),
    # A table's row for each token: that of its index, or the same `row` for all.
    Op("add_positions", ("x", "table"), _add_positions, {"row": -1}, context=True),
    Op("linear", ("x", "weight", "bias?"), _linear),
    # Each of `groups` equal parts of a row times a matrix of its own; these lie one below the other in `weight`.
    Op("grouped_linear", ("x", "weight"), _grouped_linear, {"groups": REQUIRED}),
    Op("rms_norm", ("x", "weight?"), _rms_norm, {"eps": REQUIRED, "groups": 1}),
    Op("layer_norm", ("x", "weight?", "bias?"), _layer_norm, {"eps": REQUIRED, "groups": 1}),
    Op(
        "rope",
        ("x", "factors?", "long_factors?"),
        _rope,
        {
            "head_dim": REQUIRED,
            "frequencies": REQUIRED,  # radians per position of each rotated pair, every scaling rule applied
            "layout": REQUIRED,  # "interleaved": pairs (2i, 2i+1); "half": pairs (i, i + rotated/2)
            "magnitude": 1.0,  # multiplies the rotated dimensions (YaRN's attention factor)
            "offset": 0,  # elements of each head that lie before the rotated ones
            "long_from": 0,  # long_factors take the place of factors where the limits allow more context than this
            "axes": (),  # which of the step's position axes turns each pair (M-RoPE); none: the first turns all
            "every": 1,  # positions are rounded down to a multiple of this
        },
        context=True,
    ),
    Op("hadamard", ("x",), _hadamard, {"block": REQUIRED}),
    Op(
        "attention",
        ("q", "k?", "v?", "sinks?", "bias?"),
        _attention,
        {
            "heads": REQUIRED,
            "kv_heads": REQUIRED,
            "head_dim": REQUIRED,
            "v_head_dim": REQUIRED,
            "scale": REQUIRED,
            "group": REQUIRED,
            "layer": REQUIRED,
            "window": 0,  # 0: all earlier tokens; w: the newest w, itself included
            "window_kind": "sliding",  # "chunked": earlier tokens of the same stretch of w, counted from position 0
            "softcap": 0.0,
            "spans": False,  # tokens also see the later ones of their span (Step.span_end): images
            # Which row of `bias` is added to the scores, for a key this far behind its query: from -r to r, where the
            # first and the last also serve what is further away (T5's relative positions).
            "buckets": (),
            "slopes": (),  # per head: a score falls by this for each token that its key is further behind (ALiBi)
            "cross": False,  # tokens see all rows there are: those of the sequence's source text
        },
        context=True,
    ),
    # Without `up` a row holds the gate and then what it gates. A limit above 0 caps the gate and clamps `up` to ±limit.
    Op("glu", ("gate", "up?"), _glu, {"activation": "silu", "limit": 0.0}),
    Op("activate", ("x",), _same, {"activation": REQUIRED}),
    Op("add", ("a", "b"), _broadcast),
    Op("mul", ("a", "b"), _broadcast),
    Op("scale", ("x",), _same, {"factor": REQUIRED}),
    Op("softcap", ("x",), _same, {"cap": REQUIRED}),
    Op("position_scale", ("x",), _same, {"beta": REQUIRED, "period": REQUIRED, "offset": 0}, context=True),
    Op("take", ("x", "rows"), _take),
    Op("split", ("x",), _split, {"sizes": REQUIRED, "groups": 1}),
    Op(
        "route",
        ("logits", "bias?", "scales?", "ids?", "table?"),
        _route,
        {
            "used": REQUIRED,
            "gating": "softmax",
            "normalize": False,
            "scale": 1.0,
            "groups": 1,  # neighbouring experts form groups; only the best groups may be chosen from
            "groups_used": 1,
            "group_best": 1,  # how many of its experts a group is judged by: the sum of their scores
        },
    ),
    # Without `gate`, an `up` twice as tall as `down` is wide holds the gate's rows and then its own.
    Op(
        "moe",
        ("x", "ids", "weights", "gate?", "up", "down", "gate_bias?", "up_bias?", "down_bias?"),
        _moe,
        {"activation": "silu", "limit": 0.0, "weigh_input": False},  # weigh_input: shares multiply x, not the result
    ),
)
