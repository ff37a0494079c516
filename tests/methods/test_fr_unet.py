"""FR-UNet: its graph and parameters, what it reads and how it is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.method import build
from scantling.contract.step import Inference, Step
from scantling.core.case import IGNORE, Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Preprocessing, Traits
from scantling.data.preprocessing import normalise
from scantling.losses.continuity import soft_cldice_loss
from scantling.losses.overlap import cross_entropy, dice_loss
from scantling.losses.skeleton_recall import skeleton_recall_loss
from scantling.methods.supervised.fr_unet import FRUNetSegmenter, FRUNetSettings
from scantling.networks.fr_unet import FRUNet

COLOURS = ("red", "green", "blue")
DOUBLE = torch.float64


def traits(**changes: Any) -> Traits:
    shape = changes.get("shape", (584, 565))
    channels = changes.get("channels", COLOURS)
    facts = {
        "dimensions": len(shape),
        "channels": channels,
        "labels": Labels(names=("vessel",), values=((255,),)),
        "spacing": (1.0,) * len(shape),
        "shape": shape,
        "smallest": shape,
        "intensity": (Intensity(mean=90, std=40, low=0, high=250, minimum=0, maximum=255),) * len(channels),
    }
    return Traits.model_validate(facts | changes)


def method(facts: Traits, preset: str = "tiny", **changes: Any) -> FRUNetSegmenter:
    built = build(FRUNetSegmenter, FRUNetSettings.preset(preset, changes).resolve(facts), facts)
    assert isinstance(built, FRUNetSegmenter)
    return built


def batch(image: Tensor, mask: Tensor | None = None) -> Batch:
    rows = torch.arange(len(image))
    return Batch(rows, rows, {"image": image} | ({} if mask is None else {"mask": mask}))


def terms(of: FRUNetSegmenter, labelled: Batch) -> dict[str, Tensor]:
    ((player, losses),) = of.objectives({"labelled": labelled}, Step(seed=0))
    assert player == "fr-unet"
    return dict(losses)


def randomised(network: FRUNet) -> FRUNet:
    """All weights and running statistics drawn, so that nothing is 0 or 1 by default; in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            positive = "var" in name or tensor.ndim == 1
            tensor.copy_(drawn + 0.5 if positive else (drawn - 0.5) / tensor[0].numel() ** 0.5)
    return network.double().eval()


def written_out(network: FRUNet, x: Tensor) -> tuple[Tensor, Tensor]:
    """The paper's graph, line by line, with the weights of `network`: logits and the map of block 13."""
    w = dict(network.state_dict())

    def norm(x: Tensor, at: str) -> Tensor:
        mean, var = w[f"{at}.running_mean"], w[f"{at}.running_var"]
        return F.batch_norm(x, mean, var, w[f"{at}.weight"], w[f"{at}.bias"])

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.1 * x)

    def block(name: str, *sources: Tensor) -> Tensor:
        x, at = torch.cat(sources, 1), f"blocks.{name}"
        first = 0
        if f"{at}.0.point.weight" in w:
            near = F.conv2d(x, w[f"{at}.0.near.weight"], padding=1)
            wide = F.conv2d(x, w[f"{at}.0.wide.weight"], padding=2, dilation=2)
            x = norm(F.conv2d(x, w[f"{at}.0.point.weight"]) + near + wide, f"{at}.0.norm")
            first = 1
        for layer in (first, first + 1):
            x = leaky(norm(F.conv2d(x, w[f"{at}.{layer}.0.weight"], padding=1), f"{at}.{layer}.1"))
        return x

    def down(x: Tensor, name: str) -> Tensor:
        return leaky(norm(F.conv2d(x, w[f"downs.{name}.0.weight"], stride=2), f"downs.{name}.1"))

    def up(x: Tensor, name: str) -> Tensor:
        return leaky(norm(F.conv_transpose2d(x, w[f"ups.{name}.0.weight"], stride=2), f"ups.{name}.1"))

    x1_3 = block("1_3", x)
    x1_2 = block("1_2", x1_3)
    x2_2 = block("2_2", down(x1_3, "1_3"))
    x1_1 = block("1_1", x1_2, up(x2_2, "2_2"))
    x2_1 = block("2_1", down(x1_2, "1_2"), x2_2)
    x3_1 = block("3_1", down(x2_2, "2_2"))
    x10 = block("10", x1_1, up(x2_1, "2_1"))
    x20 = block("20", down(x1_1, "1_1"), x2_1, up(x3_1, "3_1"))
    x30 = block("30", down(x2_1, "2_1"), x3_1)
    x40 = block("40", down(x3_1, "3_1"))
    x11 = block("11", x10, up(x20, "20"))
    x21 = block("21", down(x10, "10"), x20, up(x30, "30"))
    x31 = block("31", down(x20, "20"), x30, up(x40, "40"))
    x12 = block("12", x11, up(x21, "21"))
    x22 = block("22", down(x11, "11"), x21, up(x31, "31"))
    x13 = block("13", x12, up(x22, "22"))
    read = {"1_1": x1_1, "10": x10, "11": x11, "12": x12, "13": x13}
    heads = [F.conv2d(x, w[f"heads.{name}.weight"], w[f"heads.{name}.bias"]) for name, x in read.items()]
    return sum(heads, torch.zeros(())) / 5, x13


