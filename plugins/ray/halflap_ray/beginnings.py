"""Which replica has computed what: keys of requests' beginnings, and who holds them."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator, Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

from halflap.engine.request import Request

H = TypeVar("H", bound=Hashable)
PIECE = 256
"""Bytes after which a beginning may end, at every power of two of them."""
ENDS = 16
"""Messages, the last ones, after each of which a beginning ends too: a chat's next turn begins with all of them."""
KNOWN = 1 << 16
"""Beginnings that are remembered."""


def beginnings(request: Request) -> list[bytes]:
    """Keys of the request's beginnings that are at least a third of it, shortest first.

    Two requests share a key if they are the same up to there, byte for byte as their client wrote them. Behind a
    beginning counts what the model itself said next, for who computed the one has said the other.
    """
    digest, found, read, pieces = blake2b(digest_size=8), [], 0, 0
    parts = list(_parts(request))
    for place, (part, _) in enumerate(parts):
        for start in range(0, len(part), PIECE):
            piece = part[start : start + PIECE]
            digest.update(piece)
            read, pieces = read + len(piece), pieces + 1
            if start + PIECE >= len(part) and place >= len(parts) - ENDS:
                following, said = parts[place + 1] if place + 1 < len(parts) else (b"", False)
                found.append((read + len(following) * said, digest.copy().digest()))
            elif pieces & (pieces - 1) == 0:
                found.append((read, digest.copy().digest()))
    return [key for reach, key in found if 3 * reach >= read]


def _parts(request: Request) -> Iterator[tuple[bytes, bool]]:
    """What the prompt is made of, and whether the model has said it."""
    if request.messages is not None:
        if request.tools:
            yield json.dumps(list(request.tools), default=str).encode(), False
        for message in request.messages:
            yield json.dumps(dict(message), sort_keys=True, default=str).encode(), message.get("role") == "assistant"
    elif isinstance(request.prompt, str):
        yield request.prompt.encode("utf-8", "surrogatepass"), False
    else:
        yield b"".join(int(token).to_bytes(4, "little", signed=True) for token in request.prompt or ()), False


class Holders(Generic[H]):
    """Who computed which beginnings last; the longest unused are forgotten."""

    def __init__(self, known: int = KNOWN) -> None:
        self._known = known
        self._holders: OrderedDict[bytes, set[H]] = OrderedDict()

    def add(self, keys: Sequence[bytes], holder: H) -> None:
        for key in keys:
            self._holders.setdefault(key, set()).add(holder)
            self._holders.move_to_end(key)
        while len(self._holders) > self._known:
            self._holders.popitem(last=False)

    def find(self, keys: Sequence[bytes], alive: Collection[H]) -> set[H]:
        """Those of the living who computed the longest beginning that anybody did."""
        for key in reversed(keys):
            if holders := self._holders.get(key):
                holders &= set(alive)  # a dead one does not come back under its name
                if holders:
                    return set(holders)
        return set()
