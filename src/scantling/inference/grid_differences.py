"""What is said of moving images that lie on other grids than their fixed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scantling.core.case import Geometry
from scantling.data.contents import count

UNPLACED = "by shape, since not both files say where they lie"


def grid_difference(fixed: Geometry, moving: Geometry) -> str:
    """How the grid of a moving image differs from that of the fixed one, as a clause; empty where they are one.

    The axes of volumes are turned when they are read; how their files store them is compared here, too.
    """
    orders = [(one.orientation.axes, one.orientation.flips) if one.orientation else None for one in (fixed, moving)]
    clauses = []
    if moving.shape != fixed.shape:
        clauses.append(f"{_times(moving.shape)} pixels onto {_times(fixed.shape)}")
    if moving.unit == fixed.unit == "mm" and not np.allclose(moving.spacing, fixed.spacing, rtol=1e-3):
        clauses.append(f"a spacing of {_times(moving.spacing)} mm onto {_times(fixed.spacing)} mm")
    if orders[0] != orders[1]:
        clauses.append("its file stores the axes in another order or direction")
    if fixed.affine is not None and moving.affine is not None:
        if not clauses and not np.allclose(moving.affine, fixed.affine, atol=1e-3):
            clauses.append("another place in the world")
    elif clauses:
        clauses.append(UNPLACED)
    return "; ".join(clauses)


def _times(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.3g}" for number in numbers)


def resampled(cases: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """A sentence on the moving images that lay on other grids than their fixed ones, if there are any."""
    found = [
        f"{id} onto {case['fixed']}: {reason}"
        for case in cases
        for id, reason in zip(case["moving"], case.get("resampled", ()), strict=False)
        if reason
    ]
    if not found:
        return ()
    total = sum(len(case["moving"]) for case in cases)
    return (f"{len(found)} of {count(total, 'moving image')} resampled onto another grid ({found[0]})",)


def by_shape(cases: Sequence[Mapping[str, Any]], *, asked: str) -> tuple[str, ...]:
    """A sentence on the moving images that were laid onto their fixed ones by shape, though both have affines.

    Args:
        asked: `RegisterOptions.start`; nothing is said of what was asked for.
    """
    found = [
        f"{id} onto {case['fixed']}"
        for case in cases
        for id, start, apart in zip(case["moving"], case.get("starts", ()), case.get("resampled", ()), strict=False)
        if start == "shape" and UNPLACED not in apart
    ]
    if not found or asked != "auto":
        return ()
    total = sum(len(case["moving"]) for case in cases)
    return (
        f"{len(found)} of {count(total, 'moving image')} begun by shape, since their affines lay them where they match "
        f"less ({found[0]}); --options.start world takes the affines",
    )
