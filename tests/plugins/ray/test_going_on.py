"""Answers go on elsewhere when their place is lost. The places are a stand-in in this process; no Ray."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

import halflap
from halflap import Model
from halflap.engine.request import Request
from halflap.errors import BusyError, DeviceLostError, InvalidRequestError, ModelClosedError
from halflap.remote import Events, called, is_end, portable, prepared
from halflap_ray.beginnings import Holders, beginnings
from halflap_ray.link import PlaceLost, PlacesLink, PlacesModel

LONG: dict[str, Any] = {"max_tokens": 60, "ignore_eos": True, "temperature": 0.9, "repeat_penalty": 1.1}


class Standin:
    """Places that are all one model here; they die, refuse or hang when told to.

    Attributes:
        deaths: after how many tokens the next places die; 0: before they take the request.
        refusals: how often the next places are full.
        asked: tokens said when a place was asked.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.deaths: list[int] = []
        self.refusals, self.hanging = 0, False
        self.asked: list[int] = []
        self.closed = threading.Event()

    async def begin(self, request: Request, said: Sequence[int]) -> AsyncIterator[tuple[Sequence[int], Events]]:
        self.asked.append(len(said))
        if self.refusals:
            self.refusals -= 1
            raise BusyError("places", got="none free", want="one", retry_after=0.01)
        dies = self.deaths.pop(0) if self.deaths else None
        if dies == 0:
            raise PlaceLost("place")
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[list[int], Events]]()

        def send(tokens: list[int], events: Events) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(queue.put_nowait, (tokens, events))

        try:
            work = prepared(self._model, request, said, send)
            self._model.start(work)
        except Exception as error:
            yield [], portable(error)
            return
        try:
            yield [], []
            count = 0
            while True:
                tokens, events = await queue.get()
                if self.hanging and tokens:
                    await asyncio.Event().wait()
                count += len(tokens)
                if dies is not None and count >= dies:
                    raise PlaceLost("place")
                yield tokens, events
                if is_end(events):
                    return
        finally:
            self._model.cancel(work)
            self.closed.set()

    async def call(self, method: str, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        if self.deaths and self.deaths.pop(0) == 0:
            raise PlaceLost("place")
        return await asyncio.to_thread(called, self._model, method, arguments, options)

    async def call_all(self, method: str) -> list[Any]:
        return [await self.call(method, (), {})] * 2


@pytest.fixture(scope="module")
def here() -> Iterator[Model]:
    with halflap.load("starter", ctx=256, threads=1) as model:
        yield model


@pytest.fixture
def places(here: Model) -> Standin:
    return Standin(here)


@pytest.fixture
def model(here: Model, places: Standin) -> Iterator[Model]:
    with PlacesModel(PlacesLink(places, here.info, here.plan), here.tokenizer) as found:
        yield found


def ids(done: halflap.Completion) -> list[int]:
    return [token.id for token in done.tokens]


@pytest.mark.parametrize("deaths", [[], [1], [0, 5], [7, 7, 7, 7, 7, 7], [0, 0, 3, 0, 57]], ids=str)
def test_an_answer_whose_places_die_is_that_of_an_undisturbed_run(
    deaths: list[int], model: Model, here: Model, places: Standin
) -> None:
    wanted = here.generate([5, 6], seed=3, **LONG)
    places.deaths = list(deaths)
    found = model.generate([5, 6], seed=3, **LONG)
    assert (ids(found), found.text) == (ids(wanted), wanted.text)
    assert found.usage.completion_tokens == 60
    assert len(places.asked) == len(deaths) + 1
    assert places.asked == sorted(places.asked)


def test_a_request_that_kills_every_place_is_given_up_with_what_there_was(model: Model, places: Standin) -> None:
    places.deaths = [9, 0, 0, 0]
    with pytest.raises(DeviceLostError, match="3 replicas in a row") as raised:
        model.generate([5, 6], seed=3, **LONG)
    assert len(raised.value.partial.tokens) <= 8
    assert len(places.asked) == 3
    places.deaths = [0, 0, 0]
    with pytest.raises(DeviceLostError, match="3 replicas in a row"):
        model.submit(Request(prompt=[5, 6]))


def test_full_places_refuse_a_new_request_but_not_one_under_way(model: Model, here: Model, places: Standin) -> None:
    places.refusals = 1
    with pytest.raises(BusyError):
        model.submit(Request(prompt=[5, 6]))
    wanted = here.generate([5, 6], seed=3, **LONG)
    stream = model.stream([5, 6], seed=3, **LONG)
    places.deaths, places.refusals = [], 0
    assert ids(stream.result()) == ids(wanted)
    places.deaths = [4]
    stream = model.stream([5, 6], seed=3, **LONG)
    places.refusals = 5
    assert ids(stream.result()) == ids(wanted)
    assert places.refusals == 0


def test_what_a_place_refuses_is_raised_at_once(model: Model, places: Standin) -> None:
    with pytest.raises(InvalidRequestError, match="token id"):
        model.submit(Request(prompt=[99999]))
    with pytest.raises(InvalidRequestError, match="scores"):
        model.rank("a", ["b"])
    assert len(places.asked) == 1


def test_cancelling_closes_the_place(model: Model, places: Standin) -> None:
    stream = model.stream([5, 6], max_tokens=200, ignore_eos=True)
    stream.cancel()
    assert stream.result().finish_reason == "cancelled"
    assert places.closed.wait(60)


def test_closing_ends_what_is_under_way(here: Model, places: Standin) -> None:
    model = PlacesModel(PlacesLink(places, here.info, here.plan), here.tokenizer)
    places.hanging = True
    stream = model.stream([5, 6], **LONG)
    model.close()
    model.close()
    with pytest.raises(ModelClosedError):
        stream.result()
    with pytest.raises(ModelClosedError):
        model.prompt_ids(Request(prompt=[5]))
    stream.cancel()


def test_calls_are_asked_again_elsewhere_and_metrics_are_sums(model: Model, here: Model, places: Standin) -> None:
    places.deaths = [0, 0]
    assert model.prompt_ids(Request(prompt="a b")) == here.tokenize("a b")
    places.deaths = [0, 0, 0]
    with pytest.raises(DeviceLostError):
        model.prompt_ids(Request(prompt="a b"))
    here.generate([5], max_tokens=3, ignore_eos=True)
    one, both = here.metrics, model.metrics
    assert both.generated_tokens == 2 * one.generated_tokens > 0
    assert both.longest == one.longest
    assert both.whole.count == 2 * one.whole.count
    assert both.finished == {reason: 2 * count for reason, count in one.finished.items()}


def said(*texts: str) -> Request:
    """A chat: the user and the model in turns."""
    roles = ("user", "assistant")
    return Request(messages=[{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)])


def test_a_next_turn_shares_a_beginning_with_the_last_one_however_long_the_answer() -> None:
    first, other = said("a question"), said("another question")
    second = said("a question", "an answer " * 300, "go on")
    third = said("a question", "an answer " * 300, "go on", "more", "and?")
    holders: Holders[str] = Holders()
    holders.add(beginnings(first), "x")
    holders.add(beginnings(other), "y")
    assert holders.find(beginnings(second), {"x", "y"}) == {"x"}
    holders.add(beginnings(second), "y")
    assert holders.find(beginnings(third), {"x", "y"}) == {"y"}
    assert holders.find(beginnings(third), {"x"}) == {"x"}
    assert holders.find(beginnings(third), {"z"}) == set()


def test_beginnings_that_are_small_beside_the_request_do_not_count() -> None:
    holders: Holders[str] = Holders()
    system = {"role": "system", "content": "Be kind."}
    holders.add(beginnings(Request(messages=[system, {"role": "user", "content": "a" * 500}])), "x")
    assert not holders.find(beginnings(Request(messages=[system, {"role": "user", "content": "b" * 500}])), {"x"})


@pytest.mark.parametrize("length", [1, 100, 257, 5000])
def test_longer_prompts_share_the_beginning_of_shorter_ones(length: int) -> None:
    holders: Holders[str] = Holders()
    holders.add(beginnings(Request(prompt="word " * length)), "x")
    assert holders.find(beginnings(Request(prompt="word " * length)), {"x"}) == {"x"}
    assert not holders.find(beginnings(Request(prompt="sword " * length)), {"x"})
    holders.add(beginnings(Request(prompt=[7] * length)), "y")
    assert holders.find(beginnings(Request(prompt=[7] * length)), {"x", "y"}) == {"y"}
    if length > 64:
        assert holders.find(beginnings(Request(prompt="word " * length + "!" * 20)), {"x"}) == {"x"}


def test_no_more_beginnings_are_kept_than_wanted() -> None:
    holders: Holders[str] = Holders(known=8)
    for i in range(50):
        holders.add(beginnings(Request(prompt=f"{i} " * 50)), "x")
    assert len(holders._holders) == 8
    assert holders.find(beginnings(Request(prompt="49 " * 50)), {"x"}) == {"x"}
    assert len(beginnings(said(*["word"] * 500))) <= 16 + 10
