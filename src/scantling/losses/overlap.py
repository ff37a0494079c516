"""Cross-entropy and soft Dice, for exclusive and for overlapping classes, with pixels that do not count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.checks import check_count, check_number
from scantling.core.errors import ArrayError
from scantling.losses.targets import check_probabilities, check_target, check_tensor, counted


def probabilities_of(logits: Tensor, classes: int) -> Tensor:
    """Foreground probabilities (B, K, *S) of logits: K channels are independent, K + 1 exclude each other.

    Raises:
        ArrayError: the logits have another number of channels, or are no tensor (B, C, *S).
        SettingsError: `classes` is no number of classes.
    """
    check_count(classes, argument="classes", least=1)
    check_tensor(logits, "logits")
    if logits.ndim < 3 or logits.shape[1] not in (classes, classes + 1):
        raise ArrayError(
            f"found logits of shape {tuple(logits.shape)} for {classes} classes; expected {classes} channels, or "
            f"{classes + 1} with the background first"
        )
    logits = _exact(logits)
    return logits.sigmoid() if logits.shape[1] == classes else logits.softmax(1)[:, 1:]


def cross_entropy(logits: Tensor, target: Tensor, *, ignore_index: int | None = None) -> Tensor:
    """Mean cross-entropy over the pixels that count, each sample for itself.

    Args:
        logits: (B, K, *S) of independent classes, or (B, K + 1, *S) of exclusive classes with the background first.
        target: (B, K, *S) of 0 and 1 beside independent classes (one channel for each, no background), else
            (B, 1, *S) of class numbers 0..K. Any number type, or bool. (B, K, *S) beside exclusive classes says of
            each whether a pixel is of it: where none is 1, it may be of the background or of those that are
            `ignore_index`, whose probabilities are added up (the marginal loss of Shi et al., 2021, for
            images in which only some organs were drawn; the merged classes of Fang and Yan, 2020).
        ignore_index: the value of pixels that do not count, 255 in the masks of a `Batch`; None: there are none.

    Returns:
        () in nats, at least float32.

    Raises:
        ArrayError: the shapes do not belong together, or the target holds another value.

    Example:
        >>> import torch
        >>> from scantling.losses import cross_entropy
        >>> logits, target = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
        >>> round(cross_entropy(logits, target).item(), 4)
        0.6931
    """
    for one, what in ((logits, "logits"), (target, "a target")):
        check_tensor(one, what)
    channels = logits.shape[1] if logits.ndim > 1 else 1
    independent = target.ndim == logits.ndim > 1 and target.shape[1] == channels
    classes = channels if independent else channels - 1
    layered = target.ndim == logits.ndim and target.shape[1] == classes > 1
    check_target(logits, target, classes=classes, ignore_index=ignore_index, channels=classes if layered else channels)
    logits = _exact(logits)
    if layered and not independent:
        return _marginal(logits, target, counted(target, ignore_index))
    if independent:
        known = counted(target, ignore_index)
        wanted = target.masked_fill(~known, 0).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        return (losses * known).flatten(1).sum(1).div(known.flatten(1).sum(1).clamp(min=1)).mean()
    numbers = target[:, 0].long()
    known = counted(numbers, ignore_index)
    skipped = -100 if ignore_index is None else ignore_index  # -100 is torch's default
    losses = F.cross_entropy(logits, numbers, ignore_index=skipped, reduction="none")
    return losses.flatten(1).sum(1).div(known.flatten(1).sum(1).clamp(min=1)).mean()


def _marginal(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Minus the logarithm of the probability that a pixel is what it may be; logits (B, K + 1, *S).

    A pixel of which nothing is known does not count.
    """
    here = target == 1  # (B, K, *S)
    found = here.any(1, keepdim=True)
    possible = torch.cat([~found, here | (~known & ~found)], 1)
    losses = logits.logsumexp(1) - logits.masked_fill(~possible, -torch.inf).logsumexp(1)
    pixels = known.any(1)
    return (losses * pixels).flatten(1).sum(1).div(pixels.flatten(1).sum(1).clamp(min=1)).mean()


def binary_cross_entropy(probabilities: Tensor, target: Tensor, *, ignore_index: int | None = None) -> Tensor:
    """Mean cross-entropy of each class against all else, over the pixels that count, where there are no logits.

    Args:
        probabilities: (B, K, *S) of the foreground classes; what is closer to 0 or 1 than 1e-6 costs what 1e-6 costs.
        target: (B, K, *S) of 0 and 1, or (B, 1, *S) of class numbers 0..K.
        ignore_index: the value of pixels that do not count, 255 in the masks of a `Batch`; None: there are none.

    Raises:
        ArrayError: the shapes do not belong together, the target holds another value, or a probability lies outside
            [0, 1].
    """
    check_probabilities(probabilities, ignore_index=ignore_index)
    check_target(probabilities, target, classes=probabilities.shape[1], ignore_index=ignore_index)
    inside = _exact(probabilities).clamp(1e-6, 1 - 1e-6)
    known = counted(target, ignore_index).expand_as(inside)
    losses = -torch.where(class_channels(target, inside.shape[1]), inside, 1 - inside).log()
    return (losses * known).flatten(1).sum(1).div(known.flatten(1).sum(1).clamp(min=1)).mean()


