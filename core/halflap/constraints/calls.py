"""Answers whose tool calls fit the tools: free text until a call begins, then nothing but a call."""

from __future__ import annotations

from halflap.constraints.builtin import quoted, schema_text
from halflap.constraints.contract import Tokens
from halflap.constraints.matching import Matching, checked_length
from halflap.text.chat.hermes import CallGrammar


def held(tokens: Tokens, grammar: CallGrammar) -> Matching:
    """A constraint for one answer.

    Raises:
        ConstraintError: the tools' schemas cannot be compiled.
    """
    return Matching(tokens, checked_length(to_lark(grammar), "tools"), "tools")


def to_lark(grammar: CallGrammar) -> str:
    """The grammar of whole answers, in llguidance's Lark. A lazy rule ends at the first place where it can."""
    trigger = quoted(grammar.trigger)
    rules = ["TEXT: /(?s:.*)/", f"thought[lazy]: TEXT {quoted(grammar.think_end)}"]
    thought = "thought " if grammar.thinking else ""
    for place, call in enumerate(grammar.calls):
        schema = schema_text(call.schema, "tools")
        rules.append(f"call_{place}: {quoted(call.before)} %json {schema} {quoted(call.after)}")
    if grammar.calls:
        rules.append("call: " + " | ".join(f"call_{place}" for place in range(len(grammar.calls))))
    if not grammar.calls:
        rules.append(f"UNTRIGGERED: /(?s:.+)/ & ~(TEXT {trigger} TEXT)")
        answer = "UNTRIGGERED?"
    elif grammar.required:
        rules.append("GAP: /[ \\n]{1,8}/")
        thought = thought or f"({quoted(grammar.think)} thought)? "
        answer = f"(GAP? {trigger} call)+"
    else:
        rules.append(f"begun[lazy]: TEXT {trigger}")
        answer = "(begun call)* TEXT"
    return f"start: {thought}{answer}\n" + "\n".join(rules) + "\n"
