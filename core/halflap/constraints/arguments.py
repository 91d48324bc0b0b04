"""A call's arguments in each notation, as rules of llguidance's Lark, from the JSON schema of a tool."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from halflap.constraints.builtin import quoted, schema_text
from halflap.constraints.strings import string
from halflap.errors import ConstraintError
from halflap.text.chat.argument_schemas import arguments as named
from halflap.text.chat.argument_schemas import branches, further, type_of
from halflap.text.chat.calls import NAME
from halflap.text.chat.contract import CallText
from halflap.text.chat.notations import AsJson, AsKeywords, AsTags

FREE_NAME: Final = "/[A-Za-z_][A-Za-z0-9_]{0,40}/"
QUOTE: Final = '<|"|>'
SCALARS: Final = {
    "null": "null",
    "boolean": "true|false",
    "integer": r"-?(0|[1-9][0-9]{0,17})",
    "number": r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][-+]?[0-9]{1,2})?",
}
"""What stands for any value of a type, where it must be told from strings by itself."""
BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})


class Rules:
    """Rules of a grammar, by name."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}

    def add(self, name: str, body: str) -> str:
        self._rules[name] = body
        return name

    def new(self, prefix: str, body: str) -> str:
        """A rule, or a terminal if the prefix is in capitals, under a name of its own."""
        return self.add(f"{prefix}_{len(self._rules)}", body)

    def text(self, start: str) -> str:
        return "\n".join([f"start: {start}", *(f"{name}: {body}" for name, body in self._rules.items())]) + "\n"


def arguments(rules: Rules, call: CallText, name: str) -> str:
    """What stands for a call's arguments in the rule of that name.

    Raises:
        ConstraintError: a schema that nothing fits, or nothing that can be written so.
    """
    how = call.arguments
    if isinstance(how, AsJson):
        return f"%json {schema_text(call.schema, 'tools')}"
    if isinstance(how, AsTags):
        return _tags(rules, how, call.schema, name)
    if isinstance(how, AsKeywords):
        return _keywords(rules, call.schema, name)
    return _Gemma(rules, call.schema, name).arguments()


def _json(schema: Any, root: Any) -> str:
    """A part of a schema, with what it may refer to."""
    known = {
        key: root[key] for key in ("$defs", "definitions", "x-guidance") if isinstance(root, Mapping) and key in root
    }
    return f"%json {schema_text({**known, **schema} if isinstance(schema, Mapping) else schema, 'tools')}"


# Tags


def _tags(rules: Rules, how: AsTags, schema: Any, name: str) -> str:
    parts = []
    for key, (value, required) in named(schema).items():
        if _readable(key, how.key_end, '"', "<") and key == key.strip():
            rule = rules.new(f"{name}_argument", _tag(rules, how, quoted(key), value, schema, key))
            parts.append(rule if required else f"{rule}?")
        elif required:
            raise _unwritable(key)
    more = further(schema)
    if more is not False and "{key}" not in how.value_end:
        rule = rules.new(f"{name}_argument", _tag(rules, how, FREE_NAME, more, schema, ""))
        parts.append(f"{rule}*")
    return " ".join(parts) or '""'


def _tag(rules: Rules, how: AsTags, name: str, schema: Any, root: Any, key: str) -> str:
    """One argument. What ends a string is part of its own lexeme, which is as long as it can be."""
    end = how.value_end.replace("{key}", key)
    close, layout = end.rstrip("\n"), "\n" * (len(end) - len(end.rstrip("\n")))
    loose = f" ({quoted(layout)})?" if layout else ""
    parts = branches(schema, root)
    texts = [part for part in parts if part["type"] == "string"]
    others = [part for part in parts if part["type"] != "string"]
    told = bool(how.typed_key_end)  # strings are marked, so they may look like anything
    ways: list[str] = []
    typed: list[str] = []
    for part in texts:
        ways += _strings(rules, how, part, close, bool(others) and not told)
    for part in others:
        if not texts or told or part["type"] in ("object", "array"):
            typed.append(f"{_json(part, root)} {quoted(close)}")
        elif "enum" in part:
            typed += [rules.new("VALUE", f"{quoted(json.dumps(value))} {quoted(close)}") for value in part["enum"]]
        elif not BOUNDS & part.keys():
            typed.append(rules.new("VALUE", f"/{SCALARS[part['type']]}/ {quoted(close)}"))
    before, head = quoted(how.before), _key_end(how.key_end)
    if told:
        either = [
            f"{_key_end(end)} ({' | '.join(w)})" for end, w in ((how.key_end, ways), (how.typed_key_end, typed)) if w
        ]
        return f"{before} {name} ({' | '.join(either)}){loose}" if either else _nothing()
    if not ways + typed:
        return _nothing()
    return f"{before} {name} {head} ({' | '.join(ways + typed)}){loose}"


def _key_end(text: str) -> str:
    """What stands between a name and its value; a line break at its end parts it from a string, others are layout."""
    parts = text.rstrip("\n").split("\n")
    parts[-1] += text[len(text.rstrip("\n")) :]
    return ' ("\\n")? '.join(map(quoted, parts))


def _strings(rules: Rules, how: AsTags, schema: Mapping[str, Any], close: str, mixed: bool) -> Iterator[str]:
    tag = close.strip("\n")
    lines = close != tag  # on lines of its own: else a line break at its beginning would count as layout
    begins = ["\n"] if not lines else []
    if how.cdata:
        begins.append("<![CDATA[")
        if (inner := string(schema, "]]>", [], mixed=False)) is not None:
            yield rules.new("VALUE", f'"<![CDATA[" ({inner}) {quoted("]]>" + close)}')
    if (inner := string(schema, tag, begins, mixed)) is not None:
        yield rules.new("VALUE", f"({inner}) {quoted(close)}")


