"""The steps of the sampling chain. Each is a small class: its signature is its options, its attributes are its state.

Three kinds: `edits` change the logits of a few ids in the whole row before anything is cut; `cut` makes the first cut
from the few highest of the row and, where these do not settle it, `select` from the row itself; `apply` works on the
candidates that are left. Names and defaults are those of llama-server.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from attrs import evolve

from halflap.graph.candidates import Edits, Highest
from halflap.sampling import candidates
from halflap.sampling.candidates import Candidates

F32 = npt.NDArray[np.float32]
COVER = 256
"""How many of the highest hold what TopP and MinP keep, but for flat rows."""
MOST = 1024
"""Of more than so many the row itself is as good."""


@runtime_checkable
class Sampler(Protocol):
    """What a plugin's sampler offers; a class attribute `row = True` asks for the whole vocabulary."""

    def apply(self, c: Candidates) -> Candidates: ...
    def accept(self, token: int) -> None: ...


class Step:
    """A step that keeps no memory and changes nothing; the built-in ones start from it."""

    active = True
    """False: the options make this step a no-op, and the chain leaves it out."""

    reach = 0
    """How many of the highest logits `cut` asks for; 0: it needs the row."""

    sums = False
    """`cut` reads the sums too."""

    def edits(self, ahead: Sequence[int] = ()) -> Edits | None:
        """What it changes in the row that follows `ahead`, which follows what was accepted."""
        return None

    def cut(self, found: Highest, rng: np.random.Generator) -> Candidates | None:
        """The candidates that this step keeps of a whole row, if its highest prove them; else None."""
        return None

    def select(self, row: F32, rng: np.random.Generator) -> Candidates | None:
        """The candidates that this step could keep of a whole row; None: it cannot say without all of them."""
        return None

    def apply(self, c: Candidates) -> Candidates:
        return c

    def accept(self, token: int) -> None:
        """A token was chosen."""


class LogitBias(Step):
    """Adds to the logits of single tokens. Token ids are checked by the request."""

    def __init__(self, logit_bias: Mapping[int, float]) -> None:
        ids = np.fromiter(logit_bias, np.int32, len(logit_bias))
        self._edits = _edits(ids, bias=np.fromiter(logit_bias.values(), np.float32, len(logit_bias)))
        self.active = bool(logit_bias)

    def edits(self, ahead: Sequence[int] = ()) -> Edits:
        return self._edits


class Penalties(Step):
    """Repetition (Keskar et al. 2019), presence and frequency penalties over the last tokens.

    Args:
        repeat_last_n: how many of the last tokens count; 0 none, -1 all.
    """

    def __init__(
        self,
        repeat_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repeat_last_n: int = 64,
    ) -> None:
        self.repeat, self.presence, self.frequency = repeat_penalty, presence_penalty, frequency_penalty
        self.recent: deque[int] = deque(maxlen=None if repeat_last_n < 0 else repeat_last_n)
        self.active = repeat_last_n != 0 and (repeat_penalty, presence_penalty, frequency_penalty) != (1.0, 0.0, 0.0)

    def edits(self, ahead: Sequence[int] = ()) -> Edits:
        counts = Counter(_with(self.recent, ahead))
        ids = np.fromiter(counts, np.int32, len(counts))
        times = np.fromiter(counts.values(), np.float32, len(counts))
        offset = -(times * np.float32(self.frequency) + np.float32(self.presence))
        return _edits(ids, repeat=np.full(len(ids), self.repeat, np.float32), offset=offset)

    def accept(self, token: int) -> None:
        self.recent.append(token)


