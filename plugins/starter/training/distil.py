"""Trains the draft of the starter model: one layer that imitates the whole model's probabilities.

Usage: python distil.py TOKENIZER.json CHECKPOINT.pt RUN_FOLDER --steps 1500
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from fitting import arguments, autocast, device, fit, mask_of
from model import Config, Starter
from torch import Tensor
from torch.nn import functional


def main() -> None:
    """Distil; ten minutes on one core are enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("checkpoint", type=Path)
    args = arguments(parser, steps=1_500, seed=11)
    teacher = Starter(Config()).eval()
    teacher.load_state_dict(torch.load(args.checkpoint, weights_only=True, map_location="cpu")["model"])
    student = Starter(replace(Config(), layers=1))
    student.embd.load_state_dict(teacher.embd.state_dict())  # both speak of the same words
    student.norm.load_state_dict(teacher.norm.state_dict())
    teacher, student = teacher.to(device()), student.to(device())

    def loss_of(ids: Tensor, targets: Tensor, weights: Tensor, numbers: Tensor) -> Tensor:
        """Kullback-Leibler divergence of the student from the teacher, weighted by token."""
        with autocast(args):
            mask = mask_of(numbers, args)
            with torch.no_grad():
                wanted = functional.log_softmax(teacher(ids, mask).float(), -1)
            found = functional.log_softmax(student(ids, mask).float(), -1)
        apart = (wanted.exp() * (wanted - found)).sum(-1)
        return (apart * weights).sum() / weights.sum()

    fit(student, loss_of, args)


if __name__ == "__main__":
    main()
