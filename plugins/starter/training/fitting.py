"""What the model and its draft share when they learn: the optimisers, the rate, the loop, the checkpoint."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from packing import Batch, batches
from torch import Tensor, nn

WARM_UP = 60
FLAT = 0.6  # the rate is flat up to this share of the whole, then falls in a line
LAST = 0.01  # to this share of itself


def arguments(parser: ArgumentParser, steps: int, seed: int) -> Namespace:
    """The options of both trainings."""
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end, with the rate fallen, after so long")
    parser.add_argument("--tokens", type=int, default=4_096, help="tokens a step")
    parser.add_argument("--rate", type=float, default=0.02, help="of Muon, or with --float32 of AdamW")
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--float32", action="store_true", help="for processors without bf16: AdamW alone, no autocast")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that make the text; 0: this one does")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    return args


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(args: Namespace) -> torch.autocast:
    """bf16 where the options allow it."""
    return torch.autocast(device().type, dtype=torch.bfloat16, enabled=not args.float32)


def rate(step: int, share: float) -> float:
    """The factor on the learning rates at a step, when so much of the training is over."""
    fall = 1 - (1 - LAST) * max(0.0, (share - FLAT) / (1 - FLAT))
    return min(1.0, (step + 1) / WARM_UP) * max(fall, LAST)


def optimizers(model: nn.Module, args: Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for the embedding and the norms."""
    if args.float32:  # Muon computes in bf16
        return [torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.95), weight_decay=0.0)]
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and not n.startswith("embd")]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or n.startswith("embd")]
    return [
        torch.optim.Muon(matrices, lr=args.rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def mask_of(numbers: Tensor, args: Namespace) -> Tensor:
    """What is added to attention scores, (rows, 1, length, length): a token sees its own document's earlier tokens."""
    causal = torch.ones(numbers.shape[1], numbers.shape[1], dtype=torch.bool, device=numbers.device).tril()
    seen = (numbers[:, :, None] == numbers[:, None, :]) & causal
    return torch.where(seen, 0.0, float("-inf")).to(torch.float32 if args.float32 else torch.bfloat16)[:, None]


def fit(model: nn.Module, loss_of: Callable[..., Tensor], args: Namespace) -> None:
    """Train to the last step or second, from the last checkpoint where there is one.

    Args:
        model: on its device.
        loss_of: of a batch.
        args: the options, with the tokenizer's path.
    """
    opts = optimizers(model, args)
    base = [[group["lr"] for group in o.param_groups] for o in opts]
    checkpoint = args.run / "checkpoint.pt"
    state: dict[str, Any] = {"step": 0, "tokens": 0, "seconds": 0.0}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for o, saved in zip(opts, state["opts"], strict=True):
            o.load_state_dict(saved)
    step, tokens = state["step"], state["tokens"]
    # A resumed run reads fresh text instead of replaying what it has seen.
    text: Iterator[Batch] = batches(args.tokenizer, args.tokens, args.seed + step, args.workers)
    compiled = torch.compile(loss_of, dynamic=False)
    began = time.time() - state["seconds"]
    saved_at = said_at = time.time()
    said_step, said_tokens, total = step, tokens, torch.zeros((), device=device())
    share = max(step / args.steps, state["seconds"] / args.seconds)
    while share < 1:
        factor = rate(step, share)
        for o, rates in zip(opts, base, strict=True):
            for group, lr in zip(o.param_groups, rates, strict=True):
                group["lr"] = lr * factor
        batch = next(text)
        tokens += int((batch[3] >= 0).sum())
        loss = compiled(*(part.to(device(), non_blocking=True) for part in batch))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        step += 1
        total += loss.detach()
        if step % 50 == 0:
            mean, now = float(total) / (step - said_step), time.time()
            speed = (tokens - said_tokens) / (now - said_at)
            print(
                f"step {step} tokens {tokens / 1e6:.2f}M loss {mean:.4f} rate {factor:.3f} {speed:.0f} tokens/s",
                flush=True,
            )
            said_at, said_step, said_tokens = now, step, tokens
            total.zero_()
        seconds = time.time() - began
        share = max(step / args.steps, seconds / args.seconds)
        if time.time() - saved_at > 120 or share >= 1:
            state = {"model": model.state_dict(), "opts": [o.state_dict() for o in opts]}
            _save(checkpoint, state | {"step": step, "tokens": tokens, "seconds": seconds})
            saved_at = time.time()


def _save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)
