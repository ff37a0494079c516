"""What a discriminator remembers: a pool of earlier fakes, so that it judges a generator's history."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ReplayPool(nn.Module):
    """Keeps up to `size` images; each new one is shown, or kept in exchange for an old one (Shrivastava et al., 2017).

    The pool is a buffer and so part of the state of whoever owns it, until a stage of training ends (`forget`).

    Args:
        size: images that are kept; 0 shows every image as it comes.
        shape: (C, *S) of an image.
    """

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.images: Tensor
        self.held: Tensor
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, fakes: Tensor, coins: Tensor) -> Tensor:
        """What is shown for each of the fakes (N, C, *S), one after the other, without gradient.

        Args:
            fakes: the new images.
            coins: (N, 2) uniform in [0, 1): whether an image is exchanged, from ½ on, and for which.
        """
        shown = []
        for fake, (coin, place) in zip(fakes.detach(), coins.tolist(), strict=True):
            size, held = len(self.images), int(self.held)
            if held < size:
                self.images[held] = fake
                self.held += 1
                shown.append(fake)
            elif size and coin >= 0.5:
                index = int(place * size)
                shown.append(self.images[index].to(fake.dtype, copy=True))
                self.images[index] = fake
            else:
                shown.append(fake)
        return torch.stack(shown)


@torch.no_grad()
def forget(owner: nn.Module) -> None:
    """Empty all pools of a network: what was painted on training images does not belong into its weights."""
    for pool in owner.modules():
        if isinstance(pool, ReplayPool):
            pool.images.zero_()
            pool.held.zero_()
