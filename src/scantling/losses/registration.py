"""What registration minimises: local correlation by box sums, bending energy, the overlap of two soft maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.checks import check_count, check_number
from scantling.core.errors import ArrayError, SettingsError
from scantling.losses.targets import check_tensor


def local_correlation_loss(image: Tensor, other: Tensor, *, window: int = 9, epsilon: float = 1e-5) -> Tensor:
    r"""One minus the mean squared local correlation (Avants et al., 2008; Balakrishnan et al., 2019).

    .. math:: 1 - \frac{1}{|\Omega|} \sum_x \frac{c(x)^2}{v_f(x) v_m(x) + \epsilon}

    with covariance c and variances v over the pixels of the window around x that lie in the image, so that nothing is
    padded. At least in float32.

    Args:
        image, other: (B, C, *S) of one shape, in units of about their own deviation: epsilon is in the fourth power of
            them. A window in which one of them is constant counts as 0.
        window: its side in pixels, odd.

    Returns:
        () in [0, 1], the mean over samples and channels.

    Raises:
        ArrayError: the shapes differ, or are not (B, C, *S) with two or three axes.
        SettingsError: the window is not odd, or epsilon not above 0.

    Example:
        >>> import torch
        >>> from scantling.losses import local_correlation_loss
        >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> round(local_correlation_loss(image, 3 - 2 * image, window=5).item(), 2)
        0.0
    """
    _check_pair(image, other)
    check_count(window, argument="window", least=3)
    check_number(epsilon, argument="epsilon", above=0)
    if window % 2 == 0:
        raise SettingsError(f"window: found {window}; expected an odd number")
    f, m = (one if one.dtype == torch.float64 else one.float() for one in (image, other))
    axes = tuple(range(2, f.ndim))
    f, m = (one - one.mean(axes, keepdim=True).detach() for one in (f, m))  # small numbers have exact squares
    count = box_counts(f.shape[2:], window).to(f)
    means = box_sums(torch.cat([f, m, f * f, m * m, f * m], 1), window) / count
    f_mean, m_mean, ff, mm, fm = means.chunk(5, 1)  # (B, C, *S) each
    covariance = fm - f_mean * m_mean
    variances = (ff - f_mean.square()).clamp(min=0) * (mm - m_mean.square()).clamp(min=0)
    return 1 - (covariance.square() / (variances + epsilon)).mean()


class _BoxSums(torch.autograd.Function):
    """Sums over a window are their own adjoint, so that their gradient costs what they cost."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, window: int) -> Tensor:
        ctx.window = window
        for axis in range(2, image.ndim):
            image = _sliding_sums(image, axis, window)
        return image

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return box_sums(gradients[0], ctx.window), None


def box_sums(image: Tensor, window: int) -> Tensor:
    """The sum (B, C, *S) over the window of odd side around each pixel, as far as it lies in the image (B, C, *S).

    One axis after the other, each by sums of 1, 2, 4, ... pixels: about 2 log₂ `window` additions a pixel and axis, of
    values of one sign if the image is, and not `window`^D products.
    """
    found: Tensor = _BoxSums.apply(image, window)  # type: ignore[no-untyped-call]
    return found


def _sliding_sums(image: Tensor, axis: int, window: int) -> Tensor:
    length, radius = image.shape[axis], window // 2
    pads = [0] * (2 * (image.ndim - axis))
    pads[-2:] = [radius, radius]
    block, width, offset = F.pad(image, pads), 1, 0
    found: Tensor | None = None
    while True:  # `block` holds sums of `width` pixels
        if window & width:
            part = block.narrow(axis, offset, length)
            found, offset = part if found is None else found + part, offset + width
        if 2 * width > window:
            return image if found is None else found
        rest = block.shape[axis] - width
        block, width = block.narrow(axis, 0, rest) + block.narrow(axis, width, rest), 2 * width


def box_counts(shape: Sequence[int], window: int) -> Tensor:
    """How many pixels of an image of this shape the window around each has, (*shape) float32."""
    counts = torch.ones(())
    for length in shape:
        places = torch.arange(length)
        radius = window // 2
        counts = counts[..., None] * ((places + radius).clamp(max=length - 1) - (places - radius).clamp(min=0) + 1)
    return counts


