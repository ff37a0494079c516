"""A residual encoder and a feature pyramid on it, for networks that read boxes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Self

from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn

from scantling.core.errors import SettingsError
from scantling.networks.encoded_unet import maps_at, probed
from scantling.networks.padding import padded

STAGES = ("layer1", "layer2", "layer3", "layer4")
"""The stages of a ResNet, by their names in MONAI and torchvision."""


class BoxPyramid(nn.Module):
    """The last four maps of a ResNet (He et al., 2016) and the feature pyramid on them (Lin et al., 2017).

    Ours has group norm, so that a step does not depend on how its batch is divided; what a user gives keeps its own
    norm, and its batch norm the statistics that it came with, as the detectors of Detectron2 do.

    Args:
        in_channels: of the image.
        channels: of every map of the pyramid.
        width: of the first stage, doubled at each of the other three.
        depths: blocks of each stage; (3, 4, 6, 3) is ResNet-50's.
        block: "bottleneck" (ResNet-50) or "basic".
        finest: the stride of the first map, 4 or 2 (without the pooling of the stem).
        encoder: a network of the user in place of all that, and `layers`, its modules whose maps are read.

    Raises:
        SettingsError: the encoder has no such modules, or maps whose strides do not double.

    Example:
        >>> import torch
        >>> from scantling.networks import BoxPyramid
        >>> network = BoxPyramid(3, channels=8, width=4, depths=(1, 1, 1, 1), block="basic")
        >>> encoded, maps = network(torch.zeros(1, 3, 50, 70))
        >>> [tuple(each.shape[1:]) for each in encoded]
        [(4, 16, 24), (8, 8, 12), (16, 4, 6), (32, 2, 3)]
        >>> [tuple(each.shape[1:]) for each in maps]
        [(8, 16, 24), (8, 8, 12), (8, 4, 6), (8, 2, 3)]
    """

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int = 256,
        width: int = 64,
        depths: Sequence[int] = (3, 4, 6, 3),
        block: Literal["basic", "bottleneck"] = "bottleneck",
        finest: Literal[2, 4] = 4,
        encoder: nn.Module | None = None,
        layers: Sequence[str] = STAGES,
    ) -> None:
        super().__init__()
        self.given, self.layers = encoder is not None, tuple(layers)
        if encoder is None:
            encoder = ResNet(
                block, list(depths), [width * 2**stage for stage in range(4)], spatial_dims=2,
                n_input_channels=in_channels, conv1_t_stride=2, no_max_pool=finest == 2, feed_forward=False,
            )  # fmt: skip
            with_group_norm(encoder)
            expansion = 4 if block == "bottleneck" else 1
            self.widths = tuple(width * 2**stage * expansion for stage in range(4))
            self.strides = tuple(finest * 2**stage for stage in range(4))
        else:
            widths, strides = probed(encoder, layers, in_channels)
            if any(later != 2 * before for before, later in pairwise(strides)):
                raise SettingsError(
                    f"--settings.layers: their maps are {', '.join(map(str, strides))} times smaller than the image; "
                    "expected each twice as coarse as the one before"
                )
            self.widths, self.strides = tuple(widths), tuple(strides)
        self.encoder, self.colours = encoder, 3 if self.given else in_channels
        self.pyramid = FeaturePyramidNetwork(2, list(self.widths), channels)

    def train(self, mode: bool = True) -> Self:
        """See `nn.Module.train`; batch norm of the encoder of a user keeps its statistics."""
        super().train(mode)
        if self.given:
            for module in self.encoder.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The maps of the encoder and those of the pyramid, the finest first, of images (B, C, H, W).

        Images are first padded to a multiple of the coarsest stride.
        """
        image = padded(image, (self.strides[-1],) * 2)
        found = maps_at(self.encoder, self.layers, image.expand(-1, self.colours, -1, -1))
        encoded = OrderedDict((layer, found[layer]) for layer in self.layers)
        return list(encoded.values()), list(self.pyramid(encoded).values())


def with_group_norm(network: nn.Module) -> None:
    """Put group norm in place of every batch norm; the `norm` of MONAI's ResNet reaches its first layer alone."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.GroupNorm(groups(child.num_features), child.num_features))


def groups(width: int) -> int:
    """The groups of group norm: 32 (Wu and He, 2018), of narrow maps as many as leave two channels each."""
    return next(n for n in (32, 16, 8, 4, 2, 1) if width % n == 0 and n <= max(1, width // 2))
