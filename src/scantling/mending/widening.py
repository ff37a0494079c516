"""From a centre line to a mask: vessels are as wide as the scale at which the image looks most like a ridge there."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import hessian_matrix
from skimage.filters import sato

from scantling.core.checks import binary, numbers
from scantling.core.errors import ArrayError
from scantling.core.fields import IGNORE
from scantling.mending.ridges import Mask, Response, prepared_light

SCALES = tuple(0.6 * 2 ** (step / 2) for step in range(9))
"""σ in pixels: radii up to about 11."""
GAMMA = 0.75
"""Answers grow with σ to the power 2 γ; Lindeberg's value for ridges. With 1 what lies beside thin vessels wins."""
BLUR = 0.8
"""The deviation by which an image is blurred before it is looked at, in pixels."""
NEIGHBOURS = 15
"""Points of a line over which a width is a median."""
THINNEST = math.sqrt(0.5)
"""The least radius in pixels, below which a disc may miss every pixel."""
RIM = 3.0
"""How far beside a vessel nothing else is, in pixels."""
NEAREST = 32
"""Points of a line that are asked whether a pixel lies in their disc: where a thin branch leaves, more than its own."""


def widened(
    line: ArrayLike,
    image: ArrayLike,
    region: ArrayLike | None = None,
    *,
    dark: bool = True,
    ratios: bool = True,
    reach: float = 2.0,
) -> NDArray[np.uint8]:
    r"""The vessels whose centre lines are drawn, and the background right beside them.

    Each point of the line moves to the strongest ridge across the line, `reach` pixels away at most. There
    $\sigma^{2\gamma} \max(\lambda, 0)$, with λ the largest eigenvalue of the Hessian at the scale σ, is greatest at one
    scale (Lindeberg, "Edge detection and ridge detection with automatic scale selection", 1998; γ = 3/4). Of a bar of
    half-width w in an image that was blurred by b, so that the total is $t^2 = \sigma^2 + b^2$, this is where
    $w^2 = t^2 (3 \sigma^2 - 2 \gamma t^2) / \sigma^2$. The medians of neighbouring points are the radii of discs. That
    widths are medians, the blur and the rim of `RIM` pixels are ours. What is thinner than two pixels comes out
    about a pixel too wide, and so, or more, does what the image hardly shows.

    Args:
        line: (H, W), where it was drawn.
        image: (H, W), one channel.
        region: (H, W), where to look; everywhere if None.
        dark: whether vessels are darker than what is around them.
        ratios: see `ridges.vesselness`.
        reach: how far the line may lie from the middle of its vessel, in pixels.

    Returns:
        (H, W): 1 in a vessel, 0 in the rim around it, and `IGNORE` elsewhere, of which a line says nothing.

    Raises:
        ArrayError: the shapes differ or are not of two axes, the image is not finite in the region, or the line or the
            region holds other values than 0 and 1.
        SettingsError: `ratios` meets a negative value.
    """
    drawn, values = binary(line, "a centre line"), numbers(image, "the image").astype(np.float64)
    inside = np.ones(values.shape, np.bool_) if region is None else binary(region, "a region")
    if values.ndim != 2 or not drawn.shape == inside.shape == values.shape:
        raise ArrayError(
            f"the line is {drawn.shape}, the image {values.shape} and the region {inside.shape}; expected one shape "
            "(H, W)"
        )
    found, drawn = np.full(values.shape, IGNORE, np.uint8), drawn & inside
    if not drawn.any():
        return found
    light = prepared_light(values, inside, ratios=ratios)
    answers = np.stack(
        [scale ** (2 * GAMMA - 2) * sato(light, sigmas=[scale], black_ridges=dark, mode="nearest") for scale in SCALES]
    )
    places = _moved(drawn, answers.max(0), reach)
    depth = _depth(places, _radii(places, answers), drawn.shape)
    found[depth > -RIM] = 0
    found[depth > 0] = 1
    return found


def _moved(line: Mask, strength: Response, reach: float) -> Response:
    """(n, 2), each pixel of a line at the strongest place across it; the nearest of equals."""
    places = np.argwhere(line).astype(np.float64)
    hessian = hessian_matrix(line.astype(np.float64), 2.0, mode="nearest", use_gaussian_derivatives=True)
    rows, mixed, columns = (part[line] for part in hessian)
    along = 0.5 * np.arctan2(2 * mixed, rows - columns)  # least bent
    across = np.stack([-np.sin(along), np.cos(along)], 1)
    steps = np.array(sorted(np.linspace(-reach, reach, 2 * round(2 * reach) + 1), key=abs))
    tried = places[:, None] + steps[:, None] * across[:, None]
    seen = ndimage.map_coordinates(strength, np.moveaxis(tried, -1, 0), order=1, mode="nearest")
    return np.asarray(places + steps[seen.argmax(1)][:, None] * across)


def _radii(places: Response, answers: Response) -> Response:
    """(n,) at places (n, 2), from the answers (scales, H, W): the best scale between scales, by a parabola."""
    seen = np.stack([ndimage.map_coordinates(each, places.T, order=1, mode="nearest") for each in answers])
    best = seen.argmax(0)
    middle, each = np.clip(best, 1, len(SCALES) - 2), np.arange(len(places))
    before, here, after = (seen[middle + step, each] for step in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=(best == middle) & (bend < 0))
    logs = np.log(SCALES)
    variance = np.exp(2 * (logs[best] + (logs[1] - logs[0]) * shift))
    near = cKDTree(places).query(places, k=range(1, 1 + min(NEIGHBOURS, len(places))))[1]
    variance = np.median(variance[near], 1)
    total = variance + BLUR**2
    squared = np.maximum(total * (3 * variance - 2 * GAMMA * total) / variance, THINNEST**2)
    return np.asarray(np.sqrt(squared))


def _depth(places: Response, radii: Response, shape: tuple[int, ...]) -> Response:
    """(H, W), how deep each pixel lies in a disc around one of the places: radius minus distance; -∞ far outside."""
    marked = np.ones(shape, np.bool_)
    ends = np.array(shape) - 1
    marked[tuple(np.clip(np.round(places), 0, ends).astype(np.int64).T)] = False
    pixels = np.argwhere(ndimage.distance_transform_edt(marked) <= radii.max() + RIM + 1)
    away, near = cKDTree(places).query(pixels, k=range(1, 1 + min(NEAREST, len(places))))
    depth = np.full(shape, -np.inf)
    depth[tuple(pixels.T)] = (radii[near] - away).max(1)
    return depth
