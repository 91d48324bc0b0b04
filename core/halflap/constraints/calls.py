"""Answers whose tool calls fit the tools: free text until a call begins, then nothing but a call."""

from __future__ import annotations

import re

from halflap.constraints.arguments import Rules, arguments
from halflap.constraints.builtin import quoted
from halflap.constraints.contract import Tokens
from halflap.constraints.matching import Matching, checked_length
from halflap.text.chat.contract import CallGrammar, Calling
from halflap.text.chat.notations import AsJson

GAP = "/[ \\n]{1,8}/"
INDEX, BREAK = re.compile(r"(\{index\})"), re.compile(r"(\n+)")


def held(tokens: Tokens, grammar: CallGrammar) -> Matching:
    """A constraint for one answer.

    Raises:
        ConstraintError: the tools' schemas cannot be compiled.
    """
    return Matching(tokens, checked_length(to_lark(grammar), "tools"), "tools")


def to_lark(grammar: CallGrammar) -> str:
    """The grammar of whole answers, in llguidance's Lark. A lazy rule ends at the first place where it can."""
    rules = Rules()
    rules.add("TEXT", "/(?s:.*)/")
    if not grammar.ways[0].calls:
        triggers = " ".join(f"& ~(TEXT {quoted(way.trigger or way.open)} TEXT)" for way in grammar.ways)
        rules.add("UNTRIGGERED", f"/(?s:.+)/ {triggers}")
        return rules.text("UNTRIGGERED?")
    if grammar.required:
        way = grammar.ways[0]
        rules.add("GAP", GAP)
        calls = f"GAP? {_literal(way.open)}{_several(rules, way, 0)}"
        return rules.text(f"({calls})+" if way.between is None else calls)
    begun = []
    for place, way in enumerate(grammar.ways):
        trigger = way.trigger or way.open
        rules.add(f"begun_{place}[lazy]", f"TEXT {quoted(trigger)}")
        rest = _literal(way.open.partition(trigger)[2])
        begun.append(f"begun_{place} {rest}{_several(rules, way, place)}")
    return rules.text(f"({' | '.join(begun)})* TEXT")


def _several(rules: Rules, way: Calling, place: int) -> str:
    """The calls of one opening that was written."""
    text = _literal if all(isinstance(call.arguments, AsJson) for call in way.calls) else _loose
    calls = []
    for number, call in enumerate(way.calls):
        name = f"call_{place}_{number}"
        calls.append(rules.add(name, f"{text(call.before)}{arguments(rules, call, name)} {text(call.after)}"))
    name = rules.add(f"call_{place}", " | ".join(calls))
    return name if way.between is None else f"{name} ({text(way.between)}{name})* {text(way.end)}"


def _literal(text: str) -> str:
    """A text and a space behind it, nothing for none; {index} is a number."""
    parts = filter(None, INDEX.split(text))
    return "".join("/[0-9]{1,4}/ " if part == "{index}" else f"{quoted(part)} " for part in parts)


def _loose(text: str) -> str:
    """A text whose line breaks may be left out."""
    parts = filter(None, BREAK.split(text))
    return "".join(f"({quoted(part)})? " if part.isspace() else _literal(part) for part in parts)
