"""DICOM segmentations through the door: voxels against those that were written, on the grid of their series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

import stored
from scantling.core.errors import FileError

pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(8)
TURN = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]  # sagittal
NORMAL = np.cross(TURN[:3], TURN[3:])
HEIGHTS = [0.0, 2.0, 4.0, 6.0]
SHAPE = (6, 5)


def dataset(path: Path, kind: str, **fields: Any) -> Path:
    """Write a DICOM file of a SOP class with pydicom."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = fields.get("SOPInstanceUID", generate_uid(entropy_srcs=[path.name]))
    found = FileDataset("", Dataset(), file_meta=meta, preamble=bytes(128))
    found.SOPClassUID, found.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    for name, value in fields.items():
        setattr(found, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)
    return path


def item(**fields: Any) -> Dataset:
    """A dataset of a sequence."""
    found = Dataset()
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def ct(folder: Path, heights: list[float] = HEIGHTS, series: str = "1.2.3", patient: str = "P1") -> Path:
    """Write a series of sagittal slices, in an order that is not that of its names."""
    for index, height in enumerate(heights[::-1]):
        dataset(
            folder / f"IM{index}",
            "1.2.840.10008.5.1.4.1.1.2",
            Modality="CT",
            PatientID=patient,
            SeriesInstanceUID=series,
            SOPInstanceUID=f"{series}.{index + 1}",
            Rows=SHAPE[0],
            Columns=SHAPE[1],
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            BitsAllocated=16,
            BitsStored=16,
            HighBit=15,
            PixelRepresentation=0,
            PixelSpacing=[0.8, 0.6],
            ImageOrientationPatient=TURN,
            ImagePositionPatient=list(np.array([-3.0, 4.0, 5.0]) + height * NORMAL),
            PixelData=RNG.integers(0, 900, SHAPE).astype("<u2").tobytes(),
        )
    return folder


def seg(
    path: Path,
    frames: list[tuple[int, float, np.ndarray]],
    *,
    kind: str = "BINARY",
    labels: tuple[str, ...] = ("liver", "tumour"),
    series: str = "1.2.3",
    shift: float = 0.0,
    **fields: Any,
) -> Path:
    """Write a segmentation of (segment, height, pixels) frames."""
    stack = np.stack([pixels for _, _, pixels in frames])
    binary = kind == "BINARY"
    data = np.packbits(stack.ravel() > 0, bitorder="little").tobytes() if binary else stack.astype(np.uint8).tobytes()
    groups = []
    for number, height, _ in frames:
        position = np.array([-3.0, 4.0 + shift, 5.0]) + height * NORMAL
        group = item(PlanePositionSequence=Sequence([item(ImagePositionPatient=[float(x) for x in position])]))
        if kind != "LABELMAP":
            group.SegmentIdentificationSequence = Sequence([item(ReferencedSegmentNumber=number)])
        groups.append(group)
    measures = item(PixelSpacing=[0.8, 0.6], SliceThickness=2.0)
    shared = item(
        PixelMeasuresSequence=Sequence([measures]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=TURN)]),
    )
    named = [item(SegmentNumber=number, SegmentLabel=label) for number, label in enumerate(labels, start=1)]
    bits = 1 if binary else 8
    every: dict[str, Any] = {
        "Modality": "SEG",
        "PatientID": "P1",
        "SeriesInstanceUID": "1.2.9",
        "SegmentationType": kind,
        "MaximumFractionalValue": 200,
        "Rows": SHAPE[0],
        "Columns": SHAPE[1],
        "NumberOfFrames": len(frames),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
        "SegmentSequence": Sequence(named),
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(groups),
        "ReferencedSeriesSequence": Sequence([item(SeriesInstanceUID=series)]),
        "PixelData": data + bytes(len(data) % 2),
    }
    return dataset(path, "1.2.840.10008.5.1.4.1.1.66.4", **{**every, **fields})


def two_segments() -> tuple[list[tuple[int, float, np.ndarray]], np.ndarray]:
    """Frames of two segments out of order, and the label map (X, Y, Z) that they are."""
    expected = np.zeros((SHAPE[1], SHAPE[0], len(HEIGHTS)), np.uint8)
    frames = []
    for number, at in ((2, 3), (1, 2), (2, 1), (1, 1)):
        pixels = np.zeros(SHAPE, np.uint8)
        pixels[at : at + 2, (0 if number == 1 else 3) : (2 if number == 1 else 5)] = 1
        expected[:, :, at][pixels.T > 0] = number
        frames.append((number, HEIGHTS[at], pixels))
    return frames, expected


