"""What is optimised on a pair itself when a network registers it: an affine map before, its displacement after."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.machine import unrepeatable
from scantling.warping import affine_map, compose, pixel_grid, warp

SHRUNK_SIDE = 24
"""About the pixels of a side of the shrunk images on which affine maps are sought; ours."""
AFFINE_STEPS, AFFINE_RATE = 80, 0.02
"""Steps of Adam, whose rate is a share of half a side; ours."""
LIKER = 0.02
"""By how much an affine map has to raise the correlation; ours."""
LARGEST = 2.0
"""By how much it may change volumes, up or down; ours."""
STIFFNESS = 0.1
"""What the squares of its changes cost of the correlation that is sought, so that noise moves nothing far; ours."""
CONTROL_SPACING = 2
"""Pixels between the vectors that are refined, which are interpolated linearly; ours."""
REFINING_RATE = 0.1
"""The rate of Adam in pixels when vectors are refined; ours."""


def affine_between(fixed: Tensor, moving: Tensor) -> Tensor:
    """The affine maps that bring moving images onto fixed ones, (B, D, D + 1) in pixels, the shift last.

    Each maximises the absolute correlation of its two shrunk images by gradient descent from no change on. No change is
    what it answers where that gains little, or would make volumes more than twice as large or small. What
    `registration` and DeepAtlas take for granted: their images were aligned before.

    Args:
        fixed, moving: (B, C, *S).
    """
    shape, axes = fixed.shape[2:], fixed.ndim - 2
    smaller = [math.ceil(n / max(1, round(n / SHRUNK_SIDE))) for n in shape]
    f, m = (F.interpolate(one.detach().float(), smaller, mode="area") for one in (fixed, moving))
    half = f.new_tensor(smaller).sub(1).div(2).clamp(min=0.5)
    grid = pixel_grid(tuple(smaller), like=f) - half.view(1, -1, *[1] * axes)  # pixels from the centre
    unit = grid / half.view(1, -1, *[1] * axes)
    change = torch.zeros(len(f), axes, axes + 1, device=f.device, requires_grad=True)
    best, kept = correlation(m, f).abs() + LIKER, torch.zeros_like(change)
    optimiser = torch.optim.Adam([change], lr=AFFINE_RATE)
    with torch.enable_grad(), torch.autocast(f.device.type, enabled=False), unrepeatable():
        for number in range(AFFINE_STEPS + 1):
            moved = torch.einsum("bij,bjn->bin", change[:, :, :-1], unit.flatten(2).expand(len(f), -1, -1))
            moved = (moved + change[:, :, -1:]).view(len(f), axes, *smaller) * half.view(1, -1, *[1] * axes)
            alike = correlation(warp(m, moved, outside="edge"), f).abs()
            with torch.no_grad():
                grown = torch.linalg.det(change[:, :, :-1] + torch.eye(axes, device=f.device))
                better = (alike > best) & (grown < LARGEST) & (grown > 1 / LARGEST)
                best = torch.where(better, alike, best)
                kept = torch.where(better[:, None, None], change, kept)
            if number < AFFINE_STEPS:
                optimiser.zero_grad()
                (STIFFNESS * change[:, :, :-1].square().sum() - alike.sum()).backward()
                optimiser.step()
    # from shares of half a side about the centre to pixels of the images
    whole = fixed.new_tensor(shape, dtype=torch.float32)
    side = whole / whole.new_tensor(smaller) * half  # half a side, in pixels of the image
    linear = torch.eye(axes, device=f.device) + kept[:, :, :-1] * side.view(1, -1, 1) / side.view(1, 1, -1)
    centre = (whole - 1) / 2
    shift = kept[:, :, -1] * side + centre - linear @ centre
    return torch.cat([linear, shift[:, :, None]], 2)


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """The correlation (B,) of images (B, C, *S), the mean over channels; 0 where one is constant."""
    pair = [each.flatten(2) - each.flatten(2).mean(2, keepdim=True) for each in (one, other)]
    lengths = (pair[0].square().sum(2) * pair[1].square().sum(2)).clamp(min=1e-8).sqrt()
    return ((pair[0] * pair[1]).sum(2) / lengths).mean(1)


def displaced(maps: Tensor, points: Tensor) -> Tensor:
    """Where affine maps (B, D, D + 1) lead points (B or 1, D, *S), (B, D, *S)."""
    each = points.expand(len(maps), *points.shape[1:]).split(1)
    return torch.cat([affine_map(some, one) for some, one in zip(each, maps, strict=True)])


def after_affine(maps: Tensor, displacement: Tensor) -> Tensor:
    """The displacement that warps by affine maps (B, D, D + 1) first and then by `displacement` (B, D, *S)."""
    grid = pixel_grid(tuple(displacement.shape[2:]), like=displacement)
    return displaced(maps.to(displacement), grid + displacement) - grid


def before_affine(maps: Tensor, inverse: Tensor) -> Tensor:
    """The inverse of `after_affine`, given that of its displacement."""
    axes = maps.shape[1]
    back = torch.linalg.inv(maps[:, :, :axes].double())
    back = torch.cat([back, -back @ maps[:, :, axes:].double()], 2).to(inverse)
    grid = pixel_grid(tuple(inverse.shape[2:]), like=inverse)
    return compose(inverse, displaced(back, grid) - grid)


def refined(vectors: Tensor, loss: Callable[[Tensor], Tensor], *, steps: int) -> Tensor:
    """Vectors (B, D, *S) of a network, moved down the gradient of the loss of their pairs.

    The instance-specific optimisation that VoxelMorph's authors describe (Balakrishnan et al., 2019), here of what is
    added on a grid of half the resolution.
    """
    shape, axes = vectors.shape[2:], vectors.ndim - 2
    start, mode = vectors.detach(), {2: "bilinear", 3: "trilinear"}[axes]
    coarse = [-(-n // CONTROL_SPACING) for n in shape]
    added = torch.zeros(len(start), axes, *coarse, device=start.device, requires_grad=True)
    optimiser = torch.optim.Adam([added], lr=REFINING_RATE)
    with torch.enable_grad(), torch.autocast(start.device.type, enabled=False), unrepeatable():
        for _ in range(steps):
            optimiser.zero_grad()
            loss(start + F.interpolate(added, shape, mode=mode, align_corners=False).to(start)).backward()
            optimiser.step()
        return start + F.interpolate(added.detach(), shape, mode=mode, align_corners=False).to(start)
