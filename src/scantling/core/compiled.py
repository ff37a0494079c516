"""Kernels that Numba compiles once for all processes, which keep the machine code beside the source."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import config

# Numba unpickles what it finds in its cache, and lets a `.numba_config.yaml` in the current folder say where that is.
config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", "")  # type: ignore[attr-defined]


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator as `numba.njit`, whose code is kept where that can be done, in `__pycache__` or the user's cache.

    It is compiled anew when its file has changed, and only then: what it calls has to stand in the same file.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            kernel: Callable[..., Any] = njit(cache=True, **options)(function)
        except RuntimeError:  # no folder that can be written
            kernel = njit(**options)(function)
        return kernel

    return decorate
