"""POST /v1/completions: text that continues a prompt (OpenAI)."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import halflap
from halflap import Completion, Event, Finish, Text, Token
from halflap.text.tokenizer import Tokenizer
from halflap_server.answers import answer, data
from halflap_server.asking import chosen, seeded
from halflap_server.bodies import Completions, Prompt
from halflap_server.errors import Refusal, invalid
from halflap_server.pool import Lease
from halflap_server.reading import read
from halflap_server.replies import TextChoice, TextLogprobs, TextReply, finish_reason, text_of, usage
from halflap_server.routes.infill import infill_ids

MOST_PROMPTS = 256
NEVER = -9999.0


async def completions(request: Request) -> Response:
    """Continue a text (OpenAI)."""
    body, _ = await read(request, Completions)
    lease = await request.app.state.pool.acquire(body.model)
    with lease.unless_failed():
        given = prompts(body.prompt, lease.model.tokenizer)
        if body.suffix is not None:
            given = [infill_ids(lease, each, body.suffix) for each in given]
        asked, count = chosen(body, lease), _count(body)
        if body.logprobs is not None or count > (body.n or 1):
            asked["logprobs"] = body.logprobs or 0
        requests = [halflap.Request(prompt=prompt, options=each) for prompt in given for each in seeded(asked, count)]
        if len(requests) > MOST_PROMPTS:
            raise invalid("prompt", f"prompt: got {len(requests)} answers to give, want at most {MOST_PROMPTS}")
        echoed = [request.prompt for request in requests] if body.echo else []
        writer = TextWriter(body, lease, echoed)
    return await answer(
        request, lease, requests, writer, streaming=bool(body.stream), slot=body.id_slot, number=writer.id
    )


def _count(body: Completions) -> int:
    """Answers to generate for each prompt, of which `n` are told."""
    told = body.n or 1
    count = told if body.best_of is None else body.best_of
    if count < told:
        raise invalid("best_of", f"best_of: got {count}, want at least n, {told}")
    if count > told and body.stream:
        raise invalid("best_of", f"best_of: got {count} with stream, want n, {told}: the best are known at the end")
    return count


def prompts(given: Prompt, tokenizer: Tokenizer) -> list[str | list[int]]:
    """llama-server's forms: a text; token ids; a mix of texts and ids; a list of any of these."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise invalid("prompt", "prompt: got an empty list, want at least one prompt")
    if any(isinstance(part, int) for part in given):
        return [_mixed(given, tokenizer)]
    return [part if isinstance(part, str) else _mixed(part, tokenizer) for part in given if not isinstance(part, int)]


def _mixed(parts: Sequence[str | int | list[str | int]], tokenizer: Tokenizer) -> list[int]:
    """One prompt of ids and texts; only a text at its very beginning gets the token that begins a sequence."""
    ids: list[int] = []
    for place, part in enumerate(parts):
        if isinstance(part, str):
            ids += tokenizer.encode(part, add_special=place == 0, parse_special=True)
        elif isinstance(part, int):
            ids.append(part)
        else:
            raise invalid("prompt", f"prompt[{place}]: got a list among token ids, want an id or a text")
    return ids


