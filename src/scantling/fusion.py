"""Many samples of one image become one answer, and what they disagree about becomes its uncertainty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from scantling.core.checks import SLACK, check_choice, check_count
from scantling.core.errors import ArrayError, SettingsError
from scantling.evidence.discounting import check_reliabilities, log_discounted
from scantling.evidence.reliabilities import contours_of

__all__ = ["COUNTING", "RULES", "fuse", "staple", "total", "uncertainties"]

RULES = ("mean", "vote", "staple", "uncertainty", "sum", "dempster")
COUNTING = ("vote", "sum")
Samples = Sequence[Tensor] | Tensor
"""(N, B, K, *S), or N tensors (B, K, *S) that are looked at one by one, so that many large ones need not be held."""
ITERATIONS = 2000
TOLERANCE = 1e-11
"""STAPLE has settled when no rater's sensitivity or specificity moves by more."""
SOFTENING = 0.01
"""Ours: added to the variance of a probability, so that a certain sample weighs at most 26 times an undecided one."""
_AT_ONCE = 32
"""Raters whose decisions are packed into one number."""
_PIECE = 1 << 24
"""Pixels that are sorted together."""


def fuse(
    rule: str,
    samples: Samples,
    *,
    votes: int | None = None,
    exclusive: bool = False,
    reliabilities: Sequence[float] | Tensor | None = None,
) -> Tensor:
    """Fuse samples (N, B, K, *S), probabilities or {0, 1}, into probabilities (B, K, *S).

    - mean: the mean of the samples.
    - vote: 1 where at least `votes` samples say so (Wang et al., 2023: MB-Diff), otherwise 0. A sample says so above
      0.5 or, of exclusive classes, where the class is likelier than any other and the background.
    - staple: see `staple`; raters say what they say in a vote.
    - uncertainty: the mean weighted by 1 / (mean over the classes of s (1 - s) + 0.01), the inverse of the variance
      that a sample s has by itself at a pixel; one weight for all classes. Ours; of samples of 0 and 1 it is the mean.
    - sum: 1 where the samples add up to at least `votes` (the vote as it is printed), otherwise 0.
    - dempster: the samples are sources of evidence of unlike reliability, such as models of single modalities, and
      Dempster's rule combines what is left of each after discounting (`evidence.fused_contours`). Without
      reliabilities it is the product of the probabilities, made to sum to 1.

    Args:
        rule: one of `RULES`.
        samples: see `Samples`; no rule but staple holds more than one, and staple only what each decides.
        votes: of the rules vote and sum, 1 (union) to N (intersection); None takes half of the samples, rounded up
            (ours; the paper's number is not known).
        exclusive: classes that exceed 1 together then share it.
        reliabilities: of the rule dempster, in [0, 1]: (N,), one for each sample, or one for each sample and class;
            the classes are (N, K + 1), the background first, where they exclude each other, else (N, K). None: 1.
            `evidence.learn_reliabilities` finds them on validation images.

    Returns:
        (B, K, *S) in [0, 1], at least float32.

    Raises:
        SettingsError: the rule is unknown, or `votes` or `reliabilities` are out of their range or of no use to it.
        ArrayError: there is no sample, or one that is not (B, K, *S) in [0, 1].

    Example:
        >>> import torch
        >>> from scantling.fusion import fuse
        >>> samples = torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1, 1, 1).expand(3, 1, 1, 4, 4)
        >>> round(fuse("mean", samples).mean().item(), 3)
        0.667
    """
    check_choice(rule, RULES, argument="rule")
    if votes is not None and rule not in COUNTING:
        raise SettingsError(f"{votes} votes were asked of the rule {rule}, which counts none; expected the rule vote")
    if reliabilities is not None and rule != "dempster":
        raise SettingsError(f"reliabilities were given to the rule {rule}, which discounts nothing; expected dempster")
    if rule == "dempster":
        return _dempster(samples, reliabilities, exclusive=exclusive)
    if rule in COUNTING:
        fused = _vote(samples, votes, raw=rule == "sum", exclusive=exclusive)
    elif rule == "staple":
        fused = staple(samples, exclusive=exclusive)
    elif rule == "uncertainty":
        fused = _by_certainty(samples)
    else:
        fused = _sum(samples) / len(samples)
    return fused / fused.sum(1, keepdim=True).clamp(min=1) if exclusive else fused


