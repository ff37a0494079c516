"""The direction layer: what it learns and what it leaves alone, and the diffusion along what it says."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from made import images_for
from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method, build
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Segmentation
from scantling.contract.step import Inference, Step
from scantling.core.case import IGNORE, Case, Geometry, Labels, Sample
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Preprocessing, Traits
from scantling.inference import predict
from scantling.inference.answering import segment
from scantling.inference.tiles import Tiler
from scantling.losses.overlap import binary_cross_entropy, dice_loss
from scantling.methods.catalogue import CARDS
from scantling.methods.supervised.direction import DirectionMender, DirectionSettings, unit
from scantling.methods.supervised.fr_unet import FRUNetSegmenter, FRUNetSettings
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.training import Options, train
from scantling.training.stage_runner import StageRunner

CPU = torch.device("cpu")
NOW = Inference(seed=0)
ONE = Labels(names=("vessel",), values=((255,),))
TWO = Labels(names=("artery", "vein"), values=((1,), (2,)))


def traits(**changes: Any) -> Traits:
    shape = changes.get("shape", (40, 44))
    channels = changes.get("channels", ("grey",))
    facts = {
        "dimensions": len(shape),
        "channels": channels,
        "labels": ONE,
        "spacing": (1.0,) * len(shape),
        "shape": shape,
        "smallest": shape,
        "intensity": (Intensity(mean=90, std=40, low=0, high=250, minimum=0, maximum=255),) * len(channels),
    }
    return Traits.model_validate(facts | changes)


def unet(facts: Traits, **changes: Any) -> Method:
    return build(UNetSegmenter, UNetSettings.preset("tiny", changes).resolve(facts), facts)


def fr_unet(facts: Traits, **changes: Any) -> Method:
    return build(FRUNetSegmenter, FRUNetSettings.preset("tiny", changes).resolve(facts), facts)


def mender(base: Method | None, facts: Traits, preset: str = "tiny", **changes: Any) -> DirectionMender:
    built = build(
        DirectionMender,
        DirectionSettings.preset(preset, changes).resolve(facts),
        facts,
        uses={} if base is None else {"segmenter": base},
    )
    assert isinstance(built, DirectionMender)
    return built


def batch(image: Tensor, mask: Tensor | None = None) -> Batch:
    rows = torch.arange(len(image))
    return Batch(rows, rows, {"image": image} | ({} if mask is None else {"mask": mask}))


def mask_of(facts: Traits, *shape: int) -> Tensor:
    labels = facts.labels
    assert labels is not None
    channels, values = (1, len(labels.names)) if labels.exclusive else (len(labels.names), 1)
    drawn = torch.randint(0, 1 + values, (2, channels, *shape), generator=torch.Generator().manual_seed(1))
    return drawn.to(torch.uint8)


def answered(method: Method, image: Tensor, inference: Inference = NOW) -> Segmentation:
    with torch.no_grad():
        return method.eval().segment(batch(image), inference)


def probabilities(method: Method, image: Tensor, inference: Inference = NOW) -> Tensor:
    found = answered(method, image, inference).probabilities
    assert found is not None
    return found


class Seer(Segmenter):
    """A base that says of each pixel what the image's channels say: probabilities first, then features."""

    card = CARDS["unet"]
    Settings = UNetSettings

    def __init__(self, facts: Traits) -> None:
        super().__init__(UNetSettings(), facts)
        self.weight = nn.Parameter(torch.zeros(1))

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(dimensions=self.traits.dimensions, normalise="none")

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        return Segmentation(probabilities=self.features(batch.image)[1])

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        classes = len(self.traits.classes)
        return image, image[:, :classes].clamp(0, 1) + 0 * self.weight


def test_the_base_stays_as_it_is_to_the_last_bit() -> None:
    facts = traits()
    base = unet(facts, norm="batch", dropout=0.5)
    method = mender(base, facts)
    (stage,) = method.stages()
    play = StageRunner(method, stage, seed=0, device=CPU)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    assert any("running_mean" in name for name in before)
    first = method.layer.weight.clone()
    for step in range(3):
        play.step(step, [{"labelled": batch(torch.randn(2, 1, 40, 40), mask_of(facts, 40, 40))}])
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert not torch.equal(method.layer.weight, first)


