"""POST /infill, and the `suffix` of /v1/completions: what stands between two texts."""

from __future__ import annotations

from collections.abc import Sequence

from halflap_server.bodies import Extra
from halflap_server.errors import invalid
from halflap_server.pool import Lease

SPELLINGS = {
    "prefix": ("<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
               "<｜fim▁begin｜>", "<|fim_begin|>", "[PREFIX]"),
    "suffix": ("<|fim_suffix|>", "<fim_suffix>", "<fim-suffix>", "<SUF>", "▁<SUF>", "<|code_suffix|>",
               "<｜fim▁hole｜>", "<|fim_hole|>", "[SUFFIX]"),
    "middle": ("<|fim_middle|>", "<fim_middle>", "<fim-middle>", "<MID>", "▁<MID>", "<|code_middle|>",
               "<｜fim▁end｜>", "<|fim_end|>", "[MIDDLE]"),
    "repo": ("<|repo_name|>", "<|fim_repo|>", "<repo_name>", "<reponame>", "<|repo|>"),
    "file": ("<|file_sep|>", "<file_sep>", "<filename>", "<|fim_sep|>"),
}  # fmt: skip
"""How vocabularies write the tokens that mark the parts of a file with a hole."""


def infill_ids(
    lease: Lease, prefix: str | Sequence[int], suffix: str, extra: Sequence[Extra] = (), prompt: str = ""
) -> list[int]:
    """The prompt for what stands between `prefix` and `suffix`.

    Args:
        extra: other files, told before it where the vocabulary can.
        prompt: what the middle begins with.

    Raises:
        Refusal: a model whose vocabulary has no tokens for this.
    """
    tokenizer = lease.model.tokenizer
    marks = {
        part: next((i for s in spellings if (i := tokenizer.token_to_id(s)) is not None), None)
        for part, spellings in SPELLINGS.items()
    }
    begin, hole, middle = (marks[part] for part in ("prefix", "suffix", "middle"))
    if begin is None or hole is None or middle is None:
        message = f"model: got {lease.served.name!r}, which has no infill tokens, want one that can fill in"
        raise invalid("model", message)

    def plain(text: str) -> list[int]:
        return tokenizer.encode(text, add_special=False, parse_special=False)

    ids = []
    if tokenizer.bos_id is not None and tokenizer.encode("x")[:1] == [tokenizer.bos_id]:
        ids.append(tokenizer.bos_id)
    if extra and (repo := marks["repo"]) is not None and (file := marks["file"]) is not None:
        ids += [repo, *plain("project\n")]
        for each in extra:
            ids += [file, *plain(f"{each.filename or 'file'}\n{each.text}\n")]
        ids += [file, *plain("current\n")]
    before = plain(prefix) if isinstance(prefix, str) else list(prefix)
    return [*ids, begin, *before, hole, *plain(suffix), middle, *plain(prompt)]
