"""Reading a request's body: bounded in bytes and time, and checked against its Struct."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import anyio
import msgspec
from starlette.requests import Request

from halflap_server.errors import Refusal, invalid

B = TypeVar("B", bound=msgspec.Struct)
PLACE = re.compile(r"(.*) - at `(?:key in )?\$\.?(.*)`", re.S)
MISSING = re.compile(r"Object missing required field `(\w+)`")


async def read(request: Request, kind: type[B]) -> tuple[B, dict[str, Any]]:
    """The body as `kind`, and as plain JSON with all that the client sent.

    Raises:
        Refusal: too large, too slow, no JSON, or not of that kind; names the field.
    """
    data = await received(request)
    try:
        raw = msgspec.json.decode(data or b"{}")
        if not isinstance(raw, dict):
            raise invalid("body", f"body: got {_json_type(raw)}, want a JSON object")
        return msgspec.convert(raw, kind), raw
    except msgspec.ValidationError as error:
        raise _named(error) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise invalid("body", f"body: got no JSON: {error}"[:300]) from None
    except RecursionError:
        raise invalid("body", "body: got JSON nested too deep, want fewer levels") from None


def checked(value: Any, kind: type[B], where: str) -> B:
    """A part of a body that its Struct leaves open.

    Raises:
        Refusal: not of that kind; names the field.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _named(error, where) from None


async def received(request: Request) -> bytes:
    """All bytes of the body.

    Raises:
        Refusal: 413 when it is larger than the server takes, 408 when it does not arrive in time.
    """
    settings = request.app.state.settings
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared) > settings.body_bytes:
        raise _too_large(settings.body_bytes)
    parts, size = [], 0
    try:
        with anyio.fail_after(settings.read_seconds):
            async for part in request.stream():
                size += len(part)
                if size > settings.body_bytes:
                    raise _too_large(settings.body_bytes)
                parts.append(part)
    except TimeoutError:
        message = f"body: got {size:,} bytes in {settings.read_seconds:g} s, want all of it by then"
        raise Refusal(408, "timeout_error", message, "body", headers={"Connection": "close"}) from None
    return b"".join(parts)


def _too_large(most: int) -> Refusal:
    message = f"body: got more than {most:,} bytes, want at most that many"
    return Refusal(413, "invalid_request_error", message, "body", headers={"Connection": "close"})


def _named(error: msgspec.ValidationError, where: str = "") -> Refusal:
    text = str(error)
    placed = PLACE.fullmatch(text)
    said, place = (placed[1], placed[2]) if placed else (text, "")
    if where:
        place = where + (f".{place}" if place and not place.startswith("[") else place)
    if missing := MISSING.search(said):
        place = f"{place}.{missing[1]}" if place else missing[1]
        return invalid(place, f"{place}: got nothing, want it; this field is required")
    return invalid(place or "body", f"{place or 'body'}: {said[:1].lower()}{said[1:]}"[:500])


def _json_type(value: Any) -> str:
    return {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}.get(type(value), "a number")
