"""What a call that waits must know of the process's end: once it is told to stop, nobody waits any longer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Drain:
    def __init__(self) -> None:
        self.begun = False
        self._waiting: set[Callable[[], None]] = set()

    def begin(self) -> None:
        """Wake all who wait. Called from a signal handler, hence on the event loop's thread."""
        self.begun = True
        for wake in list(self._waiting):
            wake()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        self._waiting.add(wake)
        try:
            yield
        finally:
            self._waiting.discard(wake)
