"""A pseudo-terminal with a command in it: type, and wait for what must appear."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from types import TracebackType

from tests.no_device.cli.shell import COMMAND, environment

DEADLINE = 60.0


class Terminal:
    """Everything waits for words on the screen, never for time to pass."""

    def __init__(self, *arguments: str) -> None:
        self._screen, command_side = pty.openpty()
        self._process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=command_side,
            stdout=command_side,
            stderr=command_side,
            start_new_session=True,
            preexec_fn=_own_terminal,
            env=environment(TERM="dumb", COLUMNS="80"),
        )
        os.close(command_side)
        self._seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        os.close(self._screen)

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def wait_for(self, pattern: str) -> str:
        """Everything up to the pattern's first appearance after the last one waited for."""
        end = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self._seen)):
            assert self._read(end), f"no {pattern!r} in {self._seen!r}"
        before, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return before

    def ask(self, line: str) -> str:
        """Type a line at the prompt; what is printed until the next prompt."""
        self.type(line + "\n")
        return self.wait_for(r"\n> ")

    def code(self) -> int:
        """The exit code, once it has left by itself."""
        end = time.monotonic() + DEADLINE
        while self._read(end):
            pass
        return self._process.wait(DEADLINE)

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._screen], [], [], max(end - time.monotonic(), 0))
        assert ready, f"the terminal stays silent after {self._seen!r}"
        try:
            got = os.read(self._screen, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self._seen += got.decode("utf-8", "replace").replace("\r", "")
        return bool(got)


def _own_terminal() -> None:
    import fcntl
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job's children would ignore it
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C typed here is a signal there
