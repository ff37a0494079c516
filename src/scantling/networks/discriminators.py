"""Discriminators that judge patches, of pictures and of volumes; MONAI's, with norms that take one image alone."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn

from scantling.networks.spectral_norm import spectral_norm

JudgeNorm = Literal["group", "instance", "spectral"]


def patch_discriminator(
    spatial_dims: int,
    in_channels: int,
    *,
    width: int = 64,
    layers: int = 3,
    norm: JudgeNorm = "instance",
    padding: int = 1,
) -> PatchDiscriminator:
    """A PatchGAN (Isola et al., 2017): (B, C, *S) to the maps of all layers, of which the last are scores (B, 1, *s).

    Batch norm, which most authors take, would have a batch that is divided judged otherwise than a whole one; here the
    norm sees one image.

    Args:
        width: channels of the first layer; each layer has twice as many.
        layers: after the first one; all but the last halve the image, and so does the first.
        norm: "group" also takes maps of a single pixel; "spectral" bounds the weights instead of norming the maps, and
            needs `power_iteration` once a step.
        padding: of the 4-wide convolutions; with 2 no image is too small.
    """
    chosen: Any = {"instance": "instance", "group": ("group", {"num_groups": math.gcd(2 * width, 8)})}.get(norm)
    network = PatchDiscriminator(
        spatial_dims, width, in_channels, num_layers_d=layers, norm=chosen, padding=padding, bias=norm == "spectral"
    )
    if norm == "spectral":
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                spectral_norm(module)
    return network


def slices_at(volumes: Tensor, places: Tensor) -> Tensor:
    """(B, C, H, W): of each volume (B, C, D, H, W) the slice at `places` (B,)."""
    return volumes[torch.arange(len(volumes), device=volumes.device), :, places]
