"""Simulated processes: what one of them raises is raised, and the others do not wait for it."""

from __future__ import annotations

import time

import pytest
import torch

from scantling.testing.processes import together
from scantling.training.processes import Processes


def test_a_process_that_fails_alone_is_not_waited_for() -> None:
    def work(group: Processes) -> None:
        if group.rank == 1:
            raise ValueError("the second one")
        group.sum(torch.ones(1))

    begun = time.monotonic()
    with pytest.raises(ValueError, match="the second one"):
        together(2, work)
    assert time.monotonic() - begun < 60


def test_processes_see_the_values_of_all_in_the_order_of_their_ranks() -> None:
    seen = []
    together(3, lambda group: seen.append(group.all(group.rank) + group.all(-group.rank)))
    assert seen == [[0, 1, 2, 0, -1, -2]] * 3
