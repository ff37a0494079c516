"""A data set as nnU-Net's raw data: its own rules hold, and nothing of the labels is lost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from scantling.core.errors import DataError, SettingsError
from scantling.data.dataset import open_dataset
from scantling.data.loading import load
from scantling.data.nnunet_export import Exported, export_nnunet
from scantling.evaluation import evaluate

AFFINE = np.array([[-1.5, 0, 0, 10], [0, 1.0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]], float)


def png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def volume(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def array_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)) if path.suffix == ".png" else np.asarray(nib.load(path).dataobj)


def checked(done: Exported) -> dict[str, Any]:
    """`dataset.json`, after what nnU-Net's integrity check asks of such a folder."""
    assert re.fullmatch(r"Dataset\d{3}_[A-Za-z0-9-]+", done.folder.name)
    facts: dict[str, Any] = json.loads((done.folder / "dataset.json").read_text())
    ending, channels = facts["file_ending"], facts["channel_names"]
    listed = [
        value for values in facts["labels"].values() for value in (values if isinstance(values, list) else [values])
    ]
    assert sorted(set(listed)) == list(range(max(listed) + 1)), "labels are consecutive"
    if "ignore" in facts["labels"]:
        assert facts["labels"]["ignore"] == max(listed)
    cases = {re.sub(r"_\d{4}$", "", path.name.removesuffix(ending)) for path in (done.folder / "imagesTr").iterdir()}
    assert len(cases) == facts["numTraining"] == done.training
    assert {path.name.removesuffix(ending) for path in (done.folder / "labelsTr").iterdir()} == cases
    for id in cases:
        mask = array_of(done.folder / "labelsTr" / f"{id}{ending}")
        assert {*np.unique(mask).tolist()} <= {*listed}
        files = [done.folder / "imagesTr" / f"{id}_{number:04d}{ending}" for number in range(len(channels))]
        arrays = [array_of(file) for file in files if file.is_file()]
        together = len(arrays) == 1 and arrays[0].ndim == 3 and ending == ".png"
        assert (arrays[0].shape[-1] if together else len(arrays)) == len(channels)
        for array, file in zip(arrays, files, strict=False):
            assert (array.shape[:2] if together else array.shape) == mask.shape
            if ending != ".png":
                assert np.array_equal(
                    nib.load(file).affine, nib.load(done.folder / "labelsTr" / f"{id}{ending}").affine
                )
    return facts


def pictures(root: Path, *, colour: bool = True, value: int = 255) -> Path:
    generator = np.random.default_rng(0)
    for part, number in (("train", 0), ("train", 1), ("validation", 2), ("test", 3)):
        shape = (12 + number, 15, 3) if colour else (12 + number, 15)
        png(root / part / "images" / f"a b{number}.png", generator.integers(0, 256, shape).astype(np.uint8))
        mask = np.zeros(shape[:2], np.uint8)
        mask[3:7, 4:9] = value
        png(root / part / "masks" / f"a b{number}.png", mask)
    return root


@pytest.mark.parametrize("colour", [True, False])
def test_pictures_are_written_as_nnunet_reads_pictures_and_read_back_alike(tmp_path: Path, colour: bool) -> None:
    source = open_dataset(pictures(tmp_path / "retinas", colour=colour))
    done = export_nnunet(source, tmp_path / "raw")
    facts = checked(done)
    assert facts["file_ending"] == ".png"
    assert len(facts["channel_names"]) == (3 if colour else 1)
    assert facts["labels"] == {"background": 0, "foreground": 1}
    assert json.loads((done.folder / "splits_final.json").read_text()) == [{"train": ["a b0", "a b1"], "val": ["a b2"]}]
    back = {case.id: case for case in open_dataset(done.folder).cases}
    assert (done.training, done.testing, len(back)) == (3, 1, 4)
    for case in source.cases:
        before = load(case, labels=source.labels)
        after = load(back[case.id], labels=open_dataset(done.folder).labels)
        assert np.array_equal(before.image, after.image)
        assert np.array_equal(before.masks[0], after.masks[0])


def test_volumes_keep_their_affine_and_channels_a_file_each(tmp_path: Path) -> None:
    for number in range(2):
        for channel in ("t1", "flair"):
            volume(tmp_path / "set" / f"{channel}_{number}.nii.gz", np.full((5, 6, 4), number, np.int16))
        volume(tmp_path / "set" / f"seg_{number}.nii.gz", np.arange(120).reshape(5, 6, 4).astype(np.uint8) % 3 * 4)
    (tmp_path / "set" / "scantling.toml").write_text(
        '[[group]]\npattern = "seg_{id}.nii.gz"\nimages = { t1 = "t1_{id}.nii.gz", flair = "flair_{id}.nii.gz" }\n'
        'masks = "seg_{id}.nii.gz"\n[classes]\nedema = 4\ncore = 8\n'
    )
    done = export_nnunet(open_dataset(tmp_path / "set"), tmp_path / "raw", number=7, name="Brain tumours")
    assert done.folder.name == "Dataset007_Brain-tumours"
    facts = checked(done)
    assert facts["channel_names"] == {"0": "t1", "1": "flair"}
    assert facts["labels"] == {"background": 0, "edema": 1, "core": 2}


