"""One image on the grid of another: through the world where both say where they lie, else by their shapes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch

from scantling.core.case import Geometry, Sample
from scantling.core.errors import DataError
from scantling.warping import Outside, affine_map, pixel_grid, sample_at

Start = Literal["world", "shape"]
"""How a moving image is brought onto a fixed one before it is registered."""
CLEARER = 0.05
"""By how much the correlation of two images by their shapes has to be above that through the world; ours."""
SAME = 0.01
"""Pixels within which two ways of laying an image are one."""
COMPARED = 48
"""About how many pixels along each axis are looked at to choose between them; ours."""
FLAT = 1e-6
"""A determinant below which a map through the world loses an axis."""
AT_ONCE = 1 << 22
"""Pixels that are sampled together, so that their places take little memory beside a large volume."""


def index_map(fixed: Geometry, moving: Geometry, *, start: Start = "world") -> np.ndarray:
    """(D, D + 1), the shift last: which pixel of the moving image lies at a pixel of the fixed one.

    Where both have an affine, at the same point of the world; else, and always by "shape", the moving image is taken to
    cover what the fixed one covers. Of images with two axes, what the affines say across the plane does not count.

    Raises:
        DataError: one has two axes and the other three.
    """
    dimensions = len(fixed.shape)
    if len(moving.shape) != dimensions:
        raise DataError(f"the fixed image has {dimensions} axes, the moving one {len(moving.shape)}; expected the same")
    if start == "world" and fixed.affine is not None and moving.affine is not None:
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


def sample_onto(sample: Sample, fixed: Geometry, *, start: Start = "world") -> Sample:
    """The image and the region of a sample on the grid of another image, its edge continued, so that no dark rim
    changes its mean."""
    geometry, region = sample.geometry, sample.region
    if start == "shape":
        geometry = replace(geometry, affine=None)
    if region is not None:
        region = resample_onto(region[None].astype(np.uint8), fixed, geometry, linear=False)[0] > 0
    return replace(
        sample,
        image=resample_onto(sample.image.astype(np.float32), fixed, geometry, outside="edge"),
        region=region,
        outside=None,
        geometry=fixed,
        masks=(),
    )


def brought_onto(moving: Sample, fixed: Sample, *, start: Start | Literal["auto"] = "auto") -> tuple[Sample, Start]:
    """A moving image on the grid of the fixed one, and how it was brought there.

    By "auto" through the world, unless the two images correlate clearly better by their shapes: affines of crops often
    say nothing of where they were cut.
    """
    if fixed.geometry.affine is None or moving.geometry.affine is None:
        start = "shape"
    elif start == "auto" and _apart(fixed.geometry, moving.geometry) < SAME:
        start = "world"
    if start == "auto":
        by = {way: _alike(fixed, moving, start=way) for way in get_args(Start)}
        start = "shape" if by["shape"] > by["world"] + CLEARER else "world"
    return sample_onto(moving, fixed.geometry, start=start), start


def _apart(fixed: Geometry, moving: Geometry) -> float:
    """How far the two ways of laying an image onto another are apart, in pixels of the moving one at most."""
    corners = np.array([*np.ndindex(*(2,) * len(fixed.shape))]) * (np.array(fixed.shape) - 1)
    both = [index_map(fixed, moving, start=way) for way in get_args(Start)]
    world, shape = (corners @ each[:, :-1].T + each[:, -1] for each in both)
    return float(np.abs(world - shape).max())


def _alike(fixed: Sample, moving: Sample, *, start: Start) -> float:
    """The absolute correlation of two images, of which the moving one is laid onto the fixed one, in [0, 1].

    Of some pixels on a grid; absolute, since those of two modalities may be opposite.
    """
    strides = [max(1, n // COMPARED) for n in fixed.geometry.shape]
    target = fixed.image[(slice(None), *(slice(None, None, stride) for stride in strides))].mean(0, dtype=np.float64)
    points = pixel_grid(target.shape, like=torch.zeros((), dtype=torch.float64))
    points = points * points.new_tensor(strides).view(1, -1, *[1] * len(strides))
    there = affine_map(points, torch.from_numpy(index_map(fixed.geometry, moving.geometry, start=start))).float()
    image = torch.from_numpy(np.ascontiguousarray(moving.image, np.float32))[None]
    other = sample_at(image, there, outside="edge")[0].double().mean(0).numpy()
    pair = [each - each.mean() for each in (target, other)]
    lengths = math.sqrt(float((pair[0] ** 2).sum() * (pair[1] ** 2).sum()))
    return abs(float((pair[0] * pair[1]).sum())) / lengths if lengths > 0 else 0.0


def through_world(displacement: np.ndarray, fixed: Geometry, moving: Geometry) -> np.ndarray:
    """A displacement (D, *S) of images that were brought together by their shapes, as one through the world.

    Its vectors lead to the same points of the moving image; without two affines it stays as it is.

    Raises:
        DataError: the files lie across each other, as an axial and a sagittal slice do.
    """
    world = torch.from_numpy(index_map(fixed, moving))
    if abs(float(torch.linalg.det(world[:, :-1]))) < FLAT:
        raise DataError(
            "the two images lie across each other, so that no displacement within the fixed one leads through the "
            "world to the moving one; register images of one plane, or remove the affines"
        )
    shape = torch.from_numpy(index_map(fixed, moving, start="shape"))
    there = torch.linalg.inv(world[:, :-1]) @ torch.cat([shape[:, :-1], shape[:, -1:] - world[:, -1:]], 1)
    out = np.empty_like(displacement)
    for row in range(fixed.shape[0]):
        points = pixel_grid((1, *fixed.shape[1:]), like=torch.zeros((), dtype=torch.float64))
        points[:, 0] += row
        vectors = torch.from_numpy(np.ascontiguousarray(displacement[:, row : row + 1]))[None]
        out[:, row : row + 1] = (affine_map(points + vectors, there) - points)[0].numpy()
    return out