class Dry(Step):
    """DRY: a token that would extend a repeat of length L ≥ dry_allowed_length pays multiplier · base^(L − allowed).

    Args:
        dry_penalty_last_n: tokens looked back on; 0 none, -1 all.
        dry_breakers: ids of tokens over which no repeat reaches.
    """

    def __init__(
        self,
        dry_multiplier: float = 0.0,
        dry_base: float = 1.75,
        dry_allowed_length: int = 2,
        dry_penalty_last_n: int = -1,
        dry_breakers: frozenset[int] = frozenset(),
    ) -> None:
        self.multiplier, self.base, self.allowed = dry_multiplier, dry_base, dry_allowed_length
        self.breakers = dry_breakers
        self.recent: deque[int] = deque(maxlen=None if dry_penalty_last_n < 0 else dry_penalty_last_n)
        self.active = dry_multiplier != 0 and dry_base >= 1 and dry_penalty_last_n != 0

    def edits(self, ahead: Sequence[int] = ()) -> Edits:
        pays = {token: self._pay(length) for token, length in self.repeats(ahead).items() if length >= self.allowed}
        offset = -np.fromiter(pays.values(), np.float32, len(pays))
        return _edits(np.fromiter(pays, np.int32, len(pays)), offset=offset)

    def repeats(self, ahead: Sequence[int] = ()) -> dict[int, int]:
        """For each token that followed an earlier copy of the newest tokens: the longest such copy."""
        newest_first = list(_with(self.recent, ahead))[::-1]
        reach = next((i for i, token in enumerate(newest_first) if token in self.breakers), len(newest_first))
        longest: dict[int, int] = {}
        for place, length in enumerate(_common_prefixes(newest_first)):
            length = min(length, reach)
            if place and length:
                follower = newest_first[place - 1]
                longest[follower] = max(longest.get(follower, 0), length)
        return longest

    def accept(self, token: int) -> None:
        self.recent.append(token)

    def _pay(self, length: int) -> float:
        exponent = min(length - self.allowed, 700)  # a float's range
        return min(self.multiplier * self.base**exponent, 3e38)


class TopNSigma(Step):
    """Keeps logits within n standard deviations of the highest (Tang et al. 2024)."""

    def __init__(self, top_n_sigma: float = -1.0) -> None:
        self.n = top_n_sigma
        self.active = top_n_sigma > 0

    def select(self, row: F32, rng: np.random.Generator) -> Candidates:
        finite = row[np.isfinite(row)]
        return candidates.at_least(row, finite.max() - np.float32(self.n) * finite.std(), rng)

    def apply(self, c: Candidates) -> Candidates:
        return c.keep(c.logits >= c.logits[0] - np.float32(self.n) * c.logits.std())


class TopK(Step):
    """Keeps the k highest; 0 keeps all."""

    def __init__(self, top_k: int = 40) -> None:
        self.k = top_k
        self.active = top_k > 0
        self.reach = top_k if top_k <= MOST else 0

    def cut(self, found: Highest, rng: np.random.Generator) -> Candidates:
        return Candidates(found.ids, found.logits, rng).keep(slice(self.k))

    def select(self, row: F32, rng: np.random.Generator) -> Candidates:
        return candidates.top_k(row, self.k, rng)

    def apply(self, c: Candidates) -> Candidates:
        return c.keep(slice(self.k))


class TypicalP(Step):
    """Locally typical sampling (Meister et al. 2022): tokens whose surprise is nearest the entropy, up to mass p."""

    def __init__(self, typical_p: float = 1.0, min_keep: int = 0) -> None:
        self.p, self.min_keep = typical_p, min_keep
        self.active = typical_p < 1

    def apply(self, c: Candidates) -> Candidates:
        p = c.probabilities()
        surprise = -np.log(np.maximum(p, 1e-300))
        order = np.argsort(np.abs(surprise - (p * surprise).sum()), kind="stable")
        count = max(_enough(p[order], self.p), self.min_keep, 1)
        kept = np.zeros(len(c), bool)
        kept[order[:count]] = True
        return c.keep(kept)


