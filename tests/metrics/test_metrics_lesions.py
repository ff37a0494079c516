"""Components of masks, each by itself: by hand, and in the Voronoi regions that brute force gives."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from scipy import ndimage

from scantling.core.errors import ArrayError
from scantling.metrics.distance import surface_distances
from scantling.metrics.lesions import lesions


def test_lesions_by_hand() -> None:
    truth, found = np.zeros((9, 30), bool), np.zeros((9, 30), bool)
    truth[4, 2:6] = truth[4, 20:24] = truth[0, 29] = True
    found[4, 2:5] = True  # Dice 6 / 7
    found[4, 18:22] = True  # Dice 4 / 8
    found[8, 6:8] = True  # a false alarm, in the region of the first
    measured = lesions(found, truth)
    assert measured.lesion_f1 == 4 / 6, "two found, one missed, one for nothing"
    assert measured.lesion_dice == pytest.approx((6 / 9 + 4 / 8 + 0) / 3)
    assert lesions(truth, truth).lesion_dice == lesions(truth, truth).lesion_f1 == 1
    assert lesions(truth, truth).lesion_hd95 == 0


@pytest.mark.parametrize(("shape", "large"), [((24, 30), 1 << 24), ((12, 14, 13), 1 << 24), ((24, 30), 10)])
def test_each_component_is_compared_in_its_voronoi_region(
    shape: tuple[int, ...], large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["scantling.metrics.lesions"], "LARGE", large)
    draw = np.random.default_rng(len(shape))
    truth, found = (ndimage.gaussian_filter(draw.standard_normal(shape), 1.5) > 0.25 for _ in range(2))
    spacing = (1.0, 1.37, 0.81)[: len(shape)]
    pieces, count = ndimage.label(truth, structure=np.ones((3,) * len(shape)))
    apart = np.stack(
        [ndimage.distance_transform_edt(pieces != number, sampling=spacing) for number in range(1, count + 1)]
    )
    regions = apart.argmin(0) + 1
    masks = [(found & (regions == number), pieces == number) for number in range(1, count + 1)]
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in masks]
    far = [surface_distances(a, b, spacing=spacing).hd95 for a, b in masks]
    measured = lesions(found, truth, spacing=spacing)
    assert measured.lesion_dice == pytest.approx(float(np.mean(dice)))
    assert measured.lesion_hd95 == pytest.approx(float(np.mean(far)))


def test_empty_masks_are_defined() -> None:
    truth, nothing = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    truth[1, 1] = True
    missed, wrong = lesions(nothing, truth), lesions(truth, nothing)
    assert (missed.lesion_f1, missed.lesion_dice, missed.lesion_hd95) == (0, 0, 5)
    assert all(math.isnan(value) for value in (wrong.lesion_f1, wrong.lesion_dice, wrong.lesion_hd95))
    with pytest.raises(ArrayError, match="expected one shape"):
        lesions(truth, truth[1:])
