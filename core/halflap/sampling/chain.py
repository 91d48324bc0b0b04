"""A request's samplers in order: from a row of logits to a token."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import frozen

from halflap import plugins
from halflap.errors import ConstraintError, HalflapError, InvalidRequestError, SamplerError
from halflap.graph.candidates import Ask, Edits, Highest
from halflap.sampling import candidates, samplers
from halflap.sampling.candidates import Candidates

F32 = npt.NDArray[np.float32]

DEFAULT = ("penalties", "dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature")
MIROSTAT: Mapping[int, Sequence[str]] = {1: ("temperature", "mirostat_v1"), 2: ("temperature", "mirostat")}
"""Version -> what replaces the chain."""
DRAWS = 1 << 32
"""Numbers of the random stream that belong to one token: more than any sampler draws."""


@frozen(init=False)
class Use:
    """A sampler or constraint with its own options: `samplers=["top_k", Use("acme.top_h", h=0.4)]`."""

    name: str
    options: Mapping[str, Any]

    def __init__(self, name: str, /, **options: Any) -> None:
        self.__attrs_init__(name, options)


@cache
def parameters(factory: Callable[..., Any]) -> tuple[str, ...]:
    """Option names a sampler takes."""
    return tuple(inspect.signature(factory).parameters)


class SamplerChain:
    """Everything that chooses one request's tokens.

    Args:
        names: samplers in order, by name or as `Use`.
        options: flat options of the request; each built-in takes those its signature names.
        seed: the same seed, options and logits give the same tokens.

    Attributes:
        left: what the newest token was drawn from; None: it was the highest, without a choice.

    Raises:
        NotRegisteredError: a name nobody offers.
        InvalidRequestError: a `Use` with options its sampler does not take.
    """

    def __init__(self, names: Sequence[str | Use], options: Mapping[str, Any], seed: int) -> None:
        self._bits = np.random.PCG64(seed)
        self._start, self._chosen = self._bits.state, 0
        self.rng = np.random.Generator(self._bits)
        self.steps: list[Any] = [samplers.LogitBias(options.get("logit_bias") or {})]
        self._names: list[str] = ["logit_bias"]
        self._bounds: F32 | None = None
        for wish in names:
            self.steps.append(_make(wish, options))
            self._names.append(wish.name if isinstance(wish, Use) else wish)
        active = [getattr(step, "active", True) for step in self.steps]
        self.steps = [step for step, on in zip(self.steps, active, strict=True) if on]
        self._names = [name for name, on in zip(self._names, active, strict=True) if on]
        pairs = list(zip(self._names, self.steps, strict=True))
        editing = (samplers.LogitBias, samplers.Penalties, samplers.Dry)
        self._editing = [step for step in self.steps if isinstance(step, editing)]
        self._cutting = [(name, step) for name, step in pairs if not isinstance(step, editing)]
        self.left: Candidates | None = None
        self.greedy = self._is_greedy()
        self._temperature, self._first = self._first_step()

    def _is_greedy(self) -> bool:
        """Temperature 0 and nothing that could drop the highest: the argmax, without a chain."""
        cold = any(isinstance(s, samplers.Temperature) and s.temperature <= 0 and s.range <= 0 for s in self.steps)
        harmless = (
            samplers.LogitBias,
            samplers.Penalties,
            samplers.Dry,
            samplers.TopK,
            samplers.TopP,
            samplers.MinP,
            samplers.TopNSigma,
            samplers.Temperature,
        )
        return cold and all(isinstance(s, harmless) for s in self.steps)

    def ask(self, vocab: int, mask: npt.NDArray[np.uint8] | None = None, ahead: Sequence[int] = ()) -> Ask | None:
        """What a device may find of the row that follows `ahead`, which follows what was accepted; None: nothing helps.

        Raises:
            ConstraintError: the mask is none for so many tokens.
        """
        if mask is not None:
            candidates.check_mask(mask, vocab)
        if self.greedy:
            return Ask(1, self._edits(ahead), mask)
        if self._first is None or not self._first.reach:
            return None
        temperature = self._temperature.temperature if self._temperature else 1.0
        return Ask(self._first.reach, self._edits(ahead), mask, temperature if self._first.sums else 0.0)

    def choose(self, row: F32, mask: npt.NDArray[np.uint8] | None = None, found: Highest | None = None) -> int:
        """The next token.

        Args:
            row: (vocab,), edited in place where `found` does not do.
            mask: holds a bit for each token that may be chosen.
            found: what a device found of this row when asked what `ask` said; it saves time and changes nothing.

        Raises:
            SamplerError: a sampler raised or left nothing.
            ConstraintError: nothing that the mask allows has a logit above -inf.
        """
        if found is not None:
            _check(np.float32(np.nan) if found.nans else found.logits[0], mask)
        else:
            self._edit(row, mask)
            _check(row.max(), mask)
        self._chosen += 1
        if self.greedy:
            return int(row.argmax() if found is None else found.ids[0])
        # Chance depends on the place in the answer only, so that an answer can go on where another process left it.
        self._bits.state = self._start
        self._bits.advance(DRAWS * self._chosen)
        cut = None if found is None else self._cut(found)
        if cut is None:
            if found is not None:
                self._edit(row, mask)
            cut = self._cut_row(row)
        c, rest = cut
        for name, step in rest:
            try:
                c = step.apply(c)
            except HalflapError:
                raise
            except Exception as cause:
                raise SamplerError(
                    f"sampler {name!r}", got=f"{type(cause).__name__}: {cause}", want="candidates", plugin=name
                ) from cause
            if not isinstance(c, Candidates) or not len(c):
                raise SamplerError(f"sampler {name!r}", got="no candidates", want="at least one", plugin=name)
        self.left = c
        drawn = int(c.probabilities().cumsum().searchsorted(self.rng.random(), side="right"))
        return int(c.ids[min(drawn, len(c) - 1)])

    def skip(self, count: int) -> None:
        """So many tokens were chosen elsewhere, with the same seed."""
        self._chosen += count

    def accept(self, token: int) -> None:
        for step in self.steps:
            step.accept(token)

    def _edits(self, ahead: Sequence[int]) -> list[Edits]:
        return [edits for step in self._editing if (edits := step.edits(ahead)) is not None]

    def _edit(self, row: F32, mask: npt.NDArray[np.uint8] | None) -> None:
        for edits in self._edits(()):
            edits.apply(row)
        if mask is not None:
            if self._bounds is None:
                self._bounds = np.empty(((len(row) + 7) // 8, 8), np.float32)
            candidates.restrict(row, mask, self._bounds)

    def _first_step(self) -> tuple[samplers.Temperature | None, samplers.Step | None]:
        """The step that makes the first cut, if a row's highest may do for it; and the temperature before it."""
        steps = [step for _, step in self._cutting]
        before = steps.pop(0) if steps and isinstance(steps[0], samplers.Temperature) and steps[0].fixed else None
        return before, steps[0] if steps and isinstance(steps[0], samplers.Step) else None

    def _cut(self, found: Highest) -> tuple[Candidates, list[tuple[str, Any]]] | None:
        """The first cut out of the highest few, and the steps after it; None: they do not prove it."""
        if self._temperature is not None:
            found = self._temperature.scaled(found)
        cut = self._first.cut(found, self.rng) if self._first is not None else None
        return None if cut is None else (cut, self._cutting[2 if self._temperature else 1 :])

    def _cut_row(self, row: F32) -> tuple[Candidates, list[tuple[str, Any]]]:
        """The first step that cuts takes its candidates from the row; those before it neither cut nor reorder."""
        if self._cutting and isinstance(self._cutting[0][1], samplers.Step):
            cut = self._cutting[0][1].select(row, self.rng)
            if cut is not None:
                return cut, self._cutting[1:]
        return candidates.every(row, self.rng), self._cutting