class TextWriter:
    """OpenAI's text completion, whole or in chunks.

    Args:
        echoed: the prompt of each answer, to be said before it; empty: not.
    """

    def __init__(self, body: Completions, lease: Lease, echoed: Sequence[str | Sequence[int] | None]) -> None:
        self.id, self.created, self.model = f"cmpl-{secrets.token_hex(12)}", int(time.time()), lease.served.name
        self._tokenizer = lease.model.tokenizer
        self._echoed = [self._text(prompt) for prompt in echoed]
        self._logprobs = body.logprobs is not None
        self._usage = bool(body.stream_options and body.stream_options.include_usage)
        self._finished: list[Finish] = []
        self._count, self._best = body.n or 1, _count(body)
        self._offsets = [len(text) for text in self._echoed]

    def _text(self, prompt: str | Sequence[int] | None) -> str:
        return prompt if isinstance(prompt, str) else self._tokenizer.decode(list(prompt or ()))

    def first(self) -> bytes:
        return b"".join(
            self._chunk([TextChoice(index=place, text=text)]) for place, text in enumerate(self._echoed) if text
        )

    def event(self, place: int, event: Event) -> bytes:
        if isinstance(event, Text) and (event.text or (self._logprobs and event.tokens)):
            offset = self._offset(place, len(event.text))
            told = self._told(event.tokens, offset) if self._logprobs else None
            return self._chunk([TextChoice(index=place, text=event.text, logprobs=told)])
        if isinstance(event, Finish):
            self._finished.append(event)
            choice = TextChoice(index=place, text="", finish_reason=finish_reason(event.reason))
            return self._chunk([choice], timings=event.timings.to_dict())
        return b""

    def _offset(self, place: int, length: int) -> int:
        self._offsets += [0] * (place + 1 - len(self._offsets))
        offset = self._offsets[place]
        self._offsets[place] += length
        return offset

    def last(self) -> bytes:
        end = b"data: [DONE]\n\n"
        if not self._usage:
            return end
        return self._chunk([], usage=usage(*(finish.usage for finish in self._finished))) + end

    def failed(self, why: Refusal) -> bytes:
        return data(why.body()) + b"data: [DONE]\n\n"

    def whole(self, answers: Sequence[Completion]) -> TextReply:
        choices = []
        for index, place in enumerate(self._told_places(answers)):
            done = answers[place]
            before = self._echoed[place] if self._echoed else ""
            told = self._told(done.tokens, len(before)) if self._logprobs else None
            reason = finish_reason(done.finish_reason)
            choices.append(TextChoice(index=index, text=before + done.text, logprobs=told, finish_reason=reason))
        return self._reply(
            choices, usage=usage(*(done.usage for done in answers)), timings=answers[0].timings.to_dict()
        )

    def _told_places(self, answers: Sequence[Completion]) -> list[int]:
        """Places of the answers that are told: of each prompt's `best_of` the `n` likeliest per token, best first."""
        if self._best == self._count:
            return list(range(len(answers)))
        likeliest = [
            sorted(range(first, first + self._best), key=lambda place: -_mean(answers[place]))[: self._count]
            for first in range(0, len(answers), self._best)
        ]
        return [place for places in likeliest for place in places]

    def _told(self, tokens: Sequence[Token], offset: int) -> TextLogprobs:
        texts = [text_of(token.bytes) for token in tokens]
        offsets = [offset + sum(map(len, texts[:place])) for place in range(len(texts))]
        likeliest: list[dict[str, float] | None] = [self._likeliest(token) for token in tokens]
        return TextLogprobs(texts, [_finite(token.logprob) for token in tokens], likeliest, offsets)

    def _likeliest(self, token: Token) -> dict[str, float]:
        return {text_of(self._tokenizer.token_bytes(i)): _finite(p) or NEVER for i, p in token.top}

    def _chunk(self, choices: list[TextChoice], **facts: Any) -> bytes:
        return data(self._reply(choices, **facts))

    def _reply(self, choices: list[TextChoice], **facts: Any) -> TextReply:
        return TextReply(
            id=self.id,
            created=self.created,
            model=self.model,
            system_fingerprint=f"halflap-{halflap.__version__}",
            choices=choices,
            **facts,
        )


def _mean(done: Completion) -> float:
    """Mean log probability of an answer's tokens; one without tokens is the last to be told."""
    chances = [_finite(token.logprob) or 0.0 for token in done.tokens]
    return sum(chances) / len(chances) if chances else -math.inf


def _finite(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, NEVER)


def asked_for(fields: Sequence[str] | None, reply: Mapping[str, Any]) -> dict[str, Any]:
    """Only the wished members of a reply; "a/b" names a member of a member."""
    if not fields:
        return dict(reply)
    found: dict[str, Any] = {}
    for field in fields:
        value: Any = reply
        for part in field.split("/"):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            found[field.rpartition("/")[2]] = value
    return found
