"""Trains the starter model on one processor core; safe to stop, and resumes where the last checkpoint stands.

Usage: python train.py TOKENIZER.json RUN_FOLDER --steps 6000
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from model import Config, Starter
from packing import Packer, Text
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

WARM_UP = 60
FLAT = 0.6  # the rate is flat up to this share of all steps, then falls in a line
LAST = 0.03  # to this share of itself


def rate(step: int, steps: int) -> float:
    """The factor on the learning rates at a step."""
    fall = 1 - (1 - LAST) * max(0.0, (step / steps - FLAT) / (1 - FLAT))
    return min(1.0, (step + 1) / WARM_UP) * max(fall, LAST)


def drills(step: int, steps: int) -> float:
    """The share of documents that are drills: many in the first third, few afterwards."""
    # A drill is twice as long as a talk: these are 15 and 8 % of the tokens.
    return 0.07 if step < steps / 3 else 0.04


def loss_of(model: Starter, ids: Tensor, targets: Tensor, weights: Tensor, numbers: Tensor) -> Tensor:
    """The weighted loss of a batch; a token sees only earlier tokens of its own document."""
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    seen = (numbers[:, :, None] == numbers[:, None, :]) & causal
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mask = torch.where(seen, 0.0, float("-inf")).to(torch.bfloat16)[:, None]
        logits = model(ids, mask)
    loss = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return (loss * weights.flatten()).sum() / weights.sum()


def optimizers(model: Starter) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and not n.startswith("embd")]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or n.startswith("embd")]
    return [
        torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def save(path: Path, model: nn.Module, opts: list[torch.optim.Optimizer], step: int, tokens: int) -> None:
    """Write a checkpoint whole or not at all."""
    part = path.with_suffix(".part")
    state = {"model": model.state_dict(), "opts": [o.state_dict() for o in opts], "step": step, "tokens": tokens}
    torch.save(state, part)
    os.replace(part, path)


def main() -> None:
    """Train from the last checkpoint, if there is one, to the last step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--tokens", type=int, default=4_096, help="tokens a step")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    checkpoint = args.run / "checkpoint.pt"
    model = Starter(Config())
    opts = optimizers(model)
    base = [[group["lr"] for group in o.param_groups] for o in opts]
    step = tokens = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for o, saved in zip(opts, state["opts"], strict=True):
            o.load_state_dict(saved)
        step, tokens = state["step"], state["tokens"]
    # A resumed run reads fresh text instead of replaying what it has seen.
    text = Text(Tokenizer.from_file(str(args.tokenizer)), args.seed + step)
    batches = Packer(text, args.tokens).batches()
    compiled = torch.compile(loss_of, dynamic=False)

    saved_at = said_at = time.time()
    said_tokens, total = tokens, 0.0
    while step < args.steps:
        text.drills = drills(step, args.steps)
        factor = rate(step, args.steps)
        for o, rates in zip(opts, base, strict=True):
            for group, lr in zip(o.param_groups, rates, strict=True):
                group["lr"] = lr * factor
        batch = next(batches)
        loss = compiled(model, *batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        step += 1
        tokens += int((batch[3] >= 0).sum())
        total = loss.item() if not total else 0.95 * total + 0.05 * loss.item()
        now = time.time()
        if step % 50 == 0:
            speed = (tokens - said_tokens) / (now - said_at)
            print(
                f"step {step} tokens {tokens / 1e6:.2f}M loss {total:.4f} rate {factor:.3f} {speed:.0f} tokens/s",
                flush=True,
            )
            said_at, said_tokens = now, tokens
        if now - saved_at > 240 or step == args.steps:
            save(checkpoint, model, opts, step, tokens)
            saved_at = now


if __name__ == "__main__":
    main()