def test_the_base_is_in_evaluation_mode_even_where_the_whole_method_is_put_in_training_mode() -> None:
    facts = traits()
    base = unet(facts, norm="batch", dropout=0.5)
    method = mender(base, facts).train()
    image = torch.randn(2, 1, 40, 40)
    one, other = (_terms(method, image, facts)[0]["cross_entropy"] for _ in range(2))
    assert torch.equal(one, other), "dropout would differ from call to call"
    assert base.training, "it is put back as it was"


def test_samples_are_those_of_the_dropout_of_the_base() -> None:
    facts = traits()
    method = mender(unet(facts, dropout=0.5), facts).eval()
    image = np.random.default_rng(0).normal(size=(1, 40, 44)).astype(np.float32)
    sample = Sample(Case(id="a", subject="a"), image, Geometry((40, 44), (1.0, 1.0)))
    found = segment(method, sample, device=CPU, tiler=Tiler(), options=SegmentOptions(samples=2))
    assert not np.array_equal(found.samples[0], found.samples[1])


def test_steps_of_the_diffusion_are_no_calls_of_the_network() -> None:
    facts = traits()
    method = mender(unet(facts, dropout=0.5), facts)
    assert method.calls(method.segment_options(SegmentOptions(steps=50))) == 1
    assert method.calls(method.segment_options(SegmentOptions(samples=4))) == 4


def _terms(method: DirectionMender, image: Tensor, facts: Traits) -> list[dict[str, Tensor]]:
    labelled = batch(image, mask_of(facts, *image.shape[2:]))
    return [dict(terms) for _, terms in method.objectives({"labelled": labelled}, Step(seed=0))]


def test_gradients_reach_the_layer_and_nothing_else() -> None:
    facts = traits()
    method = mender(unet(facts), facts, dice=0.5, cldice=0.5, skeleton=2)
    (terms,) = _terms(method, torch.randn(2, 1, 24, 24), facts)
    assert set(terms) == {"cross_entropy", "overlap", "continuity"}
    torch.stack(list(terms.values())).sum().backward()
    reached = {name for name, parameter in method.named_parameters() if parameter.grad is not None}
    assert reached == {"layer.weight", "layer.bias"}
    assert method.layer.weight.grad is not None
    assert method.layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(23, 30), (12, 14, 13)])
def test_which_way_along_a_vessel_is_of_no_matter(shape: tuple[int, ...]) -> None:
    facts = traits(shape=shape)
    method = mender(unet(facts), facts)
    image = torch.randn(2, 1, *shape)
    before = answered(method, image)
    with torch.no_grad():
        for parameter in method.layer.parameters():
            parameter.neg_()
    after = answered(method, image)
    assert torch.equal(before.maps["direction"], -after.maps["direction"])
    assert before.probabilities is not None
    assert after.probabilities is not None
    assert torch.equal(before.probabilities, after.probabilities)


@pytest.mark.parametrize("make", [unet, fr_unet])
def test_without_a_step_the_answer_is_the_bases_and_with_steps_it_is_nowhere_less(
    make: Callable[[Traits], Method],
) -> None:
    facts = traits(channels=("red", "green", "blue"))
    method = mender(make(facts), facts)
    image = torch.randn(1, 3, 33, 41)
    plain, mended = probabilities(method.base, image), probabilities(method, image)
    assert (mended - plain).min() >= -1e-6
    assert (mended - plain).max() > 0.01
    method.settings = method.settings.model_copy(update={"iterations": 0})
    assert torch.equal(probabilities(method, image), plain)


def test_in_tiles_it_answers_as_on_the_whole_image() -> None:
    facts = traits(channels=("u", "x", "y"), shape=(96, 112))
    method = mender(Seer(facts), facts)
    nn.init.zeros_(method.layer.weight)
    nn.init.constant_(method.layer.bias, 0.3)  # one direction everywhere
    image = torch.rand(1, 3, 96, 112, generator=torch.Generator().manual_seed(0))
    asked: list[tuple[int, ...]] = []
    method.layer.register_forward_hook(lambda layer, inputs, output: asked.append(tuple(output.shape[2:])))
    tiled = probabilities(method, image, Inference(seed=0, tile=Tiler(memory=100_000)))
    assert (96, 112) not in asked
    assert len(asked) > 4
    assert torch.allclose(tiled, probabilities(method, image), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "labels"), [((23, 30), ONE), ((23, 30), TWO), ((23, 30), Labels(names=("a", "b"), values=((1, 2), (2,))))]
)
def test_what_is_learned_through_is_what_answers(shape: tuple[int, ...], labels: Labels) -> None:
    facts = traits(shape=shape, labels=labels)
    method = mender(unet(facts), facts)
    features, plain = method.seen(torch.randn(2, 1, *shape))
    direction = unit(method.layer(features).unflatten(1, (len(labels.names), 2)))
    in_torch = method.mended(plain, direction, how=method.settings.diffusion)
    compiled = method.mended(plain, direction.detach(), how=method.settings.diffusion)
    assert in_torch.requires_grad
    assert torch.allclose(in_torch, compiled, atol=1e-5)


