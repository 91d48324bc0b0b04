"""Each sampler against a definition written as plainly as it can be, over rows drawn by hypothesis."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflap import plugins
from halflap.errors import ConstraintError, InvalidRequestError, SamplerError
from halflap.graph.candidates import highest
from halflap.sampling import candidates, samplers
from halflap.sampling.candidates import Candidates
from halflap.sampling.chain import DEFAULT, MIROSTAT, SamplerChain, Use, log_probabilities

rows = st.integers(1, 700).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 8.0]), st.booleans())
)


def make_row(drawn: tuple[int, int, float, bool]) -> np.ndarray:
    n, seed, scale, ties = drawn
    row = np.random.default_rng(seed).standard_normal(n) * scale
    return (row.round(1) if ties else row).astype(np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def sort(row: np.ndarray) -> list[int]:
    return sorted(range(len(row)), key=lambda i: (-row[i], i))


def softmax(row: np.ndarray) -> np.ndarray:
    e = np.exp(row.astype(np.float64) - row.max())
    return e / e.sum()


def brute_top_k(row: np.ndarray, k: int) -> list[int]:
    return sort(row)[:k]


def brute_top_p(row: np.ndarray, p: float) -> list[int]:
    kept, mass = [], 0.0
    probabilities = softmax(row)
    for i in sort(row):
        kept.append(i)
        mass += probabilities[i]
        if mass >= p - 1e-12:
            break
    return kept


def brute_min_p(row: np.ndarray, p: float) -> list[int]:
    bound = row.max() + np.float32(math.log(p))
    return [i for i in sort(row) if row[i] >= bound]


def brute_typical(row: np.ndarray, p: float) -> list[int]:
    probabilities = softmax(row)
    surprise = -np.log(np.maximum(probabilities, 1e-300))
    entropy = float((probabilities * surprise).sum())
    order = sorted(range(len(row)), key=lambda i: (abs(surprise[i] - entropy), -row[i], i))
    kept, mass = [], 0.0
    for i in order:
        kept.append(i)
        mass += probabilities[i]
        if mass >= p - 1e-12:
            break
    return [i for i in sort(row) if i in set(kept)]


def brute_sigma(row: np.ndarray, n: float) -> list[int]:
    bound = row.max() - np.float32(n) * row.std()
    return [i for i in sort(row) if row[i] >= bound]


CASES: dict[str, tuple[Callable[[float], samplers.Step], Callable[[np.ndarray, float], list[int]]]] = {
    "top_k": (lambda v: samplers.TopK(max(1, int(v * 90))), lambda row, v: brute_top_k(row, max(1, int(v * 90)))),
    "top_p": (samplers.TopP, brute_top_p),
    "min_p": (samplers.MinP, brute_min_p),
    "typical_p": (samplers.TypicalP, brute_typical),
    "top_n_sigma": (lambda v: samplers.TopNSigma(v * 3), lambda row, v: brute_sigma(row, v * 3)),
}


@pytest.mark.parametrize("name", CASES)
@given(drawn=rows, value=st.floats(0.01, 0.99))
def test_a_cut_equals_its_definition_from_the_row_and_from_candidates(
    name: str, drawn: tuple[int, int, float, bool], value: float
) -> None:
    make, brute = CASES[name]
    row, step = make_row(drawn), make(value)
    wanted = brute(row, value)
    assert step.apply(candidates.every(row, rng())).ids.tolist() == wanted
    selected = step.select(row, rng())
    if selected is not None:
        assert selected.ids.tolist() == wanted


@given(drawn=rows, k=st.integers(1, 800))
def test_top_k_is_exact_for_any_row(drawn: tuple[int, int, float, bool], k: int) -> None:
    row = make_row(drawn)
    assert candidates.top_k(row, k, rng()).ids.tolist() == sort(row)[:k]


@given(seed=st.integers(0, 1000), n=st.sampled_from([5000, 20011, 152064]), k=st.sampled_from([1, 2, 40, 300]))
def test_top_k_is_exact_for_a_long_row(seed: int, n: int, k: int) -> None:
    row = np.random.default_rng(seed).standard_normal(n).astype(np.float32).round(2)
    assert candidates.top_k(row, k, rng()).ids.tolist() == np.argsort(-row, kind="stable")[:k].tolist()


@given(drawn=rows, tokens=st.lists(st.integers(0, 9), max_size=30), last=st.integers(-1, 12))
def test_penalties_equal_their_definition(drawn: tuple[int, int, float, bool], tokens: list[int], last: int) -> None:
    row = np.concatenate([make_row(drawn), np.float32([3, -2, 0, 1, -1, 5, 6, -7, 8, 9])])
    step = samplers.Penalties(1.3, 0.4, 0.2, last)
    for token in tokens:
        step.accept(token)
    wanted = row.copy()
    window = tokens if last < 0 else tokens[-last:] if last else []
    for token in set(window):
        y = wanted[token]
        y = y / np.float32(1.3) if y > 0 else y * np.float32(1.3)
        wanted[token] = y - (np.float32(window.count(token)) * np.float32(0.2) + np.float32(0.4))
    step.edits().apply(row)
    np.testing.assert_allclose(row, wanted, rtol=1e-6)
    ahead = samplers.Penalties(1.3, 0.4, 0.2, last)
    for token in tokens[:5]:
        ahead.accept(token)
    seen, told = step.edits(), ahead.edits(tokens[5:])
    assert (seen.ids.tolist(), seen.offset.tolist()) == (told.ids.tolist(), told.offset.tolist())


@given(tokens=st.lists(st.integers(0, 3), max_size=40), breakers=st.sets(st.integers(0, 3), max_size=1))
def test_dry_finds_the_longest_repeat_each_token_would_extend(tokens: list[int], breakers: set[int]) -> None:
    step = samplers.Dry(1.0, dry_breakers=frozenset(breakers))
    for token in tokens:
        step.accept(token)
    wanted: dict[int, int] = {}
    for end in range(1, len(tokens)):  # tokens[end] followed tokens[:end]
        length = 0
        while length < end and tokens[end - 1 - length] == tokens[-1 - length] not in breakers:
            length += 1
        if length:
            wanted[tokens[end]] = max(wanted.get(tokens[end], 0), length)
    assert step.repeats() == wanted


def test_dry_pays_by_length() -> None:
    step = samplers.Dry(0.5, 2.0, 2)
    for token in [1, 2, 3, 4, 1, 2, 3]:
        step.accept(token)
    row = np.zeros(6, np.float32)
    step.edits().apply(row)
    assert row.tolist() == [0, 0, 0, 0, -0.5 * 2.0 ** (3 - 2), 0]


@given(drawn=rows, threshold=st.floats(0.001, 0.5))
def test_xtc_keeps_the_least_likely_of_those_that_reach(drawn: tuple[int, int, float, bool], threshold: float) -> None:
    row = make_row(drawn)
    p = softmax(row)
    order = sort(row)
    reaching = [i for i in order if p[i] >= threshold]
    wanted = order[len(reaching) - 1 :] if len(reaching) > 1 else order
    step = samplers.Xtc(1.0, threshold)
    assert step.apply(candidates.every(row, rng())).ids.tolist() == wanted


def test_dynamic_temperature_follows_the_entropy() -> None:
    flat = candidates.every(np.zeros(8, np.float32), rng())
    sharp = candidates.every(np.float32([50, 0, 0, 0]), rng())
    step = samplers.Temperature(1.0, dynatemp_range=0.5)
    assert step.apply(flat).logits.tolist() == [0.0] * 8
    assert step.apply(sharp).logits[0] == pytest.approx(50 / 0.5, rel=1e-6)


def test_mirostat_moves_towards_its_target() -> None:
    step = samplers.Mirostat(2.0, 0.5)
    assert step.mu == 4.0
    left = step.apply(candidates.every(np.log(np.float32([0.5, 0.3, 0.15, 0.05])), rng()))
    assert left.ids.tolist() == [0, 1, 2]  # the last one's surprise is log2(20) > 4
    step.accept(1)
    surprise = -math.log2(0.3 / 0.95)
    assert step.mu == pytest.approx(4.0 - 0.5 * (surprise - 2.0))


def test_the_same_seed_gives_the_same_tokens_and_another_does_not() -> None:
    def draw(seed: int) -> list[int]:
        chain = SamplerChain(DEFAULT, {"temperature": 1.5}, seed)
        source = np.random.default_rng(0)
        return [chain.choose(source.standard_normal(500).astype(np.float32)) for _ in range(40)]

    assert draw(7) == draw(7) != draw(8)


def test_sampled_frequencies_are_the_probabilities() -> None:
    row = np.log(np.float32([0.5, 0.25, 0.15, 0.1]))
    chain = SamplerChain(["temperature"], {"temperature": 1.0}, 3)
    counts = np.bincount([chain.choose(row.copy()) for _ in range(20000)], minlength=4)
    expected = softmax(row) * 20000
    assert ((counts - expected) ** 2 / expected).sum() < 16.3  # chi-square, 3 degrees of freedom, p = 0.001


@pytest.mark.parametrize("options", [{}, {"top_k": 5}, {"min_p": 0.3, "repeat_penalty": 1.2}])
def test_temperature_zero_is_the_highest_logit(options: dict[str, float]) -> None:
    chain = SamplerChain(DEFAULT, {"temperature": 0.0, **options}, 1)
    row = np.random.default_rng(2).standard_normal(999).astype(np.float32)
    assert chain.choose(row.copy()) == row.argmax()


def test_order_of_the_chain_is_the_callers() -> None:
    row = np.float32([2.0, 1.9, 1.8, 0.0])
    hot = SamplerChain(["temperature", "top_p"], {"temperature": 50.0, "top_p": 0.5}, 1)
    cold = SamplerChain(["top_p", "temperature"], {"temperature": 50.0, "top_p": 0.3}, 1)
    assert {hot.choose(row.copy()) for _ in range(200)} == {0, 1}
    assert {cold.choose(row.copy()) for _ in range(200)} == {0}


def test_bias_bans_and_forces() -> None:
    row = np.zeros(50, np.float32)
    chain = SamplerChain(DEFAULT, {"logit_bias": {7: 100.0, 9: -math.inf}}, 1)
    assert chain.choose(row) == 7
    assert row[9] == -math.inf


def test_a_mask_leaves_only_what_a_constraint_allows() -> None:
    chain = SamplerChain(DEFAULT, {}, 1)
    mask = np.zeros(50, bool)
    mask[[3, 4]] = True
    bits = np.packbits(mask, bitorder="little")
    assert {chain.choose(np.zeros(50, np.float32), bits) for _ in range(50)} == {3, 4}
    with pytest.raises(ConstraintError, match="no token"):
        chain.choose(np.full(50, -np.inf, np.float32), bits)
    with pytest.raises(ConstraintError, match="a bit for each"):
        chain.choose(np.zeros(50, np.float32), bits[:6])


class Raises:
    def apply(self, c: Candidates) -> Candidates:
        raise ZeroDivisionError("oops")

    def accept(self, token: int) -> None: ...


class Empties(Raises):
    def apply(self, c: Candidates) -> Candidates:
        return c.keep(slice(0))


@pytest.mark.parametrize("bad", [Raises, Empties])
def test_a_sampler_that_fails_is_named(bad: type[Raises], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "get", lambda kind, name: samplers.TopK if name == "top_k" else bad)
    chain = SamplerChain(["top_k", "acme"], {}, 1)
    with pytest.raises(SamplerError, match="'acme'"):
        chain.choose(np.zeros(9, np.float32))


CHAINS: dict[str, tuple[list[str], dict[str, float]]] = {
    "default": ([*DEFAULT], {"repeat_penalty": 1.2, "frequency_penalty": 0.3, "presence_penalty": 0.1}),
    "dry": ([*DEFAULT], {"dry_multiplier": 0.8, "logit_bias": {0: 1.5}}),  # type: ignore[dict-item]
    "greedy": ([*DEFAULT], {"temperature": 0, "repeat_penalty": 0.7}),
    "top_p": (["top_p", "temperature"], {"top_p": 0.7, "min_keep": 3}),
    "flat top_p": (["top_p"], {"top_p": 0.99}),
    "min_p": (["min_p", "xtc", "temperature"], {"min_p": 0.05, "xtc_probability": 0.5, "min_keep": 2}),
    "low min_p": (["min_p"], {"min_p": 1e-9}),
    "temperature first": (["temperature", "top_k", "top_p"], {"temperature": 0.6, "top_k": 7}),
    "temperature and top_p": (["temperature", "top_p"], {"temperature": 0.3, "top_p": 0.8}),
    "temperature and min_p": (["temperature", "min_p"], {"temperature": 1.7, "min_p": 0.3}),
    "temperatures": (["temperature", "temperature", "top_k"], {"temperature": 0.5}),
    "moving temperature": (["temperature", "top_k"], {"dynatemp_range": 0.4}),
    "many": (["top_k"], {"top_k": 5000}),
    "typical": (["typical_p"], {"typical_p": 0.5}),
    "sigma": (["top_n_sigma"], {"top_n_sigma": 1.0}),
    "mirostat": ([*MIROSTAT[2]], {}),
    "mirostat 1": ([*MIROSTAT[1]], {}),
    "none": ([], {}),
}


@pytest.mark.parametrize("name", CHAINS)
@given(drawn=rows, seed=st.integers(0, 99), masked=st.booleans(), infinite=st.booleans())
def test_a_chain_chooses_alike_from_a_row_and_from_its_highest(
    name: str, drawn: tuple[int, int, float, bool], seed: int, masked: bool, infinite: bool
) -> None:
    names, options = CHAINS[name]
    plain, quick = SamplerChain(names, options, seed), SamplerChain(names, options, seed)
    row, rng = make_row(drawn), np.random.default_rng(seed)
    if infinite:
        row[rng.random(len(row)) < 0.5] = -np.inf
        row[-1] = 1
    bits = rng.random(len(row)) < 0.5
    bits[-1] = True
    mask = np.packbits(bits, bitorder="little") if masked else None
    for _ in range(4):
        ask = quick.ask(len(row), mask)
        found = None if ask is None else highest(row, ask)
        token = plain.choose(row.copy(), mask)
        assert quick.choose(row.copy(), mask, found) == token
        plain.accept(token)
        quick.accept(token)


def test_the_highest_of_a_row_do_for_the_usual_chains() -> None:
    rng = np.random.default_rng(0)
    row = rng.normal(0, 2.5, 5000).astype(np.float32)
    row[rng.integers(0, 5000, 30)] += 12
    spoiled = np.full_like(row, np.nan)  # whoever looks at it cannot choose from it
    for name in ("default", "dry", "greedy", "top_p", "min_p", "temperature first", "temperature and top_p"):
        names, options = CHAINS[name]
        plain, quick = SamplerChain(names, options, 7), SamplerChain(names, options, 7)
        ask = quick.ask(len(row))
        assert ask is not None
        assert quick.choose(spoiled, found=highest(row, ask)) == plain.choose(row.copy())


def test_what_is_asked_ahead_is_what_is_asked_there() -> None:
    ahead, there = (SamplerChain(*CHAINS[name], 1) for name in ("default", "default"))
    for token in (5, 3):
        there.accept(token)
    first, second = ahead.ask(9, ahead=[5, 3]), there.ask(9)
    assert first is not None
    assert second is not None
    pairs = [(a.ids.tolist(), a.offset.tolist(), a.repeat.tolist()) for ask in (first, second) for a in ask.edits]
    assert pairs[0] == pairs[1]
    assert pairs[0][0] == [5, 3]


def test_nan_logits_are_an_error_and_no_token() -> None:
    with pytest.raises(SamplerError, match="NaN"):
        SamplerChain(DEFAULT, {}, 1).choose(np.float32([1, math.nan, 2]))
    chain, row = SamplerChain(DEFAULT, {}, 1), np.float32([1, math.nan, 2])
    ask = chain.ask(3)
    assert ask is not None
    with pytest.raises(SamplerError, match="NaN"):
        chain.choose(row, found=highest(row, ask))


def test_a_use_takes_its_own_options_only() -> None:
    chain = SamplerChain([Use("top_k", top_k=1)], {"top_k": 40}, 1)
    assert chain.choose(np.float32([1, 3, 2])) == 1
    with pytest.raises(InvalidRequestError, match="'h'"):
        SamplerChain([Use("top_k", h=1)], {}, 1)


@given(drawn=rows, tau=st.floats(0.5, 8), chosen=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_mirostat_1_equals_its_definition(drawn: tuple[int, int, float, bool], tau: float, chosen: list[int]) -> None:
    """Basu et al. 2021, algorithm 1, written down plainly."""
    row, step, mu = make_row(drawn), samplers.MirostatV1(tau, 0.3), 2 * tau
    for draw in chosen:
        p = sorted(softmax(row), reverse=True)
        head, size = p[:100], len(p)
        above = below = 0.0
        for i in range(1, len(head)):
            t = math.log((i + 1) / i)
            above += t * math.log(head[i - 1] / head[i])
            below += t * t
        s = max(above / below, 1e-3) if below else 1.0
        eps = s - 1
        inner = 2**mu / math.log(size) if abs(eps) < 1e-6 and size > 1 else (eps * 2**mu) / (1 - size ** (-eps) or 1)
        k = 1 if size < 2 else min(math.exp(min(math.log(inner) / s, 700)), size)
        kept = step.apply(candidates.every(row, rng()))
        assert abs(len(kept) - max(int(k), 1)) <= (abs(k - round(k)) < 1e-3), (k, s)
        assert kept.ids.tolist() == sort(row)[: len(kept)]
        place = draw % len(kept)
        surprise = -math.log2(p[place] / sum(p[: len(kept)]))
        mu -= 0.3 * (surprise - tau)
        step.accept(int(kept.ids[place]))
        assert step.mu == pytest.approx(mu, rel=1e-3, abs=1e-3)


def test_mirostat_1_steers_the_surprise_to_its_target() -> None:
    row = np.random.default_rng(2).normal(0, 2, 4000).astype(np.float32)
    for tau in (2.0, 4.0):
        chain = SamplerChain(MIROSTAT[1], {"mirostat_tau": tau, "temperature": 1.0}, 5)
        seen = []
        for _ in range(600):
            token = chain.choose(row.copy())
            assert chain.left is not None
            seen.append(-math.log2(dict(zip(chain.left.ids.tolist(), chain.left.probabilities(), strict=True))[token]))
            chain.accept(token)
        assert np.mean(seen[200:]) == pytest.approx(tau, abs=0.4)


def test_mirostat_replaces_the_chain() -> None:
    chain = SamplerChain(MIROSTAT[2], {"mirostat_tau": 0.1}, 1)
    row = np.float32([5, 1, 0])
    chosen = []
    for _ in range(20):
        chosen.append(chain.choose(row.copy()))
        chain.accept(chosen[-1])
    assert chosen == [0] * 20


@given(drawn=rows)
def test_log_probabilities_sum_to_one(drawn: tuple[int, int, float, bool]) -> None:
    assert np.exp(log_probabilities(make_row(drawn)).astype(np.float64)).sum() == pytest.approx(1, abs=1e-4)