# Keywords


def _keywords(rules: Rules, schema: Any, name: str) -> str:
    parts = []
    for key, (value, required) in named(schema).items():
        if re.fullmatch(NAME, key):
            parts.append((rules.new(f"{name}_argument", f"{quoted(key + '=')} ({_keyword(value, schema)})"), required))
        elif required:
            raise _unwritable(key)
    more = further(schema)
    if parts or more is False:
        return _separated(rules, parts, ", ", name)
    free = rules.new(f"{name}_argument", f'{FREE_NAME} "=" ({_keyword(more, schema)})')
    return f'({free} (", " {free})*)?'


def _keyword(schema: Any, root: Any) -> str:
    parts = [_json(schema, root)]
    for branch in branches(schema, root):
        words = {"null": ["None"], "boolean": ["True", "False"]}.get(branch["type"], ())
        parts += [quoted(word) for word in words if "enum" not in branch]
    return " | ".join(parts)


def _separated(rules: Rules, parts: Sequence[tuple[str, bool]], comma: str, name: str) -> str:
    """Parts in order, those that are not required at will, with something between."""
    first, later = '""', '""'
    for part, required in reversed(parts):
        behind = later
        later = f"{quoted(comma)} {part} {behind}" if required else f"({quoted(comma)} {part})? {behind}"
        later = rules.new(f"{name}_later", later)
        first = f"{part} {behind}" if required else f"{part} {behind} | {first}"
        first = rules.new(f"{name}_first", first)
    return first


# Gemma


class _Gemma:
    """Gemma's values: each schema that is referred to has its own rule, so that it may hold itself."""

    def __init__(self, rules: Rules, schema: Any, name: str) -> None:
        self._rules, self._root, self._name = rules, schema, name
        self._known: dict[str, str] = {}

    def arguments(self) -> str:
        parts = [branch for branch in branches(self._root, self._root) if branch["type"] == "object"]
        return self._object(parts[0]) if parts else _nothing()

    def _value(self, schema: Any) -> str:
        key = json.dumps(schema, sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = f"{self._name}_value_{len(self._known)}"
            ways = [way for branch in branches(schema, self._root) for way in self._branch(branch)]
            self._rules.add(self._known[key], " | ".join(ways) if ways else _nothing())
        return self._known[key]

    def _branch(self, schema: Mapping[str, Any]) -> Iterator[str]:
        kind = schema["type"]
        if kind == "string":
            if (inner := string(schema, QUOTE, [], mixed=False)) is not None:
                yield f"{quoted(QUOTE)} {self._rules.new('VALUE', f'({inner}) {quoted(QUOTE)}')}"
        elif kind not in ("object", "array"):
            yield _json(schema, self._root)
        elif "enum" in schema:
            yield from (quoted(_gemma(value)) for value in schema["enum"])
        else:
            yield self._object(schema) if kind == "object" else self._list(schema)

    def _object(self, schema: Mapping[str, Any]) -> str:
        parts = []
        names = named({"type": "object", **schema})
        for key in sorted(names, key=str.lower):
            value, required = names[key]
            if QUOTE not in key:
                rule = self._rules.new(f"{self._name}_pair", f"{quoted(_gemma_key(key) + ':')} {self._value(value)}")
                parts.append((rule, required))
            elif required:
                raise _unwritable(key)
        more = further({"type": "object", **schema})
        if parts or more is False:
            return f'"{{" {_separated(self._rules, parts, ",", self._name)} "}}"'
        free = f'{FREE_NAME} ":" {self._value(more)}'
        return f'"{{" ({free} ("," {free})*)? "}}"'

    def _list(self, schema: Mapping[str, Any]) -> str:
        first = schema.get("prefixItems")
        if isinstance(first, Sequence) and first:
            return '"[" ' + ' "," '.join(self._value(each) for each in first) + ' "]"'
        item = self._value(schema.get("items", {}))
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return '"[" "]"'
        behind = f"{{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
        some = f'{item} ("," {item}){behind}'
        return f'"[" {some} "]"' if least else f'"[" ({some})? "]"'


def _gemma(value: Any) -> str:
    """A value as Gemma writes it."""
    kind = type_of(value)
    if kind == "object":
        return "{" + ",".join(f"{_gemma_key(k)}:{_gemma(value[k])}" for k in sorted(value, key=str.lower)) + "}"
    if kind == "array":
        return "[" + ",".join(map(_gemma, value)) + "]"
    return f"{QUOTE}{value}{QUOTE}" if kind == "string" else json.dumps(value)


def _gemma_key(key: str) -> str:
    return key if re.fullmatch(r"[-+.\w]+", key) else f"{QUOTE}{key}{QUOTE}"


def _readable(key: str, *stops: str) -> bool:
    return 0 < len(key) <= 200 and not any(stop.strip("\n") in key for stop in stops)


def _unwritable(key: str) -> ConstraintError:
    want = "one that the model's chat format can write"
    return ConstraintError("tools", got=f"an argument {key!r:.80} that must be there", want=want, field="tools")


def _nothing() -> str:
    raise ConstraintError("tools", got="an argument that nothing fits", want="one that something fits", field="tools")
