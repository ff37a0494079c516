"""One image on the grid of another: through the world where both say where they lie, else by their shapes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from scantling.core.case import Geometry, Sample
from scantling.core.errors import DataError
from scantling.warping import Outside, affine_map, pixel_grid, sample_at

AT_ONCE = 1 << 22
"""Pixels that are sampled together, so that their places take little memory beside a large volume."""


def index_map(fixed: Geometry, moving: Geometry) -> np.ndarray:
    """(D, D + 1), the shift last: which pixel of the moving image lies at a pixel of the fixed one.

    Where both have an affine, at the same point of the world; else the moving image is taken to cover what the fixed
    one covers. Of images with two axes, what the affines say across the plane does not count.

    Raises:
        DataError: one has two axes and the other three.
    """
    dimensions = len(fixed.shape)
    if len(moving.shape) != dimensions:
        raise DataError(f"the fixed image has {dimensions} axes, the moving one {len(moving.shape)}; expected the same")
    if fixed.affine is not None and moving.affine is not None:
        whole = np.linalg.inv(moving.affine) @ fixed.affine
        return np.asarray(whole[:dimensions][:, [*range(dimensions), 3]])
    factor = np.divide(moving.shape, fixed.shape)
    return np.hstack([np.diag(factor), (factor - 1)[:, None] / 2])


def resample_onto(
    array: np.ndarray,
    fixed: Geometry,
    moving: Geometry,
    *,
    displacement: np.ndarray | None = None,
    linear: bool = True,
    outside: Outside = "zero",
) -> np.ndarray:
    """The values (C, *S_moving) of a moving image on the fixed image's grid, (C, *S_fixed), interpolated once.

    Args:
        displacement: (D, *S_fixed) in pixels of the fixed image: the value at x is that of the moving image where
            x + displacement(x) lies.
        linear: else the nearest value, for masks.
        outside: what is beyond the moving image.

    Raises:
        DataError: one image has two axes and the other three.
    """
    matrix, image = torch.from_numpy(index_map(fixed, moving)), torch.from_numpy(np.ascontiguousarray(array))[None]
    out = np.empty((len(array), *fixed.shape), array.dtype)
    rows = max(1, AT_ONCE // max(1, math.prod(fixed.shape[1:])))
    for start in range(0, fixed.shape[0], rows):
        some = slice(start, min(start + rows, fixed.shape[0]))
        points = pixel_grid((some.stop - start, *fixed.shape[1:]), like=torch.zeros((), dtype=torch.float64))
        points[:, 0] += start
        if displacement is not None:
            points = points + torch.from_numpy(np.ascontiguousarray(displacement[:, some]))[None]
        points = affine_map(points, matrix).float()
        out[:, some] = sample_at(image, points, linear=linear, outside=outside)[0].numpy()
    return out


def sample_onto(sample: Sample, fixed: Geometry) -> Sample:
    """The image and the region of a sample on the grid of another image, its edge continued, so that no dark rim
    changes its mean."""
    region = sample.region
    if region is not None:
        region = resample_onto(region[None].astype(np.uint8), fixed, sample.geometry, linear=False)[0] > 0
    return replace(
        sample,
        image=resample_onto(sample.image.astype(np.float32), fixed, sample.geometry, outside="edge"),
        region=region,
        outside=None,
        geometry=fixed,
        masks=(),
    )
