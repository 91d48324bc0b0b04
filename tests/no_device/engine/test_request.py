from __future__ import annotations

import pytest

from halflap.engine.request import CHECKS, Request
from halflap.errors import InvalidRequestError
from halflap.sampling.chain import Use


def test_a_misspelt_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(InvalidRequestError, match="Did you mean 'temperature'") as raised:
        Request("x", options={"temprature": 1})
    assert raised.value.field == "temprature"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1), ("temperature", float("nan")), ("temperature", True), ("temperature", "hot"),
        ("top_p", 1.5), ("top_k", -1), ("top_k", 2.5), ("max_tokens", -1), ("seed", -1), ("stop", [1]),
        ("logit_bias", {-1: 2}), ("logit_bias", {1: float("nan")}), ("mirostat", 3), ("samplers", "top_k"),
        ("samplers", [1]), ("logprobs", 5000), ("timeout", -1), ("ignore_eos", 1),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidRequestError, match=f"'{name}'"):
        Request("x", options={name: value})


def test_good_values_pass() -> None:
    good = {
        "temperature": 0, "top_k": 0, "max_tokens": None, "stop": "x", "logit_bias": {5: -1.5}, "seed": 2**64 - 1,
        "samplers": ["top_k", Use("x", h=1)], "mirostat": 2, "timeout": 1.5, "logprobs": 0,
    }  # fmt: skip
    assert Request("x", options=good).options == good
    assert set(good) <= set(CHECKS)


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"prompt": "x", "messages": [{"role": "user"}]}, {"messages": []}, {"messages": "hello"},
        {"messages": [{"content": "x"}]}, {"prompt": "x", "tools": [{"type": "function"}]},
    ],
)  # fmt: skip
def test_a_request_that_is_no_request_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError):
        Request(**wrong)


def test_stop_strings_are_a_tuple_without_empty_ones() -> None:
    assert Request("x", options={"stop": ["a", ""]}).stops == ("a",)
    assert Request("x", options={"stop": "b"}).stops == ("b",)


def test_no_tools_are_an_empty_list_or_none() -> None:
    messages = [{"role": "user", "content": "x"}]
    assert Request(messages=messages, tools=None) == Request(messages=messages)


@pytest.mark.parametrize("wrong", [3, {"type": "function"}, ["get_weather"], "get_weather"])
def test_what_is_no_list_of_tools_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidRequestError, match="tools: got") as raised:
        Request(messages=[{"role": "user", "content": "x"}], tools=wrong)
    assert raised.value.field == "tools"
