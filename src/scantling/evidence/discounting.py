"""How far each source is to be believed of each class, and what several discounted sources say together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scantling.core.checks import SLACK
from scantling.core.errors import ArrayError, SettingsError
from scantling.evidence.masses import FLOOR, added, check_sources, dempster, vacuous


def discounted_contour(contour: Tensor, reliability: Tensor) -> Tensor:
    r"""The contour of a source under contextual discounting by classes (Mercier, Quost and Denœux, 2008).

    .. math:: 1 - b_c + b_c\, pl(c)

    b = 1 leaves it as it is; with b = 0 it is 1 everywhere: the source says nothing. b is the reliability; the
    discount rate of the same literature is 1 - b.

    Args:
        contour: (B, C, *S) in [0, 1].
        reliability: b in [0, 1], as `_beside` takes it: (), (C,) or (B, C).
    """
    b = _beside(reliability, contour)
    return (1 - b) + b * contour


def fused_contours(
    contours: Sequence[Tensor] | Tensor, reliabilities: Sequence[Tensor] | Tensor | None = None
) -> Tensor:
    r"""What N discounted sources say together, by Dempster's rule (Huang, Denœux, Vera and Ruan, 2022).

    .. math:: p(c) = \prod_n \big(1 - b_{nc} + b_{nc}\, pl_n(c)\big) \Big/ \sum_{c'} \prod_n (\ldots)

    The normalised contour of the combined mass function, whatever its focal sets. A source whose b is 0 changes no bit
    of it.

    Args:
        contours: N tensors (B, C, *S) in [0, 1], or one (N, B, C, *S).
        reliabilities: of each source a tensor (), (C,) or (B, C) in [0, 1]; None: 1.

    Returns:
        (B, C, *S), probabilities that sum to 1 over the classes.

    Raises:
        ArrayError: the sources have several shapes, or there is not a reliability for each.

    Example:
        >>> import torch
        >>> from scantling.evidence import fused_contours
        >>> sure, wrong = (torch.tensor(pl).view(1, 2, 1, 1) for pl in ((0.1, 1.0), (1.0, 0.05)))
        >>> fused_contours([sure, wrong], [torch.tensor(1.0), torch.tensor(0.0)])[0, :, 0, 0].tolist()
        [0.09090908616781235, 0.9090909361839294]
    """
    each = check_sources(contours, least=2)
    given: list[Tensor | None] = [None] * len(each) if reliabilities is None else list(reliabilities)
    if len(given) != len(each):
        raise ArrayError(f"found reliabilities of {len(given)} sources for {len(each)}; expected one for each")
    return added(log_discounted(one, b) for one, b in zip(each, given, strict=True)).softmax(1)


def log_discounted(contour: Tensor, reliability: Tensor | None) -> Tensor:
    """The logarithm of `discounted_contour`, exactly 0 where b is 0; what is impossible counts as `FLOOR`."""
    kept = contour if reliability is None else discounted_contour(contour, reliability)
    return kept.clamp(min=FLOOR).log()


def scalar_fusion(
    masses: Sequence[Tensor] | Tensor, priors: Sequence[Tensor] | Tensor, reliabilities: Sequence[Tensor] | Tensor
) -> Tensor:
    r"""Fusion with one reliability η for each source, in the way of subjective logic (Jøsang, 2016).

    Each mass function is weakened to η m + (1 - η) vacuous (Shafer, 1976), they are combined by Dempster's rule to M,
    and what is left of ignorance goes by the mean prior:

    .. math:: p(c) = M(\{c\}) + M(\Omega)\, q(c), \quad q = \sum_n \eta_n q_n \Big/ \sum_n \eta_n

    q is uniform where all η are 0. With b_nc = η_n `fused_contours` discounts the same contours, but what it makes of
    them differs: there ignorance goes by the contours themselves, and nowhere by a prior.

    Args:
        masses: N tensors (B, C + 1, *S).
        priors: N tensors (B, C, *S) that sum to 1 over the classes.
        reliabilities: of each source η in [0, 1], () or (B, 1).

    Returns:
        (B, C, *S), probabilities.

    Raises:
        ArrayError: there is not a prior and a reliability for each source.
    """
    each, of_each, etas = check_sources(masses, least=2), check_sources(priors, least=1), list(reliabilities)
    if not len(each) == len(of_each) == len(etas):
        raise ArrayError(
            f"found {len(each)} mass functions, {len(of_each)} priors and {len(etas)} reliabilities; expected one "
            "of each for every source"
        )
    weights = [_beside(eta, one) for one, eta in zip(each, etas, strict=True)]
    together = dempster([weight * one + (1 - weight) * vacuous(one) for one, weight in zip(each, weights, strict=True)])
    total = added(weights)
    mean = added(weight * prior for weight, prior in zip(weights, of_each, strict=True)) / total.clamp(min=FLOOR)
    prior = torch.where(total > 0, mean, torch.full_like(mean, 1 / mean.shape[1]))
    return together[:, :-1] + together[:, -1:] * prior


def check_reliabilities(reliabilities: Sequence[float] | Tensor, *, sources: int, classes: int) -> Tensor:
    """Reliabilities that a user names, (N, 1) or (N, C) in [0, 1].

    Args:
        reliabilities: (N,), one for each source, or (N, C), one for each source and class.
        sources: N.
        classes: C.

    Raises:
        SettingsError: there is another number of them, or one is outside [0, 1].
    """
    found = torch.as_tensor(reliabilities, dtype=torch.float32)
    shape = tuple(found.shape)
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or len(found) != sources or found.shape[1] not in (1, classes):
        raise SettingsError(
            f"reliabilities: found {shape} for {sources} sources; expected one for each of them, ({sources},), or one "
            f"for each of them and of the {classes} classes, ({sources}, {classes})"
        )
    if not bool(((found >= -SLACK) & (found <= 1 + SLACK)).all()):  # also NaN
        raise SettingsError(
            f"reliabilities: found values from {float(found.min()):g} to {float(found.max()):g}; expected 0 (says "
            "nothing) to 1 (is believed)"
        )
    return found.clamp(0, 1)


def _beside(reliability: Tensor, values: Tensor) -> Tensor:
    """A reliability (), (C,) or (B, C or 1) that multiplies values (B, C, *S)."""
    if reliability.ndim > 2:
        raise ArrayError(f"found a reliability of shape {tuple(reliability.shape)}; expected (), (C,) or (B, C)")
    return reliability.reshape(*reliability.shape, *[1] * (values.ndim - 2)) if reliability.ndim else reliability
