"""Every failure as an answer: OpenAI's shape, Anthropic's on its routes, and a status that clients understand."""

from __future__ import annotations

from typing import Any

from halflap import errors
from halflap.errors import HalflapError

STATUS: tuple[tuple[type[HalflapError], int, str], ...] = (
    (errors.ContextOverflowError, 400, "exceed_context_size_error"),
    (errors.NotRegisteredError, 400, "invalid_request_error"),
    (errors.UsageError, 400, "invalid_request_error"),
    (errors.ModelNotFoundError, 404, "not_found_error"),
    (errors.ModelError, 422, "invalid_request_error"),
    (errors.DeviceMemoryError, 503, "unavailable_error"),
    (errors.BusyError, 503, "unavailable_error"),
    (errors.RequestTimeoutError, 408, "timeout_error"),
    (errors.ModelClosedError, 503, "unavailable_error"),
)
"""First match wins; anything else is the server's own fault, 500."""

ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """An answer that is no success.

    Args:
        param: the field of the body that it is about.
        facts: further members of the error object.
        headers: of the response.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        param: str | None = None,
        facts: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.param = status, kind, message, param
        self.facts, self.headers = facts or {}, headers or {}

    def body(self, anthropic: bool = False) -> dict[str, Any]:
        if anthropic:
            kind = ANTHROPIC_TYPES.get(self.status, "api_error")
            return {"type": "error", "error": {"type": kind, "message": self.message}}
        told = {"code": self.status, "message": self.message, "type": self.kind, "param": self.param, **self.facts}
        return {"error": told}


def invalid(param: str, message: str) -> Refusal:
    """A body's field that cannot be used; the message names it."""
    return Refusal(400, "invalid_request_error", message, param)


def not_found(message: str) -> Refusal:
    return Refusal(404, "not_found_error", message)


def refusal(error: Exception) -> Refusal:
    """Any failure as a refusal; what is not Halflap's own says nothing of the server's inside."""
    if isinstance(error, Refusal):
        return error
    if not isinstance(error, HalflapError):
        return Refusal(500, "server_error", "server: got an unexpected failure, want none. Its log has the details.")
    status, kind = next(((s, k) for cls, s, k in STATUS if isinstance(error, cls)), (500, "server_error"))
    facts: dict[str, Any] = {"reason": error.code}
    headers = {}
    if isinstance(error, errors.ContextOverflowError):
        facts |= {"n_prompt_tokens": error.n_prompt, "n_ctx": error.n_ctx}
    if status == 503:
        headers["Retry-After"] = str(max(1, round(getattr(error, "retry_after", None) or 1)))
    return Refusal(status, kind, str(error), getattr(error, "field", None), facts, headers)
