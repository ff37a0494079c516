"""A folder for each patient is understood whatever its files are called, and it is said what was understood."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from scantling.core.case import Address, Case
from scantling.core.errors import DataError
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.files import read_labels
from scantling.data.integrity import check
from scantling.data.loading import load

SHAPE = (6, 7, 8)


def scan(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 1000, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return path


def mask(path: Path, start: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(SHAPE, np.uint8)
    values[start : start + 3, 2:5, 2:5] = 1
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return path


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return path


def names(case: Case) -> tuple[dict[str, str], list[str]]:
    single = [one for one in case.masks if isinstance(one, Address)]
    return {name: file.path.name for name, file in case.images.items()}, [one.path.name for one in single]


def said(dataset: Dataset) -> str:
    return "\n".join(remark.sentence for remark in dataset.remarks if remark.kind == "layout")


@pytest.mark.parametrize(
    ("image", "truth"),
    [
        ("imaging", "segmentation"),
        ("t1", "t1_seg"),
        ("{}", "{}_GT"),
        ("{}_ct", "{}-Label"),
        ("volume-{}", "segmentation-{}"),
        ("image/x", "mask/x"),
        ("image/{}", "Mask/{}"),
        ("ct", "segmentations/truth_{}"),
    ],
)
@pytest.mark.parametrize("above", ["", "site/", "train/"])
def test_an_image_and_its_mask_in_a_folder_are_a_case(image: str, truth: str, above: str, tmp_path: Path) -> None:
    for number in range(3):
        place = tmp_path / f"{above}case_{number}"
        scan(place / f"{image.format(place.name)}.nii.gz", number)
        if number:
            mask(place / f"{truth.format(place.name)}.nii.gz")
    dataset = open_dataset(tmp_path)
    assert [(case.id, case.subject) for case in dataset.cases] == [(f"case_{n}", f"case_{n}") for n in range(3)]
    for number, case in enumerate(dataset.cases):
        wanted = Path(f"{truth.format(case.id)}.nii.gz").name
        assert names(case) == (
            {"image": Path(f"{image.format(case.id)}.nii.gz").name},
            [wanted] if number else [],
        )
        assert case.split in (("train", "validation") if above == "train/" else ("train", "validation", "test"))
    assert "3 folders, each a subject" in said(dataset)
    assert "1 without a mask" in said(dataset)


@pytest.mark.parametrize(("image", "truth"), [("scan", "tumour"), ("b", "a")])
def test_where_names_do_not_tell_the_mask_is_the_file_with_few_values(
    image: str, truth: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scantling.data.twins.read_labels", lambda path, *, untrusted: read_labels(path))
    for number in range(3):
        scan(tmp_path / f"p{number}" / f"{image}.nii.gz", number)
        if number:
            mask(tmp_path / f"p{number}" / f"{truth}.nii.gz")
    found = [names(case) for case in open_dataset(tmp_path).cases]
    assert found == [({"image": f"{image}.nii.gz"}, [f"{truth}.nii.gz"] * (number > 0)) for number in range(3)]


def test_files_of_classes_are_masks_by_class_which_may_overlap_and_may_be_absent(tmp_path: Path) -> None:
    for number in range(3):
        place = tmp_path / f"s{number:04d}"
        scan(place / "ct.nii.gz", number)
        mask(place / "segmentations" / "liver.nii.gz", 1)
        mask(place / "segmentations" / "spleen.nii.gz", 2)
        if number:
            mask(place / "segmentations" / "gallbladder.nii.gz", 3)
    (tmp_path / "meta.csv").write_text("image_id;age\n")
    dataset = open_dataset(tmp_path)
    assert dataset.labels is not None
    assert dataset.labels.names == ("gallbladder", "liver", "spleen")
    assert not dataset.labels.exclusive
    assert "a file for each class (gallbladder, liver, spleen)" in said(dataset)
    assert any("meta.csv" in remark.sentence for remark in dataset.remarks)
    samples = [load(case, labels=dataset.labels, partial=True) for case in dataset.cases]
    assert [sample.known.tolist() for sample in samples if sample.known is not None] == [
        [False, True, True],
        [True, True, True],
        [True, True, True],
    ]
    found = samples[1].masks[0]
    starts = [int(np.flatnonzero(layer.any((1, 2)))[0]) for layer in found]
    assert starts == [3, 1, 2]
    assert (found.sum(0) > 1).any(), "classes that overlap stay as they are"


def test_a_file_of_one_class_keeps_the_name_of_the_class(tmp_path: Path) -> None:
    for number in range(2):
        scan(tmp_path / f"s{number}" / "ct.nii.gz", number)
        mask(tmp_path / f"s{number}" / "segmentations" / "liver.nii.gz")
    labels = open_dataset(tmp_path).labels
    assert labels is not None
    assert labels.names == ("liver",)


def test_classes_beside_the_image_are_called_by_what_their_names_have_more(tmp_path: Path) -> None:
    for number in range(2):
        for name in ("ct", "mask_liver", "mask_spleen"):
            (scan if name == "ct" else mask)(tmp_path / f"s{number}" / f"s{number}_{name}.nii.gz")
    dataset = open_dataset(tmp_path)
    for case in dataset.cases:
        (one,) = case.masks
        assert isinstance(one, Mapping)
        assert {name: file.path.name for name, file in one.items()} == {
            "liver": f"{case.id}_mask_liver.nii.gz",
            "spleen": f"{case.id}_mask_spleen.nii.gz",
        }


def test_images_that_recur_in_every_folder_are_channels(tmp_path: Path) -> None:
    for number in range(3):
        for name in ("t1", "t2", "flair"):
            scan(tmp_path / f"BraTS_{number:03d}" / f"BraTS_{number:03d}_{name}.nii.gz", number)
        mask(tmp_path / f"BraTS_{number:03d}" / f"BraTS_{number:03d}_seg.nii.gz")
    for case in open_dataset(tmp_path).cases:
        assert names(case) == (
            {name: f"{case.id}_{name}.nii.gz" for name in ("flair", "t1", "t2")},
            [f"{case.id}_seg.nii.gz"],
        )


def test_masks_with_a_number_are_those_of_annotators(tmp_path: Path) -> None:
    for number in range(2):
        scan(tmp_path / f"p{number}" / "img.nii.gz", number)
        for annotator in (1, 2):
            mask(tmp_path / f"p{number}" / f"seg{annotator}.nii.gz", annotator)
    assert [len(case.masks) for case in open_dataset(tmp_path).cases] == [2, 2]


def test_slices_in_the_folder_of_a_patient_are_cases_of_one_subject(tmp_path: Path) -> None:
    for number in range(2):
        for index in range(3):
            stem = f"TCGA_{number}_{index}"
            picture(tmp_path / f"TCGA_{number}" / f"{stem}.png", index)
            picture(tmp_path / f"TCGA_{number}" / f"{stem}_mask.png", index)
    dataset = open_dataset(tmp_path)
    assert {(case.id, case.subject, len(case.masks)) for case in dataset.cases} == {
        (f"TCGA_{number}_{index}", f"TCGA_{number}", 1) for number in range(2) for index in range(3)
    }
    assert "2 folders with 6 images, 6 with a mask; each folder is one subject" in said(dataset)


def test_folders_without_a_number_in_their_names_are_groups_and_not_patients(tmp_path: Path) -> None:
    for group in ("benign", "malignant"):
        for index in range(3):
            picture(tmp_path / group / f"{group} ({index}).png", index)
            picture(tmp_path / group / f"{group} ({index})_mask.png", index)
    dataset = open_dataset(tmp_path)
    assert len({case.subject for case in dataset.cases}) == 6
    assert "each image is a subject" in said(dataset)


def test_visits_of_a_patient_are_one_subject_and_patients_of_sites_are_not(tmp_path: Path) -> None:
    for patient in "abc":
        for visit in ("baseline", "follow-up"):
            scan(tmp_path / "visits" / patient / visit / "t1.nii.gz")
            scan(tmp_path / "bids" / f"sub-{patient}" / f"ses-{visit[0]}" / "anat" / f"sub-{patient}_T1w.nii.gz")
    for site in ("north", "south"):
        for patient in range(3):
            scan(tmp_path / "sites" / site / f"p{patient}" / "t1.nii.gz")
    assert {case.subject for case in open_dataset(tmp_path / "visits").cases} == {"a", "b", "c"}
    assert {(case.id, case.subject) for case in open_dataset(tmp_path / "bids").cases} == {
        (f"sub-{patient}_ses-{visit}", f"sub-{patient}") for patient in "abc" for visit in "bf"
    }
    cases = open_dataset(tmp_path / "sites").cases
    assert {case.subject for case in cases} == {f"{site}_p{n}" for site in ("north", "south") for n in range(3)}


def test_masks_of_objects_and_images_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        scan(tmp_path / "objects" / f"p{number}" / "images" / "x.nii.gz")
        for index in range(3):
            mask(tmp_path / "objects" / f"p{number}" / "masks" / f"{number}{index}ab.nii.gz")
        scan(tmp_path / "images" / f"p{number}" / "ct.nii.gz")
    scan(tmp_path / "images" / "p1" / "extra.nii.gz")
    with pytest.raises(DataError, match="masks of single objects"):
        open_dataset(tmp_path / "objects")
    with pytest.raises(DataError, match=r"p1: holds .*extra\.nii\.gz"):
        open_dataset(tmp_path / "images")


def test_what_no_patient_needs_and_loops_of_links_are_said(tmp_path: Path) -> None:
    for number in range(2):
        scan(tmp_path / f"p{number}" / "ct.nii.gz")
        mask(tmp_path / f"p{number}" / "seg.nii.gz")
        (tmp_path / f"p{number}" / "again").symlink_to(tmp_path)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["p0", "p1"]
    told = "\n".join(remark.sentence for remark in dataset.remarks)
    assert all(name in told for name in ("p0/again", "deeper/up", "loop"))


@pytest.mark.parametrize("region", ["brain_mask", "brainmask", "p1_body_mask", "fov_mask"])
def test_a_brain_mask_beside_the_mask_is_the_region_and_alone_it_is_the_mask(tmp_path: Path, region: str) -> None:
    for number in (1, 2):
        folder = tmp_path / f"both/p{number}"
        scan(folder / "t1.nii.gz", number)
        mask(folder / "seg.nii.gz")
        mask(folder / f"{region.replace('p1', f'p{number}')}.nii.gz", 2)
        scan(tmp_path / f"alone/p{number}/t1.nii.gz", number)
        mask(tmp_path / f"alone/p{number}/brain_mask.nii.gz")
    both = open_dataset(tmp_path / "both")
    for case in both.cases:
        assert names(case)[1] == ["seg.nii.gz"]
        assert case.region is not None
        assert case.region.path.name == f"{region.replace('p1', case.id)}.nii.gz"
    assert any("the region of interest" in remark.sentence for remark in both.remarks)
    alone = open_dataset(tmp_path / "alone")
    assert all(case.masks and case.region is None for case in alone.cases)


@pytest.mark.parametrize(("column", "overlap"), [(4, False), (2, True)])
def test_classes_in_files_of_their_own_that_share_pixels_are_said(column: int, overlap: bool, tmp_path: Path) -> None:
    left, right = np.zeros((2, 8, 8), np.uint8)
    left[:, :4], right[:, column:] = 1, 1
    for number in range(2):
        picture(tmp_path / f"p{number}" / "photo.png", number)
        for name, mask in (("liver", left), ("spleen", right)):
            path = tmp_path / f"p{number}" / "masks" / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(mask * 255).save(path)
    found = [finding for finding in check(open_dataset(tmp_path)).findings if finding.kind == "overlap"]
    assert [finding.cases for finding in found] == ([("p0", "p1")] if overlap else [])
