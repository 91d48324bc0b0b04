"""Chats as requests ask for them: thoughts on a budget, continued answers, other templates, what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import halflap
from halflap.engine.request import Request
from halflap.errors import InvalidRequestError, TemplateError
from halflap.events import Finish

ASKED = [{"role": "user", "content": "What is 12+30? Think of it."}]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 60}


@pytest.fixture(scope="module")
def model() -> Iterator[halflap.Model]:
    with halflap.load("starter", ctx=512) as loaded:
        yield loaded


def test_a_thought_ends_when_its_budget_is_spent(model: halflap.Model) -> None:
    free = model.chat(ASKED, reasoning="on", **GREEDY)
    count = len(model.tokenize(free.reasoning, add_special=False))
    assert count > 6
    for budget in (0, 1, 3, 5):
        done = model.chat(ASKED, reasoning="on", reasoning_budget=budget, **GREEDY)
        ids = [token.id for token in done.tokens]
        opens = [model.tokenizer.token_to_id("<think>"), model.tokenizer.token_to_id("</think>")]
        assert None not in opens
        begin = ids.index(opens[0]) + 1 if opens[0] in ids else 0
        assert ids.index(opens[1]) - begin == budget
        assert ids[: begin + budget] == [token.id for token in free.tokens][: begin + budget]
        assert free.reasoning.startswith(done.reasoning)
    assert model.chat(ASKED, reasoning="on", reasoning_budget=-1, **GREEDY).reasoning == free.reasoning
    assert model.chat(ASKED, reasoning="on", reasoning_budget=count + 20, **GREEDY).tokens == free.tokens


def test_a_spent_budget_says_so_if_it_is_to(model: halflap.Model) -> None:
    done = model.chat(ASKED, reasoning="on", reasoning_budget=2, reasoning_budget_message=" Enough!", **GREEDY)
    assert done.reasoning.endswith(" Enough!")


def test_budgets_hold_in_batches_with_drafts_and_with_random_choices() -> None:
    options: dict[str, Any] = {
        "reasoning": "on",
        "temperature": 1.0,
        "max_tokens": 40,
        "reasoning_budget_message": " So:",
    }
    with halflap.load("starter", ctx=512) as model, halflap.load("starter", ctx=512, draft="lookup") as drafting:
        alone = [model.chat(ASKED, seed=seed, reasoning_budget=seed, **options).tokens for seed in range(6)]
        for loaded in (model, drafting):
            streams = [loaded.stream(ASKED, seed=seed, reasoning_budget=seed, **options) for seed in range(6)]
            together = [stream.result().tokens for stream in streams]
            assert [[t.id for t in tokens] for tokens in together] == [[t.id for t in tokens] for tokens in alone]


def test_a_budget_goes_on_where_an_engine_before_left_off(model: halflap.Model) -> None:
    request = Request(
        messages=ASKED, options={"reasoning": "on", "reasoning_budget": 4, "temperature": 0, "max_tokens": 30}
    )
    wanted = [token.id for token in model.submit(request).result().tokens]
    for count in range(9):
        ended = threading.Event()

        def put(events: Any, ended: threading.Event = ended) -> None:
            if isinstance(events, BaseException) or any(isinstance(event, Finish) for event in events):
                ended.set()

        work = model.prepare(request, put, wanted[:count])
        model.start(work)
        assert ended.wait(60)
        assert work.chosen == wanted


def test_a_constraint_on_calls_lets_a_spent_thought_end(model: halflap.Model) -> None:
    pytest.importorskip("llguidance")
    tool = {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer", "maximum": 9, "minimum": 0}},
                "required": ["a"],
                "additionalProperties": False,
            },
        },
    }
    done = model.chat(
        ASKED, tools=[tool], tool_choice="required", reasoning="on", reasoning_budget=3, temperature=0, max_tokens=80
    )
    assert len(model.tokenize(done.reasoning, add_special=False)) <= 4
    assert [call.name for call in done.tool_calls][:1] == ["add"]


def test_an_answer_is_continued(model: halflap.Model) -> None:
    begun = [*ASKED, {"role": "assistant", "content": "The sum is 4"}]
    done = model.chat(begun, **GREEDY)
    assert model.apply_template(begun).endswith("The sum is 4")
    assert not done.text.startswith("The sum is 4")
    anew = model.apply_template(begun, add_generation_prompt=True)
    assert not anew.endswith("The sum is 4")
    assert anew.startswith(model.apply_template(begun, add_generation_prompt=False))


def test_a_prompt_can_be_had_and_counted_without_running(model: halflap.Model) -> None:
    text = model.apply_template(ASKED)
    assert "12+30" in text
    ids = model.tokenize(text, parse_special=True)
    count = model.count(Request(messages=ASKED))
    assert count in (len(ids), len(ids) - 1)  # the template may write what begins a sequence itself
    assert model.count(Request(prompt="abc")) == len(model.tokenize("abc"))
    done = model.chat(ASKED, **GREEDY)
    assert done.usage.prompt_tokens == count
    with pytest.raises(InvalidRequestError, match="temprature"):
        model.apply_template(ASKED, temprature=1)  # type: ignore[call-arg]


def test_thoughts_and_calls_can_stay_in_the_text(model: halflap.Model) -> None:
    apart = model.chat(ASKED, reasoning="on", **GREEDY)
    together = model.chat(ASKED, reasoning="on", reasoning_format="none", parse_tool_calls=False, **GREEDY)
    assert [t.id for t in together.tokens] == [t.id for t in apart.tokens]
    assert together.reasoning == ""
    assert "</think>" in together.text
    assert apart.reasoning in together.text


def test_the_format_is_told(model: halflap.Model) -> None:
    told = model.chat_format
    assert told.name == "hermes"
    assert told.template == model.tokenizer.chat_template
    assert told.to_dict()["capabilities"]["tools"] is True


def test_another_template_is_used_by_name_or_text() -> None:
    with halflap.load("starter", ctx=256, chat_template="llama3") as model:
        assert model.apply_template([{"role": "system", "content": "S"}, *ASKED]).endswith("<|end_header_id|>\n\n")
        assert model.chat_format.name == "llama3"
    with halflap.load("starter", ctx=256, chat_template="{{ messages[0].content }}!") as model:
        assert model.apply_template(ASKED) == ASKED[0]["content"] + "!"
    with pytest.raises(InvalidRequestError, match="Did you mean 'llama3'"):
        halflap.load("starter", chat_template="lama3")
    with (
        halflap.load("starter", ctx=256, chat_template="{% if %}") as model,
        pytest.raises(TemplateError, match="compiles"),
    ):
        model.chat(ASKED)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("reasoning", "maybe"), ("reasoning_effort", 3), ("reasoning_budget", -2), ("reasoning_format", "xml"),
        ("parse_tool_calls", 1), ("add_generation_prompt", "no"), ("reasoning_budget_message", None),
        ("chat_template_kwargs", {1: 2}),
    ],
)  # fmt: skip
def test_other_values_are_refused(option: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=option):
        Request(messages=ASKED, options={option: value})


def test_effort_and_switches_reach_the_template(shared: Path) -> None:
    from halflap.text.chat.detection import detect
    from halflap.text.chat.prompting import render
    from halflap.text.chat.template import ChatTemplate

    def text(name: str, **options: Any) -> str:
        template = ChatTemplate((shared / "templates" / f"{name}.jinja").read_text(), (), "<s>", "</s>")
        return render(detect(template), ASKED, (), options).text

    assert "Reasoning: high" in text("openai-gpt-oss-120b", reasoning_effort="high")
    assert text("Qwen-Qwen3-0.6B", reasoning="off").endswith("<think>\n\n</think>\n\n")
    assert text("Qwen-Qwen3-0.6B", reasoning_effort="none").endswith("<think>\n\n</think>\n\n")
    assert text("deepseek-ai-DeepSeek-V3.1", reasoning="on").endswith("<think>")
    assert text("deepseek-ai-DeepSeek-V3.1", enable_thinking=False).endswith("</think>")
    assert text("MiniMax-M3", reasoning="on").endswith("<mm:think>")
    assert text("Cohere2MoE", reasoning="off").endswith("<|END_THINKING|>")
    assert text("llama-cpp-deepseek-r1", reasoning="off").rstrip().endswith("</think>")
    assert "512" in text("ByteDance-Seed-OSS", reasoning_budget=512)
    assert text("Qwen-Qwen3-0.6B", reasoning="off", chat_template_kwargs={"enable_thinking": True}) != text(
        "Qwen-Qwen3-0.6B", reasoning="off"
    )


COLOUR: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["colour", "n"],
    "additionalProperties": False,
}


def test_a_schema_holds_from_the_end_of_the_thoughts(model: halflap.Model) -> None:
    pytest.importorskip("llguidance")
    free = model.chat(ASKED, reasoning="on", **GREEDY)
    for form in ({"json_schema": COLOUR}, {"regex": r'\{"colour": "(red|blue)", "n": [0-9]{2}\}'}):
        done = model.chat(ASKED, reasoning="on", temperature=0, max_tokens=120, **form)  # type: ignore[arg-type]
        assert done.reasoning == free.reasoning
        assert set(json.loads(done.text)) == {"colour", "n"}
        assert done.finish_reason == "stop"
        off = model.chat(ASKED, reasoning="off", temperature=0, max_tokens=60, **form)  # type: ignore[arg-type]
        assert off.reasoning == ""
        assert off.tokens[0].bytes.startswith(b"{")
        assert set(json.loads(off.text)) == {"colour", "n"}


def test_a_schema_behind_a_spent_thought_and_one_that_never_closes(model: halflap.Model) -> None:
    pytest.importorskip("llguidance")
    options: dict[str, Any] = {"reasoning": "on", "json_schema": COLOUR, "temperature": 1.3, "max_tokens": 80}
    for seed in range(4):
        done = model.chat(ASKED, reasoning_budget=5, reasoning_budget_message=" So:", seed=seed, **options)
        assert done.reasoning.endswith("So:")
        assert set(json.loads(done.text)) == {"colour", "n"}
    close = model.tokenizer.token_to_id("</think>")
    assert close is not None
    never = model.chat(ASKED, logit_bias={close: -float("inf")}, seed=1, **options)
    assert (never.text, never.finish_reason, len(never.tokens)) == ("", "length", 80)


def test_a_schema_behind_thoughts_is_the_same_in_batches_and_with_drafts() -> None:
    pytest.importorskip("llguidance")
    options: dict[str, Any] = {"reasoning": "on", "temperature": 1.0, "max_tokens": 60, "json_schema": COLOUR}
    with halflap.load("starter", ctx=512) as model, halflap.load("starter", ctx=512, draft="lookup") as drafting:
        alone = [model.chat(ASKED, seed=seed, reasoning_budget=9 * seed, **options) for seed in range(5)]
        for loaded in (model, drafting):
            streams = [loaded.stream(ASKED, seed=seed, reasoning_budget=9 * seed, **options) for seed in range(5)]
            together = [stream.result() for stream in streams]
            assert [[t.id for t in done.tokens] for done in together] == [[t.id for t in d.tokens] for d in alone]
    assert any(set(json.loads(done.text)) == {"colour", "n"} for done in alone if done.finish_reason == "stop")


def test_where_thoughts_may_stand_is_told_by_prompt_options_and_template(shared: Path) -> None:
    from halflap.text.chat.detection import detect
    from halflap.text.chat.prompting import inside, may_open, render
    from halflap.text.chat.template import ChatTemplate

    def told(name: str, messages: Any = ASKED, **options: Any) -> tuple[bool, bool]:
        form = detect(ChatTemplate((shared / "templates" / f"{name}.jinja").read_text(), (), "<s>", "</s>"))
        prompt = render(form, messages, (), options)
        return bool(inside(form, prompt)), may_open(form, prompt, options)

    assert told("Qwen-Qwen3-0.6B") == (False, True)
    assert told("Qwen-Qwen3-0.6B", reasoning="off") == (False, False)
    assert told("Qwen-Qwen3-0.6B", chat_template_kwargs={"enable_thinking": False}) == (False, False)
    assert told("Qwen-QwQ-32B", reasoning="on") == (True, False)
    assert told("Qwen-QwQ-32B", reasoning="off") == (False, False)
    assert told("Qwen-Qwen2.5-7B-Instruct") == (False, False)
    assert told("Qwen-Qwen2.5-7B-Instruct", reasoning="on") == (False, True)
    assert told("openai-gpt-oss-120b") == (False, True)
    assert told("google-gemma-2-2b-it") == (False, False)
    begun = [*ASKED, {"role": "assistant", "content": "The sum"}]
    assert told("Qwen-Qwen3-0.6B", begun) == (False, False)
    thought = [*ASKED, {"role": "assistant", "content": "", "reasoning_content": "12"}]
    assert told("Qwen-QwQ-32B", thought, reasoning="on") == (True, False)


def test_a_schema_stands_in_the_channel_where_gpt_oss_has_its_words(shared: Path) -> None:
    pytest.importorskip("llguidance")
    template = (shared / "templates" / "openai-gpt-oss-120b.jinja").read_text()
    with halflap.load("starter", ctx=2048, chat_template=template) as model:
        for seed, options in enumerate(({"reasoning": "off"}, {"reasoning_budget": 3}, {"reasoning_budget": 0})):
            done = model.chat(ASKED, json_schema=COLOUR, seed=seed, max_tokens=250, **options)  # type: ignore[arg-type]
            said = b"".join(token.bytes for token in done.tokens).decode()
            assert said.startswith(("<|channel|>final<|message|>", "<|channel|>analysis<|message|>"))
            assert "<|channel|>final<|message|>" in said
            assert set(json.loads(done.text)) == {"colour", "n"}
