"""Malformed, recursive and exponential grammars: a typed error or a constraint, within 1 s and 200 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

DOUBLING = {"d0": {"type": "string"}}
for i in range(1, 41):
    DOUBLING[f"d{i}"] = {"anyOf": [{"$ref": f"#/$defs/d{i - 1}"}] * 2}
DEEP: Any = {}
for _ in range(90):
    DEEP = {"type": "array", "items": DEEP}


def rules(first: str, rule: str, count: int, start: int = 1) -> str:
    """A first line, then a rule for each number: # stands for it, @ for the one before, & for the one behind."""
    numbered = (
        rule.replace("#", str(n)).replace("@", str(n - 1)).replace("&", str(n + 1)) for n in range(start, count)
    )
    return "\n".join([first, *numbered, ""])


def listed(text: str, count: int, between: str) -> str:
    return between.join(text.replace("#", str(n)) for n in range(count))


NEXT = {f"d{i}": {"properties": {"a": {"$ref": f"#/$defs/d{i + 1}"}}} for i in range(1500)}
CYCLE = {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}
MANY = {"type": "array", "minItems": 99999}

NASTY: dict[str, tuple[str, Any]] = {
    "brackets": ("regex", "(" * 20000 + "a" + ")" * 20000),
    "repeats of repeats": ("regex", "((a{1,1000}){1,1000}){1,1000}"),
    "exponential automaton": ("regex", "(a|b)*a(a|b){60}"),
    "long automaton": ("regex", ".*a.{5000}b.*"),
    "classes": ("regex", r"(\w+\s?){1,5000}"),
    "many alternatives": ("regex", "|".join("a" * i + "b" for i in range(440))),
    "long text": ("regex", "abc" * 33000),
    "too long text": ("regex", "abc" * 40000),
    "left recursion": ("lark", "start: start"),
    "mutual recursion": ("lark", "start: a\na: b\nb: a"),
    "recursive terminal": ("lark", 'start: A\nA: "x" A'),
    "deep brackets": ("lark", "start: " + "(" * 20000 + '"a"' + ")" * 20000),
    "doubling rules": ("lark", rules('start: a39\na0: "x"', "a#: a@ a@", 40)),
    "doubling terminals": ("lark", rules('start: A39\nA0: "x" "y"', "A#: A@ A@", 40)),
    "forced text": ("lark", rules(f'start: a30\na0: "{"x" * 999}"', "a#: a@ a@", 31)),
    "terminal chain": ("lark", rules('start: A4000\nA0: "x"', 'A#: A@ "y"', 4001)),
    "rule chain": ("lark", rules('start: a5000\na0: "x"', 'a#: a@ "y"', 5001)),
    "rule chain in brackets": ("lark", rules('start: a2000\na0: "x"', 'a#: ((((((a@ "y"))))))', 2001)),
    "many rules": ("lark", rules("start: " + listed("r#", 3800, " "), 'r#: "#"', 3800, 0)),
    "endless repeats": ("lark", 'start: a{1,9999}\na: b{1,9999}\nb: c{1,9999}\nc: "x"'),
    "ambiguous": ("lark", 'start: e\ne: e e | "x" | '),
    "gbnf left recursion": ("gbnf", 'root ::= root "a" | "b"'),
    "gbnf nothing": ("gbnf", "root ::= root"),
    "gbnf doubling": ("gbnf", rules('root ::= a39\na0 ::= "x"', "a# ::= a@ a@", 40)),
    "gbnf repeats": ("gbnf", 'root ::= ((([a-z]{1,999}){1,999}){1,999}){1,999} "x"'),
    "gbnf chain": ("gbnf", rules("root ::= r0", 'r# ::= r& "x"', 3000, 0) + 'r3000 ::= "y"'),
    "gbnf many": ("gbnf", rules("root ::= " + listed("r#", 2500, " | "), 'r# ::= [a-z]* "#"', 2500, 0)),
    "gbnf alike": ("gbnf", "root ::= (" + listed("[a-z]{#} root", 120, " | ") + ' | "!")'),
    "gbnf classes": ("gbnf", "root ::= x*\nx ::= " + " | ".join(f'"{chr(0x4E00 + i)}" x "b"' for i in range(3000))),
    "schema loop": ("json_schema", {"$ref": "#"}),
    "schema cycle": ("json_schema", {"$ref": "#/$defs/a", "$defs": CYCLE}),
    "schema chain": ("json_schema", {"$ref": "#/$defs/d0", "$defs": {**NEXT, "d1500": {}}}),
    "schema all-of loop": ("json_schema", {"properties": {"a": {"allOf": [{"$ref": "#"}, {"required": ["a"]}]}}}),
    "schema product": (
        "json_schema",
        {"allOf": [{"anyOf": [{"properties": {f"a{i}": {"const": j}}} for j in range(4)]} for i in range(12)]},
    ),
    "schema doubling": ("json_schema", {"$ref": "#/$defs/d40", "$defs": DOUBLING}),
    "schema depth": ("json_schema", DEEP),
    "schema from afar": ("json_schema", {"$ref": "http://example.invalid/x.json"}),
    "schema of many values": ("json_schema", {"enum": [f"v{i}" * 3 for i in range(5000)]}),
    "schema of many lists": ("json_schema", {"enum": [{"a": [i] * 50} for i in range(400)]}),
    "schema of many names": ("json_schema", {"properties": {f"p{i}": {"type": "string"} for i in range(3000)}}),
    "schema of long lists": ("json_schema", {**MANY, "items": MANY}),
    "schema of divisors": ("json_schema", {"type": "integer", "multipleOf": 982451653}),
    "schema of patterns": (
        "json_schema",
        {"patternProperties": {"^" + "a?" * 40 + "a" * 40 + "$": {}, "b.*" * 20: {}}},
    ),
}

CODE = """
import json, resource, sys, time
import halflap
from halflap import plugins
from halflap.constraints.contract import Tokens
from halflap.errors import ConstraintError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

tokenizer = halflap.load_tokenizer("starter")
tokens = Tokens(tokenizer, tokenizer.n_vocab)
plugins.get("constraints", "regex")(tokens, "a")
name, key, value = json.load(sys.stdin)
memory, began = peak(), time.process_time()
try:
    constraint = plugins.get("constraints", name)(tokens, **{key: value})
    said = "made"
except ConstraintError as error:
    said = f"refused: {error}"
print(json.dumps([said, time.process_time() - began, (peak() - memory) / 1024]))
"""
KEYS = {"regex": "pattern", "lark": "grammar", "gbnf": "grammar", "json_schema": "schema"}


@pytest.mark.parametrize("case", NASTY)
def test_bounds(case: str) -> None:
    name, value = NASTY[case]
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        input=json.dumps([name, KEYS[name], value]),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said, seconds, megabytes = json.loads(done.stdout)
    assert said == "made" or said.startswith("refused: option ")
    assert len(said) < 800
    assert seconds < 1, (said, seconds)
    assert megabytes < 200, (said, megabytes)
