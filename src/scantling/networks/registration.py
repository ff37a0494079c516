"""The network of VoxelMorph: a U-Net that looks at two images and says where each pixel of one lies in the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_count
from scantling.networks.unet import UNet
from scantling.warping import exponential

LEAST = 16
"""Pixels of an axis below which it is not shrunk."""
START = 1e-5
"""The deviation of the first weights of the last layer, so that the first displacement is nearly none (VoxelMorph)."""


class RegistrationNetwork(nn.Module):
    """Displacements of a moving image onto a fixed one (Balakrishnan et al., 2019; Dalca et al., 2019, with `flow`).

    The U-Net is `networks.UNet` with instance norm, whose last layer gives one channel for each axis; VoxelMorph's has
    no norm and strided convolutions.

    Args:
        channels: of one image.
        widths, strides: of the levels of the U-Net; the strides say whether it is in 2-D or 3-D.
        shrink: the U-Net sees the images shrunk by this factor, along axes that keep `LEAST` pixels; its answer is
            enlarged linearly. VoxelMorph's diffeomorphic network answers at half the resolution.
        flow: the answer is a velocity, and the displacement its flow (`warping.exponential`), which does not fold.
        squarings: of the flow.

    Example:
        >>> import torch
        >>> from scantling.networks import RegistrationNetwork
        >>> network = RegistrationNetwork(1, widths=(4, 8), strides=((2, 2),))
        >>> network(torch.zeros(1, 1, 30, 21), torch.zeros(1, 1, 30, 21)).shape
        torch.Size([1, 2, 30, 21])
    """

    def __init__(
        self,
        channels: int,
        *,
        widths: Sequence[int] = (16, 32, 32, 32, 32),
        strides: Sequence[Sequence[int]],
        shrink: int = 1,
        flow: bool = False,
        squarings: int = 7,
    ) -> None:
        super().__init__()
        check_count(shrink, argument="shrink", least=1)
        self.shrink, self.flow, self.squarings = shrink, flow, squarings
        axes = len(strides[0])
        self.unet = UNet(2 * channels, axes, widths=widths, strides=strides, norm="instance")
        for parameter in self.unet.head.parameters():
            nn.init.normal_(parameter, std=START)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """The displacement (B, D, *S) in pixels that warps `moving` onto `fixed`, both (B, C, *S)."""
        return self.displacement(self.vectors(fixed, moving))

    def displacement(self, vectors: Tensor) -> Tensor:
        """The displacement of the vectors that the U-Net gives: they, or their flow."""
        return exponential(vectors, squarings=self.squarings) if self.flow else vectors

    def vectors(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """What the U-Net gives, (B, D, *S) in pixels, at least float32."""
        images = torch.cat([fixed, moving], 1)  # (B, 2 C, *S)
        shape = images.shape[2:]
        small = shrunk(shape, self.shrink)
        if small != tuple(shape):
            images = F.interpolate(images, small, mode="area")
        found: Tensor = self.unet(images)
        found = found if found.dtype == torch.float64 else found.float()
        if small == tuple(shape):
            return found
        found = F.interpolate(found, shape, mode={2: "bilinear", 3: "trilinear"}[len(shape)], align_corners=False)
        enlarged = [n / m for n, m in zip(shape, small, strict=True)]
        return found * found.new_tensor(enlarged).view(1, -1, *[1] * len(shape))


def shrunk(shape: Sequence[int], factor: int) -> tuple[int, ...]:
    """A shape shrunk by a factor along the axes that then keep `LEAST` pixels."""
    return tuple(-(-n // factor) if n >= LEAST * factor else n for n in shape)