def test_it_computes_the_papers_graph() -> None:
    network = randomised(FRUNet(1, 2, widths=(4, 6, 8, 10)))
    image = torch.randn(2, 1, 32, 40, dtype=DOUBLE)
    logits, features = written_out(network, image)
    assert torch.allclose(network(image), logits, rtol=1e-9)
    assert torch.allclose(network.features(image), features, rtol=1e-9)
    assert logits.std() > 1e-3, "the numbers must say something"


def count(inputs: int, outputs: int, widths: tuple[int, int, int, int]) -> int:
    """The parameters of the graph, row by row."""
    a, b, c, d = widths

    def block(width: int) -> int:
        return 2 * (9 * width * width + 2 * width)

    def fuse(channels: int, width: int) -> int:
        return 0 if channels == width else (1 + 9 + 9) * channels * width + 2 * width

    def move(channels: int, width: int) -> int:  # 2 x 2, up or down
        return 4 * channels * width + 2 * width

    full = 7 * block(a) + fuse(inputs, a) + 5 * fuse(2 * a, a) + 5 * move(a, b)
    half = 5 * block(b) + fuse(2 * b, b) + 3 * fuse(3 * b, b) + 5 * move(b, a) + 3 * move(b, c)
    quarter = 3 * block(c) + fuse(2 * c, c) + fuse(3 * c, c) + 3 * move(c, b) + move(c, d)
    eighth = block(d) + move(d, c)
    return full + half + quarter + eighth + 5 * (a + 1) * outputs


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_its_parameters_are_what_the_graph_says(norm: Any) -> None:
    def held(network: FRUNet) -> int:
        return sum(parameter.numel() for parameter in network.parameters())

    assert held(FRUNet(1, 1, norm=norm)) == count(1, 1, (32, 64, 128, 256)) == 5_719_621
    # as many channels in as the first row has: nothing to fuse
    for inputs, outputs, widths in [(3, 4, (8, 16, 32, 64)), (4, 1, (4, 4, 6, 8))]:
        assert held(FRUNet(inputs, outputs, widths=widths, norm=norm)) == count(inputs, outputs, widths)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (8, 8), (17, 23), (16, 24), (33, 31)])
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("training", [False, True])
def test_any_size_in_gives_the_same_size_out(size: tuple[int, int], norm: Any, training: bool) -> None:
    network = FRUNet(3, 2, widths=(4, 4, 6, 8), norm=norm).train(training)
    assert network(torch.randn(1, 3, *size)).shape == (1, 2, *size)
    assert network.features(torch.randn(2, 3, *size)).shape == (2, 4, *size)


def test_padding_repeats_the_border_and_is_cropped_away() -> None:
    network = randomised(FRUNet(1, 1, widths=(4, 6, 8, 10)))
    image = torch.randn(1, 1, 30, 17, dtype=DOUBLE)
    padded = F.pad(image, (0, 7, 0, 2), mode="replicate")
    assert torch.allclose(network(image), network(padded)[..., :30, :17], rtol=1e-9)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_order_in_memory_changes_no_gradient(norm: Any) -> None:
    # PyTorch 2.13's InstanceNorm2d fails this for one image on the processor, silently
    network = FRUNet(1, 1, widths=(4, 4, 6, 8), norm=norm, dropout=0.0).double()
    image = torch.randn(1, 1, 32, 32, dtype=DOUBLE)

    def gradients() -> list[Tensor]:
        network.zero_grad()
        network(image).square().mean().backward()
        return [parameter.grad.contiguous() for parameter in network.parameters() if parameter.grad is not None]

    innermost = gradients()
    assert len(innermost) == len(list(network.parameters()))
    network.to(memory_format=torch.contiguous_format)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(innermost, gradients(), strict=True))


