"""OpenTelemetry spans of HTTP requests, where its API package is installed; the host chooses exporter and sampling.

Names follow the semantic conventions for HTTP: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any


class Span:
    """One request's span, a child of the caller's; the engine's spans become its children."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        self._context: Any = None
        self._span: Any = None
        if (api := _api()) is not None:
            trace, propagate = api
            attributes = {"http.request.method": method, "url.path": path}
            self._method = method
            self._context = trace.get_tracer("halflap").start_as_current_span(
                method,
                context=propagate.extract(dict(headers)),
                kind=trace.SpanKind.SERVER,
                attributes=attributes,
            )

    def __enter__(self) -> Span:
        if self._context is not None:
            self._span = self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._context is not None:
            self._context.__exit__(*error)

    def end(self, status: int, route: str, facts: Mapping[str, Any]) -> None:
        """The answer is out. The name has the route, not the path: a stranger's paths would be names without end."""
        if self._span is not None:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
            self._span.set_attribute("http.response.status_code", status)
            if status >= 500:
                self._span.set_attribute("error.type", str(status))
            if "model" in facts:
                self._span.set_attribute("gen_ai.request.model", facts["model"])


@cache
def _api() -> Any:
    """The modules `opentelemetry.trace` and `opentelemetry.propagate`, or None."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.trace") is None:
        return None
    from opentelemetry import propagate, trace  # type: ignore[import-not-found,attr-defined,unused-ignore]

    return trace, propagate
