"""Public functions speak of arguments, and leave torch as they found it."""

from __future__ import annotations

import inspect
import random
import threading

import numpy as np
import pytest
import torch

import scantling
from scantling.api.calls import in_python, public, unchanged
from scantling.core.errors import FileError, SettingsError
from scantling.core.machine import steady


@pytest.mark.parametrize(
    ("flag", "argument"),
    [
        ("--labels 0: expected 1 or more", "labels 0: expected 1 or more"),
        ("--pretrained-rate is of the weights of --from", "pretrained_rate is of the weights of base"),
        ("--settings.spacing: found 2 numbers", 'settings["spacing"]: found 2 numbers'),
        ("a--b and -- stay", "a--b and -- stay"),
        ("name its run with --use segmenter=RUN", 'name its run with uses["segmenter"]=RUN'),
        ("the same command goes on; `scantling check` says more", "the same call goes on; `scantling.check` says more"),
        ("`scantling predict RUN --out DIR` answers", "`scantling predict RUN --out DIR` answers"),
        ("free some space and run the command again", "free some space and call it again"),
        ("/data/command/x: repeat the first command", "/data/command/x: repeat the first call"),
    ],
)
def test_flags_become_arguments(flag: str, argument: str) -> None:
    assert in_python(flag) == argument


def test_an_error_keeps_its_kind_and_its_facts() -> None:
    @public
    def fails() -> None:
        raise FileError("a.png", "is empty", remedy="leave it out with --split")

    with pytest.raises(FileError, match="leave it out with split") as caught:
        fails()
    assert caught.value.path == "a.png"


def test_global_state_is_left_as_it_was_found_even_after_an_error() -> None:
    torch.manual_seed(5)
    before, python, arrays = torch.get_rng_state(), random.getstate(), np.random.get_state()
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()

    @public
    def changes() -> None:
        steady(threads=threads + 1)
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        raise SettingsError("no")

    torch.use_deterministic_algorithms(False)
    try:
        with pytest.raises(SettingsError):
            changes()
        assert torch.get_num_threads() == threads
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.equal(torch.get_rng_state(), before)
        assert random.getstate() == python
        assert np.array_equal(np.random.get_state()[1], arrays[1])
    finally:
        torch.use_deterministic_algorithms(deterministic)


def test_every_public_function_says_what_it_takes_and_shows_an_example() -> None:
    for name in scantling.__all__:
        found = getattr(scantling, name)
        if inspect.isfunction(found):
            told = inspect.getdoc(found) or ""
            assert "Example:" in told, name
            assert all(each in told for each in inspect.signature(found).parameters), name


def test_calls_that_overlap_in_threads_leave_the_state_of_before_the_first() -> None:
    before, begun, ended = torch.get_deterministic_debug_mode(), threading.Event(), threading.Event()

    def first() -> None:
        with unchanged():
            torch.set_deterministic_debug_mode("warn")
            begun.set()
            ended.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(10)
    with unchanged():  # begins while the other has changed it, and ends after it
        ended.set()
        thread.join()
    assert torch.get_deterministic_debug_mode() == before


def test_a_call_within_a_call_leaves_what_it_found() -> None:
    with unchanged():
        torch.manual_seed(1)
        state = torch.get_rng_state()
        with unchanged():
            torch.manual_seed(2)
        assert torch.equal(torch.get_rng_state(), state)
