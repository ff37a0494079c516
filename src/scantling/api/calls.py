"""What every public function does around its work: errors in the words of Python, and nothing global left changed."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from scantling.core.errors import ScantlingError

P = ParamSpec("P")
R = TypeVar("R")

ARGUMENTS: Mapping[str, str] = {"from": "base", "use": "uses"}
"""Flags of the command line whose argument in Python has another name; of the others dashes become underscores."""

_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)(?:\.([A-Za-z_]\w*))?")


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Make `function` name its arguments in errors as Python does, and leave the global state of torch as it was."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with python_words(), unchanged():
            return function(*args, **kwargs)

    return call


@contextmanager
def python_words() -> Iterator[None]:
    """Raise errors of the rooms, which name flags (`--settings.size`), with the arguments of Python instead."""
    try:
        yield
    except ScantlingError as error:
        error.args = tuple(in_python(arg) if isinstance(arg, str) else arg for arg in error.args)
        raise


def in_python(sentence: str) -> str:
    """A sentence about flags as one about arguments: `--min-size 3` is `min_size 3`, `--settings.size` a key."""

    def argument(match: re.Match[str]) -> str:
        name = ARGUMENTS.get(match[1], match[1].replace("-", "_"))
        return f'{name}["{match[2]}"]' if match[2] else name

    return _FLAG.sub(argument, sentence)


@contextmanager
def unchanged() -> Iterator[None]:
    """Restore what torch holds for the whole process: determinism, threads, random states."""
    import torch

    deterministic = torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    benchmark = torch.backends.cudnn.benchmark
    threads = torch.get_num_threads()
    cpu = torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