def bending_energy(displacement: Tensor, *, spacing: Sequence[float] | None = None) -> Tensor:
    r"""The mean bending energy of a displacement (Rueckert et al., 1999): 0 for every affine map.

    .. math:: \frac{1}{D |\Omega|} \sum_x \sum_i \sum_{jk} \left(\frac{\partial^2 u_i}{\partial x_j x_k}\right)^2

    over the pixels that have all neighbours. Of equal spacings it is MONAI's `BendingEnergyLoss`, which knows no others
    and no axis of less than three pixels.

    Args:
        displacement: u, (B, D, *S) in pixels.
        spacing: of each axis, in any unit; then lengths are in units of their geometric mean. None: all equal.

    Raises:
        ArrayError: the displacement has no vector of D components for D axes.
        SettingsError: the spacing has not one positive number for each axis.
    """
    check_tensor(displacement, "a displacement")
    axes = displacement.ndim - 2
    if axes not in (2, 3) or displacement.shape[1] != axes:
        raise ArrayError(
            f"found a displacement of shape {tuple(displacement.shape)}; expected (B, 2, H, W) or (B, 3, D, H, W)"
        )
    mm = tuple(spacing) if spacing is not None else (1.0,) * axes
    if len(mm) != axes or min(mm) <= 0:
        raise SettingsError(f"spacing: found {mm}; expected a number above 0 for each of the {axes} axes")
    mean = math.prod(mm) ** (1 / axes)
    unit = [each / mean for each in mm]
    lengths = displacement.new_tensor(unit).view(1, -1, *[1] * axes)
    energy = displacement.new_zeros(())
    for j in range(axes):
        for k in range(j, axes):
            if displacement.shape[2 + j] < 3 or displacement.shape[2 + k] < 3:
                continue  # an axis without an inner pixel bends nothing
            second = _second_derivative(displacement, 2 + j, 2 + k) * lengths / (unit[j] * unit[k])
            energy = energy + (1 if j == k else 2) * second.square().mean()
    return energy


def _second_derivative(values: Tensor, first: int, other: int) -> Tensor:
    """By the next neighbours, at the pixels that have neighbours along all axes of three pixels or more."""
    for axis in range(2, values.ndim):
        if axis not in (first, other) and values.shape[axis] >= 3:
            values = values.narrow(axis, 1, values.shape[axis] - 2)
    if first == other:
        inner = values.shape[first] - 2
        return values.narrow(first, 2, inner) - 2 * values.narrow(first, 1, inner) + values.narrow(first, 0, inner)
    for axis in (first, other):
        inner = values.shape[axis] - 2
        values = (values.narrow(axis, 2, inner) - values.narrow(axis, 0, inner)) / 2
    return values


def soft_overlap_loss(first: Tensor, second: Tensor, *, known: Tensor | None = None, smooth: float = 1.0) -> Tensor:
    r"""One minus the soft Dice of two maps of probabilities, of which neither need be a mask.

    .. math:: 1 - \frac{2 \sum a b + s}{\sum a + \sum b + s}, averaged over samples and classes

    Args:
        first, second: a and b, (B, K, *S) in [0, 1].
        known: (B, 1 or K, *S) bool, the pixels that count; None: all.
        smooth: s, in pixels; makes two empty maps agree.

    Raises:
        ArrayError: the shapes differ.
        SettingsError: `smooth` is below 0.
    """
    _check_pair(first, second)
    check_number(smooth, argument="smooth", least=0)
    first, second = (one if one.dtype == torch.float64 else one.float() for one in (first, second))
    if known is not None:
        first, second = first * known, second * known
    both, sums = (first * second).flatten(2).sum(2), (first + second).flatten(2).sum(2)
    return 1 - ((2 * both + smooth) / (sums + smooth)).mean()


def _check_pair(one: Tensor, other: Tensor) -> None:
    for each in (one, other):
        check_tensor(each, "an image")
    if one.shape != other.shape or one.ndim not in (4, 5):
        raise ArrayError(
            f"found images of shapes {tuple(one.shape)} and {tuple(other.shape)}; expected (B, C, *S) twice, of one "
            "shape with two or three axes"
        )
