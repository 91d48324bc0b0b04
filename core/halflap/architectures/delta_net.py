"""The gated delta net of Qwen 3 Next and 3.5 and their gated attention: dimensions, weights, graph."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve, frozen

from halflap.architectures import rotary
from halflap.architectures.keys import Keys, Shape
from halflap.errors import ModelFormatError
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Value

GROUP = "recurrent"
L2_EPS = 1e-6
"""Of the lengths of q and k: no file states it."""


@frozen
class DeltaNet:
    """Dimensions of one delta net.

    Attributes:
        heads: heads of v, each with a state (k_size, v_size).
        k_heads: heads of q and k; one serves several of v.
        sharing: which one, as the op `delta_rule` says.
        taps: of the convolution over q, k and v.
    """

    heads: int
    k_heads: int
    k_size: int
    v_size: int
    taps: int
    sharing: str

    @classmethod
    def read(cls, keys: Keys, sharing: str) -> DeltaNet:
        heads, inner = keys.integer("ssm.time_step_rank", least=1), keys.integer("ssm.inner_size", least=1)
        k_heads = keys.integer("ssm.group_count", least=1)
        if inner % heads or heads % k_heads:
            raise ModelFormatError(
                f"metadata '{keys.architecture}.ssm'", got=f"{inner} channels, {heads} heads, {k_heads} of k",
                want="each a multiple of the next", field="ssm.time_step_rank",
            )  # fmt: skip
        return cls(
            heads=heads,
            k_heads=k_heads,
            k_size=keys.integer("ssm.state_size", least=1),
            v_size=inner // heads,
            taps=keys.integer("ssm.conv_kernel", least=2),
            sharing=sharing,
        )

    @property
    def keys(self) -> int:
        return self.k_heads * self.k_size

    @property
    def values(self) -> int:
        return self.heads * self.v_size

    @property
    def mixed(self) -> int:
        return 2 * self.keys + self.values

    def weights(self, block: str, width: int) -> Iterator[tuple[str, Shape]]:
        yield block + "attn_qkv.weight", (self.mixed, width)
        yield block + "attn_gate.weight", (self.values, width)
        yield block + "ssm_conv1d.weight", (self.mixed, self.taps)
        yield block + "ssm_a", (self.heads,)
        yield block + "ssm_dt.bias", (self.heads,)
        yield block + "ssm_norm.weight", (self.v_size,)
        yield block + "ssm_out.weight", (width, self.values)

    def build(self, g: GraphBuilder, block: str, h: Value, alpha: Value, beta: Value, eps: float) -> Value:
        """What the net makes of normed rows h (T, width); alpha and beta (T, heads) as projected."""
        mixed = g.linear(h, g.weight(block + "attn_qkv.weight"))
        z = g.linear(h, g.weight(block + "attn_gate.weight"))
        mixed = g.conv_state(
            mixed, g.weight(block + "ssm_conv1d.weight"), activation="silu",
            **g.slot_layer(GROUP, self.mixed * (self.taps - 1)),
        )  # fmt: skip
        q, k, v = g.split(mixed, sizes=(self.keys, self.keys, self.values))
        q, k = (g.l2_norm(part, eps=L2_EPS, groups=self.k_heads) for part in (q, k))
        steps = g.activate(g.add(alpha, g.weight(block + "ssm_dt.bias")), activation="softplus")
        y = g.delta_rule(
            q, k, v, g.mul(steps, g.weight(block + "ssm_a")), g.activate(beta, activation="sigmoid"),
            heads=self.heads, k_heads=self.k_heads, sharing=self.sharing, scale=self.k_size**-0.5,
            **g.slot_layer(GROUP, self.heads * self.k_size * self.v_size),
        )  # fmt: skip
        y = g.rms_norm(y, g.weight(block + "ssm_norm.weight"), eps=eps, groups=self.heads)
        out: Value = g.linear(g.glu(z, y), g.weight(block + "ssm_out.weight"))
        return out


@frozen
class GatedAttention:
    """Attention whose result is gated: `attn_q` holds q and gate of each head side by side."""

    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    rope: rotary.Rotary

    @classmethod
    def read(cls, keys: Keys) -> GatedAttention:
        heads = keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", keys.integer("embedding_length", least=1) // heads, least=2)
        rotated = keys.integer("rope.dimension_count", head_dim, least=2)
        rope = rotary.read(keys, rotated)
        if keys.has("rope.dimension_sections"):
            rope = evolve(rope, axes=rotary.interleaved_axes(keys, rotated))
        return cls(
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            rope=rope,
        )

    def weights(self, block: str, width: int) -> Iterator[tuple[str, Shape]]:
        yield block + "attn_q.weight", (self.heads * (self.head_dim + self.v_head_dim), width)
        yield block + "attn_k.weight", (self.kv_heads * self.head_dim, width)
        yield block + "attn_v.weight", (self.kv_heads * self.v_head_dim, width)
        yield block + "attn_q_norm.weight", (self.head_dim,)
        yield block + "attn_k_norm.weight", (self.head_dim,)
        yield block + "attn_output.weight", (width, self.heads * self.v_head_dim)

    def build(self, g: GraphBuilder, block: str, h: Value, eps: float) -> Value:
        rope = {
            "head_dim": self.head_dim, "layout": "half", "frequencies": self.rope.frequencies,
            "magnitude": self.rope.magnitude, "axes": self.rope.axes,
        }  # fmt: skip
        q = g.linear(h, g.weight(block + "attn_q.weight"))
        k = g.linear(h, g.weight(block + "attn_k.weight"))
        v = g.linear(h, g.weight(block + "attn_v.weight"))
        q, gate = g.split(q, sizes=(self.head_dim, self.v_head_dim), groups=self.heads)
        q = g.rms_norm(q, g.weight(block + "attn_q_norm.weight"), eps=eps, groups=self.heads)
        k = g.rms_norm(k, g.weight(block + "attn_k_norm.weight"), eps=eps, groups=self.kv_heads)
        q = g.rope(q, **rope)
        k = g.rope(k, **rope)
        state = g.state_layer("kv", self.kv_heads * self.head_dim, self.kv_heads * self.v_head_dim)
        h = g.attention(
            q, k, v, heads=self.heads, kv_heads=self.kv_heads, head_dim=self.head_dim, v_head_dim=self.v_head_dim,
            scale=self.head_dim**-0.5, **state,
        )  # fmt: skip
        out: Value = g.linear(g.glu(gate, h, activation="sigmoid"), g.weight(block + "attn_output.weight"))
        return out
