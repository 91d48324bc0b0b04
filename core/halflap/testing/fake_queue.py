"""The fake device's thread: jobs run in call order, each after a short wait that nobody outside can predict."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable

Job = Callable[[], None]


class Queue:
    """Runs jobs one by one on a thread of its own.

    Args:
        delay: most seconds before a job starts; the wait is drawn from `rng` and ends early at `close`.
    """

    def __init__(self, name: str, rng: random.Random, delay: float) -> None:
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._held = self._closing = False
        self._rng, self._delay, self._name = rng, delay, name
        self._thread: threading.Thread | None = None

    def put(self, job: Job) -> None:
        """Queue a job; the thread starts with the first."""
        with self._changed:
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def hold(self) -> None:
        with self._changed:
            self._held = True

    def release(self) -> None:
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def close(self) -> None:
        """Run what is left without further waits and end the thread."""
        with self._changed:
            self._closing, self._held = True, False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or (self._jobs and not self._held))
                if not self._jobs:
                    return
                wait = self._rng.uniform(0, self._delay)
                self._changed.wait_for(lambda: self._closing, timeout=wait)
                if self._held:
                    continue
                job = self._jobs.popleft()
            job()
