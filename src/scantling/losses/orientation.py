"""How well directions run along a mask: no step across its borders."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.losses.overlap import class_channels


def crossing_loss(*, direction: Tensor, mask: Tensor, sigma: float = 1.0, rho: float = 2.0) -> Tensor:
    r"""The share of a mask's change that is met on the way along a direction (ours).

    .. math:: \frac{\sum v^T J_\rho v}{\sum \mathrm{tr}\, J_\rho}, \quad
              J_\rho = G_\rho * (\nabla m_\sigma \nabla m_\sigma^T)

    with the structure tensor J of the mask (Weickert, 1998, section 2.2): 0 where directions run along vessels, 1
    where they cross them, and what is far from any border counts nothing. Neither sign nor gaps of v matter.

    Args:
        direction: v, (B, K, D, *S), of length 1, in the order of the axes.
        mask: (B, K, *S) of 0 and 1, or (B, 1, *S) of class numbers 1..K; what does not count is no vessel.
        sigma: the scale of the gradient, in pixels.
        rho: the scale of the neighbourhood that votes, in pixels.
    """
    dimensions = direction.shape[2]
    smooth = smoothed(class_channels(mask, direction.shape[1]).to(direction.dtype), sigma)  # (B, K, *S)
    slopes = torch.gradient(smooth, dim=tuple(range(-dimensions, 0)))
    met, total = direction.new_zeros(()), direction.new_zeros(())
    for a in range(dimensions):
        for b in range(dimensions):
            entry = smoothed(slopes[a] * slopes[b], rho)
            met = met + (direction[:, :, a] * entry * direction[:, :, b]).sum()
            total = total + entry.sum() if a == b else total
    return met / total.clamp(min=1e-6)


def smoothed(maps: Tensor, scale: float) -> Tensor:
    """Maps (B, K, *S) under a Gaussian of deviation `scale` pixels, cut at four of them, the border repeated."""
    reach = int(4 * scale + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    weights = torch.exp(-0.5 * (offsets / scale).square())
    weights = weights / weights.sum()
    shape = maps.shape
    for axis in range(2, maps.ndim):
        rows = maps.movedim(axis, -1)
        flat = F.conv1d(
            F.pad(rows.reshape(-1, 1, shape[axis]), (reach, reach), mode="replicate"), weights.view(1, 1, -1)
        )
        maps = flat.reshape(rows.shape).movedim(-1, axis)
    return maps
