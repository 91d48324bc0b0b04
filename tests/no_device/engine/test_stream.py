from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from halflap.errors import EngineError, ModelClosedError
from halflap.events import Finish, Reasoning, Text, Timings, Token, ToolCall, Usage
from halflap.stream import Channel, Stream

FINISH = Finish("stop", None, Usage(3, 2), Timings(0, 3, 1.0, 2, 2.0))


def stream() -> tuple[Channel, Stream, list[int]]:
    channel, cancelled = Channel(), []
    return channel, Stream(channel, lambda: cancelled.append(1)), cancelled


def test_events_come_in_order_and_the_result_is_their_sum() -> None:
    channel, s, _ = stream()
    call = [ToolCall(0, "id", "f", '{"a"'), ToolCall(0, None, None, ":1}")]
    channel.put([Reasoning("hm"), Text("one "), *call, FINISH])
    assert [type(e) for e in s] == [Reasoning, Text, ToolCall, ToolCall, Finish]
    done = s.result()
    assert (done.text, done.reasoning, str(done)) == ("one ", "hm", "one ")
    assert [(c.name, c.arguments) for c in done.tool_calls] == [("f", '{"a":1}')]


def test_a_slow_consumer_gets_merged_text_and_every_token() -> None:
    channel, s, _ = stream()
    for i in range(5):
        channel.put([Text(str(i), (Token(i, b"%d" % i),))])
    channel.put([FINISH])
    events = list(s)
    assert [e.text for e in events if isinstance(e, Text)] == ["01234"]
    assert [t.id for t in s.result().tokens] == [0, 1, 2, 3, 4]


def test_an_error_is_raised_once_with_what_there_was() -> None:
    channel, s, _ = stream()
    channel.put([Text("half")])
    channel.put(ModelClosedError("model", got="closed", want="open"))
    with pytest.raises(ModelClosedError) as raised:
        s.result()
    assert raised.value.partial.text == "half"
    assert s.result().text == "half"


def test_result_times_out_and_may_be_called_again() -> None:
    channel, s, _ = stream()
    with pytest.raises(TimeoutError):
        s.result(timeout=0.01)
    channel.put([Text("late"), FINISH])
    assert s.result(timeout=10).text == "late"


def test_leaving_or_dropping_cancels() -> None:
    _, s, cancelled = stream()
    with s:
        pass
    assert cancelled == [1]
    del s
    gc.collect()
    assert cancelled == [1, 1]


def test_another_thread_wakes_a_waiting_consumer() -> None:
    channel, s, _ = stream()
    thread = threading.Thread(target=lambda: channel.put([Text("x"), FINISH]))
    thread.start()
    assert s.result(timeout=10).text == "x"
    thread.join()


def test_async_iteration_await_and_cancellation() -> None:
    async def main() -> None:
        channel, s, cancelled = stream()
        thread = threading.Thread(target=lambda: channel.put([Text("x"), FINISH]))
        thread.start()
        assert (await s).text == "x"
        thread.join()

        _, waiting, cancelled = stream()

        async def consume() -> None:
            async for _ in waiting:
                pass

        task = asyncio.create_task(consume())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cancelled

    asyncio.run(main())


def test_engine_errors_are_one_family() -> None:
    assert issubclass(ModelClosedError, EngineError)
