"""`hf:` names against a stand-in of the hub's HTTP API: choice of a file, resuming, checksums, offline."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="needs huggingface_hub: uv run --with huggingface_hub pytest -m clients")
pytestmark = pytest.mark.clients

COMMIT = "1" * 40
CODE = "import sys; from halflap_server.hub import path; print(path(sys.argv[1]))"


class Hub(ThreadingHTTPServer):
    """One repository, acme/fox.

    Attributes:
        files: name -> content.
        asked: (method, path, Range) of every request.
        breaks: how often a download is to end in the middle.
        lies: tell another checksum.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.breaks, self.lies = 0, False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range")))
        if path.startswith("/api/models/acme/fox"):
            listed = [{"type": "file", "path": n, "size": len(c), "oid": "2" * 40} for n, c in hub.files.items()]
            info = {"id": "acme/fox", "sha": COMMIT, "siblings": [{"rfilename": n} for n in hub.files]}
            self.send(
                200,
                json.dumps(listed if "/tree/" in path else info).encode(),
                {"Content-Type": "application/json"},
                body,
            )
        elif path.startswith("/acme/fox/resolve/") and (name := path.split("/", 5)[5]) in hub.files:
            content = hub.files[name]
            digest = hashlib.sha256(content + (b"!" if hub.lies else b"")).hexdigest()
            facts = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{digest}"',
                     "X-Linked-Size": str(len(content)), "Accept-Ranges": "bytes"}  # fmt: skip
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            self.send(206 if start else 200, content[start:], facts, body)
        else:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)

    def send(self, status: int, content: bytes, facts: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in facts.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        if self.server.breaks and "ETag" in facts:
            self.server.breaks -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            self.wfile.write(content)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()


def fetch(hub: Hub, cache: Path, wish: str, **environment: str) -> subprocess.CompletedProcess[str]:
    told = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", CODE, wish],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **told, **environment},
    )


NAMES = ("fox-Q8_0.gguf", "fox-Q4_K_M.gguf", "fox-IQ2_XXS.gguf", "mmproj-fox-f16.gguf", "README.md")


@pytest.mark.parametrize(("wish", "name"), [("acme/fox", "fox-Q4_K_M.gguf"), ("acme/fox:q8_0", "fox-Q8_0.gguf")])
def test_the_wished_file_is_fetched_once(hub: Hub, tmp_path: Path, wish: str, name: str) -> None:
    hub.files = {each: each.encode() * 1000 for each in NAMES}
    first = fetch(hub, tmp_path, wish)
    assert first.returncode == 0, first.stderr
    assert Path(first.stdout.strip()).read_bytes() == hub.files[name]
    hub.asked.clear()
    assert fetch(hub, tmp_path, wish).stdout == first.stdout
    assert not any(method == "GET" and "/resolve/" in path for method, path, _ in hub.asked)
    hub.asked.clear()
    assert fetch(hub, tmp_path, wish, HF_HUB_OFFLINE="1").stdout == first.stdout
    assert not hub.asked


def test_a_model_in_parts_is_fetched_whole(hub: Hub, tmp_path: Path) -> None:
    hub.files = {f"fox-Q4_K_M-0000{i}-of-00002.gguf": bytes([i]) * 100 for i in (1, 2)}
    first = Path(fetch(hub, tmp_path, "acme/fox").stdout.strip())
    assert first.name.endswith("00001-of-00002.gguf")
    assert first.with_name("fox-Q4_K_M-00002-of-00002.gguf").read_bytes() == bytes([2]) * 100


def test_a_download_that_broke_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"fox-Q4_K_M.gguf": os.urandom(48 << 20)}  # the library writes pieces of 10 MB
    hub.breaks = 1
    done = fetch(hub, tmp_path, "acme/fox")
    if done.returncode:  # the library gave up: the next attempt finds what had come
        done = fetch(hub, tmp_path, "acme/fox")
    assert Path(done.stdout.strip()).read_bytes() == hub.files["fox-Q4_K_M.gguf"]
    ranges = [asked for method, path, asked in hub.asked if method == "GET" and "/resolve/" in path and asked]
    assert ranges
    assert ranges[-1] != "bytes=0-"


def test_another_file_than_promised_is_refused_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.files, hub.lies = {"fox-Q4_K_M.gguf": b"x" * 1000}, True
    refused = fetch(hub, tmp_path, "acme/fox")
    assert "ModelFormatError" in refused.stderr
    assert "SHA-256" in refused.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size == 1000]
    hub.lies = False
    assert fetch(hub, tmp_path, "acme/fox").returncode == 0


@pytest.mark.parametrize(
    ("wish", "said"),
    [("acme/fox:Q5_K_S", "Q5_K_S"), ("acme/wolf", "acme/wolf"), ("acme", "org/repo"), ("../../etc/passwd", "org/repo")],
)
def test_what_is_not_there_is_named(hub: Hub, tmp_path: Path, wish: str, said: str) -> None:
    hub.files = {"fox-Q4_K_M.gguf": b"x"}
    refused = fetch(hub, tmp_path, wish)
    assert refused.returncode
    assert said in refused.stderr.splitlines()[-1]
