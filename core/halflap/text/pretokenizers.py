"""The pre-tokenizers of byte-level BPE: how text is cut into words before merges, by the name in `tokenizer.ggml.pre`.

A pre-tokenizer is a list of regular expressions (Oniguruma syntax, as Hugging Face's tokenizers compile them). Each is
applied in turn to every piece that the ones before it left, and parts a piece into its matches and what lies between.
Source: the `pre_tokenizer` of each model's published tokenizer.json; the names are llama.cpp's (src/llama-vocab.cpp).
"""

from __future__ import annotations

import difflib
from typing import Final

import attrs

from halflap.errors import UnsupportedModelError

__all__ = ["PRETOKENIZERS", "PreTokenizer", "pretokenizer"]


@attrs.frozen
class PreTokenizer:
    """How one family of BPE vocabularies cuts and encodes text.

    Args:
        splits: regular expressions, applied in order.
        byte_level: text is mapped to GPT-2's byte alphabet; else it stays UTF-8, spaces as U+2581.
        ignore_merges: a word that is a token is that token, whatever the merges say.
        add_bos: begin with the BOS token where the file does not say.
        force_bos: begin with it whatever the file says.
    """

    splits: tuple[str, ...]
    byte_level: bool = True
    ignore_merges: bool = False
    add_bos: bool = False
    force_bos: bool = False


_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"

