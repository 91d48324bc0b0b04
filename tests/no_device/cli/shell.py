"""The shell as its users meet it: commands in processes of their own."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from attrs import frozen

COMMAND = (sys.executable, "-c", "from halflap.cli import main; main()")


@frozen
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which must be one JSON document."""
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HALFLAP_") and k not in ("COLUMNS", "NO_COLOR")}
    return {**kept, "PYTHONIOENCODING": "utf-8", **more}


def halflap(*arguments: str | Path, stdin: str | bytes | None = None, **env: str) -> Outcome:
    """Run a command in a process of its own, forked off one that has imported what commands need (0.02 s, not 0.5)."""
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder, name)) for name in ("in", "out", "err")]
        Path(files[0]).write_bytes(stdin.encode() if isinstance(stdin, str) else stdin or b"")
        request = {"arguments": [*map(str, arguments)], "files": files, "environment": environment(**env)}
        _server().sendall(json.dumps(request).encode() + b"\n")
        code = int(_server().makefile().readline())
        out, err = (Path(name).read_bytes().decode("utf-8", "replace") for name in files[1:])
    return Outcome(code, out, err)


SERVER = """
import json, os, signal, socket, sys
import halflap.assembly, halflap.cli, halflap.cli.run, halflap.cli.plan, rich.table, tokenizers
control = socket.socket(fileno=int(sys.argv[1]))
for line in control.makefile():
    request = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(120)  # a command that hangs fails its test
        control.close()
        for number, (name, flags) in enumerate(zip(request["files"], (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2))):
            os.dup2(os.open(name, flags), number)
        sys.stdin = open(0, closefd=False)
        os.environ.clear()
        os.environ.update(request["environment"])
        halflap.cli.main(request["arguments"])
    status = os.waitpid(child, 0)[1]
    control.sendall(b"%d\\n" % os.waitstatus_to_exitcode(status))
"""


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment()
    )
    theirs.close()
    atexit.register(server.wait)
    atexit.register(ours.close)
    return ours


def mistake(*arguments: str | Path, code: int = 2, **more: Any) -> str:
    """Run a command that must fail: one line on stderr that reads `got X, want Y`, nothing on stdout."""
    done = halflap(*arguments, **more)
    assert done.code == code, done
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    return done.err
