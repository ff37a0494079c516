"""A BIDS folder is a data set as it is: sessions are cases, derivatives are their masks."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import nibabel as nib
import numpy as np
import pytest

from scantling.core.case import Address
from scantling.core.errors import DataError, FileError
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.integrity import check
from scantling.data.loading import load

SHAPE = (8, 9, 10)


def scan(path: Path, *, spacing: float = 1.0, value: int | None = None) -> Path:
    """A volume of noise, or a label map with a block of `value`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(crc32(path.as_posix().encode())).integers(0, 900, SHAPE).astype(np.int16)
    if value is not None:
        values = np.zeros(SHAPE, np.int16)
        values[2:5, 2:5, 2:5] = value
    nib.save(nib.Nifti1Image(values, np.diag([spacing, spacing, spacing, 1.0])), path)
    return path


def study(root: Path, *, session: str = "", modalities: tuple[str, ...] = ("T1w",), subjects: int = 3) -> list[Path]:
    """The folders, relative to the root or a pipeline, in which images lie, with the beginnings of their names."""
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}', encoding="utf-8")
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t3\n", encoding="utf-8")
    places = []
    for number in range(1, subjects + 1):
        folder = Path(f"sub-{number:02d}") / (f"ses-{session}" if session else "") / "anat"
        name = f"sub-{number:02d}" + (f"_ses-{session}" if session else "")
        for modality in modalities:
            scan(root / folder / f"{name}_{modality}.nii.gz")
            (root / folder / f"{name}_{modality}.json").write_text("{}", encoding="utf-8")
        places.append(folder / name)
    return places


def named(place: Path, end: str) -> Path:
    return place.parent / f"{place.name}_{end}.nii.gz"


def said(dataset: Dataset) -> str:
    return "\n".join(remark.sentence for remark in dataset.remarks)


@pytest.mark.parametrize("session", ["", "baseline"])
@pytest.mark.parametrize("end", ["dseg", "desc-manual_dseg", "space-orig_dseg", "space-T1w_desc-manual_dseg", "seg"])
def test_label_maps_of_derivatives_are_masks_whose_table_names_the_classes(
    session: str, end: str, tmp_path: Path
) -> None:
    places = study(tmp_path, session=session)
    pipeline = tmp_path / "derivatives" / "manual"
    for place in places[:2]:
        scan(pipeline / named(place, end), value=7)
    (pipeline / "desc-manual_dseg.tsv").write_text("index\tname\n0\tbackground\n7\tgrey matter\n9\tcsf\n", "utf-8")
    dataset = open_dataset(tmp_path)
    ids = [f"sub-0{n}" + (f"_ses-{session}" if session else "") for n in (1, 2, 3)]
    assert [(case.id, case.subject, case.named) for case in dataset.cases] == [(id, id[:6], True) for id in ids]
    assert [len(case.masks) for case in dataset.cases] == [1, 1, 0]
    assert dataset.labels is not None
    assert dataset.labels.names == ("grey matter", "csf")
    mask = load(dataset.cases[0], labels=dataset.labels).masks[0]
    assert (mask == 1).sum() == 27
    assert "BIDS: 3 sessions of 3 subjects, image T1w; 2 with a mask" in said(dataset)
    assert not check(dataset).of("error")


def test_masks_with_a_label_are_of_classes_that_may_overlap_and_the_brain_is_the_region(tmp_path: Path) -> None:
    for place in study(tmp_path):
        for label in ("lesion", "oedema"):
            scan(tmp_path / "derivatives" / "experts" / named(place, f"label-{label}_mask"), value=1)
        scan(tmp_path / "derivatives" / "experts" / named(place, "desc-brain_mask"), value=1)
    dataset = open_dataset(tmp_path)
    assert dataset.labels is not None
    assert dataset.labels.names == ("lesion", "oedema")
    sample = load(dataset.cases[0], labels=dataset.labels)
    assert sample.masks[0].shape == (2, *SHAPE)
    assert sample.region is not None
    assert sample.region.sum() == 27


def test_a_brain_mask_alone_is_a_mask(tmp_path: Path) -> None:
    for place in study(tmp_path):
        scan(tmp_path / "derivatives" / "bet" / named(place, "desc-brain_mask"), value=1)
    dataset = open_dataset(tmp_path)
    assert dataset.labels is not None
    assert dataset.labels.names == ("brain",)