def test_exclusive_classes_share_one() -> None:
    facts = traits(labels=TWO)
    method = mender(unet(facts), facts, iterations=200)
    mended = probabilities(method, torch.randn(1, 1, 40, 44))
    assert mended.shape == (1, 2, 40, 44)
    assert mended.sum(1).max() <= 1 + 1e-6
    free = mender(method.base, facts)
    direction = unit(torch.randn(1, 2, 2, 8, 8))
    halves = torch.full((1, 2, 8, 8), 0.5)
    assert torch.equal(free.mended(halves, direction, how=free.settings.diffusion), halves), "what is flat stays"


def broken_line(gap: int = 8) -> tuple[Tensor, Tensor]:
    """A horizontal line of three pixels with a gap, as probabilities and features that say nothing, and its truth."""
    whole = torch.zeros(1, 1, 32, 48)
    whole[..., 15:18, :] = 1
    found = whole.clone()
    found[..., 24 - gap // 2 : 24 + gap // 2] = 0
    image = torch.cat([0.02 + 0.93 * found, torch.ones(1, 1, 32, 48)], 1)
    return image, whole.to(torch.uint8)


def test_it_learns_the_way_of_a_broken_line_and_closes_it() -> None:
    facts = traits(channels=("u", "one"), shape=(32, 48))
    method = mender(Seer(facts), facts, kernel=1, iterations=120, rate=0.1, steps=20, integrator="euler", coarse=0.33)
    nn.init.zeros_(method.layer.weight)
    with torch.no_grad():
        method.layer.bias.copy_(torch.tensor([0.5, 0.2]))  # rather across than along
    image, whole = broken_line()
    before = probabilities(method, image)
    (stage,) = method.stages()
    play = StageRunner(method, stage, seed=0, device=CPU)
    told = [play.step(step, [{"labelled": batch(image, whole)}])["direction"] for step in range(20)]
    values = [float(terms["cross_entropy"]) for terms in told]
    assert values[-1] < 0.5 * values[0]
    answer = answered(method, image)
    after, direction = answer.probabilities, answer.maps["direction"]
    assert after is not None
    gap, beside = (..., 16, slice(20, 28)), (..., slice(0, 14), slice(None))
    assert before[gap].min() < 0.5 < after[gap].min()
    assert after[beside].max() < 0.1, "it has not grown in width"
    assert direction[0, 1].abs().min() > 0.95, "along the second axis"


def test_a_layer_that_says_nothing_gives_no_direction_and_a_finite_gradient() -> None:
    vectors = torch.zeros(1, 1, 2, 4, 4, requires_grad=True)
    u = torch.rand(1, 1, 4, 4)
    direction = unit(vectors)
    assert torch.equal(direction, torch.zeros_like(direction))
    method = mender(Seer(traits(channels=("u", "x"))), traits(channels=("u", "x")))
    method.mended(u, direction, how=method.settings.diffusion).sum().backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
    drawn = torch.randn(2, 3, 2, 5, 5)
    drawn = 1e-3 * drawn / drawn.norm(dim=2, keepdim=True)
    assert torch.allclose(unit(drawn).norm(dim=2), torch.ones(2, 3, 5, 5), atol=1e-5)


def test_its_cross_entropy_takes_probabilities_for_what_they_are() -> None:
    p = torch.rand(3, 1, 7, 9, dtype=torch.float64) * 0.98 + 0.01
    mask = (torch.rand(3, 1, 7, 9) < 0.4).to(torch.uint8)
    wanted = F.binary_cross_entropy(p, mask.double())
    assert binary_cross_entropy(p, mask).item() == pytest.approx(wanted.item(), rel=1e-12)
    as_logits = F.binary_cross_entropy_with_logits(p, mask.double())  # what the author's code computes
    assert abs(as_logits - wanted) > 0.01
    mask[:, :, :4] = IGNORE
    wanted = F.binary_cross_entropy(p[:, :, 4:], mask[:, :, 4:].double())
    assert binary_cross_entropy(p, mask, ignore_index=IGNORE).item() == pytest.approx(wanted.item(), rel=1e-12)
    two, numbers = torch.rand(2, 2, 5, 5).clamp(0.01, 0.99), torch.randint(0, 3, (2, 1, 5, 5)).to(torch.uint8)
    each = torch.cat([numbers == 1, numbers == 2], 1).float()
    assert binary_cross_entropy(two, numbers).item() == pytest.approx(
        F.binary_cross_entropy(two, each).item(), rel=1e-5
    )
    sure = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).requires_grad_()
    binary_cross_entropy(sure, torch.tensor([1, 0]).view(1, 1, 1, 2).to(torch.uint8)).backward()
    assert sure.grad is not None
    assert torch.isfinite(sure.grad).all()


