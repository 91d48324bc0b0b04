"""Streaming clients for the server's bars, on plain sockets so that the server is what is measured; and servers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

from attrs import define, field


@define
class Answer:
    """One answer as its client saw it: seconds of its request and of each chunk with words, and how many there were."""

    began: float
    chunks: list[float] = field(factory=list)
    tokens: int = 0
    error: str = ""

    @property
    def first(self) -> float:
        return self.chunks[0] - self.began


async def ask(port: int, body: dict[str, Any], path: str = "/v1/completions") -> Answer:
    """One streamed completion; the number of its tokens is what the last chunks say, or one for each chunk."""
    data = json.dumps({**body, "stream": True}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = Answer(time.perf_counter())
    try:
        writer.write(head.encode() + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        status = await reader.readline()
        if b" 200 " not in status:
            found.error = (await reader.read()).decode("utf-8", "replace")[-300:]
            return found
        ended = False
        while line := await reader.readline():
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                ended = True
            elif b'"error"' in line:
                found.error = line.decode("utf-8", "replace")
            elif b'"text":""' in line or b'"text": ""' in line:
                if b'"predicted_n":' in line:
                    found.tokens = int(line.split(b'"predicted_n":')[1].split(b",")[0])
            else:
                found.chunks.append(time.perf_counter())
        if not ended and not found.error:
            found.error = "the stream broke off"
        found.tokens = found.tokens or len(found.chunks)
        return found
    except OSError as error:
        found.error = str(error)
        return found
    finally:
        writer.close()


def together(port: int, bodies: Sequence[dict[str, Any]]) -> tuple[float, list[Answer]]:
    """All at once; seconds until the last ended."""

    async def main() -> list[Answer]:
        return await asyncio.gather(*(ask(port, body) for body in bodies))

    began = time.perf_counter()
    answers = asyncio.run(main())
    return time.perf_counter() - began, answers


@contextmanager
def served(*arguments: str) -> Iterator[tuple[int, int]]:
    """`halflap serve` with these arguments, ready: (port, process id)."""
    command = [sys.executable, "-c", "from halflap.cli import main; main()", "serve", "--port", "0", "--json"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        port = int(json.loads(process.stdout.readline())["address"].rpartition(":")[2])
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


def wait_for(url: str, process: subprocess.Popen[str]) -> None:
    """Until the page is there."""
    while process.poll() is None:
        try:
            urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"the server ended with {process.returncode}")


def resident(pid: int) -> int:
    """Bytes of a process's own memory: neither files nor what they map."""
    with open(f"/proc/{pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return 1024 * int(fields["RssAnon"].split()[0])
