"""POST /v1/embeddings and /v1/rerank."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from halflap_server.answers import json_response, on_thread
from halflap_server.bodies import Embeddings, Rerank
from halflap_server.errors import invalid
from halflap_server.pool import Lease
from halflap_server.reading import read
from halflap_server.replies import Embedding, EmbeddingsReply, Ranked, RerankReply

MOST_TEXTS = 2048


async def embeddings(request: Request) -> Response:
    """One vector for each text (OpenAI)."""
    body, rows, tokens, name = await _embedded(request)
    encoded = _encoder(body)
    data = [Embedding(index=place, embedding=encoded(row)) for place, row in enumerate(rows)]
    return json_response(
        EmbeddingsReply(data=data, model=name, usage={"prompt_tokens": tokens, "total_tokens": tokens})
    )


async def embedding(request: Request) -> Response:
    """One vector for each text (llama-server)."""
    _, rows, _, _ = await _embedded(request)
    return json_response([{"index": place, "embedding": [row.tolist()]} for place, row in enumerate(rows)])


async def _embedded(request: Request) -> tuple[Embeddings, Any, int, str]:
    body, _ = await read(request, Embeddings)
    given = body.input if body.input is not None else body.content
    if given is None:
        raise invalid("input", "input: got nothing, want it; this field is required")
    with await request.app.state.pool.acquire(body.model) as lease:
        texts = _texts(given)

        def work() -> tuple[Any, int]:
            ids = [lease.model.tokenizer.encode(text) if isinstance(text, str) else text for text in texts]
            rows = lease.model.embed(ids, normalize=body.embd_normalize in (None, 2) and body.dimensions is None)
            if body.dimensions is not None:
                rows = _shortened(rows, body.dimensions)
            elif body.embd_normalize not in (None, 2, -1):
                rows = rows / np.maximum(_norms(rows, body.embd_normalize), 1e-12)
            return rows, sum(map(len, ids))

        rows, tokens = await on_thread(request, work)
        return body, rows, tokens, lease.served.name


def _texts(given: Any) -> Sequence[str | list[int]]:
    """Texts and lists of ids, from any of the forms that clients send."""
    if isinstance(given, str):
        return [given]
    if not 0 < len(given) <= MOST_TEXTS:
        raise invalid("input", f"input: got {len(given)} texts, want 1 to {MOST_TEXTS}")
    if all(isinstance(part, int) for part in given):
        return [list(given)]
    for place, part in enumerate(given):
        if isinstance(part, int) or (isinstance(part, list) and any(isinstance(i, str) for i in part)):
            raise invalid(f"input[{place}]", f"input[{place}]: got texts and token ids mixed, want one or the other")
    return list(given)


def _shortened(rows: Any, width: int) -> Any:
    """The first numbers of each row, of length 1 again: what models trained for it allow (Matryoshka)."""
    if width > rows.shape[1]:
        raise invalid("dimensions", f"dimensions: got {width}, want at most the model's {rows.shape[1]}")
    rows = rows[:, :width]
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _norms(rows: Any, kind: int | None) -> Any:
    """llama-server's --embd-normalize: 0 the largest number becomes 32760, 1 taxicab."""
    if kind == 0:
        return np.abs(rows).max(axis=1, keepdims=True) / 32760
    return np.abs(rows).sum(axis=1, keepdims=True)


def _encoder(body: Embeddings) -> Any:
    if body.encoding_format in (None, "float"):
        return lambda row: row.tolist()
    if body.encoding_format == "base64":
        return lambda row: base64.b64encode(row.astype("<f4").tobytes()).decode()
    message = f"encoding_format: got {body.encoding_format!r:.40}, want 'float' or 'base64'"
    raise invalid("encoding_format", message)


async def rerank(request: Request) -> Response:
    """How well documents answer a query (Jina's form, and TEI's with `texts`)."""
    body, _ = await read(request, Rerank)
    given: Sequence[str | dict[str, Any]] | None = body.documents if body.documents is not None else body.texts
    if not given or len(given) > MOST_TEXTS:
        raise invalid("documents", f"documents: got {len(given or ())}, want 1 to {MOST_TEXTS}")
    texts = [_document(place, document) for place, document in enumerate(given)]
    with await request.app.state.pool.acquire(body.model) as lease:
        scores = await on_thread(request, lambda: lease.model.rank(body.query, texts))
        count = await on_thread(request, lambda: _pair_tokens(lease, body.query, texts))
    order = sorted(range(len(texts)), key=lambda place: -float(scores[place]))[: body.top_n or None]
    if body.texts is not None and body.documents is None:
        return json_response([{"index": place, "score": float(scores[place])} for place in order])
    results = [
        Ranked(
            index=place,
            relevance_score=_sound(float(scores[place])),
            document={"text": texts[place]} if body.return_documents else UNSET,
        )
        for place in order
    ]
    return json_response(
        RerankReply(model=lease.served.name, results=results, usage={"prompt_tokens": count, "total_tokens": count})
    )


def _document(place: int, document: str | dict[str, Any]) -> str:
    text = document if isinstance(document, str) else document.get("text")
    if not isinstance(text, str):
        raise invalid(f"documents[{place}]", f"documents[{place}]: got no text, want a text or an object with 'text'")
    return text


def _pair_tokens(lease: Lease, query: str, texts: Sequence[str]) -> int:
    return sum(len(lease.model.tokenizer.encode_pair(query, text)) for text in texts)


def _sound(score: float) -> float:
    return score if math.isfinite(score) else -9999.0
