"""The official `openai` package against the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.plugins.server.kit import WEATHER, Running

openai = pytest.importorskip("openai", reason="needs the dependency group clients")
pydantic = pytest.importorskip("pydantic", reason="needs the dependency group clients")
pytestmark = pytest.mark.clients

ASK = [{"role": "user", "content": "What is 12 + 9?"}]
WHERE = [{"role": "user", "content": "What is the weather in Paris?"}]
GREEDY = {"temperature": 0, "max_tokens": 40}


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_a_chat(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="starter", messages=ASK, logprobs=True, top_logprobs=2, **GREEDY)
    assert "21" in done.choices[0].message.content
    assert done.choices[0].finish_reason == "stop"
    assert len(done.choices[0].logprobs.content[0].top_logprobs) == 2
    assert done.usage.prompt_tokens_details.cached_tokens >= 0


def test_a_streamed_chat(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="starter", messages=ASK, **GREEDY).choices[0].message.content
    stream = client.chat.completions.create(
        model="starter", messages=ASK, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].usage.completion_tokens > 0


def test_a_streamed_chat_by_the_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="starter", messages=WHERE, tools=[WEATHER], tool_choice="required"
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    assert final.choices[0].message.tool_calls[0].function.name == "get_weather"


def test_many_chats_at_once(server: Running) -> None:
    async def main() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:

            async def one(n: int) -> str:
                ask = [{"role": "user", "content": f"What is {n} + 9?"}]
                parts = await client.chat.completions.create(model="starter", messages=ask, stream=True, **GREEDY)
                return "".join([part.choices[0].delta.content or "" async for part in parts])

            return await asyncio.gather(*map(one, range(1, 13)))

    assert all(answer for answer in asyncio.run(main()))


def test_a_whole_round_with_a_tool(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(
        model="starter", messages=WHERE, tools=[WEATHER], tool_choice="required", temperature=0
    )
    (call,) = first.choices[0].message.tool_calls
    assert first.choices[0].finish_reason == "tool_calls"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    turns = [*WHERE, first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "sunny"}'}]
    second = client.chat.completions.create(model="starter", messages=turns, tools=[WEATHER], temperature=0)
    assert "sunny" in second.choices[0].message.content


def test_an_answer_in_a_form(client: openai.OpenAI) -> None:
    class Answer(pydantic.BaseModel):
        name: str
        age: int

    ask = [{"role": "user", "content": "Ana is 31. Give her name and age as JSON."}]
    done = client.chat.completions.parse(model="starter", messages=ask, response_format=Answer, max_tokens=60, seed=1)
    assert isinstance(done.choices[0].message.parsed, Answer)


def test_text_and_embeddings_and_models(client: openai.OpenAI) -> None:
    done = client.completions.create(model="starter", prompt="The fox", n=2, seed=3, max_tokens=8, logprobs=2)
    assert [choice.index for choice in done.choices] == [0, 1]
    rows = client.embeddings.create(model="starter", input=["a fox", "a cat"]).data
    assert [len(row.embedding) for row in rows] == [256, 256]
    assert [model.id for model in client.models.list()] == ["starter"]
    assert client.models.retrieve("starter").owned_by == "halflap"


def test_a_response(client: openai.OpenAI) -> None:
    done = client.responses.create(model="starter", input="What is 12 + 9?", temperature=0, max_output_tokens=24)
    assert "21" in done.output_text
    again = client.responses.create(model="starter", input="And 3 + 4?", previous_response_id=done.id, temperature=0)
    assert again.output_text
    assert client.responses.retrieve(done.id).output_text == done.output_text
    client.responses.delete(done.id)


def test_a_streamed_response(client: openai.OpenAI) -> None:
    tools = [{"type": "function", "strict": True, **WEATHER["function"]}]
    with client.responses.stream(
        model="starter", input="What is the weather in Paris?", tools=tools, tool_choice="required", temperature=0
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert "response.function_call_arguments.delta" in kinds
    (call,) = [item for item in final.output if item.type == "function_call"]
    assert json.loads(call.arguments) == {"city": "Paris"}


def test_failures_are_the_packages_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="starter", messages=ASK, temperature=-1)
    assert refused.value.param == "temperature"
    with pytest.raises(openai.BadRequestError, match="context"):
        client.completions.create(model="starter", prompt="fox " * 3000)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
