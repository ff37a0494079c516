"""The branches of masks, against bars, rings, forks and grown trees whose lengths, radii and forks are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scantling.core.errors import ArrayError
from scantling.metrics.branches import branches
from scantling.phantoms.raster import draw
from scantling.phantoms.trees import Growth, grow_tree


@pytest.mark.parametrize("width", [1, 2, 3, 6])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_bar_is_one_branch_of_its_length_and_half_its_width(width: int, scale: float) -> None:
    mask = np.zeros((40, 100), bool)
    mask[10 : 10 + width, 5:95] = True
    found = branches(mask, spacing=(scale, scale))
    assert (len(found.branches), found.forks, found.ends, found.pieces) == (1, 0, 2, 1)
    (bar,) = found.branches
    assert bar.kind == "whole"
    assert 90 - 2 * width <= bar.length / scale <= 90.5
    assert bar.tortuosity == pytest.approx(1, abs=0.01)
    assert bar.radius == pytest.approx(width / 2 * scale, rel=0.05)
    assert found.area == pytest.approx(90 * width * scale**2)
    assert found.density == pytest.approx(bar.length / (4000 * scale**2))


def test_lengths_of_a_volume_are_in_its_unit() -> None:
    mask = np.zeros((20, 20, 50), bool)
    mask[8:13, 8:13, 5:45] = True
    (rod,) = branches(mask, spacing=(1, 1, 2)).branches
    assert 60 < rod.length <= 80
    assert rod.radius == pytest.approx(2.5, rel=0.05)


def test_a_ring_is_a_loop_and_a_slanted_line_is_no_staircase() -> None:
    rows, columns = np.mgrid[:100, :100]
    found = branches(np.abs(np.hypot(rows - 50, columns - 50) - 30) <= 2.5)
    assert [branch.kind for branch in found.branches] == ["loop"]
    assert found.length == pytest.approx(2 * math.pi * 30, rel=0.02)
    assert math.isnan(found.tortuosity)
    line = np.abs(rows - 0.4 * columns - 20) <= 2
    line[:, :10] = line[:, 90:] = False
    (slanted,) = branches(line).branches
    assert slanted.tortuosity == pytest.approx(1, abs=0.01)


def test_a_grown_tree_has_its_forks_length_and_radii() -> None:
    shape = (512, 512)
    growth = Growth(finest=2.0, reach=15.0, room=20.0)
    tree = grow_tree(
        np.ones(shape, bool), (256, 20), direction=(0, 1), radius=8, generator=np.random.default_rng(2), growth=growth
    )
    children = np.bincount(tree.parents[tree.parents >= 0], minlength=len(tree.parents))
    length = sum(0.5 * (stop - start - 1) for start, stop in zip(tree.starts, tree.starts[1:], strict=False))
    found = branches(draw((tree,), shape).mask)
    assert abs(found.forks - np.sum(children == 2)) <= 1  # two forks may be drawn as one
    assert found.pieces == 1
    assert found.length == pytest.approx(length, rel=0.03)
    assert found.radius == pytest.approx(tree.radii.mean(), rel=0.05)


def test_a_region_cuts_and_an_empty_mask_has_nothing() -> None:
    mask = np.zeros((40, 100), bool)
    mask[10:13, 5:95] = True
    region = np.zeros_like(mask)
    region[:, :50] = True
    found = branches(mask, region=region)
    assert found.length == pytest.approx(44, abs=3)
    assert found.region == 2000
    empty = branches(np.zeros_like(mask))
    assert (empty.branches, empty.pieces, empty.density) == ((), 0, 0.0)
    assert math.isnan(empty.radius)
    dot = np.zeros_like(mask)
    dot[20, 20] = True
    assert (branches(dot).branches, branches(dot).pieces) == ((), 1)
    assert branches(np.ones((9, 9), bool)).area == 81


def test_what_does_not_fit_is_refused() -> None:
    mask = np.zeros((8, 8), bool)
    with pytest.raises(ArrayError, match="region has shape"):
        branches(mask, region=np.ones((4, 4), bool))
    with pytest.raises(ArrayError, match="expected 2 numbers above 0"):
        branches(mask, spacing=(1, 0))
