"""What the server is and does: /health, /props, /slots, /models, /lora-adapters, /metrics, and answers under way."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

import halflap
from halflap_server import metrics as exposition
from halflap_server.answers import SUBMITTING, json_response
from halflap_server.bodies import Cancel, LoadModel, Lora, SaveSlot, UnloadModel
from halflap_server.errors import Refusal, invalid, not_found
from halflap_server.pool import Entry, Lease, Served
from halflap_server.reading import read, received
from halflap_server.slots import Slot, plain

FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,200}")


async def health(request: Request) -> Response:
    """Ready to answer?"""
    if not request.app.state.ready:
        raise Refusal(503, "unavailable_error", "Loading model", headers={"Retry-After": "1"})
    return json_response({"status": "ok"})


async def live(request: Request) -> Response:
    """Alive, whether or not it is ready."""
    return json_response({"status": "ok"})


async def models(request: Request) -> Response:
    """The models that may be asked for (OpenAI, with llama-server's members)."""
    data = [_listed(entry) for entry in request.app.state.pool.entries.values()]
    names = [{"name": one["id"], "model": one["id"], "type": "model", "capabilities": ["completion"]} for one in data]
    return json_response({"object": "list", "data": data, "models": names})


async def model(request: Request) -> Response:
    """One of them."""
    return json_response(_listed(request.app.state.pool.find_exactly(request.path_params["id"])))


def _listed(entry: Entry) -> dict[str, Any]:
    found = {
        "id": entry.source.name,
        "object": "model",
        "created": entry.created,
        "owned_by": "halflap",
        "aliases": list(entry.source.aliases),
        "pinned": entry.source.pinned,
        "status": {"value": entry.status, **({"failure": entry.failure} if entry.failure else {})},
        "bytes": entry.bytes or None,
        "meta": None,
    }
    if entry.served is not None:
        info, plan = entry.served.model.info, entry.served.model.plan
        found["meta"] = {
            "vocab_type": 0,
            "n_vocab": info.vocab,
            "n_ctx": plan.ctx,
            "n_ctx_train": info.context,
            "n_embd": info.width,
            "n_params": info.parameters,
            "size": info.file_bytes,
            "architecture": info.architecture,
            "vision": entry.served.sees,
        }
    return found


async def load_model(request: Request) -> Response:
    """Load a model, or replace it by its newest version."""
    body, _ = await read(request, LoadModel)
    await request.app.state.pool.load(body.model, body.reload)
    return json_response({"success": True})


async def unload_model(request: Request) -> Response:
    """Unload a model when its answers are over."""
    body, _ = await read(request, UnloadModel)
    await request.app.state.pool.unload(body.model)
    return json_response({"success": True})


async def props(request: Request) -> Response:
    """How a model is served."""
    state = request.app.state
    if not state.settings.show_props:
        raise _off("props")
    entry = state.pool.find(request.query_params.get("model"))
    if entry.served is not None:  # to look at a model is not to use it: a page that polls must not keep it awake
        return json_response(_props(state, entry.served, sleeping=False))
    with await state.pool.acquire(entry.source.name) as lease:
        return json_response(_props(state, lease.served, sleeping=True))


def _props(state: Any, served: Served, sleeping: bool) -> dict[str, Any]:
    model, tokenizer, form = served.model, served.model.tokenizer, served.form
    return {
        "default_generation_settings": {
            "params": plain({**model.info.sampling, **served.source.sampling}),
            "n_ctx": model.plan.ctx,
        },
        "total_slots": len(served.slots.all),
        "model_alias": served.name,
        "model_ftype": "",
        "model_path": model.info.path,
        "modalities": {"vision": served.sees, "audio": False, "video": False},
        "media_marker": "<__media__>",
        "endpoint_slots": state.settings.show_slots,
        "endpoint_props": state.settings.show_props,
        "endpoint_metrics": state.settings.show_metrics,
        "ui": state.settings.page,
        "ui_settings": {},
        "chat_template": form.template if form else "",
        "chat_template_caps": form.capabilities.to_dict() if form else {},
        "chat_format": form.name if form else "",
        "bos_token": tokenizer.token_text(tokenizer.bos_id),
        "eos_token": tokenizer.token_text(tokenizer.eos_id),
        "build_info": f"halflap-{halflap.__version__}",
        "is_sleeping": sleeping,
        "cors_proxy_enabled": False,
        "samplers": halflap.plugins.names("samplers"),
        "devices": [
            {"id": p.device, "about": p.about, "weights": sum(p.weights.values()), "state": p.state,
             "scratch": p.scratch, "free": p.free}
            for p in model.plan.placed
        ],
        "metrics": _counters(model),
    }  # fmt: skip


def _counters(model: halflap.Model) -> dict[str, Any]:
    found = model.metrics
    names = ("running", "waiting", "prompt_tokens", "generated_tokens", "cached_tokens", "drafted_tokens",
             "accepted_tokens", "blocks_used", "blocks_cached", "blocks_total")  # fmt: skip
    return {name: getattr(found, name) for name in names}


async def slots(request: Request) -> Response:
    """Answers under way, by place."""
    state = request.app.state
    if not state.settings.show_slots:
        raise _off("slots")
    entry = state.pool.find(request.query_params.get("model"))
    served = entry.served
    if served is None:
        return json_response([])
    if request.query_params.get("fail_on_no_slot") and all(slot.busy for slot in served.slots.all):
        raise Refusal(503, "unavailable_error", "slots: got none free, want one", headers={"Retry-After": "1"})
    speculative = served.source.loading.get("draft") is not None
    return json_response([slot.to_dict(served.model.plan.ctx, speculative) for slot in served.slots.all])


async def slot_action(request: Request) -> Response:
    """Save a slot's text with its state, restore what was saved, or forget it."""
    state = request.app.state
    action = request.query_params.get("action")
    body = (await read(request, SaveSlot))[0] if action in ("save", "restore") else SaveSlot()
    with await state.pool.acquire(request.query_params.get("model")) as lease:
        slot = _slot(request.path_params["id"], lease)
        if action == "erase":
            count, slot.request, slot.said = _tokens(lease, slot), None, []
            return json_response({"id_slot": slot.id, "n_erased": len(count)})
        if action not in ("save", "restore"):
            raise invalid("action", f"action: got {action!r:.40}, want 'save', 'restore' or 'erase'")
        if (folder := state.settings.slot_save_path) is None:
            message = "slots: got no folder to save in, want one: start with --slot-save-path"
            raise Refusal(501, "not_supported_error", message)
        if not FILENAME.fullmatch(body.filename or ""):
            message = f"filename: got {body.filename!r:.60}, want letters, digits, '.', '_' and '-'"
            raise invalid("filename", message)
        path, began = folder / str(body.filename), time.monotonic()
        if action == "save":
            ids = _tokens(lease, slot)
            if not ids:
                raise invalid("id_slot", f"id_slot: got slot {slot.id}, which has no text, want one that has")
            saved = await to_thread.run_sync(lease.model.save_prefix, ids, path, limiter=SUBMITTING)
            told = {"n_saved": saved, "n_written": path.stat().st_size}
        else:
            restored = await to_thread.run_sync(lease.model.load_prefix, path, limiter=SUBMITTING)
            told = {"n_restored": restored, "n_read": path.stat().st_size}
        spent = 1e3 * (time.monotonic() - began)
        return json_response(
            {"id_slot": slot.id, "filename": body.filename, **told, "timings": {f"{action}_ms": spent}}
        )


def _slot(number: int, lease: Lease) -> Slot:
    found = lease.served.slots.all
    if not 0 <= number < len(found):
        raise invalid("id_slot", f"id_slot: got {number}, want below {len(found)}")
    return found[number]


def _tokens(lease: Lease, slot: Slot) -> list[int]:
    """The slot's text: the prompt it was given, and what was said."""
    return [*lease.model.prompt_ids(slot.request), *slot.said] if slot.request is not None else []


async def lora_adapters(request: Request) -> Response:
    """The model's adapters, and how strongly each works unless a request says."""
    with await request.app.state.pool.acquire(request.query_params.get("model")) as lease:
        return json_response(_adapters(lease))


async def set_lora_adapters(request: Request) -> Response:
    """Set how strongly each adapter works; those not named are off."""
    with await request.app.state.pool.acquire(request.query_params.get("model")) as lease:
        names = list(lease.served.source.adapters)
        try:
            wished = msgspec.json.decode(await received(request), type=list[Lora])
        except (msgspec.DecodeError, RecursionError) as error:
            raise invalid("body", f"body: got {error}, want a list of {{id, scale}}"[:300]) from None
        for place, each in enumerate(wished):
            if each.id >= len(names):
                raise invalid(f"[{place}].id", f"[{place}].id: got {each.id}, want below {len(names)}")
        scales = dict.fromkeys(names, 0.0) | {names[each.id]: each.scale for each in wished}
        lease.served.scales.update(scales)
        return json_response(_adapters(lease))


def _adapters(lease: Lease) -> list[dict[str, Any]]:
    paths, scales = lease.served.source.adapters, lease.served.scales
    return [{"id": i, "path": str(paths[n]), "name": n, "scale": scales.get(n, 0.0)} for i, n in enumerate(paths)]


async def metrics(request: Request) -> Response:
    """Counters and histograms in Prometheus's form, under our names and llama-server's."""
    if not request.app.state.settings.show_metrics:
        raise _off("metrics")
    body, kind = exposition.page(request.app.state)
    return Response(body, media_type=kind)


async def control(request: Request) -> Response:
    """End an answer under way."""
    body, _ = await read(request, Cancel)
    streams = request.app.state.running.get(body.id)
    if body.action != "cancel":
        raise invalid("action", f"action: got {body.action!r:.40}, want 'cancel'")
    if streams is None:
        raise not_found(f"id: got {body.id!r:.80}, want an answer that is under way")
    for stream in streams:
        stream.cancel()
    return json_response({"success": True})


async def not_supported(request: Request) -> Response:
    """llama-server's routes that have no meaning here."""
    message = f"{request.url.path}: got a call, want another route: this server does not offer it"
    raise Refusal(501, "not_supported_error", message)


def _off(name: str) -> Refusal:
    return Refusal(501, "not_supported_error", f"{name}: got a server that hides them, want one that shows them")


async def version(request: Request) -> Response:
    """What is running."""
    return json_response({"version": halflap.__version__})
