"""The Mamba 1 mixer, also Jamba's and Falcon Mamba's: dimensions, weights, graph."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Value

GROUP = "recurrent"


@frozen
class Selective:
    """Dimensions of one mixer.

    Attributes:
        inner: channels, each with a state.
        state: elements of a channel's state.
        rank: width of the projection from which the time steps are made.
        norms: dt, b and c are normed first: with weights where the file has them.
    """

    inner: int
    state: int
    rank: int
    taps: int
    norms: bool

    @classmethod
    def read(cls, keys: Keys, norms: bool) -> Selective:
        return cls(
            inner=keys.integer("ssm.inner_size", least=1),
            state=keys.integer("ssm.state_size", least=1),
            rank=keys.integer("ssm.time_step_rank", least=1),
            taps=keys.integer("ssm.conv_kernel", least=2),
            norms=norms,
        )

    def weights(self, block: str, width: int) -> Iterator[tuple[str, Shape]]:
        yield block + "ssm_in.weight", (2 * self.inner, width)
        yield block + "ssm_conv1d.weight", (self.inner, self.taps)
        yield block + "ssm_conv1d.bias?", (self.inner,)
        yield block + "ssm_x.weight", (self.rank + 2 * self.state, self.inner)
        yield block + "ssm_dt.weight", (self.inner, self.rank)
        yield block + "ssm_dt.bias", (self.inner,)
        yield block + "ssm_dt_norm.weight?", (self.rank,)
        yield block + "ssm_b_norm.weight?", (self.state,)
        yield block + "ssm_c_norm.weight?", (self.state,)
        yield block + "ssm_a", (self.inner, self.state)
        yield block + "ssm_d", (self.inner,)
        yield block + "ssm_out.weight", (width, self.inner)

    def build(self, g: GraphBuilder, block: str, h: Value, eps: float) -> Value:
        """What the mixer makes of normed rows h (T, width)."""
        x, z = g.split(g.linear(h, g.weight(block + "ssm_in.weight")), sizes=(self.inner, self.inner))
        x = g.conv_state(
            x, g.weight(block + "ssm_conv1d.weight"), g.optional(block + "ssm_conv1d.bias"), activation="silu",
            **g.slot_layer(GROUP, self.inner * (self.taps - 1)),
        )  # fmt: skip
        dt, b, c = g.split(g.linear(x, g.weight(block + "ssm_x.weight")), sizes=(self.rank, self.state, self.state))
        if self.norms:
            dt = g.rms_norm(dt, g.optional(block + "ssm_dt_norm.weight"), eps=eps)
            b = g.rms_norm(b, g.optional(block + "ssm_b_norm.weight"), eps=eps)
            c = g.rms_norm(c, g.optional(block + "ssm_c_norm.weight"), eps=eps)
        dt = g.linear(dt, g.weight(block + "ssm_dt.weight"))
        y = g.ssm_scan(
            x, dt, b, c, g.weight(block + "ssm_a"), g.weight(block + "ssm_d"), g.weight(block + "ssm_dt.bias"),
            heads=1, **g.slot_layer(GROUP, self.inner * self.state),
        )  # fmt: skip
        out: Value = g.linear(g.glu(z, y), g.weight(block + "ssm_out.weight"))
        return out
