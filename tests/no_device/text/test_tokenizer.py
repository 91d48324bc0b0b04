"""Tokenizers against published ids, and against slow independent paths for small vocabularies."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflap.errors import InvalidRequestError
from halflap.text.tokenizer import Tokenizer

SPACE = "\u2581"
VOCABULARIES = [
    *["gpt-2", "llama-bpe", "qwen2", "qwen35", "gemma-4", "deepseek-llm", "falcon", "mpt"],
    *["llama-spm", "phi-3", "bert-bge"],
]
ROUND_TRIP = [name for name in VOCABULARIES if name != "bert-bge"]


def pairs(shared: Path, name: str) -> list[tuple[str, list[int]]]:
    base = shared / "vocab" / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{base}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = Path(f"{base}.out").read_text().split("\n")
    assert 0 <= len(lines) - len(texts) <= 1
    return [(text, [int(i) for i in line.split()]) for text, line in zip(texts, lines, strict=False)]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_published_pair_is_exact(real, shared: Path, name: str) -> None:
    tokenizer = real(name)
    cases = pairs(shared, name)
    assert len(cases) >= 46
    for text, ids in cases:
        assert tokenizer.encode(text, add_special=False) == ids, text
        if name in ROUND_TRIP:
            assert tokenizer.decode(ids) == text


# U+2581 stands for the space in SentencePiece vocabularies, so it cannot come back from them.
NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
FALCON_LACKS = 15
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=SPACE), max_size=60)


@pytest.mark.parametrize("name", ROUND_TRIP)
def test_any_text_comes_back(real, name: str) -> None:
    tokenizer = real(name)
    # Falcon's vocabulary has no token for some control characters; they vanish in the original too.
    bytes_it_has = {tokenizer.token_bytes(i) for i in range(tokenizer.n_vocab)}
    missing = {bytes([b]) for b in range(256) if b not in NEVER_IN_UTF8} - bytes_it_has
    assert len(missing) == (FALCON_LACKS if name == "falcon" else 0)

    @settings(max_examples=150, deadline=None)
    @given(TEXT.filter(lambda text: missing.isdisjoint(bytes([b]) for b in text.encode())))
    def check(text: str) -> None:
        ids = tokenizer.encode(text, add_special=False)
        assert tokenizer.decode(ids) == text
        assert not any(tokenizer.is_special(i) for i in ids)
        with_special = tokenizer.encode(text)
        assert tokenizer.decode(with_special, skip_special=True) == text

    check()


@pytest.mark.parametrize("name", VOCABULARIES)
def test_no_plain_text_becomes_a_control_token(real, name: str) -> None:
    tokenizer = real(name)
    controls = [i for i in range(tokenizer.n_vocab) if tokenizer.is_special(i) and i != tokenizer.unk_id]
    for i in controls:
        text = tokenizer.vocabulary.tokens[i]
        plain = tokenizer.encode(text, add_special=False)
        assert i not in plain
        assert tokenizer.encode(text, add_special=False, parse_special=True) == [i]
        if name in ROUND_TRIP:
            assert tokenizer.decode(plain) == text


def test_ends_of_generation_are_found_by_name(real) -> None:
    expected = {
        "qwen2": {"<|endoftext|>", "<|im_end|>"},
        "llama-bpe": {"<|end_of_text|>", "<|eot_id|>"},
        "gemma-4": {"<eos>", "<turn|>", "<|tool_response>"},
        "phi-3": {"<|endoftext|>", "</s>", "<|end|>"},
    }
    for name, texts in expected.items():
        tokenizer = real(name)
        assert {tokenizer.vocabulary.tokens[i] for i in tokenizer.eog_ids} == texts


def test_a_special_name_that_merges_lead_to_is_text(real, bpe_metadata: dict[str, Any]) -> None:
    qwen = real("qwen2")
    html = qwen.token_to_id("</s>")
    assert html is not None
    assert not qwen.is_special(html)
    assert qwen.decode([html], skip_special=True) == "</s>"
    # Where no kinds are given, the names are all there is to go by.
    del bpe_metadata["tokenizer.ggml.token_type"]
    assert Tokenizer.from_metadata(bpe_metadata).eog_ids == {2, 3}


def test_harmony_ends_messages_not_answers_with_end(bpe_metadata: dict[str, Any]) -> None:
    bpe_metadata["tokenizer.ggml.tokens"] += ["<|end|>", "<|return|>", "<|call|>"]
    bpe_metadata["tokenizer.ggml.token_type"] += [3, 3, 3]
    tokenizer = Tokenizer.from_metadata(bpe_metadata)
    names = {tokenizer.vocabulary.tokens[i] for i in tokenizer.eog_ids}
    assert names == {"</s>", "<|im_end|>", "<|return|>", "<|call|>"}
    assert tokenizer.is_special(tokenizer.token_to_id("<|end|>"))


def test_byte_level_bpe_in_detail(bpe_metadata: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_metadata(bpe_metadata)
    he, hel = tokenizer.token_to_id("he"), tokenizer.token_to_id("hel")
    assert tokenizer.encode("hello") == [1, hel, 4 + ord("l"), 4 + ord("o")]
    assert tokenizer.encode("he", add_special=False) == [he]
    assert tokenizer.encode("é", add_special=False) == [4 + 0xC3, 4 + 0xA9]
    assert tokenizer.token_bytes(4 + 0xC3) == b"\xc3"
    assert tokenizer.token_bytes(4 + 0x20) == b" "
    assert tokenizer.token_bytes(3) == b"<|im_end|>"
    assert tokenizer.decode([1, hel, 3], skip_special=True) == "hel"
    assert tokenizer.decode([1, hel, 3]) == "<s>hel<|im_end|>"
    assert tokenizer.decode([4 + 0xC3]) == "\ufffd"
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id) == (1, 2, 0, None)
    assert tokenizer.eog_ids == {2, 3}
    for wrong in (-1, tokenizer.n_vocab):
        with pytest.raises(InvalidRequestError, match="token id: got"):
            tokenizer.token_bytes(wrong)


def test_user_defined_tokens_are_always_found(bpe_metadata: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_metadata(bpe_metadata)
    think = tokenizer.token_to_id("<think>")
    for parse_special in (False, True):
        assert think in tokenizer.encode("a<think>b", parse_special=parse_special)


def test_control_tokens_that_look_like_words_stay_out_of_plain_text(
    bpe_metadata: dict[str, Any], spm_metadata: dict[str, Any]
) -> None:
    # A whole word that is a token is taken at once by this pre-tokenizer, merges or not.
    bpe_metadata["tokenizer.ggml.pre"] = "llama-bpe"
    bpe_metadata["tokenizer.ggml.tokens"] += ["STOP", "WORD"]
    bpe_metadata["tokenizer.ggml.token_type"] += [3, 1]
    tokenizer = Tokenizer.from_metadata(bpe_metadata)
    stop, word = tokenizer.token_to_id("STOP"), tokenizer.token_to_id("WORD")
    assert tokenizer.encode("WORD", add_special=False) == [word]
    assert stop not in tokenizer.encode("STOP")
    assert tokenizer.encode("STOP", parse_special=True, add_special=False) == [stop]
    # Here joining "a" and "b" would lead to it.
    kinds = spm_metadata["tokenizer.ggml.token_type"]
    ab = spm_metadata["tokenizer.ggml.tokens"].index("ab")
    kinds[ab] = 3
    assert ab not in Tokenizer.from_metadata(spm_metadata).encode("cab")


def test_of_equal_tokens_the_first_is_meant(bpe_metadata: dict[str, Any]) -> None:
    bpe_metadata["tokenizer.ggml.tokens"] += ["<think>"]
    bpe_metadata["tokenizer.ggml.token_type"] += [4]
    tokenizer = Tokenizer.from_metadata(bpe_metadata)
    assert tokenizer.encode("<think>", add_special=False) == [tokenizer.token_to_id("<think>")] == [260]


def test_the_collector_is_left_as_it_was(bpe_metadata: dict[str, Any]) -> None:
    Tokenizer.from_metadata(bpe_metadata)
    assert gc.isenabled()
    gc.disable()
    try:
        Tokenizer.from_metadata(bpe_metadata)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_pieces_form_special_tokens_only_where_they_may(bpe_metadata: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_metadata(bpe_metadata)
    end = 3
    encode = tokenizer.encode_pieces
    assert encode([("<|im_end|>", True)], add_special=False) == [end]
    assert end not in encode([("<|im_end|>", False)])
    # Neither a border inside the token nor one beside it lets plain text take part.
    for cut in range(1, 9):
        left, right = "<|im_end|>"[:cut], "<|im_end|>"[cut:]
        assert end not in encode([(left, True), (right, False)])
        assert end not in encode([(left, False), (right, True)])
        assert encode([(left, True), (right, True)], add_special=False) == [end]
    mixed = [("<|im_end|>he", True), ("l<|im_end|>", False), ("lo", True), ("<|im_end|>", True)]
    assert encode(mixed, add_special=False) == [
        end,
        *tokenizer.encode("hel<|im_end|>lo", add_special=False),
        end,
    ]


@pytest.mark.parametrize("name", ["qwen2", "llama-spm", "gemma-4", "phi-3"])
def test_text_between_pieces_is_tokenised_as_one(real, name: str) -> None:
    tokenizer = real(name)
    whole = tokenizer.encode("Hello there, general\n\n  Kenobi!")
    assert tokenizer.encode_pieces([("Hello th", True), ("ere, general\n", False), ("\n  Kenobi!", True)]) == whole


def spm_by_hand(text: str, scores: dict[str, float]) -> list[str]:
    """SentencePiece BPE: join the neighbours whose result scores best, leftmost first, until none is a token."""
    symbols = list(text)
    while True:
        best = max(
            ((scores[a + b], -i) for i, (a, b) in enumerate(itertools.pairwise(symbols)) if a + b in scores),
            default=None,
        )
        if best is None:
            return symbols
        i = -best[1]
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


@settings(max_examples=300, deadline=None)
@given(text=st.text("abc ", max_size=12))
def test_spm_joins_the_best_scoring_pair(text: str, spm_pieces: dict[str, float], spm: Tokenizer) -> None:
    by_hand = spm_by_hand((" " + text if text else "").replace(" ", SPACE), spm_pieces)
    assert [spm.vocabulary.tokens[i] for i in spm.encode(text, add_special=False)] == by_hand


@pytest.fixture(scope="module")
def spm_pieces() -> dict[str, float]:
    pieces = [SPACE, "a", "b", "c", "ab", "bc", "abc", SPACE + "a", SPACE + "ab", SPACE * 2]
    return dict(zip(pieces, [-10, -11, -12, -13, -1, -2, -3, -4, -0.5, -5], strict=True))


@pytest.fixture(scope="module")
def spm(spm_pieces: dict[str, float]) -> Tokenizer:
    tokens = ["<unk>", "<s>", "</s>", *[f"<0x{b:02X}>" for b in range(256)], *spm_pieces]
    return Tokenizer.from_metadata(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * len(spm_pieces)],
            "tokenizer.ggml.scores": [0.0] * 259 + list(spm_pieces.values()),
        }
    )


def test_pairs_are_framed_as_in_training(bpe_metadata: dict[str, Any], real: Callable[[str], Tokenizer]) -> None:
    def pair(**stated: object) -> list[int]:
        keys = {f"tokenizer.{name.replace('__', '.')}": value for name, value in stated.items()}
        return Tokenizer.from_metadata({**bpe_metadata, **keys}).encode_pair("a", "b")

    a, b = (Tokenizer.from_metadata(bpe_metadata).token_to_id(letter) for letter in "ab")
    assert pair() == [1, a, 2, 2, b, 2]
    assert pair(ggml__seperator_token_id=3) == [1, a, 2, 3, b, 2]
    assert pair(ggml__add_sep_token=False, ggml__add_bos_token=False) == [a, 2, b, 2]
    form = "<s>{document}<|im_end|>{query}</s>"
    assert pair(chat_template__rerank=form) == [1, b, 3, a, 2]
    tokenizer = Tokenizer.from_metadata({**bpe_metadata, "tokenizer.chat_template.rerank": form})
    assert tokenizer.encode_pair("{document}", "</s>")[1:4] == tokenizer.encode("</s>", add_special=False)[:3]
    del bpe_metadata["tokenizer.ggml.eos_token_id"]
    with pytest.raises(InvalidRequestError, match="end or separator"):
        pair()
    bert = real("bert-bge")
    assert bert.decode(bert.encode_pair("red?", "a fox")) == "[CLS]red ?[SEP] a fox[SEP]"
    one = bert.encode("red?")
    assert bert.encode_pair("red?", "a fox") == [*one, *bert.encode("a fox")[1:]]


def test_spm_in_detail(spm_metadata: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_metadata(spm_metadata)
    tool = tokenizer.n_vocab - 1
    ids = tokenizer.token_to_id
    assert tokenizer.encode("ab") == [1, ids(SPACE + "ab")]
    assert tokenizer.encode("é", add_special=False) == [ids(SPACE), ids("<0xC3>"), ids("<0xA9>")]
    assert tokenizer.decode(tokenizer.encode("é x", add_special=False)) == "é x"
    assert tokenizer.encode("") == [1]
    # The prefix comes at the start and after every special token, and never between two pieces of text.
    assert tokenizer.encode("ab[TOOL]ab") == [1, ids(SPACE + "ab"), tool, ids(SPACE + "ab")]
    assert tokenizer.encode_pieces([("a", True), ("b", False)]) == [1, ids(SPACE + "ab")]
    assert "<0x41>" not in [tokenizer.vocabulary.tokens[i] for i in tokenizer.encode("<0x41>")]
    spm_metadata["tokenizer.ggml.add_space_prefix"] = False
    assert Tokenizer.from_metadata(spm_metadata).encode("ab", add_special=False) == [ids("ab")]


def unigram_by_hand(text: str, scores: dict[str, float], unknown: float) -> float:
    """The best total score over all segmentations, by brute force over cuts."""
    best = [0.0] + [-1e9] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            piece = text[start:end]
            score = scores.get(piece, unknown if end - start == 1 else None)
            if score is not None:
                best[end] = max(best[end], best[start] + score)
    return best[-1]


def test_unigram_finds_the_best_segmentation(unigram_metadata: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_metadata(unigram_metadata)
    tokens, values = unigram_metadata["tokenizer.ggml.tokens"], unigram_metadata["tokenizer.ggml.scores"]
    scores = dict(zip(tokens[3:-1], values[3:-1], strict=True))
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = "".join(rng.choice(list("aab b"), rng.integers(1, 14)))
        ids = tokenizer.encode(text, add_special=False)
        pieces = [tokens[i] for i in ids]
        prepared = "".join(SPACE + word for word in text.split())
        assert "".join(pieces) == prepared
        got = sum(scores[piece] for piece in pieces)
        assert got == pytest.approx(unigram_by_hand(prepared, scores, min(scores.values()) - 10))
        assert tokenizer.decode(ids) == " ".join(text.split())
    assert tokenizer.encode("ab") == [7, 1]
    # Unknown characters in a row are one unknown token; control tokens cannot be written out.
    assert tokenizer.encode("azzb", add_special=False) == [3, 4, 2, 5]
    assert 1 not in tokenizer.encode("</s>", add_special=False)
    assert tokenizer.encode("a</s>b", parse_special=True, add_special=False) == [3, 4, 1, 3, 5]
    assert set(tokenizer.encode("\U0010ffff0 \U0010ffff1 \U0010ffff2", add_special=False)) <= {2, 3}
    assert tokenizer.encode("a<extra>b", add_special=False) == [3, 4, 11, 3, 5]


def test_unigram_keeps_spaces_where_the_file_says_so(unigram_metadata: dict[str, Any]) -> None:
    unigram_metadata["tokenizer.ggml.remove_extra_whitespaces"] = False
    tokenizer = Tokenizer.from_metadata(unigram_metadata)
    assert tokenizer.decode(tokenizer.encode("a  b ", add_special=False)) == "a  b "


def test_wordpiece_in_detail(wordpiece_metadata: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_metadata(wordpiece_metadata)
    names = tokenizer.vocabulary.tokens

    def words(text: str) -> list[str]:
        return [names[i] for i in tokenizer.encode(text)]

    u = SPACE
    assert words("Unaffable") == ["[CLS]", u + "un", "aff", "able", "[SEP]"]
    assert words("hello, hello!") == ["[CLS]", u + "hello", u + ",", u + "hello", u + "!", "[SEP]"]
    assert words("Café 世世") == ["[CLS]", u + "cafe", u + "世", u + "世", "[SEP]"]
    assert words("zzz affs") == ["[CLS]", "[UNK]", u + "aff", "s", "[SEP]"]
    assert "[MASK]" not in words("[MASK]")
    assert [names[i] for i in tokenizer.encode("un [MASK]", parse_special=True)][2] == "[MASK]"
    assert tokenizer.decode(tokenizer.encode("unaffable hello"), skip_special=True) == "unaffable hello"


def test_wordpiece_can_keep_case_and_accents(wordpiece_metadata: dict[str, Any]) -> None:
    wordpiece_metadata["tokenizer.ggml.normalizer.lowercase"] = False
    tokenizer = Tokenizer.from_metadata(wordpiece_metadata)
    assert tokenizer.encode("Hello", add_special=False) == [tokenizer.unk_id]
    assert tokenizer.encode("café", add_special=False) == [tokenizer.unk_id]


def test_phi3_specials_swallow_the_space_after_them(real) -> None:
    tokenizer = real("phi-3")
    encode = tokenizer.encode
    tight = encode("<|user|>hi<|end|>", parse_special=True)
    assert encode("<|user|> \n hi<|end|>", parse_special=True) == tight


def test_bos_and_eos_follow_the_files_flags(bpe_metadata: dict[str, Any]) -> None:
    for add_bos, add_eos in itertools.product((True, False), repeat=2):
        bpe_metadata["tokenizer.ggml.add_bos_token"] = add_bos
        bpe_metadata["tokenizer.ggml.add_eos_token"] = add_eos
        tokenizer = Tokenizer.from_metadata(bpe_metadata)
        middle = tokenizer.encode("x", add_special=False)
        assert tokenizer.encode("x") == [1] * add_bos + middle + [2] * add_eos
    del bpe_metadata["tokenizer.ggml.bos_token_id"]
    bpe_metadata["tokenizer.ggml.add_bos_token"] = True
    assert Tokenizer.from_metadata(bpe_metadata).encode("x") == [*middle]


def test_lone_surrogates_are_replaced(bpe_metadata: dict[str, Any], spm_metadata: dict[str, Any]) -> None:
    for metadata in (bpe_metadata, spm_metadata):
        tokenizer = Tokenizer.from_metadata(metadata)
        assert tokenizer.decode(tokenizer.encode("a\ud800b", add_special=False)) == "a\ufffdb"
        assert tokenizer.decode(tokenizer.encode("\ud83d\ude42", add_special=False)) == "🙂"
