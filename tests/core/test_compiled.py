"""Kernels whose machine code is kept."""

from __future__ import annotations

from typing import Any

import pytest

from scantling.core import compiled as module
from scantling.core.compiled import compiled


def test_a_kernel_runs_where_no_folder_can_keep_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    original, asked = module.njit, list[bool]()

    def njit(*, cache: bool = False, **options: Any) -> Any:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return original(**options)

    monkeypatch.setattr(module, "njit", njit)

    @compiled(nogil=True)
    def double(x: int) -> int:
        return 2 * x

    assert (double(21), asked) == (42, [True, False])
