"""Labels that rules draw on real images: what is drawn lies where it may, and is read back as it was drawn."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from scantling.contract.card import Card
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.fields import IGNORE
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.loading import load
from scantling.data.manifest_file import write_manifest
from scantling.data.traits import hand_drawn
from scantling.inference import synthesize
from scantling.inference.conditions import Conditions
from scantling.methods.catalogue import CARDS
from scantling.phantoms.weak_labels import centre_lines_of, points_of, scribbles_of, stroke, unsteady
from scantling.testing.data import make_data
from scantling.training import train

MASKED = CARDS["unet"]


def drawn(name: str, data: Path, out: Path, **settings: object) -> Dataset:
    synthesize(name, out=out, settings=settings, conditions=Conditions(data=data, split="all"))
    return open_dataset(out)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return make_data(MASKED, tmp_path / "pictures", dimensions=2, classes=2)


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    return make_data(MASKED, tmp_path / "volumes", dimensions=3, classes=2)


def disc(side: int, radius: float) -> np.ndarray:
    grid = np.indices((side, side)) - side // 2
    return (np.hypot(*grid) < radius).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_a_scribble_lies_in_its_class_with_one_stroke_in_each_object_and_one_around(seed: int) -> None:
    labels = disc(80, 20)
    labels[disc(80, 8) > 0] = 2
    labels[2:9, 60:78] = 1
    generator = np.random.default_rng(seed)
    found, strokes = scribbles_of(labels, generator=generator, eroded=0.7, broken=0.5, least=5)
    assert strokes == 4
    for value in (0, 1, 2):
        assert (found == value).any()
        assert (labels[found == value] == value).all()
    assert (found[:12, 55:] == 1).any()
    assert (found != IGNORE).sum() < 0.1 * found.size


def test_unknown_pixels_are_not_drawn_on_and_small_objects_are_left_out() -> None:
    labels = np.full((40, 40), IGNORE, np.uint8)
    labels[10:30, 10:30], labels[20, 20:22] = 0, 1
    found, strokes = scribbles_of(labels, generator=np.random.default_rng(0), eroded=0.5, broken=0.0, least=5)
    assert strokes == 1
    assert {*np.unique(found[found != IGNORE])} == {0}
    assert (labels[found == 0] == 0).all()


def test_an_unsteady_hand_goes_astray_by_as_much_as_it_is_told_and_keeps_lines_whole() -> None:
    labels = np.zeros((80, 80), np.uint8)
    labels[:, 38:43] = 1
    steady = unsteady(labels, noise=0.0, generator=np.random.default_rng(0))
    assert np.array_equal(steady, labels)
    found = unsteady(labels, noise=2.0, generator=np.random.default_rng(0))
    line = centre_lines_of(found)[0] == 1
    middle = np.array([np.flatnonzero(row).mean() for row in line[2:-2]])
    assert 1.0 < (middle - 40).std() < 3.0
    assert np.abs(np.diff(middle)).max() < 3, "it goes astray smoothly"


def test_a_stroke_is_the_longest_path_of_a_line_and_a_ring_is_cut_open_once() -> None:
    line = np.zeros((40, 40), bool)
    line[20, 5:35], line[10:20, 12] = True, True
    whole = stroke(line, generator=np.random.default_rng(0), broken=0.0)
    assert whole[20, 14:34].all()
    assert whole.sum() >= 30
    ring = (disc(40, 12) > 0) & (disc(40, 11) == 0)
    walked = stroke(ring, generator=np.random.default_rng(0), broken=0.0)
    assert walked.sum() > 0.7 * ring.sum()
    half = stroke(line, generator=np.random.default_rng(1), broken=0.5)
    assert 15 <= half.sum() <= 30
    assert (half & ~line).sum() == 0


def test_centre_lines_are_thin_and_background_lies_beyond_the_thickest_tube() -> None:
    labels = np.zeros((50, 60), np.uint8)
    labels[20:27, 5:55] = 1
    found, strokes = centre_lines_of(labels)
    assert strokes == 2
    assert (labels[found == 1] == 1).all()
    assert (found == 1).sum(0).max() == 1
    rows = np.flatnonzero((found == 0)[:, 30])
    line = int(np.flatnonzero(found[:, 30] == 1)[0])
    assert min(abs(rows - line)) > 7


def test_points_lie_deep_in_each_object() -> None:
    labels = np.zeros((30, 30), np.uint8)
    labels[2:9, 2:9], labels[15:28, 15:28] = 1, 2
    points, classes = points_of(labels, generator=np.random.default_rng(0))
    assert classes.tolist() == [0, 1]
    assert (np.abs(points[0] - 5) <= 2).all()
    assert (np.abs(points[1] - 21) <= 4).all()


def test_images_splits_and_subjects_stay_and_the_origin_says_what_was_drawn(pictures: Path, tmp_path: Path) -> None:
    whole, made = open_dataset(pictures), drawn("scribbles", pictures, tmp_path / "out")
    assert [(c.id, c.subject, c.split) for c in made.cases] == [(c.id, c.subject, c.split) for c in whole.cases]
    for case, other in zip(made.cases, whole.cases, strict=True):
        one, two = load(case, labels=made.labels), load(other, labels=whole.labels)
        np.testing.assert_array_equal(one.image, two.image)
        assert not case.masks
        assert one.scribbles is not None
        known = one.scribbles != IGNORE
        np.testing.assert_array_equal(one.scribbles[known], two.masks[0][known])
        assert case.origin.kind == "simulated"
        assert case.origin.effort["pixels"] == known.sum()
        assert case.origin.effort["strokes"] >= 2
    assert hand_drawn(made.cases) == len(made.cases)


def test_the_same_seed_draws_the_same_and_another_folder_or_seed_is_needed_for_others(
    pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = synthesize("scribbles", out=out, conditions=Conditions(data=pictures), count=2)
    strokes = {path.name: path.read_bytes() for path in (out / "scribbles").iterdir()}
    every = synthesize("scribbles", out=out, conditions=Conditions(data=pictures))
    assert [case["id"] for case in first["case"]] == [case["id"] for case in every["case"][:2]]
    assert all((out / "scribbles" / name).read_bytes() == content for name, content in strokes.items())
    with pytest.raises(RunError, match="lists cases that were made otherwise"):
        synthesize("scribbles", out=out, conditions=Conditions(data=pictures), options={"seed": 1})
    parts = [
        synthesize("scribbles", out=tmp_path / "parts", conditions=Conditions(data=pictures), shard=(n, 2))
        for n in (1, 2)
    ]
    assert [case["id"] for case in parts[-1]["case"]] == [case["id"] for case in every["case"]]


def test_boxes_and_points_are_those_of_the_objects_with_their_classes(volumes: Path, tmp_path: Path) -> None:
    whole = open_dataset(volumes)
    boxed, pointed = drawn("boxes", volumes, tmp_path / "boxes"), drawn("points", volumes, tmp_path / "points")
    for case, dots, other in zip(boxed.cases, pointed.cases, whole.cases, strict=True):
        mask = load(other, labels=whole.labels).masks[0][0]
        sample, points = load(case, labels=boxed.labels), load(dots, labels=pointed.labels)
        assert sample.boxes is not None
        assert points.points is not None
        for box, number in zip(sample.boxes, sample.classes["boxes"], strict=True):
            inside = mask[tuple(slice(int(a), int(b)) for a, b in box)] == number + 1
            assert all(inside.any(axis=tuple({0, 1, 2} - {axis})).all() for axis in range(3))
        covered = np.zeros(mask.shape, bool)
        for box in sample.boxes:
            covered[tuple(slice(int(a), int(b)) for a, b in box)] = True
        assert covered[mask > 0].all()
        for point, number in zip(points.points, points.classes["points"], strict=True):
            assert mask[tuple(point.round().astype(int))] == number + 1


def test_slices_hold_what_was_drawn_and_nothing_else(volumes: Path, tmp_path: Path) -> None:
    whole, made = open_dataset(volumes), drawn("slices", volumes, tmp_path / "out", every=4)
    for case, other in zip(made.cases, whole.cases, strict=True):
        one, two = load(case, labels=made.labels), load(other, labels=whole.labels)
        axis = one.geometry.slice_axis
        found, mask = (np.moveaxis(each.masks[0][0], axis, 0) for each in (one, two))
        known = [n for n in range(len(found)) if (found[n] != IGNORE).all()]
        assert known == list(range(2, len(found), 4))
        assert all((found[n] == IGNORE).all() for n in range(len(found)) if n not in known)
        np.testing.assert_array_equal(found[known], mask[known])
        assert case.origin.effort["slices"] == len(known)


@pytest.mark.parametrize("rule", ["walk", "distance"])
def test_all_slices_are_filled_from_some_and_the_drawn_ones_stay(volumes: Path, tmp_path: Path, rule: str) -> None:
    some = drawn("slices", volumes, tmp_path / "some", every=3)
    made = drawn("slice-filling", tmp_path / "some", tmp_path / rule, rule=rule)
    whole = open_dataset(volumes)
    for case, known, other in zip(made.cases, some.cases, whole.cases, strict=True):
        one, two, three = (
            load(each, labels=labels).masks[0][0]
            for each, labels in ((case, made.labels), (known, some.labels), (other, whole.labels))
        )
        np.testing.assert_array_equal(one[two != IGNORE], two[two != IGNORE])
        assert not (one == IGNORE).any()
        assert 2 * ((one > 0) & (three > 0)).sum() / ((one > 0).sum() + (three > 0).sum()) > 0.8
        assert case.origin.effort["slices"] == known.origin.effort["slices"]
        assert (tmp_path / rule / "uncertainty" / "filling" / f"{case.id}.nii.gz").is_file()


def test_what_cannot_be_labelled_is_said_in_a_sentence(pictures: Path, volumes: Path, tmp_path: Path) -> None:
    def refused(rule: str, data: Path | None, **facts: object) -> None:
        synthesize(rule, out=tmp_path / "out", conditions=Conditions(data=data), **facts)  # type: ignore[arg-type]

    with pytest.raises(SettingsError, match="scribbles draws on the images of a data set with images and masks"):
        refused("scribbles", None)
    with pytest.raises(SettingsError, match="--count 9: expected 1 to 4"):
        refused("scribbles", pictures, count=9)
    with pytest.raises(SettingsError, match="--sampling-steps: this model has no such option; it has: --seed"):
        refused("scribbles", pictures, options={"steps": 3})
    with pytest.raises(SettingsError, match="slices is a rule that is not trained; `scantling synthesize slices"):
        train("slices", [volumes], tmp_path / "run")
    with pytest.raises(SettingsError, match="--count: found none"):
        refused("fractal-vessels", None)
    with pytest.raises(DataError, match="found a picture; slices are drawn of volumes"):
        refused("slices", pictures)
    with pytest.raises(DataError, match=r"all 1[78] slices are drawn, and none is left to fill"):
        refused("slice-filling", volumes)
    bare = make_data(Card.model_validate({**CARDS["darl"].model_dump(), "name": "bare"}), tmp_path / "b", dimensions=2)
    with pytest.raises(DataError, match="found no case with images and masks in the split train"):
        refused("points", bare)
    manifest = json.loads((volumes / "scantling.json").read_text())
    for case in manifest["case"]:
        case["drawn_slices"] = [4]
    (volumes / "scantling.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"found 1 drawn slice of 1[78] .*; expected at least two"):
        refused("slice-filling", volumes)


@pytest.mark.parametrize("rule", ["boxes", "points"])
def test_an_image_in_which_nothing_was_found_is_labelled(rule: str, pictures: Path, tmp_path: Path) -> None:
    path = sorted((pictures / "masks").iterdir())[0]
    Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)
    made = drawn(rule, pictures, tmp_path / "out")
    assert all(case.has(rule) for case in made.cases)
    assert made.labels is not None
    empty = next(case for case in made.cases if case.id == path.stem)
    assert getattr(empty, rule) == ()
    found = getattr(load(empty, labels=made.labels), rule)
    assert found.shape == ((0, 2, 2) if rule == "boxes" else (0, 2))
    write_manifest(made, tmp_path / "again.toml", made.labels)
    again = open_dataset(tmp_path / "again.toml")
    assert [getattr(case, rule) for case in again.cases] == [getattr(case, rule) for case in made.cases]


def test_slice_filling_finds_undeclared_classes_in_drawn_slices_alone(tmp_path: Path) -> None:
    image, mask = np.random.default_rng(0).normal(size=(9, 8, 7)), np.zeros((9, 8, 7), np.uint8)
    mask[2:6, 2:6, :4], mask[2:6, 2:6, 4:] = 1, 3
    for name, array in (("images", image.astype(np.float32)), ("masks", mask)):
        (tmp_path / "data" / name).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"data/{name}/v.nii.gz")
    group = '[[group]]\npattern = "images/{id}.nii.gz"\nmasks = "masks/{id}.nii.gz"\ndrawn_slices = [0, 3]\n'
    (tmp_path / "data/scantling.toml").write_text(group)
    made = drawn("slice-filling", tmp_path / "data", tmp_path / "out")
    assert made.labels is not None
    assert made.labels.names == ("foreground",)
    filled = load(made.cases[0], labels=made.labels).masks[0][0]
    assert {*np.unique(filled[..., :4]).tolist()} == {0, 1}
