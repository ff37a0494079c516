"""Volume differences against closed forms: signed, relative, absolute, in mL, mm² and pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scantling.evaluation.scores import scores_of_arrays
from scantling.metrics import METRICS, volumes

NAMES = ("volume_difference", "relative_volume_difference", "absolute_volume_difference")


def cube(shape: tuple[int, ...], planes: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[:planes] = True
    return mask


@pytest.mark.parametrize(
    ("spacing", "unit", "one"),
    [((5.0, 2.0, 1.0), "mm", 0.01), ((5.0, 2.0, 1.0), "pixel", 1.0), (None, "pixel", 1.0)],
)
def test_volumes_of_blocks_are_their_sides_times_the_voxel(
    spacing: tuple[float, ...] | None, unit: str, one: float
) -> None:
    true, found = cube((10, 10, 10), 4), cube((10, 10, 10), 3)
    got = volumes(found, true, spacing=spacing, unit=unit)  # type: ignore[arg-type]
    assert got.volume_difference == pytest.approx(-100 * one), "one plane of 10 x 10 voxels is missing"
    assert got.absolute_volume_difference == pytest.approx(100 * one)
    assert got.relative_volume_difference == pytest.approx(-0.25)


def test_pictures_have_areas_in_square_millimetres_and_a_region_cuts_both_masks() -> None:
    true, found = cube((8, 8), 2), cube((8, 8), 4)
    assert volumes(found, true, spacing=(0.5, 0.5), unit="mm").volume_difference == 16 * 0.25
    half = np.zeros((8, 8), bool)
    half[:, :4] = True
    assert volumes(found, true, region=half).volume_difference == 8


def test_an_empty_truth_has_a_difference_and_no_share_of_it() -> None:
    empty, found = np.zeros((4, 4), bool), cube((4, 4), 1)
    got = volumes(found, empty)
    assert (got.volume_difference, got.absolute_volume_difference) == (4, 4)
    assert math.isnan(got.relative_volume_difference)
    assert volumes(empty, found).relative_volume_difference == -1, "nothing was marked"
    assert volumes(empty, empty).volume_difference == 0


def test_the_catalogue_names_the_unit_of_volumes_of_pictures_and_of_what_is_not_known() -> None:
    one = METRICS["volume_difference"]
    assert one.in_unit(one.unit_of("mm", axes=3)).title == "Volume difference (mL)"
    assert one.in_unit(one.unit_of("mm", axes=2)).title == "Volume difference (mm²)"
    assert one.in_unit(one.unit_of("pixel", axes=3)).title == "Volume difference (pixels)"
    assert METRICS["hd95"].unit_of("mm", axes=3) == "mm"
    assert METRICS["relative_volume_difference"].in_unit("mm").title == "Relative volume difference"
    assert one.better(-1.0, 2.0), "nearer to 0, whatever the sign"


def test_classes_are_measured_apart_and_averaged_in_a_case() -> None:
    true = np.zeros((1, 4, 4, 4), np.uint8)
    true[0, :2], true[0, 2:] = 1, 2
    found = np.zeros_like(true)
    found[0, :3] = 1
    got = scores_of_arrays(found, true, classes=["a", "b"], spacing=(10.0, 10.0, 1.0), unit="mm", metrics=NAMES)
    assert got.classes["a"]["volume_difference"] == pytest.approx(16 * 0.1)
    assert got.classes["b"]["volume_difference"] == pytest.approx(-32 * 0.1)
    assert got.mean["absolute_volume_difference"] == pytest.approx(2.4)
