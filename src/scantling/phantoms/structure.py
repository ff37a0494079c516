"""What an image is drawn around, by rule: a map of its edges, and where its organ lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from scantling.core.checks import binary, check_choice, check_count, check_number, numbers
from scantling.core.compiled import compiled
from scantling.core.errors import ArrayError, SettingsError

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

STRONG = 0.8
"""Where α is not given, an edge is so many standard deviations of its map above the mean; ours."""
DARK = 0.5
"""Where γ is not given, the background is darker than this share of Otsu's threshold; ours."""


@dataclass(frozen=True, kw_only=True)
class StructureRule:
    """The numbers of the structure map and of the organ mask; lengths in pixels, thresholds on an image in [0, 1].

    Attributes:
        smooth: σ₁ of the 3 x 3 Gaussian that smooths the two maps of edges.
        alpha: how far a pixel of them is from the mean where it is an edge; None: `STRONG` deviations of each map.
        thicken: σ₂ of the 3 x 3 Gaussian over the strokes.
        beta: a stroke is where that is above β. Beside a straight stroke it is 0.05 at σ₂ = 0.42: below, such a stroke
            does not become thicker at β = 0.05.
        median: side of the window whose majority of strokes decides, odd; 1 for none.
        gamma: the organ is brighter than γ; None: than `DARK` times Otsu's threshold of the image.
        enlarge: p, by which the organ mask is enlarged: its outline moves by about p / 2 at the border of the image.
        mask_median: as `median`, of the organ mask.
        filled: dark places that the organ encloses belong to it.
    """

    smooth: float = 0.4
    alpha: float | None = None
    thicken: float = 0.01
    beta: float = 0.0
    median: int = 3
    gamma: float | None = None
    enlarge: int = 4
    mask_median: int = 5
    filled: bool = True

    def __post_init__(self) -> None:
        for name in ("smooth", "thicken"):
            check_number(getattr(self, name), argument=name, above=0)
        check_number(self.beta, argument="beta", least=0, most=1)
        for name in ("alpha", "gamma"):
            if getattr(self, name) is not None:
                check_number(getattr(self, name), argument=name, least=0, most=1)
        check_count(self.enlarge, argument="enlarge")
        for name in ("median", "mask_median"):
            check_count(getattr(self, name), argument=name, least=1)
            if not getattr(self, name) % 2:
                raise SettingsError(f"{name}: found {getattr(self, name)}; expected an odd number of pixels")


PLANNED = StructureRule()
"""For images of any kind: its thresholds follow from each image; ours."""

RULES: Mapping[str, StructureRule] = {
    "planned": PLANNED,
    "brats": StructureRule(
        smooth=0.01, alpha=0.035, thicken=0.01, beta=0, median=5, gamma=0.3, enlarge=10, mask_median=5, filled=False
    ),
    "fundus": StructureRule(
        smooth=0.4, alpha=0.014, thicken=0.3, beta=0.05, median=5, gamma=0.3, enlarge=10, mask_median=17, filled=False
    ),
    "xray": StructureRule(
        smooth=0.4, alpha=0.036, thicken=0.5, beta=0.05, median=3, gamma=0.15, enlarge=2, mask_median=17, filled=False
    ),
    "lung-ct": StructureRule(
        smooth=0.4, alpha=None, thicken=0.3, beta=0.05, median=3, gamma=0.3, enlarge=2, mask_median=17, filled=False
    ),
    "tianchi": StructureRule(
        smooth=0.4, alpha=None, thicken=0.3, beta=0.05, median=3, gamma=0.3, enlarge=2, mask_median=17, filled=False
    ),
}
"""The authors' numbers, in pixels of their images (184 x 144 of brats, else 512 x 512). Of the two kinds of CT the
authors' α varies and γ and the medians are not known: α follows from the image, the others are as for fundus and
X-ray; of X-ray α is the middle of theirs, .03 to .043."""


def rule_named(name: str) -> StructureRule:
    """A rule of `RULES`.

    Raises:
        SettingsError: with the names that there are.
    """
    check_choice(name, RULES, argument="rule")
    return RULES[name]


