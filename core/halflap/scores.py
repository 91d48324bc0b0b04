"""What a model computes of texts that are given: logits, hidden rows, embeddings, ranks."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import numpy.typing as npt

from halflap.adapters import Adapters
from halflap.engine.engine import Engine, closed
from halflap.engine.given import NO_IMAGES, Images
from halflap.engine.scoring import Judging, Scoring
from halflap.errors import ContextOverflowError, InvalidRequestError, ModelClosedError
from halflap.events import Token
from halflap.graph.extras import tap_names
from halflap.images import Eyes
from halflap.loading import ModelInfo
from halflap.placement import Plan
from halflap.text.tokenizer import Tokenizer

MOST_LIKELY = 1000
"""Tokens at one place whose chances can be asked for."""
EMBEDDED_AT_ONCE = 64
"""Texts of one `embed` that are under way together."""


class Scores:
    """The half of a model that reads and does not write; it owns the engine."""

    def __init__(
        self,
        info: ModelInfo,
        tokenizer: Tokenizer,
        plan: Plan,
        engine: Engine,
        release: Any,
        adapters: Adapters,
        eyes: Eyes | None,
    ) -> None:
        self.info, self.tokenizer, self.plan = info, tokenizer, plan
        self._adapters, self._eyes = adapters, eyes
        self._engine, self._pid = engine, os.getpid()
        self._finalizer: weakref.finalize[..., Any] = weakref.finalize(self, _close, engine, release, self._pid)

    def logits(
        self,
        ids: Sequence[int],
        /,
        *,
        rows: slice | Sequence[int] = slice(None),
        images: Sequence[bytes] = (),
        encoder_ids: Sequence[int] = (),
        adapters: Mapping[str, float] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Raw logits, f32 (rows, n_vocab), for the wanted positions of a token sequence.

        Args:
            images: encoded images, one for each -1 among the ids, which becomes as many positions as it has rows.
            encoder_ids: the text that the encoder reads, of a model that has one; `ids` are then the decoder's.
            adapters: scales of the adapters to compute with.

        Raises:
            ContextOverflowError: more ids than the context holds.
            InvalidRequestError: a model without logits; ids for an encoder that is not there, or none for one that is.
        """
        self._check_computes("logits")
        ids, given = self._given(ids, images)
        wanted = list(range(len(ids)))[rows] if isinstance(rows, slice) else sorted(rows)
        if (self.info.start is None) != (not len(encoder_ids)):
            want = "none, for the model has no encoder" if self.info.start is None else "those of the encoder's text"
            raise InvalidRequestError("encoder_ids", got=f"{len(encoder_ids)}", want=want, field="encoder_ids")
        source = self._checked_ids(encoder_ids) if self.info.start is not None else ()
        scales = self._adapters.scales(adapters or {})
        return self._score(ids, ("logits",), wanted, given, source=source, scales=scales).result()["logits"]

    def logprobs(
        self, prompt: str | Sequence[int], /, *, top: int = 0, adapters: Mapping[str, float] | None = None
    ) -> tuple[Token, ...]:
        """How likely each token of a prompt is, given those before it: all but the first, with `logprob` and `top`.

        Args:
            top: how many of the likeliest tokens at each place to tell.
            adapters: scales of the adapters to compute with.

        Raises:
            InvalidRequestError: a model without logits, or one whose encoder would read the prompt.
            ContextOverflowError: more tokens than the context holds.
        """
        self._check_computes("logits")
        self._check_no_encoder()
        if isinstance(top, bool) or not 0 <= top <= MOST_LIKELY:
            raise InvalidRequestError("top", got=top, want=f"0 to {MOST_LIKELY}", field="top")
        ids = self._checked_ids(self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt)
        if len(ids) == 1:
            return ()
        scales = self._adapters.scales(adapters or {})
        future = self._scored(ids, lambda done: Judging(ids, done, top, scales=scales))
        found = {name: array.tolist() for name, array in future.result().items()}
        return tuple(
            Token(token, self.tokenizer.token_bytes(token), logprob, tuple(zip(best, chances, strict=True)))
            for token, (logprob,), best, chances in zip(
                ids[1:], found["logprobs"], found["ids"], found["top"], strict=True
            )
        )

    def hidden(
        self,
        ids: Sequence[int],
        /,
        *,
        layers: Sequence[str] | None = None,
        rows: slice | Sequence[int] = slice(None),
        adapters: Mapping[str, float] | None = None,
    ) -> dict[str, npt.NDArray[np.float32]]:
        """What leaves some layers, layer -> f32 (rows, width), for the wanted positions of a token sequence.

        Args:
            layers: of those that the model was loaded with as `taps`; None: all.
            adapters: scales of the adapters to compute with.

        Raises:
            InvalidRequestError: a layer that the model was not loaded with.
            ContextOverflowError: more ids than the context holds.
        """
        taps = tap_names(self.info.outputs)
        for layer in layers if layers is not None else taps or ("layer.0",):
            if layer not in taps:
                fix = f"Load with taps=[{layer!r}]."
                want = f"one of {list(taps)}"
                raise InvalidRequestError("layers", got=repr(layer), want=want, fix=fix, field="layers")
        names = list(layers) if layers is not None else list(taps)
        checked = self._checked_ids(ids)
        wanted = list(range(len(checked)))[rows] if isinstance(rows, slice) else sorted(rows)
        scales = self._adapters.scales(adapters or {})
        found = self._score(checked, tuple(taps[name] for name in names), wanted, scales=scales).result()
        return {name: found[taps[name]] for name in names}

    def embed(
        self, texts: str | Sequence[str | Sequence[int]], /, *, pooling: str | None = None, normalize: bool = True
    ) -> npt.NDArray[np.float32]:
        """One row per text, f32 (n, width).

        Args:
            texts: one, or several, each as text or as token ids.
            pooling: "mean", "cls" or "last"; "rank": the scores of a model that classifies, (n, labels), as they are;
                "none": a row per token, those of the texts one after the other; None: what the file says, else "mean".
            normalize: scale each row to length 1.

        Raises:
            InvalidRequestError: a pooling that is not known, or "rank" of a model that does not classify.
            ContextOverflowError: a text longer than the context, or than an encoder takes in one step.
        """
        pooling = pooling or self.info.pooling or "mean"
        if pooling not in ("none", "mean", "cls", "last", "rank"):
            want = "'none', 'mean', 'cls', 'last' or 'rank'"
            raise InvalidRequestError("pooling", got=repr(pooling), want=want, field="pooling")
        output = "scores" if pooling == "rank" else "hidden"
        self._check_computes(output)
        given = [texts] if isinstance(texts, str) else texts
        prompts = [self._checked_ids(self.tokenizer.encode(text) if isinstance(text, str) else text) for text in given]
        futures: list[Future[dict[str, npt.NDArray[np.float32]]]] = []
        for place, ids in enumerate(prompts):
            if place >= EMBEDDED_AT_ONCE:
                futures[place - EMBEDDED_AT_ONCE].result()
            wanted = {"cls": [0], "rank": [0], "last": [len(ids) - 1]}.get(pooling, range(len(ids)))
            futures.append(self._score(ids, (output,), list(wanted)))
        found = [future.result()[output] for future in futures]
        if not found:
            return np.zeros((0, self.info.width), np.float32)
        rows = np.concatenate(found if pooling == "none" else [each.mean(axis=0, keepdims=True) for each in found])
        if normalize and pooling != "rank":
            rows /= np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
        return rows

    def rank(self, query: str, documents: Sequence[str], /) -> npt.NDArray[np.float32]:
        """How well each document answers a query, f32 (n,): the first score of a model that classifies pairs.

        Raises:
            InvalidRequestError: a model that does not classify, or whose vocabulary cannot separate two texts.
            ContextOverflowError: a pair longer than the model takes in one step.
        """
        self._check_computes("scores")
        return self.embed([self.tokenizer.encode_pair(query, text) for text in documents], pooling="rank")[:, 0]

    def _given(self, ids: Sequence[int], images: Sequence[bytes]) -> tuple[list[int], Images]:
        """Checked ids, in which each -1 has become the rows of an image."""
        if not images:
            return self._checked_ids(ids), NO_IMAGES
        self._checked_ids([token for token in ids if token != -1] or [0])
        eyes = self._seeing()
        return eyes.insert(ids, eyes.see([(f"images[{i}]", data) for i, data in enumerate(images)]))

    def _seeing(self) -> Eyes:
        if self._eyes is None:
            raise InvalidRequestError(
                "images",
                got="a model that cannot see",
                want="one loaded with a projector",
                field="images",
                fix="Load with projector=… (`--mmproj FILE`).",
            )
        return self._eyes

    def _score(
        self,
        ids: list[int],
        outputs: tuple[str, ...],
        rows: list[int],
        images: Images = NO_IMAGES,
        **sharing: Any,
    ) -> Future[dict[str, npt.NDArray[np.float32]]]:
        return self._scored(ids, lambda done: Scoring(ids, outputs, rows, done, images, **sharing))

    def _scored(
        self, ids: Sequence[int], make: Callable[[Callable[[dict[str, Any] | BaseException], None]], Scoring]
    ) -> Future[dict[str, npt.NDArray[np.float32]]]:
        """Submit what `make` makes of the callback that ends it."""
        self._check_open()
        if len(ids) > self.plan.ctx:
            raise ContextOverflowError(
                "ids",
                got=f"{len(ids)} tokens",
                want=f"at most the context's {self.plan.ctx}",
                n_prompt=len(ids),
                n_ctx=self.plan.ctx,
            )
        future: Future[dict[str, npt.NDArray[np.float32]]] = Future()

        def done(found: dict[str, npt.NDArray[np.float32]] | BaseException) -> None:
            if isinstance(found, BaseException):
                future.set_exception(found)
            else:
                future.set_result(found)

        self._engine.submit(make(done))
        return future

    def _checked_ids(self, ids: Sequence[int]) -> list[int]:
        checked = [int(i) for i in ids]
        if not checked:
            raise InvalidRequestError("prompt", got="no tokens", want="at least one", field="prompt")
        wrong = next((i for i in checked if not 0 <= i < self.info.vocab), None)
        if wrong is not None:
            raise InvalidRequestError("token id", got=wrong, want=f"0 to {self.info.vocab - 1}", field="prompt")
        return checked

    def _check_computes(self, output: str) -> None:
        if output not in self.info.outputs:
            raise InvalidRequestError(
                f"model {self.info.name!r}",
                got=f"{self.info.architecture}, which gives {' and '.join(self.info.outputs)}",
                want=f"one that gives {output}",
                fix="Use `embed`." if output == "logits" and "hidden" in self.info.outputs else None,
                field="model",
            )

    def _check_no_encoder(self) -> None:
        if self.info.start is not None:
            got = "a model whose encoder reads it"
            raise InvalidRequestError("prompt", got=got, want="one without an encoder", field="prompt")

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise ModelClosedError(
                "model",
                got=f"process {os.getpid()}",
                want=f"process {self._pid}, which loaded it",
                fix="Load the model after forking.",
            )
        if not self._finalizer.alive:
            raise closed()


def _close(engine: Engine, release: Any, pid: int) -> None:
    if os.getpid() == pid:  # a forked child has neither the engine's thread nor a right to the devices
        engine.close()
        release()
