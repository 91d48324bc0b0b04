"""Answers whose tool calls fit the tools: free text until a call begins, then nothing but a call."""

from __future__ import annotations

from halflap.constraints.builtin import quoted, schema_text
from halflap.constraints.contract import Tokens
from halflap.constraints.matching import Matching, checked_length
from halflap.text.chat.contract import CallGrammar


def held(tokens: Tokens, grammar: CallGrammar) -> Matching:
    """A constraint for one answer.

    Raises:
        ConstraintError: the tools' schemas cannot be compiled.
    """
    return Matching(tokens, checked_length(to_lark(grammar), "tools"), "tools")


def to_lark(grammar: CallGrammar) -> str:
    """The grammar of whole answers, in llguidance's Lark. A lazy rule ends at the first place where it can."""
    rules = ["TEXT: /(?s:.*)/"]
    for place, call in enumerate(grammar.calls):
        schema = schema_text(call.schema, "tools")
        rules.append(f"call_{place}: {_text(call.before)}%json {schema} {_text(call.after)}")
    if not grammar.calls:
        rules.append(f"UNTRIGGERED: /(?s:.+)/ & ~(TEXT {quoted(grammar.trigger)} TEXT)")
        return f"start: UNTRIGGERED?\n" + "\n".join(rules) + "\n"
    rules.append("call: " + " | ".join(f"call_{place}" for place in range(len(grammar.calls))))
    several = "call" if grammar.between is None else f"call ({_text(grammar.between)}call)* {_text(grammar.end)}"
    if grammar.required:
        rules.append("GAP: /[ \\n]{1,8}/")
        calls = f"GAP? {_text(grammar.trigger)}{several}"
        answer = f"({calls})+" if grammar.between is None else calls
    else:
        rules.append(f"begun[lazy]: TEXT {quoted(grammar.trigger)}")
        answer = f"(begun {several})* TEXT"
    return f"start: {answer}\n" + "\n".join(rules) + "\n"


def _text(literal: str) -> str:
    """A literal and a space behind it; nothing for none."""
    return f"{quoted(literal)} " if literal else ""