def test_dropout_takes_whole_channels_in_training_alone() -> None:
    network = FRUNet(1, 1, widths=(32, 4, 4, 4), dropout=0.2)
    found: list[Tensor] = []
    network.blocks["13"][-1][-2].register_forward_hook(lambda module, inputs, output: found.append(output.clone()))
    for _ in range(12):
        network.train()(torch.randn(4, 1, 16, 16))
    gone = torch.cat(found).flatten(2).eq(0).all(2)  # (48, 32)
    assert not torch.cat(found).flatten(2).eq(0).any(2).logical_xor(gone).any()
    assert gone.double().mean().item() == pytest.approx(0.2, abs=0.04)  # 1536 draws: four deviations
    image = torch.randn(1, 1, 16, 16)
    assert torch.equal(network.eval()(image), network(image))


def test_the_paper_preset_is_the_papers() -> None:
    paper = FRUNetSettings.preset("paper")
    method_of = method(traits(), "paper")
    (stage,) = method_of.stages()
    (player,), (stream,) = stage.players, stage.streams
    assert (player.optimiser, player.rate, player.weight_decay, player.schedule) == ("adam", 1e-4, 1e-5, "cosine")
    assert (player.clip, player.average, player.warmup) == (None, 0, 0)
    assert (stream.batch, stream.patch, stream.foreground) == (512, (48, 48), 0)
    assert stream.augment is not None
    assert stream.augment.flips
    assert stream.augment.turns
    changes = ("rotation", "zoom", "brightness", "contrast", "gamma", "noise")
    assert not any(getattr(stream.augment, change) for change in changes)
    assert (paper.widths, paper.dropout, paper.norm) == ((32, 64, 128, 256), 0.2, "batch")
    assert sum(parameter.numel() for parameter in method_of.parameters()) == 5_719_621
    assert method_of.preprocessing == Preprocessing(dimensions=2, normalise="unit")


def test_its_steps_are_forty_epochs_of_the_patches_of_drive() -> None:
    # 584 x 565 pixels, zeros added until a patch of 48 ends at the border with a stride of 6
    image = F.pad(torch.zeros(1, 1, 584, 565), (0, 6 - (565 - 48) % 6, 0, 6 - (584 - 48) % 6))
    patches = F.unfold(image, 48, stride=6).shape[-1]
    assert patches == 91 * 88
    assert FRUNetSettings().steps == 40 * (20 * patches // 512)


def test_z_scores_scaled_to_their_range_are_the_image_scaled_to_its_range() -> None:
    image = np.random.default_rng(0).integers(3, 240, (1, 20, 22)).astype(np.float32)
    z = (image - 90) / 40
    wanted = (z - z.min()) / (z.max() - z.min())
    facts = traits(channels=("grey",))
    taken = torch.from_numpy(normalise(image, None, Preprocessing(dimensions=2, normalise="unit"), facts))[None]
    assert torch.allclose(method(facts).shades(taken)[0], torch.from_numpy(wanted), atol=1e-6)


def test_colour_becomes_grey_as_pillow_does_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 10, 3), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    shades = method(traits()).shades(image)
    assert shades.shape == (1, 1, 9, 10)
    assert np.abs(shades[0, 0].numpy() * 255 - wanted).max() < 1  # Pillow rounds to whole values


@pytest.mark.parametrize(
    ("channels", "preset", "inputs"),
    [(COLOURS, "paper", 1), (COLOURS, "quick", 3), (("grey",), "paper", 1), (("t1", "t2"), "paper", 2)],
)
def test_only_colour_is_made_grey_and_only_where_it_is_asked_for(
    channels: tuple[str, ...], preset: str, inputs: int
) -> None:
    of = method(traits(channels=channels), preset, widths=(4, 4, 4, 4))
    assert of.shades(torch.randn(2, len(channels), 8, 8)).shape == (2, inputs, 8, 8)
    assert of.segment(batch(torch.randn(1, len(channels), 21, 18)), Inference(seed=0)).probabilities is not None


