"""Trains the draft of the starter model: one layer that imitates the whole model's probabilities.

Usage: python distil.py TOKENIZER.json CHECKPOINT.pt RUN_FOLDER --steps 1500
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from model import Config, Starter
from packing import Packer, Text
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from train import optimizers, rate, save


def loss_of(student: Starter, teacher: Starter, ids: Tensor, weights: Tensor, numbers: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student from the teacher, weighted by token."""
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    seen = (numbers[:, :, None] == numbers[:, None, :]) & causal
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mask = torch.where(seen, 0.0, float("-inf")).to(torch.bfloat16)[:, None]
        with torch.no_grad():
            wanted = functional.log_softmax(teacher(ids, mask).float(), -1)
        found = functional.log_softmax(student(ids, mask).float(), -1)
    apart = (wanted.exp() * (wanted - found)).sum(-1)
    return (apart * weights).sum() / weights.sum()


def main() -> None:
    """Distil from the start; ten minutes on one core are enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--tokens", type=int, default=4_096, help="tokens a step")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.run.mkdir(parents=True, exist_ok=True)
    teacher = Starter(Config()).eval()
    teacher.load_state_dict(torch.load(args.checkpoint, weights_only=True)["model"])
    student = Starter(replace(Config(), layers=1))
    student.embd.load_state_dict(teacher.embd.state_dict())  # both speak of the same words
    student.norm.load_state_dict(teacher.norm.state_dict())
    opts = optimizers(student)
    base = [[group["lr"] for group in o.param_groups] for o in opts]
    text = Text(Tokenizer.from_file(str(args.tokenizer)), args.seed)
    batches, total, tokens, began = Packer(text, args.tokens).batches(), 0.0, 0, time.time()
    for step in range(args.steps):
        factor = rate(step, args.steps)
        for o, rates in zip(opts, base, strict=True):
            for group, lr in zip(o.param_groups, rates, strict=True):
                group["lr"] = lr * factor
        ids, _, weights, numbers = next(batches)
        loss = loss_of(student, teacher, ids, weights, numbers)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        tokens += int((numbers >= 0).sum())
        total = loss.item() if not total else 0.95 * total + 0.05 * loss.item()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} divergence {total:.4f} {tokens / (time.time() - began):.0f} tokens/s", flush=True)
    save(args.run / "checkpoint.pt", student, opts, args.steps, tokens)


if __name__ == "__main__":
    main()