def test_classes_that_overlap_become_regions_whose_order_rebuilds_them(tmp_path: Path) -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[1:9, 1:9], mask[3:7, 3:7], mask[4:6, 4:6] = 2, 1, 4
    for number in range(2):
        png(tmp_path / "set" / f"{number}.png", np.full((10, 10), 9, np.uint8))
        png(tmp_path / "set" / f"{number}_m.png", mask)
    (tmp_path / "set" / "scantling.toml").write_text(
        '[[group]]\npattern = "{id}_m.png"\nimages = "{id}.png"\nmasks = "{id}_m.png"\n'
        "[classes]\nenhancing = 4\nwhole = [1, 2, 4]\ncore = [1, 4]\n"
    )
    source = open_dataset(tmp_path / "set")
    done = export_nnunet(source, tmp_path / "raw")
    facts = checked(done)
    names = [name for name in facts["labels"] if name != "background"]
    assert names == ["whole", "core", "enhancing"]
    label = array_of(next((done.folder / "labelsTr").iterdir()))
    rebuilt = np.zeros_like(label)
    for name, value in zip(names, facts["regions_class_order"], strict=True):
        rebuilt[np.isin(label, facts["labels"][name])] = value
    assert np.array_equal(rebuilt, label)
    assert source.labels is not None
    before = load(source.cases[0], labels=source.labels).masks[0]
    for name, layer in zip(source.labels.names, before, strict=True):
        assert np.array_equal(np.isin(label, facts["labels"][name]), layer == 1)


def test_scribbles_are_known_where_they_are_and_cases_without_labels_are_said(tmp_path: Path) -> None:
    scribble = np.full((8, 8), 9, np.uint8)
    scribble[2, 2:5], scribble[6, 1:7] = 1, 0
    for number in range(3):
        png(tmp_path / "set" / "i" / f"{number}.png", np.full((8, 8), 9, np.uint8))
    png(tmp_path / "set" / "s" / "0.png", scribble)
    (tmp_path / "set" / "scantling.toml").write_text(
        'ignore = 9\n[[group]]\npattern = "i/{id}.png"\nscribbles = "s/{id}.png"\nsplit = "train"\n'
        "[classes]\nlesion = 1\n"
    )
    done = export_nnunet(open_dataset(tmp_path / "set"), tmp_path / "raw")
    facts = checked(done)
    assert facts["labels"] == {"background": 0, "lesion": 1, "ignore": 2}
    assert np.array_equal(array_of(done.folder / "labelsTr" / "0.png"), np.where(scribble == 9, 2, scribble))
    assert any("2 training cases without a mask" in note for note in done.notes)


def test_pictures_of_real_numbers_become_nifti_of_one_slice(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / "set" / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 7), number + 0.5, np.float32)).save(tmp_path / "set" / "images" / f"{number}.tif")
        png(tmp_path / "set" / "masks" / f"{number}.png", np.eye(6, 7, dtype=np.uint8))
    done = export_nnunet(open_dataset(tmp_path / "set"), tmp_path / "raw")
    assert checked(done)["file_ending"] == ".nii.gz"


def test_a_second_export_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set")
    first = export_nnunet(open_dataset(root), tmp_path / "raw")
    (root / "train" / "images" / "a b0.png").unlink()
    (root / "train" / "masks" / "a b0.png").unlink()
    second = export_nnunet(open_dataset(root), tmp_path / "raw")
    assert second.folder == first.folder
    assert checked(second)["numTraining"] == 2
    (tmp_path / "raw" / "Dataset501_other").mkdir()
    with pytest.raises(SettingsError, match="choose another --number"):
        export_nnunet(open_dataset(root), tmp_path / "raw", number=501, name="third")
    assert export_nnunet(open_dataset(root), tmp_path / "raw", name="third").folder.name == "Dataset502_third"


def test_a_broken_image_is_said_and_counted_out(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set")
    (root / "train" / "images" / "a b0.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    done = export_nnunet(open_dataset(root), tmp_path / "raw")
    assert len(done.failed) == 1
    assert checked(done)["numTraining"] == 2


def test_data_without_masks_are_refused(tmp_path: Path) -> None:
    png(tmp_path / "set" / "images" / "0.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(DataError, match="nnU-Net needs at least one"):
        export_nnunet(open_dataset(tmp_path / "set"), tmp_path / "raw")


def test_predictions_of_nnunet_are_scored_against_the_data_as_they_are(tmp_path: Path) -> None:
    """Masks are 255 in the data and 1 in what nnU-Net writes, which lays its own JSON files beside them."""
    root = pictures(tmp_path / "set")
    done = export_nnunet(open_dataset(root), tmp_path / "raw")
    for path in (done.folder / "labelsTs").iterdir():
        png(tmp_path / "predicted" / path.name, array_of(path))
    for name in ("dataset.json", "plans.json", "predict_from_raw_data_args.json"):
        text = (done.folder / "dataset.json").read_text() if name == "dataset.json" else "{}"
        (tmp_path / "predicted" / name).write_text(text)
    for truth in (root, done.folder):
        scores = evaluate(tmp_path / "predicted", truth, split="test", metrics=["dice"])
        assert [case.scores.classes for case in scores.cases] == [{"foreground": {"dice": 1}}]
        assert not scores.failed
