"""The constraints that come with Halflap: each makes a grammar for llguidance."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from halflap.constraints import lexemes
from halflap.constraints.contract import Tokens
from halflap.constraints.matching import Matching, checked_length, library, refused

SPACES = r" |\n{1,2}[ \t]{0,20}"
"""Between the parts of JSON: enough to indent, not to go on for ever. A schema's "x-guidance" may say otherwise."""


def json_schema(tokens: Tokens, schema: Mapping[str, Any] | bool | str) -> Matching:
    """JSON that fits a schema, which is given as such or as its text."""
    field = "json_schema"
    if isinstance(schema, str):
        try:
            schema = json.loads(checked_length(schema, field))
        except (ValueError, RecursionError) as cause:
            raise refused(field, f"text that is no JSON: {cause}", "a schema") from cause
    if not isinstance(schema, Mapping | bool):
        raise refused(field, f"{schema!r:.80}", "a mapping, true or false")
    return Matching(tokens, _schema_grammar(schema, field), field)


def any_json(tokens: Tokens) -> Matching:
    """Any JSON object."""
    return Matching(tokens, _schema_grammar({"type": "object"}, "constraint"), "constraint")


def _schema_grammar(schema: Mapping[str, Any] | bool, field: str) -> str:
    made: str = library(field).LLMatcher.grammar_from_json_schema(schema_text(schema, field))
    return made


def schema_text(schema: Mapping[str, Any] | bool, field: str) -> str:
    """A schema as the JSON text that llguidance reads.

    Raises:
        ConstraintError: nothing fits it, it is too long or too deep, or no JSON.
    """
    if isinstance(schema, bool):
        if not schema:
            raise refused(field, "false, which nothing fits", "a schema that something fits")
        schema = {}
    settings = schema.get("x-guidance", {})
    if not isinstance(settings, Mapping):
        raise refused(field, f"'x-guidance' of {settings!r:.80}", "a mapping")
    if "whitespace_flexible" not in settings:
        settings = {"whitespace_pattern": SPACES, **settings}
    schema = {**schema, "x-guidance": settings}
    try:
        text = json.dumps(schema, ensure_ascii=False, default=dict)
        text.encode()
    except (TypeError, ValueError, RecursionError) as cause:
        raise refused(field, f"{type(cause).__name__}: {cause}"[:200], "a schema that is JSON") from cause
    return checked_length(text, field)


def regex(tokens: Tokens, pattern: str) -> Matching:
    """Text that a regular expression matches from its first character to its last (Rust's syntax)."""
    if not isinstance(pattern, str):
        raise refused("regex", f"{pattern!r:.80}", "a text")
    made = library("regex").LLMatcher.grammar_from_regex(checked_length(_unicode(pattern, "regex"), "regex"))
    return Matching(tokens, made, "regex")


def choice(tokens: Tokens, texts: Sequence[str]) -> Matching:
    """One of several texts."""
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) for text in texts):
        raise refused("choice", f"{texts!r:.80}", "a list of at least one text")
    start = " | ".join(quoted(_unicode(text, "choice")) for text in texts)
    return Matching(tokens, checked_length(f"start: {start}\n", "choice"), "choice")


def lark(tokens: Tokens, grammar: str) -> Matching:
    """A grammar in Lark's notation, as llguidance reads it."""
    if not isinstance(grammar, str):
        raise refused("grammar", f"{grammar!r:.80}", "a text")
    made = library("grammar").LLMatcher.grammar_from_lark(checked_length(_unicode(grammar, "grammar"), "grammar"))
    return Matching(tokens, made, "grammar")


def gbnf_grammar(tokens: Tokens, grammar: str) -> Matching:
    """A grammar in llama.cpp's notation; its start is the rule `root`."""
    if not isinstance(grammar, str):
        raise refused("grammar", f"{grammar!r:.80}", "a text")
    library("grammar")
    return Matching(tokens, lexemes.to_lark(checked_length(_unicode(grammar, "grammar"), "grammar")), "grammar")


def notation(grammar: str) -> str:
    """Which of the two a text is written in: "lark" or "gbnf"."""
    return "lark" if re.search(r"^\s*(%|start\s*:(?!:))", grammar, re.M) else "gbnf"


def quoted(text: str) -> str:
    """A text as a literal of Lark's notation."""
    return json.dumps(text, ensure_ascii=False)


def _unicode(text: str, field: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as cause:
        raise refused(field, f"a lone surrogate at character {cause.start}", "text that UTF-8 can hold") from cause
    return text