def staple(samples: Samples, *, exclusive: bool = False) -> Tensor:
    """The probability (B, K, *S) of a hidden true mask whose raters are samples (N, B, K, *S).

    A sample decides as in the vote of `fuse`: at 0.5, or for the likeliest of exclusive classes.

    Expectation maximisation after Warfield, Zou and Wells (2004), for each image and class by itself. With decisions
    D, sensitivities p, specificities q and the prior g of the foreground:

        W = g Π p^D (1 - p)^(1 - D) / (the same + (1 - g) Π q^(1 - D) (1 - q)^D)
        p_j = Σ W D_j / Σ W,    q_j = Σ (1 - W) (1 - D_j) / Σ (1 - W)

    As in ITK it begins with W = the share of votes, and g is the share of foreground in all decisions, so it depends
    on how much background is in the picture. Identical masks give that mask. (The code released with MedSegDiff
    returns the square of the mean under this name.)

    Raises:
        ArrayError: there is no sample, or one that is not (B, K, *S) in [0, 1].
    """
    decisions = torch.stack([_decided(sample, exclusive) for sample in _each(samples)])
    number, images, classes = decisions.shape[:3]
    flat, dtype = decisions.reshape(number, images * classes, -1).transpose(0, 1), _real(samples[0]).dtype
    fused = torch.stack([_staple(one).to(dtype) for one in flat])
    return fused.reshape(decisions.shape[1:])


def uncertainties(samples: Samples, *, exclusive: bool = False) -> dict[str, Tensor]:
    """What samples (N, B, K, *S) in [0, 1] leave open at each pixel, each (B, 1, *S); one look at each sample.

    - deviation: the population standard deviation of the samples (Wang et al., 2023: MB-Diff), the mean over the
      classes, in [0, 0.5]; 0 for one sample.
    - entropy: of the mean of the samples, in bits: the mean over the classes of the entropy of "this class or not", in
      [0, 1]; where `exclusive`, of the K classes and the background together, in [0, log2(K + 1)].

    Raises:
        ArrayError: there is no sample, or one that is not (B, K, *S) in [0, 1].

    Example:
        >>> import torch
        >>> from scantling.fusion import uncertainties
        >>> samples = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1).expand(2, 1, 1, 4, 4)
        >>> {name: round(map_.mean().item(), 2) for name, map_ in uncertainties(samples).items()}
        {'deviation': 0.5, 'entropy': 1.0}
    """
    mean = squares = torch.zeros(())
    for number, sample in enumerate(_each(samples), start=1):  # Welford's, exact for copies
        ahead = _real(sample) - mean
        mean = mean + ahead / number
        squares = squares + ahead * (_real(sample) - mean)
    mean = mean.clamp(0, 1)
    if exclusive:
        background = (1 - mean.sum(1, keepdim=True)).clamp(min=0)
        entropy = _bits(torch.cat([background, mean], 1)).sum(1, keepdim=True)
    else:
        entropy = (_bits(mean) + _bits(1 - mean)).mean(1, keepdim=True)
    deviation = (squares / len(samples)).clamp(min=0).sqrt()
    return {"deviation": deviation.mean(1, keepdim=True), "entropy": entropy}


