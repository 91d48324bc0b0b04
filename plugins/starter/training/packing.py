"""From conversations to rows of tokens: whole documents packed side by side, each seeing only itself."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from random import Random

import sums
import torch
from template import Template
from tokenizers import Tokenizer
from torch import Tensor
from world import documents

QUIET = 0.15  # weight of what others say; the assistant's own tokens weigh 1
Row = tuple[list[int], list[float]]  # token ids and the weight of each as a target


class Text:
    """The endless stream of tokenized documents, drills mixed in by the share asked for at the time."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self.tokenizer = tokenizer
        self.drills = 0.0  # share of documents that are drills
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
            (True, sums.drill(r)) if r.random() < self.drills else (False, self._render(document))
            for document in islice(self._documents, count)
        ]
        rows = []
        for (drill, _), e in zip(texts, self.tokenizer.encode_batch([text for _, text in texts]), strict=True):
            rows.append((e.ids, self._drill_weights(e.tokens) if drill else self._weights(e.ids)))
        return rows

    def _weights(self, ids: list[int]) -> list[float]:
        weights, speaking = [], False
        for i, token in enumerate(ids):
            # "<|im_start|>", "assistant" and the newline are the prompt's; the answer begins behind them.
            if i >= 3 and ids[i - 3] == self._start and ids[i - 2] == self._assistant:
                speaking = True
            # The opening mark of thoughts belongs to the prompt as well: the model must never choose to begin them.
            opening = self._think in ids[max(i - 1, 0) : i + 1]
            weights.append(0.0 if opening else 1.0 if speaking else QUIET)
            if token == self._end:
                speaking = False
        return weights

    @staticmethod
    def _drill_weights(tokens: list[str]) -> list[float]:
        weights, answering = [], False
        for token in tokens:
            weights.append(1.0 if answering else 0.05)
            answering = "Ċ" not in token and (answering or "=" in token)
        return weights


class Packer:
    """Packs documents into full rows, longest first, and rows into batches of one of two lengths.

    Short rows are cheaper per token (attention is quadratic); only documents that need a long row get one.
    """

    def __init__(self, text: Text, tokens: int, short: int = 256, long: int = 512) -> None:
        self._text, self._tokens, self._short, self._long = text, tokens, short, long
        self._pool: list[Row] = []

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Endless (inputs, targets, weights, document numbers), each (rows, length)."""
        while True:
            # A deep pool keeps each batch a fair mix of kinds though rows are filled by length.
            while len(self._pool) < 2_000:
                self._pool += (row for row in self._text.read(1_000) if len(row[0]) <= self._long)
                self._pool.sort(key=lambda row: len(row[0]))
            long_ones = len(self._pool) - bisect_right(self._pool, self._short, key=lambda row: len(row[0]))
            length = self._long if long_ones >= self._tokens // self._long else self._short
            yield self._batch(length)

    def _batch(self, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count = self._tokens // length
        ids = torch.zeros(count, length, dtype=torch.long)
        targets = torch.zeros(count, length, dtype=torch.long)
        weights = torch.zeros(count, length)
        numbers = torch.full((count, length), -1)
        for row in range(count):
            at = 0
            while True:
                fits = bisect_right(self._pool, length - at, key=lambda item: len(item[0]))
                if not fits:
                    break
                # The first of a row is drawn at random, so that long documents do not all go first.
                pick = fits - 1 if at or length == self._long else int(torch.randint(fits, ()))
                tokens, weight = self._pool.pop(pick)
                end = at + len(tokens)
                ids[row, at:end] = torch.tensor(tokens)
                targets[row, at : end - 1] = torch.tensor(tokens[1:])
                weights[row, at : end - 1] = torch.tensor(weight[1:])
                numbers[row, at:end] = at
                at = end
        return ids, targets, weights, numbers
