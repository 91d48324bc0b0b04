"""Spans as OpenTelemetry's own SDK receives them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import halflap
from tests.plugins.server.kit import GREEDY, Running

pytest.importorskip("opentelemetry.sdk.trace", reason="needs the dependency group clients")
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytestmark = pytest.mark.clients

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{CALLER}-{PARENT}-01"}
ASK = {"model": "starter", "messages": [{"role": "user", "content": "What is 12 + 9?"}], **GREEDY}


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """What the process's only provider exports to: OpenTelemetry lets a process set it once."""
    found, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    trace.set_tracer_provider(provider)
    return found


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[Any]:
    """Asks for so many spans; an answer is out a moment before its span ends."""

    def ended(count: int) -> tuple[ReadableSpan, ...]:
        until = time.monotonic() + 10
        while len(found := exporter.get_finished_spans()) < count and time.monotonic() < until:
            time.sleep(0.005)
        assert len(found) == count
        return found

    exporter.clear()
    yield ended
    exporter.clear()


def named(spans: Any, name: str) -> ReadableSpan:
    (found,) = [span for span in spans(2) if span.name == name]
    return found


def hexadecimal(number: int, digits: int) -> str:
    return f"{number:0{digits}x}"


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_a_child_of_its_http_span_which_is_one_of_the_callers(
    server: Running, spans: Any, stream: bool
) -> None:
    response = server.post("/v1/chat/completions", {**ASK, "stream": stream}, headers=HEADERS)
    assert response.status_code == 200

    http, request = named(spans, "POST /v1/chat/completions"), named(spans, "halflap.request")
    assert http.kind is trace.SpanKind.SERVER
    assert http.parent is not None
    assert hexadecimal(http.parent.span_id, 16) == PARENT
    assert hexadecimal(http.context.trace_id, 32) == CALLER == hexadecimal(request.context.trace_id, 32)
    assert request.parent is not None
    assert request.parent.span_id == http.context.span_id
    assert dict(http.attributes or {}) == {
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gen_ai.request.model": "starter",
    }
    assert http.start_time <= request.start_time <= request.end_time


def test_the_requests_span_tells_what_the_answer_tells(server: Running, spans: Any) -> None:
    done = server.post("/v1/chat/completions", {**ASK, "max_tokens": 3}).json()
    request = named(spans, "halflap.request")
    told = dict(request.attributes or {})
    assert told["gen_ai.provider.name"] == "halflap"
    assert told["gen_ai.usage.input_tokens"] == done["usage"]["prompt_tokens"]
    assert told["gen_ai.usage.output_tokens"] == done["usage"]["completion_tokens"] == 3
    assert told["gen_ai.response.finish_reasons"] == ("length",)
    assert [event.name for event in request.events] == ["admitted", "first_token"]
    times = [event.timestamp for event in request.events]
    assert request.start_time <= times[0] <= times[1] <= request.end_time


def test_strangers_paths_name_no_spans(server: Running, spans: Any) -> None:
    for path in ("/one", "/two"):
        assert server.get(path).status_code == 404
    assert [span.name for span in spans(2)] == ["GET none", "GET none"]


def test_a_refused_request_has_no_engines_span(server: Running, spans: Any) -> None:
    assert server.post("/v1/chat/completions", {**ASK, "temperature": "hot"}).status_code == 400
    (http,) = spans(1)
    assert http.attributes["http.response.status_code"] == 400


def test_a_cancelled_answer_ends_its_span(spans: Any) -> None:
    with halflap.load("starter", threads=1, ctx=256) as model:
        with model.stream("Once upon a time", max_tokens=200, ignore_eos=True) as stream:
            next(stream.text())
        model.generate("Two", max_tokens=1)  # the engine has been round since
    told = [dict(span.attributes or {}) for span in spans(2)]
    assert [each["gen_ai.response.finish_reasons"] for each in told] == [("cancelled",), ("length",)]
    assert 0 < told[0]["gen_ai.usage.output_tokens"] < 200
