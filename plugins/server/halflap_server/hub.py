"""`hf:org/repo[:quant]`: GGUF files of the Hugging Face hub, by huggingface_hub: resumable, checksummed, cached.

`HF_HUB_OFFLINE=1` uses what is cached, `HF_ENDPOINT` names another hub of the same HTTP API, `HF_TOKEN` opens private
repositories.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halflap.errors import InvalidRequestError, ModelFormatError, ModelNotFoundError, PluginError

WISH = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
LIKED = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "Q4_0", "Q8_0", "MXFP4")
"""Taken in this order when no quantisation is named."""
SHA256 = re.compile(r"[0-9a-f]{64}")
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


def path(wish: str) -> Path:
    """The local file of `org/repo` or `org/repo:QUANT`, downloaded if need be.

    Raises:
        InvalidRequestError: not of that form.
        ModelNotFoundError: no such repository or file, or it cannot be reached.
        ModelFormatError: a download that is not what the hub says it is.
        PluginError: huggingface_hub is not installed.
    """
    asked = WISH.fullmatch(wish)
    if asked is None:
        raise InvalidRequestError("model", got=f"hf:{wish}", want="hf:org/repo or hf:org/repo:QUANT", field="model")
    hub = _hub()
    repo, quant = asked.groups()
    files = _listed(hub, repo)
    chosen = _chosen(repo, files, quant)
    first, *_ = [_downloaded(hub, repo, name) for name in _parts(chosen, files)]
    return first


def _downloaded(hub: Any, repo: str, name: str) -> Path:
    """A file of the cache; one that has just come is compared with its checksum.

    Raises:
        ModelNotFoundError: it cannot be reached.
        ModelFormatError: another file than the hub says it is; it is not kept.
    """
    kept = isinstance(hub.try_to_load_from_cache(repo, name), str)
    try:
        found = Path(hub.hf_hub_download(repo, name))
    except Exception as cause:
        raise _unreached(repo, cause) from cause
    blob = found.resolve()  # the cache names large files by their SHA-256
    if not kept and SHA256.fullmatch(blob.name) and (got := _sha256(blob)) != blob.name:
        found.unlink()
        blob.unlink(missing_ok=True)
        what = f"hf:{repo} {name}"
        raise ModelFormatError(what, got=f"SHA-256 {got}", want=blob.name, fix="Try again.", file=name)
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hub() -> Any:
    try:
        import huggingface_hub  # type: ignore[import-not-found,unused-ignore]
    except ImportError as cause:
        raise PluginError(
            "models of the hub", got="no huggingface_hub", want="it installed", plugin="server",
            fix="pip install 'halflap-server[hub]'",
        ) from cause  # fmt: skip
    return huggingface_hub


def _listed(hub: Any, repo: str) -> list[str]:
    """Names of the repository's files; offline those in the cache."""
    if hub.is_offline_mode():
        try:
            folder = Path(hub.snapshot_download(repo, local_files_only=True))
        except Exception as cause:
            raise _unreached(repo, cause) from cause
        return [file.relative_to(folder).as_posix() for file in folder.rglob("*.gguf")]
    try:
        return [name for name in hub.HfApi().list_repo_files(repo) if name.endswith(".gguf")]
    except Exception as cause:
        raise _unreached(repo, cause) from cause


def _chosen(repo: str, files: Sequence[str], quant: str | None) -> str:
    models = sorted(f for f in files if not Path(f).name.lower().startswith("mmproj"))
    firsts = [f for f in models if (part := PART.search(f)) is None or int(part[1]) == 1]
    for wished in (quant,) if quant else LIKED:
        fits = [f for f in firsts if re.search(rf"(?:^|[-._/]){re.escape(wished)}(?=[-._/])", f, re.I)]
        if fits:
            return min(fits, key=len)
    if not quant and firsts:
        return firsts[0]
    raise ModelNotFoundError(
        f"hf:{repo}", got=f"no GGUF file of {quant}" if quant else "no GGUF file",
        want=f"one of {', '.join(firsts)}" if firsts else "at least one",
    )  # fmt: skip


def _parts(first: str, files: Sequence[str]) -> list[str]:
    """All files of a model in several."""
    part = PART.search(first)
    if part is None:
        return [first]
    stem = first[: part.start()]
    return [f"{stem}-{i:05d}-of-{part[2]}.gguf" for i in range(1, int(part[2]) + 1)]


def _unreached(repo: str, cause: Exception) -> ModelNotFoundError:
    said = " ".join(str(cause).split())[:200]
    return ModelNotFoundError(
        f"hf:{repo}", got=f"{type(cause).__name__}: {said}", want="a repository that can be reached",
        fix="Look at its name; HF_TOKEN opens private ones, HF_HUB_OFFLINE=1 uses what is cached.",
    )  # fmt: skip
