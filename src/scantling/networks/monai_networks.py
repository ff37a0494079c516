"""Networks of MONAI that segmenters are compared with, for images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.core.errors import SettingsError
from scantling.networks.padding import cropped, padded
from scantling.networks.unet import NORM

Name = Literal["attention-unet", "unet++", "unetr", "swin-unetr"]
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
TOKEN = 16
"""Pixels along each side of a token of UNETR."""
OVERLAP = 0.5
"""Of the windows that UNETR sees of an image of another size."""


class MonaiNetwork(nn.Module):
    """A network of MONAI between padding and cropping; one that knows a single size sees windows of it.

    Args:
        network: takes (B, in_channels, *S), and ends with a convolution of one pixel, its `head`.
        in_channels: of the image.
        out_channels: of the logits.
        divisor: what the network divides the image by along each axis.
        size: the only size that it takes; None: any multiple of the divisor.

    Raises:
        SettingsError: the network has no such last layer.
    """

    def __init__(
        self, network: nn.Module, in_channels: int, out_channels: int, *, divisor: Sequence[int],
        size: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        last = [name for name, each in network.named_modules() if isinstance(each, CONVOLUTIONS)]
        fitting = [name for name in last if network.get_submodule(name).out_channels == out_channels]
        if not fitting:
            raise SettingsError(f"found no layer of {type(network).__name__} with {out_channels} channels")
        self.network, self.in_channels, self.divisor = network, in_channels, list(divisor)
        self.size = None if size is None else list(size)
        self._last = fitting[-1]

    @property
    def head(self) -> nn.Conv2d | nn.Conv3d:
        """The last layer, which makes the logits."""
        return cast(nn.Conv2d | nn.Conv3d, self.network.get_submodule(self._last))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, out_channels, *S) of an image (B, in_channels, *S).

        Raises:
            ArrayError: the image has other axes or channels than the network was made for.
        """
        check_input(image.shape, channels=self.in_channels, spatial_dims=len(self.divisor))
        if self.size is None or all(n <= most for n, most in zip(image.shape[2:], self.size, strict=True)):
            return cropped(self._answer(self._fitted(image)), image.shape[2:])
        from monai.inferers.utils import sliding_window_inference

        return cast(Tensor, sliding_window_inference(image, self.size, 1, self._answer, OVERLAP, mode="gaussian"))

    def features(self, image: Tensor) -> Tensor:
        """What the last layer reads (B, F, *S); an image that is larger than the only size is shrunk to it."""
        whole = image
        if self.size is not None and any(n > most for n, most in zip(image.shape[2:], self.size, strict=True)):
            mode = "bilinear" if image.ndim == 4 else "trilinear"
            whole = F.interpolate(image, self.size, mode=mode, align_corners=False)
        seen: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self._answer(self._fitted(whole))
        finally:
            hook.remove()
        found = cropped(seen[-1], whole.shape[2:])
        if whole is not image:
            found = F.interpolate(found, image.shape[2:], mode=mode, align_corners=False)
        return found

    def _fitted(self, image: Tensor) -> Tensor:
        """Grown to what the network takes, and so far that the deepest level has two pixels, which norms need."""
        if self.size is not None:
            return padded(image, self.size)
        grown = padded(image, self.divisor)
        if list(grown.shape[2:]) == self.divisor:
            grown = padded(image, [*self.divisor[:-1], 2 * self.divisor[-1]])
        return grown

    def _answer(self, image: Tensor) -> Tensor:
        found = self.network(image)
        return cast(Tensor, found[-1] if isinstance(found, list) else found)  # U-Net++ gives a list


def monai_network(
    name: Name, in_channels: int, out_channels: int, *, widths: Sequence[int], strides: Sequence[Sequence[int]],
    patch: Sequence[int], hidden: int, norm: Literal["batch", "instance"] = "batch", dropout: float = 0.0,
) -> MonaiNetwork:  # fmt: skip
    """One of the networks, as MONAI makes it.

    Args:
        name: "attention-unet" (Oktay et al., 2018), "unet++" (Zhou et al., 2018), "unetr" (Hatamizadeh et al., 2022) or
            "swin-unetr" (Hatamizadeh et al., 2022).
        widths: channels of each level of the attention U-Net; of "unet++" the first alone counts, which is doubled at
            each of its four levels, and of "unetr" half of it.
        strides: of each level of the attention U-Net but the first.
        patch: the size of the patches of the training, for which "unetr" is made.
        hidden: the width of the tokens of "unetr", a multiple of 4, or of the first level of "swin-unetr", of 12.
        norm: of the attention U-Net; the others have their own.
        dropout: see MONAI.

    Raises:
        SettingsError: `hidden` is no such multiple, or "attention-unet" would have one level alone.
    """
    axes = len(patch)
    if name == "attention-unet":
        if not strides or len(widths) < 2:
            raise SettingsError("attention-unet: found one level; expected two or more: more widths, or larger patches")
        from monai.networks.nets.attentionunet import AttentionUnet

        network: nn.Module = AttentionUnet(
            axes, in_channels, out_channels, channels=list(widths[: len(strides) + 1]),
            strides=[tuple(each) for each in strides], dropout=dropout,  # type: ignore[misc]
        )  # fmt: skip
        if norm == "instance":
            _normed_by_instance(network)
        divisor = [1] * axes
        for stride in strides:
            divisor = [d * s for d, s in zip(divisor, stride, strict=True)]
        return MonaiNetwork(network, in_channels, out_channels, divisor=divisor)
    if name == "unet++":
        first = widths[0]
        features = (first, first, *(first * 2**level for level in (1, 2, 3)), first)
        from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus

        network = BasicUNetPlusPlus(axes, in_channels, out_channels, features=features, dropout=dropout)
        for level in (1, 2, 3):  # what only deep supervision reads
            setattr(network, f"final_conv_0_{level}", nn.Identity())
        return MonaiNetwork(network, in_channels, out_channels, divisor=[16] * axes)
    least = 4 if name == "unetr" else 12
    if hidden % least:
        raise SettingsError(f"hidden: found {hidden}; expected a multiple of {least} for {name}")
    if name == "unetr":
        size = [-(-n // TOKEN) * TOKEN for n in patch]
        from monai.networks.nets.unetr import UNETR

        network = UNETR(
            in_channels, out_channels, size, feature_size=max(1, widths[0] // 2), hidden_size=hidden,
            mlp_dim=4 * hidden, num_heads=hidden // 64 if hidden % 64 == 0 else 4, dropout_rate=dropout,
            spatial_dims=axes,
        )  # fmt: skip
        for part, parameter in network.named_parameters():
            parameter.requires_grad_("norm_cross_attn" not in part)  # made and never used
        return MonaiNetwork(network, in_channels, out_channels, divisor=[TOKEN] * axes, size=size)
    from monai.networks.nets.swin_unetr import SwinUNETR

    network = SwinUNETR(in_channels, out_channels, feature_size=hidden, drop_rate=dropout, spatial_dims=axes)
    return MonaiNetwork(network, in_channels, out_channels, divisor=[32] * axes)


def _normed_by_instance(network: nn.Module) -> None:
    """Let each image of a batch be normed by itself."""
    for module in [*network.modules()]:
        for name, part in [*module.named_children()]:
            if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
                setattr(
                    module,
                    name,
                    NORM["instance"][2 if isinstance(part, nn.BatchNorm2d) else 3](part.num_features, affine=True),
                )
