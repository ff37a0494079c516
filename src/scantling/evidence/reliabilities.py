"""How far to believe each source of each class, learnt on images whose truth is known; and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from scantling.core.checks import check_choice, check_count, check_number
from scantling.core.errors import ArrayError
from scantling.evidence.discounting import fused_contours
from scantling.evidence.masses import check_sources
from scantling.losses.overlap import batch_dice_loss, overlap_sums


def contours_of(probabilities: Tensor) -> Tensor:
    """(B, K + 1, *S), the background first, of foreground probabilities (B, K, *S) of classes that exclude each other.

    Probabilities are a mass function without ignorance, whose contour they are.
    """
    background = (1 - probabilities.sum(1, keepdim=True)).clamp(0, 1)
    return torch.cat([background, probabilities.clamp(0, 1)], 1)


def learn_reliabilities(
    contours: Sequence[Tensor] | Tensor,
    target: Tensor,
    *,
    by: Literal["class", "source"] = "class",
    steps: int = 100,
    rate: float = 0.1,
    ignore_index: int | None = 255,
) -> Tensor:
    """The reliabilities under which N sources together agree best with the truth, by the soft Dice of `fused_contours`.

    All images count as one, so that those that lack a class say no more of it than their pixels do; classes that none
    of them shows are in no mean.
    Their logits begin at 0, so b at ½, as in the code released with the fusion (Huang et al., 2022), and follow Adam.
    Learn them on validation images: on training images every source looks more reliable than it is.

    Args:
        contours: N tensors (B, C, *S) in [0, 1], the background first; of probabilities, `contours_of`.
        target: (B, 1, *S) class numbers 0 to C - 1.
        by: a number for each source and class, or one for each source.
        steps: of Adam.
        rate: of Adam.
        ignore_index: the value of pixels that do not count.

    Returns:
        (N, C) or (N, 1) in (0, 1).

    Raises:
        ArrayError: the shapes do not belong together, or the target shows no class but the background.
        SettingsError: an argument is out of its range.

    Example:
        >>> import torch
        >>> from scantling.evidence import contours_of, learn_reliabilities
        >>> target = (torch.arange(64).view(1, 1, 8, 8) % 3 == 0).long()
        >>> right, wrong = 0.8 * target + 0.1, torch.full((1, 1, 8, 8), 0.9)
        >>> b = learn_reliabilities([contours_of(right), contours_of(wrong)], target, by="source")
        >>> bool(b[0] > 0.9), bool(b[1] < 0.1)
        (True, True)
    """
    check_choice(by, ("class", "source"), argument="by")
    check_count(steps, argument="steps", least=1)
    check_number(rate, argument="rate", least=0)
    each = [one.detach() for one in check_sources(contours, least=2)]
    seen = target if ignore_index is None else target.masked_fill(target == ignore_index, 0)
    shown = [c for c in range(1, each[0].shape[1]) if bool((seen == c).any())]
    if not bool((seen > 0).any()):
        raise ArrayError("the target shows no class but the background; expected images that show the classes")
    logits = torch.zeros(len(each), each[0].shape[1] if by == "class" else 1, device=target.device, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            fused = fused_contours(each, list(logits.sigmoid()))
            sums = overlap_sums(fused[:, 1:], target, ignore_index=ignore_index).sum(1)[:, [c - 1 for c in shown]]
            loss = batch_dice_loss(sums, total=sums.detach())
            (logits.grad,) = torch.autograd.grad(loss, [logits])
            optimiser.step()
    return logits.detach().sigmoid()


def reliability_intervals(
    contours: Sequence[Tensor] | Tensor,
    target: Tensor,
    subjects: Sequence[str],
    *,
    repeats: int = 100,
    level: float = 0.95,
    generator: torch.Generator,
    by: Literal["class", "source"] = "class",
    steps: int = 100,
) -> Tensor:
    """Bootstrap intervals of `learn_reliabilities`: subjects are drawn with replacement and all is learnt anew.

    Args:
        subjects: (B,), of whom each image is; the images of one come together.
        repeats: how often; each takes as long as learning once.
        level: the share of the repeats inside.
        generator: draws the subjects.

    Returns:
        (2, N, C) or (2, N, 1), low and high. A draw that shows no class but the background is drawn again.

    Raises:
        ArrayError: as `learn_reliabilities`, or there is not one subject for each image.
    """
    check_count(repeats, argument="repeats", least=1)
    check_number(level, argument="level", least=0, most=1)
    each, names = check_sources(contours, least=2), sorted(set(subjects))
    if len(subjects) != len(target):
        raise ArrayError(f"found {len(subjects)} subjects for {len(target)} images; expected one for each")
    rows = [torch.tensor([n for n, one in enumerate(subjects) if one == name]) for name in names]
    showing = [bool(((target[row] > 0) & (target[row] != 255)).any()) for row in rows]
    if not any(showing):
        raise ArrayError("the target shows no class but the background; expected images that show the classes")
    found = list[Tensor]()
    while len(found) < repeats:
        drawn = torch.randint(len(names), (len(names),), generator=generator).tolist()
        if not any(showing[number] for number in drawn):
            continue
        some = torch.cat([rows[number] for number in drawn])
        found.append(learn_reliabilities([one[some] for one in each], target[some], by=by, steps=steps))
    tail = (1 - level) / 2
    return torch.quantile(torch.stack(found), torch.tensor([tail, 1 - tail], device=target.device), dim=0)
