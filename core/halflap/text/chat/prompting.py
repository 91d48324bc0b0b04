"""From a chat and a request's options to its prompt: what the template is told, and answers that are continued."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from halflap.errors import TemplateError
from halflap.text.chat.contract import ChatFormat
from halflap.text.chat.template import SWITCHES, Piece

Messages = Sequence[Mapping[str, Any]]


@frozen
class Prompt:
    """A rendered chat.

    Attributes:
        given: words of the answer that it already holds, with what opens the turn.
    """

    pieces: list[Piece]
    given: str = ""

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


def thinks(options: Mapping[str, Any]) -> bool | None:
    """Whether a request's options turn thinking on or off; None: the template decides."""
    if options.get("reasoning", "auto") != "auto":
        return bool(options["reasoning"] == "on")
    if options.get("reasoning_effort") == "none":
        return False
    found: bool | None = options.get("enable_thinking")
    return found


def variables(options: Mapping[str, Any], declared: frozenset[str]) -> dict[str, Any]:
    """What a request tells its chat template beside messages and tools.

    Args:
        declared: variables that the template looks for.
    """
    told: dict[str, Any] = {}
    on, effort = thinks(options), options.get("reasoning_effort")
    if on is not None:
        told |= {name: values[not on] for name, values in SWITCHES.items() if name in declared}
        told["enable_thinking"] = on
    if effort is not None and effort != "none":
        told["reasoning_effort"] = effort
    if "thinking_budget" in declared and options.get("reasoning_budget", -1) >= 0:
        told["thinking_budget"] = options["reasoning_budget"]
    if options.get("add_generation_prompt") is False:
        told["add_generation_prompt"] = False
    return told | dict(options.get("chat_template_kwargs", {}))


def render(form: ChatFormat, messages: Messages, tools: Sequence[Any], options: Mapping[str, Any]) -> Prompt:
    """The prompt of a request.

    A last message of the assistant is continued, unless `add_generation_prompt` says what to do.

    Raises:
        TemplateError: the template refused the messages, failed, or passed a limit.
    """
    template = getattr(form, "template", None)
    told = variables(options, getattr(template, "declared", frozenset()))
    last = messages[-1]
    if last["role"] == "assistant" and not last.get("tool_calls") and options.get("add_generation_prompt") is None:
        return _continued(form, messages, tools, told)
    pieces = form.render(messages, tools, **told)
    if thinks(options) is False and (close := opened(form, pieces)):
        pieces = [*pieces, Piece(f"\n{close}\n\n", True)]  # the template has no switch
    return Prompt(pieces)


def opened(form: ChatFormat, pieces: Sequence[Piece]) -> str:
    """What closes the thought in which a prompt ends; "" if it ends in none."""
    text = "".join(piece.text for piece in pieces).rstrip()
    thoughts: Sequence[tuple[str, str]] = getattr(form, "thoughts", ())
    return next((closes for opens, closes in thoughts if text.endswith(opens.rstrip())), "")


def may_open(form: ChatFormat, prompt: Prompt, options: Mapping[str, Any]) -> bool:
    """Whether an answer may begin with a thought: its model thinks, and nobody turned that off or was done with it."""
    tags: Sequence[tuple[str, str]] = getattr(form, "thoughts", ())
    wish, text = thinks(options), prompt.text.rstrip()
    if wish is False or prompt.given or any(text.endswith((opens.rstrip(), closes)) for opens, closes in tags):
        return False
    template = getattr(form, "template", None)
    turned = wish is not None or SWITCHES.keys() & options.get("chat_template_kwargs", {}).keys()
    if template is not None and not turned and not template.capabilities.thinks_unasked:
        return False
    source = getattr(template, "source", "")  # models of one family may think or not
    return any(wish or opens.rstrip() in source or closes in source for opens, closes in tags)


def inside(form: ChatFormat, prompt: Prompt) -> str:
    """What closes the thought in which an answer goes on; "" if it goes on in none."""
    if not prompt.given:
        return opened(form, prompt.pieces)
    thoughts: Sequence[tuple[str, str]] = getattr(form, "thoughts", ())
    return next((c for o, c in thoughts if prompt.given.rfind(o) > prompt.given.rfind(c)), "")


def _continued(form: ChatFormat, messages: Messages, tools: Sequence[Any], told: dict[str, Any]) -> Prompt:
    """A prompt that ends behind the last message's words: those are marked, and what the template adds is cut off."""
    *before, last = messages
    field = "content" if last.get("content") or not last.get("reasoning_content") else "reasoning_content"
    words, end = _text(last.get(field)), f"\ufdd1{secrets.token_hex(8)}\ufdd1"
    told = {**told, "add_generation_prompt": False}
    try:
        pieces = _cut(form.render([*before, {**last, field: words + end}], tools, **told), end)
    except TemplateError:
        pieces = None
    if pieces is not None:
        found = Prompt(pieces, _answer(form, pieces, words, before, tools, told))
        if field != "content" or not inside(form, found) or inside(form, Prompt([], words)):
            return found
    # The template leaves such words out, or has them in a thought.
    pieces = form.render(before or [{"role": "user", "content": ""}], tools, **{**told, "add_generation_prompt": True})
    close = opened(form, pieces)
    if field == "content" and close:
        pieces = [*pieces, Piece(f"\n{close}\n\n", True)]
    elif field != "content" and not close:
        pieces = [*pieces, *(Piece(f"{opens}\n", True) for opens, _ in getattr(form, "thoughts", ())[:1])]
    pieces = [*pieces, Piece(words, False)]
    return Prompt(pieces, _answer(form, pieces, words, before, tools, told))


def _answer(
    form: ChatFormat, pieces: Sequence[Piece], words: str, before: Messages, tools: Sequence[Any], told: dict[str, Any]
) -> str:
    """The end of a prompt that belongs to the answer: what a prompt of the messages before it does not have."""
    whole = "".join(piece.text for piece in pieces)
    try:
        start = "".join(piece.text for piece in form.render(before, tools, **told))
    except TemplateError:
        return words
    same = (place for place, pair in enumerate(zip(whole, start, strict=False)) if pair[0] != pair[1])
    answer = whole[next(same, len(start)) :]
    asked = _text(before[-1].get("content")).strip() if before else ""
    return answer.rpartition(asked)[2] if asked and asked not in words else answer


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else ()
    return "".join(
        str(part["text"]) for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)
    )


def _cut(pieces: Sequence[Piece], end: str) -> list[Piece] | None:
    """Pieces up to the mark; None: it is in none."""
    for place in range(len(pieces) - 1, -1, -1):
        found = pieces[place].text.rfind(end)
        if found >= 0:
            kept = pieces[place].text[:found]
            return [*pieces[:place], *([Piece(kept, pieces[place].special)] if kept else [])]
    return None
