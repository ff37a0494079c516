"""A folder of DICOM files as an archive writes it: series are cases, patients subjects, segmentations masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sequence import Sequence

import stored
from data.test_files_dicom_seg import HEIGHTS, SHAPE, ct, dataset, item, seg, two_segments
from scantling.core.case import Case, Geometry
from scantling.core.errors import FileError
from scantling.data import files
from scantling.data.dataset import Dataset, file_hashes, open_dataset
from scantling.data.integrity import check
from scantling.data.loading import load
from scantling.data.orientation import as_stored, stored_geometry

pytestmark = pytest.mark.filterwarnings("error")

REPORT, STRUCTURES, STATE = (
    "1.2.840.10008.5.1.4.1.1.88.11",
    "1.2.840.10008.5.1.4.1.1.481.3",
    "1.2.840.10008.5.1.4.1.1.11.1",
)
RNG = np.random.default_rng(3)


def mask_of(case: Case, dataset: Dataset) -> np.ndarray:
    """(*S) the first layer of a mask, in the order of its file."""
    return layers_of(case, dataset)[0]


def layers_of(case: Case, dataset: Dataset) -> np.ndarray:
    sample = load(case, labels=dataset.labels)
    return as_stored(sample.masks[0], sample.geometry)


def radiograph(path: Path, patient: str, series: str, **fields: Any) -> Path:
    """Write a flat image without a place in the patient."""
    every = {
        "Modality": "DX",
        "PatientID": patient,
        "SeriesInstanceUID": series,
        "Rows": 6,
        "Columns": 5,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "ImagerPixelSpacing": [0.2, 0.2],
        "PixelData": RNG.integers(0, 255, (6, 5), np.uint8).tobytes(),
    }
    return dataset(path, "1.2.840.10008.5.1.4.1.1.1.1", **{**every, **fields})


def sentences(found: Dataset) -> str:
    return "\n".join(remark.sentence for remark in found.remarks)


def test_radiographs_of_several_patients_in_one_folder_are_a_case_each(tmp_path: Path) -> None:
    for number in range(3):
        radiograph(tmp_path / f"x{number}.dcm", f"P{number}", f"1.2.{number}")
    radiograph(tmp_path / "x3.dcm", "P0", "1.2.0")  # another view in the same series
    found = open_dataset(tmp_path)
    assert {case.id: case.subject for case in found.cases} == {"x0": "P0", "x1": "P1", "x2": "P2", "x3": "P0"}
    assert {load(case, reads=("image",)).geometry.unit for case in found.cases} == {"mm"}
    assert "4 cases of 3 patients by their IDs (x0, x1, x2 and 1 more)" in sentences(found)


@pytest.mark.parametrize("name", ["1.2.840.113619.2.55.3.{}", "IM{}/IM1"])
def test_files_whose_names_say_nothing_are_called_after_the_patient_and_the_series(tmp_path: Path, name: str) -> None:
    for number in range(2):
        place = tmp_path / name.format(number)
        radiograph(place, f"P/{number}", f"1.2.{number}", SeriesDescription="Thorax: pa")
    assert {case.id for case in open_dataset(tmp_path).cases} == {"P-0_Thorax-pa", "P-1_Thorax-pa"}


def test_classes_of_radiographs_come_from_the_table_beside_them(tmp_path: Path) -> None:
    for number in range(2):
        radiograph(tmp_path / f"x{number}.dcm", f"P{number}", f"1.2.{number}")
    (tmp_path / "labels.csv").write_text("image;class\nx0.dcm;sound\nx1.dcm;ill\n")
    found = open_dataset(tmp_path)
    assert [case.image_class for case in found.cases] == ["sound", "ill"]
    assert "labels.csv" not in sentences(found)


def test_a_case_of_a_series_among_others_is_read_by_its_address(tmp_path: Path) -> None:
    found = open_dataset(archive(tmp_path / "a"))
    address = next(case.images["image"] for case in found.cases if case.id == "P1_CT_2")
    assert str(address) == f"{tmp_path / 'a' / 'P1' / 'study'}#1.2.4"
    for untrusted in (False, True):
        assert stored.read(str(address), untrusted=untrusted).geometry.shape == (5, 6, 3)
    with pytest.raises(FileError, match="holds no DICOM file of an image"):
        stored.read(f"{address.path}#1.2.99")


def archive(root: Path) -> Path:
    """Two patients in nested folders: a CT in two parts, a second series, a scout, and what is no image."""
    study = root / "P1" / "study"
    ct(study, series="1.2.3")
    for at, path in enumerate(sorted(study.glob("IM*"))):
        path.rename(study / f"A{at}")
    ct(study, HEIGHTS[:3], series="1.2.4")
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "Modality": "CT"}
    radiograph(study / "IM900", "P1", "1.2.5", **scout)
    dataset(study / "IM901", REPORT, Modality="SR", PatientID="P1", SeriesInstanceUID="1.2.6")
    dataset(study / "IM902", STATE, Modality="PR", PatientID="P1", SeriesInstanceUID="1.2.7")
    dataset(study / "IM903", STRUCTURES, Modality="RTSTRUCT", PatientID="P1", SeriesInstanceUID="1.2.8")
    ct(root / "P2" / "S1", series="1.3.3", patient="P2")
    dataset(study / "IM904", "1.2.840.10008.5.1.4.1.1.2", Modality="CT", PatientID="P1", SeriesInstanceUID="1.2.10")
    directory = dataset(root / "DICOMDIR-2", "1.2.840.10008.1.3.10")
    found = dcmread(directory)
    del found.SOPClassUID
    found.save_as(directory)
    (root / "DICOMDIR").write_bytes(b"no image")
    (root / "notes.txt").write_text("by the technician")
    return root


def test_an_archive_is_a_case_for_each_series_and_says_what_is_no_image(tmp_path: Path) -> None:
    found = open_dataset(archive(tmp_path / "a"))
    assert {case.id: case.subject for case in found.cases} == {"P1_CT_1": "P1", "P1_CT_2": "P1", "P2_CT": "P2"}
    shapes = {case.id: (1, *stored_geometry(load(case, reads=("image",)).geometry).shape) for case in found.cases}
    assert shapes == {"P1_CT_1": (1, 5, 6, 4), "P1_CT_2": (1, 5, 6, 3), "P2_CT": (1, 5, 6, 4)}
    said = sentences(found)
    assert "2 DICOMDIRs, 1 empty CT file, 1 presentation state, 1 report, 1 scout, 1 structure set" in said
    assert "notes.txt is no DICOM file" in said
    assert not [finding for finding in check(found).findings if finding.level == "error"]


def test_the_slices_of_a_series_may_lie_in_several_folders(tmp_path: Path) -> None:
    folder = ct(tmp_path / "a" / "P1" / "D1", [0.0, 2.0, 4.0, 6.0])
    (folder.parent / "D2").mkdir()
    for path in sorted(folder.glob("*"))[2:]:
        path.rename(folder.parent / "D2" / path.name)
    (case,) = open_dataset(tmp_path / "a").cases
    assert stored_geometry(load(case, reads=("image",)).geometry).shape == (5, 6, 4)


def test_a_series_is_hashed_by_its_own_files(tmp_path: Path) -> None:
    found = open_dataset(archive(tmp_path / "a"))
    before = file_hashes(found)
    assert len(before) == 4 + 3 + 4
    (tmp_path / "a" / "P1" / "study" / "IM901").unlink()
    assert file_hashes(found) == before


def test_an_archive_of_scouts_only_has_cases(tmp_path: Path) -> None:
    for number in range(2):
        radiograph(tmp_path / f"{number}.dcm", "P1", f"1.{number}", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert len(open_dataset(tmp_path).cases) == 2


def test_slices_of_another_size_in_a_series_are_told_with_counts(tmp_path: Path) -> None:
    ct(tmp_path / "s")
    radiograph(tmp_path / "s" / "odd", "P1", "1.2.3", Modality="CT", Rows=3, Columns=10)
    with pytest.raises(FileError, match=r"slices have 2 sizes: 5 x 6 \(4 files\), 10 x 3 \(1 files\), such as odd"):
        stored.read(tmp_path / "s")


def test_a_scout_within_a_series_is_left_out(tmp_path: Path) -> None:
    ct(tmp_path / "s")
    radiograph(tmp_path / "s" / "odd", "P1", "1.2.3", Modality="CT", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert stored.read(tmp_path / "s").geometry.shape == (5, 6, 4)
    assert "1 scout" in sentences(open_dataset(tmp_path / "s"))


def test_segmentations_are_masks_whose_classes_are_the_labels_of_the_segments(tmp_path: Path) -> None:
    frames, expected = two_segments()
    for number in (1, 2):
        ct(tmp_path / f"P{number}" / "ct", series=f"1.{number}", patient=f"P{number}")
        seg(tmp_path / f"P{number}" / "seg" / "a.dcm", frames, series=f"1.{number}")
    found = open_dataset(tmp_path)
    assert [bool(case.masks) for case in found.cases] == [True, True]
    assert found.labels is not None
    assert (found.labels.names, found.labels.values) == (("liver", "tumour"), ((1,), (2,)))
    for case in found.cases:
        np.testing.assert_array_equal(mask_of(case, found), expected)


def test_segments_whose_numbers_differ_are_classes_by_their_labels(tmp_path: Path) -> None:
    frames, expected = two_segments()
    for number, labels in ((1, ("liver", "tumour")), (2, ("tumour", "liver"))):
        ct(tmp_path / f"P{number}" / "ct", series=f"1.{number}", patient=f"P{number}")
        seg(tmp_path / f"P{number}" / "seg" / "a.dcm", frames, series=f"1.{number}", labels=labels)
    found = open_dataset(tmp_path)
    assert found.labels is not None
    assert found.labels.names == ("liver", "tumour")
    one, other = (layers_of(case, found) for case in found.cases)
    np.testing.assert_array_equal(one, np.stack([expected == 1, expected == 2]))
    np.testing.assert_array_equal(other, one[::-1])


def test_a_segmentation_beside_images_in_paired_folders_names_the_classes(tmp_path: Path) -> None:
    ct(tmp_path / "images" / "a")
    seg(tmp_path / "masks" / "a.dcm", two_segments()[0])
    found = open_dataset(tmp_path)
    assert found.labels is not None
    assert found.labels.names == ("liver", "tumour")
    assert mask_of(found.cases[0], found).shape == (5, 6, 4)


def test_a_segmentation_of_a_radiograph_lies_on_its_file(tmp_path: Path) -> None:
    for number in range(2):
        radiograph(tmp_path / f"x{number}.dcm", "P1", "1.2.3", SOPInstanceUID=f"1.9.{number}")
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[2:4, 1:3] = 1
    refers = item(SeriesInstanceUID="1.2.3")
    refers.ReferencedInstanceSequence = Sequence([item(ReferencedSOPInstanceUID="1.9.1")])
    groups = [item(SegmentIdentificationSequence=Sequence([item(ReferencedSegmentNumber=1)]))]
    fields = {
        "ReferencedSeriesSequence": Sequence([refers]),
        "PerFrameFunctionalGroupsSequence": Sequence(groups),
        "SharedFunctionalGroupsSequence": Sequence([item()]),
    }
    seg(tmp_path / "seg.dcm", [(1, 0.0, pixels)], labels=("bone",), **fields)
    found = open_dataset(tmp_path)
    assert {case.id: len(case.masks) for case in found.cases} == {"x0": 0, "x1": 1}
    marked = next(case for case in found.cases if case.masks)
    np.testing.assert_array_equal(mask_of(marked, found), pixels)


def test_a_lost_slice_costs_its_series_and_no_other(tmp_path: Path) -> None:
    root = archive(tmp_path / "a")
    (root / "P2" / "S1" / "IM1").write_bytes((root / "P2" / "S1" / "IM1").read_bytes()[:-30])
    report = check(open_dataset(root))
    (error,) = [finding for finding in report.findings if finding.level == "error"]
    assert error.cases == ("P2_CT",)


def test_a_dicom_file_beside_a_mask_of_another_format_is_no_archive(tmp_path: Path) -> None:
    for number in (1, 2):
        radiograph(tmp_path / f"p{number}" / "image.dcm", "X", f"1.{number}")
        files.write_labels(tmp_path / f"p{number}", "mask", np.eye(6, 5, dtype=int), Geometry((6, 5), (1.0, 1.0)))
    assert [(case.id, case.subject, len(case.masks)) for case in open_dataset(tmp_path).cases] == [
        ("p1", "p1", 1),
        ("p2", "p2", 1),
    ]
