"""Volumes of all packages are answered as the file that holds them, and the answer lies where the image does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from api.untrained import untrained
from made import blobs, images_for
from scantling import load_model
from scantling.api.models import Model
from scantling.core.errors import DataError
from scantling.inference import predict
from scantling.methods.catalogue import CARDS

AFFINE = np.array([[0, 0, -2.5, 30], [-1.2, 0, 0, 8], [0, 1.0, 0, -4], [0, 0, 0, 1]], float)
"""From indices to the posterior, the head and the left: an order that no file of the training has."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volumes")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    data = images_for(CARDS["unet"], folder / "data", dimensions=3)
    return untrained("unet", data, folder / "run", seed=3)


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load_model(run)


@pytest.fixture(scope="module")
def volume(folder: Path) -> Path:
    """A file with 16 bits in another order of axes."""
    generator = np.random.default_rng(5)
    array = 300 * blobs((20, 17, 15), generator, 1).astype(np.int16) + generator.integers(-99, 99, (20, 17, 15))
    nib.save(nib.Nifti1Image(array.astype(np.int16), AFFINE), folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


@pytest.fixture(scope="module")
def written(run: Path, volume: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The mask and the probabilities of the command, axes as the file has them."""
    done = predict(run, volume, out=folder / "out", probabilities=True)
    assert not done.failed
    mask, map_ = (nib.load(folder / "out" / name / "scan.nii.gz") for name in ("", "probabilities"))
    np.testing.assert_allclose(mask.affine, AFFINE)
    return np.asarray(mask.dataobj), np.asarray(map_.dataobj)


def test_the_file_and_its_array_with_an_affine(
    model: Model, volume: Path, written: tuple[np.ndarray, np.ndarray]
) -> None:
    array = np.asarray(nib.load(volume).dataobj)
    for x, how in (
        (volume, {}),
        (array, {"affine": AFFINE}),
        (array[None], {"affine": AFFINE}),
        (torch.from_numpy(array.copy()), {"affine": torch.from_numpy(AFFINE)}),
    ):
        answer = model.predict(x, **how)
        np.testing.assert_array_equal(answer.mask, written[0])
        np.testing.assert_array_equal(answer.probabilities[0], written[1])
        np.testing.assert_allclose(answer.affine, AFFINE)
        np.testing.assert_allclose(answer.spacing, (1.2, 1.0, 2.5))
        assert not any("affine" in note for note in answer.notes)


def test_an_array_without_an_affine_is_said_to_be_taken_as_right_front_and_head(model: Model) -> None:
    array = np.random.default_rng(0).normal(size=(20, 17, 15)).astype(np.float32)
    answer = model.predict(array, spacing=(1, 1, 2))
    np.testing.assert_array_equal(answer.mask, model.predict(array, affine=np.diag([1.0, 1, 2, 1])).mask)
    assert any("without an affine" in note for note in answer.notes)
    assert answer.spacing == (1, 1, 2)


def test_an_image_of_nibabel(model: Model, volume: Path, written: tuple[np.ndarray, np.ndarray]) -> None:
    image = nib.load(volume)
    answer = model.predict(image)
    assert isinstance(answer.mask, nib.Nifti1Image)
    np.testing.assert_array_equal(np.asarray(answer.mask.dataobj), written[0])
    np.testing.assert_array_equal(np.asarray(answer.probabilities.dataobj)[..., 0], written[1])
    np.testing.assert_allclose(answer.mask.affine, AFFINE)
    assert answer.mask.header.get_zooms() == image.header.get_zooms()
    moved = nib.Nifti1Image(
        np.asarray(image.dataobj)[::-1], AFFINE @ [[-1, 0, 0, 19], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    np.testing.assert_array_equal(np.asarray(model.predict(moved).mask.dataobj)[::-1], written[0])


def test_a_scaled_file_of_nibabel_is_read_as_the_door_reads_it(model: Model, volume: Path, tmp_path: Path) -> None:
    image = nib.load(volume)
    image.header.set_slope_inter(0.37, -11)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * 0.37 - 11, AFFINE, image.header), tmp_path / "scaled.nii")
    assert nib.load(tmp_path / "scaled.nii").dataobj.slope != 1
    answer = model.predict(nib.load(tmp_path / "scaled.nii"))
    expected = model.predict(tmp_path / "scaled.nii")
    np.testing.assert_array_equal(np.asarray(answer.probabilities.dataobj)[..., 0], expected.probabilities[0])


def test_an_image_of_simpleitk(model: Model, volume: Path, written: tuple[np.ndarray, np.ndarray]) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    image = sitk.ReadImage(str(volume))
    answer = model.predict(image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(answer.mask).transpose(2, 1, 0), written[0])
    map_ = sitk.GetArrayFromImage(answer.probabilities)
    np.testing.assert_array_equal(map_.transpose(2, 1, 0), written[1])
    for given in (answer.mask, answer.probabilities):
        assert (given.GetOrigin(), given.GetSpacing()) == (image.GetOrigin(), image.GetSpacing())
        assert given.GetDirection() == image.GetDirection()


@pytest.mark.filterwarnings("ignore:NvImgCodec")  # a reader of MONAI that is made and not used
def test_a_metatensor_keeps_its_affine_its_meta_data_and_its_history(
    model: Model, volume: Path, written: tuple[np.ndarray, np.ndarray]
) -> None:
    from monai.transforms import Flip, LoadImage

    image = LoadImage(reader="NibabelReader", ensure_channel_first=True, dtype=torch.int16)(volume)
    answer = model.predict(image)
    np.testing.assert_array_equal(answer.mask[0].numpy(), written[0])
    np.testing.assert_array_equal(answer.probabilities[0].numpy(), written[1])
    assert isinstance(answer.mask, type(image))
    np.testing.assert_allclose(answer.mask.affine, AFFINE)
    assert answer.mask.meta["filename_or_obj"] == str(volume)
    flip = Flip(0)
    mirrored = model.predict(flip(image))  # the flip stands in its affine, and is undone in the answer
    np.testing.assert_array_equal(flip.inverse(mirrored.mask)[0].numpy(), written[0])


def test_an_image_and_a_subject_of_torchio(model: Model, volume: Path, written: tuple[np.ndarray, np.ndarray]) -> None:
    tio = pytest.importorskip("torchio", reason="TorchIO is not installed")
    image = tio.ScalarImage(volume)
    for x in (image, tio.Subject(scan=image, age=3, seg=tio.LabelMap(volume))):
        answer = model.predict(x)
        assert isinstance(answer.mask, tio.LabelMap)
        np.testing.assert_array_equal(answer.mask.numpy()[0], written[0])
        np.testing.assert_array_equal(answer.probabilities.numpy()[0], written[1])
        np.testing.assert_allclose(answer.mask.affine, AFFINE)
    two = tio.Subject(t1=image, t2=image)
    with pytest.raises(DataError, match="found the images t1, t2"):
        model.predict(two)


def test_what_does_not_lie_anywhere_is_refused(model: Model, volume: Path) -> None:
    array = np.ones((20, 17, 15), np.float32)
    with pytest.raises(DataError, match=r"affine: its affine is not finite or singular; expected finite axes"):
        model.predict(array, affine=np.zeros((4, 4)))
    with pytest.raises(DataError, match="says itself how it lies"):
        model.predict(nib.load(volume), affine=AFFINE)
    with pytest.raises(DataError, match="2 axes longer than 1; the model takes images of 3"):
        model.predict(np.ones((1, 17, 15), np.float32))
    with pytest.raises(DataError, match="the model takes images"):
        model.predict(np.ones((17, 15), np.float32))


def test_channels_in_files_of_their_own_come_by_name(folder: Path, tmp_path: Path) -> None:
    tio = pytest.importorskip("torchio", reason="TorchIO is not installed")
    generator, data = np.random.default_rng(2), tmp_path / "data"
    for part in ("imagesTr", "labelsTr"):
        (data / part).mkdir(parents=True)
    for number in range(3):
        for channel in range(2):
            array = generator.normal(50 * channel, 9, (12, 14, 10)).astype(np.float32)
            nib.save(nib.Nifti1Image(array, AFFINE), data / f"imagesTr/c{number}_000{channel}.nii.gz")
        mask = nib.Nifti1Image(blobs((12, 14, 10), generator, 1), AFFINE)
        nib.save(mask, data / f"labelsTr/c{number}.nii.gz")
    (data / "dataset.json").write_text(
        '{"channel_names": {"0": "flair", "1": "t1"}, "labels": {"background": 0, "lesion": 1}, "numTraining": 3, '
        '"file_ending": ".nii.gz"}'
    )
    run = untrained("unet", data, tmp_path / "run")
    done = predict(run, data, out=tmp_path / "out", split="all")
    assert not done.failed
    expected = np.asarray(nib.load(tmp_path / "out" / "c1.nii.gz").dataobj)
    model, paths = load_model(run), [data / f"imagesTr/c1_000{channel}.nii.gz" for channel in range(2)]
    flair, t1 = (nib.load(path) for path in paths)
    given: list[tuple[Any, dict[str, Any]]] = [
        ({"t1": t1, "flair": flair}, {}),
        (tio.Subject(flair=tio.ScalarImage(paths[0]), t1=tio.ScalarImage(paths[1])), {}),
        (np.stack([np.asarray(flair.dataobj), np.asarray(t1.dataobj)], -1), {"affine": AFFINE}),
    ]
    for x, how in given:
        mask = model.predict(x, **how).mask
        array = mask if isinstance(mask, np.ndarray) else mask.numpy()[0] if hasattr(mask, "numpy") else mask.dataobj
        np.testing.assert_array_equal(np.asarray(array), expected)
    with pytest.raises(DataError, match="found the images t1, ct; expected the channels flair, t1"):
        model.predict({"t1": t1, "ct": flair})
