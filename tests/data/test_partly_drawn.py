"""Of a mask that was drawn in parts, the rest is unknown: to training, to validation and to every score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, ornt_transform
from pydantic import ValidationError

from scantling.contract.method import build
from scantling.contract.stage import Stage
from scantling.core.case import IGNORE, Geometry, Sample
from scantling.core.errors import DataError, FileError
from scantling.core.streams import Stream
from scantling.data.dataset import Dataset, file_hashes, open_dataset
from scantling.data.grids import place
from scantling.data.hashing import content_of
from scantling.data.integrity import check
from scantling.data.loading import load
from scantling.data.manifest import Group
from scantling.data.orientation import as_stored
from scantling.data.partly_drawn import gaps_in, slice_numbers
from scantling.data.reader import Reader
from scantling.data.traits import measure_traits
from scantling.evaluation import evaluate
from scantling.inference.prediction import predict
from scantling.methods.catalogue import CARDS, implementation_of
from scantling.testing.trainings import quiet
from scantling.training import Options, train
from scantling.training.readers import readers_of

SHAPE = (24, 20, 16)
CUBE = Geometry((16, 16, 16), (1.0, 1.0, 1.0))
DRAWN = (1, 6, 11)
METHODS = {2: "fr-unet", 3: "unet"}
CLASSES = "[classes]\ntube = 1\n"
GROUP = '[[group]]\npattern = "images/{id}.nii.gz"\nmasks = "masks/{id}.nii.gz"\nsplit = "train"\n'


def tube(number: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A slanted tube (*shape) of ones."""
    x, y, z = np.indices(shape)
    middle = (shape[0] / 2 - 2 + number % 3 + 0.3 * (z - shape[2] / 2), shape[1] / 2 - number % 2)
    return ((x - middle[0]) ** 2 + (y - middle[1]) ** 2 < 16).astype(np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)


def scans(root: Path, manifest: str, *, count: int = 4, everywhere: bool = False) -> Path:
    """Volumes with a tube that is drawn in `DRAWN` alone; what stands elsewhere in the masks is wrong."""
    for number in range(count):
        generator, truth = np.random.default_rng(number), tube(number)
        save(root / f"images/v{number}.nii.gz", (generator.normal(0, 10, SHAPE) + 80 * truth).astype(np.int16))
        drawn = np.zeros(SHAPE, np.uint8)
        drawn[..., DRAWN] = truth[..., DRAWN]
        save(root / f"masks/v{number}.nii.gz", truth if everywhere else drawn)
        inside = np.zeros(SHAPE, np.uint8)
        inside[..., DRAWN] = 1
        save(root / f"known/v{number}.nii.gz", inside)
    (root / "scantling.toml").write_text(manifest)
    return root


def loaded(root: Path) -> Sample:
    dataset = open_dataset(root)
    return load(dataset.cases[0], labels=dataset.labels, reads=("image", "mask"))


WAYS = {
    "slices": CLASSES + GROUP + "drawn_slices = [1, 6, 11]\n",
    "range and axis": CLASSES + GROUP + 'drawn_slices = ["1-11:5"]\ndrawn_axis = 2\n',
    "marked": CLASSES + GROUP + 'drawn_slices = "marked"\ndrawn_axis = 2\n',
    "known": CLASSES + GROUP + 'known = "known/{id}.nii.gz"\n',
}


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_to_say_what_was_drawn_give_the_same_mask(tmp_path: Path, way: str) -> None:
    expected = np.full((1, *SHAPE), IGNORE, np.uint8)
    expected[..., DRAWN] = tube(0)[None][..., DRAWN]
    assert np.array_equal(loaded(scans(tmp_path, WAYS[way])).masks[0], expected)


def test_a_box_is_drawn_where_both_the_file_and_the_slices_say_so(tmp_path: Path) -> None:
    root = scans(tmp_path, WAYS["known"] + "drawn_slices = [2, 3, 6]\ndrawn_axis = 2\n")
    known = loaded(root).masks[0][0] != IGNORE
    assert np.flatnonzero(known.any((0, 1))).tolist() == [6]
    save(root / "known/v0.nii.gz", np.pad(np.ones((5, 5, 5), np.uint8), ((3, 16), (3, 12), (3, 8))))
    (root / "scantling.toml").write_text(WAYS["known"])
    known = loaded(root).masks[0][0] != IGNORE
    assert known[3:8, 3:8, 3:8].all()
    assert known.sum() == 125


