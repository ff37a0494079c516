"""Vessels drawn by diffusion: what a sketch is, what is accepted, and what is told of the masks behind the painter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy import ndimage
from torch import Tensor

from made import images_for, write
from scantling.contract.method import build
from scantling.contract.step import Inference, Step
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Traits
from scantling.data.dataset import join, open_dataset
from scantling.data.division import divide
from scantling.data.traits import measure_traits
from scantling.inference.synthesis import synthesize
from scantling.methods.catalogue import CARDS
from scantling.methods.generation.vessel_controlnet import VesselControlNet, VesselControlNetSettings
from scantling.metrics.topology import betti_numbers, skeleton
from scantling.phantoms.fractal import fractal_vessels
from scantling.phantoms.sketch import sketch_of
from scantling.records.run import run_facts
from scantling.records.run_folder import load_model
from scantling.training import Options, train

TINY = Options(preset="tiny", steps=2, seed=2, validation=0.25)
VESSEL = Labels(names=("vessel",), values=((255,),))


def traits(side: int = 32, **changes: Any) -> Traits:
    facts: dict[str, Any] = {
        "dimensions": 2,
        "channels": (),
        "labels": VESSEL,
        "spacing": (1.0, 1.0),
        "shape": (side, side),
        "smallest": (side, side),
        "intensity": (),
        "masks_alone": 4,
    }
    return Traits.model_validate(facts | changes)


def method(facts: Traits | None = None, **changes: Any) -> VesselControlNet:
    facts = facts or traits()
    built = build(VesselControlNet, VesselControlNetSettings.preset("tiny", changes).resolve(facts), facts)
    assert isinstance(built, VesselControlNet)
    return built.eval()


def fork() -> np.ndarray:
    """Three arms, five pixels thick, that meet at (40, 40)."""
    mask = np.zeros((80, 80), np.bool_)
    mask[38:43, 8:40] = mask[8:40, 38:43] = mask[40:72, 38:43] = True
    return mask


# the sketch


def test_a_faithful_sketch_is_the_centre_line_and_knows_no_thickness() -> None:
    generator = np.random.default_rng(0)
    thick, thin = fork(), ndimage.binary_erosion(fork(), np.ones((3, 3)))
    sketch = sketch_of(thick, generator=generator, deleted=0, jitter=0)
    assert np.array_equal(sketch, skeleton(thick))
    inside = (slice(12, 68),) * 2  # ends aside, which erosion moves
    assert np.array_equal(sketch[inside], sketch_of(thin, generator=generator, deleted=0, jitter=0)[inside])


def test_branches_are_deleted_whole_and_as_often_as_is_said() -> None:
    kept = []
    line = skeleton(fork())
    for seed in range(200):
        sketch = sketch_of(fork(), generator=np.random.default_rng(seed), deleted=0.3, jitter=0)
        assert not (sketch & ~line).any()
        for arm in (np.s_[30:50, 12:34], np.s_[12:34, 30:50], np.s_[46:68, 30:50]):
            share = sketch[arm].sum() / line[arm].sum()
            assert share in (0, 1)
            kept.append(share)
    assert abs(np.mean(kept) - 0.7) < 4 * np.sqrt(0.3 * 0.7 / len(kept))


def test_jitter_displaces_smoothly_and_by_as_much_as_is_said() -> None:
    line = np.zeros((512, 512), np.bool_)
    line[250, 5:507] = True
    moved = []
    for seed in range(20):
        sketch = sketch_of(line, generator=np.random.default_rng(seed), deleted=0, jitter=2.0)
        rows, columns = np.nonzero(sketch)
        moved += list(rows[np.argsort(columns)] - 250)
    # between nodes, where two are averaged in each axis, the deviation is 2 (2/3)^½ (2/3)^½ on average, or so
    assert 1.1 < np.std(moved) < 2.1
    assert abs(np.mean(moved)) < 0.3


@pytest.mark.parametrize("sketches", ["trees", "fractals"])
def test_a_sketch_for_a_new_mask_is_one_pixel_wide_and_a_function_of_the_generator(sketches: str) -> None:
    painter = method(traits(512), patch=512, size=128, sketches=sketches)
    one, again, other = (painter.sketch(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert one.shape == (128, 128)
    assert one.dtype == np.bool_
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.array_equal(skeleton(one), one)


# what the networks see


def test_thin_vessels_survive_the_reduced_size() -> None:
    painter = method(traits(512), patch=512, size=256)
    mask = np.zeros((512, 512), np.uint8)
    places = np.arange(40, 470)
    for width, offset in ((2, 0), (3, 20)):  # diagonals, and wider than half a pixel of the reduced size
        for step in range(width):
            mask[places, places // 2 + offset + step] = 1
    mask[100:103, 250:500] = 1
    batch = Batch(torch.zeros(1), torch.zeros(1), {"mask": torch.from_numpy(mask)[None, None]})
    covered = painter._covered(batch)
    assert covered.shape == (1, 1, 256, 256)
    assert covered.mean().item() == pytest.approx(mask.mean())
    back = torch.nn.functional.interpolate(covered, (512, 512), mode="bilinear")[0, 0] > 0.5
    assert betti_numbers(back.numpy()) == betti_numbers(mask > 0)
    touched = painter.touched(batch.mask[:, 0] == 1)[0]
    assert betti_numbers(touched)[0] == betti_numbers(mask > 0)[0]


def test_what_is_unknown_is_no_vessel() -> None:
    mask = torch.full((1, 1, 32, 32), 255, dtype=torch.uint8)
    mask[..., :16] = 1
    covered = method()._covered(Batch(torch.zeros(1), torch.zeros(1), {"mask": mask}))
    assert covered[..., :8].eq(1).all()
    assert covered[..., 8:].eq(0).all()


def test_the_control_starts_as_a_copy_that_changes_nothing() -> None:
    painter = method()
    with torch.no_grad():
        for parameter in painter.denoiser.parameters():
            parameter.normal_(0, 0.2)
    mask = (torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.9).to(torch.uint8)
    batch = {"masks": Batch(torch.arange(2), torch.arange(2), {"mask": mask})}
    painter.begin_control(lambda stream: [], Step(seed=0))
    for (_, alone), (_, controlled) in zip(
        painter.unconditional(batch, Step(seed=1, number=3)),
        painter.conditional(batch, Step(seed=1, number=3)),
        strict=True,
    ):
        assert torch.equal(alone["denoising"], controlled["denoising"])
    assert torch.equal(painter.control.copy.stem.weight, painter.denoiser.stem.weight)


# what is accepted


def painting(painter: VesselControlNet, monkeypatch: pytest.MonkeyPatch, *shares: float) -> list[int]:
    """The painter covers `shares` of a mask, one after the other in each attempt; returns the attempts."""
    asked: list[int] = []
    side = painter.settings.size

    def paint(sketch: np.ndarray, inference: Inference) -> Tensor:
        asked.append(int(inference.stage.split()[-1]))
        covered = torch.zeros(1, 1, *sketch.shape)
        covered[:, :, : round(shares[asked[-1]] * side)] = 1
        return covered

    monkeypatch.setattr(painter, "paint", paint)
    return asked


@pytest.mark.parametrize(
    ("shares", "attempts", "taken"),
    [((0.125,), 1, 0.125), ((0.5, 0.125), 2, 0.125), ((0.5, 0.25, 0.75), 3, 0.25), ((0.0, 0.5, 1.0), 3, 0.0)],
)
def test_the_first_mask_within_the_bounds_is_taken_else_the_nearest(
    monkeypatch: pytest.MonkeyPatch, shares: tuple[float, ...], attempts: int, taken: float
) -> None:
    painter = method(coverage=(0.05, 0.15), attempts=3)
    asked = painting(painter, monkeypatch, *shares)
    masks = painter.generate(2, Inference(seed=0)).masks
    assert asked == 2 * list(range(attempts))
    assert masks.shape == (2, 1, 32, 32)
    assert masks.mean((1, 2, 3)).sub(taken).abs().max() < 0.04  # an edge, after enlargement


def test_specks_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    painter = method(coverage=(0.0, 1.0), least=5)

    def paint(sketch: np.ndarray, inference: Inference) -> Tensor:
        del inference
        covered = torch.zeros(1, 1, *sketch.shape)
        covered[:, :, 2, 2] = covered[:, :, 8:12, 8:12] = 1
        return covered

    monkeypatch.setattr(painter, "paint", paint)
    masks = painter.generate(1, Inference(seed=0)).masks
    assert betti_numbers(masks[0, 0].numpy())[0] == 1
    assert masks[0, 0, 16:24, 16:24].all()


def test_a_line_thinner_than_a_pixel_is_kept_whole_along_its_sketch_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    painter = method(coverage=(0.0, 1.0), least=0)
    sketch = np.eye(16, dtype=np.bool_)

    def paint(sketch: np.ndarray, inference: Inference) -> Tensor:
        del inference
        covered = torch.full((1, 1, 16, 16), 0.4)
        covered[:, :, 12:] = 0.1  # and where nothing is painted, a sketch makes no vessel
        return covered

    monkeypatch.setattr(painter, "sketch", lambda generator: sketch)
    monkeypatch.setattr(painter, "paint", paint)
    masks = painter.generate(1, Inference(seed=0)).masks
    mask = masks[0, 0].numpy() > 0
    assert betti_numbers(mask) == (1, 0)
    assert mask[np.arange(23), np.arange(23)].all()
    assert not mask[26:].any()
    assert not mask[:10, 14:].any()


@torch.no_grad()
def test_a_mask_depends_on_its_number_alone() -> None:
    painter = method(coverage=(0.0, 1.0))
    ten, two = painter.generate(10, Inference(seed=4)), painter.generate(2, Inference(seed=4, number=8))
    assert torch.equal(ten.masks[8:], two.masks)
    assert torch.equal(ten.fields["sketch"][8:], two.fields["sketch"])
    assert len({tuple(mask.flatten().tolist()) for mask in ten.masks}) == 10


# settings


def test_the_patch_fits_the_masks_and_the_size_fits_the_levels() -> None:
    of = VesselControlNetSettings.preset("quick").resolve(traits(300))
    assert (of.patch, of.size) == (300, 256)
    assert VesselControlNetSettings.preset("quick").resolve(traits(100)).size == 96
    with pytest.raises(SettingsError, match="need masks of 16 pixels a side; found 12"):
        VesselControlNetSettings.preset("quick").resolve(traits(12))
    with pytest.raises(SettingsError, match="the data have 2"):
        VesselControlNetSettings().resolve(traits(labels=Labels(names=("a", "b"), values=((1,), (2,)))))
    with pytest.raises(SettingsError, match="the chain has 1000 steps"):
        VesselControlNetSettings(sampling_steps=1001).resolve(traits())
    with pytest.raises(SettingsError, match="expected the least share first"):
        VesselControlNetSettings.preset("paper", {"coverage": (0.2, 0.1)})


# from masks to a painter to DARL


def ruled(folder: Path, count: int = 4) -> Path:
    synthesize("fractal-vessels", count=count, out=folder, settings={"size": 64})
    return folder


def quietly(name: str, data: list[Path], run: Path, options: Options = TINY) -> dict[str, Any]:
    return train(name, list(data), run, options, console=Console(quiet=True))


def origins(folder: Path) -> list[dict[str, Any]]:
    return [case["origin"] for case in json.loads((folder / "scantling.json").read_text())["case"]]


def test_masks_made_by_rule_leave_the_whole_way_free_of_labels(tmp_path: Path) -> None:
    masks = ruled(tmp_path / "masks")
    facts = quietly("vessel-controlnet", [masks], tmp_path / "painter")
    assert facts["traits"]["masks_alone"] == 4
    assert load_model(tmp_path / "painter").hand_drawn == 0
    synthesize(tmp_path / "painter", count=3, out=tmp_path / "painted")
    assert all(origin["model"].startswith("vessel-controlnet ") for origin in origins(tmp_path / "painted"))
    assert not any("hand_drawn" in origin for origin in origins(tmp_path / "painted"))
    assert len(list((tmp_path / "painted" / "sketches").iterdir())) == 3
    images = images_for(CARDS["darl"], tmp_path / "images", dimensions=2)
    facts = quietly("darl", [images, tmp_path / "painted"], tmp_path / "darl")
    assert facts["settings"]["masks"] == "folder"
    assert facts["warnings"] == []


def test_a_run_on_masks_by_a_painter_that_saw_labels_says_so(tmp_path: Path) -> None:
    labelled = images_for(CARDS["unet"], tmp_path / "labelled", dimensions=2)
    options = replace(TINY, validation=0.0)
    facts = quietly("vessel-controlnet", [labelled], tmp_path / "painter", options)
    assert facts["traits"]["hand_drawn"] == 4
    synthesize(tmp_path / "painter", count=3, out=tmp_path / "painted")
    assert [origin["hand_drawn"] for origin in origins(tmp_path / "painted")] == [4] * 3
    # a painter of the paintings knows it, too
    quietly("vessel-controlnet", [tmp_path / "painted"], tmp_path / "second", options)
    assert load_model(tmp_path / "second").hand_drawn == 4
    # and so does DARL on the paintings of the second
    images = images_for(CARDS["darl"], tmp_path / "images", dimensions=2)
    synthesize(tmp_path / "second", count=3, out=tmp_path / "second-hand")
    quietly("darl", [images, tmp_path / "second-hand"], tmp_path / "darl")
    (warning,) = run_facts(tmp_path / "darl")["warnings"]
    assert "not free of labels" in warning
    assert " stand 4 that people drew" in warning


def test_a_folder_of_masks_that_does_not_say_where_they_are_from_is_not_taken_for_free_of_labels(
    tmp_path: Path,
) -> None:
    for number in range(2):
        mask = fractal_vessels((48, 48), generator=np.random.default_rng(number))
        write(tmp_path / "masks" / "masks", f"m{number}", mask.astype(np.uint8) * 255)
    images = images_for(CARDS["darl"], tmp_path / "images", dimensions=2)
    facts = quietly("darl", [images, tmp_path / "masks"], tmp_path / "run")
    (warning,) = facts["warnings"]
    assert " stand 2 that people drew" in warning


def test_masks_alone_are_preferred_and_then_no_mask_of_an_image_is_read(tmp_path: Path) -> None:
    both = [ruled(tmp_path / "masks"), images_for(CARDS["unet"], tmp_path / "labelled", dimensions=2)]
    data = divide(join([open_dataset(path) for path in both]), validation=0.0)
    facts = measure_traits(data, reads={"mask"})
    assert (facts.masks_alone, facts.labelled, facts.hand_drawn, facts.hand_drawn_alone) == (4, 4, 4, 0)
    assert facts.channels == ()
    painter = method(facts)
    assert painter.hand_drawn == 0
    for stage in painter.stages():
        (stream,) = stage.streams
        assert {bool(case.images) for case in data.split("train") if stream.takes(case)} == {False}


def test_no_image_is_opened(tmp_path: Path) -> None:
    data = images_for(CARDS["unet"], tmp_path / "data", dimensions=2)
    for image in (data / "train" / "images").iterdir():
        image.write_bytes(b"no image")
    quietly("vessel-controlnet", [data], tmp_path / "run")
    assert load_model(tmp_path / "run").hand_drawn > 0, "it has learned from the masks beside files that are no images"
