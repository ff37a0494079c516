"""Volumes by diffusion: latents in the range of the codes, judges that start late, masks and classes, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from rich.console import Console

import scantling
from commands import command
from scantling.contract.card import Card
from scantling.contract.method import build
from scantling.contract.results import Generation
from scantling.contract.step import Inference, Step
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.generation.latent_gaussian import LatentGaussian
from scantling.methods.generation.medical_diffusion import SAMPLERS, MedicalDiffusion, MedicalDiffusionSettings
from scantling.methods.generation.volumes import OnVolumes, ordered, restored
from scantling.methods.generation.vq_gan import VQGan
from scantling.methods.generation.vq_settings import VQGanSettings
from scantling.records.run_folder import load_model
from scantling.testing.data import make_data
from scantling.training import Options, train

QUIET = Console(quiet=True)
FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)


def traits(**changes: Any) -> Traits:
    facts: dict[str, Any] = {
        "dimensions": 3, "channels": ("image",), "labels": Labels(names=("a", "b"), values=((1,), (2,))),
        "spacing": (1.0, 1.0, 2.0), "shape": (19, 22, 17), "smallest": (19, 22, 17), "slice_axis": 2,
        "intensity": (FACTS,), "labelled": 4, "unlabelled": 2,
    }  # fmt: skip
    return Traits.model_validate(facts | changes)


def vq(**changes: Any) -> VQGan:
    facts = traits()
    found = build(VQGan, VQGanSettings.preset("tiny", {"perceptual": 0, **changes}).resolve(facts), facts)
    return found.eval()


def batch_of(method: OnVolumes, **fields: torch.Tensor) -> Batch:
    none = torch.zeros(2, dtype=torch.int64)
    shape = restored(method.settings.shape, method.traits.slice_axis)
    return Batch(none, none, {"image": torch.rand(2, 1, *shape) * 2 - 1, **fields})


# latents


def test_a_latent_of_codes_comes_back_as_the_same_codes_and_the_codes_reach_from_minus_one_to_one() -> None:
    method = vq()
    codes = method.network.codebook.codes
    low, high = codes.min(), codes.max()
    z = codes[torch.randint(len(codes), (2, 3, 4, 4))].movedim(-1, 1)
    scaled = 2 * (z - low) / (high - low) - 1
    assert scaled.min().item() >= -1
    assert scaled.max().item() <= 1
    torch.testing.assert_close(method.volume_of(scaled), method.network.decode(z))


def test_answering_changes_nothing_in_the_codebook() -> None:
    method = vq()
    before = method.network.codebook.codes.clone()
    latent = method.encode(batch_of(method), Inference(seed=0)).latent
    assert latent is not None
    images = method.decode(latent, Inference(seed=0))
    assert images.shape == batch_of(method).image.shape
    assert torch.equal(before, method.network.codebook.codes)


def test_a_gaussian_of_latents_has_their_mean_and_variances_and_draws_combinations_of_few() -> None:
    latents = torch.randn(200, 3, 2) * torch.tensor([[1.0, 2.0], [0.5, 3.0], [1.0, 1.0]]) + 4
    gaussian = LatentGaussian((3, 2), 4)
    gaussian.fit(latents)
    variance = gaussian.components.square().sum(0) + gaussian.deviation.square()
    torch.testing.assert_close(variance, latents.var(0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(gaussian.mean, latents.mean(0))
    few = LatentGaussian((3, 2), 4)
    few.fit(latents[:2])  # all variance lies between the two
    drawn = few.draw(torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1, 3, 2))
    between = latents[:2].mean(0) - drawn[0]
    torch.testing.assert_close(between.abs(), (latents[1] - latents[0]).abs() / 2**0.5, rtol=1e-3, atol=1e-3)
    one = LatentGaussian((3, 2), 2)
    one.fit(latents[:1])
    torch.testing.assert_close(one.draw(torch.ones(1, 2), torch.ones(1, 3, 2)), latents[:1])


def test_slices_come_first_inside_and_go_back_to_their_axis() -> None:
    for axis in (0, 1, 2):
        assert restored(ordered((5, 6, 7), axis), axis) == (5, 6, 7)
    method = vq()
    volume, known = method.volume(batch_of(method))
    assert tuple(volume.shape) == (2, 1, *method.settings.shape)
    assert bool(known.all())


def test_unknown_pixels_of_masks_are_neither_class_nor_background() -> None:
    method = vq(with_masks=True)
    mask = torch.full((2, 1, *restored(method.settings.shape, 2)), 255, dtype=torch.uint8)
    mask[0, 0, 0] = 0
    mask[0, 0, 1] = 2
    volume, known = method.volume(batch_of(method, mask=mask))
    assert volume.shape[1] == 3
    assert volume[0, 1:, 0, :2, 0].tolist() == [[-1, -1], [-1, 1]]
    assert known[0, 1:, 0, :3, 0].tolist() == [[True, True, False]] * 2
    assert volume[1, 1:].abs().max().item() == 0


# training


@pytest.mark.parametrize(("number", "judged"), [(0, False), (5, True)])
def test_judges_begin_after_their_share_of_the_steps(number: int, judged: bool) -> None:
    method = vq(judged_from=0.5, flips=True).train()
    step = Step(seed=0, number=number, count=10)
    game = method.reconstruct({"volumes": batch_of(method)}, step)
    total = next(game)
    name, terms = game.send(total.part)  # type: ignore[union-attr,misc]
    assert name == "autoencoder"
    assert ("fooling slices" in terms) == ("matching" in terms) == judged  # type: ignore[operator]
    assert len(list(game)) == judged


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Volumes with masks of one class and two image classes."""
    card = Card.model_validate({**CARDS["unet"].model_dump(), "needs": [["image", "mask", "image_class"]]})
    return make_data(card, tmp_path_factory.mktemp("volumes"), dimensions=3)


