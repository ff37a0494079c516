"""The U-Net, its losses and how it configures itself."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from scantling.contract.method import build
from scantling.contract.step import Step, Total
from scantling.core.case import IGNORE, Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.losses.continuity import soft_cldice_loss
from scantling.losses.overlap import class_channels, cross_entropy, dice_loss, probabilities_of
from scantling.losses.skeleton_recall import skeleton_recall_loss
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.networks.unet import UNet, doubled_by_neighbours, pooled, pooled_by_blocks, upsampled


def traits(**changes: Any) -> Traits:
    shape = changes.get("shape", (584, 565))
    channels = changes.get("channels", ("red", "green", "blue"))
    facts = {
        "dimensions": len(shape),
        "channels": channels,
        "labels": Labels(names=("vessel",), values=((255,),)),
        "spacing": (1.0,) * len(shape),
        "shape": shape,
        "smallest": shape,
        "intensity": (Intensity(mean=0, std=1, low=0, high=255, minimum=0, maximum=255),) * len(channels),
    }
    return Traits.model_validate(facts | changes)


@pytest.mark.parametrize("size", [(17, 23), (16, 16), (5, 40), (9, 14, 11), (4, 30, 8)])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_any_size_in_gives_the_same_size_out(size: tuple[int, ...], norm: Any) -> None:
    strides = [(2,) * len(size), (1,) + (2,) * (len(size) - 1)]
    network = UNet(3, 4, widths=(4, 6, 8), strides=strides, norm=norm).eval()
    assert network(torch.randn(2, 3, *size)).shape == (2, 4, *size)
    assert network.features(torch.randn(1, 3, *size)).shape == (1, 4, *size)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (1, 1, 1), (4, 4, 4)])
def test_an_image_as_small_as_the_deepest_level_is_answered_and_learnt_from(size: tuple[int, ...]) -> None:
    for norm in ("batch", "instance"):
        network = UNet(1, 2, widths=(4, 6, 8), strides=[(2,) * len(size)] * 2, norm=norm)  # type: ignore[arg-type]
        for mode in (network.train(), network.eval()):
            assert mode(torch.randn(1, 1, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize("stride", [(2, 2), (1, 2), (2, 2, 2), (1, 2, 2)])
def test_what_a_gpu_does_instead_is_the_same_mathematics(stride: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *(4, 6, 8)[: len(stride)], dtype=torch.float64)
    pairs = [(doubled_by_neighbours, upsampled)] + ([(pooled_by_blocks, pooled)] if len(stride) == 3 else [])
    for ours, torchs in pairs:
        one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        a, b = ours(one, stride), torchs(other, stride)
        assert torch.allclose(a, b, atol=1e-12)
        weight = torch.randn_like(a)
        (a * weight).sum().backward()
        (b * weight).sum().backward()
        assert torch.allclose(one.grad, other.grad, atol=1e-12)


def test_padding_to_what_the_levels_divide_leaves_the_rest_of_the_image_alone() -> None:
    network = UNet(1, 1, widths=(4, 6), strides=[(2, 2)], norm="batch").eval()
    image = torch.randn(1, 1, 31, 31)
    padded = F.pad(image, (0, 1, 0, 1), mode="replicate")
    assert torch.allclose(network(image), network(padded)[..., :31, :31], atol=1e-6)


def test_its_parameters_are_what_the_widths_say() -> None:
    widths, inputs = (4, 6, 8), 3

    def block(a: int, b: int) -> int:
        return 9 * a * b + 2 * b + 9 * b * b + 2 * b  # two convolutions, two norms

    expected = block(inputs, 4) + block(4, 6) + block(6, 8) + block(8 + 6, 6) + block(6 + 4, 4) + 4 + 1
    network = UNet(inputs, 1, widths=widths, strides=[(2, 2)] * 2)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_cross_entropy_is_the_mean_of_minus_log_probabilities_over_known_pixels() -> None:
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    mask = torch.randint(0, 3, (2, 1, 4, 5), dtype=torch.uint8)
    mask[0, 0, 0] = IGNORE
    samples = []
    for b in range(2):
        terms = [
            -math.log(math.exp(logits[b, int(mask[b, 0, i, j]), i, j]) / logits[b, :, i, j].exp().sum())
            for i, j in itertools.product(range(4), range(5))
            if mask[b, 0, i, j] != IGNORE
        ]
        samples.append(sum(terms) / len(terms))
    assert cross_entropy(logits, mask, ignore_index=IGNORE).item() == pytest.approx(sum(samples) / 2, rel=1e-9)


def test_binary_cross_entropy_and_dice_ignore_unknown_pixels_wherever_they_are() -> None:
    logits, mask = torch.randn(1, 1, 6, 6), (torch.rand(1, 1, 6, 6) < 0.4).to(torch.uint8)
    mask[..., :2, :] = IGNORE
    changed = logits.clone()
    changed[..., :2, :] += 100
    assert torch.allclose(
        cross_entropy(logits, mask, ignore_index=IGNORE), cross_entropy(changed, mask, ignore_index=IGNORE)
    )
    assert torch.allclose(
        dice_loss(logits.sigmoid(), mask, ignore_index=IGNORE), dice_loss(changed.sigmoid(), mask, ignore_index=IGNORE)
    )
    assert torch.allclose(
        cross_entropy(logits, mask, ignore_index=IGNORE), cross_entropy(logits[..., 2:, :], mask[..., 2:, :])
    )


def test_dice_loss_of_hard_masks_is_one_minus_the_counted_dice() -> None:
    generator = torch.Generator().manual_seed(0)
    found = (torch.rand(3, 1, 9, 9, generator=generator) < 0.5).to(torch.uint8)
    true = (torch.rand(3, 1, 9, 9, generator=generator) < 0.5).to(torch.uint8)
    dice = [2 * (a & b).sum().item() / (a.sum() + b.sum()).item() for a, b in zip(found, true, strict=True)]
    assert dice_loss(found.float(), true, smooth=0).item() == pytest.approx(1 - sum(dice) / 3, rel=1e-6)
    empty = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
    assert dice_loss(empty.float(), empty).item() == 0


def test_class_numbers_and_class_channels_say_the_same() -> None:
    mask = torch.tensor([[[0, 1, 2, 255]]], dtype=torch.uint8)[:, None]
    assert class_channels(mask, 2)[0, :, 0].tolist() == [[False, True, False, False], [False, False, True, False]]
    overlapping = torch.tensor([[[[1, 0, 255]], [[1, 1, 0]]]], dtype=torch.uint8)
    assert class_channels(overlapping, 2)[0, :, 0].tolist() == [[True, False, False], [True, True, False]]


def test_exclusive_probabilities_and_the_background_sum_to_one() -> None:
    logits = torch.randn(2, 4, 3, 3)
    assert torch.allclose(probabilities_of(logits, 3).sum(1) + logits.softmax(1)[:, 0], torch.ones(2, 3, 3))
    assert torch.equal(probabilities_of(logits, 4), logits.sigmoid())


@pytest.mark.parametrize(
    ("labels", "outputs"),
    [
        (Labels(names=("vessel",), values=((255,),)), 1),
        (Labels(names=("anterior", "posterior"), values=((1,), (2,))), 3),
        (Labels(names=("whole", "core"), values=((1, 2), (2,))), 2),
    ],
)
def test_it_has_a_background_channel_only_where_several_classes_exclude_each_other(
    labels: Labels, outputs: int
) -> None:
    facts = traits(labels=labels, shape=(40, 44))
    method = build(UNetSegmenter, UNetSettings.preset("tiny").resolve(facts), facts)
    assert method.network.head.out_channels == outputs


def test_it_configures_itself_from_the_traits() -> None:
    quick = UNetSettings.preset("quick")
    drive = quick.resolve(traits())
    assert drive.patch is not None
    assert drive.patch[0] == drive.patch[1]
    assert drive.spacing is None
    assert drive.normalise == "image"
    assert drive.flips is True
    hippocampus = traits(shape=(35, 50, 36), channels=("mr",), spacing=(1.0, 1.0, 1.0))
    resolved = quick.resolve(hippocampus)
    assert resolved.patch is not None
    assert all(n <= m + 8 for n, m in zip(resolved.patch, (35, 50, 36), strict=True))
    assert resolved.spacing == (1.0, 1.0, 1.0)
    assert resolved.flips is False, "a body has a left and a right"
    ct = quick.resolve(traits(shape=(512, 512, 100), channels=("CT",), spacing=(0.8, 0.8, 5.0)))
    assert ct.normalise == "dataset"
    known = traits(channels=("CT",), foreground_intensity=traits(channels=("CT",)).intensity)
    assert quick.resolve(known).normalise == "foreground"
    method = build(UNetSegmenter, ct, traits(shape=(512, 512, 100), channels=("CT",), spacing=(0.8, 0.8, 5.0)))
    assert method.network.strides[0] == (2, 2, 1), "a coarse axis is not halved before the fine ones have caught up"


def test_a_volume_thinner_than_the_grid_still_has_a_patch() -> None:
    thin = traits(shape=(64, 64, 1), channels=("mr",), spacing=(1.0, 1.0, 1.0))
    assert UNetSettings.preset("quick", {"spacing": [1, 1, 9]}).resolve(thin).patch is not None


def test_settings_that_do_not_suit_the_data_are_refused_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match="found 3 numbers, expected one for each of the 2 axes"):
        UNetSettings.preset("quick", {"patch": [32, 32, 32]}).resolve(traits())
    with pytest.raises(SettingsError, match="there is no such setting; there are: steps"):
        UNetSettings.preset("quick", {"learning": 3})
    with pytest.raises(SettingsError, match=r"--settings.rate: found -1"):
        UNetSettings.preset("quick", {"rate": -1})
    for name, value in {"widths": [], "spacing": [0, 1], "rate": math.inf, "rotation": math.inf}.items():
        with pytest.raises(SettingsError, match=rf"--settings\.{name}"):
            UNetSettings.preset("quick", {name: value})
    with pytest.raises(SettingsError, match="no preset 'fast'"):
        UNetSettings.preset("fast")
    with pytest.raises(SettingsError, match="masks are needed"):
        UNetSettings().resolve(traits(labels=None))


@pytest.mark.parametrize("shape", [(24, 28), (8, 16, 8)])
def test_losses_for_tubes_are_added_with_their_weights(shape: tuple[int, ...]) -> None:
    facts = traits(shape=shape, channels=("grey",))
    plain = build(UNetSegmenter, UNetSettings.preset("tiny").resolve(facts), facts).eval()
    changes = {"cldice": 0.3, "iterations": 4, "skeleton_recall": 0.7}
    tubes = build(UNetSegmenter, UNetSettings.preset("tiny", changes).resolve(facts), facts).eval()
    tubes.load_state_dict(plain.state_dict())
    rows = torch.arange(2)
    image, mask = torch.rand(2, 1, *shape), (torch.rand(2, 1, *shape) < 0.3).to(torch.uint8)
    batch = {"labelled": Batch(rows, rows, {"image": image, "mask": mask})}
    ((_, usual),) = plain.objectives(batch, Step(seed=0))
    ((_, found),) = tubes.objectives(batch, Step(seed=0))
    p = plain.network(image).sigmoid()
    wanted = {
        **usual,
        "continuity": 0.3 * soft_cldice_loss(p, mask, iterations=4, ignore_index=IGNORE),
        "skeleton_recall": 0.7 * skeleton_recall_loss(p, mask, ignore_index=IGNORE),
    }
    assert set(usual) == {"cross_entropy", "overlap"}
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {name: value.item() for name, value in wanted.items()}, rel=1e-6
    )


def test_dice_over_the_batch_counts_the_patches_of_the_whole_step() -> None:
    facts = traits(shape=(24, 28), channels=("grey",))
    method = build(UNetSegmenter, UNetSettings.preset("tiny", {"dice_over": "batch"}).resolve(facts), facts).eval()
    rows = torch.arange(2)
    image, mask = torch.rand(2, 1, 24, 28), (torch.rand(2, 1, 24, 28) < 0.3).to(torch.uint8)
    game = method.objectives({"labelled": Batch(rows, rows, {"image": image, "mask": mask})}, Step(seed=0, slots=2))
    total = next(game)
    assert isinstance(total, Total)
    elsewhere = torch.tensor([[10.0], [30.0], [20.0]])  # what the other part of the step has found
    _, terms = game.send(total.part.detach() + elsewhere)
    p = method.network(image).sigmoid()
    both, either = (p * mask).sum() + 10, p.sum() + mask.sum() + 50
    assert terms["overlap"].item() == pytest.approx(0.5 * (1 - (2 * both + 1) / (either + 1)).item(), rel=1e-6)


def test_a_narrow_network_enlarges_as_few_channels_as_the_level_above_has() -> None:
    plain = UNet(1, 1, widths=(4, 8, 16), strides=[(2, 2)] * 2)
    narrow = UNet(1, 1, widths=(4, 8, 16), strides=[(2, 2)] * 2, narrow=True)
    assert narrow(torch.randn(2, 1, 17, 23)).shape == plain(torch.randn(2, 1, 17, 23)).shape
    saved = sum(9 * width * (below - width) - below * width for width, below in ((4, 8), (8, 16)))
    assert sum(p.numel() for p in plain.parameters()) - sum(p.numel() for p in narrow.parameters()) == saved


def test_flat_kernels_do_not_look_along_their_axis() -> None:
    network = UNet(1, 1, widths=(4, 6), strides=[(1, 2, 2)], kernels=[(1, 3, 3)] * 2, norm="batch").eval()
    image = torch.randn(1, 1, 6, 8, 8)
    other = image.clone()
    other[:, :, 3:] = torch.randn(1, 1, 3, 8, 8)
    assert torch.allclose(network(image)[:, :, :3], network(other)[:, :, :3], atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernels": ((3, 3),)},
        {"strides": ()},
        {"strides": ((2, 2, 2),)},
        {"widths": (4, 8), "strides": ((2, 2), (2, 2))},
        {"strides": ((2, 2),), "kernels": ((3, 3), (3, 3, 3))},
    ],
)
def test_strides_and_kernels_of_other_levels_or_axes_are_a_sentence(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"--settings\.(strides|kernels): found .*, expected"):
        UNetSettings.preset("quick", settings).resolve(traits())


def test_strides_and_kernels_that_are_given_are_kept() -> None:
    given = UNetSettings.preset("quick", {"strides": ((2, 2), (1, 2)), "kernels": ((3, 3), (3, 1), (3, 3))})
    resolved = given.resolve(traits())
    assert (resolved.strides, resolved.kernels) == (given.strides, given.kernels)
    assert resolved.resolve(traits()) == resolved


@pytest.mark.parametrize("shape", [(64, 64), (3, 200), (32, 32, 32), (3, 40, 40)])
@pytest.mark.parametrize("widths", [(8,), (8, 16), (4, 8, 16, 32, 64)])
def test_settings_that_were_planned_can_be_planned_again(shape: tuple[int, ...], widths: tuple[int, ...]) -> None:
    once = UNetSettings.preset("quick", {"widths": widths}).resolve(traits(shape=shape))
    assert once.resolve(traits(shape=shape)) == once
