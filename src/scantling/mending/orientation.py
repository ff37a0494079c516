"""Which way a tube runs at each pixel, and how sure that is: from the structure tensor of a map, unlearned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scantling.core.checks import check_number, numbers
from scantling.core.errors import ArrayError
from scantling.mending.eigen import smallest
from scantling.mending.smoothing import smoothed

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

    Raises:
        SettingsError: a scale is not above 0.
        ArrayError: the map has neither two nor three axes, or is no array of numbers.
    """
    for scale, argument in ((sigma, "sigma"), (rho, "rho")):
        check_number(scale, argument=argument, above=0)
    map_ = numbers(map_, "the map")
    if map_.ndim not in (2, 3) or not map_.size:
        raise ArrayError(f"found a map of shape {map_.shape}; expected (H, W) or (D, H, W)")
    smooth = smoothed(map_, sigma)
    slopes = [_slope(smooth, axis) for axis in range(smooth.ndim)]
    entries = {(a, b): smoothed(slopes[a] * slopes[b], rho) for a in range(smooth.ndim) for b in range(a, smooth.ndim)}
    return _of(list(entries.values()))


def carried(orientation: Orientation, map_: NDArray[np.floating], *, scale: float) -> Orientation:
    r"""The directions of probable and coherent pixels, carried to the pixels around them, gaps above all.

    At the blunt end of a vessel the map changes least across it, so that the structure tensor closes the end like a
    door. Here every pixel votes with :math:`u c\, v v^T`, the votes are smoothed (normalised convolution, Knutsson
    and Westin, 1993), and the eigenvector of the largest eigenvalue wins: in a gap, where it meets no votes but
    those of the two vessels that end there, that is their direction.

    Args:
        orientation: v and c.
        map_: u, (*S).
        scale: of the smoothing, in pixels; about half the widest gap.

    Raises:
        SettingsError: the scale is not above 0.
        ArrayError: the map has another shape than the orientation.
    """
    check_number(scale, argument="scale", above=0)
    if np.shape(map_) != orientation.coherence.shape:
        raise ArrayError(f"found a map of shape {np.shape(map_)}; expected {orientation.coherence.shape}")
    weight, v = np.asarray(map_, np.float32) * orientation.coherence, orientation.direction
    # The largest eigenvalue of a matrix is the smallest of its negative.
    return _of([smoothed(-weight * v[a] * v[b], scale) for a in range(len(v)) for b in range(a, len(v))])


def _of(entries: Sequence[Array]) -> Orientation:
    """Direction and coherence by the two smallest eigenvalues of matrices that are all positive or all negative."""
    low, middle, vectors = smallest(entries)
    diagonal = [0, 2] if len(entries) == 3 else [0, 3, 5]
    trace = np.abs(np.sum([entries[each] for each in diagonal], axis=0))
    total = np.abs(low + middle) + np.float32(_EPSILON) * trace
    contrast = np.divide(middle - low, total, out=np.zeros_like(total), where=total > 0)
    return Orientation(vectors, np.clip(contrast, 0, 1) ** 2)


def _slope(map_: Array, axis: int) -> Array:
    return np.gradient(map_, axis=axis) if map_.shape[axis] > 1 else np.zeros_like(map_)
