"""What is said of images that lie on other grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scantling.core.case import Geometry, Orientation
from scantling.inference.grid_differences import grid_difference, resampled

HERE = Geometry((30, 40, 20), (1.0, 1.0, 2.0), np.diag([1.0, 1.0, 2.0, 1.0]), container="volume", unit="mm")


def test_equal_grids_differ_in_nothing_and_others_say_how() -> None:
    assert grid_difference(HERE, replace(HERE)) == ""
    coarser = replace(HERE, shape=(15, 20, 20), spacing=(2.0, 2.0, 2.0), affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    assert grid_difference(HERE, coarser) == (
        "15 x 20 x 20 pixels onto 30 x 40 x 20; a spacing of 2 x 2 x 2 mm onto 1 x 1 x 2 mm"
    )
    away = np.diag([1.0, 1.0, 2.0, 1.0])
    away[:3, 3] = 5
    assert grid_difference(HERE, replace(HERE, affine=away)) == "another place in the world"
    turned = replace(HERE, orientation=Orientation((1, 0, 2), (True, False, False), np.eye(4)))
    assert grid_difference(HERE, turned) == "its file stores the axes in another order or direction"
    bare = replace(HERE, shape=(30, 40, 21), affine=None)
    wanted = "30 x 40 x 21 pixels onto 30 x 40 x 20; by shape, since not both files say where they lie"
    assert grid_difference(HERE, bare) == wanted


def test_resampled_images_are_counted_and_one_is_named() -> None:
    cases = [
        {"fixed": "a", "moving": ["b", "c"], "resampled": ["", "another place in the world"]},
        {"fixed": "d", "moving": ["e"]},
    ]
    assert resampled(cases) == (
        "1 of 3 moving images resampled onto another grid (c onto a: another place in the world)",
    )
    assert resampled(cases[1:]) == ()
