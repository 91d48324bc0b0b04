"""OpenTelemetry spans of requests, where its API package is installed; the host chooses exporter and sampling.

Names follow the semantic conventions for generative AI: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

import time
from functools import cache
from importlib.util import find_spec
from typing import Any


class Trace:
    """One request's span, begun by whoever submits it."""

    def __init__(self, model: str) -> None:
        self._span: Any = None
        if (trace := _api()) is not None:
            attributes = {
                "gen_ai.provider.name": "halflap",
                "gen_ai.operation.name": "generate",
                "gen_ai.request.model": model,
            }
            self._span = trace.get_tracer("halflap").start_span("halflap.request", attributes=attributes)

    def event(self, name: str) -> None:
        if self._span is not None:
            self._span.add_event(name, timestamp=time.time_ns())

    def end(self, reason: str, **counts: int) -> None:
        """The request is over; may be called once."""
        if self._span is not None:
            self._span.set_attribute("gen_ai.response.finish_reasons", [reason])
            for name, value in counts.items():
                self._span.set_attribute(f"gen_ai.usage.{name}", value)
            self._span.end()


@cache
def _api() -> Any:
    """The module `opentelemetry.trace`, or None."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.trace") is None:
        return None
    from opentelemetry import trace  # type: ignore[import-not-found,attr-defined,unused-ignore]

    return trace
