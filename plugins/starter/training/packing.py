"""From conversations to rows of tokens: whole documents packed side by side, each seeing only itself."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import sums
import torch
from template import Template
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from world import documents

QUIET = 0.15  # weight of what others say; the assistant's own tokens weigh 1
DRILLS = 0.04  # share of documents that are drills; they are longer than most talks
Row = tuple[np.ndarray, np.ndarray]  # token ids and the weight of each as a target
Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # inputs, targets, weights, document numbers: each (rows, length)


class Text:
    """The endless stream of tokenized documents, drills mixed in."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self.tokenizer = tokenizer
        self._random = Random(f"drills {seed}")
        self._documents = documents(seed)
        self._render = Template()
        self._start = tokenizer.token_to_id("<|im_start|>")
        self._think = tokenizer.token_to_id("<think>")
        self._end = tokenizer.token_to_id("<|im_end|>")
        self._assistant = tokenizer.encode("assistant").ids[0]

    def read(self, count: int) -> list[Row]:
        """The next documents."""
        r = self._random
        texts = [
            (True, sums.drill(r)) if r.random() < DRILLS else (False, self._render(document))
            for document in islice(self._documents, count)
        ]
        rows = []
        for (drill, _), e in zip(texts, self.tokenizer.encode_batch([text for _, text in texts]), strict=True):
            ids = np.array(e.ids)
            rows.append((ids, self._drill_weights(e.tokens) if drill else self._weights(ids)))
        return rows

    def _weights(self, ids: np.ndarray) -> np.ndarray:
        weights = np.full(len(ids), QUIET, np.float32)
        ends = np.flatnonzero(ids == self._end)
        # "<|im_start|>", "assistant" and the newline are the prompt's; the answer begins behind them.
        starts = np.flatnonzero((ids[:-1] == self._start) & (ids[1:] == self._assistant)) + 3
        for start, end in zip(starts, ends[np.searchsorted(ends, starts)], strict=True):
            weights[start : end + 1] = 1
        # The opening mark of thoughts belongs to the prompt as well: the model must never choose to begin them.
        opening = np.flatnonzero(ids == self._think)
        weights[np.concatenate([opening, opening + 1])] = 0
        return weights

    @staticmethod
    def _drill_weights(tokens: list[str]) -> np.ndarray:
        weights, answering = [], False
        for token in tokens:
            weights.append(1.0 if answering else 0.05)
            answering = "Ċ" not in token and (answering or "=" in token)
        return np.array(weights, np.float32)


def _length(row: Row) -> int:
    return len(row[0])


class Packer:
    """Packs documents into full rows, longest first, and rows into batches of one of two lengths.

    Short rows are cheaper per token (attention is quadratic); only documents that need a long row get one.
    """

    def __init__(self, text: Text, tokens: int, short: int = 256, long: int = 1024) -> None:
        self._text, self._tokens, self._short, self._long = text, tokens, short, long
        self._pool: list[Row] = []

    def batches(self) -> Iterator[Batch]:
        """The endless batches."""
        while True:
            # A deep pool keeps each batch a fair mix of kinds though rows are filled by length.
            while sum(len(ids) for ids, _ in self._pool) < 4 * max(self._tokens, 65_536):
                self._pool += (row for row in self._text.read(1_000) if len(row[0]) <= self._long)
                self._pool.sort(key=_length)
            lengths = np.array([len(ids) for ids, _ in self._pool])
            share = lengths[lengths > self._short].sum() / lengths.sum()
            yield self._batch(self._long if torch.rand(()) < share else self._short)

    def _batch(self, length: int) -> Batch:
        count = self._tokens // length
        ids = torch.zeros(count, length, dtype=torch.long)
        targets = torch.zeros(count, length, dtype=torch.long)
        weights = torch.zeros(count, length)
        numbers = torch.full((count, length), -1)
        for row in range(count):
            at = 0
            while True:
                fits = bisect_right(self._pool, length - at, key=_length)
                if not fits:
                    break
                # The first of a row is drawn at random of those that need it, so that the longest do not all go first.
                least = bisect_right(self._pool, self._short, key=_length) if length > self._short else 0
                pick = fits - 1 if at else int(torch.randint(least if least < fits else 0, fits, ()))
                tokens, weight = self._pool.pop(pick)
                end = at + len(tokens)
                ids[row, at:end] = torch.from_numpy(tokens)
                targets[row, at : end - 1] = torch.from_numpy(tokens[1:])
                weights[row, at : end - 1] = torch.from_numpy(weight[1:])
                numbers[row, at:end] = at
                at = end
        return ids, targets, weights, numbers


class _Stream(IterableDataset[Batch]):
    """Batches made by this process, or another stream of them by each worker."""

    def __init__(self, tokenizer: Path, tokens: int, seed: int) -> None:
        self._tokenizer, self._tokens, self._seed = tokenizer, tokens, seed

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        seed = self._seed + (1_000_000 * worker.id if worker else 0)
        torch.manual_seed(seed)
        return Packer(Text(Tokenizer.from_file(str(self._tokenizer)), seed), self._tokens).batches()


def batches(tokenizer: Path, tokens: int, seed: int, workers: int) -> Iterator[Batch]:
    """The endless batches of a seed, made by so many processes, or by this one when there are none."""
    stream = _Stream(tokenizer, tokens, seed)
    pinned = torch.cuda.is_available()
    return iter(DataLoader(stream, None, num_workers=workers, pin_memory=pinned))