class TopP(Step):
    """Nucleus sampling (Holtzman et al. 2020): the fewest of the highest that reach mass p."""

    def __init__(self, top_p: float = 0.95, min_keep: int = 0) -> None:
        self.p, self.min_keep = top_p, min_keep
        self.active = top_p < 1

    reach, sums = COVER, True

    def cut(self, found: Highest, rng: np.random.Generator) -> Candidates | None:
        if not np.isfinite(found.log_sum):
            return None
        mass = np.exp(found.logits.astype(np.float64) - found.log_sum)
        # Both sums are right to so much, that of `select` in f32 too: where both ends agree, the count is proven.
        slack = 1e-5 + 2**-23 * (100 + abs(float(found.logits[0])))
        least, most = (max(_enough(mass * (1 + s), self.p), self.min_keep, 1) for s in (slack, -slack))
        if not least == most <= len(found.ids):
            return None
        return Candidates(found.ids, found.logits, rng).keep(slice(least))

    def select(self, row: F32, rng: np.random.Generator) -> Candidates:
        total = float(np.exp(row - row.max()).sum(dtype=np.float64))
        found = candidates.top_mass(row, self.p, rng)
        mass = np.exp(found.logits.astype(np.float64) - np.float64(found.logits[0])) / total
        return found.keep(slice(max(_enough(mass, self.p), self.min_keep, 1)))

    def apply(self, c: Candidates) -> Candidates:
        return c.keep(slice(max(_enough(c.probabilities(), self.p), self.min_keep, 1)))


class MinP(Step):
    """Keeps what is at least p times as likely as the likeliest (Nguyen et al. 2024)."""

    def __init__(self, min_p: float = 0.05, min_keep: int = 0) -> None:
        self.p, self.min_keep = min_p, min_keep
        self.active = min_p > 0

    reach = COVER

    def cut(self, found: Highest, rng: np.random.Generator) -> Candidates | None:
        count = int((found.logits >= found.logits[0] + np.float32(np.log(self.p))).sum())
        count = max(count, self.min_keep)
        if count >= len(found.ids) and not found.complete:
            return None
        return Candidates(found.ids, found.logits, rng).keep(slice(count))

    def select(self, row: F32, rng: np.random.Generator) -> Candidates:
        found = candidates.at_least(row, row.max() + np.float32(np.log(self.p)), rng)
        return found if len(found) >= self.min_keep else candidates.top_k(row, self.min_keep, rng)

    def apply(self, c: Candidates) -> Candidates:
        kept = c.logits >= c.logits[0] + np.float32(np.log(self.p))
        kept[: max(self.min_keep, 1)] = True
        return c.keep(kept)


class Xtc(Step):
    """Exclude top choices: with some probability drops all that reach the threshold but the least likely of them."""

    def __init__(self, xtc_probability: float = 0.0, xtc_threshold: float = 0.1) -> None:
        self.probability, self.threshold = xtc_probability, xtc_threshold
        self.active = xtc_probability > 0 and xtc_threshold <= 0.5

    def apply(self, c: Candidates) -> Candidates:
        if c.rng.random() >= self.probability:
            return c
        reaching = int((c.probabilities() >= self.threshold).sum())
        return c.keep(slice(max(reaching - 1, 0), None))


class Temperature(Step):
    """Divides logits; with a range, the temperature follows the entropy (dynamic temperature). 0 keeps the highest."""

    def __init__(self, temperature: float = 0.8, dynatemp_range: float = 0.0, dynatemp_exponent: float = 1.0) -> None:
        self.temperature, self.range, self.exponent = temperature, dynatemp_range, dynatemp_exponent
        self.active = temperature != 1 or dynatemp_range > 0
        self.fixed = temperature > 0 and dynatemp_range <= 0

    def scaled(self, found: Highest) -> Highest:
        """The highest after a fixed temperature."""
        logits = (found.logits / np.float32(self.temperature)).astype(np.float32)
        return evolve(found, logits=logits, log_sum=found.log_sum_at)

    def apply(self, c: Candidates) -> Candidates:
        temperature = self.temperature
        if self.range > 0 and len(c) > 1:
            p = c.probabilities()
            entropy = -(p * np.log(np.maximum(p, 1e-300))).sum() / np.log(len(c))
            low, high = max(0.0, temperature - self.range), temperature + self.range
            temperature = low + (high - low) * entropy**self.exponent
        if temperature <= 0:
            return c.keep(slice(1))
        return Candidates(c.ids, (c.logits / np.float32(temperature)).astype(np.float32), c.rng)


