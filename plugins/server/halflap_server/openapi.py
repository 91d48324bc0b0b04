"""The OpenAPI page, made from the routes' table and the Structs of bodies and replies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

import halflap
from halflap_server import bodies, replies
from halflap_server.settings import Settings

BODIES: dict[str, type[msgspec.Struct]] = {
    "chat_completions": bodies.Chat,
    "control": bodies.Cancel,
    "chat_input_tokens": bodies.Template,
    "completions": bodies.Completions,
    "create": bodies.Responses,
    "responses_input_tokens": bodies.Responses,
    "messages": bodies.Messages,
    "count_tokens": bodies.CountTokens,
    "embeddings": bodies.Embeddings,
    "embedding": bodies.Embeddings,
    "rerank": bodies.Rerank,
    "completion": bodies.Completion,
    "infill": bodies.Infill,
    "tokenize": bodies.Tokenize,
    "detokenize": bodies.Detokenize,
    "apply_template": bodies.Template,
    "load_model": bodies.LoadModel,
    "unload_model": bodies.UnloadModel,
    "slot_action": bodies.SaveSlot,
}
"""Endpoint -> its body."""
REPLIES: dict[str, type[msgspec.Struct]] = {
    "chat_completions": replies.ChatReply,
    "completions": replies.TextReply,
    "embeddings": replies.EmbeddingsReply,
}
STREAMING = frozenset({"chat_completions", "completions", "create", "messages", "completion", "infill"})
QUERIES = {
    "props": ("model",),
    "slots": ("model", "fail_on_no_slot"),
    "slot_action": ("action", "model"),
    "lora_adapters": ("model",),
    "set_lora_adapters": ("model",),
}
FAILURES = {
    "400": "The request cannot be used; `param` names the field.",
    "401": "No key, or a wrong one.",
    "403": "From another site, or under another host's name.",
    "404": "No such model, or no such thing.",
    "408": "The body, or the request's own `timeout`, ran out.",
    "413": "A body larger than the server takes.",
    "422": "A model file that cannot be loaded.",
    "501": "Not offered, or not by this model.",
    "503": "Loading, no room, or too many waiting; `Retry-After` says when to come back.",
}
REF = "#/components/schemas/{name}"


def document(routes: Sequence[tuple[str, Callable[..., Any], str]], settings: Settings) -> dict[str, Any]:
    """The whole page."""
    kinds = [*dict.fromkeys([*BODIES.values(), *REPLIES.values(), replies.ChatChunk, replies.ErrorReply,
                             replies.RerankReply])]  # fmt: skip
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    reference = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, Any] = {}
    for method, endpoint, listed in routes:
        path = re.sub(r":\w+}", "}", listed.split()[0])
        paths.setdefault(path, {})[method.lower()] = _operation(endpoint, path, reference)
    server = {"url": settings.api_prefix or "/"}
    about = "What OpenAI, Anthropic and llama-server clients speak."
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Halflap", "version": halflap.__version__, "description": about},
        "servers": [server],
        "paths": paths,
        "components": {"schemas": components},
    }
    if settings.keys:
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"key": []}]
    return found


def _operation(endpoint: Callable[..., Any], path: str, reference: dict[Any, Any]) -> dict[str, Any]:
    name = endpoint.__name__
    success: dict[str, Any] = {"description": "Done."}
    if name == "metrics":
        success["content"] = {"text/plain": {"schema": {"type": "string"}}}
    else:
        reply = REPLIES.get(name)
        success["content"] = {"application/json": {"schema": reference[reply] if reply else {}}}
    if name in STREAMING:
        success["content"]["text/event-stream"] = {}
    failure = {"application/json": {"schema": reference[replies.ErrorReply] if "messages" not in path else {}}}
    answers = {"200": success}
    answers |= {status: {"description": about, "content": failure} for status, about in FAILURES.items()}
    found: dict[str, Any] = {
        "operationId": name,
        "summary": (endpoint.__doc__ or "").strip().split("\n")[0],
        "responses": answers,
    }
    if name in BODIES:
        content = {"application/json": {"schema": reference[BODIES[name]]}}
        found["requestBody"] = {"required": name != "slot_action", "content": content}
    elif name == "set_lora_adapters":
        schema = {"type": "array", "items": REF_LORA}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    parameters = [_parameter(each, "path", path) for each in re.findall(r"{(\w+)}", path)]
    parameters += [_parameter(each, "query", path) for each in QUERIES.get(name, ())]
    if parameters:
        found["parameters"] = parameters
    return found


REF_LORA = {"$ref": REF.format(name="Lora")}


def _parameter(name: str, place: str, path: str) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": "string"}
    if name == "id" and path.startswith("/slots"):
        kind = {"type": "integer", "minimum": 0}
    if name == "action":
        kind = {"enum": ["save", "restore", "erase"]}
    return {"name": name, "in": place, "required": place == "path" or name == "action", "schema": kind}