@pytest.mark.parametrize("end", ["FLAIR_roi", "label-lesion_mask", "FLAIR_mask", "dseg"])
def test_masks_may_lie_beside_the_images(end: str, tmp_path: Path) -> None:
    for place in study(tmp_path, modalities=("FLAIR",)):
        scan(tmp_path / named(place, end), value=1)
    dataset = open_dataset(tmp_path)
    assert all(len(case.masks) == 1 and len(case.images) == 1 for case in dataset.cases)


def test_images_and_masks_in_a_template_space_belong_together(tmp_path: Path) -> None:
    for place in study(tmp_path, modalities=("space-MNI152_T1w",)):
        scan(tmp_path / named(place, "space-MNI152_label-L_desc-T1lesion_mask"), value=1)
        scan(tmp_path / "derivatives" / "x" / named(place, "space-other_label-L_mask"), value=1)
    dataset = open_dataset(tmp_path)
    assert [list(case.masks[0]) for case in dataset.cases] == [["L"]] * 3
    assert "space-other" in said(dataset)


def test_modalities_on_the_grid_of_the_mask_are_channels_and_the_others_are_said(tmp_path: Path) -> None:
    for number, place in enumerate(study(tmp_path, modalities=("T1w", "FLAIR"))):
        scan(tmp_path / named(place, "T2w"), spacing=2.0)
        scan(tmp_path / "derivatives" / "manual" / named(place, "dseg"), value=1)
        if number == 0:
            scan(tmp_path / named(place, "acq-extra_T1w"))
    dataset = open_dataset(tmp_path)
    assert [list(case.images) for case in dataset.cases] == [["FLAIR", "T1w"]] * 3
    assert "T2w" in said(dataset)
    assert "acq-extra_T1w" in said(dataset)
    assert load(dataset.cases[0], labels=dataset.labels, channels=("FLAIR", "T1w")).image.shape == (2, *SHAPE)


def test_pipelines_are_annotators(tmp_path: Path) -> None:
    for place in study(tmp_path):
        for rater in ("rater1", "rater2"):
            scan(tmp_path / "derivatives" / rater / named(place, "dseg"), value=1)
    case = open_dataset(tmp_path).cases[0]
    assert [mask.path.relative_to(tmp_path).parts[1] for mask in case.masks if isinstance(mask, Address)] == [
        "rater1",
        "rater2",
    ]


def test_a_session_without_the_image_of_the_others_is_said_and_left_out(tmp_path: Path) -> None:
    places = study(tmp_path)
    for place in places:
        scan(tmp_path / "derivatives" / "manual" / named(place, "dseg"), value=1)
    scan(tmp_path / "sub-09" / "anat" / "sub-09_T2w.nii.gz")
    dataset = open_dataset(tmp_path)
    assert len(dataset.cases) == 3
    assert "1 session (sub-09) without T1w left out" in said(dataset)


def test_a_mask_on_no_grid_of_an_image_and_two_label_maps_are_refused(tmp_path: Path) -> None:
    for place in study(tmp_path):
        scan(tmp_path / "derivatives" / "manual" / named(place, "dseg"), value=1, spacing=3.0)
    with pytest.raises(DataError, match="none of sub-01_T1w"):
        open_dataset(tmp_path)
    for place in study(tmp_path):
        for name in ("dseg", "desc-other_dseg"):
            scan(tmp_path / "derivatives" / "manual" / named(place, name), value=1)
    with pytest.raises(DataError, match="keep one label map"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("table", ["index,name\n1;x\n", "value\tname\n1\tx\n", "index\tname\nx\tx\n", ""])
def test_a_table_of_classes_that_is_none_is_an_error_that_names_it(table: str, tmp_path: Path) -> None:
    for place in study(tmp_path):
        scan(tmp_path / "derivatives" / "manual" / named(place, "dseg"), value=1)
    (tmp_path / "derivatives" / "manual" / "dseg.tsv").write_text(table, encoding="utf-8")
    with pytest.raises(FileError, match=r"dseg\.tsv"):
        open_dataset(tmp_path)


def test_folders_that_only_look_like_bids_are_folders_of_patients(tmp_path: Path) -> None:
    for number in range(3):
        scan(tmp_path / f"sub-{number}" / f"sub-{number}_t1.nii.gz")
        scan(tmp_path / f"sub-{number}" / f"sub-{number}_seg.nii.gz", value=1)
    dataset = open_dataset(tmp_path)
    assert all(list(case.images) == ["image"] and case.masks for case in dataset.cases)
    assert "BIDS" not in said(dataset)