class Mirostat(Step):
    """Mirostat 2 (Basu et al. 2021): cuts where surprise passes mu, then moves mu towards the target."""

    def __init__(self, mirostat_tau: float = 5.0, mirostat_eta: float = 0.1) -> None:
        self.tau, self.eta, self.mu = mirostat_tau, mirostat_eta, 2 * mirostat_tau
        self._surprise: dict[int, float] = {}

    def apply(self, c: Candidates) -> Candidates:
        surprise = -np.log2(np.maximum(c.probabilities(), 1e-300))
        c = c.keep(slice(max(int((surprise <= self.mu).sum()), 1)))
        kept = -np.log2(np.maximum(c.probabilities(), 1e-300))
        self._surprise = dict(zip(c.ids.tolist(), kept.tolist(), strict=True))
        return c

    def accept(self, token: int) -> None:
        self.mu -= self.eta * (self._surprise.get(token, self.tau) - self.tau)


class MirostatV1(Mirostat):
    """Mirostat 1 (Basu et al. 2021, algorithm 1): keeps the k highest, k from mu and the exponent of Zipf's law.

    The exponent is fitted to the highest LIKELIEST tokens, as the paper does.
    """

    LIKELIEST = 100

    def apply(self, c: Candidates) -> Candidates:
        c = c.keep(slice(self._count(c)))
        self._surprise = dict(
            zip(c.ids.tolist(), (-np.log2(np.maximum(c.probabilities(), 1e-300))).tolist(), strict=True)
        )
        return c

    def _count(self, c: Candidates) -> int:
        finite = c.logits[np.isfinite(c.logits)].astype(np.float64)
        head = finite[: self.LIKELIEST]
        if len(head) < 2:
            return 1
        ranks = np.arange(1, len(head))
        ratios = np.log((ranks + 1) / ranks)
        zipf = max(float((ratios * (head[:-1] - head[1:])).sum() / (ratios**2).sum()), 1e-3)
        # k = ((s - 1) 2^mu / (1 - N^(1 - s)))^(1 / s), whose first factors tend to 2^mu / ln N as s tends to 1.
        epsilon, size = zipf - 1, np.log(len(finite))
        spread = size if abs(epsilon) < 1e-6 else -np.expm1(-epsilon * size) / epsilon
        log_count = (self.mu * np.log(2) - np.log(spread)) / zipf
        return max(int(np.exp(min(log_count, size)) + 1e-9), 1)


def _edits(
    ids: npt.NDArray[np.int32], bias: F32 | None = None, repeat: F32 | None = None, offset: F32 | None = None
) -> Edits:
    zeros = np.zeros(len(ids), np.float32)
    return Edits(
        ids,
        zeros if bias is None else bias,
        np.ones(len(ids), np.float32) if repeat is None else repeat,
        zeros if offset is None else offset,
    )


def _with(recent: deque[int], ahead: Sequence[int]) -> deque[int]:
    """The last tokens once these too were chosen."""
    return deque([*recent, *ahead], recent.maxlen) if ahead else recent


def _enough(p: npt.NDArray[np.float64], mass: float) -> int:
    """How many of these it takes to reach the mass; the smallest slack forgives rounding in the sum."""
    return int(p.cumsum().searchsorted(mass - 1e-12)) + 1


def _common_prefixes(tokens: Sequence[int]) -> list[int]:
    """Z function: at each place, how many tokens from there equal the tokens from the start."""
    z = [0] * len(tokens)
    left = right = 0
    for i in range(1, len(tokens)):
        if i < right:
            z[i] = min(right - i, z[i - left])
        while i + z[i] < len(tokens) and tokens[z[i]] == tokens[i + z[i]]:
            z[i] += 1
        if i + z[i] > right:
            left, right = i, i + z[i]
    return z
