"""`dataset.json` of nnU-Net's first version and of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scantling.core.errors import FileError
from scantling.data.dataset import open_dataset
from scantling.data.loading import load


def volume(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def described(root: Path, channels: dict[str, str], **more: object) -> Path:
    facts = {"name": "heart", "modality": channels, "labels": {"0": "background", "1": "atrium", "2": "wall"}, **more}
    (root / "dataset.json").write_text(json.dumps(facts))
    return root


def test_a_decathlon_folder_is_read_with_all_channels_of_a_file(tmp_path: Path) -> None:
    mask = np.zeros((6, 7, 5), np.uint8)
    mask[1, 2, 3], mask[4, 4, 4] = 1, 2
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 99, (6, 7, 5, 2)).astype(np.int16)
        volume(tmp_path / "imagesTr" / f"heart_{number:03d}.nii.gz", image)
        volume(tmp_path / "labelsTr" / f"heart_{number:03d}.nii.gz", mask)
    (tmp_path / "imagesTr" / "._heart_000.nii.gz").write_bytes(b"what a Mac leaves behind")
    dataset = open_dataset(described(tmp_path, {"0": "FLAIR", "1": "T1"}, numTraining=3))
    assert [case.id for case in dataset.cases] == ["heart_000", "heart_001", "heart_002"]
    assert dataset.labels is not None
    assert (dataset.labels.names, dataset.labels.values) == (("atrium", "wall"), ((1,), (2,)))
    sample = load(dataset.cases[0], labels=dataset.labels)
    assert sample.image.shape == (2, 6, 7, 5)
    assert np.array_equal(sample.masks[0][0], mask)


def test_a_folder_of_the_first_nnunet_is_read_with_a_file_for_each_channel(tmp_path: Path) -> None:
    for number in range(2):
        for channel in range(2):
            volume(
                tmp_path / "imagesTr" / f"case{number}_{channel:04d}.nii.gz", np.full((4, 5, 6), 10 * channel, np.int16)
            )
        volume(tmp_path / "labelsTr" / f"case{number}.nii.gz", np.eye(4, 5, dtype=np.uint8)[..., None].repeat(6, 2))
    dataset = open_dataset(described(tmp_path, {"0": "CT", "1": "PET"}))
    assert [sorted(case.images) for case in dataset.cases] == [["CT", "PET"]] * 2
    assert all(case.masks for case in dataset.cases)


def test_a_description_of_neither_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background"}}')
    with pytest.raises(FileError, match="expected channel_names, labels and file_ending, or modality and labels"):
        open_dataset(tmp_path)
