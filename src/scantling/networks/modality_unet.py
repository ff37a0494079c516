"""A U-Net from image to image that is told at its coarsest level in which modality to paint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scantling.core.errors import ArrayError
from scantling.networks.unet import UNet


class ModalityUNet(nn.Module):
    """A `UNet` with the modality as one-hot planes at its coarsest level, and an image in [-1, 1] out of it.

    With four widths the planes lie at an eighth of the image, as in the multimodal GAN. One modality needs no planes.
    The convolution that reads them is not normed: an instance norm takes away what a constant plane adds.

    Args:
        in_channels: of what is painted after.
        out_channels: of the image.
        modalities: to choose from.
        widths: channels of each level, from full resolution down.

    Example:
        >>> import torch
        >>> from scantling.networks import ModalityUNet
        >>> net = ModalityUNet(2, 1, modalities=3, widths=(4, 8, 16, 16))
        >>> net(torch.zeros(2, 2, 50, 61), torch.tensor([0, 2])).shape
        torch.Size([2, 1, 50, 61])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        modalities: int = 1,
        widths: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        self.modalities = modalities
        self.unet = UNet(in_channels, out_channels, widths=widths, norm="instance", narrow=True)
        self.joined: nn.Sequential | None = None
        if modalities > 1:
            told = nn.Conv2d(widths[-1] + modalities, widths[-1], 3, padding=1, padding_mode="replicate")
            with torch.no_grad():  # a plane adds as much as the normed maps do, from the first step on; ours
                told.weight[:, widths[-1] :].normal_(std=1 / 3)
            self.joined = nn.Sequential(told, nn.LeakyReLU(0.01))

    def forward(self, image: Tensor, modality: Tensor | None = None) -> Tensor:
        """Images (B k, out_channels, H, W) in [-1, 1] after (B, in_channels, H, W), k of each.

        Args:
            modality: (B k,) int64 from 0, those of the first image first; may be left out where there is one. The
                encoder, which knows no modality, sees each image once.

        Raises:
            ArrayError: the image has other axes or channels, or a modality is missing.
        """
        maps = self.unet.encode(image)
        if self.joined is not None:
            if modality is None or modality.ndim != 1 or not len(modality) or len(modality) % len(image):
                found = None if modality is None else tuple(modality.shape)
                raise ArrayError(
                    f"modality: found {found}; expected {(len(image),)}, one or more numbers for each image"
                )
            maps = [one.repeat_interleave(len(modality) // len(image), 0) for one in maps]
            deepest = maps[-1]
            maps[-1] = self.joined(torch.cat([deepest, self.planes(modality, deepest)], 1))
        made: Tensor = self.unet.head(self.unet.decode(maps, image.shape[2:]))
        return torch.tanh(made)

    def planes(self, modality: Tensor, like: Tensor) -> Tensor:
        """(B, modalities, h, w) of 0 and 1: one plane of each image is 1 all over."""
        numbers = torch.arange(self.modalities, device=like.device)
        hot = (modality.to(like.device)[:, None] == numbers).to(like.dtype)
        return hot[:, :, None, None].expand(-1, -1, *like.shape[2:])
