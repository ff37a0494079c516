"""What generators and discriminators minimise: four losses, feature matching, and two penalties on slopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.checks import check_choice
from scantling.core.errors import ArrayError

Adversarial = Literal["hinge", "least-squares", "wasserstein", "logistic"]


def fooling_loss(scores: Tensor, *, kind: Adversarial = "hinge") -> Tensor:
    """What a generator minimises: the mean over all scores of its fakes.

    Of "hinge" (Lim and Ye, 2017) and "wasserstein" (Arjovsky et al., 2017) it is -D, of "least-squares" (Mao et al.,
    2017) (D - 1)², of "logistic" -log σ(D), which does not saturate (Goodfellow et al., 2014). MONAI's hinge passes the
    scores through tanh first; here they are taken as they are.

    Args:
        scores: of any shape, without bounds.

    Raises:
        SettingsError: an unknown kind.
    """
    check_choice(kind, get_args(Adversarial), argument="kind")
    if kind == "logistic":
        return F.softplus(-scores).mean()
    return (scores - 1).square().mean() if kind == "least-squares" else -scores.mean()


def telling_loss(real: Tensor, fake: Tensor, *, kind: Adversarial = "hinge") -> Tensor:
    r"""What a discriminator minimises, from its scores of real images and of fakes, of any shapes.

    ===============  ==========================================
    "hinge"          (max(0, 1 - D(x)) + max(0, 1 + D(x̂))) / 2
    "least-squares"  ((D(x) - 1)² + D(x̂)²) / 2
    "wasserstein"    D(x̂) - D(x), of a critic whose slope is kept small
    "logistic"       -log σ(D(x)) - log(1 - σ(D(x̂)))
    ===============  ==========================================

    Raises:
        SettingsError: an unknown kind.
    """
    check_choice(kind, get_args(Adversarial), argument="kind")
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    if kind == "logistic":
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    if kind == "least-squares":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def feature_matching_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """The mean absolute difference of the maps of a discriminator, averaged over its layers (Wang et al., 2018, eq. 4).

    Args:
        real, fake: the maps of each layer (B, F, *s) but the scores; gradients flow into `fake` alone.

    Raises:
        ArrayError: there is no map, or the two have other layers.
    """
    if not fake or [one.shape for one in real] != [one.shape for one in fake]:
        shapes = ", ".join(str([tuple(one.shape) for one in maps]) for maps in (real, fake))
        raise ArrayError(f"found maps of the shapes {shapes}; expected the same layers of real and fake images")
    return torch.stack([F.l1_loss(b, a.detach()) for a, b in zip(real, fake, strict=True)]).mean()


def r1_penalty(scores: Tensor, real: Tensor) -> Tensor:
    r"""½ |∇D(x)|², the mean over real images (Mescheder et al., 2018, eq. 9), to be multiplied by γ.

    Of many scores of an image, those of patches, D is the mean.

    Args:
        scores: (B, ...) of the real images, whose graph it goes back through once more.
        real: (B, C, *S), requiring gradients.
    """
    (slope,) = torch.autograd.grad(scores.reshape(len(scores), -1).mean(1).sum(), real, create_graph=True)
    return slope.flatten(1).square().sum(1).mean() / 2


def slope_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    r"""(|∇D(x̂)| - 1)² at images between real ones and fakes, the mean over pairs (Gulrajani et al., 2017).

    .. math:: \hat x = u x + (1 - u) \tilde x

    Args:
        critic: (B, C, *S) to scores (B, ...); of many scores of an image D is the mean.
        real, fake: (B, C, *S), without gradients.
        share: (B,) u, uniform in [0, 1).
    """
    u = share.view(-1, *[1] * (real.ndim - 1))
    between = (u * real + (1 - u) * fake).detach().requires_grad_(True)
    scores = critic(between)
    (slope,) = torch.autograd.grad(scores.reshape(len(scores), -1).mean(1).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()
