"""The two terms of horizontal and vertical maps: their squared error, and that of their gradients inside objects."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.errors import ArrayError


def hover_terms(found: Tensor, true: Tensor, *, objects: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""The terms of Graham et al., 2019, equations 2 and 3.

    .. math:: L_a = \frac1n \sum_i \|p_i - \Gamma_i\|^2, \quad
        L_b = \frac1m \sum_{i \in M} (\nabla_x p_x - \nabla_x \Gamma_x)^2 + (\nabla_y p_y - \nabla_y \Gamma_y)^2

    The first is a mean over pixels and both maps, as in the authors' code. The second is given as its sum and m, so
    that it can be made one ratio over a step (`Step.mean`); in the authors' code it is half of the paper's.

    Args:
        found, true: (B, 2, H, W), horizontal and vertical.
        objects: (B, 1, H, W) bool, M.
        known: (B, 1, H, W) bool, the pixels that count.

    Returns:
        L_a, each sample for itself; the sum of L_b; m.

    Raises:
        ArrayError: the shapes do not fit each other.
    """
    one = (found.shape[0], 1, *found.shape[2:])
    if found.ndim != 4 or found.shape[1] != 2 or true.shape != found.shape or {objects.shape, known.shape} != {one}:
        raise ArrayError(
            f"found maps of shapes {tuple(found.shape)} and {tuple(true.shape)}, objects of {tuple(objects.shape)} and "
            f"known pixels of {tuple(known.shape)}; expected (B, 2, H, W) twice and (B, 1, H, W) twice"
        )
    error = found - true if found.dtype == torch.float64 else found.float() - true.float()
    error = error * known
    counts = known.flatten(1).sum(1).clamp(min=1)
    squared = error.square().mean(1).flatten(1).sum(1).div(counts).mean()
    along = _gradient_kernel(error)
    slope = torch.cat(
        [
            F.conv2d(error[:, :1], along, padding=2),
            F.conv2d(error[:, 1:], along.transpose(2, 3), padding=2),
        ],
        1,
    )
    inside = objects & known
    return squared, (slope.square() * inside).sum(), inside.sum().to(error.dtype)


def _gradient_kernel(like: Tensor) -> Tensor:
    """(1, 1, 5, 5), x / (x² + y²): the Sobel kernel of the authors' code, which rises along the last axis."""
    steps = torch.arange(-2, 3, dtype=like.dtype, device=like.device)
    x, y = steps[None, :], steps[:, None]
    return (x / (x.square() + y.square()).clamp(min=1e-15))[None, None]
