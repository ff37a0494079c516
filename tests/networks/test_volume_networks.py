"""Networks of volumes: what joins slices, published sizes, discriminators of any size, changes with a gradient."""

from __future__ import annotations

import pytest
import torch

from scantling.core.errors import ArrayError, SettingsError
from scantling.networks import FactorisedUNet, VQAutoencoder, diff_augment, patch_discriminator
from scantling.networks.factorised_unet import DepthAttention
from scantling.networks.slice_features import SliceFeatures, perceptual_distance
from scantling.networks.vq_autoencoder import repeated_border


def test_without_attention_along_the_depth_slices_know_nothing_of_each_other_and_with_it_they_do() -> None:
    torch.manual_seed(0)
    network = FactorisedUNet(2, width=8, multipliers=(1, 2), heads=2, head_channels=4).eval()
    x = torch.randn(1, 2, 5, 6, 7)  # an odd depth, and sides that the levels do not divide
    other = x.clone()
    other[:, :, 2] += 1
    time = torch.tensor([3])

    def changed() -> list[bool]:
        apart = (network(x, time) - network(other, time)).abs().amax((0, 1, 3, 4))
        return [bool(value > 1e-5) for value in apart]

    with torch.no_grad():
        assert network(x, time).shape == x.shape
        assert changed() == [False, False, True, False, False]  # its attention along the depth begins at zero
        for module in network.modules():
            if isinstance(module, DepthAttention):
                torch.nn.init.normal_(module.out.weight)
        assert changed() == [True] * 5


def test_an_image_class_changes_the_answer_and_is_asked_for_where_it_is_known() -> None:
    network = FactorisedUNet(2, width=4, multipliers=(1,), heads=1, head_channels=4, classes=2)
    x, time = torch.randn(1, 2, 2, 4, 4), torch.tensor([1])
    one, other = (network(x, time, torch.tensor([kind])) for kind in (0, 1))
    assert not torch.equal(one, other)
    with pytest.raises(ArrayError, match="image class"):
        network(x, time)


def test_an_autoencoder_reduces_each_axis_by_its_factor_and_repeats_borders() -> None:
    network = VQAutoencoder(2, width=4, down=(1, 2, 4), code=3, codes=4)
    made, z, _, numbers = network(torch.randn(1, 2, 3, 4, 8))
    assert made.shape == (1, 2, 3, 4, 8)
    assert z.shape == (1, 3, 3, 2, 2)
    assert numbers.shape == (1, 3, 2, 2)
    with pytest.raises(SettingsError, match="powers of two"):
        VQAutoencoder(1, down=(3, 2, 2))
    level = repeated_border(torch.full((1, 1, 2, 2, 2), 5.0))
    assert level.shape == (1, 1, 4, 4, 4)
    assert bool((level == 5).all())


@pytest.mark.parametrize("axes", [2, 3])
def test_a_discriminator_with_wide_padding_takes_images_of_any_size(axes: int) -> None:
    for norm in ("group", "spectral"):
        judge = patch_discriminator(axes, 1, width=4, layers=3, norm=norm, padding=2)  # type: ignore[arg-type]
        maps = judge(torch.randn(1, 1, *(1, 5, 3)[:axes]))
        assert maps[-1].shape[1] == 1
        assert len(maps) == 5


def test_changes_for_discriminators_have_a_gradient_and_fixed_coins_repeat() -> None:
    images = torch.randn(2, 1, 4, 16, 16, requires_grad=True)
    coins = torch.full((2, 8), 0.5)
    one, other = diff_augment(images, coins), diff_augment(images, coins)
    assert torch.equal(one, other)
    assert one.shape == images.shape
    one.square().sum().backward()
    assert images.grad is not None
    assert (one[0] == 0).sum().item() == 2 * 8 * 8  # the block is half as long as each axis
    none = torch.full((1, 8), 0.5)
    none[:, 5:] = 0  # the block lies half beyond the border
    inside = diff_augment(images.detach()[:1], none)[..., 1:, 4:, 4:]
    torch.testing.assert_close(inside, images.detach()[:1, ..., 1:, 4:, 4:])
    with pytest.raises(ArrayError, match="coins"):
        diff_augment(images, coins[:1])


def test_slices_are_no_distance_from_themselves_and_grow_farther_with_noise() -> None:
    torch.manual_seed(1)
    network, slices = SliceFeatures(1, width=4), torch.randn(2, 1, 13, 18)
    noise = torch.randn_like(slices)
    with torch.no_grad():
        maps = network(slices)
        near, far = (perceptual_distance(maps, network(slices + share * noise)) for share in (0.1, 1.0))
        assert float(perceptual_distance(maps, maps)) == 0
        assert network.restored(slices, noise).shape == slices.shape
    assert 0 < float(near) < float(far)


def test_the_published_sizes_build_and_are_counted_without_memory() -> None:
    with torch.device("meta"):
        autoencoder, denoiser = VQAutoencoder(1), FactorisedUNet(8, width=64)
        z = autoencoder.encode(torch.empty(1, 1, 32, 256, 256))
        made = autoencoder.decode(z)
        assert z.shape == (1, 8, 8, 64, 64)
        assert made.shape == (1, 1, 32, 256, 256)
        assert denoiser(z, torch.zeros(1, dtype=torch.int64)).shape == z.shape
    count = sum(p.numel() for p in denoiser.parameters())
    assert 3e7 < count < 4e7
