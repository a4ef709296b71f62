"""Batches made ahead of their step, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

AHEAD = 4
"""Batches made ahead at most."""


class StepFeed(Generic[T]):
    """`make(step)` for step = first .. last - 1, one after the other: `with StepFeed(...) as feed: feed.next()`."""

    def __init__(self, make: Callable[[int], T], first: int, last: int) -> None:
        self.make, self.steps = make, range(first, last)
        self.made: queue.Queue[T | BaseException] = queue.Queue(AHEAD)
        self.left = threading.Event()
        self.thread = threading.Thread(target=self._run, name="batches", daemon=True)

    def __enter__(self) -> StepFeed[T]:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.left.set()
        while self.thread.is_alive():  # it may be waiting for room
            try:
                self.made.get(timeout=0.05)
            except queue.Empty:
                continue

    def next(self) -> T:
        """The next batch; raises what making it raised."""
        found = self.made.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def _run(self) -> None:
        try:
            for step in self.steps:
                if self.left.is_set():
                    return
                self.made.put(self.make(step))
        except BaseException as error:  # it is raised again where the batch is waited for
            self.made.put(error)
