"""Networks in a loop of one's own: made from a few numbers, trained, slid over an image, and strict about input."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from scantling import losses, networks
from scantling.core.errors import ArrayError, SettingsError

T = torch.tensor([10])
Forward = Callable[[nn.Module, Tensor], Tensor]
SEGMENTERS: dict[str, tuple[Callable[[int], nn.Module], Forward]] = {
    "UNet": (lambda c: networks.UNet(c, 1, widths=(4, 6, 8)), lambda net, x: net(x)),
    "FRUNet": (lambda c: networks.FRUNet(c, 1, widths=(4, 4, 6, 8)), lambda net, x: net(x)),
    "SwitchableGenerator": (lambda c: networks.SwitchableGenerator(c, 1, width=4, hidden=4), lambda net, x: net(x)),
    "ConditionUNet": (lambda c: networks.ConditionUNet(c, 1, widths=(4, 6), blocks=1), lambda net, x: net(x).logits),
    "Denoiser": (
        lambda c: networks.Denoiser(c + 1, 1, widths=(4, 8), blocks=1),
        lambda net, x: net(torch.cat([x[:, :1], x], 1), T.expand(len(x))),
    ),
    "DiffusionTransformerUNet": (
        lambda c: networks.DiffusionTransformerUNet(c, widths=(16, 32), heads=2, windows=(2,), features=(4, 4)),
        lambda net, x: net(x[:, :1], net.see(x), T.expand(len(x))),  # type: ignore[operator]
    ),
    "MedSegDiff": (lambda c: MedSegDiff(c), lambda net, x: net(x)),
}


class MedSegDiff(nn.Module):
    """The denoiser and its dynamic condition, as the docstring of `ImageEncoder` puts them together."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.denoiser = networks.Denoiser(1, 1, widths=(4, 8), blocks=1)
        self.encoder = networks.ImageEncoder(in_channels, widths=(4, 8), blocks=1)
        self.encoding = networks.DynamicEncoding(4, (16, 16))

    def forward(self, image: Tensor) -> Tensor:
        seen = self.encoder.start(image)

        def guide(level: int, m_x: Tensor) -> Tensor:
            nonlocal seen
            seen = self.encoder(level, seen)
            if level == 1:
                return m_x + seen
            seen = self.encoding(seen, m_x)
            return m_x

        out: Tensor = self.denoiser(image[:, :1], T.expand(len(image)), guide=guide)
        return out


@pytest.mark.parametrize("name", SEGMENTERS)
def test_a_network_trains_in_a_loop_of_ones_own_and_slides_over_an_image(name: str) -> None:
    torch.manual_seed(0)
    make, forward = SEGMENTERS[name]
    network = make(3)
    image = torch.randn(2, 3, 24, 24)
    target = (image[:, :1] > 0.5).long()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    values = []
    for _ in range(4):
        logits = forward(network, image)
        loss = losses.cross_entropy(logits, target) + losses.dice_loss(losses.probabilities_of(logits, 1), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < values[0]
    whole = torch.randn(1, 3, 37, 50)
    network.eval()
    with torch.no_grad():
        slid = sliding_window_inference(whole, (24, 24), 2, lambda window: forward(network, window))
    assert slid.shape == forward(network, whole).shape == (1, 1, 37, 50)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_another_number_of_channels_is_refused_with_both(name: str) -> None:
    make, forward = SEGMENTERS[name]
    with pytest.raises(ArrayError, match=r"has [12] channels, shape .*; the network was made for [34] \(in_channels\)"):
        forward(make(3), torch.zeros(1, 1, 24, 24))
    with pytest.raises(ArrayError, match=r"has the shape \(.*\); expected \(B, C, H, W\)"):
        forward(make(3), torch.zeros(1, 3, 8, 24, 24))


def test_a_unet_in_3d_follows_from_spatial_dims_or_from_strides() -> None:
    by_dims = networks.UNet(1, 2, spatial_dims=3, widths=(4, 6, 8))
    by_strides = networks.UNet(1, 2, strides=[(2, 2, 2)] * 2, widths=(4, 6, 8))
    assert {n: p.shape for n, p in by_dims.named_parameters()} == {n: p.shape for n, p in by_strides.named_parameters()}
    assert by_dims(torch.zeros(1, 1, 9, 12, 10)).shape == (1, 2, 9, 12, 10)
    with pytest.raises(SettingsError, match=r"expected 2 of 3 numbers, for spatial_dims=3"):
        networks.UNet(1, 2, spatial_dims=3, strides=[(2, 2)] * 2, widths=(4, 6, 8))


@pytest.mark.parametrize(
    "make", [lambda: networks.UNet(1, 1, norm="group"), lambda: networks.FRUNet(1, 1, norm="group")]
)
def test_an_unknown_norm_is_refused(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(SettingsError, match="norm: found 'group'; expected one of batch, instance"):
        make()
