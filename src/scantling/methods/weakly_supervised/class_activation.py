"""Class activation maps: where the feature maps of a classifier speak for a class, by gradients or by hiding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

AT_ONCE = 32
"""Images that Score-CAM scores together."""


def grad_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    r"""ReLU(Σ_k w_k A_k) with w_k the mean of ∂y/∂A_k over pixels (Selvaraju et al., 2017, eqs. 1 and 2).

    Args:
        maps: A (B, F, h, w).
        gradient: ∂y/∂A (B, F, h, w).

    Returns:
        (B, 1, h, w).
    """
    return F.relu((gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True))


def grad_cam_pp(maps: Tensor, gradient: Tensor) -> Tensor:
    r"""ReLU(Σ_k w_k A_k) with weights by pixel (Chattopadhay et al., 2018, eqs. 5, 11 and 19).

    .. math:: w_k = \sum_{ij} \alpha^k_{ij} ReLU(g^k_{ij}), \quad
              \alpha^k_{ij} = \frac{(g^k_{ij})^2}{2 (g^k_{ij})^2 + g^k_{ij}{}^3 \sum_{ab} A^k_{ab}}

    for the exponential of y as the score, whose positive factor is left out; α is 0 where the denominator is.
    Arguments and answer are as of `grad_cam`.
    """
    square = gradient**2
    below = 2 * square + gradient**3 * maps.sum((2, 3), keepdim=True)
    alpha = torch.where(below != 0, square / torch.where(below != 0, below, 1), 0)
    weights = (alpha * F.relu(gradient)).sum((2, 3), keepdim=True)
    return F.relu((weights * maps).sum(1, keepdim=True))


def layer_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """ReLU(Σ_k ReLU(∂y/∂A_k) A_k), each pixel with a weight of its own (Jiang et al., 2021, eqs. 6 and 7); as
    `grad_cam`.
    """
    return F.relu((F.relu(gradient) * maps).sum(1, keepdim=True))


def score_cam(score: Callable[[Tensor], Tensor], image: Tensor, maps: Tensor) -> Tensor:
    """ReLU(Σ_k w_k A_k), w the softmax of how the image scores where it is seen through each map (Wang et al., 2020).

    A map is brought to the size of the image and to [0, 1]; a level one hides nothing and has no weight. The score of
    the baseline, which the paper subtracts, cancels in the softmax.

    Args:
        score: y (N,) of images (N, C, H, W).
        image: (1, C, H, W).
        maps: A (1, F, h, w).

    Returns:
        (1, 1, h, w).
    """
    large = F.interpolate(maps, image.shape[2:], mode="bilinear", align_corners=False)[0][:, None]  # (F, 1, H, W)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    seen = image * ((large - low) / (high - low).clamp(min=1e-12))
    scores = torch.cat([score(seen[first : first + AT_ONCE]) for first in range(0, len(seen), AT_ONCE)])
    scores = scores.masked_fill((high == low).flatten(), -torch.inf)
    weights = scores.softmax(0).nan_to_num(0)  # all maps level: no weight at all
    return F.relu((weights.view(1, -1, 1, 1) * maps).sum(1, keepdim=True))