@pytest.fixture(scope="module")
def labelled_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows masks and image classes, with all of its stages."""
    out = tmp_path_factory.mktemp("runs") / "labelled"
    settings = {"with_masks": True, "conditional": True, "perceptual": 1.0, "sampler": "dpm-solver++"}
    train("medical-diffusion", [data], out, Options(preset="tiny", settings=settings, seed=1), console=QUIET)
    return out


def test_made_volumes_have_masks_and_classes_and_lie_in_space_as_the_data_do(
    labelled_run: Path, data: Path, tmp_path: Path
) -> None:
    done = command("synthesize", labelled_run, "--count", 2, "--out", tmp_path / "made")
    assert done.returncode == 0, done.stderr
    cases = json.loads((tmp_path / "made" / "scantling.json").read_text())["case"]
    assert [case["class"] for case in cases] == ["bright", "dark"]
    assert all(case["origin"]["hand_drawn"] == 3 for case in cases)  # of four training cases one is for validation
    image = nib.load(tmp_path / "made" / cases[0]["images"]["image"])  # type: ignore[attr-defined]
    real = nib.load(sorted((data / "images").iterdir())[0])  # type: ignore[attr-defined]
    assert image.shape == (8, 8, 6)
    size = np.array(image.header.get_zooms()) * image.shape
    assert np.allclose(size, np.array(real.header.get_zooms()) * real.shape, rtol=0.1)
    assert image.get_data_dtype() == real.get_data_dtype()
    mask = nib.load(tmp_path / "made" / cases[0]["masks"][0])  # type: ignore[attr-defined]
    assert set(np.unique(mask.get_fdata())) <= {0, 255}


def test_options_choose_the_sampler_its_steps_and_the_prior_and_unknown_ones_are_refused(
    labelled_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, walked = load_model(labelled_run), list[tuple[str, int]]()
    assert isinstance(model, MedicalDiffusion)

    def recorded(name: str, sampler: Callable[..., Any]) -> Callable[..., Any]:
        def walk(*arguments: Any, timesteps: Sequence[int], **how: Any) -> Any:
            walked.append((name, len(timesteps)))
            return sampler(*arguments, timesteps=timesteps, **how)

        return walk

    for name, sampler in dict(SAMPLERS).items():
        monkeypatch.setitem(SAMPLERS, name, recorded(name, sampler))

    def made(**options: Any) -> Generation:
        chosen = model.generate_options(model.generate_with.of(options))
        return model.generate(1, Inference(seed=3, number=1, options=chosen))

    made()
    made(sampler="ancestral", steps=10)
    made(sampler="ddim", steps=2)
    assert walked == [("dpm-solver++", 3), ("ancestral", 10), ("ddim", 2)]
    kinds = made(image_class="bright").image_classes
    assert kinds is not None
    assert kinds.tolist() == [0]
    walked.clear()
    assert made(prior="gaussian").image_classes is None
    assert not walked
    for options, sentence in (
        ({"image_class": "grey"}, "bright, dark"),
        ({"steps": 11}, "chain has 10 steps"),
        ({"image_class": "dark", "prior": "gaussian"}, "no image classes"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            made(**options)


def test_the_log_tells_how_well_volumes_are_restored(labelled_run: Path) -> None:
    lines = [json.loads(line) for line in (labelled_run / "log.jsonl").read_text().splitlines()]
    found = [line["validation"] for line in lines if line["stage"] == "autoencoder" and "validation" in line]
    assert found
    assert found[-1].keys() == {"psnr", "ssim", "codes used", "white dots"}
    assert {line["stage"] for line in lines} == {"slice features", "autoencoder", "denoiser"}


def test_a_named_segmenter_marks_made_images_and_stands_in_their_origin(data: Path, tmp_path: Path) -> None:
    options = Options(preset="tiny", validation=0.0)
    train("gan-3d", [data], tmp_path / "gan", options, console=QUIET)
    train("unet", [data], tmp_path / "unet", replace(options, steps=2), console=QUIET)
    words = ("synthesize", tmp_path / "gan", "--count", 2, "--out", tmp_path / "made")
    done = command(*words, "--use", f"segmenter={tmp_path / 'unet'}")
    assert done.returncode == 0, done.stderr
    contents = json.loads((tmp_path / "made" / "scantling.json").read_text())
    assert contents["classes"] == {"ball": 255}
    for case in contents["case"]:
        assert "gan-3d" in case["origin"]["model"]
        assert "; masks by unet" in case["origin"]["model"]
        assert case["origin"]["hand_drawn"] == 4
        assert (tmp_path / "made" / case["masks"][0]).is_file()
    other = command(*words)
    assert other.returncode == 2
    assert "made otherwise" in other.stderr
    wrong = command(*words[:-1], tmp_path / "other", "--use", f"segmenter={tmp_path / 'gan'}")
    assert wrong.returncode == 2
    assert "expected one that segments" in wrong.stderr
    with pytest.raises(SettingsError, match="labels images that are there"):
        scantling.synthesize("scribbles", given=data, out=tmp_path / "drawn", use={"segmenter": tmp_path / "unet"})


# refusals


@pytest.mark.parametrize(
    ("changes", "facts", "sentence"),
    [
        ({}, {"dimensions": 2, "shape": (9, 9), "spacing": (1.0, 1.0), "smallest": (9, 9)}, "pictures"),
        ({"codes": 2000}, {}, "could never be used"),
        ({"depth": 7}, {}, "--settings.depth: found 7; expected a multiple of 2"),
        ({"down": (3, 2, 2)}, {}, "powers of two"),
        ({"with_masks": True}, {"labels": None}, "no classes"),
        ({"conditional": True}, {}, "image classes"),
        ({"sampling_steps": 11}, {}, "chain has 10 steps"),
        ({"perceptual": 1, "perceptual_network": "mine"}, {}, "MODULE:FACTORY"),
    ],
)
def test_settings_that_do_not_suit_the_data_are_refused_with_what_to_do(
    changes: dict[str, Any], facts: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        MedicalDiffusionSettings.preset("tiny", changes).resolve(traits(**facts))


def test_latents_of_another_model_are_refused() -> None:
    settings = MedicalDiffusionSettings.preset("tiny").resolve(traits())
    with pytest.raises(SettingsError, match="with_masks True"):
        MedicalDiffusion(settings, traits(), uses={"autoencoder": vq(with_masks=True)})
    other = traits(channels=("flair",))
    with pytest.raises(SettingsError, match="latents would mean nothing"):
        MedicalDiffusion(settings, other, uses={"autoencoder": vq()})
    own = MedicalDiffusion(settings, traits())
    with pytest.raises(SettingsError, match="expected a run of vq-gan"):
        MedicalDiffusion(settings, traits(), uses={"autoencoder": own})


def test_the_bladder_rule_keeps_24_slices_and_512_pixels_unless_told_otherwise() -> None:
    facts = traits(shape=(512, 512, 30), labelled=24, unlabelled=0)
    assert VQGanSettings.preset("paper").resolve(facts).shape == (32, 256, 256)
    chosen = VQGanSettings.preset("paper", {"slice_rule": True}).resolve(facts)
    assert chosen.shape == (24, 512, 512)
    assert VQGan.preprocessing.fget(replace_settings(chosen, facts)).slice_rule == 2  # type: ignore[attr-defined]


def replace_settings(settings: VQGanSettings, facts: Traits) -> VQGan:
    """A method of these settings whose networks are not built."""
    method = VQGan.__new__(VQGan)
    torch.nn.Module.__init__(method)
    method.settings, method.traits = settings, facts
    return method


def test_one_volume_alone_is_enough_to_begin_with(data: Path, tmp_path: Path) -> None:
    manifest = json.loads((data / "scantling.json").read_text())
    case = {name: manifest["case"][0][name] for name in ("id", "subject", "split", "images")}
    (data / "one.json").write_text(json.dumps({"name": "one", "case": [case]}))
    options = Options(preset="tiny", manifest=data / "one.json", root=data, validation=0.0)
    train("medical-diffusion", [data], tmp_path / "one", options, console=QUIET)
    assert (tmp_path / "one" / "model").is_dir()
