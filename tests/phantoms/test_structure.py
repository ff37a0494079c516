"""Structure maps and organ masks: the rules against SciPy's filters, and what must hold of discs, air and lesions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.errors import ArrayError, SettingsError
from scantling.phantoms.structure import (
    PLANNED,
    RULES,
    StructureRule,
    organ_background,
    plane_of,
    rule_named,
    structure_map,
    without_outline,
)

CENTRE, RADIUS = (92, 72), 50


def disc(shape: tuple[int, int] = (184, 144), *, radius: float = RADIUS) -> tuple[NDArray[Any], NDArray[Any]]:
    """A bright disc on a dark ground, noisy and a little blurred, and the distance of each pixel from its centre."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(rows - CENTRE[0], columns - CENTRE[1])
    noise = np.random.default_rng(0).normal(0, 0.01, shape)
    return ndimage.gaussian_filter(np.where(distance <= radius, 0.7, 0.05), 1) + noise, distance


def kernel(sigma: float) -> NDArray[np.float64]:
    """The weights of a 3 x 3 Gaussian by its formula."""
    rows, columns = np.mgrid[-1:2, -1:2]
    weights = np.exp(-(rows**2 + columns**2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum())


def by_scipy(image: NDArray[Any], rule: StructureRule) -> NDArray[np.bool_]:
    """Algorithm 1 by SciPy's separate filters."""
    x = (image - image.min()) / (image.max() - image.min())
    maps = np.stack([ndimage.sobel(x, axis, mode="mirror") for axis in (0, 1)])
    s = []
    for values in (maps.min(0), maps.max(0)):
        unit = (values - values.min()) / (values.max() - values.min())
        s.append(ndimage.convolve(unit, kernel(rule.smooth), mode="mirror"))
    edges = (s[0].mean() - s[0] > rule.alpha) | (s[1] - s[1].mean() > rule.alpha)
    strokes = ndimage.convolve(edges.astype(float), kernel(rule.thicken), mode="mirror") > rule.beta
    return np.asarray((ndimage.median_filter(strokes.astype(np.uint8), rule.median) > 0) & (x > rule.gamma))


@pytest.mark.parametrize("name", ["brats", "fundus", "xray"])
def test_the_structure_map_is_that_of_the_separate_filters(name: str) -> None:
    image, _ = disc()
    image += 0.2 * ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 3, image.shape), 3)
    found, expected = structure_map(image, RULES[name]), by_scipy(image, RULES[name])
    assert expected.sum() > 300
    assert (found != expected).sum() <= 8  # float32 against float64, at thresholds


@pytest.mark.parametrize("name", ["brats", "fundus"])
def test_the_outline_of_a_noisy_disc_is_drawn_and_nothing_else(name: str) -> None:
    image, distance = disc()
    found = structure_map(image, RULES[name])
    turns = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    near = ndimage.binary_dilation(found, iterations=3)
    on = near[
        np.rint(CENTRE[0] + RADIUS * np.sin(turns)).astype(int), np.rint(CENTRE[1] + RADIUS * np.cos(turns)).astype(int)
    ]
    assert on.mean() >= 0.93  # a median of 5 pixels may take a few
    assert not found[(distance < RADIUS - 7) | (distance > RADIUS + 7)].any()


@pytest.mark.parametrize("name", RULES)
def test_an_image_without_contrast_has_no_structure_and_no_organ(name: str) -> None:
    flat = np.full((20, 24), 7.0)
    assert not structure_map(flat, RULES[name]).any()
    assert organ_background(flat, RULES[name]).all()


def test_the_number_type_does_not_matter() -> None:
    image = (disc()[0].clip(0, 1) * 200).astype(np.uint8)
    maps = [structure_map(values) for values in (image, image.astype(np.uint16) * 64, image.astype(np.float64) / 3)]
    assert max((maps[0] != other).mean() for other in maps[1:]) < 1e-3  # rounding, at thresholds


def test_the_organ_grows_with_p_and_stays_as_it_is_without() -> None:
    image, distance = disc()
    rule = replace(RULES["brats"], mask_median=1, enlarge=0)
    x = (image - image.min()) / (image.max() - image.min())
    assert np.array_equal(organ_background(image, rule), x <= 0.3)
    areas = [int((~organ_background(image, replace(rule, enlarge=p))).sum()) for p in (0, 4, 10, 20)]
    assert areas == sorted(set(areas))
    assert organ_background(image, RULES["brats"])[distance > RADIUS + 12].all()  # air
    assert not organ_background(image, RULES["brats"])[distance < RADIUS - 3].any()


def test_dark_places_inside_belong_to_the_organ_where_it_is_filled() -> None:
    image, distance = disc()
    image[distance < 10] = 0.02
    assert not organ_background(image, PLANNED)[distance < 8].any()
    assert organ_background(image, replace(PLANNED, filled=False))[distance < 8].all()


def test_nothing_is_drawn_in_a_lesion() -> None:
    image, _distance = disc()
    image[np.hypot(*(np.mgrid[:184, :144] - np.array([[[80]], [[60]]]))) < 12] = 0.95
    lesion = np.hypot(*(np.mgrid[:184, :144] - np.array([[[80]], [[60]]]))) < 16
    assert structure_map(image)[lesion].any()
    assert not structure_map(image, erase=lesion)[lesion].any()
    with pytest.raises(ArrayError, match="erase"):
        structure_map(image, erase=lesion[1:])


def test_the_outline_of_the_organ_can_be_left_out() -> None:
    image, distance = disc()
    image[90:93, 50:95] = 0.4  # a vessel
    strokes, air = structure_map(image), organ_background(image)
    inside = without_outline(strokes, air)
    assert strokes[np.abs(distance - RADIUS) < 3].any()
    assert not inside[np.abs(distance - RADIUS) < 3].any()
    assert inside[86:97, 60:85].any()
    assert np.array_equal(without_outline(strokes, np.zeros_like(air)), strokes)


def test_one_channel_or_the_mean_of_all_is_looked_at() -> None:
    image = np.random.default_rng(0).random((3, 5, 6))
    assert np.allclose(plane_of(image, 1), image[1])
    assert np.allclose(plane_of(image), image.mean(0))
    for refused in (lambda: plane_of(image, 3), lambda: rule_named("heart"), lambda: StructureRule(median=4)):
        with pytest.raises(SettingsError):
            refused()
    for image in (np.zeros((3, 5, 6)), np.zeros((2, 9)), np.full((9, 9), np.nan)):
        with pytest.raises(ArrayError):
            structure_map(image)