@pytest.mark.parametrize(
    ("labels", "outputs"),
    [
        (Labels(names=("vessel",), values=((255,),)), 1),
        (Labels(names=("artery", "vein"), values=((1,), (2,))), 3),
        (Labels(names=("whole", "core"), values=((1, 2), (2,))), 2),
    ],
)
def test_it_learns_one_class_exclusive_classes_and_overlapping_classes(labels: Labels, outputs: int) -> None:
    facts = traits(labels=labels, shape=(40, 44), channels=("grey",))
    of = method(facts)
    assert of.network.heads["13"].out_channels == outputs
    shape = (2, 1 if labels.exclusive else len(labels.names), 24, 24)
    mask = torch.randint(0, 1 + (len(labels.names) if labels.exclusive else 1), shape).to(torch.uint8)
    mask[..., :3] = IGNORE
    losses = terms(of, batch(torch.rand(2, 1, 24, 24), mask))
    assert set(losses) == {"cross_entropy", "overlap", "continuity"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in of.parameters())
    answer = of.segment(batch(torch.rand(2, 1, 19, 27)), Inference(seed=0)).probabilities
    assert answer is not None
    assert answer.shape == (2, len(labels.names), 19, 27)


def test_the_terms_are_what_their_weights_say() -> None:
    facts = traits(shape=(40, 44), channels=("grey",))
    labelled = batch(torch.rand(2, 1, 24, 24), (torch.rand(2, 1, 24, 24) < 0.3).to(torch.uint8))
    paper = method(facts, "paper", widths=(4, 4, 4, 4), dropout=0.0).eval()
    logits = paper.network((labelled.image + 1) / 2)
    assert set(found := terms(paper, labelled)) == {"cross_entropy"}
    assert found["cross_entropy"].item() == pytest.approx(
        cross_entropy(logits, labelled.mask, ignore_index=IGNORE).item(), rel=1e-6
    )
    # (1 - a) (1 - Dice) + a (1 - clDice), Shit et al. (2021), with a = 0.3
    weights = {"cross_entropy": 0, "dice": 0.7, "cldice": 0.3, "iterations": 5}
    shit = method(facts, "paper", widths=(4, 4, 4, 4), dropout=0.0, **weights).eval()
    shit.load_state_dict(paper.state_dict())
    p = logits.sigmoid()
    wanted = 0.7 * dice_loss(p, labelled.mask, ignore_index=IGNORE) + 0.3 * soft_cldice_loss(
        p, labelled.mask, ignore_index=IGNORE, iterations=5
    )
    assert set(found := terms(shit, labelled)) == {"overlap", "continuity"}
    assert sum(found.values()).item() == pytest.approx(wanted.item(), rel=1e-6)
    # the usual loss and Skeleton Recall with weight 1, Kirchhoff et al. (2024)
    tubes = method(facts, "paper", widths=(4, 4, 4, 4), dropout=0.0, dice=1.0, skeleton_recall=1.0).eval()
    tubes.load_state_dict(paper.state_dict())
    recall = skeleton_recall_loss(p, labelled.mask, ignore_index=IGNORE)
    assert set(found := terms(tubes, labelled)) == {"cross_entropy", "overlap", "skeleton_recall"}
    assert found["skeleton_recall"].item() == pytest.approx(recall.item(), rel=1e-6)


def test_it_reads_volumes_slice_by_slice() -> None:
    facts = traits(shape=(20, 64, 90), channels=("ct",), slice_axis=0)
    of = method(facts, "paper", widths=(4, 4, 4, 4))
    (stage,) = of.stages()
    assert of.preprocessing.dimensions == 2
    assert stage.streams[0].patch == (48, 48), "the thin axis is the one that is sliced"


def test_a_patch_is_no_larger_than_the_images() -> None:
    assert FRUNetSettings.preset("quick").resolve(traits(shape=(100, 71))).patch == 64
    assert FRUNetSettings().resolve(traits(shape=(9, 200))).patch == 16


def test_settings_that_do_not_suit_are_refused_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match="needs masks"):
        FRUNetSettings().resolve(traits(labels=None))
    with pytest.raises(SettingsError, match="cross_entropy, dice and cldice are all 0"):
        FRUNetSettings.preset("paper", {"cross_entropy": 0}).resolve(traits())
    with pytest.raises(SettingsError, match=r"--settings.widths"):
        FRUNetSettings.preset("paper", {"widths": [8, 16]})
    with pytest.raises(SettingsError, match=r"--settings.patch: found 8"):
        FRUNetSettings.preset("paper", {"patch": 8})
