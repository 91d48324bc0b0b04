"""The page of /metrics: each loaded model's counters and histograms, under our names and llama-server's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from halflap.engine.metrics import BOUNDS, Histogram, Metrics

COUNTERS = {
    "prompt_tokens": "Prompt tokens computed.",
    "generated_tokens": "Tokens of answers.",
    "cached_tokens": "Tokens not computed because an earlier sequence had.",
    "drafted_tokens": "Guesses that were checked.",
    "accepted_tokens": "Guesses that were right.",
    "preemptions": "Sequences that had to make room for others.",
    "steps": "Steps computed.",
}
GAUGES = {"running": "Requests being computed.", "waiting": "Requests waiting."}
HISTOGRAMS = {
    "queue": "Seconds from submission until a request was admitted.",
    "first_token": "Seconds from submission to the first token.",
    "between_tokens": "Seconds from each token to the next.",
    "whole": "Seconds from submission to the end.",
}


def page(state: Any) -> tuple[bytes, str]:
    """The page and its content type."""
    registry = CollectorRegistry()
    registry.register(_Collector(state))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collector:
    """Reads every loaded model at the moment it is asked."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def collect(self) -> Iterator[Any]:
        entries = self._state.pool.entries.values()
        found = {e.source.name: e.served.model.metrics for e in entries if e.served is not None}
        yield from _ours(found)
        yield from _llama_servers(list(found.values()))
        http = CounterMetricFamily("halflap_http_requests", "Requests answered.", labels=["route", "status"])
        for (route, status), count in self._state.answered.items():
            http.add_metric([route, str(status)], count)
        yield http
        connected = GaugeMetricFamily("halflap_http_open", "Requests being answered.")
        connected.add_metric([], self._state.open)
        yield connected


def _ours(found: dict[str, Metrics]) -> Iterator[Any]:
    for name, about in COUNTERS.items():
        counter = CounterMetricFamily(f"halflap_{name}", about, labels=["model"])
        for model, metrics in found.items():
            counter.add_metric([model], getattr(metrics, name))
        yield counter
    for name, about in GAUGES.items():
        gauge = GaugeMetricFamily(f"halflap_{name}", about, labels=["model"])
        for model, metrics in found.items():
            gauge.add_metric([model], getattr(metrics, name))
        yield gauge
    ended = CounterMetricFamily("halflap_finished", "Requests that ended, by how.", labels=["model", "reason"])
    blocks = GaugeMetricFamily("halflap_blocks", "KV blocks of each state group.", labels=["model", "group", "state"])
    for model, metrics in found.items():
        for reason, count in metrics.finished.items():
            ended.add_metric([model, reason], count)
        for state in ("used", "cached", "total"):
            for group, count in getattr(metrics, f"blocks_{state}").items():
                blocks.add_metric([model, group, state], count)
    yield ended
    yield blocks
    for name, about in HISTOGRAMS.items():
        family = HistogramMetricFamily(f"halflap_{name}_seconds", about, labels=["model"])
        for model, metrics in found.items():
            histogram: Histogram = getattr(metrics, name)
            family.add_metric([model], _buckets(histogram), histogram.total)
        yield family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    total, found = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), histogram.counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found


def _llama_servers(found: list[Metrics]) -> Iterator[Any]:
    """llama-server's fifteen, of all models together."""

    def total(name: str) -> float:
        return float(sum(getattr(metrics, name) for metrics in found))

    reading = sum(m.first_token.total - m.queue.total for m in found)
    writing = sum(m.between_tokens.total for m in found)
    written = sum(m.between_tokens.count for m in found)
    steps = total("steps")
    drafts = total("drafted_tokens")
    counters = {
        "prompt_tokens": (total("prompt_tokens"), "Prompt tokens processed."),
        "prompt_seconds": (reading, "Seconds of prompt processing."),
        "tokens_predicted": (total("generated_tokens"), "Tokens generated."),
        "tokens_predicted_seconds": (writing, "Seconds of generation."),
        "n_decode": (steps, "Steps computed."),
        "spec_decode_num_draft_tokens": (drafts, "Guesses that were checked."),
        "spec_decode_num_accepted_tokens": (total("accepted_tokens"), "Guesses that were right."),
        "spec_decode_num_drafts": (float(sum(m.drafts for m in found)), "Drafts that were checked."),
    }
    gauges = {
        "prompt_tokens_seconds": (total("prompt_tokens") / reading if reading > 0 else 0.0, "Prompt tokens a second."),
        "predicted_tokens_seconds": (written / writing if writing > 0 else 0.0, "Generated tokens a second."),
        "requests_processing": (total("running"), "Requests being computed."),
        "requests_deferred": (total("waiting"), "Requests waiting."),
        "n_tokens_max": (float(max((m.longest for m in found), default=0)), "Tokens of the longest sequence so far."),
        "n_busy_slots_per_decode": (
            (total("generated_tokens") / steps) if steps else 0.0,
            "Sequences a step on the average.",
        ),
    }
    for name, (value, about) in counters.items():
        counter = CounterMetricFamily(f"llamacpp:{name}", about)
        counter.add_metric([], max(value, 0.0))
        yield counter
    for name, (value, about) in gauges.items():
        gauge = GaugeMetricFamily(f"llamacpp:{name}", about)
        gauge.add_metric([], value)
        yield gauge
    places = CounterMetricFamily(
        "llamacpp:spec_decode_num_accepted_tokens_per_pos", "Right guesses by place.", labels=["position"]
    )
    for place, count in enumerate(_summed([m.accepted_at for m in found])):
        places.add_metric([str(place)], count)
    yield places


def _summed(rows: list[tuple[int, ...]]) -> list[int]:
    return [sum(r[i] for r in rows if i < len(r)) for i in range(max(map(len, rows), default=0))]
