"""Items of a job: each is done or failed and never both, and the list of a job is known again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from scantling.core.errors import FileError
from scantling.inference.runner import Job, work_through


@dataclass(frozen=True)
class Item:
    id: str


ITEMS = [Item("a"), Item("b")]


def test_an_item_that_was_done_and_can_no_longer_be_read_is_listed_once(tmp_path: Path) -> None:
    def unreadable(item: Item) -> str:
        if item.id == "a":
            raise FileError(Path("a.png"), "cannot be read")
        return "same"

    job = Job(out=tmp_path, header={})
    work_through(job, ITEMS, lambda item: {"id": item.id}, content=lambda item: "same")
    done = work_through(job, ITEMS, lambda item: {"id": item.id}, content=unreadable)
    assert [case["id"] for case in done.cases] == ["b"]
    assert [case["id"] for case in done.failed] == ["a"]
    assert done.skipped == 1


def test_a_changed_item_is_done_again_and_counts_as_done_now(tmp_path: Path) -> None:
    job = Job(out=tmp_path, header={})
    work_through(job, ITEMS, lambda item: {"id": item.id}, content=lambda item: "before")
    now = {"a": "after", "b": "before"}
    done = work_through(job, ITEMS, lambda item: {"id": item.id, "again": True}, content=lambda item: now[item.id])
    assert {case["id"]: case.get("again", False) for case in done.cases} == {"a": True, "b": False}
    assert done.skipped == 1


def test_options_of_several_values_are_the_same_after_they_were_written(tmp_path: Path) -> None:
    job = Job(out=tmp_path, header={"options": {"sizes": ((1, 2), (3, 4)), "at": (0.5,), "file": Path("a/b")}})
    work_through(job, ITEMS, lambda item: {"id": item.id})
    assert work_through(job, ITEMS, lambda item: {"id": item.id}).skipped == 2


def test_what_is_done_before_ctrl_c_is_not_done_again(tmp_path: Path) -> None:
    def interrupted(done: int, total: int, id: str) -> None:
        raise KeyboardInterrupt

    job = Job(out=tmp_path, header={})
    with pytest.raises(KeyboardInterrupt):
        work_through(job, ITEMS, lambda item: {"id": item.id}, progress=interrupted)
    assert work_through(job, ITEMS, lambda item: {"id": item.id}).skipped == 1
