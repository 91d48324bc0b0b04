"""Guessing ahead changes how fast an answer comes, and nothing of what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import halflap
from halflap import plugins
from halflap.constraints.matching import Matching
from halflap.engine.lookup import Lookup
from halflap.engine.speculation import StepCosts
from halflap.engine.work import Work
from halflap.errors import InvalidRequestError
from tests.any_device.conftest import drained
from tests.models.oracle import RECURRENT_CASES

LONG: dict[str, Any] = {"max_tokens": 40, "ignore_eos": True, "logprobs": 0}


class Scripted:
    """Knows what each prompt leads to and says it, with every so many tokens one that is wrong.

    Attributes:
        truth: prompt -> the ids that follow.
    """

    def __init__(self, wrong_every: int = 3) -> None:
        self.truth: dict[tuple[int, ...], list[int]] = {}
        self._wrong_every = wrong_every

    def draft(self, works: Sequence[Work], most: Sequence[int]) -> list[list[int]]:
        drafts = []
        for work, n in zip(works, most, strict=True):
            prompt = tuple(work.ids[: work.n_prompt])
            first = len(work.ids) - work.n_prompt
            known = self.truth.get(prompt, [])[first : first + n]
            wrong = [(first + place + 1) % self._wrong_every == 0 for place in range(len(known))]
            drafts.append([(token + off) % 300 for token, off in zip(known, wrong, strict=True)])
        return drafts

    def close(self) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    drafter = Scripted()

    class Plugin:
        @staticmethod
        @halflap.hookimpl
        def register_drafters(register: Callable[..., None]) -> None:
            register("scripted", lambda: drafter)

    plugins.register(Plugin, name="scripted")
    yield drafter
    plugins.unregister("scripted")


@pytest.mark.parametrize("case", ["qwen3-base", "gemma3-base", "deepseek2-lite", *RECURRENT_CASES])
def test_guesses_right_and_wrong_leave_every_token_as_it_was(
    case: str, shared: Path, row_invariant_device: str, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepCosts, "of", lambda self, tokens: 1.0)  # as if every guess were free
    path = shared / "oracle" / "families" / f"{case}.gguf"
    prompts = [[(i * 31 + j * 17) % 300 + 5 for j in range(5 + 20 * i)] for i in range(4)]
    asked: list[dict[str, Any]] = [{"temperature": 0}, {"temperature": 1.2, "seed": 4}, {"temperature": 0.7, "seed": 9}]

    def ask(model: halflap.Model, i: int) -> halflap.Stream:
        return model.stream(prompts[i], **LONG, **asked[i % 3])

    with halflap.load(path, devices=[row_invariant_device], ctx=256) as model:
        alone = [[(t.id, t.logprob) for t in ask(model, i).result().tokens] for i in range(4)]
    for prompt, tokens in zip(prompts, alone, strict=True):
        scripted.truth[tuple(prompt)] = [token for token, _ in tokens]
    with halflap.load(path, devices=[row_invariant_device], ctx=256, draft="scripted") as model:
        for i in range(4):
            done = ask(model, i).result()
            assert [(t.id, t.logprob) for t in done.tokens] == alone[i]
            assert 0 < done.timings.draft_n_accepted < done.timings.draft_n
        streams = [ask(model, i) for i in range(4)]
        assert [[(t.id, t.logprob) for t in s.result().tokens] for s in streams] == alone
        assert drained(model)


def test_a_model_that_drafts_for_itself_is_right(
    shared: Path, row_invariant_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepCosts, "of", lambda self, tokens: 1.0)
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    with halflap.load(path, devices=[row_invariant_device], ctx=256) as model:
        wanted = [model.generate([5, i], temperature=0, **LONG).tokens for i in range(3)]
    with halflap.load(path, devices=[row_invariant_device], ctx=256, draft=path) as model:
        streams = [model.stream([5, i], temperature=0, **LONG) for i in range(3)]
        for stream, tokens in zip(streams, wanted, strict=True):
            done = stream.result()
            assert done.tokens == tokens
            # All but what follows an end token, which the request forbids and the draft model does not know of.
            assert done.timings.draft_n_accepted > 0.7 * done.timings.draft_n > 0


def test_a_constraint_holds_guesses_to_what_it_allows(
    row_invariant_device: str, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepCosts, "of", lambda self, tokens: 1.0)
    schema = {"type": "array", "items": {"enum": ["fox", "hen", 12]}, "minItems": 6, "maxItems": 9}
    asked: list[dict[str, Any]] = [
        {"json_schema": schema, "temperature": 0},
        {"json_schema": schema, "temperature": 1.5, "seed": 3},
        {"regex": "([a-z]{2,4} ){5,8}!", "temperature": 1.0, "seed": 4},
        {"grammar": 'root ::= ("ab" | "c" root "d"){3}', "temperature": 1.0, "seed": 5},
    ]
    prompts = [[7 * (i + 1), 9, 11] for i in range(len(asked))]
    with halflap.load("starter", devices=[row_invariant_device], ctx=256) as model:
        alone = [model.generate(p, max_tokens=60, **a) for p, a in zip(prompts, asked, strict=True)]
    for prompt, done in zip(prompts, alone, strict=True):
        scripted.truth[tuple(prompt)] = [token.id for token in done.tokens]
    with halflap.load("starter", devices=[row_invariant_device], ctx=256, draft="scripted") as model:
        streams = [model.stream(p, max_tokens=60, **a) for p, a in zip(prompts, asked, strict=True)]
        for stream, wanted in zip(streams, alone, strict=True):
            done = stream.result()
            assert (done.text, done.finish_reason) == (wanted.text, wanted.finish_reason)
            assert [t.id for t in done.tokens] == [t.id for t in wanted.tokens]
        assert model.metrics.accepted_tokens > 0
        assert drained(model)


def test_lookup_finds_what_followed_the_same_words() -> None:
    drafter, work = Lookup(), Work([1, 2, 3, 4, 5, 6, 9, 2, 3, 4], 99, ("logits",))
    assert drafter.draft([work], [3]) == [[5, 6, 9]]
    work.ids += [5, 7, 3, 4]
    assert drafter.draft([work], [2]) == [[5, 7]]
    work.ids += [8]
    assert drafter.draft([work], [2]) == [()]


def test_a_draft_model_with_other_words_is_refused(shared: Path, device_name: str) -> None:
    folder = shared / "oracle" / "families"
    with pytest.raises(InvalidRequestError, match="draft model") as raised:
        halflap.load(folder / "qwen3-base.gguf", devices=[device_name], draft="starter")
    assert raised.value.field == "draft"
    with pytest.raises(InvalidRequestError, match="recurrent"):
        halflap.load(folder / "qwen35-dense.gguf", devices=[device_name], draft=folder / "qwen35-dense.gguf")


def test_a_drafter_that_fails_costs_no_answer(shared: Path, device_name: str) -> None:
    class Broken:
        @staticmethod
        @halflap.hookimpl
        def register_drafters(register: Callable[..., None]) -> None:
            register("broken", Broken)

        def draft(self, works: Sequence[Work], most: Sequence[int]) -> Any:
            raise ZeroDivisionError("drafter")

        def close(self) -> None:
            pass

    plugins.register(Broken, name="broken")
    try:
        path = shared / "oracle" / "families" / "qwen3-base.gguf"
        with halflap.load(path, devices=[device_name], ctx=256, draft="broken") as model:
            assert model.generate([5, 6], max_tokens=9, ignore_eos=True).usage.completion_tokens == 9
    finally:
        plugins.unregister("broken")


def test_a_constraint_that_fails_on_a_draft_leaves_the_drafter_to_others(
    shared: Path, device_name: str, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, draft: Sequence[int]) -> Sequence[int]:
        raise ZeroDivisionError("rules")

    monkeypatch.setattr(StepCosts, "of", lambda self, tokens: 1.0)
    monkeypatch.setattr(Matching, "drafted", broken)
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    with halflap.load(path, devices=[device_name], ctx=256, draft="scripted") as model:
        scripted.truth[(5, 6)] = scripted.truth[(5, 7)] = [9] * 60
        assert model.generate([5, 6], regex="[a-z]{40}", max_tokens=20).usage.completion_tokens
        done = model.generate([5, 7], temperature=0, **LONG)
        assert done.timings.draft_n
        assert model.metrics.drafted_tokens == done.timings.draft_n


@pytest.mark.slow
def test_the_distribution_stays_the_same(shared: Path, scripted: Scripted) -> None:
    """χ² over 20,000 samples with guesses and as many without, fixed seeds: p > 0.001."""
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    options: dict[str, Any] = {"max_tokens": 3, "temperature": 1.0, "top_k": 8, "ignore_eos": True}
    counts = []
    for draft in (None, "scripted"):
        with halflap.load(path, devices=["cpu"], ctx=128, draft=draft) as model:
            scripted.truth[(5, 6, 7)] = [t.id for t in model.generate([5, 6, 7], seed=1, **options).tokens]
            found: Counter[tuple[int, ...]] = Counter()
            for start in range(0, 20_000, 200):
                seeds = range(start, start + 200) if draft is None else range(10**6 + start, 10**6 + start + 200)
                streams = [model.stream([5, 6, 7], seed=seed, **options) for seed in seeds]
                found.update(tuple(t.id for t in s.result().tokens) for s in streams)
            counts.append(found)
    assert _p_of_the_same(*counts) > 0.001


def _p_of_the_same(one: Counter[Any], other: Counter[Any]) -> float:
    """Two-sample χ² with cells of at least 20, by the Wilson-Hilferty approximation."""
    import math

    cells = [(one[key], other[key]) for key in {*one, *other}]
    large = [pair for pair in cells if sum(pair) >= 20]
    rest = [pair for pair in cells if sum(pair) < 20]
    large.append((sum(a for a, _ in rest), sum(b for _, b in rest)))
    statistic = sum((a - b) ** 2 / (a + b) for a, b in large if a + b)  # equal sample sizes
    degrees = len(large) - 1
    z = ((statistic / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))) / math.sqrt(2 / (9 * degrees))
    return 0.5 * math.erfc(z / math.sqrt(2))
