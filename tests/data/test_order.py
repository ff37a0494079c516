"""Orders: each case once an epoch, and as many samples of each kind as were asked for."""

from __future__ import annotations

from typing import Any

import pytest

from scantling.core.case import Case, Origin
from scantling.core.errors import DataError
from scantling.data.order import Order, Phases

CASES = [
    Case(
        id=f"case{n}",
        subject="s",
        pool="front" if n == 0 else "",
        origin=Origin(kind="synthetic" if n == 3 else "real"),
    )
    for n in range(4)
]


def positions(count: int, **changes: Any) -> list[int]:
    order = Order(CASES, 0, "stage", "stream", **changes)
    return [order.position(index) for index in range(count)]


def test_each_case_comes_once_an_epoch() -> None:
    drawn = positions(40)
    assert all(sorted(drawn[n : n + 4]) == [0, 1, 2, 3] for n in range(0, 40, 4))
    assert positions(8, sequential=True) == [0, 1, 2, 3, 0, 1, 2, 3]


def test_samples_come_in_the_shares_that_were_asked_for() -> None:
    shared = positions(1000, shares={"synthetic": 0.5})
    assert shared.count(3) == 500
    assert all(3 in shared[n : n + 2] for n in range(0, 1000, 2)), "evenly spread"
    real = [position for position in shared if position != 3]
    assert all(sorted(real[n : n + 3]) == [0, 1, 2] for n in range(0, 498, 3)), "each case once an epoch"


def test_several_shares_leave_the_rest_to_the_other_cases() -> None:
    shared = positions(2000, shares={"front": 0.125, "synthetic": 0.2})
    assert [shared.count(0), shared.count(3)] == [250, 400]
    for n in range(1, 2000):  # at no time more than one sample off
        assert abs(shared[:n].count(3) - 0.2 * n) <= 1
    assert 3 not in positions(100, shares={"real": 1.0})


def test_a_share_of_what_a_stream_does_not_have_changes_nothing() -> None:
    assert positions(100, shares={"another pool": 0.5}) == positions(100)


def test_shares_that_leave_no_case_are_a_sentence() -> None:
    with pytest.raises(DataError, match="the shares leave no case: all are of synthetic and real, of which"):
        Order(CASES[:0:-1], 0, shares={"real": 0.0, "synthetic": 0.0})


def in_phases(samples: int, first: str, **changes: Any) -> list[int]:
    order = Phases(CASES, 0, "stage", "stream", first=first, samples=samples, **changes)
    return [order.position(index) for index in range(samples)]


def test_all_samples_of_one_kind_come_first_in_proportion_to_its_cases() -> None:
    made_first = in_phases(40, "synthetic")
    assert made_first[:10] == [3] * 10, "one of four cases is made"
    rest = made_first[10:]
    assert all(sorted(rest[n : n + 3]) == [0, 1, 2] for n in range(0, 30, 3)), "each case once an epoch of its phase"
    assert [position == 3 for position in in_phases(40, "real")] == [False] * 30 + [True] * 10


def test_a_phase_takes_the_share_that_is_said_and_one_kind_has_one_phase() -> None:
    assert in_phases(40, "synthetic", shares={"synthetic": 0.5})[:21].count(3) == 20
    assert in_phases(40, "synthetic", shares={"real": 0.9})[:5].count(3) == 4
    alone = Phases(CASES[:3], 0, first="synthetic", samples=9)
    assert sorted(alone.position(index) for index in range(3)) == [0, 1, 2]
    assert Phases(CASES[3:], 0, first="synthetic", samples=9).position(8) == 0
