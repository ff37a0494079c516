"""Vessels without labels: how much like a tube each pixel's surroundings are, and thresholds that need no truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.filters import frangi, meijering, sato, threshold_otsu

from scantling.core.checks import binary, check_choice, check_number, numbers, spatial_axis
from scantling.core.errors import ArrayError, SettingsError
from scantling.mending.hysteresis import joined

Ridge = Literal["sato", "frangi", "meijering"]
SMALL = 1e-3
"""Images that stay below are brought to 1: the filter of Frangi takes eigenvalues below 1e-10 for none."""
FILTERS: dict[str, Callable[..., Any]] = {"sato": sato, "frangi": frangi, "meijering": meijering}

Mask = NDArray[np.bool_]
Response = NDArray[np.float64]


def vesselness(
    image: ArrayLike,
    region: ArrayLike | None = None,
    *,
    kind: Ridge = "sato",
    scales: Sequence[float] = (1.0, 2.0, 3.0),
    dark: bool = True,
    ratios: bool = True,
    spatial_dims: int | None = None,
) -> Response:
    """The greatest response over the scales of a filter for tubes, in [0, 1] with 1 at the strongest pixel.

    The filters are scikit-image's: Sato et al., 1998; Frangi et al., 1998; Meijering et al., 2004. All judge the
    eigenvalues of the Hessian at a scale. Three things are done before that the papers do not ask for. By the law of
    Lambert and Beer a vessel takes a part of the light, not an amount, so the logarithm is taken and a vessel counts
    the same in the light and in the shade. Outside the region stands the nearest value inside. And pixels nearer to
    the region's edge than one and a half of the greatest scale answer 0, because there the edge looks like a tube.

    Args:
        image: (*S), one channel in two or three dimensions.
        region: (*S), where to look; everywhere if None.
        kind: which filter.
        scales: σ in pixels, about half the radius of a tube and more.
        dark: whether vessels are darker than what is around them.
        ratios: whether to take the logarithm of the image and a floor of 1/255 of its maximum; for light, which is
            never negative.
        spatial_dims: 2 or 3, for an image (1, H, W), which has two readings; it follows from other shapes.

    Returns:
        (*S) float64; 0 outside the region, and everywhere if the image is flat.

    Raises:
        SettingsError: there are no scales or one is not positive, the filter is unknown, or `ratios` meets a
            negative value.
        ArrayError: the shapes differ, there are not two or three dimensions, the shape has two readings, the image is
            not finite in the region, or the region holds other values than 0 and 1.
    """
    check_choice(kind, FILTERS, argument="kind")
    if not isinstance(scales, Sequence | np.ndarray) or not len(scales):
        raise SettingsError(f"the scales are {scales!r}; expected one or more positive numbers")
    for scale in scales:
        check_number(scale, argument="scales", above=0)
    values = numbers(image, "the image").astype(np.float64)
    inside = np.ones(values.shape, np.bool_) if region is None else binary(region, "a region")
    if inside.shape != values.shape or values.ndim not in (2, 3):
        raise ArrayError(f"the image is {values.shape} and the region {inside.shape}; expected one shape in 2-D or 3-D")
    axis = spatial_axis(values.shape, spatial_dims, what="the image")
    if axis is not None:
        response = vesselness(values.squeeze(axis), inside.squeeze(axis), kind=kind, scales=scales, dark=dark,
                              ratios=ratios)  # fmt: skip
        return np.expand_dims(response, axis)
    if not inside.any():
        return np.zeros(values.shape)
    values = prepared_light(values, inside, ratios=ratios)
    response = np.asarray(FILTERS[kind](values, sigmas=list(scales), black_ridges=dark, mode="nearest"), np.float64)
    box = np.ones((3,) * values.ndim, np.bool_)
    judged = ndimage.binary_erosion(inside, box, iterations=math.ceil(1.5 * max(scales)), border_value=1)
    response = np.where(judged, np.maximum(response, 0.0), 0.0)
    greatest = float(response.max())
    return response / greatest if greatest > 0 else response


def prepared_light(values: Response, inside: Mask, *, ratios: bool) -> Response:
    """An image (*S) as the filters of `vesselness` see it: its logarithm, and outside the nearest value inside.

    Raises:
        ArrayError: it is not finite inside.
        SettingsError: `ratios` meets a negative value.
    """
    if not np.isfinite(values[inside]).all():
        raise ArrayError("the image holds NaN or infinite values; expected a number at every pixel of the region")
    values = np.where(inside, values, 0)
    if ratios:
        if values[inside].min() < 0:
            raise SettingsError(
                f"the image goes down to {values[inside].min():g}; expected no negative light; set ratios=False"
            )
        values = np.log(np.maximum(values, 0.0) + max(values[inside].max(), 1e-300) / 255)
    elif 0 < (most := float(np.abs(values[inside]).max())) < SMALL:
        values = values / most
    if not inside.all():
        nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
        values = values[tuple(nearest)]
    return values


def strongest(response: NDArray[np.floating], share: float, *, region: ArrayLike | None = None) -> Mask:
    """The `share` of the pixels in the region with the strongest response; of equals the first are taken.

    Args:
        response: (*S).
        share: in [0, 1].
        region: (*S); everywhere if None.

    Raises:
        SettingsError: the share is not in [0, 1].
        ArrayError: the region has another shape or other values than 0 and 1, or a response is NaN.
    """
    response = numbers(response, "the response")
    mask = np.zeros(response.shape, np.bool_)
    chosen, count = _by_strength(response, share, region)
    mask.reshape(-1)[chosen[:count]] = True
    return mask


def connected(
    response: NDArray[np.floating], share: float, *, sure: float = 0.5, region: ArrayLike | None = None
) -> Mask:
    """Hysteresis by shares: the strongest pixels that hang together with much stronger ones, `share` of the region.

    What is above the low threshold counts where it is joined to what is above the high one. The high one is that of the
    strongest `sure · share`; the low one is the highest at which as many pixels come out as asked for.

    Args:
        response: (*S).
        share: of the region that the mask takes, in [0, 1]; a little more where pixels come in pieces.
        sure: the part of it that is above the high threshold, in (0, 1].
        region: (*S); everywhere if None.

    Raises:
        SettingsError: the share is not in [0, 1] or `sure` not in (0, 1].
        ArrayError: the region has another shape or other values than 0 and 1, or a response is NaN.
    """
    response = numbers(response, "the response")
    if not 0 < sure <= 1:
        raise SettingsError(f"sure is {sure:g}; expected a number above 0 and up to 1")
    order, count = _by_strength(response, share, region)
    if not count:
        return np.zeros(response.shape, np.bool_)
    values = response.reshape(-1)[order]
    within = np.full(response.shape, -np.inf)
    within.reshape(-1)[order] = values
    high = float(values[max(1, round(sure * count)) - 1])
    fewest, most = count, len(order)  # of pixels above the low threshold
    while fewest < most:
        middle = (fewest + most) // 2
        found = joined(within, high=np.nextafter(high, -np.inf), low=np.nextafter(values[middle - 1], -np.inf))
        if np.count_nonzero(found) >= count:
            most = middle
        else:
            fewest = middle + 1
    low = min(high, float(values[most - 1]))
    return joined(within, high=np.nextafter(high, -np.inf), low=np.nextafter(low, -np.inf))


def otsu(response: NDArray[np.floating], *, region: ArrayLike | None = None) -> Mask:
    """Above the threshold that best parts the responses in the region in two (Otsu, 1979); empty if all are equal.

    Raises:
        ArrayError: the region has another shape or other values than 0 and 1, or a response is NaN.
    """
    response = numbers(response, "the response")
    inside = _inside(response, region)
    values = response[inside]
    if not values.size or values.min() == values.max():
        return np.zeros(response.shape, np.bool_)
    return inside & (response > threshold_otsu(values))


def _by_strength(
    response: NDArray[np.floating], share: float, region: ArrayLike | None
) -> tuple[NDArray[np.int64], int]:
    """The pixels of the region, the strongest first, and how many of them `share` is."""
    if not 0 <= share <= 1:
        raise SettingsError(f"the share is {share:g}; expected a number from 0 to 1")
    inside = np.flatnonzero(_inside(response, region).reshape(-1))
    order = inside[np.argsort(-response.reshape(-1)[inside], kind="stable")]
    return order, round(share * len(inside))


def _inside(response: NDArray[np.generic], region: ArrayLike | None) -> Mask:
    """The region (*S) of a response, in which it has to be finite.

    Raises:
        ArrayError: it has another shape or other values than 0 and 1, or a response is NaN or infinite.
    """
    inside = np.ones(response.shape, np.bool_) if region is None else binary(region, "a region")
    if inside.shape != response.shape:
        raise ArrayError(f"the region has shape {inside.shape}; expected {response.shape}, that of the response")
    if not np.isfinite(response[inside]).all():
        raise ArrayError("the response holds NaN or infinite values; expected a number at every pixel of the region")
    return inside