def test_the_terms_are_what_their_weights_say() -> None:
    facts = traits()
    method = mender(unet(facts), facts, cross_entropy=0, dice=0.7)
    image = torch.randn(2, 1, 24, 24)
    (terms,) = _terms(method, image, facts)
    features, plain = method.seen(image)
    mended = method.mended(plain, unit(method.layer(features).unflatten(1, (1, 2))), how=method.settings.learning)
    assert set(terms) == {"overlap"}
    assert terms["overlap"].item() == pytest.approx(
        0.7 * dice_loss(mended, mask_of(facts, 24, 24), ignore_index=IGNORE).item(), rel=1e-6
    )


def test_training_diffuses_to_the_same_time_in_fewer_steps() -> None:
    of = DirectionSettings.preset("quick")
    assert (of.diffusion.iterations, of.diffusion.step) == (100, 0.1)
    assert (of.learning.iterations, of.learning.step) == (40, 0.25)
    assert DirectionSettings().learning == DirectionSettings().diffusion
    for count in (1, 7, 301):
        how = DirectionSettings.preset("quick", {"iterations": count}).learning
        assert how.iterations * how.step == pytest.approx(count * 0.1)
        assert 0.1 <= how.step <= 0.25 + 1e-9


def test_the_default_settings_are_those_of_the_slides_and_the_code() -> None:
    facts = traits(shape=(584, 565), channels=("red", "green", "blue"))
    method = mender(fr_unet(facts), facts, "paper")
    (stage,) = method.stages()
    (player,), (stream,) = stage.players, stage.streams
    assert (player.optimiser, player.rate, player.weight_decay, player.schedule) == ("adam", 1e-4, 1e-5, "cosine")
    assert (stage.steps, stream.batch, stream.patch, stream.foreground) == (10 * 40, 64, (512, 512), 0)
    how = method.settings.diffusion
    assert (how.iterations, how.step, how.parallel, how.perpendicular, how.integrator) == (100, 0.1, 1, 0, "rk4")
    assert method.layer.weight.shape == (2, 4, 9, 9)  # 4 features of the tiny base
    assert stream.augment is not None
    assert stream.augment.flips
    assert stream.augment.turns
    assert not any(getattr(stream.augment, change) for change in ("rotation", "zoom", "brightness", "gamma", "noise"))


def test_it_takes_its_images_as_its_base_does() -> None:
    volumes = traits(shape=(20, 64, 90), channels=("ct",), slice_axis=0)
    sliced = mender(fr_unet(volumes), volumes, "quick")
    assert sliced.preprocessing == sliced.base.preprocessing
    assert sliced.layer.weight.ndim == 4, "slices have directions in the plane"
    assert sliced.stages()[0].streams[0].patch == (64, 64)
    whole = mender(unet(volumes), volumes, "quick")
    assert whole.layer.weight.shape[0] == 3
    assert whole.stages()[0].streams[0].patch == (20, 25, 25)
    other = traits(intensity=(Intensity(mean=1, std=2, low=0, high=3, minimum=0, maximum=4),))
    assert mender(unet(traits()), other).traits.intensity == traits().intensity


def test_the_pass_that_gives_features_gives_the_answer_too() -> None:
    facts = traits(labels=TWO, channels=("red", "green", "blue"))
    for base in (unet(facts).eval(), fr_unet(facts, grey=True).eval()):
        image = torch.randn(1, 3, 19, 27)
        features, found = base.features(image)
        assert features.shape == (1, 4, 19, 27)
        assert torch.equal(found, probabilities(base, image))


