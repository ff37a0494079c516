"""Probability maps of every form are one array, and what is no map is refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from scantling.core.case import Address, Geometry
from scantling.core.errors import ScantlingError
from scantling.data.files import write_labels
from scantling.data.probability_maps import read_probabilities
from scantling.evaluation import evaluate
from scantling.inference import mend_folder

SIZE = (20, 30)
ONE = np.random.default_rng(0).uniform(size=SIZE).astype(np.float32)
THREE = np.random.default_rng(1).dirichlet((1, 1, 1, 1), SIZE).astype(np.float32)[..., 1:].transpose(2, 0, 1)
"""Three classes that exclude each other, (3, *SIZE); with the background they add up to 1."""
WITH_BACKGROUND = np.concatenate([1 - THREE.sum(0, keepdims=True), THREE])
EIGHT, SIXTEEN = (ONE * 255).round().astype(np.uint8), (ONE * 65535).round().astype(np.uint16)


def saved(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array)
    elif path.suffix in (".png", ".jpg"):
        Image.fromarray(array).save(path)
    else:
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    return path


@pytest.mark.parametrize("suffix", ["npy", "tif", "png"])
@pytest.mark.parametrize("array", [ONE, ONE.astype(np.float64), EIGHT, SIXTEEN], ids=["f4", "f8", "u1", "u2"])
def test_a_map_of_one_class_is_the_same_from_every_file(tmp_path: Path, suffix: str, array: np.ndarray) -> None:
    if suffix == "png" and array.dtype.kind == "f":
        pytest.skip("a PNG holds no floats")
    found, _ = read_probabilities(Address(saved(tmp_path / f"a.{suffix}", array)), classes=1, shape=SIZE)
    assert found.dtype == np.float32
    assert found.shape == (1, *SIZE)
    assert np.abs(found[0] - ONE).max() <= (0 if array.dtype.kind == "f" else 0.51 / 255)


@pytest.mark.parametrize("classes", [3, None])
@pytest.mark.parametrize("shape", [SIZE, None])
@pytest.mark.parametrize(
    "array",
    [WITH_BACKGROUND, np.moveaxis(WITH_BACKGROUND, 0, -1), (WITH_BACKGROUND * 65535).round().astype(np.uint16)],
    ids=["first", "last", "u2"],
)
def test_several_classes_lose_the_background_whose_sum_tells(
    tmp_path: Path, array: np.ndarray, shape: tuple[int, ...] | None, classes: int | None
) -> None:
    path = saved(tmp_path / "a.npy", array)
    found, geometry = read_probabilities(Address(path), classes=classes, shape=shape)
    assert geometry.shape == SIZE
    assert geometry.container == "raster"
    assert np.abs(found - THREE).max() < 1e-4


def test_several_classes_without_a_background_and_in_colours_and_volumes(tmp_path: Path) -> None:
    found, _ = read_probabilities(Address(saved(tmp_path / "a.npy", THREE)), classes=3, shape=SIZE)
    assert np.array_equal(found, THREE)
    colours = np.floor(THREE * 255).astype(np.uint8).transpose(1, 2, 0)
    found, _ = read_probabilities(Address(saved(tmp_path / "a.png", colours)), classes=3)
    assert np.abs(found - THREE).max() < 0.004
    tifffile.imwrite(tmp_path / "d.tif", np.moveaxis(np.sqrt(THREE), 0, -1), photometric="rgb")  # classes that overlap
    assert np.array_equal(read_probabilities(Address(tmp_path / "d.tif"), classes=3)[0], np.sqrt(THREE))
    tifffile.imwrite(tmp_path / "e.tif", THREE, photometric="minisblack")  # a page each
    assert np.array_equal(read_probabilities(Address(tmp_path / "e.tif"), classes=3)[0], THREE)
    grey, _ = read_probabilities(Address(saved(tmp_path / "b.png", np.stack([EIGHT] * 3, -1))))
    assert grey.shape == (1, *SIZE)
    volume = np.random.default_rng(2).dirichlet((1, 1, 1), (6, 7, 8)).astype(np.float32)  # (X, Y, Z, classes)
    found, geometry = read_probabilities(Address(saved(tmp_path / "c.nii.gz", volume)), classes=2)
    assert geometry.spacing == (2.0, 2.0, 3.0)
    assert np.array_equal(found, volume.transpose(3, 0, 1, 2)[1:])


def test_a_volume_without_numbers_around_it_is_0_there(tmp_path: Path) -> None:
    volume = np.random.default_rng(2).uniform(size=(6, 7, 8)).astype(np.float32)
    volume[:2] = np.nan
    found, _ = read_probabilities(Address(saved(tmp_path / "a.nii.gz", volume)))
    assert not found[0, :2].any()
    assert np.array_equal(found[0, 2:], volume[2:])


def test_what_was_rounded_is_cut(tmp_path: Path) -> None:
    array = ONE.copy()
    array[0, :2] = -1e-6, 1 + 1e-6
    found, _ = read_probabilities(Address(saved(tmp_path / "a.npy", array)))
    assert found.min() == 0
    assert found.max() == 1


MASK = np.zeros(SIZE, np.uint8)
MASK[5:9, 5:20] = 1
REFUSED = {
    "mask.png": (MASK * 255, "is a mask of the values 0, 255"),
    "ones.png": (MASK, "is a mask of the values 0, 1"),
    "classes.png": (MASK + np.eye(*SIZE, dtype=np.uint8), "is a mask of the values 0, 1, 2"),
    "floats.npy": (MASK.astype(np.float32), "is a mask of zeros and ones"),
    "one_hot.npy": (np.stack([1 - MASK, MASK]).astype(np.float32), "is a mask of zeros and ones"),
    "bool.npy": (MASK.astype(bool), "is a mask of the values 0, 1"),
    "colour.png": (np.random.default_rng(3).integers(0, 256, (*SIZE, 3), np.uint8), "is a picture in colour"),
    "colour.jpg": (np.random.default_rng(3).integers(0, 60, (*SIZE, 3), np.uint8), "is a picture in colour"),
    "logits.npy": (np.random.default_rng(3).normal(size=SIZE).astype(np.float32), "if these are logits"),
    "scaled.npy": (EIGHT.astype(np.float32), "divide them by 255"),
    "percent.npy": (ONE * 100, "scale the maps"),
    "signed.npy": ((ONE * 1000).astype(np.int16), "holds numbers of type int16"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_map_is_refused_alike_by_mend_and_evaluate(tmp_path: Path, name: str) -> None:
    array, told = REFUSED[name]
    path = saved(tmp_path / "maps" / f"a{Path(name).suffix}", array)
    with pytest.raises(ScantlingError, match=told):
        read_probabilities(Address(path))
    with pytest.raises(ScantlingError, match=told):  # it is the only one
        mend_folder(path.parent, tmp_path / "out", {"rule": "hysteresis"})
    for side in ("t", "p"):
        (tmp_path / side).mkdir()
        write_labels(tmp_path / side, "a", MASK * 255, Geometry(shape=SIZE, spacing=(1.0, 1.0)))
    failed = evaluate(tmp_path / "p", tmp_path / "t", probabilities=path.parent).failed
    assert [one.id for one in failed] == ["a"]
    assert told in failed[0].error


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.png"])
def test_mend_and_evaluate_take_the_same_maps(tmp_path: Path, name: str) -> None:
    soft = np.where(MASK, 0.9, 0.05).astype(np.float32) + 0.02 * ONE
    saved(tmp_path / "maps" / name, (soft * 65535).astype(np.uint16) if name == "a.png" else soft)
    for side in ("t", "p"):
        (tmp_path / side).mkdir()
        write_labels(tmp_path / side, "a", MASK * 255, Geometry(shape=SIZE, spacing=(1.0, 1.0)))
    assert evaluate(tmp_path / "p", tmp_path / "t", probabilities=tmp_path / "maps").mean["auc"] == 1
    done, _, _ = mend_folder(tmp_path / "maps", tmp_path / "out", {"rule": "hysteresis"})
    assert not done.failed
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")) > 0, MASK > 0)
