"""Two images become one, with their labels: a block of the other, or its objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from scantling.core.checks import check_number
from scantling.core.errors import ArrayError

__all__ = ["copy_paste", "cutmix", "pasted"]

Fields = Mapping[str, Tensor]
"""Fields on one grid by name, (B, C, *S): images, masks, pseudo-labels, their weights."""


class Random(Protocol):
    """What gives the randomness: a `Step`, whose draws do not depend on how a batch is divided."""

    def rand(self, purpose: str, *, like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) in the shape of `like`, row by row."""
        ...


def cutmix(
    fields: Fields,
    others: Fields,
    step: Random,
    *,
    share: tuple[float, float] = (0.25, 0.5),
    probability: float = 1.0,
    purpose: str = "cutmix",
) -> tuple[dict[str, Tensor], Tensor]:
    """A block of each sample is taken from the other sample at the same place (CutMix: Yun et al., ICCV 2019).

    Args:
        fields: (B, C, *S) by name.
        others: the same of the other samples, such as a companion's; a field that is missing there is left out.
        share: the least and the greatest share of the pixels that the block takes; its sides have the proportions of
            the image (as French et al., BMVC 2020, cut for segmentation).
        probability: that a sample gets a block.

    Returns:
        The mixed fields, and where they are the other's, (B, 1, *S) bool.

    Raises:
        ArrayError: there is no field, they are on different grids, or the share is not in [0, 1].
        SettingsError: the probability is not in [0, 1].
    """
    check_number(probability, argument="probability", least=0, most=1)
    if not fields:
        raise ArrayError("found no field to mix; expected (B, C, *S) by name")
    if not 0 <= share[0] <= share[1] <= 1:
        raise ArrayError(f"the share of the block is {share}; expected 0 <= least <= greatest <= 1")
    first = next(iter(fields.values()))
    shape = first.shape[2:]
    drawn = step.rand(purpose, like=first.new_empty((len(first), 1 + len(shape)), dtype=torch.float64))
    sides = (share[0] + drawn[:, 0] * (share[1] - share[0])) ** (1 / len(shape))
    inside = torch.ones((len(first), 1, *shape), dtype=torch.bool, device=first.device)
    for axis, length in enumerate(shape):
        side = (sides * length).round()
        start = (drawn[:, 1 + axis] * (length - side + 1)).floor()
        at = torch.arange(length, device=first.device)
        along = (at >= start[:, None]) & (at < (start + side)[:, None])  # (B, length)
        inside &= along.view(len(first), 1, *[length if other == axis else 1 for other in range(len(shape))])
    if probability < 1:
        mixed = step.rand(f"{purpose} at all", like=drawn[:, 0]) < probability
        inside &= mixed.view(-1, *[1] * (inside.ndim - 1))
    return pasted(fields, others, inside), inside


def copy_paste(
    fields: Fields,
    others: Fields,
    step: Random,
    *,
    probability: float = 0.5,
    purpose: str = "copy-paste",
    ignore_index: int | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """The labelled pixels of the other sample are pasted at the same place (Copy-Paste: Ghiasi et al., CVPR 2021).

    Args:
        fields: (B, C, *S) by name, "mask" among them.
        others: the same of the other samples; what its mask (B, 1, *S) of class numbers or (B, K, *S) of 0 and 1
            marks of any class is pasted.
        probability: that a sample gets anything.
        ignore_index: the value of a mask where nothing is known, which is not pasted; 255 in the masks of a `Batch`.

    Returns:
        The mixed fields, and where they are the other's, (B, 1, *S) bool.

    Raises:
        ArrayError: there is no mask, a mask holds 255 without that being declared, or other values than class numbers
            (looked at on the processor), or the fields are on different grids.
        SettingsError: the probability is not in [0, 1].
    """
    check_number(probability, argument="probability", least=0, most=1)
    if "mask" not in fields or "mask" not in others:
        raise ArrayError("found no mask to copy by; expected 'mask' among the fields of both samples")
    mask = others["mask"]
    drawn = step.rand(purpose, like=torch.empty((len(mask), 1), dtype=torch.float64, device=mask.device))
    if ignore_index is None and mask.dtype != torch.bool and bool((mask == 255).any()):
        raise ArrayError(
            "found the value 255 in the mask; expected class numbers, or 0 and 1: where it is the foreground, give "
            "mask == 255; where it marks pixels that do not count, say ignore_index=255"
        )
    if mask.is_cpu and (mask.is_floating_point() or mask.is_signed()):
        known = mask if ignore_index is None else mask[mask != ignore_index]
        if not bool(((known >= 0) & (known == known.trunc())).all()):  # also NaN
            raise ArrayError(
                f"found the value {known[~((known >= 0) & (known == known.trunc()))][0]:g} in the mask; expected class "
                "numbers, or 0 and 1"
            )
    marked = mask != 0 if ignore_index is None else (mask != 0) & (mask != ignore_index)
    marked = marked.any(1, keepdim=True)
    inside = marked & (drawn < probability).view(-1, *[1] * (mask.ndim - 1))
    return pasted(fields, others, inside), inside


def pasted(fields: Fields, others: Fields, inside: Tensor) -> dict[str, Tensor]:
    """The fields that both have, those of the others where `inside` (B, 1, *S) bool says so.

    Raises:
        ArrayError: the fields are on different grids, or `inside` is not bool.
    """
    if inside.dtype != torch.bool:
        raise ArrayError(f"found inside of {inside.dtype}; expected bool (B, 1, *S): inside > 0")
    both = {name: (fields[name], others[name]) for name in fields if name in others}
    for name, (one, other) in both.items():
        if one.shape != other.shape or inside.shape != (len(one), 1, *one.shape[2:]):
            raise ArrayError(
                f"{name}: found {tuple(one.shape)} and {tuple(other.shape)}; expected one shape (B, C, *S) and the "
                f"samples and the grid of {tuple(inside.shape)} of all fields"
            )
    return {name: torch.where(inside, other, one) for name, (one, other) in both.items()}
