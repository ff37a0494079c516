"""Whether the pieces, the holes and the centre lines agree, however thick the masks are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from skimage.morphology import skeletonize

from scantling.metrics.arrays import Mask, bounding_box, foreground, masks_inside, spatial


@dataclass(frozen=True)
class Topology:
    """Two masks `(*S)` and what differs in their shape; every property is worked out once, when it is asked for."""

    prediction: Mask
    truth: Mask

    @cached_property
    def cldice(self) -> float:
        """The harmonic mean of topology precision and topology sensitivity (Shit et al., 2021).

        Tprec = |S_P ∩ V_L| / |S_P| and Tsens = |S_L ∩ V_P| / |S_L|, where V are the masks and S their skeletons.
        NaN if the truth is empty, 0 if the prediction alone is.
        """
        if not self.truth.any():
            return math.nan
        if not self.prediction.any():
            return 0.0
        precision = _share_within(self._prediction_lines, self.truth)
        sensitivity = _share_within(self._truth_lines, self.prediction)
        return 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0

    @cached_property
    def width_ratio(self) -> float:
        """Mean width of the prediction over that of the truth, each along its part of the common centre line (ours).

        That is S_P within V_L, and S_L within V_P. At a point of a centre line the width is 2 d - 1, with the distance
        d to the nearest pixel of the background, in pixels. 1 is ideal, above it the prediction is too wide, whatever
        it leaves out. NaN where the masks have no centre line in common.
        """
        found, true = self._prediction_lines & self.truth, self._truth_lines & self.prediction
        if not found.any() or not true.any():
            return math.nan
        return _mean_width(self.prediction, found) / _mean_width(self.truth, true)

    @cached_property
    def vca(self) -> float:
        """Components of the prediction divided by components of the truth (Sano, 2025); 1 is ideal.

        NaN if the truth is empty, 0 if the prediction alone is.
        """
        return self._prediction_betti[0] / self._truth_betti[0] if self.truth.any() else math.nan

    @cached_property
    def log_vca(self) -> float:
        """|ln VCA|: twice as many pieces and half as many are equally wrong. NaN if the truth is empty.

        An empty prediction counts half a component (ours): it is worse than a single piece, and finite.
        """
        if not self.truth.any():
            return math.nan
        return abs(math.log(max(self._prediction_betti[0], 0.5) / self._truth_betti[0]))

    @cached_property
    def betti0_error(self) -> float:
        """The difference in the number of components, over the whole image; NaN if the truth is empty."""
        return self._betti_error(0)

    @cached_property
    def betti1_error(self) -> float:
        """The difference in the number of holes (2-D) or of tunnels (3-D), over the whole image; NaN as above."""
        return self._betti_error(1)

    def _betti_error(self, number: int) -> float:
        if not self.truth.any():
            return math.nan
        return float(abs(self._prediction_betti[number] - self._truth_betti[number]))

    @cached_property
    def _prediction_lines(self) -> Mask:
        return skeleton(self.prediction, spatial_dims=self.prediction.ndim)

    @cached_property
    def _truth_lines(self) -> Mask:
        return skeleton(self.truth, spatial_dims=self.truth.ndim)

    @cached_property
    def _prediction_betti(self) -> tuple[int, ...]:
        return betti_numbers(self.prediction, spatial_dims=self.prediction.ndim)

    @cached_property
    def _truth_betti(self) -> tuple[int, ...]:
        return betti_numbers(self.truth, spatial_dims=self.truth.ndim)


def topology(
    prediction: ArrayLike, truth: ArrayLike, *, spatial_dims: int | None = None, region: ArrayLike | None = None
) -> Topology:
    """Compare the shapes of two masks `(*S)`, bool or 0 and 1; both are emptied outside `region` `(*S)`.

    Args:
        spatial_dims: 2 or 3, for masks (1, H, W), which have two readings; it follows from other shapes.

    Raises:
        ArrayError: the shapes differ or have two readings, there is no pixel to compare, or a mask holds other values.

    Example:
        >>> import numpy as np
        >>> from scantling.metrics import topology
        >>> line = np.zeros((9, 9), bool)
        >>> line[4] = True
        >>> broken = line.copy()
        >>> broken[4, 4] = False
        >>> topology(broken, line).vca
        2.0
    """
    predicted, true = masks_inside(prediction, truth, region)
    return Topology(spatial(predicted, spatial_dims), spatial(true, spatial_dims))


def skeleton(mask: ArrayLike, *, spatial_dims: int | None = None) -> Mask:
    """The centre line of a mask: scikit-image's `skeletonize`, Zhang and Suen (1984) in 2-D, Lee et al. (1994) in 3-D.

    It is worked out on the bounding box of the foreground, which does not change it. The 3-D one loses whole pieces
    (straight rods of even width, three voxels in an L: scikit-image's issue 3757); the voxels deepest inside such a
    piece then stand in for its centre line.

    Args:
        mask: (*S), bool or 0 and 1.
        spatial_dims: 2 or 3, for a mask (1, H, W), which has two readings.

    Raises:
        ArrayError: the shape has two readings, or the mask holds other values.
    """
    whole = spatial(mask, spatial_dims)
    lines = np.zeros_like(whole)
    box = bounding_box(whole)
    if box is not None and whole.ndim == 2:
        lines[box] = skeletonize(whole[box], method="zhang")
    elif box is not None:
        cropped = np.ascontiguousarray(whole[box])
        thinned = skeletonize(cropped, method="lee") > 0
        lines[box] = thinned | _deepest_of_lost(cropped, thinned)
    return lines


def _mean_width(mask: Mask, lines: Mask) -> float:
    """The mean over `lines` of 2 d - 1; beyond the border of the image nothing is known to be background."""
    box = bounding_box(mask)
    if box is None or mask.all():
        return math.nan
    around = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
    depth = ndimage.distance_transform_edt(mask[around])
    return float(np.mean(2 * depth[lines[around]] - 1))


def _deepest_of_lost(mask: Mask, lines: Mask) -> Mask:
    """The voxels farthest from the background in each piece of `mask` that has no voxel in `lines`."""
    pieces, number = ndimage.label(mask, structure=ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    kept = np.zeros(number + 1, dtype=np.bool_)
    kept[pieces[lines]] = kept[0] = True
    if kept.all():
        return np.zeros_like(mask)
    lost = ~kept[pieces]
    depth = ndimage.distance_transform_edt(np.pad(lost, 1))[(slice(1, -1),) * mask.ndim]
    deepest = ndimage.maximum(depth, pieces, index=np.arange(number + 1))
    return np.asarray(lost & (depth == deepest[pieces]))


def components(mask: ArrayLike, *, spatial_dims: int | None = None) -> int:
    """The number of connected pieces of the foreground, neighbours at corners included (8 in 2-D, 26 in 3-D).

    Arguments and errors as of `skeleton`.
    """
    whole = spatial(mask, spatial_dims)
    box = bounding_box(whole)
    return 0 if box is None else _count(whole[box], corners=True)


def betti_numbers(mask: ArrayLike, *, spatial_dims: int | None = None) -> tuple[int, ...]:
    """(components, holes) of a 2-D mask, (components, tunnels, cavities) of a 3-D mask.

    The foreground is a union of closed squares or cubes, so it connects at corners (8 or 26 neighbours) and the
    background does not (4 or 6). Components and cavities are counted by labelling, the number between them follows
    from the Euler characteristic: χ = β₀ - β₁ + β₂. These are the numbers of the cubical complex, without
    its boundary matrix.

    Raises:
        ArrayError: the mask has neither two nor three dimensions, two readings, or other values than 0 and 1.
    """
    whole = spatial(mask, spatial_dims)
    box = bounding_box(whole)
    if box is None:
        return (0,) * whole.ndim
    background = ~np.pad(whole[box], 1)
    pieces, characteristic = _count(whole[box], corners=True), _euler_characteristic(background)
    if whole.ndim == 2:
        return pieces, pieces - characteristic
    cavities = _count(background, corners=False) - 1
    return pieces, pieces + cavities - characteristic, cavities


def euler_characteristic(mask: ArrayLike) -> int:
    """Corners - edges + squares - cubes of the foreground as a union of closed squares or cubes, in any dimension."""
    return _euler_characteristic(~np.pad(foreground(mask), 1))


def _euler_characteristic(background: Mask) -> int:
    """The same from the background with a margin of one pixel.

    A cell is in the foreground unless every pixel around it is background. The cells of the whole grid cancel to 1,
    so it is enough to count, for each set of axes, the blocks two pixels wide along them that are all background.
    """
    blocks = [(1, background)]
    for axis in range(background.ndim):
        turned = [(sign, block.swapaxes(0, axis)) for sign, block in blocks]
        blocks += [(-sign, (block[1:] & block[:-1]).swapaxes(0, axis)) for sign, block in turned]
    empty = sum(sign * int(np.count_nonzero(block)) for sign, block in blocks)
    return (1 - empty) * (-1) ** background.ndim


def _count(mask: Mask, *, corners: bool) -> int:
    neighbours = ndimage.generate_binary_structure(mask.ndim, mask.ndim if corners else 1)
    return int(ndimage.label(mask, structure=neighbours)[1])


def _share_within(lines: Mask, mask: Mask) -> float:
    return int(np.count_nonzero(lines & mask)) / int(np.count_nonzero(lines))
