"""A U-Net whose encoder is another network, such as one that was trained on ImageNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.core.errors import SettingsError
from scantling.networks.padding import padded
from scantling.networks.unet import UNet

PROBED = 64
"""The side of the image from which the sizes of maps are told."""


class EncodedUNet(UNet):
    """The decoder of `UNet` on what modules of an encoder end with; one more level sees the image at full resolution.

    All of it learns. All ours, after the usual U-Nets on networks trained on ImageNet.

    Args:
        encoder: takes images (B, 3, H, W); grey ones are given three times.
        layers: the names of its modules whose maps (B, F, h, w) are read, each coarser than the one before.
        in_channels: of the image, 1 or 3.
        out_channels: of the logits.
        width: channels of the level at full resolution.
        norm, dropout: see `UNet`.

    Raises:
        SettingsError: the encoder has no such modules, does not take such images, or maps do not grow coarser.
    """

    def __init__(
        self,
        encoder: nn.Module,
        layers: Sequence[str],
        in_channels: int,
        out_channels: int,
        *,
        width: int,
        norm: Literal["batch", "instance"] = "batch",
        dropout: float = 0.0,
    ) -> None:
        channels, smaller = probed(encoder.eval(), layers, in_channels)
        super().__init__(
            in_channels, out_channels, widths=(width, *channels),
            strides=[(later // before,) * 2 for before, later in pairwise((1, *smaller))], norm=norm, dropout=dropout,
            narrow=True,
        )  # fmt: skip
        self.down = self.down[:1]
        self.encoder, self.layers = encoder, tuple(layers)

    def encode(self, image: Tensor) -> list[Tensor]:
        """The maps of the level at full resolution and of the encoder, of a padded image (B, in_channels, H, W)."""
        check_input(image.shape, channels=self.in_channels, spatial_dims=2)
        image = padded(image, self.divisor).contiguous(memory_format=self.layout)
        maps, found = maps_at(self.encoder, self.layers, image.expand(-1, 3, -1, -1)), [self.down[0](image)]
        for layer, stride in zip(self.layers, self.strides, strict=True):
            size = [n // s for n, s in zip(found[-1].shape[2:], stride, strict=True)]
            one = maps[layer]
            fits = list(one.shape[2:]) == size
            found.append(one if fits else F.interpolate(one, size, mode="bilinear", align_corners=False))
        return found


def maps_at(network: nn.Module, layers: Sequence[str], image: Tensor) -> dict[str, Any]:
    """What modules of a network end with while it looks at an image, by their names."""
    modules, found = dict(network.named_modules()), dict[str, Any]()

    def keeping(layer: str) -> Callable[..., None]:
        def keep(module: nn.Module, arguments: Any, output: Any) -> None:
            found[layer] = output

        return keep

    hooks = [modules[layer].register_forward_hook(keeping(layer)) for layer in layers]
    try:
        network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def probed(encoder: nn.Module, layers: Sequence[str], in_channels: int) -> tuple[list[int], list[int]]:
    """The channels of each map, and how many times smaller than the image it is."""
    known = ", ".join(name for name, _ in encoder.named_children())
    if in_channels not in (1, 3):
        raise SettingsError(f"--settings.encoder: the images have {in_channels} channels; expected 3, or grey ones")
    modules = dict(encoder.named_modules())
    if missing := [layer for layer in layers if layer not in modules]:
        raise SettingsError(f"--settings.layers: found {missing[0]!r}; the encoder has {known}")
    if not layers:
        raise SettingsError(f"--settings.layers: name the layers of the encoder to read; it has {known}")
    try:
        with torch.no_grad():
            maps = maps_at(encoder, layers, torch.zeros(1, 3, PROBED, PROBED))
    except (RuntimeError, TypeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(f"--settings.encoder: it does not take an image (B, 3, H, W): {first}") from None
    for layer in layers:
        if not isinstance(maps.get(layer), Tensor) or maps[layer].ndim != 4:
            raise SettingsError(f"--settings.layers: {layer!r} ends with no map (B, F, H, W)")
    smaller = [round(PROBED / maps[layer].shape[2]) for layer in layers]
    if any(later <= before or later % before for before, later in pairwise((1, *smaller))):
        raise SettingsError(
            f"--settings.layers: their maps are {', '.join(map(str, smaller))} times smaller than the image; expected "
            "each a whole number of times coarser than the one before, the first coarser than the image"
        )
    return [maps[layer].shape[1] for layer in layers], smaller
