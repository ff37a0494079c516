"""Sketches of images as SkrGAN draws them: the strong edges, cleaned of specks and of small holes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.checks import check_number, numbers
from scantling.core.errors import ArrayError

STRONG = 0.8
"""A stroke is where an edge is so many deviations above the mean; ours."""
HOLE = 1 / 4096
"""Holes of at most this share of the image are filled: 64 of 512 x 512 pixels; ours."""
SQUARE = np.ones((3, 3), np.bool_)


def edge_sketch(image: Any, *, smooth: float = 1.0, strong: float = STRONG) -> NDArray[np.bool_]:
    """The sketch (H, W) of an image (H, W) (Zhang et al., SkrGAN, 2019): Sobel, low-pass, opening, closing, filling.

    The length of the Sobel gradient, a Gaussian over it, what is strong; an opening takes specks away, a closing joins
    what is torn, and small holes are filled. The order of the steps is theirs, the numbers are ours. An image without
    contrast has no stroke.

    Args:
        image: of any number type and range.
        smooth: the deviation of the Gaussian, in pixels.
        strong: see `STRONG`.

    Raises:
        ArrayError: the image is not (H, W), or not finite.
    """
    x = numbers(image, "the image").astype(np.float32)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ArrayError(f"the image: found {x.shape}, or values that are not finite; expected finite values (H, W)")
    check_number(smooth, argument="smooth", above=0)
    edges = np.hypot(ndimage.sobel(x, 0, mode="reflect"), ndimage.sobel(x, 1, mode="reflect"))
    edges = ndimage.gaussian_filter(edges, smooth)
    strokes = edges > edges.mean() + strong * edges.std()
    strokes = ndimage.binary_opening(strokes, SQUARE)
    strokes = ndimage.binary_closing(np.pad(strokes, 1), SQUARE)[1:-1, 1:-1]
    holes, count = ndimage.label(~strokes)
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    small = sizes <= x.size * HOLE
    small[0] = False  # the strokes themselves
    found: NDArray[np.bool_] = strokes | small[holes]
    return found
