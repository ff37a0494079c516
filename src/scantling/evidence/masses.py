"""Mass functions on single classes and on the whole frame, and Dempster's rule for them in closed form.

A mass function over C classes that exclude each other is a tensor (B, C + 1, *S): the masses of the single classes,
then that of the frame Ω, "any of them": ignorance. They are at least 0 and sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from scantling.core.errors import ArrayError

FLOOR = 1e-30
"""What is impossible counts as this possible, so that no logarithm is infinite and total conflict is undecided."""


def dempster(masses: Sequence[Tensor] | Tensor) -> Tensor:
    r"""Dempster's rule for N mass functions (Shafer, 1976), normalised.

    .. math:: m(\{c\}) \propto \prod_n \big(m_n(\{c\}) + m_n(\Omega)\big) - \prod_n m_n(\Omega), \quad
              m(\Omega) \propto \prod_n m_n(\Omega)

    In logarithms, and without a difference of two products: it stays exact where N is large or ignorance is small.
    In total conflict, where every class is impossible to some source, those that fewest find impossible share all.

    Args:
        masses: N tensors (B, C + 1, *S), or one (N, B, C + 1, *S).

    Returns:
        (B, C + 1, *S), at least float32.

    Raises:
        ArrayError: there is no mass function, or one of another shape.

    Example:
        >>> import torch
        >>> from scantling.evidence import dempster
        >>> mri = torch.tensor([0.6, 0.0, 0.4]).view(1, 3, 1, 1)
        >>> [round(mass, 3) for mass in dempster([mri, mri]).flatten().tolist()]
        [0.84, 0.0, 0.16]
    """
    each = [_real(one) for one in check_sources(masses, least=2)]
    contours = added(logarithm(contour(one)) for one in each)
    return masses_of(contours, added(logarithm(one[:, -1:]) for one in each))


def masses_of(log_contour: Tensor, log_ignorance: Tensor) -> Tensor:
    """The mass function (B, C + 1, *S) whose contour and ignorance are proportional to these, given as logarithms.

    The largest contour is 1 before the masses are made to sum to 1, and then they sum to 1 or more: nothing is ever
    divided by a small number.

    Args:
        log_contour: (B, C, *S), finite.
        log_ignorance: (B, 1, *S), finite, at most every log_contour.
    """
    most = log_contour.amax(1, keepdim=True)
    single = (log_contour - most).exp() * -torch.expm1((log_ignorance - log_contour).clamp(max=0))
    masses = torch.cat([single, (log_ignorance - most).exp()], 1)
    return masses / masses.sum(1, keepdim=True)


def contour(masses: Tensor) -> Tensor:
    """How plausible each class is: m({c}) + m(Ω), (B, C, *S) in [0, 1] of masses (B, C + 1, *S)."""
    return masses[:, :-1] + masses[:, -1:]


def pignistic(masses: Tensor) -> Tensor:
    """Probabilities (B, C, *S) of masses (B, C + 1, *S), ignorance shared by all classes: m({c}) + m(Ω) / C (Smets)."""
    return masses[:, :-1] + masses[:, -1:] / (masses.shape[1] - 1)


def vacuous(like: Tensor) -> Tensor:
    """The mass function that knows nothing, in the shape of `like` (B, C + 1, *S)."""
    return torch.cat([torch.zeros_like(like[:, :-1]), torch.ones_like(like[:, -1:])], 1)


def added(terms: Iterable[Tensor]) -> Tensor:
    """The sum in order, so that a term of zeros changes no bit of it."""
    first, *others = terms
    for one in others:
        first = first + one
    return first


def logarithm(values: Tensor) -> Tensor:
    """log, of 0 that of `FLOOR`; without gradient there."""
    return values.clamp(min=FLOOR).log()


def check_sources(sources: Sequence[Tensor] | Tensor, *, least: int) -> list[Tensor]:
    """The sources one by one.

    Raises:
        ArrayError: there is none, they differ in their shapes, or they have fewer than `least` channels.
    """
    each = list(sources)
    shapes = [tuple(one.shape) for one in each]
    if not each:
        raise ArrayError("found no source to combine; expected at least one, (B, C, *S)")
    if len(set(shapes)) > 1 or len(shapes[0]) < 2 or shapes[0][1] < least:
        found = ", ".join(map(str, dict.fromkeys(shapes)))
        raise ArrayError(
            f"found sources of shape {found}; expected one shape (B, C, *S) with at least {least} channels"
        )
    if math.prod(shapes[0]) == 0:
        raise ArrayError(f"found sources of shape {shapes[0]}, which hold no number")
    return each


def _real(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
