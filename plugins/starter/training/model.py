"""The starter model in torch: a qwen3 decoder small enough to train on one processor core, or in minutes on a GPU.

Parameter names follow the GGUF tensor names closely, so that `export.py` is a table of renames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Config:
    """Shape of the model; the defaults are the bundled one (5.25M parameters)."""

    vocab: int = 2048
    width: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    hidden: int = 768  # feed-forward width: rows of 256 or 768 keep every Q8_0 and 256-wide block whole
    context: int = 1024
    rope_base: float = 10_000.0
    eps: float = 1e-6


class RMSNorm(nn.Module):
    """Root mean square norm, computed in float32 whatever autocast says."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position in the half-split ("neox") order that qwen3 uses in GGUF."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention with a norm on every query and key head."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.q = nn.Linear(c.width, c.heads * c.head_dim, bias=False)
        self.k = nn.Linear(c.width, c.kv_heads * c.head_dim, bias=False)
        self.v = nn.Linear(c.width, c.kv_heads * c.head_dim, bias=False)
        self.output = nn.Linear(c.heads * c.head_dim, c.width, bias=False)
        self.q_norm = RMSNorm(c.head_dim, c.eps)
        self.k_norm = RMSNorm(c.head_dim, c.eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, past: list[Tensor] | None) -> Tensor:
        c, (b, t, _) = self.c, x.shape
        q = self.q_norm(self.q(x).view(b, t, c.heads, c.head_dim)).transpose(1, 2)
        k = self.k_norm(self.k(x).view(b, t, c.kv_heads, c.head_dim)).transpose(1, 2)
        v = self.v(x).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2)
        k = rotate(k, cos, sin)
        if past is not None:
            past[:] = k, v = [torch.cat(pair, dim=2) for pair in zip(past, (k, v), strict=True)] if past else [k, v]
        group = c.heads // c.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = functional.scaled_dot_product_attention(rotate(q, cos, sin), k, v, attn_mask=mask)
        return self.output(y.transpose(1, 2).reshape(b, t, -1))


class Block(nn.Module):
    """Attention, then the gated feed-forward, each on a normed copy of the stream."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.attn_norm = RMSNorm(c.width, c.eps)
        self.attn = Attention(c)
        self.ffn_norm = RMSNorm(c.width, c.eps)
        self.gate = nn.Linear(c.width, c.hidden, bias=False)
        self.up = nn.Linear(c.width, c.hidden, bias=False)
        self.down = nn.Linear(c.hidden, c.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, past: list[Tensor] | None) -> Tensor:
        x = x + self.attn(self.attn_norm(x), cos, sin, mask, past)
        y = self.ffn_norm(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class Starter(nn.Module):
    """The whole decoder; the head is the embedding, used a second time."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.embd = nn.Embedding(c.vocab, c.width)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = RMSNorm(c.width, c.eps)
        angle = torch.arange(c.context)[:, None] * c.rope_base ** (-torch.arange(0, c.head_dim, 2) / c.head_dim)
        self.register_buffer("cos", angle.cos(), persistent=False)  # (context, head_dim / 2)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                # What writes to the residual stream starts smaller, so that depth does not widen it.
                scale = (2 * c.layers) ** -0.5 if name.endswith(("output.weight", "down.weight")) else 1.0
                nn.init.normal_(p, std=0.02 * scale)

    def forward(self, ids: Tensor, mask: Tensor, past: list[list[Tensor]] | None = None) -> Tensor:
        """Logits of every token.

        Args:
            ids: (rows, tokens).
            mask: added to the attention scores: (rows, 1, tokens, all tokens so far).
            past: keys and values of earlier tokens, one list for each block, extended in place; None while training.

        Returns:
            (rows, tokens, vocab).
        """
        x = self.embd(ids)
        x = x.to(torch.bfloat16 if torch.is_autocast_enabled(x.device.type) else x.dtype)
        end = mask.shape[-1]
        cos, sin = (table[end - ids.shape[1] : end] for table in (self.cos, self.sin))
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin, mask, past[i] if past is not None else None)
        return functional.linear(self.norm(x), self.embd.weight)
