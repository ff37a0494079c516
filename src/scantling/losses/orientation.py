"""How well directions run along a mask: no step across its borders."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.checks import check_number
from scantling.core.errors import ArrayError
from scantling.losses.overlap import class_channels
from scantling.losses.targets import check_target, counted


def mask_structure(
    mask: Tensor,
    classes: int,
    *,
    dtype: torch.dtype,
    sigma: float = 1.0,
    rho: float = 2.0,
    ignore_index: int | None = None,
) -> tuple[tuple[Tensor, ...], ...]:
    r"""The structure tensor of each class of a mask (Weickert, 1998, section 2.2), its rows and columns by axis.

    .. math:: J_\rho = G_\rho * (\nabla m_\sigma \nabla m_\sigma^T)

    Args:
        mask: (B, K, *S) of 0 and 1, or (B, 1, *S) of class numbers 0..K.
        classes: K.
        dtype: of the result.
        sigma: the scale of the gradient, in pixels.
        rho: the scale of the neighbourhood that votes, in pixels.
        ignore_index: the value of pixels that do not count, 255 in the masks of a `Batch`: there is no gradient as far
            as such a pixel reaches, and the structure is 0 at it; None: there are none.

    Returns:
        D rows of D entries (B, K, *S).

    Raises:
        ArrayError: the mask has another shape, or holds another value, or an axis is a single pixel long.
        SettingsError: a scale is not above 0.
    """
    for scale, argument in ((sigma, "sigma"), (rho, "rho")):
        check_number(scale, argument=argument, above=0)
    check_target(mask, mask, classes=classes, ignore_index=ignore_index)
    if min(mask.shape[2:]) < 2:
        raise ArrayError(f"found a mask of shape {tuple(mask.shape)}; expected two pixels along every axis at least")
    smooth = smoothed(class_channels(mask, classes).to(dtype), sigma)
    slopes = torch.gradient(smooth, dim=tuple(range(2, smooth.ndim)))
    unknown = ~counted(mask, ignore_index)
    if unknown.is_cpu and not unknown.any():  # a GPU would have to be waited for
        return tuple(tuple(smoothed(one * other, rho) for other in slopes) for one in slopes)
    known, near = ~unknown, unknown.to(dtype)
    reach = int(4 * sigma + 0.5) + 1  # of the smoothing, and of the difference
    for axis in range(2, mask.ndim):
        rows = near.movedim(axis, -1)
        wide = F.max_pool1d(rows.flatten(0, -2)[:, None], 2 * reach + 1, stride=1, padding=reach)
        near = wide.view(rows.shape).movedim(-1, axis)
    slopes = tuple(slope * (near == 0) for slope in slopes)
    return tuple(tuple(smoothed(one * other, rho) * known for other in slopes) for one in slopes)


def trace(structure: tuple[tuple[Tensor, ...], ...]) -> Tensor:
    """The sum of tr J over all samples, classes and pixels: how much a mask changes, in any direction."""
    return torch.stack([row[axis].sum() for axis, row in enumerate(structure)]).sum()


def crossing(direction: Tensor, structure: tuple[tuple[Tensor, ...], ...]) -> Tensor:
    r"""How much of a mask's change is met on the way along a direction (ours).

    .. math:: \sum v^T J_\rho v

    Over the `trace` it is 0 where directions run along vessels and 1 where they cross them, and what is far from any
    border counts nothing. Neither sign nor gaps of v matter.

    Args:
        direction: v, (B, K, D, *S), of length 1, in the order of the axes.
        structure: of the mask, as `mask_structure` gives it.

    Raises:
        ArrayError: the direction is of another grid, or of another number of axes or classes.
    """
    shape = structure[0][0].shape
    if direction.shape != (*shape[:2], len(structure), *shape[2:]):
        raise ArrayError(
            f"found a direction of shape {tuple(direction.shape)} for a structure of {tuple(shape)}; expected "
            f"(B, K, {len(structure)}, *S)"
        )
    met = direction.new_zeros(())
    for a, row in enumerate(structure):
        for b, entry in enumerate(row):
            met = met + (direction[:, :, a] * entry * direction[:, :, b]).sum()
    return met


def smoothed(maps: Tensor, scale: float) -> Tensor:
    """Maps (B, K, *S) under a Gaussian of deviation `scale` pixels, cut at four of them, the border repeated.

    Raises:
        SettingsError: the scale is not above 0.
    """
    check_number(scale, argument="scale", above=0)
    with torch.autocast(maps.device.type, enabled=False):
        return _smoothed(maps, scale)


def _smoothed(maps: Tensor, scale: float) -> Tensor:
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
