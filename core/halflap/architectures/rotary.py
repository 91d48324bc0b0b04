"""Rotary frequencies of every scaling rule, worked out once when the graph is built."""

from __future__ import annotations

import math

from attrs import frozen

from halflap.architectures.keys import Keys
from halflap.errors import ModelFormatError

MOST_ROTATED = 1 << 16


@frozen
class Rotary:
    """What the op `rope` needs.

    Attributes:
        frequencies: radians per position of each pair.
        magnitude: factor on the rotated dimensions.
        axes: position axis of each pair; none: the first turns all.
    """

    frequencies: tuple[float, ...]
    magnitude: float = 1.0
    axes: tuple[int, ...] = ()


def plain(rotated: int, base: float, factor: float = 1.0) -> Rotary:
    """Su et al. 2021: base^(-2i/d); a linear scaling factor divides every frequency.

    Raises:
        ModelFormatError: more elements turn than any head has.
    """
    if rotated > MOST_ROTATED:
        raise ModelFormatError("rotary", got=f"{rotated} elements", want=f"at most {MOST_ROTATED}", field="rope")
    return Rotary(tuple(base ** (-2 * i / rotated) / factor for i in range(rotated // 2)))


def yarn(keys: Keys, rotated: int, base: float, *, truncate: bool = True) -> Rotary:
    """Peng et al. 2023 (YaRN): pairs that turn often keep their frequency, slow ones are interpolated, a ramp between.

    Keys, all below rope.scaling: factor, original_context_length, yarn_beta_fast, yarn_beta_slow, attn_factor,
    yarn_log_multiplier.

    Args:
        truncate: the ramp begins and ends at whole pairs.
    """
    factor = keys.positive("rope.scaling.factor")
    original = keys.integer("rope.scaling.original_context_length", keys.integer("context_length", least=1), least=1)

    if base == 1:
        raise keys.refuse("rope.freq_base", "1", "another one: pairs that all turn alike have no ramp")

    def pair_turning(turns: float) -> float:
        """Which pair makes this many turns over the original context."""
        return rotated * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = pair_turning(keys.positive("rope.scaling.yarn_beta_fast", 32.0))
    high = pair_turning(keys.positive("rope.scaling.yarn_beta_slow", 1.0))
    low, high = max(math.floor(low) if truncate else low, 0), min(math.ceil(high) if truncate else high, rotated - 1)
    span = high - low or 0.001
    mixed = []
    for i, full in enumerate(plain(rotated, base).frequencies):
        interpolated = min(max((i - low) / span, 0.0), 1.0)
        mixed.append(full / factor * interpolated + full * (1 - interpolated))
    growth = math.log(factor) if factor > 1 else 0.0
    # The file's multiplier says how much of the growth the model's own attention scale undoes.
    undone = 1 + 0.1 * keys.number("rope.scaling.yarn_log_multiplier", 0.0) * growth
    return Rotary(tuple(mixed), keys.positive("rope.scaling.attn_factor", 1.0) * (1 + 0.1 * growth) / undone)


def read(keys: Keys, rotated: int, default_base: float = 10000.0, *, truncate: bool = True) -> Rotary:
    """The rotary of a model file: `rope.freq_base` and `rope.scaling.*`.

    Raises:
        UnsupportedModelError: a scaling rule that is not known here.
    """
    base = keys.positive("rope.freq_base", default_base)
    rule = keys.text("rope.scaling.type", "none")
    if rule == "yarn":
        return yarn(keys, rotated, base, truncate=truncate)
    if rule == "linear":
        return plain(rotated, base, keys.positive("rope.scaling.factor"))
    if rule in ("none", "longrope"):  # longrope's factors come as tensors, as llama3's do
        magnitude = keys.positive("rope.scaling.attn_factor", 1.0)
        return Rotary(plain(rotated, base, keys.positive("rope.scale_linear", 1.0)).frequencies, magnitude)
    raise keys.refuse("rope scaling", rule, "'none', 'linear', 'longrope' or 'yarn' (llama3's comes as a tensor)")


def interleaved_axes(keys: Keys, rotated: int) -> tuple[int, ...]:
    """Interleaved M-RoPE: pairs take time, height, width in turn, height and width as often as their section says.

    Raises:
        ModelFormatError: `rope.dimension_sections` is no list of at least three numbers.
    """
    sections = keys.integers("rope.dimension_sections", 3)
    return tuple(i % 3 if i % 3 and i < 3 * sections[i % 3] else 0 for i in range(rotated // 2))
