"""Soft skeletons and the soft clDice loss, which rewards tubes that are whole rather than tubes that are wide."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.checks import check_count
from scantling.core.errors import ArrayError, SettingsError
from scantling.losses.overlap import class_channels
from scantling.losses.targets import check_probabilities, check_target, counted


def soft_cldice_loss(
    probabilities: Tensor,
    target: Tensor,
    *,
    iterations: int,
    smooth: float = 1.0,
    ignore_index: int | None = None,
) -> Tensor:
    r"""One minus soft clDice (Shit et al., 2021, algorithm 2), each sample for itself.

    .. math:: 1 - \frac{2 T_p T_s}{T_p + T_s}, \quad
              T_p = \frac{\sum S(p)\, m + s}{\sum S(p) + s}, \quad T_s = \frac{\sum S(m)\, p + s}{\sum S(m) + s}

    averaged over samples and classes, with the soft skeleton S. It says little of the width of a tube, so use it
    beside Dice or cross-entropy.

    Args:
        probabilities: (B, K, *S) of the foreground classes, in [0, 1]; of logits, `probabilities_of(logits, K)`.
        target: (B, K, *S) of 0 and 1, or (B, 1, *S) of class numbers 0..K.
        iterations: of the skeleton, at least the largest radius of a tube in pixels.
        smooth: s, in pixels, above 0; makes two empty masks agree.
        ignore_index: the value of pixels that do not count, which are treated like those beyond the border of the
            image; 255 in the masks of a `Batch`; None: there are none.

    Raises:
        SettingsError: `smooth` is not above 0, or `iterations` is no whole number from 0.
        ArrayError: the shapes do not belong together, the target holds another value, or a probability lies outside
            [0, 1].
    """
    if smooth <= 0:
        raise SettingsError(f"smooth must be above 0, found {smooth}: empty masks would be 0 / 0")
    check_probabilities(probabilities, ignore_index=ignore_index)
    check_target(probabilities, target, classes=probabilities.shape[1], ignore_index=ignore_index)
    probabilities = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    known = counted(target, ignore_index)
    target = class_channels(target, probabilities.shape[1]).to(probabilities.dtype)
    found_line = soft_skeleton(probabilities, iterations=iterations, known=known) * known
    true_line = soft_skeleton(target, iterations=iterations, known=known) * known
    precision = _share(found_line, inside=target, smooth=smooth)  # (B, K)
    sensitivity = _share(true_line, inside=probabilities, smooth=smooth)
    return 1 - (2 * precision * sensitivity / (precision + sensitivity)).mean()


def soft_skeleton(p: Tensor, *, iterations: int, known: Tensor | None = None) -> Tensor:
    """What openings take away from ever thinner copies of p (Shit et al., 2021, algorithm 1), in [0, 1].

    One erosion takes the least value of a pixel and its two neighbours along every axis, one dilation the
    greatest of the 3^D around it; what lies beyond the border does not count. They are written as shifted minima
    and maxima, since the gradient of pooling in 3-D is not deterministic on a GPU.

    Args:
        p: (B, K, *S) in [0, 1], two or three spatial axes.
        iterations: how often the copy is eroded; a tube of a larger radius keeps no skeleton in its middle.
        known: (B, 1 or K, *S) bool; other pixels do not count, as if they lay beyond the border, and what is
            returned for them has no meaning.

    Raises:
        ArrayError: a value lies outside [0, 1], looked at on the processor, or p is not (B, K, *S).
        SettingsError: `iterations` is no whole number from 0.
    """
    check_count(iterations, argument="iterations")
    if p.ndim not in (4, 5):
        raise ArrayError(f"found a map of shape {tuple(p.shape)}; expected (B, K, H, W) or (B, K, D, H, W)")
    if p.is_cpu:
        check_probabilities(p)
    skeleton = torch.zeros_like(p)
    for _ in range(iterations + 1):
        if p.is_cpu and not p.requires_grad and not (p if known is None else p * known).any():
            break  # nothing is left that could be taken away; a GPU would have to be waited for
        thinner = _erode(p, known)
        taken = F.relu(p - _dilate(thinner, known))
        skeleton = skeleton + F.relu(taken - skeleton * taken)
        p = thinner
    return skeleton


def _erode(p: Tensor, known: Tensor | None) -> Tensor:
    p = p if known is None else p.masked_fill(~known, 1.0)
    along = [_of_three(p, axis, torch.minimum) for axis in range(2, p.ndim)]
    return torch.stack(along).amin(0)


def _dilate(p: Tensor, known: Tensor | None) -> Tensor:
    p = p if known is None else p.masked_fill(~known, 0.0)
    for axis in range(2, p.ndim):
        p = _of_three(p, axis, torch.maximum)
    return p


def _of_three(p: Tensor, axis: int, best: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The best of each pixel and its neighbours along an axis, of two at the border."""
    n = p.shape[axis]
    if n == 1:
        return p
    pairs = best(p.narrow(axis, 0, n - 1), p.narrow(axis, 1, n - 1))
    middle = best(pairs.narrow(axis, 0, n - 2), pairs.narrow(axis, 1, n - 2))
    return torch.cat([pairs.narrow(axis, 0, 1), middle, pairs.narrow(axis, n - 2, 1)], axis)


def _share(line: Tensor, *, inside: Tensor, smooth: float) -> Tensor:
    """How much of a line lies inside, (B, K)."""
    return ((line * inside).flatten(2).sum(2) + smooth) / (line.flatten(2).sum(2) + smooth)
