"""Networks of MONAI under one roof: any size in, the same size out, and what the last layer reads."""

from __future__ import annotations

import pytest
import torch

from scantling.core.errors import ArrayError, SettingsError
from scantling.networks.monai_networks import MonaiNetwork, Name, monai_network

NAMES: tuple[Name, ...] = ("attention-unet", "unet++", "unetr", "swin-unetr")


def made(name: Name, axes: int = 2, hidden: int = 12) -> MonaiNetwork:
    torch.manual_seed(0)
    return monai_network(
        name, 1, 3, widths=(4, 8, 16), strides=((2,) * axes,) * 2, patch=(32,) * axes, hidden=hidden
    ).eval()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(32, 32), (20, 27), (45, 33)])
def test_any_size_comes_back_and_the_head_reads_the_features(name: Name, shape: tuple[int, int]) -> None:
    network, image = made(name), torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits, features = network(image), network.features(image)
    assert logits.shape == (1, 3, *shape)
    assert features.shape[2:] == shape
    if name != "unetr" or max(shape) <= 32:  # which sees larger images in windows
        torch.testing.assert_close(network.head(features), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_that_may_learn_does(name: Name) -> None:
    network = made(name).train()
    network(torch.randn(2, 1, 32, 32)).square().mean().backward()
    assert not [part for part, p in network.named_parameters() if p.requires_grad and p.grad is None]


def test_volumes_and_what_does_not_fit() -> None:
    assert made("attention-unet", axes=3)(torch.zeros(1, 1, 9, 10, 11)).shape == (1, 3, 9, 10, 11)
    with pytest.raises(ArrayError):
        made("unet++")(torch.zeros(1, 2, 32, 32))
    with pytest.raises(SettingsError, match="multiple of 12"):
        made("swin-unetr", hidden=10)


def test_the_levels_are_as_many_as_the_strides_have_and_two_at_least() -> None:
    sizes = {"patch": (32, 32), "hidden": 12}
    deep, fitting = (
        monai_network("attention-unet", 1, 2, widths=widths, strides=((2, 2), (2, 2)), **sizes)  # type: ignore[arg-type]
        for widths in ((4, 8, 16, 32), (4, 8, 16))
    )
    assert [p.shape for p in deep.parameters()] == [p.shape for p in fitting.parameters()], "as in unet"
    with pytest.raises(SettingsError, match="found one level"):
        monai_network("attention-unet", 1, 2, widths=(4,), strides=(), **sizes)  # type: ignore[arg-type]
