"""Several models: loading when asked, making room, pins, sleep, replacement."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import halflap
from halflap.errors import InvalidRequestError, ModelFormatError, ModelNotFoundError
from halflap_server.sources import Source, checked, named, preset
from tests.plugins.server.kit import GREEDY, Running, running, starter

ASK = {"prompt": "The fox", **GREEDY}
BASE = Source("", "")


def states(server: Running) -> dict[str, str]:
    return {one["id"]: one["status"]["value"] for one in server.get("/v1/models").json()["data"]}


def plan_bytes() -> int:
    plan = halflap.plan("starter", ctx=512, threads=1)
    return sum(sum(p.weights.values()) + p.state + p.scratch for p in plan.placed)


def test_the_longest_unused_model_makes_room() -> None:
    sources = [starter(name, at_start=False, pinned=name == "a") for name in ("a", "b", "c")]
    with running(*sources, budget=int(2.5 * plan_bytes())) as server:
        assert set(states(server).values()) == {"unloaded"}
        for name in ("a", "b", "c"):
            assert server.post("/completion", {"model": name, **ASK}).json()["model"] == name
        assert states(server) == {"a": "loaded", "b": "unloaded", "c": "loaded"}
        assert server.post("/models/unload", {"model": "c"}).json() == {"success": True}
        assert server.post("/models/load", {"model": "b"}).json() == {"success": True}
        assert states(server) == {"a": "loaded", "b": "loaded", "c": "unloaded"}


def test_a_model_that_can_never_fit_is_refused() -> None:
    with running(starter(at_start=False), budget=1000) as server:
        response = server.post("/completion", ASK)
        assert response.status_code == 503
        assert "1,000" in response.json()["error"]["message"]


def test_a_model_of_many_waits_for_a_busy_one() -> None:
    with running(starter("a", at_start=False), starter("b", at_start=False), most=1) as server:
        told: list[str] = []

        def ask(name: str, count: int) -> None:
            body = {"model": name, "prompt": "The fox", "n_predict": count, "ignore_eos": True, "temperature": 0}
            told.append(server.post("/completion", body).json()["model"])

        threads = [threading.Thread(target=ask, args=(name, 120)) for name in ("a", "b", "a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(told) == ["a", "a", "b", "b"]
        assert sorted(states(server).values()) == ["loaded", "unloaded"]


def test_an_idle_model_sleeps_and_wakes() -> None:
    with running(starter(sleep_seconds=0.2)) as server:
        first = server.post("/completion", ASK).json()["content"]
        end = time.monotonic() + 30
        while states(server)["starter"] != "sleeping" and time.monotonic() < end:
            pass
        assert states(server)["starter"] == "sleeping"
        assert server.post("/completion", ASK).json()["content"] == first


def test_a_model_is_replaced_without_a_failed_request() -> None:
    with running(starter()) as server:
        before = server.pool.entries["starter"].served
        failed: list[int] = []
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                response = server.post("/completion", {**ASK, "n_predict": 40})
                failed.append(response.status_code != 200)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            assert server.post("/models/load", {"model": "starter", "reload": True}).json() == {"success": True}
        done.set()
        for thread in threads:
            thread.join()
        assert len(failed) > 3
        assert not any(failed)
        assert server.pool.entries["starter"].served is not before


def test_a_model_that_fails_says_why_and_others_go_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 40)
    with running(starter(), Source("broken", str(broken), at_start=True)) as server:
        assert states(server) == {"starter": "loaded", "broken": "failed"}
        assert server.post("/completion", {"model": "broken", **ASK}).status_code == 422
        assert server.post("/completion", {"model": "starter", **ASK}).status_code == 200
        assert server.post("/completion", {"model": "neither", **ASK}).status_code == 404


def test_a_folder_gives_a_model_for_each_file(tmp_path: Path) -> None:
    for name in ("one.gguf", "sub/two-00001-of-00002.gguf", "sub/two-00002-of-00002.gguf", "mmproj-one.gguf"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert [source.name for source in named([str(tmp_path)], BASE)] == ["one", "two-00001-of-00002"]
    with pytest.raises(ModelNotFoundError, match="gguf"):
        named([str(tmp_path.joinpath("empty").mkdir() or tmp_path / "empty")], BASE)


PRESET = """
[defaults]
ctx = 512
sampling = { temperature = 0 }

[models.small]
path = "starter"
aliases = ["gpt-4o-mini"]
pinned = true

[models.other]
path = "starter"
ctx = 256
at_start = true
"""


def test_a_preset_names_models_and_what_they_share(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(PRESET)
    small, other = preset(file, BASE)
    assert (small.path, small.aliases, small.pinned, dict(small.loading)) == (
        "starter",
        ("gpt-4o-mini",),
        True,
        {"ctx": 512},
    )
    assert (other.at_start, dict(other.loading), dict(other.sampling)) == (True, {"ctx": 256}, {"temperature": 0})


@pytest.mark.parametrize(
    ("text", "named"),
    [("[", "TOML"), ("[defaults]\nctx = 1", "models"), ("[models.a]\nctxx = 3", "models.a.ctxx"),
     ("[models.a]\naliases = 3", "models.a.aliases"), ("[model.a]\nctx = 3", "model")],
)  # fmt: skip
def test_a_preset_that_is_wrong_names_the_key(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "models.toml"
    file.write_text(text)
    with pytest.raises(ModelFormatError, match=named):
        preset(file, BASE)


def test_names_are_given_once() -> None:
    with pytest.raises(InvalidRequestError, match="twice"):
        checked([starter("a"), starter("b", aliases=("a",))])
