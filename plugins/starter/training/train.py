"""Trains the starter model on one processor core, or on a GPU where there is one.

Safe to stop, and resumes where the last checkpoint stands.

Usage: python train.py TOKENIZER.json RUN_FOLDER --steps 6000
       python train.py TOKENIZER.json RUN_FOLDER --steps 100000 --seconds 400 --tokens 65536 --workers 15
"""

from __future__ import annotations

import argparse
from pathlib import Path

from export import read
from fitting import arguments, autocast, device, fit, mask_of
from model import Config, Starter
from torch import Tensor
from torch.nn import functional


def main() -> None:
    """Train from the last checkpoint, if there is one, to the last step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--weights", type=Path, help="begin with those of this GGUF file")
    args = arguments(parser, steps=6_000, seed=7)
    model = (read(args.weights, Config()).train() if args.weights else Starter(Config())).to(device())

    def loss_of(ids: Tensor, targets: Tensor, weights: Tensor, numbers: Tensor) -> Tensor:
        """The cross entropy of each token, weighted."""
        with autocast(args):
            logits = model(ids, mask_of(numbers, args))
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
        return (loss * weights.flatten()).sum() / weights.sum()

    fit(model, loss_of, args)


if __name__ == "__main__":
    main()
