"""`halflap serve` as an operator runs it: a process, its messages, its end."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from halflap_server import running
from halflap_server.command import command
from halflap_server.sources import Source

COMMAND = [str(Path(sys.executable).with_name("halflap")), "serve"]


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The process, and the line in which it says where it listens."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--json", "--log-jsonl", "-t", "1", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, process.communicate()
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()


def wait_ready(client: httpx.Client) -> None:
    while client.get("/health").status_code != 200:
        pass


def refused(*arguments: str) -> str:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_sigterm_lets_answers_end_and_refuses_new_ones() -> None:
    with serving("starter", "-c", "512") as (process, told):
        assert told["models"] == ["starter"]
        with httpx.Client(base_url=told["address"], timeout=60) as client:
            wait_ready(client)
            body = {"prompt": "The fox", "n_predict": 300, "ignore_eos": True, "stream": True}
            with client.stream("POST", "/completion", json=body) as response:
                lines = response.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                rest = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert rest[-1]["tokens_predicted"] == 300
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "Traceback" not in log


def test_the_log_is_json_and_says_nothing_of_prompts() -> None:
    with serving("starter", "-c", "512") as (process, told):
        with httpx.Client(base_url=told["address"], timeout=60) as client:
            wait_ready(client)
            chat = {"messages": [{"role": "user", "content": "A secret about a purple fox"}], "max_tokens": 4}
            number = client.post("/v1/chat/completions", json=chat, headers={"X-Request-Id": "mine-1"}).headers[
                "x-request-id"
            ]
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=60)
    assert number == "mine-1"
    assert "purple" not in log
    (line,) = [entry for entry in map(json.loads, log.splitlines()) if entry.get("request_id") == "mine-1"]
    assert (line["event"], line["status"], line["model"], line["generated_tokens"]) == ("http", 200, "starter", 4)


def test_prompts_are_logged_when_asked_for() -> None:
    with serving("starter", "-c", "512", "--log-prompts") as (process, told):
        with httpx.Client(base_url=told["address"], timeout=60) as client:
            wait_ready(client)
            client.post("/completion", json={"prompt": "A purple fox", "n_predict": 2})
        process.send_signal(signal.SIGTERM)
        assert "A purple fox" in process.communicate(timeout=60)[1]


def test_outside_loopback_a_key_is_needed(tmp_path: Path) -> None:
    assert "without an API key" in refused("starter", "--host", "0.0.0.0", "--port", "0")
    keys = tmp_path / "keys"
    keys.write_text("one\n\ntwo\n")
    with serving("starter", "--host", "0.0.0.0", "--api-key-file", str(keys), "--lazy") as (_, told):
        port = told["address"].rpartition(":")[2]
        assert httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code == 401
        assert httpx.get(f"http://127.0.0.1:{port}/v1/models", headers={"X-Api-Key": "two"}).status_code == 200
    with serving("starter", "--host", "0.0.0.0", "--no-key", "--lazy") as (_, told):
        port = told["address"].rpartition(":")[2]
        assert httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200


def test_a_unix_socket_and_a_prefix(tmp_path: Path) -> None:
    path = tmp_path / "halflap.sock"
    with serving("starter", "--uds", str(path), "--api-prefix", "/llm", "--lazy") as (_, told):
        assert told["address"] == f"unix:{path}"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as client:
            assert client.get("/llm/v1/models").json()["data"][0]["id"] == "starter"
            assert client.get("/v1/models").status_code == 404


def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    with serving("starter", "--ssl-key-file", str(key), "--ssl-cert-file", str(certificate), "--lazy") as (_, told):
        assert told["address"].startswith("https://")
        assert httpx.get(f"{told['address']}/live", verify=ssl.create_default_context(cafile=certificate)).json() == {
            "status": "ok"
        }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("nowhere.gguf",), "nowhere.gguf"),
     (("starter", "--ssl-key-file", "x"), "both"),
     (("--preset", "none.toml"), "none.toml"),
     (("starter", "starter"), "twice"),
     (("starter", "--slot-save-path", "nowhere"), "nowhere"),
     (("starter", "--api-key-file", "nowhere"), "nowhere"),
     (("starter", "--top-kk", "3"), "--top-kk"),
     (("starter", "-c", "99999999"), "ctx")],
)  # fmt: skip
def test_mistakes_are_one_line(arguments: tuple[str, ...], said: str) -> None:
    error = refused(*arguments, "--port", "0")
    assert said in error


def test_a_port_that_is_taken_is_named() -> None:
    with serving("starter", "--lazy") as (_, told):
        assert "address" in refused("starter", "--port", told["address"].rpartition(":")[2])


def test_the_folder_of_images_reaches_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Source] = []
    monkeypatch.setattr(running, "serve", lambda settings, sources, **_: found.extend(sources))
    done = CliRunner().invoke(command, ["starter", "--media-path", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    assert [source.loading["media_path"] for source in found] == [tmp_path]
