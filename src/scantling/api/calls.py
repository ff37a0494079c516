"""What every public function does around its work: errors in the words of Python, and nothing global left changed."""

from __future__ import annotations

import functools
import inspect
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, ParamSpec, TypeVar

import scantling
from scantling.core.errors import ScantlingError

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

ARGUMENTS: Mapping[str, str] = {"from": "base", "use": "uses", "class": "image_class", "atlas": "atlases"}
"""Flags of the command line whose argument in Python has another name; of the others dashes become underscores."""
COMMANDS: Mapping[str, str] = {"next": "next_cases", "report": "write_report"}
"""Commands whose function in Python has another name."""

_WORD = re.compile(
    r"`scantling (?P<command>[a-z]+)(?P<rest>[^`]*)`"
    r"|(?<![\w-])--(?P<flag>[a-z][a-z0-9-]*)(?:\.(?P<setting>[A-Za-z_]\w*)| (?P<role>[\w-]+)(?==))?"
)
"""A command in backticks, or a flag; `--settings.NAME` and `--use ROLE=RUN` have a key."""


def public(function: Callable[P, R], *, arguments: Mapping[str, str] = ARGUMENTS) -> Callable[P, R]:
    """Make `function` name its arguments in errors as Python does, and leave global state (`unchanged`) as it was.

    Args:
        arguments: of flags whose argument has another name.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with python_words(arguments), unchanged():
            return function(*args, **kwargs)

    return call


@contextmanager
def python_words(arguments: Mapping[str, str] = ARGUMENTS) -> Iterator[None]:
    """Raise errors of the rooms, which name flags (`--settings.size`), with the arguments of Python instead."""
    try:
        yield
    except ScantlingError as error:
        error.args = tuple(in_python(arg, arguments) if isinstance(arg, str) else arg for arg in error.args)
        raise


def in_python(sentence: str, arguments: Mapping[str, str] = ARGUMENTS) -> str:
    """A sentence about flags as one about arguments, one about commands as one about calls.

    `--min-size 3` is `min_size 3`, `--settings.size` and `--use role=RUN` are keys: `settings["size"]`. A whole command
    line in backticks stays one.

    Args:
        arguments: of flags whose argument has another name; "" where their keys are arguments themselves.
    """

    def word(match: re.Match[str]) -> str:
        if command := match["command"]:
            name = COMMANDS.get(command, command)
            return match[0] if match["rest"] or name not in scantling.__all__ else f"`scantling.{name}`"
        name, key = arguments.get(match["flag"], match["flag"].replace("-", "_")), match["setting"] or match["role"]
        return f'{name}["{key}"]' if key and name else key or name

    sentence = re.sub(r" run the( same)? command again\b", " call it again", _WORD.sub(word, sentence))
    return re.sub(r"(?<= )command(?=[ ;,)]|$)", "call", sentence)


def with_fields(kind: type[Any]) -> Callable[[F], F]:
    """Show the fields of a dataclass, in help and completion, as keywords of a function that takes them as `**`."""

    def shown(function: F) -> F:
        own = inspect.signature(function)
        named = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
        default = kind()
        added = [
            inspect.Parameter(
                each.name, inspect.Parameter.KEYWORD_ONLY, default=getattr(default, each.name), annotation=each.type
            )
            for each in fields(kind)
        ]
        function.__signature__ = own.replace(parameters=[*named, *added])  # type: ignore[attr-defined]
        return function

    return shown


_lock = threading.Lock()
_running: dict[int, Callable[[], None]] = {}
"""The threads in which a call runs, and what restores the state of before the first of them."""


@contextmanager
def unchanged() -> Iterator[None]:
    """Restore what a process has only once: torch's determinism and threads, the states of all random numbers.

    Of calls that overlap in several threads the first remembers, and the last to end restores. A call within a call of
    the same thread (of a callback, say) leaves what it found.
    """
    thread = threading.get_ident()
    with _lock:
        nested = thread in _running
        restore = next(iter(_running.values())) if _running and not nested else _remembered()
        _running.setdefault(thread, restore)
    try:
        yield
    finally:
        with _lock:
            if not nested:
                del _running[thread]
            if nested or not _running:
                restore()


def _remembered() -> Callable[[], None]:
    """What brings the state of the process back to what it is now."""
    import numpy
    import torch

    deterministic = torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    benchmark = torch.backends.cudnn.benchmark
    threads = torch.get_num_threads()
    cpu, python, arrays = torch.get_rng_state(), random.getstate(), numpy.random.get_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def restore() -> None:
        torch.set_deterministic_debug_mode(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_rng_state(cpu)
        random.setstate(python)
        numpy.random.set_state(arrays)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)

    return restore
