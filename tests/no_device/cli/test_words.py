"""What a model says cannot steer the terminal on which it is read."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.no_device.cli.shell import halflap
from tests.no_device.cli.terminal import Terminal

from halflap.cli.words import shown

RUDE = "a\x1b[31mred\x1b]0;title\x07\x08\x9b2J\u202egnp\u2066x\rb"
PATTERN = RUDE.replace("[", "\\[").replace("]", "\\]") + "\\n\\tend"
SAID = (*("--regex", PATTERN), *("-n", "200"), "--raw", "So: ")


@given(text=st.text())
def test_words_are_shown_without_controls_and_nothing_else_changes(text: str) -> None:
    found = shown(text)
    assert len(found) == len(text)
    for before, after in zip(text, found, strict=True):
        control = unicodedata.category(before) == "Cc" and before not in "\n\t"
        turns = unicodedata.bidirectional(before) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        assert (before != after) is (control or turns)
        assert unicodedata.category(after) != "Cc" or after in "\n\t"


def test_a_terminal_gets_signs_for_controls() -> None:
    pytest.importorskip("llguidance")
    with Terminal("run", *SAID) as terminal:
        said = terminal.wait_for("end")
    words = said[said.index("a\u241b") :].split()
    assert words == ["a\u241b[31mred\u241b]0;title\u2407\u2408\ufffd2J\ufffdgnp\ufffdx\u240db", "end"]


def test_a_pipe_and_json_get_the_words_as_they_are() -> None:
    pytest.importorskip("llguidance")
    assert halflap("run", *SAID).out == RUDE + "\n\tend\n"
    assert halflap("run", "--json", *SAID).json["text"] == RUDE + "\n\tend"
