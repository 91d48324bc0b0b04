"""A prefix on disk: the state behind a prompt, for another process to resume with.

    magic "HALFLAP PREFIX\\n" | u32 version | u64 header bytes | header, JSON | rows | BLAKE2b-256 of all before it

All little-endian. Rows stand in the order of the header's `rows`, each in the canonical form of the device contract
(after rope and rotation), as F16 where that loses nothing, else as F32. A file is hostile until its sum was checked.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from attrs import astuple, frozen

from halflap.engine.blocks import BlockManager
from halflap.engine.prefix import Node
from halflap.engine.runner import Runner
from halflap.errors import DeviceError, DeviceMemoryError, InvalidRequestError, ModelFormatError, ModelNotFoundError

MAGIC: Final = b"HALFLAP PREFIX\n"
VERSION: Final = 1
MOST_HEADER: Final = 64 << 20
SUM_BYTES: Final = 32
CHUNK: Final = 1 << 20


@frozen
class Rows:
    """One stored array: a layer's rows of a group, in the `place`-th block of a node (counted from 1)."""

    group: str
    layer: int
    node: int
    place: int
    dtype: str
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * np.dtype(self.dtype).itemsize


def write(
    path: Path, model: str, keys: Sequence[bytes], nodes: Sequence[Node], runner: Runner, manager: BlockManager
) -> None:
    """Store what resuming behind `nodes` takes; the file appears whole or not at all.

    Args:
        model: what the rows depend on beside the tokens.
        keys: of the nodes.

    Raises:
        InvalidRequestError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            found = [(row, block) for row, block in _needed(nodes, runner, manager)]
            header = {"model": model, "keys": [key.hex() for key in keys], "rows": [astuple(row) for row, _ in found]}
            text, total = json.dumps(header).encode(), hashlib.blake2b(digest_size=SUM_BYTES)
            head = [MAGIC, VERSION.to_bytes(4, "little"), len(text).to_bytes(8, "little"), text]
            values = (runner.export(row.group, row.layer, block).astype(row.dtype).tobytes() for row, block in found)
            for piece in chain(head, values):
                file.write(piece)
                total.update(piece)
            file.write(total.digest())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as cause:
        raise InvalidRequestError(
            f"prefix file {str(path)!r}", got=cause.strerror or cause, want="a path that can be written", field="path"
        ) from cause
    finally:
        with suppress(OSError):
            part.unlink()


def read(path: Path, model: str, runner: Runner, manager: BlockManager) -> int:
    """Enter a stored prefix into the tree; returns the tokens it covers.

    Raises:
        ModelNotFoundError: no such file.
        ModelFormatError: it is damaged.
        InvalidRequestError: it was written for another model, or another way of loading it.
        DeviceMemoryError: the pools have no room for it.
    """
    try:
        with path.open("rb") as file:
            header, size = _checked(file, path)
            if not isinstance(header, dict) or header.get("model") != model:
                raise InvalidRequestError(
                    f"prefix file {str(path)!r}",
                    got="a prefix of another model, context or KV type",
                    want="one saved from this model, loaded like this",
                    field="path",
                )
            rows, keys = _parsed(header, path, size)
            return _enter(file, path, rows, keys, runner, manager)
    except OSError as cause:
        raise ModelNotFoundError(
            f"prefix file {str(path)!r}", got=cause.strerror or cause, want="a readable file"
        ) from cause


def _needed(nodes: Sequence[Node], runner: Runner, manager: BlockManager) -> Iterator[tuple[Rows, int]]:
    """All arrays that resuming at the last node takes, each with its block or slot."""
    depth = len(nodes)
    first = {g.name: g.first_node(depth * manager.node_tokens) for g in manager.groups}
    for name in (*first, *manager.slot_groups):
        for node in nodes[first.get(name, depth - 1) :]:
            for place, block in enumerate(node.places[name]):
                for layer in range(runner.layers(name)):
                    values = runner.export(name, layer, block)
                    exact = np.array_equal(values.astype(np.float16).astype(np.float32), values)
                    yield Rows(name, layer, node.depth, place, "<f2" if exact else "<f4", values.size), block


def _checked(file: BinaryIO, path: Path) -> tuple[Any, int]:
    """The header and the bytes of rows behind it, of a file whose sum is right; left at the first row."""
    end = os.fstat(file.fileno()).st_size - SUM_BYTES
    head = file.read(len(MAGIC) + 12)
    if head[: len(MAGIC)] != MAGIC or len(head) < len(MAGIC) + 12:
        raise _damaged(path, "first bytes", head[: len(MAGIC)], MAGIC)
    version, length = int.from_bytes(head[-12:-8], "little"), int.from_bytes(head[-8:], "little")
    if version != VERSION:
        raise _damaged(path, "version", version, VERSION)
    if not 0 < length <= min(MOST_HEADER, end - len(head)):
        raise _damaged(path, "header length", length, f"at most {min(MOST_HEADER, max(end - len(head), 0))}")
    total = hashlib.blake2b(head, digest_size=SUM_BYTES)
    text = file.read(length)
    total.update(text)
    left = end - len(head) - length
    while left:
        piece = file.read(min(CHUNK, left))
        if not piece:
            raise _damaged(path, "rows", f"{left} bytes less", "all of them")
        total.update(piece)
        left -= len(piece)
    if file.read() != total.digest():
        raise _damaged(path, "checksum", "another", "that of its content")
    file.seek(len(head) + length)
    try:
        return json.loads(text), end - len(head) - length
    except (ValueError, RecursionError) as cause:
        raise _damaged(path, "header", cause, "JSON") from cause


def _parsed(header: Any, path: Path, size: int) -> tuple[list[Rows], list[bytes]]:
    try:
        rows = [Rows(*row) for row in header["rows"]]
        if sum(row.nbytes for row in rows) != size or any(row.dtype not in ("<f2", "<f4") for row in rows):
            raise ValueError(f"{size} bytes of rows")
        return rows, [bytes.fromhex(key) for key in header["keys"]]
    except (KeyError, TypeError, ValueError) as cause:
        raise _damaged(path, "header", cause, "keys and rows") from cause


def _enter(
    file: BinaryIO, path: Path, rows: Sequence[Rows], keys: Sequence[bytes], runner: Runner, manager: BlockManager
) -> int:
    """Import the rows into blocks of their own, then give these to the tree's nodes that have none."""
    taken: dict[tuple[int, str], dict[int, int]] = {}
    root, nodes = manager.tree.root(b""), []  # type: ignore[var-annotated]
    windows = {shape.name for shape in manager.groups if shape.window}
    manager.tree.use(root, ())
    try:
        for row in rows:
            blocks = taken.setdefault((row.node, row.group), {})
            if row.place not in blocks:
                block = manager.take(row.group) if row.group in manager.pools else None
                if block is None:
                    got = f"no room in group {row.group!r}"
                    raise DeviceMemoryError(f"prefix file {str(path)!r}", got=got, want="a pool that can hold it")
                blocks[row.place] = block
            values = np.frombuffer(file.read(row.nbytes), row.dtype).astype(np.float32)
            try:
                runner.restore(row.group, row.layer, blocks[row.place], values)
            except (DeviceError, ValueError, IndexError) as cause:
                raise _damaged(path, f"rows of {row.group!r}", cause, "those of the model's layers") from cause
        for depth, key in enumerate(keys, 1):
            node = manager.tree.child(nodes[-1] if nodes else root, key)
            nodes.append(node)
            for shape in manager.groups:
                found, want = (
                    len(taken.setdefault((depth, shape.name), {})),
                    shape.whole(depth) - shape.whole(depth - 1),
                )
                if not shape.window and found != want:
                    raise _damaged(path, "rows", f"{found} blocks of {shape.name!r} in node {depth}", f"{want}")
            for (place, group), blocks in taken.items():
                if place == depth and group not in node.places and (blocks or group not in windows):
                    manager.tree.keep(node, group, [blocks[i] for i in sorted(blocks)])
        resumed, _ = manager.tree.resume(nodes, lambda place: True)
        if len(resumed) != len(keys):
            raise _damaged(path, "rows", f"enough for {len(resumed)} nodes", f"{len(keys)}")
        manager.tree.mark(nodes[-1], nodes)
        return len(keys) * manager.node_tokens
    finally:
        for (_, group), blocks in taken.items():
            for block in blocks.values():
                manager.pools[group].drop(block)
        manager.tree.leave(root, nodes)


def _damaged(path: Path, what: str, got: object, want: object) -> ModelFormatError:
    return ModelFormatError(f"prefix file's {what}", got=got, want=want, file=str(path), fix="Save it again.")