def _check(highest: np.floating[Any], mask: npt.NDArray[np.uint8] | None) -> None:
    if np.isnan(highest):
        raise SamplerError("logits", got="NaN", want="finite numbers", fix="The model file or its device is broken.")
    if mask is not None and highest == -np.inf:
        raise ConstraintError(
            "constraint", got="no token that it allows and the options leave", want="at least one",
            fix="Look at `logit_bias` and `ignore_eos`.", field="constraint",
        )  # fmt: skip


def _make(wish: str | Use, options: Mapping[str, Any]) -> Any:
    name = wish.name if isinstance(wish, Use) else wish
    factory = plugins.get("samplers", name)
    takes = parameters(factory)
    if isinstance(wish, Use):
        unknown = sorted(set(wish.options) - set(takes))
        if unknown:
            raise InvalidRequestError(
                f"option of sampler {name!r}", got=repr(unknown[0]), want=f"one of {list(takes)}", field="samplers"
            )
        given = dict(wish.options)
    else:
        given = {key: options[key] for key in takes if options.get(key) is not None}
    try:
        return factory(**given)
    except HalflapError:
        raise
    except Exception as cause:
        raise InvalidRequestError(
            f"sampler {name!r}", got=f"{type(cause).__name__}: {cause}", want="options it can use", field="samplers"
        ) from cause


def log_probabilities(row: F32) -> F32:
    """Log softmax of a whole row."""
    shifted = row - row.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum(dtype=np.float64)), np.float32)


def likeliest(scores: F32, count: int) -> npt.NDArray[np.intp]:
    """Ids of the largest scores of a row, best first; of equal ones the lowest id first."""
    if 0 < count < len(scores):  # sorting a whole vocabulary would take longer than a small model's step
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        near = np.flatnonzero(scores >= least)
        return near[np.argsort(-scores[near], kind="stable")[:count]]
    return np.argsort(-scores, kind="stable")[:count]
