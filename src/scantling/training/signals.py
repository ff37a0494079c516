"""SIGTERM, SIGINT and the end of the program: a training that is asked to stop saves first."""

from __future__ import annotations

import atexit
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

PROGRAM_ENDS = "the end of the program"


@dataclass
class Stopping:
    """Whether a training is to save and stop, and what asks for it."""

    by: str = ""

    def ask(self, by: str) -> None:
        """Stop, unless `by` is empty; the first that asks is remembered."""
        self.by = self.by or by


@contextmanager
def stop_signals() -> Iterator[Stopping]:
    """SIGTERM and SIGINT ask the training to save and stop, for the length of the block.

    Only the main thread hears signals; in another one the end of the program asks the same, and waits for it.
    """
    stopping = Stopping()

    def ask(number: int, frame: FrameType | None) -> None:
        if stopping.by:  # asked twice: somebody means it
            raise KeyboardInterrupt
        stopping.ask(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        saved = threading.Event()

        def end() -> None:
            stopping.ask(PROGRAM_ENDS)
            saved.wait()

        atexit.register(end)
        try:
            yield stopping
        finally:
            saved.set()
            atexit.unregister(end)
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set by Python


def program_ends() -> str:
    """`PROGRAM_ENDS` where the main thread has ended, after Ctrl-C or by itself, and only waits for other threads."""
    return "" if threading.main_thread().is_alive() else PROGRAM_ENDS
