"""Progress on stderr: only on a terminal, only of what has taken a while already, gone when it is over."""

from __future__ import annotations

import threading
from types import TracebackType

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from halflap.cli import common

PATIENCE = 0.5
"""Seconds before anything is shown."""


class Waiting:
    """A bar with a few words, or a spinner while the total is unknown.

    Args:
        what: the words, such as "loading starter".
        total: steps in all; None: unknown.
    """

    def __init__(self, what: str, total: float | None = None) -> None:
        columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()]
        self._progress = Progress(*columns, console=common.notes(), transient=True)
        self._task = self._progress.add_task(what, total=total)
        self._lock, self._over = threading.Lock(), not self._progress.console.is_terminal
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Waiting:
        if not self._over:
            self._timer.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.end()

    def update(self, done: float, total: float | None = None) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def advance(self) -> None:
        self._progress.advance(self._task)

    def end(self) -> None:
        """Take it away. Idempotent; after it nothing is shown any more."""
        self._timer.cancel()
        with self._lock:
            self._over = True
            if self._progress.live.is_started:
                self._progress.stop()

    def _show(self) -> None:
        with self._lock:
            if not self._over:
                self._progress.start()
