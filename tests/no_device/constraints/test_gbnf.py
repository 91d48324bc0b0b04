"""GBNF means the same after it is rewritten: compared with a recogniser that reads it character by character."""

from __future__ import annotations

from functools import cache
from itertools import product

import llguidance
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflap.constraints import gbnf, lexemes
from halflap.constraints.gbnf import Chars, Either, Node, Repeat, Rule
from halflap.errors import ConstraintError

BYTES = llguidance.LLTokenizer("byte")

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# space, by habit, only behind things
ws ::= | " " | "\n" [ \t]{0,20}
"""
CHESS = r"""
# moves as players write them, numbered
root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move ::= (pawn | nonpawn | castle) [+#]?
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
castle ::= "O-O" "-O"?
"""
CODE = r"""
root       ::= (expr "=" ws term "\n")+
expr       ::= term ([-+*/] term)*
term       ::= ident | num | "(" ws expr ")" ws
ident      ::= [a-z] [a-z0-9_]* ws
num        ::= [0-9]+ ws
ws         ::= [ \t\n]*
"""
JAPANESE = r"""
root ::= jp-char+ ([ \t\n] jp-char+)*
jp-char ::= hiragana | katakana | punctuation | cjk
hiragana ::= [ぁ-ゟ]
katakana ::= [ァ-ヿ]
punctuation ::= [、-〾]
cjk ::= [\u4E00-\u9fff]
"""
PUBLISHED = {
    "json": (
        JSON,
        ["{}", '{"a": [1, -2.5e3, {"b": null}]}', '{"é\\u00e9": "😀 \\n"}', '{\n  "a": true}'],
        ['{"a":01}', "[1]", '{"a"}', '{"\t": 1}', '{"a":1,}', '{"a": .5}'],
    ),
    "chess": (
        CHESS,
        ["1. e4 e5\n2. Nf3 Nc6\n", "1. O-O O-O-O+\n10. exd5 Qd8xf6#\n"],
        ["1. e4 e5\n", "1. e9 e5\n2. a1 a2\n"],
    ),
    "code": (CODE, ["a+b*(3-c)= 12\n", "x=y\nz1_ =  (4)\n"], ["a b=c\n", "=c\n", "(a=b\n"]),
    "japanese": (JAPANESE, ["ひらがな カタカナ、漢字"], ["abc", " ひ", "ひ  ひ"]),
}  # fmt: skip
"""Grammars of the kinds that llama.cpp publishes: what fits, and what does not."""


def fits(grammar: str, text: str) -> bool:
    matcher = llguidance.LLMatcher(BYTES, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and bool(matcher.is_accepting())


@pytest.mark.parametrize("name", PUBLISHED)
def test_grammars_of_published_kinds(name: str) -> None:
    text, good, bad = PUBLISHED[name]
    grammar = lexemes.to_lark(text)
    assert {case: fits(grammar, case) for case in good} == dict.fromkeys(good, True)
    assert {case: fits(grammar, case) for case in bad} == dict.fromkeys(bad, False)


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ('root ::= "\\x41\\u00e9\\U0001F600\\t\\"\\\\"', ['Aé😀\t"\\'], ["A"]),
        ("root ::= [^\\n\\]a-c] [a\\-] [+-] [-x]", ["z-+x", "da--"], ["a-+x", "]-+x", "zb+x"]),
        ("root ::= . .", ["\n😀"], ["a"]),
        ('root ::= "a"{2} "b"{1,} "c"{,2} "d"{0,1}', ["aab", "aabbbccd"], ["ab", "aa", "aabccc"]),
        ('root ::= "a"*? "b"', ["b", "aab"], ["a"]),
        ('root::=a|b # one\n\na ::= # two\n "x"\nb::="y"\r\n', ["x", "y"], [""]),
        ('root ::= ("a" |\n "b"\n)+', ["abba"], [""]),
        ('root ::= [a-z]+ "abc"', ["xabc", "abcabc"], ["abc"]),
        ('root ::= x "abc"\nx ::= [a-z] x | [a-z]', ["xabc", "abcabc"], ["abc"]),
        ('root ::= "" | "x" root', ["", "xxx"], ["y"]),
        ('my-rule_1 ::= "r"\nroot ::= my-rule_1', ["r"], [""]),
    ],
)
def test_notation(text: str, good: list[str], bad: list[str]) -> None:
    grammar = lexemes.to_lark(text)
    assert {case: fits(grammar, case) for case in good} == dict.fromkeys(good, True)
    assert {case: fits(grammar, case) for case in bad} == dict.fromkeys(bad, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rule 'root'"),
        ('a ::= "x"', "no rule 'root'"),
        ("root ::= missing", "rule 'missing'"),
        ('root ::= "x', "line 1"),
        ('root ::= "x"\nother := "y"', "line 2"),
        ("root ::= [z-a]", "range in order"),
        ("root ::= []", "some character"),
        ('root ::= "\\q"', "an escape"),
        ('root ::= "\\ud800"', "hexadecimal"),
        ('root ::= ("a"', r"'\)'"),
        ('root ::= "a")', "end of the rule"),
        ('root ::= "a"{3,2}', "in order"),
        ('root ::= "a"{x}', "counts"),
        ("root ::= *", "a rule's name"),
        ('root ::= "a"\nroot ::= "b"', "not two"),
        ("root ::= " + "(" * 101 + '"a"' + ")" * 101, "at most 100 brackets"),
        ("root ::= r0\n" + "\n".join(f'r{i} ::= r{i + 1} "x"' for i in range(2000)) + '\nr2000 ::= "y"', "hundreds of"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(ConstraintError, match=message) as raised:
        lexemes.to_lark(text)
    assert raised.value.field == "grammar"


LETTERS = "abc"
CLASSES = st.builds(lambda letters: "[" + "".join(sorted(letters)) + "]", st.sets(st.sampled_from(LETTERS), min_size=1))
WORDS = st.builds(lambda word: f'"{word}"', st.text(LETTERS, max_size=3))
COUNTS = st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{,2}"])


def pieces(rules: int, own: int) -> st.SearchStrategy[str]:
    """Bodies that use later rules anywhere, and their own only behind a letter: no left recursion, which the plain
    recogniser cannot read."""
    later = st.sampled_from([f"r{i}" for i in range(own + 1, rules)]) if own + 1 < rules else WORDS
    back = st.builds(lambda head, i, tail: f"({head} r{i} {tail} | {head})", CLASSES, st.integers(0, own), WORDS)
    return st.recursive(
        st.one_of(CLASSES, WORDS, later, back),
        lambda inner: st.one_of(
            st.builds(lambda items: " ".join(items), st.lists(inner, min_size=2, max_size=3)),
            st.builds(lambda items: "(" + " | ".join(items) + ")", st.lists(inner, min_size=2, max_size=3)),
            st.builds(lambda item, count: f"({item}){count}", inner, COUNTS),
        ),
        max_leaves=6,
    )


@st.composite
def grammars(draw: st.DrawFn) -> str:
    count = draw(st.integers(1, 3))
    return "root ::= r0\n" + "\n".join(f"r{i} ::= {draw(pieces(count, i))}" for i in range(count))


def plainly(rules: dict[str, Node], text: str) -> bool:
    """Whether a text fits, by trying everything."""

    @cache
    def ends(node: Node, at: int) -> frozenset[int]:
        if isinstance(node, Chars):
            inside = at < len(text) and any(low <= ord(text[at]) <= high for low, high in node.ranges)
            return frozenset({at + 1} if inside else ())
        if isinstance(node, Rule):
            return ends(rules[node.name], at)
        if isinstance(node, Either):
            return frozenset().union(*(ends(item, at) for item in node.items))
        if isinstance(node, Repeat):
            reached, found, least = {at}, {at} if node.least == 0 else set(), node.least
            for times in range(1, (node.most if node.most is not None else len(text) + least) + 1):
                reached = {end for place in reached for end in ends(node.item, place)}
                found |= reached if times >= least else set()
            return frozenset(found)
        reached = {at}
        for item in node.items:
            reached = {end for place in reached for end in ends(item, place)}
        return frozenset(reached)

    return len(text) in ends(Rule("root"), 0)


TEXTS = ["".join(letters) for n in range(5) for letters in product(LETTERS, repeat=n)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(text=grammars())
def test_a_rewritten_grammar_fits_the_same_texts(text: str) -> None:
    rules, grammar = gbnf.read(text), lexemes.to_lark(text)
    assert [t for t in TEXTS if fits(grammar, t)] == [t for t in TEXTS if plainly(rules, t)]