def test_what_cannot_be_drawn_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    root = scans(tmp_path, CLASSES + GROUP + "drawn_slices = [3, 16, 40]\ndrawn_axis = 2\n")
    with pytest.raises(DataError, match="names 16, 40, and the volume has 16 slices along axis 2; expected 0 to 15"):
        loaded(root)
    (root / "scantling.toml").write_text(CLASSES + GROUP + 'drawn_slices = ["a-b"]\n')
    with pytest.raises(FileError, match="'a-b' is no slice and no range of slices"):
        open_dataset(root)
    (root / "scantling.toml").write_text(CLASSES + GROUP + 'known = "nowhere/{id}.nii.gz"\n')
    with pytest.raises(FileError, match="key 'known': no case of the group has such a file"):
        open_dataset(root)
    assert slice_numbers([3, "10-14", "20-40:10"]) == (3, 10, 11, 12, 13, 14, 20, 30, 40)
    for wrong in (["5-2"], [-1], ["0-999999"], [], ["1-9:0"]):
        with pytest.raises(ValueError, match=r"expected|no slice"):
            slice_numbers(wrong)
    with pytest.raises(ValidationError):
        Group(pattern="{id}.png", drawn_axis=3)


def test_what_was_drawn_belongs_to_the_contents_of_the_masks(tmp_path: Path) -> None:
    one, two = (open_dataset(scans(tmp_path / name, WAYS[way])) for name, way in (("a", "slices"), ("b", "marked")))
    assert content_of(one.cases[0], reads=("mask",)) != content_of(two.cases[0], reads=("mask",))
    known = open_dataset(scans(tmp_path / "c", WAYS["known"]))
    assert "known/v0.nii.gz" in file_hashes(known, reads=("image", "mask"))
    assert "known/v0.nii.gz" not in file_hashes(known, reads=("image",))


def test_traits_count_what_is_known(tmp_path: Path) -> None:
    every = np.mean([tube(number)[..., DRAWN].mean() for number in range(4)])
    assert measure_traits(open_dataset(scans(tmp_path, WAYS["slices"]))).foreground == pytest.approx((every,))


