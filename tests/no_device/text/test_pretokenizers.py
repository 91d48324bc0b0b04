"""Pre-tokenizers by name: known, unknown, a plugin's, and none that long text can stall."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from tokenizers import Regex, pre_tokenizers

from halflap.errors import UnsupportedModelError
from halflap.text.pretokenizers import PRETOKENIZERS, PreTokenizer
from halflap.text.tokenizer import Tokenizer


def test_plugins_can_add_pretokenizers(bpe_metadata: dict[str, Any]) -> None:
    bpe_metadata["tokenizer.ggml.pre"] = "acme"
    with pytest.raises(UnsupportedModelError, match=r"'tokenizer\.ggml\.pre': got 'acme'") as caught:
        Tokenizer.from_metadata(bpe_metadata)
    assert caught.value.what_kind == "pre-tokenizer"
    tokenizer = Tokenizer.from_metadata(bpe_metadata, pretokenizers={"acme": PreTokenizer((r"h|e",))})
    assert tokenizer.encode("he", add_special=False) == [4 + ord("h"), 4 + ord("e")]
    bpe_metadata["tokenizer.ggml.pre"] = "qwen-2"
    with pytest.raises(UnsupportedModelError, match="want 'qwen2'"):
        Tokenizer.from_metadata(bpe_metadata)


def test_every_pretokenizer_compiles_and_loses_nothing(bpe_metadata: dict[str, Any]) -> None:
    text = "Hello, I'M you'll 1234567 \r\n\n  don't café 日本語テキスト，ÄÖ camelCaseWord...\t\t x+=1; 가나다 ไทย\u3000"
    for name, pre in PRETOKENIZERS.items():
        if pre.byte_level:
            bpe_metadata["tokenizer.ggml.pre"] = name
            tokenizer = Tokenizer.from_metadata(bpe_metadata)
            assert tokenizer.decode(tokenizer.encode(text, add_special=False)) == text, name


@pytest.mark.parametrize("name", sorted({pre: name for name, pre in PRETOKENIZERS.items()}.values()))
def test_long_runs_do_not_take_quadratic_time(bpe_metadata: dict[str, Any], name: str) -> None:
    # superbpe's own expression is quadratic in the length of a number.
    n = 3_000 if name == "superbpe" else 30_000
    bpe_metadata["tokenizer.ggml.pre"] = name
    tokenizer = Tokenizer.from_metadata(bpe_metadata)
    start = time.perf_counter()
    for unit, last in itertools.product((" ", " \n", "\t", "1", "x", "."), ("", "x", "一")):
        tokenizer.encode(unit * n + last)
    assert time.perf_counter() - start < 10  # linear: under 1 s


def test_digits_are_grouped_from_the_right() -> None:
    def cut(name: str, text: str) -> list[str]:
        splitter = pre_tokenizers.Split(Regex(PRETOKENIZERS[name].splits[0]), "isolated")
        return [piece for piece, _ in splitter.pre_tokenize_str(text)]

    for name in ("tiny_aya", "afmoe"):
        for n in range(1, 30):
            digits = ("1234567890" * 3)[:n]
            groups = [digits[: n % 3]] * (n % 3 > 0) + [digits[i : i + 3] for i in range(n % 3, n, 3)]
            assert cut(name, digits) == groups
            assert cut(name, f"a {digits} {digits}") == ["a ", *groups, " ", *groups]
    assert cut("tiny_aya", "12345x") == ["12345x"]
    assert cut("afmoe", "12345x") == ["12", "345", "x"]