def total(uncertainty: Tensor, region: Tensor | None = None) -> Tensor:
    """One number an image (B,): the mean of its uncertainty (B, 1, *S), over `region` (B, 1, *S) where it is given.

    NaN where a region is empty.

    Raises:
        ArrayError: the uncertainty is not (B, 1, *S), or the region has another shape or other values than 0 and 1.
    """
    if uncertainty.ndim not in (4, 5) or uncertainty.shape[1] != 1:
        raise ArrayError(f"found an uncertainty of shape {tuple(uncertainty.shape)}; expected (B, 1, *S)")
    if region is not None and region.shape != uncertainty.shape:
        raise ArrayError(f"found a region of shape {tuple(region.shape)}; expected {tuple(uncertainty.shape)}")
    flat = uncertainty.flatten(1)
    if region is None:
        return flat.mean(1)
    inside = region.flatten(1) != 0
    if region.dtype != torch.bool and region.is_cpu and not torch.equal(inside, region.flatten(1) == 1):
        raise ArrayError("the region holds other values than 0 and 1; expected a mask: region == 255")
    return (flat * inside).sum(1) / inside.sum(1)


def _each(samples: Samples) -> Iterator[Tensor]:
    """The samples one after the other, each made sure to be (B, K, *S) in [0, 1].

    Raises:
        ArrayError: there is none, or one of them is not.
    """
    if not hasattr(samples, "__len__"):
        raise ArrayError(
            f"found samples of type {type(samples).__name__}; expected (N, B, K, *S), or a list of tensors"
        )
    if not len(samples):
        raise ArrayError("found no sample to fuse; expected (N, B, K, *S) with at least one")
    first = None
    for number, sample in enumerate(samples):
        if not isinstance(sample, Tensor):
            raise ArrayError(f"found samples of type {type(sample).__name__}; expected tensors: torch.as_tensor(x)")
        shape = tuple(sample.shape)
        first = first or shape
        if len(shape) not in (4, 5):
            raise ArrayError(
                f"found samples of shape {(len(samples), *shape)}; expected (N, B, K, H, W) or (N, B, K, D, H, W): of "
                "one image, samples[:, None]"
            )
        if shape != first:
            raise ArrayError(f"sample {number} has the shape {shape}, the first one {first}; expected one shape")
        if not sample.numel():
            raise ArrayError(f"found samples of shape {(len(samples), *shape)}, which hold no number")
        if sample.dtype != torch.bool:
            low, high = (float(end) for end in sample.aminmax())
            if not (low >= -SLACK and high <= 1 + SLACK):  # also NaN
                raise ArrayError(
                    f"sample {number} holds values from {low:g} to {high:g}; expected probabilities in [0, 1] or masks "
                    "of 0 and 1"
                )
        yield sample