def plane_of(image: Any, channel: int | None = None) -> Plane:
    """One plane (H, W) of an image (C, H, W): a channel, or the mean of all.

    Raises:
        ArrayError: the image has other axes.
        SettingsError: there is no such channel.
    """
    array = numbers(image, "the image")
    if array.ndim != 3:
        raise ArrayError(f"found an image of shape {array.shape}; expected (C, H, W)")
    if channel is None:
        return np.asarray(array.mean(0), np.float32)
    check_count(channel, argument="channel", most=len(array) - 1)
    return np.asarray(array[channel], np.float32)


def structure_map(image: Any, rule: StructureRule = PLANNED, *, erase: Any = None) -> Mask:
    """Where an image has edges (Qu, 2020, Algorithm 1), (H, W) bool.

    Two signed Sobel maps; s₁ is the smaller of the two at each pixel, which falling edges make low, s₂ the greater.
    Each is brought into [0, 1] and smoothed; edges are where mean(s₁) - s₁ > α or s₂ - mean(s₂) > α. They are smoothed
    once more, cut at β, a median decides, and what lies outside the organ (x ≤ γ) is left out.

    Readings, where the text and the authors' code differ: minimum and maximum are named after the functions and taken
    over the two directions; line 12 cuts the smoothed strokes; σ is a standard deviation; the kernel is a true 3 x 3
    one. Borders are mirrored.

    Args:
        image: (H, W), of any number type and range; one without contrast has no structure.
        rule: see `StructureRule` and `RULES`.
        erase: (H, W) bool, where nothing is drawn: the pixels of a lesion.

    Raises:
        ArrayError: the image is not (H, W) of at least 3 x 3 pixels or not finite, or `erase` has another shape.
    """
    x = _unit(image)
    if not x.any():
        return np.zeros(x.shape, np.bool_)
    low, high = _signed_edges(np.pad(x, 1, mode="reflect"))
    edges = np.zeros(x.shape, np.bool_)
    for values, sign in ((low, -1), (high, 1)):
        least, most = float(values.min()), float(values.max())
        if most <= least:
            continue
        alpha = STRONG * float(values.std()) if rule.alpha is None else rule.alpha * (most - least)
        smooth = _smoothed(values, rule.smooth)
        mean = np.float32(smooth.mean())
        edges |= (smooth > mean + alpha) if sign > 0 else (smooth < mean - alpha)
    strokes = _smoothed(edges.astype(np.float32), rule.thicken) > rule.beta
    strokes = _majority(strokes, rule.median) & (x > _gamma(x, rule))
    if erase is not None:
        erased = binary(erase, "erase")
        if erased.shape != x.shape:
            raise ArrayError(f"erase: found the shape {erased.shape}; expected {x.shape}, that of the image")
        strokes &= ~erased
    return strokes


