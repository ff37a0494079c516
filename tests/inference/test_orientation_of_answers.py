"""A model answers a volume alike however its file stores it, and the answer is stored as the file is."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from rich.console import Console

from made import blobs
from scantling.data.dataset import open_dataset
from scantling.data.traits import measure_traits
from scantling.evaluation import evaluate
from scantling.inference import mend_folder, predict, register
from scantling.methods import catalogue
from scantling.records.predictions import PredictionsRecord
from scantling.records.record import read_record
from scantling.records.registrations import read_registrations
from scantling.training import Options, train
from toys_registration import CARD

AFFINE = np.diag([1.0, 1.2, 2.5, 1.0])
AFFINE[:3, 3] = (-16, 4, 9)
STORED = ("RAS", "LAS", "LPS", "SRA", "PIL")


def stored_as(array: np.ndarray, codes: str) -> nib.Nifti1Image:
    image = nib.Nifti1Image(array, AFFINE)
    return image.as_reoriented(ornt_transform(io_orientation(AFFINE), axcodes2ornt(tuple(codes))))


def in_ras(path: Path) -> np.ndarray:
    """What a file holds, turned by nibabel."""
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Volumes and masks to train on, and one volume in five orientations with its mask in another."""
    folder, generator = tmp_path_factory.mktemp("volumes"), np.random.default_rng(0)
    for part in ("train/images", "train/masks", "test/images", "test/masks"):
        (folder / part).mkdir(parents=True)
    for number in range(4):
        mask = blobs((18, 20, 16), generator, 1)
        image = (60 + 60 * mask + generator.normal(0, 15, mask.shape)).clip(0, 255).astype(np.uint8)
        if number < 3:
            nib.save(stored_as(image, "RAS"), folder / f"train/images/case{number}.nii.gz")
            nib.save(stored_as(mask, "RAS"), folder / f"train/masks/case{number}.nii.gz")
            continue
        for place, codes in enumerate(STORED):
            nib.save(stored_as(image, codes), folder / f"test/images/{codes}.nii.gz")
            nib.save(stored_as(mask, STORED[place - 1]), folder / f"test/masks/{codes}.nii.gz")
    return folder


@pytest.mark.parametrize("method", ["unet", "fr-unet"], ids=["3-D", "2-D"])
def test_a_prediction_does_not_depend_on_how_the_volume_is_stored(folder: Path, tmp_path: Path, method: str) -> None:
    options = Options(preset="tiny", seed=2, validation=0.0, steps=2)
    train(method, [folder], tmp_path / "run", options, console=Console(quiet=True))
    done = predict(tmp_path / "run", folder, out=tmp_path / "out", probabilities=True)
    assert not done.failed
    record = read_record(PredictionsRecord, tmp_path / "out" / "predictions.json")
    assert sorted(case.id for case in record.cases) == sorted(STORED)
    maps = tmp_path / "out" / "probabilities"
    mend_folder(maps, tmp_path / "mended", {"rule": "hysteresis"})
    for codes in STORED:
        own = nib.load(folder / f"test/images/{codes}.nii.gz")
        for path in (tmp_path / "out", maps, tmp_path / "mended"):
            answer = nib.load(path / f"{codes}.nii.gz")
            assert answer.shape == own.shape
            np.testing.assert_array_equal(answer.affine, own.affine)
            np.testing.assert_array_equal(in_ras(path / f"{codes}.nii.gz"), in_ras(path / "RAS.nii.gz"))
    found = evaluate(tmp_path / "out", folder, split="test")
    dice = [case.scores.mean["dice"] for case in found.cases]
    assert len(dice) == len(STORED)
    assert max(dice) == min(dice)


def test_a_registration_does_not_depend_on_how_the_volumes_are_stored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalogue.CARDS, CARD.name, CARD)
    train(CARD.name, [folder], tmp_path / "run", Options(validation=0.0), console=Console(quiet=True))
    moving = folder / "train/images/case0.nii.gz"
    found = {}
    for codes in ("RAS", "LPS", "PIL"):
        out = tmp_path / codes
        fixed = folder / f"test/images/{codes}.nii.gz"
        register(tmp_path / "run", fixed, moving, out=out)
        (case,) = read_registrations(out).cases
        path = out / str(case.files[0].image)
        np.testing.assert_array_equal(nib.load(path).affine, nib.load(fixed).affine)
        found[codes] = in_ras(path)
        np.testing.assert_allclose(found[codes], found["RAS"], atol=1e-3)


def test_traits_do_not_depend_on_how_the_volumes_are_stored(folder: Path, tmp_path: Path) -> None:
    found = []
    for codes in ("RAS", "SLP"):
        for part in ("images", "masks"):
            (tmp_path / codes / part).mkdir(parents=True)
            for path in (folder / "train" / part).iterdir():
                nib.save(stored_as(in_ras(path), codes), tmp_path / codes / part / path.name)
        found.append(measure_traits(open_dataset(tmp_path / codes)))
    ras, slp = found
    assert ras.slice_axis == slp.slice_axis == 2
    assert ras.model_copy(update={"storage": None}) == slp.model_copy(update={"storage": None})
    assert ras.storage is not None
    assert slp.storage is not None
    np.testing.assert_allclose(ras.storage.affine, slp.storage.affine, atol=1e-5)  # type: ignore[arg-type]
    assert (slp.storage.axes, slp.storage.flips) == ((1, 2, 0), (True, True, False))
