"""Batches ahead of time: a thread makes those of the next step while the current one is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Self

from scantling.core.errors import DataError
from scantling.core.samples import Batch
from scantling.data.reader import Reader


class Prefetcher:
    """Makes the batches of the next step while the current one is computed; close it, or use it in a `with` block.

    Args:
        readers: by stream; a step leaves out the streams that it draws and that are not here (`Stream.optional`).
        draws: see `Stage.draws`.
        slots: the parts of the batch that this process computes.
        total: the parts of the batch.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        draws: Callable[[int], Sequence[str]] | None,
        slots: Sequence[int],
        total: int,
    ) -> None:
        self._readers, self._draws, self._slots, self._total = readers, draws, slots, total
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetcher")
        self._ahead: tuple[int, Future[list[dict[str, Batch]]]] | None = None

    def batches(self, step: int, *, last: bool = False) -> list[dict[str, Batch]]:
        """The batches of a step by stream, one dictionary for each of this process's slots."""
        ahead = self._ahead
        batches = ahead[1].result() if ahead is not None and ahead[0] == step else self._make(step)
        self._ahead = None
        if not last:
            with suppress(RuntimeError):  # the program ends, and lets no thread begin anything
                self._ahead = step + 1, self._pool.submit(self._make, step + 1)
        return batches

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop making batches."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, step: int) -> list[dict[str, Batch]]:
        names = self._draws(step) if self._draws is not None else list(self._readers)
        readers = {name: self._readers[name] for name in names if name in self._readers}
        if not readers:
            raise DataError(
                f"step {step} draws from {', '.join(names) or 'no stream'}, to which no training case belongs; add "
                "cases"
            )
        return [
            {name: reader.batch(step, slot=slot, slots=self._total) for name, reader in readers.items()}
            for slot in self._slots
        ]
