"""Text that arrives token by token: whole characters only, and stop strings cut exactly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflap.errors import InvalidRequestError
from halflap.text.detokenizer import Detokenizer
from halflap.text.stop_strings import StopStrings
from halflap.text.tokenizer import Tokenizer


@pytest.mark.parametrize("name", ["gpt-2", "llama-spm", "gemma-4", "bert-bge", "qwen2"])
@pytest.mark.parametrize("skip_special", [True, False])
def test_token_by_token_equals_the_whole(real, name: str, skip_special: bool) -> None:
    tokenizer = real(name)

    @settings(max_examples=200, deadline=None)
    @given(
        st.text(max_size=20).map(lambda text: tokenizer.encode(text, parse_special=True))
        | st.lists(st.integers(0, tokenizer.n_vocab - 1), max_size=20)
        | st.lists(st.integers(0, 300), max_size=20)
    )
    def check(ids: list[int]) -> None:
        detokenizer = Detokenizer(tokenizer, skip_special=skip_special, at_start=True)
        text = "".join(map(detokenizer.push, ids)) + detokenizer.flush()
        assert text == tokenizer.decode(ids, skip_special=skip_special)

    check()


def test_a_character_appears_only_when_it_is_whole(bpe_metadata: dict[str, Any]) -> None:
    detokenizer = Detokenizer(Tokenizer.from_metadata(bpe_metadata))
    emitted = [detokenizer.push(4 + byte) for byte in "a🙂é".encode()]
    assert emitted == ["a", "", "", "", "🙂", "", "é"]
    assert detokenizer.flush() == ""


def test_broken_characters_become_one_replacement_each(bpe_metadata: dict[str, Any]) -> None:
    detokenizer = Detokenizer(Tokenizer.from_metadata(bpe_metadata))
    assert detokenizer.push(4 + 0xF0) == ""
    assert detokenizer.push(4 + ord("x")) == "\ufffdx"
    assert detokenizer.push(4 + 0xFF) == "\ufffd"
    assert detokenizer.push(4 + 0xE2) == ""
    assert detokenizer.flush() == "\ufffd"


def test_continuations_keep_their_first_space(spm_metadata: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_metadata(spm_metadata)
    piece = tokenizer.token_to_id("\u2581ab")
    assert Detokenizer(tokenizer).push(piece) == " ab"
    assert Detokenizer(tokenizer, at_start=True).push(piece) == "ab"


def test_unknown_ids_are_refused(bpe_metadata: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        Detokenizer(Tokenizer.from_metadata(bpe_metadata)).push(10_000)


def first_stop(text: str, stops: list[str]) -> str | None:
    """Brute force: read character by character; at the first that completes a stop, cut before the longest such."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))]
    return None


PIECES = st.lists(st.text("ab<\n", max_size=4), max_size=12)
STOPS = st.lists(st.text("ab<\n", max_size=4), max_size=4)


@settings(max_examples=1000, deadline=None)
@given(PIECES, STOPS)
def test_stop_strings_against_brute_force(pieces: list[str], stops: list[str]) -> None:
    watcher = StopStrings(stops)
    shown, arrived = "", ""
    longest = max(map(len, stops), default=0)
    for piece in pieces:
        shown += watcher.push(piece)
        arrived += piece
        expected = first_stop(arrived, stops)
        assert (watcher.met is not None) == (expected is not None)
        if expected is not None:
            assert shown == expected
            assert arrived.startswith(expected + str(watcher.met))
        else:
            assert arrived.startswith(shown)
            assert len(arrived) - len(shown) <= max(0, longest - 1)
    if watcher.met is None:
        assert shown + watcher.flush() == arrived
    else:
        assert watcher.push("more") == ""


def test_text_is_not_held_without_reason() -> None:
    watcher = StopStrings(["</s>", "User:"])
    assert watcher.push("hello Us") == "hello "
    assert watcher.push("age") == "Usage"
    assert watcher.push("x</s") == "x"
    assert watcher.push(">tail") == ""
    assert watcher.met == "</s>"
