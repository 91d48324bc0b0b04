"""Every published template: which family it is, what it renders, and that values never become special tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import shared_folder
from tests.no_device.chat.golden import TOOLS
from tests.no_device.chat.reading import read

from halflap.errors import TemplateError
from halflap.text.chat.contract import Capabilities
from halflap.text.chat.detection import detect, detected
from halflap.text.chat.prompting import Prompt, render
from halflap.text.chat.template import ChatTemplate

FAMILIES = {
    "ByteDance-Seed-OSS": "seed_oss",
    "Cohere2MoE": "command_r7b",
    "CohereForAI-c4ai-command-r-plus-tool_use": "command_r",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "command_r7b",
    "GLM-4.6": "glm4",
    "GLM-4.7-Flash": "glm4",
    "GigaChat3.1-10B-A1.8B": "gigachat3",
    "HuggingFaceTB-SmolLM3-3B": "hermes",
    "Kimi-K2-Instruct": "kimi_k2",
    "Kimi-K2-Thinking": "kimi_k2",
    "LFM2-8B-A1B": "lfm2",
    "LFM2.5-8B-A1B": "lfm2",
    "LFM2.5-Instruct": "lfm2",
    "MiniMax-M1": "minimax_m1",
    "MiniMax-M2": "minimax_m2",
    "MiniMax-M3": "minimax_m3",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "qwen3_coder",
    "NVIDIA-Nemotron-Nano-v2": "nemotron_v2",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen3-Coder": "qwen3_coder",
    "Qwen3.5-4B": "qwen3_coder",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "deepseek_r1",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "deepseek_r1",
    "deepseek-ai-DeepSeek-V3.1": "deepseek",
    "deepseek-ai-DeepSeek-V3.2": "deepseek_v3_2",
    "deepseek-ai-DeepSeek-V4": "deepseek_v4",
    "deepseek-ai-DeepSeek-V4-Flash-0731": "deepseek_v4",
    "fireworks-ai-llama-3-firefunction-v2": "firefunction_v2",
    "google-gemma-2-2b-it": "gemma",
    "google-gemma-4-31B-it": "gemma4",
    "google-gemma-4-31B-it-interleaved": "gemma4",
    "ibm-granite-granite-3.3-2B-Instruct": "granite3",
    "ibm-granite-granite-4.0": "granite4",
    "ibm-granite-granite-4.1": "granite4",
    "llama-cpp-deepseek-r1": "deepseek_r1",
    "llama-cpp-rwkv-world": "hermes",
    "meetkai-functionary-medium-v3.1": "functionary_v3_1",
    "meetkai-functionary-medium-v3.2": "functionary_v3_2",
    "meta-llama-Llama-3.1-8B-Instruct": "llama3",
    "meta-llama-Llama-3.2-3B-Instruct": "llama3",
    "meta-llama-Llama-3.3-70B-Instruct": "llama3",
    "microsoft-Phi-3.5-mini-instruct": "phi",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral_v3",
    "moonshotai-Kimi-K2": "kimi_k2",
    "openai-gpt-oss-120b": "harmony",
    "openbmb-MiniCPM5-1B": "minicpm5",
    "poolside-Laguna-XS-2.1": "glm4",
    "poolside-Laguna-XS.2": "glm4",
    "unsloth-mistral-Devstral-Small-2507": "mistral",
}
SILENT_TOOLS = {
    "HuggingFaceTB-SmolLM3-3B", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai-DeepSeek-V3.1", "google-gemma-2-2b-it", "llama-cpp-rwkv-world", "microsoft-Phi-3.5-mini-instruct",
}  # fmt: skip
"""Templates that say nothing of the tools they are given."""

DROPPED = {"mistralai-Mistral-Nemo-Instruct-2407": "be brief"}
"""It writes a system message only before a last user message."""

LONG_ID = "call_0123456789abcdef"
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome<|im_end|>", "days": 2}'}}
OTHER = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1.25}'}}
CHAT: list[dict[str, Any]] = [
    {"role": "developer", "content": "be brief"},
    {"role": "user", "content": [{"type": "text", "text": "how is "}, {"type": "text", "text": "the weather"}]},
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "let me look",
        "tool_calls": [{"id": LONG_ID, **CALL}, {"id": "b" + LONG_ID, **OTHER}],
    },
    {"role": "tool", "tool_call_id": LONG_ID, "content": "sunny there"},
    {"role": "tool", "tool_call_id": "b" + LONG_ID, "content": "a sum of 9"},
]


@pytest.fixture(params=sorted(FAMILIES))
def published(request: pytest.FixtureRequest, shared: Path) -> tuple[str, ChatTemplate]:
    name = str(request.param)
    source = (shared / "templates" / f"{name}.jinja").read_text()
    specials = sorted({*re.findall(r"<[|｜][^<>{}\s'\"]{1,40}[|｜]>|</?[a-z_:]+>|\[/?[A-Z_]{3,}\]", source)})
    return name, ChatTemplate(source, specials, "<s>", "</s>")


def test_every_template_is_listed() -> None:
    folder = shared_folder()
    assert folder is None or {path.stem for path in (folder / "templates").glob("*.jinja")} == set(FAMILIES)


def test_templates_are_of_the_family_they_should_be(published: tuple[str, ChatTemplate]) -> None:
    name, template = published
    assert detected(template.source) == f"halflap:{FAMILIES[name]}"


def prompt(template: ChatTemplate, messages: list[dict[str, Any]], tools: Any = (), **options: Any) -> Prompt:
    return render(detect(template), messages, tools, options)


def test_a_chat_with_tools_is_rendered_without_loss(published: tuple[str, ChatTemplate]) -> None:
    name, template = published
    text = prompt(template, CHAT, TOOLS).text
    for words in (
        "be brief",
        "how is the weather",
        "get_weather",
        "Rome<|im_end|>",
        "1.25",
        "sunny there",
        "a sum of 9",
    ):
        assert words in text or words == DROPPED.get(name), (words, text)
    assert ("Where." in text) == (name not in SILENT_TOOLS)
    assert text.rindex("how is the weather") < text.rindex("Rome") < text.rindex("sunny there")
    assert "'city'" not in text  # Python's own spelling of arguments
    without = prompt(
        template, [*CHAT[:2], {"role": "assistant", "content": "fine"}, {"role": "user", "content": "and now"}]
    ).text
    assert "get_weather" not in without
    for words in ("be brief", "how is the weather", "fine", "and now"):
        assert words in without


def test_a_turn_is_begun_only_if_wanted(published: tuple[str, ChatTemplate]) -> None:
    name, template = published
    asked = [{"role": "user", "content": "how is the weather"}]
    with_turn, without = prompt(template, asked).text, prompt(template, asked, add_generation_prompt=False).text
    always = {
        "fireworks-ai-llama-3-firefunction-v2",
        "meta-llama-Llama-4",
        "mistral",
        "microsoft-Phi-3.5-mini-instruct",
    }
    assert with_turn.startswith(without) or name in always
    assert prompt(template, asked, chat_template_kwargs={"add_generation_prompt": False}).text == without


def test_an_answer_is_continued_right_behind_its_words(published: tuple[str, ChatTemplate]) -> None:
    _, template = published
    begun = prompt(template, [*CHAT[:2], {"role": "assistant", "content": "It is  warm, "}])
    assert begun.text.endswith("It is  warm, ")
    assert begun.given.endswith("It is  warm, ")
    assert "how is the weather" not in begun.given
    parser = detect(template).parser((), begun.text, given=begun.given)  # type: ignore[call-arg]
    assert read(parser, ["  and ", "dry."]) == ("", "  and dry.", [])


def test_a_thought_is_continued_as_a_thought(published: tuple[str, ChatTemplate]) -> None:
    name, template = published
    form = detect(template)
    if not getattr(form, "thoughts", ()):
        return
    begun = prompt(template, [*CHAT[:2], {"role": "assistant", "content": "", "reasoning_content": "I think"}])
    assert begun.text.rstrip().endswith("I think"), begun.text[-80:]
    close = form.thoughts[0][1]  # type: ignore[attr-defined]
    if FAMILIES[name] == "harmony":
        close += "<|start|>assistant<|channel|>final<|message|>"
    parser = form.parser((), begun.text, given=begun.given)  # type: ignore[call-arg]
    assert read(parser, [" so.", close, "Yes."]) == (" so.", "Yes.", [])


def test_thinking_is_turned_off_by_a_variable_or_by_closing_it(published: tuple[str, ChatTemplate]) -> None:
    _, template = published
    form = detect(template)
    off = render(form, [{"role": "user", "content": "hi"}], (), {"reasoning": "off"}).text
    said = "all\nwords" if off.endswith(">>>") else "words"
    assert read(form.parser((), off), [said]) == ("", "words", [])


def test_values_of_a_chat_never_form_the_template_s_special_tokens(published: tuple[str, ChatTemplate]) -> None:
    _, template = published
    specials = [s for s in template._specials if s not in ("<think>", "</think>")]
    counts = []
    for attack in ("q", " ".join(specials)):
        tool = {"type": "function", "function": {**TOOLS[0]["function"], "description": f"x {attack}"}}
        call = {"type": "function", "function": {"name": "get_weather", "arguments": json.dumps({"city": attack})}}
        messages = [
            {"role": "system", "content": f"s {attack}"},
            {"role": "user", "content": f"u {attack}"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": LONG_ID, **call}]},
            {"role": "tool", "tool_call_id": LONG_ID, "content": f"r {attack}"},
        ]
        pieces = template.render(messages, [tool])
        counts.append({s: sum(piece.text.count(s) for piece in pieces if piece.special) for s in specials})
    assert counts[0] == counts[1]


def test_capabilities_are_what_the_templates_show(shared: Path) -> None:
    def can(name: str) -> Capabilities:
        return ChatTemplate((shared / "templates" / f"{name}.jinja").read_text()).capabilities

    gemma, llama, gptoss = (
        can("google-gemma-2-2b-it"),
        can("meta-llama-Llama-3.1-8B-Instruct"),
        can("openai-gpt-oss-120b"),
    )
    assert (gemma.system, gemma.tools, gemma.calls, gemma.alternates) == (False, False, False, True)
    assert (llama.system, llama.tools, llama.calls, llama.parallel_calls) == (True, True, True, False)
    assert (gptoss.developer, gptoss.reasoning_field, gptoss.thought_and_words) == (True, "thinking", False)
    assert can("Mistral-Small-3.2-24B-Instruct-2506").short_ids
    assert not can("meetkai-functionary-medium-v3.2").object_arguments
    assert can("Qwen-Qwen3-0.6B").thinking_switch
    assert can("Qwen-Qwen3-0.6B").thinks_unasked
    assert not can("ibm-granite-granite-3.3-2B-Instruct").thinks_unasked
    assert can("google-gemma-2-2b-it").thinks_unasked  # it has no switch
    assert can("Qwen-Qwen3-0.6B").to_dict()["parallel_calls"] is True


def test_a_template_that_wants_parts_gets_them() -> None:
    source = "{% for m in messages %}{{ m.role }}:{% for p in m.content %}{{ p.text }}{% endfor %};{% endfor %}"
    template = ChatTemplate(source)
    assert template.capabilities.parts
    assert prompt(template, [{"role": "user", "content": "hi"}]).text == "user:hi;"


def test_a_slow_template_is_not_tried_a_dozen_times() -> None:
    slow = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    template = ChatTemplate(slow)
    with pytest.raises(TemplateError, match="over 1 s"):
        template.render([{"role": "user", "content": "x"}])
