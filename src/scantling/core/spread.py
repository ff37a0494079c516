"""Some of a stream, spread evenly over all of it, when nobody knows beforehand how long it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Spread(Generic[T]):
    """At most `most` (one or more) of what is added, spread evenly over all; at most twice as many are held at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._held = list[T]()
        self._seen, self._stride = 0, 1

    def add(self, one: T) -> None:
        """See the next one of the stream."""
        if self._seen % self._stride == 0:
            self._held.append(one)
            if len(self._held) == 2 * self.most:
                self._held, self._stride = self._held[::2], 2 * self._stride
        self._seen += 1

    def kept(self) -> list[T]:
        """Those that are left, in their order."""
        count = min(self.most, len(self._held))
        return [self._held[place * len(self._held) // count] for place in range(count)]


def evenly(stream: Iterable[T], most: int) -> list[T]:
    """At most `most` of a stream; see `Spread`."""
    found = Spread[T](most)
    for one in stream:
        found.add(one)
    return found.kept()