def test_what_does_not_suit_is_refused_in_a_sentence() -> None:
    facts = traits()
    with pytest.raises(SettingsError, match=r"--settings.kernel: found 4"):
        mender(unet(facts), facts, kernel=4)
    with pytest.raises(SettingsError, match=r"--settings.kernel: found 15"):
        mender(unet(facts), facts, kernel=15)
    with pytest.raises(SettingsError, match=r"direction is built on .* name its run with --use segmenter"):
        mender(None, facts)
    with pytest.raises(SettingsError, match=r"channels grey and the classes vessel; .*channels red, green, blue"):
        mender(unet(facts), traits(channels=("red", "green", "blue")))
    with pytest.raises(SettingsError, match=r"the classes vessel; .*the classes artery, vein; name"):
        mender(unet(facts), traits(labels=TWO))
    with pytest.raises(SettingsError, match=r"2-D images .*3-D images"):
        mender(unet(facts), traits(shape=(20, 20, 20)))
    with pytest.raises(SettingsError, match="direction hands out no features"):
        mender(mender(unet(facts), facts), facts)
    with pytest.raises(SettingsError, match=r"a time step of 0.5 is unstable"):
        mender(unet(facts), facts, step=0.5, integrator="rk4")
    with pytest.raises(SettingsError, match="a time step of 1 is unstable"):
        mender(unet(facts), facts, "paper", coarse=1)
    with pytest.raises(SettingsError, match="cross_entropy, dice and cldice are all 0"):
        mender(unet(facts), facts, cross_entropy=0)
    with pytest.raises(SettingsError, match="needs masks"):
        DirectionSettings().resolve(traits(labels=None))


def test_a_run_stands_by_itself_and_needs_its_base_no_more(tmp_path: Path) -> None:
    data = images_for(CARDS["unet"], tmp_path / "data", dimensions=2)
    quiet = Console(quiet=True)
    options = Options(preset="tiny", validation=0.25)
    with pytest.raises(
        SettingsError, match=r"direction is built on a model that can segment; name its run with --use segmenter"
    ):
        train("direction", [data], tmp_path / "mended", options, console=quiet)
    assert not (tmp_path / "mended" / "run.json").exists()
    train("unet", [data], tmp_path / "base", options, console=quiet)
    based = Options(preset="tiny", validation=0.25, uses={"segmenter": tmp_path / "base"})
    facts = train("direction", [data], tmp_path / "mended", based, console=quiet)
    assert facts["method"] == "direction"
    assert (tmp_path / "mended" / "validation" / "predictions.json").is_file()
    one = predict(tmp_path / "mended", data, out=tmp_path / "one", probabilities=True)
    shutil.rmtree(tmp_path / "base")
    other = predict(tmp_path / "mended", data, out=tmp_path / "other", probabilities=True)
    assert [case["id"] for case in one.cases] == [case["id"] for case in other.cases] == ["case4", "case5"]
    for case in one.cases:
        name = case["probability"]
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_its_picture_shows_the_angle_as_hue_and_the_probability_as_brightness() -> None:
    """Opposite directions look alike, and so does nothing else; where nothing is likely it is dark."""

    class Shown(DirectionMender):
        def __init__(self, angle: float) -> None:
            nn.Module.__init__(self)
            self.angle = angle

        @property
        def preprocessing(self) -> Preprocessing:
            return Preprocessing(dimensions=2)

        def segment(self, batch: Batch, inference: Inference) -> Segmentation:
            along = torch.tensor([math.sin(self.angle), math.cos(self.angle)]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
            chance = torch.zeros(1, 1, 4, 4)
            chance[..., :2] = 1
            return Segmentation(probabilities=chance, maps={"direction": along})

    def picture(angle: float) -> torch.Tensor:
        batch = Batch(torch.zeros(1), torch.zeros(1), {"image": torch.zeros(1, 1, 4, 4)})
        (drawn,) = Shown(angle).pictures(batch, Inference(seed=0)).values()
        return drawn

    assert torch.allclose(picture(0.4), picture(0.4 + math.pi), atol=1e-6)
    assert not torch.allclose(picture(0.4), picture(1.1), atol=0.1)
    assert picture(0.0)[:, 0, 0].argmax() == 0, "red along the rows"
    assert not picture(0.4)[..., 2:].any()
