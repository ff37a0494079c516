"""Which way a tube runs at each pixel, and how sure that is: from the structure tensor of a map, unlearned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scantling.mending.eigen import smallest

Array = NDArray[np.float32]

_EPSILON = 1e-3


@dataclass(frozen=True)
class Orientation:
    """A direction and a coherence at each pixel.

    Args:
        direction: (D, *S), of length 1 and of no particular sign, in the order of the axes; zero where the map is
            flat and no direction is better than another.
        coherence: (*S) in [0, 1]; 1 if everything near the pixel runs one way, 0 if nothing does.
    """

    direction: Array
    coherence: Array


def structure_orientation(map_: NDArray[np.floating], *, sigma: float = 1.0, rho: float = 2.0) -> Orientation:
    r"""The direction in which a map changes least, from its structure tensor (Weickert, 1998, section 2.2).

    :math:`J_\rho = G_\rho * (\nabla u_\sigma \nabla u_\sigma^T)`; the direction is the eigenvector of the smallest
    eigenvalue, the coherence :math:`((\mu_2 - \mu_1) / (\mu_2 + \mu_1 + \epsilon\,\mathrm{tr} J))^2` of the two
    smallest, so that in 3-D a sheet, which runs two ways, has none (for which ε = 0.001 is there: both are nothing but
    rounding then).

    Args:
        map_: (*S) in two or three dimensions: a probability map or a grey image.
        sigma: the scale of the gradient, in pixels.
        rho: the scale of the neighbourhood that votes, in pixels.
    """
    smooth = _smoothed(map_, sigma)
    slopes = [_slope(smooth, axis) for axis in range(smooth.ndim)]
    entries = {(a, b): _smoothed(slopes[a] * slopes[b], rho) for a in range(smooth.ndim) for b in range(a, smooth.ndim)}
    low, middle, vectors = smallest(list(entries.values()))
    total = np.float32(_EPSILON) * sum(entries[axis, axis] for axis in range(smooth.ndim)) + low + middle
    contrast = np.divide(middle - low, total, out=np.zeros_like(total), where=total > 0)
    return Orientation(vectors, np.clip(contrast, 0, 1) ** 2)


def _slope(map_: Array, axis: int) -> Array:
    return np.gradient(map_, axis=axis) if map_.shape[axis] > 1 else np.zeros_like(map_)


def _smoothed(map_: NDArray[np.floating], scale: float) -> Array:
    return ndimage.gaussian_filter(np.asarray(map_, np.float32), scale, mode="nearest")