@pytest.mark.parametrize("place", ["s/seg.dcm", "seg/a", "seg.dcm"])
def test_a_segmentation_is_a_label_map_on_the_grid_of_its_series(tmp_path: Path, place: str) -> None:
    series = ct(tmp_path / "s")
    frames, expected = two_segments()
    path = seg(tmp_path / place, frames)
    labels, geometry = stored.read_labels(path)
    np.testing.assert_array_equal(labels, expected)
    image = stored.read(series)
    assert geometry.shape == image.geometry.shape == stored.probe(path).shape
    np.testing.assert_allclose(geometry.affine, image.geometry.affine)


def test_a_fractional_segment_counts_from_half_of_its_greatest_value(tmp_path: Path) -> None:
    ct(tmp_path / "s")
    values = np.arange(30).reshape(SHAPE) * 6
    path = seg(tmp_path / "seg.dcm", [(1, 2.0, values)], kind="FRACTIONAL", labels=("vein",))
    labels, _ = stored.read_labels(path)
    np.testing.assert_array_equal(labels[:, :, 1], (values.T >= 100).astype(int))
    assert not labels[:, :, [0, 2, 3]].any()


def test_a_label_map_segmentation_is_read_as_it_is(tmp_path: Path) -> None:
    ct(tmp_path / "s")
    values = RNG.integers(0, 3, (2, *SHAPE))
    path = seg(tmp_path / "seg.dcm", [(0, 2.0, values[0]), (0, 6.0, values[1])], kind="LABELMAP")
    labels, _ = stored.read_labels(path)
    np.testing.assert_array_equal(labels[:, :, [1, 3]], values.transpose(2, 1, 0))


def test_without_its_series_a_segmentation_has_the_grid_of_its_frames(tmp_path: Path) -> None:
    frames, expected = two_segments()
    frames[2] = (2, HEIGHTS[0], frames[2][2])
    expected[:, :, 0], expected[:, :, 1][expected[:, :, 1] == 2] = np.where(expected[:, :, 1] == 2, 2, 0), 0
    labels, geometry = stored.read_labels(seg(tmp_path / "a" / "b" / "seg.dcm", frames))
    np.testing.assert_array_equal(labels, expected)
    assert geometry.spacing == pytest.approx((0.6, 0.8, 2.0))
    alone, _ = stored.read_labels(seg(tmp_path / "a" / "b" / "one.dcm", frames[:1]))
    np.testing.assert_array_equal(alone, 2 * frames[0][2])


def test_segments_that_overlap_are_named_and_can_be_read_one_by_one(tmp_path: Path) -> None:
    ct(tmp_path / "s")
    one, other = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    one[:4], other[2:] = 1, 1
    path = seg(tmp_path / "seg.dcm", [(1, 2.0, one), (2, 2.0, other)])
    with pytest.raises(FileError, match=r"segments liver and tumour overlap.*name each: seg.dcm#tumour"):
        stored.read_labels(path)
    for number, label, pixels in ((1, "liver", one), (2, "tumour", other)):
        np.testing.assert_array_equal(stored.read_labels(f"{path}#{label}")[0][:, :, 1], number * pixels.T)
    with pytest.raises(FileError, match="has the segments liver, tumour; expected one of them after '#'"):
        stored.read_labels(f"{path}#spleen")


def test_run_lengths_are_unpacked(tmp_path: Path) -> None:
    ct(tmp_path / "s")
    values = RNG.integers(0, 2, SHAPE) * 200
    path = seg(tmp_path / "seg.dcm", [(1, 2.0, values)], kind="FRACTIONAL")
    found = dcmread(path)
    found.compress(RLELossless, generate_instance_uid=False)
    found.save_as(path)
    np.testing.assert_array_equal(stored.read_labels(path)[0][:, :, 1], values.T // 200)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shift": 0.4}, r"frame 1 lies 0.67 voxels beside the grid of its series"),
        ({"Rows": 5, "Columns": 6}, r"its frames are 6 x 5 pixels; expected 5 x 6"),
        ({"NumberOfFrames": 5}, r"describes 4 frames; expected 5"),
        ({"PixelData": bytes(8)}, r"holds 8 bytes of pixels; expected 15"),
        ({"SegmentationType": "OTHER"}, r"segmentation of kind OTHER"),
        ({"labels": ("liver",)}, r"frame 1 is of the segment 2"),
    ],
)
def test_a_segmentation_that_makes_no_sense_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    ct(tmp_path / "s")
    path = seg(tmp_path / "seg.dcm", two_segments()[0], **change)
    with pytest.raises(FileError, match=words):
        stored.read_labels(path)
