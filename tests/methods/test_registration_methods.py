"""Registration by a network and by rule, atlases, warped training images and restored blocks."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from commands import command
from scantling.contract.capabilities import Registrar
from scantling.contract.method import Method, build
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Registration
from scantling.contract.settings import Settings
from scantling.contract.step import Inference, Step
from scantling.core.case import IGNORE, Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Preprocessing, Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.features.masked_pretrain import MaskedPretrain, MaskedPretrainSettings
from scantling.methods.registration.augmentation import AugmentationSettings, RegistrationAugmentation
from scantling.methods.registration.by_rule import RuleSettings, register_by_rule
from scantling.methods.registration.propagation import AtlasPropagation, PropagationSettings
from scantling.networks import RegistrationNetwork
from scantling.planning import whole_image
from scantling.testing.data import make_data
from scantling.warping import compose, warp

SIDE = 24
TRAITS = Traits(
    dimensions=2,
    channels=("grey",),
    labels=Labels(names=("one", "two"), values=((1,), (2,))),
    spacing=(1.0, 1.0),
    shape=(SIDE, SIDE),
    smallest=(SIDE, SIDE),
    intensity=(Intensity(mean=0, std=1, low=-2, high=2, minimum=-3, maximum=3),),
    labelled=3,
    unlabelled=2,
)


class Shifts(Registrar):
    """Moves everything by (2, -1) pixels."""

    card = CARDS["registration"]
    Settings = Settings

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(dimensions=2, size=(SIDE, SIDE))

    def register(self, fixed: Batch, moving: Batch, inference: Inference) -> Registration:
        vector = torch.tensor([2.0, -1.0], dtype=fixed.image.dtype).view(1, 2, 1, 1)
        return Registration(displacement=vector.expand(len(fixed.image), 2, *fixed.image.shape[2:]))


def shifts(channels: tuple[str, ...] = ("grey",)) -> Mapping[str, Method]:
    return {"registration": Shifts(Settings(), TRAITS.model_copy(update={"channels": channels}))}


def smooth(*shape: int, seed: int = 0) -> Tensor:
    values = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.5)
    return torch.from_numpy(values / values.std()).float()


def labelled(seed: int = 0) -> Batch:
    image, row = smooth(SIDE, SIDE, seed=seed)[None, None], torch.zeros(1, dtype=torch.int64)
    return Batch(row, row, {"image": image, "mask": ((image > 0.3).byte() + (image > 1).byte())})


def test_a_network_begins_with_hardly_any_displacement_and_its_flow_has_an_inverse() -> None:
    torch.manual_seed(0)
    network = RegistrationNetwork(1, widths=(4, 8), strides=((2, 2),), shrink=2, flow=True)
    fixed, moving = smooth(41, 36)[None, None], smooth(41, 36, seed=1)[None, None]
    assert network(fixed, moving).shape == (1, 2, 41, 36)
    assert network(fixed, moving).abs().max() < 0.01
    for parameter in network.unet.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    vectors = network.vectors(fixed, moving)
    there, back = network.displacement(vectors), network.displacement(-vectors)
    inner = (..., slice(6, -6), slice(6, -6))
    assert there.abs().max() > 0.5
    assert compose(there, back)[inner].abs().mean() < 0.1 * there[inner].abs().mean()


def test_images_are_seen_whole_and_a_coarse_axis_is_not_made_finer() -> None:
    traits = TRAITS.model_copy(update={"dimensions": 3, "spacing": (5.0, 1.0, 1.0), "shape": (20, 200, 160)})
    grid = whole_image(traits, 96**3)
    assert grid.shape == (20, 200, 160)
    grid = whole_image(traits, 64_000)
    assert grid.shape[0] == 20
    assert 0.9 * 64_000 < np.prod(grid.shape) <= 64_000
    assert grid.shape[1] / grid.shape[2] == pytest.approx(200 / 160, rel=0.03)


@pytest.mark.parametrize("rule", ["affine", "b-spline", "demons"])
def test_rules_find_a_shift_whatever_the_spacing(rule: str) -> None:
    pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    moving, shift = smooth(40, 48), torch.tensor([1.5, -2.0]).view(1, 2, 1, 1).expand(1, 2, 40, 48)
    fixed = warp(moving[None, None], shift, outside="edge")[0, 0]
    settings = RuleSettings.preset("paper", {"rule": rule, "levels": 1, "iterations": 30})
    found = register_by_rule(fixed.numpy(), moving.numpy(), spacing=(2.0, 0.5), settings=settings)
    assert np.abs(found - shift[0].numpy())[:, 8:-8, 8:-8].mean() < 0.25


def test_images_that_show_nothing_stay_where_they_are() -> None:
    pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    flat, image = np.zeros((20, 20), np.float32), smooth(20, 20).numpy()
    assert not register_by_rule(flat, image, spacing=(1, 1), settings=RuleSettings()).any()
    assert not register_by_rule(image[:4], image[:4], spacing=(1, 1), settings=RuleSettings()).any()


def test_without_simpleitk_a_rule_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    image = smooth(20, 20).numpy()
    with pytest.raises(SettingsError, match=r"pip install 'scantling\[itk\]'"):
        register_by_rule(image, image, spacing=(1, 1), settings=RuleSettings())


def propagation(**settings: object) -> AtlasPropagation:
    chosen = PropagationSettings.preset("tiny", settings).resolve(TRAITS)
    return build(AtlasPropagation, chosen, TRAITS, uses=shifts()).eval()


def test_each_atlas_is_a_sample_of_its_labels_warped_as_its_image_and_unknown_pixels_are_background() -> None:
    method, atlases = propagation(atlases=2), [labelled(seed) for seed in range(3)]
    atlases[0].fields["mask"][..., :4, :] = IGNORE
    method.keep(atlases, Step(seed=0))
    answer = method.segment(labelled(9), Inference(seed=0))
    assert answer.samples is not None
    assert answer.samples.shape == (2, 1, 2, SIDE, SIDE)
    for sample, atlas in zip(answer.samples, atlases, strict=False):
        wanted = torch.roll(atlas.mask, (-2, 1), (2, 3))[..., 6:-6, 6:-6]
        for number in (1, 2):
            assert torch.equal(sample[:, number - 1 : number, 6:-6, 6:-6].round().bool(), wanted == number)
    assert answer.samples[0, ..., :2, :].max() < 1e-6


def test_atlases_are_fused_by_staple_unless_another_rule_is_named_and_are_saved_with_the_model() -> None:
    method, other = propagation(), propagation()
    method.keep([labelled()], Step(seed=0))
    assert method.segment_options(SegmentOptions()).fuse == "staple"
    assert method.segment_options(SegmentOptions(fuse="vote")).fuse == "vote"
    with pytest.raises(SettingsError, match="its atlases, of which it has 1; leave it out"):
        method.segment_options(SegmentOptions(samples=4))
    other.load_model_state(method.model_state())
    one, two = (each.segment(labelled(9), Inference(seed=0)).samples for each in (method, other))
    assert one is not None
    assert two is not None
    assert torch.equal(one, two)


@pytest.mark.parametrize("kind", [AtlasPropagation, RegistrationAugmentation])
def test_a_registration_of_other_images_is_refused(kind: type[Method]) -> None:
    settings = kind.Settings.preset("tiny").resolve(TRAITS)
    with pytest.raises(SettingsError, match="2-D images with the channels red; expected 2-D images with grey"):
        build(kind, settings, TRAITS, uses=shifts(("red",)))


def test_labelled_images_are_warped_with_their_masks_as_often_and_as_far_as_settings_say() -> None:
    batch = labelled()

    def warped(**settings: float) -> tuple[Tensor, Tensor]:
        chosen = AugmentationSettings.preset("tiny", settings).resolve(TRAITS)
        method = build(RegistrationAugmentation, chosen, TRAITS, uses=shifts()).eval()
        return method.warped(batch, labelled(5), Step(seed=0))

    image, mask = warped(warped_share=0.0)
    assert torch.equal(image, batch.image)
    assert torch.equal(mask, batch.mask)
    image, mask = warped(warped_share=1.0, strength=1.0)
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(image[inner], torch.roll(batch.image, (-2, 1), (2, 3))[inner])
    assert torch.equal(mask[inner], torch.roll(batch.mask, (-2, 1), (2, 3))[inner])
    image, mask = warped(warped_share=1.0, strength=0.0)
    assert not torch.equal(image, batch.image)


def test_blocks_are_hidden_whole_in_their_share_and_only_hidden_pixels_count() -> None:
    traits = TRAITS.model_copy(update={"labels": None, "spacing": (2.0, 1.0), "shape": (64, 128)})
    settings = MaskedPretrainSettings.preset("tiny", {"block": 8, "hidden": 0.4}).resolve(traits)
    method = build(MaskedPretrain, settings, traits)
    image = smooth(2, 1, 64, 128)
    hidden = method.blocks(image, Step(seed=0))
    assert hidden.float().mean() == pytest.approx(0.4, abs=0.1)
    blocks = hidden.unflatten(3, (16, 8)).unflatten(2, (16, 4))  # 8 mm each
    assert (blocks.all(5).all(3) | ~blocks.any(5).any(3)).all()
    row = torch.arange(2)
    seen: list[Tensor] = []
    method.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    moves = method.objectives({"images": Batch(row, row, {"image": image})}, Step(seed=0))
    _, terms = next(moves)
    assert torch.equal(seen[0], image.masked_fill(hidden, 0))
    errors = (method.network(seen[0]) - image).square()
    wanted = torch.stack([one[where].mean() for one, where in zip(errors, hidden, strict=True)]).mean()
    torch.testing.assert_close(terms["restoration"], wanted)  # type: ignore[index]


def test_a_unet_begins_with_the_network_that_restored_blocks_and_with_a_head_of_its_own(tmp_path: Path) -> None:
    data = make_data(CARDS["unet"], tmp_path / "data", dimensions=2)
    common = ["--data", data, "--preset", "tiny", "--validation", "0", "--device", "cpu"]
    assert command("train", "masked-pretrain", *common, "--out", tmp_path / "restored").returncode == 0
    begun = command("train", "unet", *common, "--out", tmp_path / "unet", "--from", tmp_path / "restored")
    said = begun.stdout + begun.stderr
    assert begun.returncode == 0, said
    record = json.loads((tmp_path / "unet" / "run.json").read_text())
    assert "loaded; new: 2 of other names or shapes (network.head" in json.dumps(record)
    begun = command("train", "deep-atlas", *common, "--out", tmp_path / "atlas", "--from", tmp_path / "restored")
    assert begun.returncode == 0, begun.stderr
    refused = command("train", "fr-unet", *common, "--out", tmp_path / "fr", "--from", tmp_path / "restored")
    assert refused.returncode == 2
    assert "a model of masked-pretrain" in " ".join(refused.stderr.split())
