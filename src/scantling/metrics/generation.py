"""How near two sets of images are in a space of features: Fréchet and kernel distance, fidelity and coverage.

All of it takes features (N, F) of any network: none is built in, because a number means nothing without knowing whose
features it is of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.checks import check_count, numbers
from scantling.core.errors import ArrayError

Features = NDArray[np.float64]


def frechet_distance(real: Any, made: Any) -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) of Gaussians fitted to two sets of features; 0 if they are equal.

    The trace of the root is the sum of the singular values of A Bᵀ, where AᵀA = Σ₁ and BᵀB = Σ₂: exact also where there
    are fewer images than features, and no root of a matrix is formed. Of few images the distance is too large, by an
    amount that depends on their number: compare sets of one size.

    Args:
        real, made: (N, F) and (M, F), two or more rows each.

    Raises:
        ArrayError: the numbers of features differ, there are fewer than two rows, or a value is not finite.

    Reference: Heusel et al., GANs trained by a two time-scale update rule (2017), equation 6; Dowson and Landau (1982).
    """
    one, other = _features(real, made, least=2)
    apart = one.mean(0) - other.mean(0)
    first, second = ((each - each.mean(0)) / np.sqrt(len(each) - 1) for each in (one, other))
    traces = np.square(first).sum() + np.square(second).sum()
    if first.shape[1] < max(len(first), len(second)):  # smaller matrices with the same covariance
        first, second = np.linalg.qr(first, mode="r"), np.linalg.qr(second, mode="r")
    root = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return float(max(apart @ apart + traces - 2 * root, 0.0))


def kernel_distance(real: Any, made: Any) -> float:
    """The unbiased squared maximum mean discrepancy with the kernel (x·y / F + 1)³; about 0 of one distribution.

    KID as published, over all pairs instead of blocks of images. It can be negative, and does not depend on the number
    of images but for chance.

    Args, raises: as of `frechet_distance`.

    Reference: Bińkowski, Sutherland, Arbel and Gretton, Demystifying MMD GANs (2018), equation 4.
    """
    one, other = _features(real, made, least=2)
    width = one.shape[1]

    def kernel(x: Features, y: Features) -> Features:
        return np.asarray((x @ y.T / width + 1) ** 3)

    def within(x: Features) -> float:
        values = kernel(x, x)
        return float((values.sum() - np.trace(values)) / (len(x) * (len(x) - 1)))

    return within(one) + within(other) - 2 * float(kernel(one, other).mean())


@dataclass(frozen=True)
class Manifolds:
    """Two sets of features, each of which is taken for a manifold: the balls around its points.

    Attributes:
        between: (N, M) distances of real and made.
        radii: (N,) of real points, to their k-th nearest of the others.
        made_radii: (M,) of made points.
        neighbours: k.
    """

    between: Features
    radii: Features
    made_radii: Features
    neighbours: int

    @cached_property
    def precision(self) -> float:
        """The share of made points in a ball of a real one (Kynkäänniemi et al., 2019, equation 2)."""
        return float((self.between <= self.radii[:, None]).any(0).mean())

    @cached_property
    def recall(self) -> float:
        """The share of real points in a ball of a made one (Kynkäänniemi et al., 2019, equation 2)."""
        return float((self.between <= self.made_radii[None]).any(1).mean())

    @cached_property
    def density(self) -> float:
        """How many real balls a made point lies in, over k; can exceed 1 (Naeem et al., 2020, equation 4)."""
        return float((self.between <= self.radii[:, None]).sum(0).mean() / self.neighbours)

    @cached_property
    def coverage(self) -> float:
        """The share of real balls with a made point inside (Naeem et al., 2020, equation 5)."""
        return float((self.between <= self.radii[:, None]).any(1).mean())


def manifolds(real: Any, made: Any, *, neighbours: int) -> Manifolds:
    """Real and made features as manifolds.

    Args:
        real, made: (N, F) and (M, F), more rows than `neighbours`.
        neighbours: k; 3 for precision and recall, 5 for density and coverage, as published.

    Raises:
        ArrayError: as of `frechet_distance`, or there are too few rows.

    References: Kynkäänniemi et al., Improved precision and recall metric (2019); Naeem et al., Reliable fidelity and
    diversity metrics (2020).
    """
    check_count(neighbours, argument="neighbours", least=1)
    one, other = _features(real, made, least=neighbours + 1)

    def radii(points: Features) -> Features:
        return np.partition(distances(points, points), neighbours, axis=1)[:, neighbours]  # the nearest is itself

    return Manifolds(distances(one, other), radii(one), radii(other), neighbours)


def distances(one: Features, other: Features) -> Features:
    """(N, M) Euclidean distances of rows (N, F) and (M, F)."""
    centre = one.mean(0)
    one, other = one - centre, other - centre
    squares = np.square(one).sum(1)[:, None] + np.square(other).sum(1) - 2 * one @ other.T
    return np.sqrt(np.maximum(squares, 0.0))


def _features(real: Any, made: Any, *, least: int) -> tuple[Features, Features]:
    found = [numbers(each, f"the {name} features") for each, name in ((real, "real"), (made, "made"))]
    for array, name in zip(found, ("real", "made"), strict=True):
        if array.ndim != 2 or len(array) < least or not array.shape[1]:
            raise ArrayError(f"the {name} features have the shape {array.shape}; expected (N, F), {least} rows or more")
        if not np.isfinite(array).all():
            raise ArrayError(f"the {name} features hold NaN or infinity; expected numbers")
    if found[0].shape[1] != found[1].shape[1]:
        raise ArrayError(
            f"found {found[0].shape[1]} features of real and {found[1].shape[1]} of made images; expected one network"
        )
    return found[0].astype(np.float64), found[1].astype(np.float64)
