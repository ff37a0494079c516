"""A Gaussian fitted to latents: the control that a diffusion model of them has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MOST = 512
"""Latents that it is fitted to at most."""


class LatentGaussian(nn.Module):
    r"""Mean, the leading principal components, and what they leave of the variance of each number.

    .. math:: z = \mu + \sum_r u_r \xi_r + \sigma \epsilon

    with ξ and ε standard normal. Ours.

    Args:
        shape: of a latent.
        components: r, how many; those that few latents do not have are 0.
    """

    def __init__(self, shape: Sequence[int], components: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.components: Tensor
        self.register_buffer("mean", torch.zeros(*shape))
        self.register_buffer("deviation", torch.ones(*shape))
        self.register_buffer("components", torch.zeros(components, *shape))

    @torch.no_grad()
    def fit(self, latents: Tensor) -> None:
        """Take over what latents (N, *shape) say, of two or more; of one that one, without variance."""
        rows = latents.flatten(1).to(self.mean.dtype)
        mean = rows.mean(0)
        spread = (rows - mean) / max(len(rows) - 1, 1) ** 0.5  # (N, D)
        _, vectors = torch.linalg.eigh(spread @ spread.T)  # ascending; N x N, not D x D
        vectors = vectors.flip(1)[:, : len(self.components)]
        largest = vectors.abs().argmax(0)
        vectors = vectors * vectors.gather(0, largest[None]).sign()
        leading = vectors.T @ spread  # (r, D), each as long as its deviation
        left = (spread.square().sum(0) - leading.square().sum(0)).clamp(min=0)
        self.components.zero_()
        self.components[: len(leading)] = leading.view(-1, *self.mean.shape)
        self.mean.copy_(mean.view_as(self.mean))
        self.deviation.copy_(left.sqrt().view_as(self.deviation))

    def draw(self, along: Tensor, around: Tensor) -> Tensor:
        """Latents (B, *shape) of standard normal numbers: `along` the components (B, r), `around` them (B, *shape)."""
        return self.mean + torch.einsum("br,r...->b...", along, self.components) + self.deviation * around
