"""SIGTERM and SIGINT: a training that is asked to stop saves first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[dict[str, str]]:
    """SIGTERM and SIGINT ask the training to save and stop, for the length of the block."""
    stopping: dict[str, str] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        if stopping:  # asked twice: somebody means it
            raise KeyboardInterrupt
        stopping["signal"] = signal.Signals(number).name

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread, which alone hears signals
        yield stopping
        return
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
