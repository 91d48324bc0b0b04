"""POST /completion and /infill: llama-server's own form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import halflap
from halflap import Completion, Event, Finish, Prefill, Text, Token
from halflap_server.answers import answer, data
from halflap_server.asking import chosen, seeded
from halflap_server.bodies import Completion as CompletionBody
from halflap_server.bodies import Infill
from halflap_server.errors import Refusal
from halflap_server.pool import Lease
from halflap_server.reading import read
from halflap_server.replies import finish_reason, text_of
from halflap_server.routes.completions import NEVER, asked_for, prompts
from halflap_server.routes.infill import infill_ids
from halflap_server.slots import plain

OWN = ("t_max_predict_ms", "n_indent", "post_sampling_probs")
"""Options that are fields of these routes alone."""


async def completion(request: Request) -> Response:
    """Continue a text (llama-server)."""
    body, _ = await read(request, CompletionBody)
    lease = await request.app.state.pool.acquire(body.model)
    with lease.unless_failed():
        asked = _asked(body, lease)
        given = prompts(body.prompt, lease.model.tokenizer)
        requests = [
            halflap.Request(prompt=prompt, options=each) for prompt in given for each in seeded(asked, body.n_cmpl or 1)
        ]
        writer = NativeWriter(body, lease, requests, many=not isinstance(body.prompt, str) and len(requests) > 1)
    return await answer(request, lease, requests, writer, streaming=bool(body.stream), slot=body.id_slot)


async def infill(request: Request) -> Response:
    """Fill in what stands between two texts (llama-server)."""
    body, _ = await read(request, Infill)
    lease = await request.app.state.pool.acquire(body.model)
    with lease.unless_failed():
        asked = _asked(body, lease)
        ids = infill_ids(lease, body.input_prefix, body.input_suffix, body.input_extra or (), body.prompt or "")
        requests = [halflap.Request(prompt=ids, options=asked)]
        writer = NativeWriter(body, lease, requests)
    return await answer(request, lease, requests, writer, streaming=bool(body.stream), slot=body.id_slot)


def _asked(body: CompletionBody | Infill, lease: Lease) -> dict[str, Any]:
    """A body's options."""
    own = {name: value for name in OWN if (value := getattr(body, name)) is not None}
    return {**chosen(body, lease), **own, **({"logprobs": body.n_probs} if body.n_probs else {})}


class NativeWriter:
    """llama-server's completion, whole or in chunks.

    Args:
        many: the reply is a list, one for each prompt.
    """

    def __init__(
        self, body: CompletionBody | Infill, lease: Lease, asked: Sequence[halflap.Request], many: bool = False
    ) -> None:
        self.model, self._tokenizer = lease.served.name, lease.model.tokenizer
        self._ctx, self._many, self._asked = lease.model.plan.ctx, many, asked
        self._fields, self._tokens = body.response_fields, bool(body.return_tokens)
        self._probabilities = bool(body.post_sampling_probs)
        self._slots = lease.served.slots
        self._logprobs, self._progress = bool(body.n_probs), bool(body.return_progress)
        self._timings = bool(body.timings_per_token)
        self._texts = [""] * len(asked)

    def first(self) -> bytes:
        return b""

    def event(self, place: int, event: Event) -> bytes:
        if isinstance(event, Text) and (event.text or event.tokens):
            self._texts[place] += event.text
            chunk: dict[str, Any] = {
                "index": place,
                "content": event.text,
                "tokens": [token.id for token in event.tokens],
                "stop": False,
            }
            if self._logprobs:
                chunk["completion_probabilities"] = self._told(event.tokens)
            return data(chunk)
        if isinstance(event, Prefill) and self._progress:
            progress = {"total": event.total, "cache": event.cached, "processed": event.done, "time_ms": 0}
            return data({"index": place, "content": "", "tokens": [], "stop": False, "prompt_progress": progress})
        if isinstance(event, Finish):
            return data(asked_for(self._fields, self._end(place, event, "", ())))
        return b""

    def last(self) -> bytes:
        return b""

    def failed(self, why: Refusal) -> bytes:
        return data(why.body())

    def whole(self, answers: Sequence[Completion]) -> Any:
        replies = []
        for place, done in enumerate(answers):
            self._texts[place] = done.text
            finish = Finish(done.finish_reason, done.stop, done.usage, done.timings)
            reply = self._end(place, finish, done.text, [token.id for token in done.tokens] if self._tokens else ())
            if self._logprobs:
                reply["completion_probabilities"] = self._told(done.tokens)
            replies.append(asked_for(self._fields, reply))
        return replies if self._many else replies[0]

    def _end(self, place: int, finish: Finish, content: str, tokens: Sequence[int]) -> dict[str, Any]:
        request = self._asked[place]
        word = finish.stop is not None and finish.stop in request.stops
        kind = "word" if word else {"stop": "eos", "length": "limit"}.get(finish_reason(finish.reason), "none")
        prompt = request.prompt
        return {
            "index": place,
            "content": content,
            "tokens": list(tokens),
            "id_slot": self._slots.of(request),
            "stop": True,
            "model": self.model,
            "tokens_predicted": finish.usage.completion_tokens,
            "tokens_evaluated": finish.usage.prompt_tokens,
            "tokens_cached": finish.usage.cached_tokens,
            "generation_settings": {**plain(request.options), "n_ctx": self._ctx},
            "prompt": prompt if isinstance(prompt, str) else self._tokenizer.decode(list(prompt or ())),
            "has_new_line": "\n" in self._texts[place],
            "truncated": finish.usage.prompt_tokens + finish.usage.completion_tokens > self._ctx,
            "stop_type": kind,
            "stopping_word": finish.stop if word else "",
            "timings": finish.timings.to_dict(),
        }

    def _told(self, tokens: Sequence[Token]) -> list[dict[str, Any]]:
        top = "top_probs" if self._probabilities else "top_logprobs"
        return [
            {
                **self._one(token.id, token.bytes, token.logprob),
                top: [self._one(i, self._tokenizer.token_bytes(i), p) for i, p in token.top],
            }
            for token in tokens
        ]

    def _one(self, token: int, piece: bytes, logprob: float | None) -> Mapping[str, Any]:
        logprob = NEVER if logprob is None else max(logprob, NEVER)
        chance = {"prob": math.exp(logprob)} if self._probabilities else {"logprob": logprob}
        return {"id": token, "token": text_of(piece), "bytes": list(piece), **chance}
