"""GANs of noise: what each changes in the game, which changes of images adapt, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commands import command
from scantling.contract.method import build
from scantling.contract.stage import frozen
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.generation.basic_gan import BasicGan
from scantling.methods.generation.dcgan import AcGan, AcGanOptions, DcGan, Wgan
from scantling.methods.generation.pggan import PgGan, reduced
from scantling.methods.generation.skr_gan import SkrGan, SkrGanStar
from scantling.networks.convolutional_gan import ConvolutionalDiscriminator, ConvolutionalGenerator, halvings
from scantling.networks.diff_augment import adapted, diff_augment, with_probability
from scantling.networks.progressive import ProgressiveDiscriminator, ProgressiveGenerator
from scantling.phantoms.drafts import edge_sketch
from scantling.phantoms.structure import structure_map
from scantling.testing.data import make_data

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)


def traits(**changes: Any) -> Traits:
    facts = {
        "dimensions": 2, "channels": ("flair", "t1"), "spacing": (1.0, 1.0), "shape": (40, 40), "smallest": (40, 40),
        "intensity": (FACTS, FACTS), "image_classes": ("ill", "well"), "labelled": 3,
    }  # fmt: skip
    return Traits(**{**facts, **changes})


def returned(game: Any) -> Any:
    """What the objectives return after their last move."""
    while True:
        try:
            next(game)
        except StopIteration as end:
            return end.value


def made(kind: Any, **settings: Any) -> Any:
    chosen = kind.Settings.preset("tiny", settings).resolve(traits())
    return build(kind, chosen, traits()).eval()


@pytest.mark.parametrize("kind", [DcGan, BasicGan, SkrGan, PgGan])
def test_one_channel_is_made_where_one_is_named_and_all_otherwise(kind: Any) -> None:
    options = {"inference": Inference(seed=1)}
    with torch.no_grad():
        assert made(kind).generate(2, **options).images.shape[:2] == (2, 2)
        one = made(kind, channel="t1")
        assert one.channels_out == ("t1",)
        assert one.generate(2, **options).images.shape[:2] == (2, 1)
    with pytest.raises(SettingsError, match="the images have the channels flair, t1"):
        made(kind, channel="t2")


def test_the_networks_of_dcgan_lead_from_noise_to_each_side_and_back_and_no_other() -> None:
    for side in (4, 7, 8, 12, 96):
        images = ConvolutionalGenerator(2, noise=3, side=side, width=2)(torch.randn(2, 3))
        assert images.shape == (2, 2, side, side)
        assert images.abs().max() <= 1
        assert ConvolutionalDiscriminator(2, side=side, width=2, classes=3)(images).shape == (2, 4)
    with pytest.raises(SettingsError, match="such as 96"):
        halvings(97)
    with pytest.raises(SettingsError, match="such as 4"):
        halvings(3)


def test_the_weights_of_a_critic_are_clipped_unless_its_slopes_are_penalised() -> None:
    for penalty, most in ((0.0, 0.1), (10.0, 3.0)):
        gan = made(Wgan, penalty=penalty)
        for parameter in gan.judge.parameters():
            parameter.data.fill_(3.0)
        gan.stepped(Step(seed=0), [torch.ones(2, 1)])
        assert max(float(p.detach().abs().max()) for p in gan.judge.parameters()) == pytest.approx(most)


def test_changes_do_not_adapt_to_a_critic() -> None:
    with pytest.raises(SettingsError, match="not sure or unsure"):
        made(Wgan, augmented="adaptive")


def test_the_generator_of_a_wgan_waits_for_its_critic() -> None:
    gan = made(Wgan, judge_steps=3)
    assert [gan.moves(Step(seed=0, number=n)) for n in range(6)] == [False, False, True, False, False, True]


def test_an_image_is_left_alone_where_no_change_is_drawn_and_changed_where_all_are() -> None:
    images, coins, gates = torch.randn(3, 1, 16, 16), torch.rand(3, 8), torch.rand(3, 4)
    torch.testing.assert_close(diff_augment(images, with_probability(coins, gates, 0.0)), images)
    always = diff_augment(images, with_probability(coins, gates, 1.0))
    torch.testing.assert_close(always, diff_augment(images, coins))


def test_the_share_of_changes_rises_while_the_judge_is_sure_and_stays_between_0_and_1() -> None:
    share, sure, unsure = torch.tensor(0.5), torch.ones(8), torch.tensor([1.0, -1.0])
    assert adapted(share, sure, target=0.6, images=80).item() == pytest.approx(0.6)
    assert adapted(share, unsure, target=0.6, images=80).item() == pytest.approx(0.475)
    assert adapted(torch.tensor(0.99), sure, target=0.6, images=80).item() == 1
    assert adapted(torch.tensor(0.0), unsure, target=0.6, images=80).item() == 0


def test_how_sure_a_judge_of_patches_is_follows_from_all_patches_and_that_of_classes_from_its_score() -> None:
    said = torch.tensor([[0.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    for kind, expected in ((BasicGan, [0.5, -0.5]), (AcGan, [0.0, 1.0])):
        gan = made(kind, augmented="no")
        gan.judge = torch.nn.Module()
        gan.judge.forward = lambda images: said + 0 * images.sum()
        batch = Batch(
            torch.zeros(2), torch.zeros(2),
            {"image": torch.zeros(2, 2, *[gan.settings.size] * 2), "image_class": torch.tensor([0, 1])},
        )  # fmt: skip
        assert returned(gan.objectives({"images": batch}, Step(seed=0))).flatten().tolist() == expected


def test_slopes_are_penalised_between_the_images_that_the_critic_sees() -> None:
    gan = made(Wgan, penalty=10.0)
    seen = list[torch.Tensor]()
    gan.judge.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    images = Batch(torch.zeros(2), torch.zeros(2), {"image": torch.randn(2, 2, 8, 8)})
    terms = next(gan.objectives({"images": images}, Step(seed=0)))[1]
    assert terms.keys() == {"telling", "slope"}
    real, fake, between = seen
    share = ((between - fake) * (real - fake)).flatten(1).sum(1) / (real - fake).flatten(1).square().sum(1)
    torch.testing.assert_close(between, fake + share.view(-1, 1, 1, 1) * (real - fake))


def test_an_image_class_that_is_named_is_made_and_else_each_in_turn() -> None:
    gan = made(AcGan)
    with torch.no_grad():
        turn = gan.generate(3, Inference(seed=0, number=1, options=AcGanOptions()))
        named = gan.generate(2, Inference(seed=0, options=AcGanOptions(image_class="well")))
    assert turn.image_classes.tolist() == [1, 0, 1]
    assert named.image_classes.tolist() == [1, 1]
    torch.testing.assert_close(named.images[1:], turn.images[:1])  # number 1 of the seed is of that class in both
    with pytest.raises(SettingsError, match="trained on ill, well"):
        gan.generate_options(AcGanOptions(image_class="dead"))
    with pytest.raises(SettingsError, match="two or more"):
        AcGan.Settings.preset("tiny").resolve(traits(image_classes=("one",)))


def test_a_level_that_is_not_faded_in_shows_the_coarser_one_and_one_that_is_shows_itself() -> None:
    torch.manual_seed(0)
    network = ProgressiveGenerator(1, noise=4, widths=(4, 4, 4))
    noise = torch.randn(2, 4)
    coarse = torch.nn.functional.interpolate(network(noise, 1), scale_factor=2.0)
    torch.testing.assert_close(network(noise, 2, 0.0), coarse)
    half = (coarse + network(noise, 2)) / 2
    torch.testing.assert_close(network(noise, 2, 0.5), half)
    images = torch.arange(16.0).view(1, 1, 4, 4)
    assert reduced(images, 2, 1.0).item() == 7.5
    torch.testing.assert_close(reduced(images, 0, 0.0)[..., :2, :2], torch.full((1, 1, 2, 2), 2.5))


def test_images_that_are_all_alike_have_no_deviation_and_others_have() -> None:
    judge = ProgressiveDiscriminator(1, widths=(4, 4))
    seen = list[torch.Tensor]()
    judge.last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, -1]))
    for images in (torch.ones(3, 1, 8, 8), torch.randn(3, 1, 8, 8)):
        maps = judge.maps(images, 1)
        judge.scores(maps, maps.mean(0))
    assert seen[0].abs().max() < 1e-6
    assert seen[1].min() > 0


@pytest.mark.parametrize("settings", [{"size": 96}, {"augmented": "always"}, {"judge_steps": 2}])
def test_a_growing_gan_refuses_what_does_not_double_and_what_it_does_not_do(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"--settings\.(size|judge_steps)"):
        made(PgGan, **settings)


def test_a_sketch_follows_the_border_of_a_disc_and_an_image_without_contrast_has_none() -> None:
    rows, columns = np.mgrid[:64, :64]
    radius = np.hypot(rows - 32, columns - 32)
    noise = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    sketch = edge_sketch((radius < 20) + noise)
    assert sketch[abs(radius - 20) < 0.5].mean() > 0.95
    assert not sketch[abs(radius - 20) > 5].any()
    assert not edge_sketch(np.full((16, 16), 7.0)).any()


def test_skr_gan_renders_sketches_and_its_variant_one_minus_the_structure_map() -> None:
    plane = np.random.default_rng(0).random((16, 16))
    for kind, rule in ((SkrGan, edge_sketch), (SkrGanStar, structure_map)):
        gan = made(kind)
        assert (gan.sketch(plane) == rule(plane)).all()
        sketch = torch.from_numpy(rule(plane)).float()[None, None]
        seen = list[torch.Tensor]()
        gan.renderer.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        with torch.no_grad(), frozen(gan.renderer):
            gan.rendered(sketch)
        torch.testing.assert_close(seen[0], sketch if kind is SkrGan else 1 - sketch)


def test_sketches_are_written_beside_the_images_that_are_rendered_of_them(tmp_path: Path) -> None:
    data = make_data(SkrGan.card, tmp_path / "data", dimensions=2)
    done = command("train", "skr-gan", "--data", data, "--out", tmp_path / "run", "--preset", "tiny")
    assert done.returncode == 0, done.stderr
    done = command("synthesize", tmp_path / "run", "--count", "3", "--out", tmp_path / "made")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "made" / "sketches").iterdir())) == 3
    assert len(list((tmp_path / "made" / "images").iterdir())) == 3