@pytest.mark.parametrize(
    ("slices", "axis", "found"),
    [
        (range(0, 16, 5), 2, True),
        ((2, 5, 11), 2, True),
        ((3, 4, 9, 10, 15), 0, False),  # runs of two lengths
        ((1, 2, 7, 8, 13, 14), 1, True),  # blocks
        ((4, 5, 6, 7), 2, False),
        ((4, 9), 2, False),  # two lesions
    ],
)
def test_classes_that_stop_at_whole_slices_are_seen(slices: Any, axis: int, found: bool) -> None:
    mask = np.zeros((1, 16, 16, 16), np.uint8)
    np.moveaxis(mask[0], axis, 0)[list(slices), 3:9, 4:12] = 1
    gaps = gaps_in(mask, CUBE)
    assert (gaps is not None) == found
    if gaps is not None:
        assert (gaps.axis, gaps.slices) == (axis, tuple(slices))
    assert gaps_in(np.where(mask == 0, np.uint8(IGNORE), mask), CUBE) is None


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
def test_slices_are_those_of_the_file_however_it_is_stored(
    tmp_path: Path, axes: tuple[int, int, int], signs: tuple[int, int, int]
) -> None:
    """Slices 2, 5 and 8 along the file's last axis; the answer is compared in the order of the file."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * signs
    mask = np.zeros((9, 10, 11), np.uint8)
    mask[2:6, 3:7, [2, 5, 8]] = 1
    for name, array in (("image", np.random.default_rng(0).integers(0, 99, mask.shape)), ("mask", mask)):
        nib.save(nib.Nifti1Image(array.astype(np.uint8), affine), tmp_path / f"{name}.nii.gz")
    lines = '[[case]]\nid = "a"\nimages = "image.nii.gz"\nmasks = "mask.nii.gz"\n'
    lines += 'drawn_slices = [2, "5-8:3"]\ndrawn_axis = 2\n'
    (tmp_path / "scantling.toml").write_text("classes = { lesion = 1 }\n" + lines)
    dataset = open_dataset(tmp_path)
    sample = load(dataset.cases[0], labels=dataset.labels)
    found = as_stored(sample.masks[0], sample.geometry)[0]
    expected = np.full(mask.shape, IGNORE)
    expected[:, :, [2, 5, 8]] = mask[:, :, [2, 5, 8]]
    assert np.array_equal(found, expected)
    plain = load(replace(dataset.cases[0], drawn_slices=None), labels=dataset.labels)
    gaps = gaps_in(plain.masks[0], plain.geometry)
    assert gaps is not None
    assert (gaps.axis, gaps.slices) == (2, (2, 5, 8))


def test_check_says_so_with_the_lines_that_settle_it_and_they_do(tmp_path: Path) -> None:
    root = scans(tmp_path, CLASSES + GROUP)
    before = (root / "scantling.toml").read_text()
    (found,) = [finding for finding in check(open_dataset(root)).findings if finding.kind == "partly drawn"]
    assert found.level == "warning"
    assert len(found.cases) == 4
    assert "one slice in 5 along axis 2 (1, 6, 11)" in found.sentence
    assert np.array_equal(np.unique(loaded(root).masks[0]), [0, 1]), "nothing is changed in silence"
    for line in ('drawn_slices = "marked"', "drawn_axis = 2"):
        assert f"'{line}'" in found.sentence
        before += line + "\n"
    (root / "scantling.toml").write_text(before)
    (found,) = [finding for finding in check(open_dataset(root)).findings if finding.kind == "partly drawn"]
    assert found.level == "note"
    assert f"{3 / 16:.2%} of the pixels of 4 masks are known" in found.sentence
    (root / "scantling.toml").write_text(CLASSES + GROUP)
    scans(root, CLASSES + GROUP, everywhere=True)
    assert not [finding for finding in check(open_dataset(root)).findings if finding.kind == "partly drawn"]


def reader_of(root: Path, *, patch: tuple[int, ...], dimensions: int = 3, foreground: float = 0.3) -> Reader:
    dataset: Dataset = open_dataset(root)
    kind, traits = implementation_of(CARDS[METHODS[dimensions]]), measure_traits(dataset)
    settings = kind.Settings.preset("tiny").resolve(traits)
    stream = Stream(name="labelled", batch=4, patch=patch, foreground=foreground)
    stage: Stage = SimpleNamespace(name="train", streams=(stream,))  # type: ignore[assignment]
    return readers_of(stage, build(kind, settings, traits), dataset, seed=0)["labelled"]


@pytest.mark.parametrize("foreground", [0.0, 0.5])
def test_every_patch_of_a_volume_holds_something_known_anywhere_in_it(tmp_path: Path, foreground: float) -> None:
    reader = reader_of(scans(tmp_path, WAYS["slices"]), patch=(8, 8, 3), foreground=foreground)
    places = []
    for step in range(20):
        known = reader.batch(step).mask != IGNORE
        assert known.flatten(1).any(1).all()
        places += known.any(1).any(1).any(1).nonzero()[:, 1].tolist()
    assert set(places) == {0, 1, 2}, "not always in the middle of the patch"
    again = reader_of(tmp_path, patch=(8, 8, 3), foreground=foreground)
    assert torch.equal(reader.batch(7).image, again.batch(7).image)


def test_a_method_in_two_dimensions_reads_drawn_slices_alone(tmp_path: Path) -> None:
    root = scans(tmp_path, WAYS["slices"])
    reader = reader_of(root, patch=(16, 16), dimensions=2)
    assert len(reader.places) == 4 * SHAPE[2]
    seen = set()
    for step in range(20):
        batch = reader.batch(step)
        assert (batch.mask != IGNORE).flatten(1).any(1).all()
        seen |= {reader.places[position].slice for position in batch.case.tolist()}
    assert seen == set(DRAWN)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_samples_of_what_is_all_known_are_those_of_data_that_say_nothing(tmp_path: Path, dimensions: int) -> None:
    plain = scans(tmp_path / "a", CLASSES + GROUP, everywhere=True)
    said = scans(tmp_path / "b", "ignore = 9\n" + CLASSES + GROUP + 'drawn_slices = ["0-15"]\n', everywhere=True)
    patch = (8, 8, 4)[:dimensions] if dimensions == 3 else (16, 16)
    one, two = (reader_of(root, patch=patch, dimensions=dimensions) for root in (plain, said))
    for step in range(5):
        first, second = one.batch(step), two.batch(step)
        assert torch.equal(first.image, second.image)
        assert torch.equal(first.mask, second.mask)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_weights_do_not_depend_on_what_stands_where_nothing_was_drawn(tmp_path: Path, dimensions: int) -> None:
    options = Options(preset="tiny", steps=2, validation=0.25, select="best")
    weights = []
    for name, everywhere in (("a", False), ("b", True)):
        root = scans(tmp_path / name, WAYS["slices"], everywhere=everywhere)
        train(METHODS[dimensions], [root], tmp_path / f"run-{name}", options, console=quiet())
        weights.append((tmp_path / f"run-{name}/model/weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_scores_do_not_depend_on_answers_where_nothing_was_drawn(tmp_path: Path) -> None:
    root = scans(tmp_path / "data", WAYS["slices"], count=1)
    found = []
    for name, wrong in (("good", False), ("wild", True)):
        answer, maps = tube(0).copy(), np.where(tube(0), 0.8, 0.1).astype(np.float32)
        answer[2:5], maps[2:5] = 1, 0.7  # wrong in drawn slices too
        undrawn = np.setdiff1d(np.arange(SHAPE[2]), DRAWN)
        if wrong:
            answer[..., undrawn], maps[..., undrawn] = 1 - answer[..., undrawn], 1 - maps[..., undrawn]
        save(tmp_path / name / "v0.nii.gz", answer)
        save(tmp_path / name / "maps/v0.nii.gz", maps)
        scored = evaluate(tmp_path / name, root, split="all", probabilities=tmp_path / name / "maps")
        assert not scored.failed
        found.append(json.dumps([dict(scored.mean), scored.facts()["reliability"]]))
    assert found[0] == found[1]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_answers_far_from_the_drawn_slices_are_as_good_as_near_them(tmp_path: Path, dimensions: int) -> None:
    root = scans(tmp_path / "data", WAYS["slices"])
    options = Options(
        preset="tiny", steps={2: 30, 3: 50}[dimensions], settings={"rate": {2: 2e-2, 3: 5e-2}[dimensions]},
        augment="none", validation=0.0, threads=1,
    )  # fmt: skip
    train(METHODS[dimensions], [root], tmp_path / "run", options, console=quiet())
    predict(tmp_path / "run", root, out=tmp_path / "out", split="all")
    near, far = [], []
    for number in range(4):
        answer, truth = np.asarray(nib.load(tmp_path / f"out/v{number}.nii.gz").dataobj) > 0, tube(number) > 0
        for z in range(SHAPE[2]):
            both = 2 * (answer[..., z] & truth[..., z]).sum() / (answer[..., z].sum() + truth[..., z].sum())
            (near if z in DRAWN else far).append(both)
    assert np.mean(far) > 0.7
    assert abs(np.mean(near) - np.mean(far)) < 0.1


def test_a_mask_that_says_nothing_is_said_and_ends_no_training(tmp_path: Path) -> None:
    root = scans(tmp_path / "data", WAYS["known"])
    facts = train("unet", [root], tmp_path / "one", Options(preset="tiny", steps=1, validation=0.5), console=quiet())
    for id in (facts["split"]["validation"][0], facts["split"]["train"][0]):
        save(root / f"known/{id}.nii.gz", np.zeros(SHAPE, np.uint8))
    (found,) = [finding for finding in check(open_dataset(root)).findings if finding.kind == "unknown mask"]
    assert len(found.cases) == 2
    options = Options(preset="tiny", steps=4, validation=0.5, select="best")
    assert train("unet", [root], tmp_path / "two", options, console=quiet())["finished"]


@pytest.mark.parametrize("slices", ["[1, 6, 11]", '"marked"'])
@pytest.mark.parametrize(("image", "mask"), [("LPS", "RAS"), ("SRA", "LAS"), ("RAS", "PIR"), ("IPL", "")])
def test_slices_are_those_of_the_image_file_however_the_mask_is_stored_and_whether_the_image_is_read(
    tmp_path: Path, image: str, mask: str, slices: str
) -> None:
    root = scans(tmp_path, CLASSES + GROUP + f"drawn_slices = {slices}\n", count=1)
    scan, tubes = (nib.load(root / f"{kind}/v0.nii.gz") for kind in ("images", "masks"))
    turned, drawn_as = in_order(scan, image), in_order(tubes, mask or image)
    axis = image.upper().index("I" if "I" in image else "S")
    drawn = np.moveaxis(np.asanyarray(in_order(tubes, image).dataobj), axis, 0).any(axis=(1, 2))
    listed = np.flatnonzero(drawn).tolist() if slices != '"marked"' else slices
    (root / "scantling.toml").write_text(CLASSES + GROUP + f"drawn_slices = {listed}\ndrawn_axis = {axis}\n")
    nib.save(turned, root / "images/v0.nii.gz")
    (root / "masks/v0.nii.gz").unlink()
    if mask:
        nib.save(drawn_as, root / "masks/v0.nii.gz")
    else:  # an array without a place lies in the order of the image's file
        np.save(root / "masks/v0.npy", np.asanyarray(drawn_as.dataobj))
        manifest = (root / "scantling.toml").read_text().replace("masks/{id}.nii.gz", "masks/{id}.npy")
        (root / "scantling.toml").write_text(manifest)
    dataset = open_dataset(root)
    whole = load(dataset.cases[0], labels=dataset.labels, reads=("image", "mask"))
    alone = load(dataset.cases[0], labels=dataset.labels, reads=("mask",))
    known = (whole.masks[0][0] != IGNORE).any(axis=(0, 1))
    assert np.flatnonzero(known).tolist() == list(DRAWN)  # the scans of `scans` are stored as RAS
    found, _ = place(alone.masks[0], alone.geometry, whole.geometry, where="alone", reference="whole")
    assert np.array_equal(found, whole.masks[0])


def in_order(image: Any, codes: str) -> Any:
    """The same volume, stored in another orientation by nibabel."""
    image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    return image.as_reoriented(ornt_transform(nib.io_orientation(image.affine), axcodes2ornt(codes)))
