"""Filters for tubes and thresholds without labels, on bars whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from scantling.core.errors import SettingsError
from scantling.mending.ridges import connected, otsu, strongest, vesselness

KINDS = pytest.mark.parametrize("kind", ["sato", "frangi", "meijering"])


def bars(shape: tuple[int, ...] = (80, 100), *, dark: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Two bars that keep a third of the light, over light that falls off to a tenth."""
    mask = np.zeros(shape, bool)
    mask[..., 20:23, :] = mask[..., 55:59, :] = True
    if len(shape) == 3:
        mask[: shape[0] // 2 - 1] = mask[shape[0] // 2 + 2 :] = False
    light = np.broadcast_to(np.linspace(0.9, 0.09, shape[-1]), shape)
    return light * np.where(mask, 1 / 3 if dark else 3, 1.0), mask


@KINDS
@pytest.mark.parametrize("dark", [True, False])
def test_tubes_answer_more_than_what_is_beside_them(kind: str, dark: bool) -> None:
    image, mask = bars(dark=dark)
    response = vesselness(image, kind=kind, dark=dark)
    assert response.shape == image.shape
    assert response.min() >= 0
    assert response.max() == 1
    middle = np.zeros_like(mask)
    middle[21] = middle[56:58] = True
    away = ~ndimage.binary_dilation(mask, iterations=6)
    assert response[middle].min() > 2 * response[away].max()
    wrong = vesselness(image, kind=kind, dark=not dark)
    assert wrong[middle].mean() < 0.2


@KINDS
def test_tubes_in_3d_answer(kind: str) -> None:
    image, mask = bars((21, 80, 40))
    response = vesselness(image, kind=kind, scales=(1.0, 2.0))
    assert response[mask].mean() > 5 * response[~ndimage.binary_dilation(mask, iterations=4)].mean()


def test_a_vessel_counts_the_same_in_the_light_and_in_the_shade() -> None:
    image, _ = bars()
    by_ratio, by_difference = vesselness(image), vesselness(image, ratios=False)
    assert by_ratio[21, 10] == pytest.approx(by_ratio[21, 80], rel=0.1)
    assert by_difference[21, 10] > 2 * by_difference[21, 80]


def test_neither_the_edge_of_the_region_nor_what_lies_outside_it_answers() -> None:
    image, mask = bars((120, 120))
    rows, columns = np.indices(image.shape)
    region = np.hypot(rows - 60, columns - 60) < 55
    response = vesselness(np.where(region, image, 0.0), region)
    assert (response[~region] == 0).all()
    away = ~ndimage.binary_dilation(mask, iterations=6)
    assert response[away].max() < 0.2
    assert np.array_equal(response, vesselness(np.where(region, image, 7.0), region))


def test_flat_images_and_empty_regions_answer_nothing() -> None:
    assert not vesselness(np.full((40, 40), 0.5)).any()
    assert not vesselness(np.zeros((40, 40))).any()
    assert not vesselness(np.ones((40, 40)), np.zeros((40, 40))).any()


def test_what_cannot_be_filtered_is_refused() -> None:
    image = np.ones((20, 20))
    with pytest.raises(SettingsError, match="found 'gabor'; expected one of sato, frangi, meijering"):
        vesselness(image, kind="gabor")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="expected one or more positive"):
        vesselness(image, scales=())
    with pytest.raises(SettingsError, match="set ratios=False"):
        vesselness(image - 2)
    with pytest.raises(ValueError, match="expected one shape"):
        vesselness(image, np.ones((5, 5)))
    with pytest.raises(SettingsError, match=r"share is 1\.5"):
        strongest(image, 1.5)
    with pytest.raises(SettingsError, match="sure is 0"):
        connected(image, 0.1, sure=0)


@pytest.mark.parametrize("share", [0.0, 0.013, 0.12, 1.0])
def test_the_strongest_are_as_many_as_asked_for_and_stronger_than_the_rest(share: float) -> None:
    response = np.random.default_rng(0).random((37, 41))
    region = np.zeros(response.shape, bool)
    region[5:30, 7:33] = True
    mask = strongest(response, share, region=region)
    assert mask.sum() == round(share * region.sum())
    assert region[mask].all()
    if 0 < share < 1:
        assert response[mask].min() > response[region & ~mask].max()


def test_connected_pixels_hang_together_with_sure_ones() -> None:
    response = np.zeros((60, 60))
    response[10, 5:55] = np.linspace(0.9, 0.3, 50)  # a vessel that fades
    response[40, 10] = response[50, 40] = 0.5  # specks
    mask = connected(response, 40 / 3600, sure=0.5)
    assert mask.sum() == 40
    assert mask[10, 5:45].all()
    plain = strongest(response, 40 / 3600)
    assert plain[40, 10]
    assert not mask[40, 10]


def test_connected_asks_for_no_less_than_its_share() -> None:
    response = ndimage.gaussian_filter(np.random.default_rng(1).random((80, 80)), 1.5)
    region = np.ones(response.shape, bool)
    region[:, :10] = False
    for share in (0.02, 0.1, 0.5):
        mask = connected(response, share, region=region)
        assert not mask[:, :10].any()
        assert share <= mask[region].mean() < share + 0.02
    assert not connected(response, 0.0).any()
    assert connected(response, 1.0).all()


def test_otsu_parts_two_levels_inside_the_region() -> None:
    response = np.full((30, 30), 0.1)
    response[10:13] = 0.8
    region = np.ones_like(response, bool)
    region[:, :5] = False
    mask = otsu(response, region=region)
    assert np.array_equal(mask, (response > 0.5) & region)
    assert not otsu(np.full((5, 5), 0.3)).any()


@KINDS
@pytest.mark.parametrize("ratios", [True, False])
@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e9])
def test_the_unit_of_the_image_does_not_change_the_response(kind: str, ratios: bool, unit: float) -> None:
    image = bars()[0] * (1 + 0.1 * np.random.default_rng(0).random((80, 100)))  # nowhere quite flat
    expected = vesselness(image, kind=kind, ratios=ratios)
    np.testing.assert_allclose(vesselness(image * unit, kind=kind, ratios=ratios), expected, atol=1e-6)