GPT2_SPLIT: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What a byte-level pre-tokenizer splits at by itself."""
_LLAMA3 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}"
_QWEN2 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}|{_SIGNS}|{_SPACES}"
_QWEN35 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)


def _camel(letters: str, contraction: str, digits: str, signs: str, exclude: str = "") -> str:
    """The tiktoken o200k shape: a word ends where lower case turns to upper case; `letters` count as both."""
    upper, lower = rf"[\p{{Lu}}\p{{Lt}}{letters}{exclude}]", rf"[\p{{Ll}}{letters}{exclude}]"
    lead = r"[^\r\n\p{L}\p{N}]?"
    return (
        rf"{lead}{upper}*{lower}+{contraction}|{lead}{upper}+{lower}*{contraction}"
        rf"|{digits}|{signs}|{_SPACES}"
    )


def _threes(digit: str, end: str) -> str:
    """Digits in groups of three from the right: what `D{1,3}(?=(?:D{3})*end)` finds, in linear time.

    Only the first group of a run looks ahead to the end of the run; the others follow where a match has just ended.
    """
    return rf"(?<!{digit}){digit}{{1,3}}(?=(?:{digit}{{3}})*{end})|\G(?<={digit}){digit}{{3}}"


_LM_LO_M = r"\p{Lm}\p{Lo}\p{M}"
_SIGNS_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_GPT4O = _camel(_LM_LO_M, _CONTRACTION + "?", r"\p{N}{1,3}", _SIGNS_SLASH)
_TEKKEN = _camel(_LM_LO_M, "", r"\p{N}", _SIGNS_SLASH)
_YOUTU = _camel(_LM_LO_M, _CONTRACTION + "?", r"\p{N}", _SIGNS_SLASH)
_KIMI = r"[\p{Han}]+|" + _camel(_LM_LO_M, _CONTRACTION + "?", r"\p{N}{1,3}", _SIGNS, r"&&[^\p{Han}]")

_ASCII_SIGN_WORD = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
_MARKED_WORD = r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
_CJK_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_DEEPSEEK3_REST = rf"{_ASCII_SIGN_WORD}|{_MARKED_WORD}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
_DEEPSEEK3 = (r"\p{N}{1,3}", _CJK_KANA, _DEEPSEEK3_REST)
_SPARK = (
    r"\p{N}{1,3}",
    _CJK_KANA,
    rf"{_ASCII_SIGN_WORD}|{_MARKED_WORD}| ?[\p{{P}}\p{{S}}]+|[\r\n]|\s+(?!\S)|\s+",
    r"\p{N}",
)

# Letters with case, in the Unicode version that DeepSeek LLM's tokenizer was made with, as its file lists them.
_CASED = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481"
    "\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b"
    "\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b"
    "\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943"
)
_CJK_HANGUL = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[{_CASED}]+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"(?<!\s)\s++$",  # the file has \s+$, which looks at every space of a run again
    _CJK_HANGUL,
    r"\p{N}+",
)
_DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_HANGUL, r"\p{N}")

_FALCON = (r"[\p{P}\$\+<=>\^~\|`]+", GPT2_SPLIT, r"[0-9][0-9][0-9]")
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", GPT2_SPLIT, r"\p{N}+", r"[0-9][0-9][0-9]")
_BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_YOUTU_SCRIPTS = (
    "[\uac00-\ud7a3\u3131-\u318e]+"
    "|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+"
    "|[\u3105-\u312f]+|" + _CJK_KANA
)
_AFMOE_SCRIPTS = (
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f"
    "\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)
_WIDE_SPACES = "".join(rf"\s{{{n}}}(?!\S)|" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"\s{1,2}(?!\S)|\s{1}"
_CHAMELEON = (
    r"<sentinel:[0-9]+>",
    r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    r"([\t\n]|    |  )",
    r"\p{N}",
    r"[\p{P}!-/:-@\[-`{-~]",
    GPT2_SPLIT,
)
_BAILING = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
_EXAONE_MOE = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
_LINES = r"[^\n]+|[\n]+"

# A BPE file without a name is treated as "default", which was the only one before names came.
_FAMILIES: Final[dict[str, PreTokenizer]] = {
    "default": PreTokenizer(_DEFAULT),
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano": PreTokenizer(
        (_LLAMA3,), ignore_merges=True, add_bos=True
    ),
    "dbrx smaug-bpe chatglm-bpe glm4 glm5": PreTokenizer((_LLAMA3,)),
    "jais-2": PreTokenizer((rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_SIGNS}|\s*[\r\n]+|{_WIDE_SPACES}",)),
    "minicpm5": PreTokenizer(
        (r"\p{N}{1,3}", rf"{_CONTRACTION}|{_WORD}|\p{{N}}+|{_SIGNS}|{_SPACES}"), ignore_merges=True
    ),
    "deepseek-llm": PreTokenizer(_DEEPSEEK_LLM),
    "deepseek-coder": PreTokenizer(_DEEPSEEK_CODER),
    "deepseek-v3 hunyuan-dense hy_v4 joyai-llm": PreTokenizer(_DEEPSEEK3),
    "spark2_5": PreTokenizer(_SPARK),
    "youtu": PreTokenizer((_YOUTU_SCRIPTS, _YOUTU), ignore_merges=True),
    "falcon": PreTokenizer(_FALCON),
    "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2": PreTokenizer((r"\p{N}", GPT2_SPLIT)),
    "gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat jina-es jina-de jina-v2-es jina-v2-de jina-v1-en "
    "jina-v2-code roberta-bpe a.x-4.0 mellum modern-bert exaone4": PreTokenizer((GPT2_SPLIT,)),
    "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2": PreTokenizer((_QWEN2,)),
    "qwen35": PreTokenizer((_QWEN35,)),
    "ufakzeka": PreTokenizer((rf"{_WORD}|\p{{N}}|{_SIGNS}|{_SPACES}",)),
    "laguna": PreTokenizer((_LINES, _QWEN2)),
    "seed-coder": PreTokenizer((rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}",)),
    "bailingmoe bailingmoe2 llada-moe": PreTokenizer((_BAILING,)),
    "exaone-moe": PreTokenizer((_EXAONE_MOE,)),
    "bloom gpt3-finnish poro-chat": PreTokenizer((_BLOOM,)),
    "viking": PreTokenizer((_BLOOM, r"\p{N}")),
    "tekken": PreTokenizer((_TEKKEN,), ignore_merges=True, add_bos=True),
    "gpt-4o llama4 kanana2 talkie minimax-m2": PreTokenizer((_GPT4O,)),
    "granite-embed-multi-97m": PreTokenizer((_GPT4O,), ignore_merges=True),
    "tiny_aya cohere2moe": PreTokenizer((_threes(r"\d", r"\b"), _GPT4O)),
    "kimi-k2": PreTokenizer((_KIMI,)),
    "superbpe": PreTokenizer((r"\p{N}+", r"(?=(\d{3})+(?!\d))")),
    "afmoe": PreTokenizer((_threes(r"\p{N}", r"(?!\p{N})"), _AFMOE_SCRIPTS, _DEEPSEEK3_REST)),
    "chameleon": PreTokenizer(_CHAMELEON, add_bos=True),
    "gemma4 granite-embed-multi-311m": PreTokenizer((_LINES,), byte_level=False, force_bos=True),
    "sarvam-moe": PreTokenizer((_LINES,), byte_level=False),
}

PRETOKENIZERS: Final[dict[str, PreTokenizer]] = {
    name: family for names, family in _FAMILIES.items() for name in names.split()
}


def pretokenizer(name: str) -> PreTokenizer:
    """The pre-tokenizer called `name` in model files.

    Raises:
        UnsupportedModelError: no such name is known; guessing one would change every token.
    """
    found = PRETOKENIZERS.get(name)
    if found is None:
        close = difflib.get_close_matches(name, PRETOKENIZERS, 3)
        raise UnsupportedModelError(
            "metadata 'tokenizer.ggml.pre'",
            got=repr(name[:80]),
            want=f"{' or '.join(map(repr, close)) if close else 'one of ' + ', '.join(sorted(PRETOKENIZERS))}",
            fix="A plugin can register this pre-tokenizer.",
            what_kind="pre-tokenizer",
            name=name,
        )
    return found
