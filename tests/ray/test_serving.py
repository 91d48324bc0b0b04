"""The server over replicas on two nodes: the same answers as in one process, whatever becomes of a replica."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import halflap
from halflap import Model
from halflap.errors import EngineError, InvalidRequestError
from halflap_server.settings import Settings

GREEDY = {"temperature": 0, "max_tokens": 24}
LOADING: dict[str, Any] = {"ctx": 512, "threads": 1}
SETTINGS = Settings(host="0.0.0.0", page=False)
NO_CPU: dict[str, Any] = {"settings": SETTINGS, "actor": {"num_cpus": 0}}
"""Room beside the two replicas, as Ray counts it."""
LONG: dict[str, Any] = {"max_tokens": 100, "ignore_eos": True, "temperature": 0.8, "repeat_penalty": 1.1}


def replicas() -> list[Any]:
    """Actors of the replicas that are alive."""
    import ray
    from ray.util import list_named_actors

    names = [actor["name"] for actor in list_named_actors(all_namespaces=True) if "#Replica#" in actor["name"]]
    return [ray.get_actor(name, namespace="serve") for name in names]


@pytest.fixture(scope="module")
def here() -> Iterator[Model]:
    """The undisturbed run."""
    with halflap.load("starter", **LOADING) as model:
        yield model


@pytest.fixture(scope="module")
def model(cluster: str) -> Iterator[Model]:
    """Two replicas, each of which takes all of a node."""
    import halflap_ray

    with halflap_ray.deploy("starter", replicas=2, settings=SETTINGS, actor={"num_cpus": 2}, **LOADING) as found:
        yield found


def chat(client: httpx.Client, messages: list[dict[str, str]], **options: Any) -> dict[str, Any]:
    answer = client.post("/v1/chat/completions", json={"messages": messages, **GREEDY, **options})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_routes_answer_as_in_one_process(model: Model, here: Model, client: httpx.Client) -> None:
    assert len(replicas()) == 2
    for question in ("Hi", "What is 12+30?", "Tell me a story."):
        messages = [{"role": "user", "content": question}]
        wanted = here.chat(messages, **GREEDY)
        found = chat(client, messages)
        assert found["choices"][0]["message"]["content"] == wanted.text
        assert found["usage"]["completion_tokens"] == wanted.usage.completion_tokens
        body = {"messages": messages, **GREEDY, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: {")]
        assert len(lines) > 3
        deltas = [choice["delta"] for line in lines for choice in json.loads(line)["choices"]]
        assert "".join(delta.get("content") or "" for delta in deltas) == wanted.text
        assert [token.id for token in model.chat(messages, **GREEDY).tokens] == [token.id for token in wanted.tokens]
    assert client.post("/tokenize", json={"content": "a b"}).json()["tokens"] == here.tokenize("a b", add_special=False)
    assert client.get("/v1/models").json()["data"][0]["id"] == "starter"


def test_what_is_wrong_with_a_request_is_told(model: Model, client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "a"}], "top_k": "x"})
    assert answer.status_code == 400
    with pytest.raises(InvalidRequestError, match="temprature"):
        model.stream("x", temprature=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidRequestError, match="token id"):
        model.generate([99999])


def test_health_and_metrics_are_of_all_replicas(model: Model, client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
    assert client.get("/-/healthz").status_code == 200
    before = model.metrics.generated_tokens
    for i in range(6):
        model.generate([5 + i], max_tokens=7, ignore_eos=True)
    assert model.metrics.generated_tokens == before + 42
    assert "halflap_generated_tokens_total" in client.get("/metrics").text


def test_the_next_turn_of_a_chat_goes_where_the_last_one_was_computed(model: Model, client: httpx.Client) -> None:
    for i in range(6):
        messages = [{"role": "user", "content": f"{i}: " + f"tell me about the number {i}, please. " * 4}]
        last = 0
        for turn in range(3):
            found = chat(client, messages)
            cached = found["usage"]["prompt_tokens_details"]["cached_tokens"]
            if turn:
                assert cached >= last // 32 * 32 > 0, (i, turn)
            last = found["usage"]["prompt_tokens"]
            messages += [found["choices"][0]["message"], {"role": "user", "content": "And then?"}]


def test_a_client_that_leaves_ends_its_answer(model: Model) -> None:
    stream = model.stream([5, 6], max_tokens=400, ignore_eos=True)
    for event in stream:
        if isinstance(event, halflap.Text):
            break
    stream.cancel()
    assert stream.result().finish_reason == "cancelled"
    for _ in range(1000):
        if not model.metrics.running:
            break
    assert model.metrics.running == 0
    assert model.metrics.finished.get("cancelled")


def test_a_killed_replica_fails_no_accepted_request(model: Model, here: Model, client: httpx.Client) -> None:
    import ray

    prompts = [[5, 6, i] for i in range(24)]
    wanted = [[t.id for t in here.generate(ids, seed=i, **LONG).tokens] for i, ids in enumerate(prompts)]

    def ask(i: int) -> list[int]:
        """Half of them from Python, half over HTTP, some streamed."""
        body = {"prompt": prompts[i], "seed": i, **LONG}
        if i % 2:
            return [t.id for t in model.generate(prompts[i], seed=i, **LONG).tokens]
        body |= {"return_tokens": True, "n_predict": LONG["max_tokens"], "stream": i % 4 == 0}
        if not body["stream"]:
            answer = client.post("/completion", json=body)
            assert answer.status_code == 200, answer.text
            return list(answer.json()["tokens"])
        with client.stream("POST", "/completion", json=body) as response:
            lines = [json.loads(x.removeprefix("data: ")) for x in response.iter_lines() if x.startswith("data: {")]
        return [token for line in lines if not line["stop"] for token in line["tokens"]]

    before = Counter(model.metrics.finished)
    watched = model.stream([9, 9], **{**LONG, "max_tokens": 60})
    with ThreadPoolExecutor(24) as threads:
        answers = [threads.submit(ask, i) for i in range(24)]
        next(event for event in watched if isinstance(event, halflap.Text))
        for _ in range(1000):
            if (metrics := model.metrics).running + metrics.waiting >= 20:
                break
        assert metrics.running + metrics.waiting >= 20
        ray.kill(replicas()[0], no_restart=True)
        found = [answer.result() for answer in answers]
    assert found == wanted
    assert watched.result().finish_reason == "length"
    assert Counter(model.metrics.finished)["length"] < before["length"] + 25  # what the dead one counted is gone
    while len(replicas()) < 2:  # Serve starts another
        model.generate([5], max_tokens=1)
    assert chat(client, [{"role": "user", "content": "Hi"}])["usage"]["completion_tokens"]


def test_a_model_that_no_replica_can_load_is_one_error(cluster: str) -> None:
    import halflap_ray

    with pytest.raises(EngineError, match=r"ModelNotFoundError.*no such file"):
        halflap_ray.deploy("/nowhere/none.gguf", application="wrong", route_prefix="/wrong", **NO_CPU)


def test_load_makes_replicas_grow(cluster: str, model: Model) -> None:
    from ray import serve

    import halflap_ray

    serve.delete("halflap")
    growing = {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 2, "upscale_delay_s": 0.5,
               "metrics_interval_s": 0.2, "look_back_period_s": 1.0}  # fmt: skip
    with halflap_ray.deploy("starter", autoscale=growing, application="growing", **NO_CPU, **LOADING) as found:
        assert len(replicas()) == 1
        with ThreadPoolExecutor(8) as threads:

            def ask(i: int) -> None:
                while len(replicas()) < 2:
                    found.generate([5, i], **LONG)

            for answer in [threads.submit(ask, i) for i in range(8)]:
                answer.result()
        assert len(replicas()) == 2
    serve.delete("growing")


def test_the_arguments_of_the_command_line_make_the_same_application(cluster: str) -> None:
    from ray import serve

    import halflap_ray
    from halflap_ray.application import Arguments

    given = {"model": "starter", "most": "2", "ctx": "256", "threads": "1", "cpus": "0", "keys": "abc, def"}
    serve.run(halflap_ray.app(Arguments.model_validate(given)), name="command", route_prefix="/")
    with httpx.Client(base_url=cluster, timeout=300) as client:
        assert client.post("/v1/completions", json={"prompt": "a"}).status_code == 401
        keyed = {"authorization": "Bearer def"}
        answer = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 3}, headers=keyed)
        assert answer.json()["usage"]["completion_tokens"] <= 3
        assert client.get("/").status_code == 200
    serve.delete("command")
