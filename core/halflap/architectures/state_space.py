"""The Mamba 2 mixer that several architectures have in their layers: dimensions, weights, graph."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures.keys import Keys, Shape
from halflap.errors import ModelFormatError
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Value

GROUP = "recurrent"
"""State group of every architecture's slots."""


@frozen
class StateSpace:
    """Dimensions of one mixer.

    Attributes:
        inner: channels of x and of the result.
        state: elements of the state per channel.
        heads: parts of the channels, each with one time step.
        groups: sets of heads that share b and c.
        taps: of the convolution.
    """

    inner: int
    state: int
    heads: int
    groups: int
    taps: int

    @classmethod
    def read(cls, keys: Keys) -> StateSpace:
        found = cls(
            inner=keys.integer("ssm.inner_size", least=1),
            state=keys.integer("ssm.state_size", least=1),
            heads=keys.integer("ssm.time_step_rank", least=1),
            groups=keys.integer("ssm.group_count", 1, least=1),
            taps=keys.integer("ssm.conv_kernel", least=2),
        )
        if found.inner % found.heads or found.heads % found.groups:
            raise ModelFormatError(
                f"metadata '{keys.architecture}.ssm'", field="ssm.time_step_rank",
                got=f"{found.inner} channels, {found.heads} heads, {found.groups} groups",
                want="each a multiple of the next",
            )  # fmt: skip
        return found

    @property
    def mixed(self) -> int:
        """Channels that go through the convolution: x, b and c."""
        return self.inner + 2 * self.groups * self.state

    def weights(self, block: str, width: int) -> Iterator[tuple[str, Shape]]:
        yield block + "ssm_in.weight", (self.inner + self.mixed + self.heads, width)
        yield block + "ssm_conv1d.weight", (self.mixed, self.taps)
        yield block + "ssm_conv1d.bias?", (self.mixed,)
        yield block + "ssm_dt.bias", (self.heads,)
        yield block + "ssm_a", (self.heads, 1)
        yield block + "ssm_d", (self.heads, 1)
        yield block + "ssm_norm.weight?", (self.groups, self.inner // self.groups)
        yield block + "ssm_out.weight", (width, self.inner)

    def build(self, g: GraphBuilder, block: str, h: Value, eps: float) -> Value:
        """What the mixer makes of normed rows h (T, width)."""
        z, mixed, dt = g.split(
            g.linear(h, g.weight(block + "ssm_in.weight")), sizes=(self.inner, self.mixed, self.heads)
        )
        mixed = g.conv_state(
            mixed, g.weight(block + "ssm_conv1d.weight"), g.optional(block + "ssm_conv1d.bias"), activation="silu",
            **g.slot_layer(GROUP, self.mixed * (self.taps - 1)),
        )  # fmt: skip
        shared = self.groups * self.state
        x, b, c = g.split(mixed, sizes=(self.inner, shared, shared))
        y = g.ssm_scan(
            x, dt, b, c, g.weight(block + "ssm_a"), g.weight(block + "ssm_d"), g.weight(block + "ssm_dt.bias"),
            heads=self.heads, groups=self.groups, **g.slot_layer(GROUP, self.inner * self.state),
        )  # fmt: skip
        y = g.glu(z, y)
        norm = g.optional(block + "ssm_norm.weight")
        if norm is not None:
            y = g.rms_norm(y, norm, eps=eps, groups=self.groups)
        out: Value = g.linear(y, g.weight(block + "ssm_out.weight"))
        return out