def organ_background(image: Any, rule: StructureRule = PLANNED) -> Mask:
    """Where the organ is not (Qu, 2020, Algorithm 2), (H, W) bool: True on air, False in the organ.

    What is darker than γ, enlarged to (H + p, W + p) by the nearest values and cut back to its middle, so that the
    outline of the organ moves outwards; then a median. An image without contrast has no organ: all of it is True.

    Args:
        image: as for `structure_map`.

    Raises:
        ArrayError: the image is not (H, W) of at least 3 x 3 pixels, or not finite.
    """
    x = _unit(image)
    outside = x <= _gamma(x, rule)
    if rule.filled:
        outside = ~ndimage.binary_fill_holes(~outside)
    places = []
    for n in x.shape:
        along = (np.arange(n) + rule.enlarge // 2 + 0.5) * n / (n + rule.enlarge)
        places.append(np.minimum(along.astype(np.int64), n - 1))
    return _majority(outside[np.ix_(*places)], rule.mask_median)


def without_outline(structure: Any, outside: Any, *, width: int = 6) -> Mask:
    """A structure map (H, W) without the outline of the organ: of a fundus image its vessels, coarsely.

    Args:
        outside: (H, W), as `organ_background` gives it.
        width: strokes nearer to the background than so many pixels go.

    Raises:
        ArrayError: the two have other shapes, or other values than 0 and 1.
    """
    strokes, air = binary(structure, "the structure"), binary(outside, "the background")
    check_count(width, argument="width")
    if strokes.shape != air.shape or strokes.ndim != 2:
        raise ArrayError(f"found {strokes.shape} and {air.shape}; expected (H, W) twice")
    if not width or not air.any():
        return strokes.copy()
    return np.asarray(strokes & (ndimage.distance_transform_edt(~air) > width))


def _unit(image: Any) -> Plane:
    """An image by its own range in [0, 1]; 0 where it has no contrast."""
    array = numbers(image, "the image")
    if array.ndim != 2 or min(array.shape) < 3:
        raise ArrayError(f"found an image of shape {array.shape}; expected (H, W) of 3 x 3 pixels or more: one channel")
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ArrayError("the image holds values that are not finite")
    if high <= low:
        return np.zeros(array.shape, np.float32)
    return (array.astype(np.float32) - np.float32(low)) * np.float32(1 / (float(high) - float(low)))


def _gamma(x: Plane, rule: StructureRule) -> np.float32:
    return np.float32(DARK * threshold_otsu(x) if rule.gamma is None else rule.gamma)


def _smoothed(values: Plane, sigma: float) -> Plane:
    """A 3 x 3 Gaussian of this standard deviation, borders mirrored."""
    side = math.exp(-0.5 / sigma**2) if sigma > 0.05 else 0.0
    if not side:
        return values
    middle = 1 / (1 + 2 * side)
    return np.asarray(_three_by_three(np.pad(values, 1, mode="reflect"), np.float32(middle), np.float32(side * middle)))


def _majority(mask: Mask, side: int) -> Mask:
    """The median of each square of `side` pixels, borders repeated: what more than half of it is."""
    if side == 1:
        return mask
    return np.asarray(_most_of(np.pad(mask, side // 2, mode="symmetric"), side))


@compiled(nogil=True)
def _signed_edges(x: Plane) -> tuple[Plane, Plane]:
    """The smaller and the greater of the two Sobel maps of a padded image."""
    height, width = x.shape[0] - 2, x.shape[1] - 2
    low, high = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    two = np.float32(2)
    for i in range(height):
        for j in range(width):
            a, b, c = x[i, j], x[i, j + 1], x[i, j + 2]
            d, f = x[i + 1, j], x[i + 1, j + 2]
            g, h, k = x[i + 2, j], x[i + 2, j + 1], x[i + 2, j + 2]
            down = (g + two * h + k) - (a + two * b + c)
            right = (c + two * f + k) - (a + two * d + g)
            low[i, j], high[i, j] = min(down, right), max(down, right)
    return low, high


@compiled(nogil=True)
def _three_by_three(x: Plane, middle: np.float32, side: np.float32) -> Plane:
    """A separable kernel of three weights over a padded image."""
    height, width = x.shape[0] - 2, x.shape[1] - 2
    found, row = np.empty((height, width), np.float32), np.empty(width + 2, np.float32)
    for i in range(height):
        for j in range(width + 2):
            row[j] = middle * x[i + 1, j] + side * (x[i, j] + x[i + 2, j])
        for j in range(width):
            found[i, j] = middle * row[j + 1] + side * (row[j] + row[j + 2])
    return found


@compiled(nogil=True)
def _most_of(x: Mask, side: int) -> Mask:
    """Whether more than half of each square of a padded mask is set, by running sums."""
    height, width = x.shape[0] - side + 1, x.shape[1] - side + 1
    found, columns = np.empty((height, width), np.bool_), np.zeros(x.shape[1], np.int32)
    half = side * side // 2
    for i in range(side - 1):
        for j in range(x.shape[1]):
            columns[j] += x[i, j]
    for i in range(height):
        for j in range(x.shape[1]):
            columns[j] += x[i + side - 1, j]
        total = 0
        for j in range(side - 1):
            total += columns[j]
        for j in range(width):
            total += columns[j + side - 1]
            found[i, j] = total > half
            total -= columns[j]
        for j in range(x.shape[1]):
            columns[j] -= x[i, j]
    return found