def dice_loss(probabilities: Tensor, target: Tensor, *, smooth: float = 1.0, ignore_index: int | None = None) -> Tensor:
    r"""One minus soft Dice (Milletari et al., 2016, with plain sums in the denominator), each sample for itself.

    .. math:: 1 - \frac{2 \sum p m + s}{\sum p + \sum m + s}, averaged over samples and classes

    Args:
        probabilities: (B, K, *S) of the foreground classes in [0, 1]; of logits, `probabilities_of(logits, K)`.
        target: (B, K, *S) of 0 and 1 (one channel for each class, no background), or (B, 1, *S) of class numbers 0..K.
        smooth: s, in pixels, at least 0; makes two empty masks agree.
        ignore_index: the value of pixels that do not count, 255 in the masks of a `Batch`; None: there are none.

    Returns:
        () in [0, 1].

    Raises:
        ArrayError: the shapes do not belong together, the target holds another value, or a probability lies outside
            [0, 1].
        SettingsError: `smooth` is below 0.

    Example:
        >>> import torch
        >>> from scantling.losses import dice_loss
        >>> target = torch.tensor([0, 1, 2, 0]).view(1, 1, 2, 2)
        >>> probabilities = torch.cat([target == 1, target == 2], 1).float()
        >>> dice_loss(probabilities, target).item()
        0.0
    """
    check_number(smooth, argument="smooth", least=0)
    both, found, true = overlap_sums(probabilities, target, ignore_index=ignore_index)
    return 1 - ((2 * both + smooth) / (found + true + smooth)).mean()


def batch_dice_loss(sums: Tensor, *, total: Tensor, parts: int = 1, smooth: float = 1.0) -> Tensor:
    r"""One minus soft Dice with all samples of a step counted as one (the batch Dice of nnU-Net, Isensee et al., 2021).

    .. math:: 1 - \frac{2 \sum_b \sum p m + s}{\sum_b (\sum p + \sum m) + s}, averaged over classes

    Of a class that a patch lacks, `dice_loss` sees false alarms alone, however few: 1 - s / (sum p + s). Here they are
    held against what the other patches show of the class.

    Args:
        sums: (3, K), the `overlap_sums` of the samples of this part of the step, summed over them.
        total: (3, K), the same over the whole step, without gradient.
        parts: into which the step is divided; the loss is that of the whole step, its gradient, averaged over the
            parts, too.
        smooth: s, in pixels, at least 0.

    Raises:
        ArrayError: the sums are not (3, K).
        SettingsError: `parts` or `smooth` is out of its range.
    """
    check_number(smooth, argument="smooth", least=0)
    check_count(parts, argument="parts", least=1)
    if sums.ndim != 2 or len(sums) != 3 or total.shape != sums.shape:
        raise ArrayError(
            f"found sums of shape {tuple(sums.shape)} and a total of {tuple(total.shape)}; expected (3, K) twice: "
            "overlap_sums(probabilities, target).sum(1)"
        )
    both, found, true = total + parts * (sums - sums.detach())
    return 1 - ((2 * both + smooth) / (found + true + smooth)).mean()


def overlap_sums(probabilities: Tensor, target: Tensor, *, ignore_index: int | None = None) -> Tensor:
    """The sums of p m, of p and of m over the pixels that count, (3, B, K); arguments and errors as in `dice_loss`."""
    check_probabilities(probabilities, ignore_index=ignore_index)
    check_target(probabilities, target, classes=probabilities.shape[1], ignore_index=ignore_index)
    probabilities = _exact(probabilities)
    wanted = class_channels(target, probabilities.shape[1]).to(probabilities.dtype)
    probabilities = probabilities * counted(target, ignore_index)
    both = (probabilities * wanted).flatten(2).sum(2)
    return torch.stack([both, probabilities.flatten(2).sum(2), wanted.flatten(2).sum(2)])


def class_channels(mask: Tensor, classes: int) -> Tensor:
    """(B, K, *S) bool, one channel for each foreground class, of a mask (B, 1, *S) of class numbers 0..K or (B, K, *S).

    Any other value, that of pixels that do not count among them, is false.

    Raises:
        ArrayError: the mask has another number of channels.
    """
    if mask.ndim < 3 or mask.shape[1] not in (1, classes):
        raise ArrayError(
            f"found a mask of shape {tuple(mask.shape)} for {classes} classes; expected (B, 1, *S) of class numbers or "
            f"(B, {classes}, *S) of 0 and 1"
        )
    if mask.shape[1] == classes and classes > 1:
        return mask == 1
    numbers = torch.arange(1, classes + 1, device=mask.device).view(1, classes, *[1] * (mask.ndim - 2))
    return mask == numbers


def _exact(tensor: Tensor) -> Tensor:
    """At least float32, whatever autocast has made of it."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
