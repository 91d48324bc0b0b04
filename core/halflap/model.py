"""A loaded model: ask it, from any thread, and close it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from halflap.adapters import NO_ADAPTERS, Adapters
from halflap.chats import Asked, Chats
from halflap.constraints import asked
from halflap.constraints.contract import Tokens
from halflap.engine import saved
from halflap.engine.blocks import BlockManager
from halflap.engine.engine import QUEUE, Engine
from halflap.engine.generation import Generation
from halflap.engine.given import NO_IMAGES, Images
from halflap.engine.metrics import Metrics
from halflap.engine.overflow import Overflow, shortened
from halflap.engine.request import Options, Request
from halflap.engine.runner import Runner
from halflap.engine.scoring import Scoring
from halflap.errors import ContextOverflowError, InvalidRequestError, TemplateError
from halflap.events import Event
from halflap.images import Eyes, taken_out
from halflap.loading import ModelInfo
from halflap.placement import Plan
from halflap.sampling import chain
from halflap.scores import Scores
from halflap.stream import Channel, Completion, Stream
from halflap.text.chat.contract import ChatFormatInfo
from halflap.text.output import Output
from halflap.text.tokenizer import Tokenizer

Messages = Sequence[Mapping[str, Any]]
DRY_BREAKERS = ("\n", ":", '"', "*")


class Model(Scores):
    """A loaded model. Any thread and any event loop may use it; one engine thread inside owns the devices."""

    def __init__(
        self,
        info: ModelInfo,
        tokenizer: Tokenizer,
        plan: Plan,
        engine: Engine,
        release: Any,
        identity: Callable[[], str],
        eyes: Eyes | None = None,
        media_path: Path | None = None,
        adapters: Adapters = NO_ADAPTERS,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(info, tokenizer, plan, engine, release, adapters, eyes)
        self._chats = Chats(tokenizer, chat_template)
        self._identity, self._media_path = identity, media_path
        self._tokens = Tokens(tokenizer, info.vocab)

    @property
    def chat_format(self) -> ChatFormatInfo:
        """Name, template and capabilities of the model's chat format.

        Raises:
            TemplateError: the template does not compile.
        """
        return self._chats.info

    def apply_template(
        self, messages: Messages, /, tools: Sequence[Mapping[str, Any]] = (), **options: Unpack[Options]
    ) -> str:
        """The prompt that a chat would have, as text; nothing runs. Messages, tools and options are those of `stream`.

        Raises:
            InvalidRequestError, TemplateError: as `submit` does.
        """
        request = Request(messages=messages, tools=tools, options=options)
        taken, _ = taken_out(messages, self._media_path)
        return self._chats.render(taken, request.tools, request.options).text

    def prompt_ids(self, request: Request, /) -> list[int]:
        """Token ids of a request's prompt; nothing runs.

        Raises:
            InvalidRequestError, TemplateError: as `submit` does.
        """
        return self._asked(request).ids

    def count(self, request: Request, /) -> int:
        """Tokens of a request's prompt; nothing runs."""
        return len(self.prompt_ids(request))

    @property
    def metrics(self) -> Metrics:
        """Counters as of now."""
        return self._engine.metrics()

    def submit(self, request: Request, /) -> Stream:
        """Queue a request; the only door. What is wrong with it raises here, before anything runs.

        Raises:
            InvalidRequestError, NotRegisteredError, TemplateError: the request, or a model that makes no text.
            ConstraintError: a schema, regular expression or grammar that cannot be compiled.
            ContextOverflowError: the prompt leaves no room for an answer.
            BusyError: the queue is full.
            ModelClosedError: the model is closed.
        """
        channel = Channel()
        work = self.prepare(request, channel.put)
        self.start(work)
        engine = self._engine
        return Stream(channel, lambda: engine.cancel(work))

    def prepare(
        self, request: Request, put: Callable[[Sequence[Event] | BaseException], None], said: Sequence[int] = ()
    ) -> Generation:
        """What `submit` does before it starts, for who passes events on by himself.

        Args:
            put: called on the engine's thread with events in order, or with the error that ends them; must not raise.
            said: tokens of this very answer that were given out before, by a model that is gone.
        """
        self._check_open()
        self._check_computes("logits")
        options = {**self.info.sampling, **request.options}
        wanted = self._asked(request)
        ids, images = wanted.ids, wanted.images
        source: list[int] = []
        if self.info.start is not None:  # an encoder reads the prompt
            source, ids = self._checked_ids(ids), [self.info.start]
        overflow = self._overflow(options, images)
        if overflow is not None and len(ids) >= self.plan.ctx:
            ids = shortened(ids, self.plan.ctx, overflow, _kept(options, ids))
        limit = self.plan.ctx if overflow is not None else self._limit(ids, options.get("max_tokens"))
        return Generation(
            ids,
            limit,
            self._chain(options),
            Output(self.tokenizer, wanted.parser, request.stops, options.get("n_indent", 0)),
            self._ends(options),
            self.tokenizer.token_bytes,
            put,
            options.get("max_tokens"),
            options.get("logprobs"),
            options.get("timeout"),
            images,
            constraint=asked.constraint(options, wanted.calls, self._tokens, wanted.thoughts),
            forcing=wanted.budget,
            overflow=overflow,
            n_keep=_kept(options, ids),
            t_max_predict_ms=options.get("t_max_predict_ms", 0),
            after_samplers=options.get("post_sampling_probs", False),
            model=self.info.name,
            marks=self._marks(request, ids),
            reuse=options.get("cache", True),
            priority=options.get("priority", 0),
            user=options.get("user", ""),
            source=source,
            said=said,
            scales=self._adapters.scales(options.get("adapters", {})),
        )

    def start(self, work: Generation) -> None:
        """Queue what `prepare` made.

        Raises:
            BusyError: the queue is full.
        """
        self._engine.submit(work)

    def cancel(self, work: Generation) -> None:
        """Stop it."""
        self._engine.cancel(work)

    def stream(
        self,
        prompt: str | Sequence[int] | Messages,
        /,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        **options: Unpack[Options],
    ) -> Stream:
        """Start a request: text, token ids, or a chat as a list of messages.

        A model with an encoder has it read all of that; the answer is the decoder's.
        """
        return self.submit(self._request(prompt, tools, options))

    def streams(
        self,
        prompt: str | Sequence[int] | Messages,
        count: int,
        /,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        **options: Unpack[Options],
    ) -> list[Stream]:
        """Several answers to one prompt, which is read once; answer i draws with `seed` + i."""
        if not 1 <= count <= QUEUE:
            raise InvalidRequestError("count", got=count, want=f"1 to {QUEUE} answers", field="n")
        seed = options.pop("seed", None)
        seeds = [None if seed is None else (seed + i) % (1 << 64) for i in range(count)]
        return [self.submit(self._request(prompt, tools, {**options, "seed": each})) for each in seeds]

    def generate(
        self, prompt: str | Sequence[int], /, *, images: Sequence[bytes] = (), **options: Unpack[Options]
    ) -> Completion:
        """Continue a prompt; waits for the whole answer.

        Args:
            images: encoded images, one for each -1 of a prompt of ids.
        """
        return self.submit(Request(prompt=prompt, images=images, options=options)).result()

    def chat(
        self, messages: Messages, /, *, tools: Sequence[Mapping[str, Any]] = (), **options: Unpack[Options]
    ) -> Completion:
        """Answer a chat; messages and tools as in OpenAI's API. Waits for the whole answer."""
        return self.submit(Request(messages=messages, tools=tools, options=options)).result()

    def tokenize(self, text: str, /, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text."""
        return self.tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def detokenize(self, ids: Sequence[int], /) -> str:
        """Text of token ids."""
        return self.tokenizer.decode(ids)

    def save_prefix(self, prompt: str | Sequence[int] | Messages, path: str | os.PathLike[str], /) -> int:
        """Compute a prompt and store the state behind it, for `load_prefix` in this process or a later one.

        Returns:
            Tokens that the file covers: whole blocks of the prompt.

        Raises:
            InvalidRequestError: the prompt is shorter than a block, an encoder reads it, or the file cannot be written.
            ContextOverflowError: the prompt is longer than the context.
        """
        self._check_computes("logits")
        self._check_no_encoder()
        wanted = self._asked(self._request(prompt, (), {}))
        ids, images = wanted.ids, wanted.images
        self._score(ids, ("logits",), [], images).result()
        key = Scoring(ids, ("logits",), [], lambda rows: None, images)

        def save(runner: Runner, manager: BlockManager) -> int:
            keys = key.keys(len(ids) // manager.node_tokens, manager.node_tokens)
            nodes, _ = manager.tree.resume(manager.tree.walk(b"", keys), key.may_start)
            if not nodes:
                want = f"at least {manager.node_tokens}, and room to keep them"
                raise InvalidRequestError("prompt", got=f"{len(ids)} tokens", want=want, field="prompt")
            saved.write(Path(path), self._identity(), keys[: len(nodes)], nodes, runner, manager)
            return len(nodes) * manager.node_tokens

        covered: int = self._engine.call(save).result()
        return covered

    def load_prefix(self, path: str | os.PathLike[str], /) -> int:
        """Take what `save_prefix` stored: prompts that begin so need not compute it.

        Returns:
            Tokens that the file covers.

        Raises:
            ModelNotFoundError, ModelFormatError: no such file, or a damaged one.
            InvalidRequestError: it was saved from another model, or one that was loaded otherwise.
            DeviceMemoryError: there is no room for it.
        """
        self._check_open()
        model = self._identity()
        covered: int = self._engine.call(
            lambda runner, manager: saved.read(Path(path), model, runner, manager)
        ).result()
        return covered

    def close(self) -> None:
        """Free everything. Open streams get ModelClosedError. May be called again."""
        self._finalizer()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Model:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _request(
        prompt: str | Sequence[int] | Messages, tools: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> Request:
        if not isinstance(prompt, str) and len(prompt) > 0 and isinstance(prompt[0], Mapping):
            return Request(messages=prompt, tools=tools, options=options)  # type: ignore[arg-type]
        return Request(prompt=prompt, tools=tools, options=options)  # type: ignore[arg-type]

    def _asked(self, request: Request) -> Asked:
        if request.messages is not None:
            return self._render(request)
        if isinstance(request.prompt, str):
            return Asked(self.tokenizer.encode(request.prompt))
        assert request.prompt is not None
        return Asked(*self._given(request.prompt, request.images))

    def _render(self, request: Request) -> Asked:
        assert request.messages is not None
        messages, found = taken_out(request.messages, self._media_path)
        seen = self._seeing().see(found) if found else []
        rendered = self._chats.render(messages, request.tools, request.options)
        bos = self.tokenizer.token_text(self.tokenizer.bos_id)
        add_special = not (bos and rendered.text.startswith(bos))  # many templates write it themselves
        pieces = rendered.pieces
        woven = self._seeing().framed(pieces, seen) if seen else [(p.text, p.special) for p in pieces]
        ids = self.tokenizer.encode_pieces(woven, add_special=add_special)
        images = self._seeing().place(ids, seen, self.tokenizer) if seen else NO_IMAGES
        chats, options = self._chats, {**self.info.sampling, **request.options}
        calls, thoughts = chats.calls(request, rendered), chats.thoughts(request.options, rendered)
        held = calls is not None or bool(asked.held(options))
        return Asked(
            ids, images, chats.parser(request, rendered), calls, thoughts, chats.budget(options, thoughts, held)
        )

    def _marks(self, request: Request, ids: Sequence[int]) -> tuple[int, ...]:
        """Where a chat's system message ends: other chats begin with the same."""
        if not (self._engine.forgetful and request.messages and len(request.messages) > 1):
            return ()
        if request.messages[0]["role"] not in ("system", "developer"):
            return ()
        try:
            options = {**request.options, "add_generation_prompt": False}
            pieces = self._chats.render(request.messages[:1], request.tools, options).pieces
        except TemplateError:  # one that wants a question
            return ()
        alone = self.tokenizer.encode_pieces([(p.text, p.special) for p in pieces])
        return (sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(alone, ids, strict=False))),)

    def _chain(self, options: Mapping[str, Any]) -> chain.SamplerChain:
        options = dict(options)
        for token in options.get("logit_bias") or {}:
            if token >= self.info.vocab:
                raise InvalidRequestError(
                    "option 'logit_bias'", got=f"token {token}", want=f"ids below {self.info.vocab}", field="logit_bias"
                )
        if options.get("ignore_eos"):
            banned = dict.fromkeys(self.tokenizer.eog_ids, -np.inf)
            options["logit_bias"] = {**(options.get("logit_bias") or {}), **banned}
        if options.get("dry_multiplier"):
            breakers = options.get("dry_sequence_breakers", DRY_BREAKERS)
            options["dry_breakers"] = self.tokenizer.ids_containing(tuple(breakers))
        names = options.get("samplers") or chain.MIROSTAT.get(options.get("mirostat") or 0, chain.DEFAULT)
        seed = options.get("seed")
        return chain.SamplerChain(names, options, secrets.randbits(63) if seed is None else seed)

    def _ends(self, options: Mapping[str, Any]) -> dict[int, str]:
        if options.get("ignore_eos"):
            return {}
        return {token: self.tokenizer.token_text(token) for token in self.tokenizer.eog_ids}

    def _overflow(self, options: Mapping[str, Any], images: Images) -> Overflow | None:
        how: Overflow | Literal["error"] = options.get("overflow", "error")
        if how == "error":
            return None
        if images.given:
            raise InvalidRequestError("overflow", got=f"{how!r} with images", want="'error'", field="overflow")
        return how

    def _limit(self, ids: Sequence[int], max_tokens: int | None) -> int:
        """Tokens the sequence may grow to."""
        ctx = self.plan.ctx
        if not ids:
            raise InvalidRequestError("prompt", got="no tokens", want="at least one", field="prompt")
        if len(ids) >= ctx:
            raise ContextOverflowError(
                "prompt",
                got=f"{len(ids)} tokens",
                want=f"fewer than the context's {ctx}",
                fix="Shorten it, or load with a larger ctx.",
                n_prompt=len(ids),
                n_ctx=ctx,
            )
        return ctx if max_tokens is None else min(ctx, len(ids) + max(max_tokens, 1))


def _kept(options: Mapping[str, Any], prompt: Sequence[int]) -> int:
    """Tokens of the prompt that overflow leaves."""
    kept: int = options.get("n_keep", 0)
    return len(prompt) if kept < 0 else min(kept, len(prompt))


__all__ = ["Completion", "Model", "Stream"]
