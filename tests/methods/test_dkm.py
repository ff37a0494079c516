"""DKM: later frames teach the kinetic module, and nothing of them reaches an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commands import command
from scantling.contract.method import build
from scantling.contract.step import Inference, Step
from scantling.core.atomic import write_json
from scantling.core.case import Labels
from scantling.core.errors import ArrayError, SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.data.dataset import open_dataset
from scantling.diffusion.samplers import Guess, ddim
from scantling.diffusion.schedules import timesteps
from scantling.methods.catalogue import CARDS
from scantling.methods.features.dkm import STAGES, Dkm
from scantling.methods.features.dkm_settings import DkmSettings
from scantling.methods.features.image_diffusion import network_of
from scantling.methods.features.kinetics import DkmKinetics, KineticSettings
from scantling.methods.features.pretrain_settings import PretrainSettings
from scantling.methods.features.reader import block_like
from scantling.networks.denoiser import Denoiser
from scantling.networks.kinetic_unet import KineticUNet, on_grid
from scantling.records.run_folder import load_model, save_model
from scantling.testing.data import make_data
from scantling.training.leakage import check_apart
from semi_supervised import played

FRAMES = ("pre", "early", "flair", "late")


def traits(channels: tuple[str, ...] = FRAMES, **facts: Any) -> Traits:
    each = Intensity(mean=100, std=50, low=0, high=250, minimum=0, maximum=255)
    known: dict[str, Any] = {
        "labels": Labels(names=("tumour",), values=((255,),)), "labelled": 4, "intensity": (each,) * len(channels),
    }  # fmt: skip
    return Traits(
        dimensions=2, channels=channels, spacing=(1.0, 1.0), shape=(32, 32), smallest=(32, 32), **{**known, **facts}
    )


def kinetics(of: Traits | None = None, **changes: Any) -> DkmKinetics:
    of = of or traits()
    given = {"frames": ("pre", "early", "late"), **changes}
    settings = KineticSettings.preset("tiny", {"widths": (8, 8, 8, 8), "size": 32, **given}).resolve(of)
    model = build(DkmKinetics, settings, of, seed=3).eval()
    with torch.no_grad():  # as if it had learned
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)))
    return model.requires_grad_(False)


def dkm(of: Traits | None = None, *, uses: Mapping[str, Any] | None = None, **changes: Any) -> Dkm:
    of = of or traits()
    settings = DkmSettings.preset("tiny", {"widths": (4, 4, 4, 4), "size": 32, **changes}).resolve(of)
    return build(Dkm, settings, of, seed=1, uses={"encoder": kinetics()} if uses is None else uses).eval()


def batch(image: Tensor, **fields: Tensor) -> Batch:
    return Batch(torch.arange(len(image)), torch.arange(len(image)), {"image": image, **fields})


def terms(model: Any, image: Tensor, *, step: Step | None = None) -> dict[str, Tensor]:
    ((_, found),) = model.objectives({"images": batch(image)}, step or Step(seed=0))
    return dict(found)


def test_variant_b_predicts_the_later_frame_from_the_noised_earlier_one() -> None:
    model, frames, step = kinetics(chain=20), torch.rand(3, 2, 32, 32), Step(seed=4)
    time = step.randint("timestep", 0, 20, count=3)
    noise = step.randn("noise", like=frames[:, :1])
    kept = model.process.alpha_bar(time).float().view(3, 1, 1, 1)
    predicted = model.network(kept.sqrt() * frames[:, :1] + (1 - kept).sqrt() * noise, time)
    expected = (predicted - frames[:, 1:]).square().mean()
    torch.testing.assert_close(terms(model, frames, step=step)["denoising"], expected)


def test_variant_b_with_the_true_later_frame_as_its_guess_ends_there() -> None:
    model, before, after = kinetics(), torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    walked = timesteps(20, 7, spacing="trailing")
    end = ddim(
        lambda x, t: Guess(after), model.process.noised(before, walked[0], torch.randn(1, 1, 8, 8)),
        process=model.process, timesteps=walked, draw=lambda purpose, like: like, clip=(-1, 1),
    )  # fmt: skip
    torch.testing.assert_close(end.x, after)


def test_variant_c_sees_the_earlier_frame_beside_the_noised_later_one_and_variant_a_frames_alone() -> None:
    model, frames, step = kinetics(variant="C"), torch.rand(3, 2, 32, 32), Step(seed=4)
    time, noise = step.randint("timestep", 0, 20, count=3), step.randn("noise", like=frames[:, :1])
    seen = torch.cat([model.process.noised(frames[:, 1:], time, noise), frames[:, :1]], 1)
    torch.testing.assert_close(
        terms(model, frames, step=step)["denoising"], F.mse_loss(model.network(seen, time), noise)
    )
    alone = kinetics(variant="A")
    assert alone.traits.channels == ("pre", "early", "late")
    frames = torch.rand(3, 3, 32, 32)
    which = step.randint("frame", 0, 3, count=3)
    one = torch.stack([frame[k : k + 1] for frame, k in zip(frames, which.tolist(), strict=True)])
    noisy = alone.process.noised(one, time, noise)
    torch.testing.assert_close(
        terms(alone, frames, step=step)["denoising"], F.mse_loss(alone.network(noisy, time), noise)
    )


def test_settings_say_which_channel_is_which_frame_and_what_is_none_is_not_read() -> None:
    whole = kinetics(frames=())
    assert (whole.channels, whole.channels_out) == (("pre",), ("late",))
    middle = kinetics(target="early")
    assert middle.traits.channels == ("pre", "early")
    assert (middle.channels, middle.channels_out) == (("pre",), ("early",))
    turned = kinetics(frames=("late", "pre"))
    assert turned.traits.channels == ("late", "pre")
    told = " ".join(KineticSettings.preset("tiny", {"frames": "pre,late"}).resolve(traits()).explain(traits()))
    assert "leads from pre to late; early, flair not read" in told
    assert dkm(frames=("pre",)).channels == ("pre",)


@pytest.mark.parametrize(
    ("of", "changes", "sentence"),
    [
        (traits(("grey",)), {"frames": ()}, "found only 'grey', of the channels grey"),
        (traits(), {"frames": ("pre", "post")}, "found 'post'; the channels of the data are pre, early, flair, late"),
        (traits(), {"frames": ("pre", "pre")}, "found 'pre' twice"),
        (traits(), {"target": "pre"}, "the later frames are early, late"),
        (traits(), {"learned_variance": True}, "variant B predicts a frame"),
    ],
)
def test_frames_that_are_none_are_refused(of: Traits, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        kinetics(of, **changes)


def test_the_later_frame_is_made_of_the_earlier_one_alone_by_variants_b_and_c() -> None:
    for variant in ("B", "C"):
        model = kinetics(variant=variant)
        given, other = batch(torch.rand(2, 1, 32, 32)), batch(torch.zeros(2, 1, 32, 32))
        made = model.generate(2, Inference(seed=0), given).images
        assert made is not None
        assert made.shape == (2, 1, 32, 32)
        assert torch.equal(made, model.generate(2, Inference(seed=0), given).images)
        assert not torch.equal(made, model.generate(2, Inference(seed=0), other).images)
        alone = model.generate(1, Inference(seed=0, number=1), batch(given.image[1:])).images
        torch.testing.assert_close(alone, made[1:], atol=1e-4, rtol=1e-4)
    assert kinetics(variant="A").gives == ("encode",)
    with pytest.raises(SettingsError, match="name images with --from DATA"):
        kinetics().generate(1, Inference(seed=0))


def test_stages_of_the_decoder_are_those_of_each_size_and_go_where_the_grid_is_alike() -> None:
    with torch.device("meta"):
        public = network_of(PretrainSettings(), channels=1)
    small = Denoiser(1, 1, widths=(4, 4, 4, 4), blocks=1)
    for network in (public, small):
        assert [network.decoded[block_like(network, STAGES[stage])][0] for stage in (1, 2, 3, 4)] == [1, 2, 4, 8]
    model = dkm()
    assert model.levels == (3, 2)  # f4 is the coarser one, which the decoder ends with first
    assert [bool(code) for code in model.segmenter.codes] == [False, False, True, True]
    for stages in ((1,), (2, 4), (1, 2, 3, 4)):
        assert {level + 1 for level in dkm(stages=stages).levels} == {*stages}


def test_without_weights_of_the_code_the_module_is_a_plain_one_beside_a_constant() -> None:
    torch.manual_seed(0)
    network = KineticUNet(1, 1, widths=(4, 4), codes=(0, 3)).eval()
    image = torch.rand(2, 1, 16, 12)
    codes: list[list[Tensor | None]] = [[None, torch.randn(2, 3, 8, 6)] for _ in range(2)]
    one, other = (network(image, code) for code in codes)
    assert not torch.allclose(one, other)
    with torch.no_grad():
        next(layer for layer in network.fuse[1] if isinstance(layer, nn.Conv2d)).weight.zero_()
    one, other = (network(image, code) for code in codes)
    assert torch.equal(one, other)


def test_a_code_is_brought_to_the_grid_of_its_block() -> None:
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    assert torch.equal(on_grid(ramp, (8, 8), (4, 4), 1), ramp)
    grown = on_grid(ramp, (8, 8), (8, 8), 0)
    torch.testing.assert_close(grown, F.interpolate(ramp, (8, 8), mode="bilinear", align_corners=False))
    padded = on_grid(ramp, (8, 7), (6, 6), 1)
    assert torch.equal(padded[..., :4, :4], ramp)
    assert torch.equal(padded[..., 4:], padded[..., 3:4].expand(1, 1, 6, 2))
    network = KineticUNet(1, 2, widths=(4, 4), codes=(0, 3))
    assert network(torch.zeros(1, 1, 9, 30), [None, torch.zeros(1, 3, 2, 2)]).shape == (1, 2, 9, 30)
    with pytest.raises(ArrayError, match=r"codes of \[0, 0\] channels; expected \[0, 3\]"):
        network(torch.zeros(1, 1, 8, 8), [None, None])


def test_only_an_encoder_that_is_not_frozen_learns_and_its_features_repeat() -> None:
    image, mask = torch.rand(2, 1, 32, 32), torch.ones(2, 1, 32, 32, dtype=torch.uint8)
    for frozen in (True, False):
        model = dkm(frozen=frozen).requires_grad_(True)
        learnt = played(model.objectives({"labelled": batch(image, mask=mask)}, Step(seed=0)))["segmenter"]
        sum(learnt.values()).backward()
        learned = any(p.grad is not None and bool(p.grad.any()) for p in model.uses.parameters())
        assert learned == (not frozen)
        (player,) = model.stages()[0].players
        owned = {id(p) for p in player.parameters()}
        assert {id(p) for p in model.uses.parameters()} <= owned if not frozen else True
        assert not frozen or not owned & {id(p) for p in model.uses.parameters()}
    model = dkm()
    one, other = (model.segment(batch(image), Inference(seed=seed)).probabilities for seed in (0, 1))
    assert torch.equal(one, other)


def test_slices_without_the_class_do_not_teach_to_mark_nothing_and_the_first_answer_is_its_share() -> None:
    sparse = traits(foreground=(0.01,))
    model = dkm(sparse, uses={}, features="none")
    assert float(model.segmenter.head.bias.detach().sigmoid()) == pytest.approx(0.01, rel=1e-3)
    one = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    one[..., 8:16, 8:16] = 1
    both = batch(torch.rand(2, 1, 32, 32), mask=torch.cat([one, torch.zeros_like(one)]))
    overlap = played(model.objectives({"labelled": both}, Step(seed=0)))["segmenter"]["overlap"]
    found = model.logits(both).sigmoid()
    expected = 1 - (2 * (found * both.mask).sum() + 1) / (found.sum() + both.mask.sum() + 1)  # over the batch as one
    assert torch.allclose(overlap, expected, rtol=1e-4)


def test_the_controls_are_settings_of_one_module(tmp_path: Path) -> None:
    shapes = {}
    for name, of in {
        "kinetic": dkm(),
        "random": dkm(features="random"),
        "nothing": dkm(uses={}, features="none"),
        "late": dkm(uses={}, features="none", frames=("late",)),
        "both": dkm(uses={}, features="none", frames=("pre", "late")),
        "pyramid": dkm(uses={}, features="pyramid"),
    }.items():
        shapes[name] = {key: tuple(p.shape) for key, p in of.segmenter.state_dict().items()}
        found = of.segment(batch(torch.rand(1, len(of.channels), 20, 30)), Inference(seed=0)).probabilities
        assert found.shape == (1, 1, 20, 30)
    assert shapes["kinetic"] == shapes["random"]
    assert shapes["nothing"] == shapes["late"]
    assert not any(key.startswith("fuse") for key in shapes["nothing"])
    with pytest.raises(SettingsError, match="reads no model; leave out --use encoder"):
        dkm(features="none")
    with pytest.raises(SettingsError, match="has no network that could learn"):
        dkm(uses={}, features="none", frozen=False)
    with pytest.raises(SettingsError, match=r"was trained on .* the data have pre, late"):
        dkm(frames=("pre", "late"))
    with pytest.raises(SettingsError, match=r"found 'late', a later frame of the model .* leads from 'pre'"):
        dkm(frames=("late",))
    model = dkm()
    save_model(model, tmp_path / "model")
    image = torch.rand(1, 1, 20, 30)
    one, other = (each.segment(batch(image), Inference(seed=0)).probabilities for each in (model, load_model(tmp_path)))
    assert torch.equal(one, other)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    card = CARDS["dkm-kinetics"].model_copy(update={"needs": (("image", "mask"),)})
    return make_data(card, tmp_path_factory.mktemp("data"), dimensions=2)


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "kinetics"
    done = command("train", "dkm-kinetics", "--data", data, "--out", run, "--preset", "tiny")
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def second(data: Path, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "dkm"
    done = command("train", "dkm", "--data", data, "--out", run, "--preset", "tiny", "--use", f"encoder={first}")
    assert done.returncode == 0, done.stderr
    return run


def frames_of(folder: Path, *, late: float | None) -> Path:
    """A data set of two frames as floating-point files; the later one holds one value, or is not there."""
    generator, cases = np.random.default_rng(5), []
    for number in range(2):
        arrays = {"image": generator.normal(100, 30, (33, 30)).astype(np.float32)}
        if late is not None:
            arrays["later 1"] = np.full((33, 30), late, np.float32)
        for name, array in arrays.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / name / f"{number}.tif", array)
        cases.append({"id": f"{number}", "images": {name: f"{name}/{number}.tif" for name in arrays}})
    write_json(folder / "scantling.json", {"case": cases})
    return folder


def test_answers_are_the_same_whatever_the_later_frames_hold(second: Path, tmp_path: Path) -> None:
    answers = {}
    for name, late in {"a value": 7.0, "no number": float("nan"), "no file": None}.items():
        where, out = frames_of(tmp_path / name, late=late), tmp_path / f"masks of {name}"
        done = command("predict", second, where, "--out", out, "--split", "all", "--probabilities")
        assert done.returncode == 0, done.stderr
        files = sorted((out / "probabilities").rglob("*.*"))
        answers[name] = [tifffile.imread(file) if file.suffix == ".tif" else file.read_bytes() for file in files]
        assert len(answers[name]) == 2
    for name in ("no number", "no file"):
        assert all(np.array_equal(a, b) for a, b in zip(answers["a value"], answers[name], strict=True))


def test_the_later_frame_is_written_as_the_data_store_it(data: Path, first: Path, tmp_path: Path) -> None:
    done = command("synthesize", first, "--from", data, "--count", "2", "--out", tmp_path / "made")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "made" / "images" / "later 1").iterdir())) == 2
    refused = command("synthesize", first, "--count", "2", "--out", tmp_path / "other")
    assert refused.returncode == 2
    assert "dkm-kinetics asks for" in refused.stderr


def test_a_kinetic_module_that_has_seen_a_test_subject_is_refused(data: Path, first: Path, tmp_path: Path) -> None:
    manifest = (data / "scantling.json").read_text()
    turned = tmp_path / "turned.json"
    turned.write_text(manifest.replace('"train"', '"x"').replace('"test"', '"train"').replace('"x"', '"test"'))
    done = command(
        "train", "dkm", "--data", data, "--manifest", turned, "--root", data, "--out", tmp_path / "run", "--preset",
        "tiny", "--use", f"encoder={first}",
    )  # fmt: skip
    assert done.returncode == 2
    assert "has learned from" in done.stderr
    assert "test subjects of these data" in done.stderr
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_model_without_a_record_of_its_training_is_told_of(data: Path, first: Path, tmp_path: Path) -> None:
    dataset = open_dataset(data)
    assert check_apart({"encoder": first}, dataset) == []
    (sentence,) = check_apart({"encoder": tmp_path}, dataset)
    assert "no record says from whom it has learned" in sentence


def test_frames_of_different_size_are_refused_with_numbers(tmp_path: Path) -> None:
    data = make_data(CARDS["dkm-kinetics"], tmp_path / "data", dimensions=2)
    for file in sorted((data / "later-1").iterdir()):
        file.unlink()
        tifffile.imwrite(file.with_suffix(".tif"), np.zeros((10, 12), np.uint8))
    path = data / "scantling.json"
    path.write_text(re.sub(r"(later-1/case\d)\.png", r"\1.tif", path.read_text()))
    done = command("train", "dkm-kinetics", "--data", data, "--out", tmp_path / "run", "--preset", "tiny")
    assert done.returncode == 2
    assert "(10, 12)" in done.stderr or "10 x 12" in done.stderr
