"""Several processes of one training, simulated by threads of one interpreter that take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scantling.training.processes import Processes

PATIENCE = 120.0
"""Seconds that a process waits for the others."""


class Meeting:
    """Where the processes exchange values; one of them runs at a time, as torch's random numbers are common to all."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.turn = threading.Lock()
        self.arrived = threading.Condition()
        self.values: dict[int, Any] = {}
        self.results: list[Any] = []
        self.round = 0
        self.left = False

    def leave(self) -> None:
        """Tell the others that one has failed, for whom they would wait in vain."""
        with self.arrived:
            self.left = True
            self.arrived.notify_all()

    def exchange(self, rank: int, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        random = torch.get_rng_state()
        self.turn.release()
        try:
            with self.arrived:
                self.values[rank], own = value, self.round
                if len(self.values) == self.count:
                    self.results = [self.values[each] for each in range(self.count)]
                    self.values, self.round = {}, own + 1
                    self.arrived.notify_all()
                elif not self.arrived.wait_for(lambda: self.round > own or self.left, PATIENCE) or self.round == own:
                    raise TimeoutError(f"process {rank} waited for the others in vain")
                return self.results
        finally:
            self.turn.acquire()
            torch.set_rng_state(random)


@dataclass(frozen=True)
class Simulated(Processes):
    """One process among several that are threads."""

    meeting: Meeting = field(default_factory=lambda: Meeting(1))

    def sum(self, tensor: Tensor) -> Tensor:
        return torch.stack(self.meeting.exchange(self.rank, tensor.detach())).sum(0)

    def from_first(self, tensor: Tensor) -> Tensor:
        first: Tensor = self.meeting.exchange(self.rank, tensor.detach().clone())[0]
        return first

    def gather(self, tensor: Tensor) -> Tensor:
        return torch.cat(self.meeting.exchange(self.rank, tensor.detach().clone()))

    def all(self, value: Any) -> list[Any]:
        return list(self.meeting.exchange(self.rank, value))


def together(count: int, work: Callable[[Processes], object]) -> None:
    """Run `work` in `count` processes and raise what the first of them to fail has raised."""
    meeting, failed = Meeting(count), list[BaseException]()

    def one(rank: int) -> None:
        with meeting.turn:
            try:
                work(Simulated(rank, count, count, meeting))
            except BaseException as error:  # a thread has nobody else to tell
                failed.append(error)
                meeting.leave()

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


@contextmanager
def as_processes(group: Processes) -> Iterator[Processes]:
    """What stands for `processes` in a training that is to be one of several."""
    yield group