def _vote(samples: Samples, votes: int | None, *, raw: bool, exclusive: bool) -> Tensor:
    number = len(samples)
    needed = -(-number // 2) if votes is None else votes
    check_count(needed, argument="votes", least=-(2**31))
    if not 1 <= needed <= number:
        raise SettingsError(f"{needed} votes were asked of {number} samples; expected 1 to {number}")
    if raw:
        counted = _sum(samples)
    else:
        counted = torch.zeros((), dtype=torch.int16)
        for sample in _each(samples):
            counted = counted + _decided(sample, exclusive)
    return (counted >= needed).to(_real(samples[0]).dtype)


def _decided(sample: Tensor, exclusive: bool) -> Tensor:
    """Where each class of a sample (B, K, *S) is, in bool."""
    if not exclusive or sample.shape[1] == 1:
        return sample > 0.5
    most, best = _real(sample).max(1, keepdim=True)
    return torch.zeros_like(sample, dtype=torch.bool).scatter(1, best, most > 1 - _real(sample).sum(1, keepdim=True))


def _by_certainty(samples: Samples) -> Tensor:
    total = weights = torch.zeros(())
    for sample in _each(samples):
        real = _real(sample)
        weight = 1 / ((real * (1 - real)).mean(1, keepdim=True) + SOFTENING)  # (B, 1, *S)
        total, weights = total + real * weight, weights + weight
    return total / weights


def _dempster(samples: Samples, reliabilities: Sequence[float] | Tensor | None, *, exclusive: bool) -> Tensor:
    """(B, K, *S); a class that does not exclude others has a frame of its own, "it" and "not it"."""
    b: Tensor | None = None
    total = torch.zeros(())
    for number, sample in enumerate(_each(samples)):
        real = _real(sample)
        if reliabilities is not None and b is None:
            b = check_reliabilities(reliabilities, sources=len(samples), classes=real.shape[1] + exclusive).to(real)
        own = None if b is None else b[number]
        if exclusive:
            total = total + log_discounted(contours_of(real), own)
        else:
            pairs = torch.stack([1 - real, real]).clamp(0, 1)
            total = total + torch.stack([log_discounted(one, own) for one in pairs])
    return total.softmax(1)[:, 1:] if exclusive else total.softmax(0)[1]


def _sum(samples: Samples) -> Tensor:
    total = torch.zeros(())
    for sample in _each(samples):
        total = total + _real(sample)
    return total


def _staple(decisions: Tensor) -> Tensor:
    """(P,) float64 from the decisions (N, P) bool of N raters on P pixels.

    Pixels on which the raters decide alike share their W, so only the patterns of decisions that occur are iterated.
    """
    pattern, example, count = _patterns(decisions)
    decided, count = decisions[:, example].T, count.double()  # (U, N), (U,)
    chosen = decided.double()
    weight = chosen.mean(1)  # (U,)
    prior = (count * weight).sum() / count.sum()
    if not 0 < float(prior) < 1:
        return prior.expand(decisions.shape[1])  # all raters leave it empty, or fill it
    p = q = torch.full((decisions.shape[0],), torch.inf, dtype=torch.float64, device=decisions.device)
    for _ in range(ITERATIONS):
        before = torch.stack([p, q])
        true, false = count * weight, count * (1 - weight)
        p, q = true @ chosen / true.sum(), false @ (1 - chosen) / false.sum()
        of_true = torch.where(decided, p, 1 - p).log().sum(1) + prior.log()
        of_false = torch.where(decided, 1 - q, q).log().sum(1) + (1 - prior).log()
        odds = of_true - of_false
        weight = torch.where(odds.isnan(), weight, odds.sigmoid())  # impossible either way, by rounding alone
        if bool((torch.stack([p, q]) - before).abs().max() <= TOLERANCE):
            break
    return weight[pattern]


def _patterns(decisions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which of U patterns each pixel of (N, P) has (P,), a pixel that has each (U,), and how many have it (U,)."""
    found = [_sorted(piece) for piece in decisions.split(_PIECE, 1)]
    if len(found) == 1:
        return found[0]
    examples = torch.cat([place * _PIECE + example for place, (_, example, _) in enumerate(found)])
    same, first, _ = _sorted(decisions[:, examples])  # the patterns of all pieces, of which some are one
    count = torch.zeros_like(first).index_add(0, same, torch.cat([count for _, _, count in found]))
    names = same.split([len(example) for _, example, _ in found])
    pattern = torch.cat([name[pattern] for name, (pattern, _, _) in zip(names, found, strict=True)])
    return pattern, examples[first], count


def _sorted(decisions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`_patterns` of one piece."""
    pixels = decisions.shape[1]
    pattern = torch.zeros(pixels, dtype=torch.int64, device=decisions.device)
    for some in decisions.split(_AT_ONCE):
        code = torch.zeros_like(pattern)
        for place, one in enumerate(some):
            code |= one.long() << place
        _, pattern, count = torch.unique(pattern << _AT_ONCE | code, return_inverse=True, return_counts=True)
    example = torch.empty_like(count)
    example[pattern] = torch.arange(pixels, device=decisions.device)
    return pattern, example, count


def _real(samples: Tensor) -> Tensor:
    """As numbers of at least float32."""
    return samples.to(torch.promote_types(samples.dtype, torch.float32))


def _bits(probability: Tensor) -> Tensor:
    """-p log2 p, 0 at 0."""
    return -torch.xlogy(probability, probability) / torch.log(torch.tensor(2.0))
