"""The official `anthropic` package against the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.plugins.server.kit import WEATHER, Running

anthropic = pytest.importorskip("anthropic", reason="needs the dependency group clients")
pytestmark = pytest.mark.clients

GREEDY = {"temperature": 0}  # which newer versions of the package do not name
ASK = {
    "model": "starter",
    "max_tokens": 60,
    "messages": [{"role": "user", "content": "What is 12 + 9?"}],
    "extra_body": GREEDY,
}
TOOL = {"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER["function"]["parameters"]}


@pytest.fixture
def client(server: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as made:
        yield made


def test_a_message(client: anthropic.Anthropic) -> None:
    done = client.messages.create(**ASK, system="Be brief.")
    assert "21" in done.content[0].text
    assert done.stop_reason == "end_turn"
    counted = client.messages.count_tokens(model="starter", messages=ASK["messages"], system="Be brief.")
    assert counted.input_tokens == done.usage.input_tokens + done.usage.cache_read_input_tokens


def test_a_streamed_message(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ASK) as stream:
        words = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert words == final.content[0].text == client.messages.create(**ASK).content[0].text
    assert final.usage.output_tokens > 0


def test_a_whole_round_with_a_tool(client: anthropic.Anthropic) -> None:
    ask = {**ASK, "messages": [{"role": "user", "content": "What is the weather in Paris?"}], "tools": [TOOL]}
    with client.messages.stream(**ask, tool_choice={"type": "tool", "name": "get_weather"}) as stream:
        first = stream.get_final_message()
    (use,) = [block for block in first.content if block.type == "tool_use"]
    assert (first.stop_reason, use.input) == ("tool_use", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": '{"sky": "sunny"}'}
    turns = [*ask["messages"], {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = client.messages.create(**{**ask, "messages": turns})
    assert "sunny" in second.content[0].text


def test_thinking(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        **{**ASK, "max_tokens": 2000}, thinking={"type": "enabled", "budget_tokens": 1024}
    ) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]


def test_many_messages_at_once(server: Running) -> None:
    async def main() -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none") as client:

            async def one(n: int) -> str:
                turns = [{"role": "user", "content": f"What is {n} + 9?"}]
                async with client.messages.stream(**{**ASK, "messages": turns}) as stream:
                    return "".join([text async for text in stream.text_stream])

            return await asyncio.gather(*map(one, range(1, 9)))

    assert all(answer for answer in asyncio.run(main()))


def test_failures_are_the_packages_own(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="temperature"):
        client.messages.create(**{**ASK, "extra_body": {"temperature": -1}})
    with pytest.raises(anthropic.BadRequestError, match="context"):
        client.messages.create(**{**ASK, "messages": [{"role": "user", "content": "fox " * 3000}]})
