"""What a loss asks of its arguments: masks of class numbers or channels of 0 and 1, probabilities in [0, 1].

255 is no class and no foreground. It marks pixels that do not count where a caller declares it, `ignore_index=255`, as
the masks of a `Batch` have them; else it is refused, so that a mask of 0 and 255 is not taken for one of unknowns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scantling.core.checks import SLACK, check_count
from scantling.core.errors import ArrayError


def check_target(
    values: Tensor, target: Tensor, *, classes: int, ignore_index: int | None, channels: int | None = None
) -> None:
    """Refuse a target that does not belong to logits or probabilities, in its shape or in its values.

    Values are looked at on the processor, and on a GPU where no `ignore_index` is declared: looking waits for the
    device, which a training on masks that were checked when they were read, as those of a `Batch` are, need not do.

    Args:
        values: (B, C, *S), logits or probabilities.
        target: (B, K, *S) of 0 and 1, or (B, 1, *S) of class numbers 0..K.
        classes: K.
        ignore_index: a further value that is allowed.
        channels: of a target of 0 and 1; K if None.

    Raises:
        ArrayError: another shape, another value, or no tensor of real numbers.
        SettingsError: `ignore_index` is no whole number.
    """
    if ignore_index is not None:
        check_count(ignore_index, argument="ignore_index", least=-(2**31))
    for one, what in ((values, "logits or probabilities"), (target, "a target")):
        check_tensor(one, what)
    if values.ndim not in (4, 5):
        raise ArrayError(
            f"found logits or probabilities of shape {tuple(values.shape)}; expected (B, C, H, W) or (B, C, D, H, W): "
            "x[None] adds the axis of the batch"
        )
    shape, found, several = tuple(values.shape), tuple(target.shape), classes if channels is None else channels
    if len(found) != len(shape) or found[:1] + found[2:] != shape[:1] + shape[2:] or found[1] not in (1, several):
        expected = "(B, 1, *S)" if several == 1 else f"(B, 1, *S) of class numbers or (B, {several}, *S) of 0 and 1"
        more = "; target[:, None] adds the axis of the channel" if len(found) == len(shape) - 1 else ""
        raise ArrayError(f"found a target of shape {found} beside {shape}; expected {expected}{more}")
    if target.dtype == torch.bool or not target.numel() or not (target.is_cpu or ignore_index is None):
        return
    most = classes if found[1] == 1 else 1
    if target.dtype == torch.uint8 and ignore_index == 255 and int((target + 1).max()) <= most + 1:
        return  # masks of a batch, in which 255 + 1 is 0: 300 times as fast as what follows
    known = target if ignore_index is None else target.masked_fill(~counted(target, ignore_index), 0)
    low, high = known.aminmax()
    whole = not known.is_floating_point() or bool((known == known.round()).all())
    if not (whole and float(low) >= 0 and float(high) <= most):
        listed = ", ".join(f"{value:g}" for value in known.unique()[:5].tolist())
        expected = "0 and 1" if most == 1 else f"class numbers 0 to {most}"
        raise ArrayError(
            f"found the values {listed} in the target; expected {expected}: where 255 is the foreground, give "
            "target == 255; where it marks pixels that do not count, say ignore_index=255"
        )


def check_probabilities(probabilities: Tensor, *, ignore_index: int | None = None) -> None:
    """Refuse what is clearly no probability; NaN passes, since a loss of NaN is seen. Looked at as in `check_target`.

    Raises:
        ArrayError: a value is below 0 or above 1.
    """
    check_tensor(probabilities, "probabilities")
    if not probabilities.numel() or not (probabilities.is_cpu or ignore_index is None):
        return
    low, high = (float(end) for end in probabilities.detach().aminmax())
    if low < -SLACK or high > 1 + SLACK:
        raise ArrayError(
            f"found values from {low:g} to {high:g}; expected probabilities in [0, 1]: of logits, "
            "losses.probabilities_of(logits, classes)"
        )


def check_tensor(values: Any, what: str) -> None:
    """Refuse what is no tensor of real or whole numbers.

    Raises:
        ArrayError: an array of another package, or complex numbers.
    """
    if not isinstance(values, Tensor):
        raise ArrayError(f"found {what} of type {type(values).__name__}; expected a tensor: torch.as_tensor(x)")
    if values.is_complex():
        raise ArrayError(f"found {what} of complex numbers, {values.dtype}; expected real or whole ones")


def counted(target: Tensor, ignore_index: int | None) -> Tensor:
    """Where the target counts, bool in its shape."""
    if ignore_index is None:
        return torch.ones_like(target, dtype=torch.bool)
    if target.dtype == torch.int8:  # in which torch takes 255 for -1
        target = target.short()
    return target != ignore_index
