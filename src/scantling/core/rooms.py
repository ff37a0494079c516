"""Packages whose names load on demand: `from scantling.metrics import topology` reads one file, not all."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

_HOMES = "_homes"


class Room(ModuleType):
    """A package that finds its public names in its files when they are first asked for.

    A function may bear the name of a file (`metrics.topology`): the package's attribute is the function, whichever of
    the two is imported first, and `from scantling.metrics.topology import skeleton` reads the file.
    """

    def __getattr__(self, name: str) -> Any:
        home = self.__dict__[_HOMES].get(name)
        if home is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{self.__name__}.{home}"), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Also called by the import of a file, which would put the file where the function is expected."""
        if not (isinstance(value, ModuleType) and name in self.__dict__[_HOMES]):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__dict__[_HOMES]})


def load_on_demand(package: str, files: Mapping[str, Sequence[str]]) -> None:
    """Let the names of a package load when they are asked for.

    Args:
        package: its `__name__`; called from its `__init__`.
        files: for each file of the package the public names that stand in it.
    """
    room = sys.modules[package]
    room.__dict__[_HOMES] = {name: file for file, names in files.items() for name in names}
    room.__class__ = Room
