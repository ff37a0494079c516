"""DICOM through the door: single files against pydicom, series against geometry computed by hand and SimpleITK."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from scantling.core.errors import FileError
from scantling.data import files
from scantling.data.orientation import as_stored, stored_geometry

pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(5)
SLICE = RNG.integers(-900, 900, (6, 5)).astype(np.int16)
ACROSS, DOWN = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])  # sagittal


def save(path: Path, pixels: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **fields: Any) -> Path:
    """Write a DICOM file with pydicom; `fields` replace or add elements."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    little = syntax != ExplicitVRBigEndian
    found = FileDataset("", Dataset(), file_meta=meta, preamble=bytes(128), is_little_endian=little)
    found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    found.SeriesInstanceUID, found.SeriesDescription = "1.2.3", "T1"
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.Rows, found.Columns = pixels.shape[:2]
    found.BitsAllocated = found.BitsStored = pixels.dtype.itemsize * 8
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    found.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")).tobytes()
    found["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    for name, value in fields.items():
        setattr(found, name, value)
    found.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, heights: list[float], **fields: Any) -> list[np.ndarray]:
    """Write sagittal slices at `heights` along their normal, named against their order."""
    folder.mkdir(exist_ok=True)
    slices = [RNG.integers(0, 900, (6, 5)).astype(np.int16) for _ in heights]
    normal = np.cross(ACROSS, DOWN)
    for index, (height, pixels) in enumerate(zip(heights, slices, strict=True)):
        place = {
            "PixelSpacing": [0.8, 0.6],
            "ImageOrientationPatient": [*ACROSS, *DOWN],
            "ImagePositionPatient": list(np.array([-3.0, 4.0, 5.0]) + height * normal),
            "InstanceNumber": index,
        }
        save(folder / f"{900 - index}.dcm", pixels, **{**place, **fields})
    return slices


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2"])
def test_a_file_is_what_was_written(tmp_path: Path, syntax: str, kind: str) -> None:
    pixels = np.abs(SLICE // 8).astype(kind)
    path = save(tmp_path / "a.dcm", pixels, syntax=ExplicitVRLittleEndian if syntax == RLELossless else syntax)
    if syntax == RLELossless:
        from pydicom import dcmread

        found = dcmread(path)
        found.compress(RLELossless, generate_instance_uid=False)
        found.save_as(path)
    picture = files.read(path)
    np.testing.assert_array_equal(picture.array[0], pixels)
    assert picture.array.dtype == files.probe(path).dtype == pixels.dtype
    assert (picture.geometry.container, picture.geometry.affine) == ("raster", None)


def test_values_are_those_of_the_modality(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.dcm", SLICE, RescaleSlope=1, RescaleIntercept=-1024, PixelSpacing=[0.5, 0.25])
    picture = files.read(whole)
    np.testing.assert_array_equal(picture.array[0], SLICE.astype(int) - 1024)
    assert picture.array.dtype == np.int32
    assert picture.geometry.spacing == (0.5, 0.25)
    broken = save(tmp_path / "b.dcm", SLICE, RescaleSlope=0.5, RescaleIntercept=0.25)
    np.testing.assert_array_equal(files.read(broken).array[0], np.float32(SLICE * 0.5 + 0.25))
    pixels = np.array([[0, 1], [4094, 4095 + 8192]], np.uint16)  # the 12 bits stored are 4095
    inverted = save(tmp_path / "c.dcm", pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(files.read(inverted).array[0], [[4095, 4094], [1, 0]])
    signed = save(tmp_path / "d.dcm", np.array([[0x0FFF, 1]], np.int16), BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(files.read(signed).array[0], [[-1, 1]])


def test_colours_are_red_green_and_blue(tmp_path: Path) -> None:
    colours = RNG.integers(0, 255, (6, 5, 3)).astype(np.uint8)
    fields = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    picture = files.read(save(tmp_path / "a.dcm", colours, **fields))
    np.testing.assert_array_equal(picture.array, np.moveaxis(colours, -1, 0))
    assert picture.channels == ("red", "green", "blue")
    planes = np.ascontiguousarray(np.moveaxis(colours, -1, 0))
    fields |= {"PlanarConfiguration": 1, "PixelData": planes.tobytes()}
    np.testing.assert_array_equal(files.read(save(tmp_path / "b.dcm", colours, **fields)).array, planes)


@pytest.mark.parametrize(("syntax", "format"), [(JPEGBaseline8Bit, "JPEG"), (JPEG2000Lossless, "JPEG2000")])
def test_compressed_pixels_must_have_the_size_of_the_header(tmp_path: Path, syntax: str, format: str) -> None:
    smooth = np.add.outer(np.arange(32), 3 * np.arange(48)).astype(np.uint8)
    stream = io.BytesIO()
    options = {"irreversible": False, "no_jp2": True} if format == "JPEG2000" else {"quality": 98}
    Image.fromarray(smooth).save(stream, format, **options)
    fields = {"syntax": syntax, "PixelData": encapsulate([stream.getvalue()])}
    picture = files.read(save(tmp_path / "a.dcm", smooth, **fields))
    np.testing.assert_allclose(picture.array[0], smooth, atol=0 if format == "JPEG2000" else 3)
    with pytest.raises(FileError, match="frame 1 is 48 x 32 pixels; expected 32 x 32 as its header says"):
        files.read(save(tmp_path / "b.dcm", smooth, Columns=32, **fields))


def test_frames_are_a_volume(tmp_path: Path) -> None:
    frames = RNG.integers(0, 900, (4, 6, 5)).astype(np.int16)
    fields = {"NumberOfFrames": 4, "Rows": 6, "Columns": 5, "PixelSpacing": [0.8, 0.6]}
    picture = files.read(save(tmp_path / "a.dcm", frames, **fields))
    np.testing.assert_array_equal(picture.array[0], frames.T)
    assert picture.geometry.spacing == (0.6, 0.8, 1.0)
    assert (picture.geometry.container, picture.geometry.slice_axis) == ("volume", 2)


def test_enhanced_frames_lie_where_their_groups_say(tmp_path: Path) -> None:
    frames = RNG.integers(0, 900, (3, 6, 5)).astype(np.int16)
    shared, metrics, plane, values = Dataset(), Dataset(), Dataset(), Dataset()
    metrics.PixelSpacing, plane.ImageOrientationPatient = [0.8, 0.6], [1, 0, 0, 0, 1, 0]
    values.RescaleSlope, values.RescaleIntercept = 2, 0
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([metrics]), Sequence([plane])
    shared.PixelValueTransformationSequence = Sequence([values])
    groups = []
    for height in (4.0, 0.0, 2.0):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [1, 2, height]
        group.PlanePositionSequence = Sequence([position])
        groups.append(group)
    fields = {
        "NumberOfFrames": 3,
        "Rows": 6,
        "Columns": 5,
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(groups),
    }
    picture = files.read(save(tmp_path / "a.dcm", frames, **fields))
    np.testing.assert_array_equal(as_stored(picture.array, picture.geometry)[0], 2 * frames[[1, 2, 0]].T)
    np.testing.assert_allclose(
        stored_geometry(picture.geometry).affine, [[-0.6, 0, 0, -1], [0, -0.8, 0, -2], [0, 0, 2, 0], [0, 0, 0, 1]]
    )


def test_a_series_is_sorted_along_its_normal_whatever_its_names(tmp_path: Path) -> None:
    heights = [6.0, 0.0, 2.0, 4.0]
    slices = series(tmp_path / "s", heights)
    (tmp_path / "s" / "notes.txt").write_text("not DICOM")
    assert files.is_image_name(tmp_path / "s")
    header, picture = files.probe(tmp_path / "s"), files.read(tmp_path / "s")
    assert header.shape == picture.array.shape[1:]
    stored, geometry = as_stored(picture.array, picture.geometry), stored_geometry(picture.geometry)
    np.testing.assert_array_equal(stored[0], np.stack([slices[index].T for index in (1, 2, 3, 0)], axis=-1))
    assert geometry.spacing == pytest.approx((0.6, 0.8, 2.0))
    # left, posterior, superior of the first pixel and of steps along x, y, z; right and anterior are their negatives
    normal = np.cross(ACROSS, DOWN)
    expected = np.stack([ACROSS * 0.6, DOWN * 0.8, normal * 2, [-3, 4, 5]], axis=1) * [[-1], [-1], [1]]
    np.testing.assert_allclose(geometry.affine[:3], expected, atol=1e-9)
    path = files.write_labels(tmp_path, "mask", picture.array[0] > 400, picture.geometry)
    labels, geometry = files.read_labels(path)
    np.testing.assert_array_equal(labels, picture.array[0] > 400)
    np.testing.assert_allclose(geometry.affine, picture.geometry.affine, atol=1e-5)


def test_simpleitk_agrees_on_where_a_series_lies(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is an extra")
    series(tmp_path / "s", [3.0, 0.0, 1.5])
    picture = files.read(tmp_path / "s")
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    index = (4, 2, 1)
    world = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
    np.testing.assert_allclose((stored_geometry(picture.geometry).affine @ [*index, 1])[:3], world, atol=1e-5)
    np.testing.assert_array_equal(as_stored(picture.array, picture.geometry)[0].T, sitk.GetArrayFromImage(image))


@pytest.mark.parametrize(
    ("heights", "words"),
    [
        ([0.0, 2.0, 4.0, 8.0, 10.0], r"two slices lie 4 mm apart \(at 7 mm\), the others 2 mm"),
        ([0.0, 2.0, 2.0, 4.0], r"two slices lie at the same place \(5 mm\)"),
    ],
)
def test_a_series_with_gaps_or_repetitions_is_refused(tmp_path: Path, heights: list[float], words: str) -> None:
    series(tmp_path / "s", heights)
    with pytest.raises(FileError, match=words):
        files.read(tmp_path / "s")


def test_a_damaged_slice_is_not_left_out_in_silence(tmp_path: Path) -> None:
    series(tmp_path / "s", [0.0, 2.0, 4.0])
    path = tmp_path / "s" / "900.dcm"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileError, match=r"900.dcm is no DICOM file"):
        files.read(tmp_path / "s")
    path.rename(tmp_path / "s" / "IM7")
    (tmp_path / "s" / "899.dcm").rename(tmp_path / "s" / "IM8")
    with pytest.raises(FileError, match=r"IM7 is no DICOM file"):
        files.read(tmp_path / "s")


def test_a_palette_of_colours_is_expanded(tmp_path: Path) -> None:
    indices = (np.arange(30) % 4).reshape(6, 5).astype(np.uint8)
    fields: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    colours = np.array([[0, 255, 7, 9], [1, 2, 3, 4], [250, 0, 0, 8]], np.uint16)
    for name, values in zip(("Red", "Green", "Blue"), colours, strict=True):
        fields[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        fields[f"{name}PaletteColorLookupTableData"] = (values << 8).astype("<u2").tobytes()
    picture = files.read(save(tmp_path / "a.dcm", indices, **fields))
    np.testing.assert_array_equal(picture.array, colours[:, indices])
    assert picture.array.dtype == files.probe(tmp_path / "a.dcm").dtype == np.uint8


def test_mixed_series_are_listed(tmp_path: Path) -> None:
    series(tmp_path / "s", [0.0, 2.0])
    save(tmp_path / "s" / "other.dcm", SLICE, SeriesInstanceUID="1.2.4", SeriesDescription="scout")
    with pytest.raises(FileError, match=r"holds 2 series: T1 1.2.3 \(2 files\); scout 1.2.4 \(1 files\); expected one"):
        files.probe(tmp_path / "s")


def test_slices_of_another_kind_are_refused(tmp_path: Path) -> None:
    series(tmp_path / "s", [0.0, 2.0])
    turned = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0], "PixelSpacing": [1, 1]}
    save(tmp_path / "s" / "a.dcm", SLICE, **turned)
    with pytest.raises(FileError, match=r"a.dcm has another orientation, spacing or number of frames than 899.dcm"):
        files.probe(tmp_path / "s")


def test_slices_without_positions_follow_their_numbers(tmp_path: Path) -> None:
    slices = series(tmp_path / "s", [0.0, 0.0, 0.0], ImagePositionPatient=None)
    picture = files.read(tmp_path / "s")
    np.testing.assert_array_equal(picture.array[0], np.stack([pixels.T for pixels in slices], axis=-1))
    assert picture.geometry.affine is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Rows": 7}, "holds 60 bytes of pixels; expected 70 for 1 frames of 5 x 7"),
        ({"NumberOfFrames": 2, "PixelData": bytes(118)}, "expected 120"),
        ({"NumberOfFrames": 10**12}, "asks for 1,000,000,000,000 frames of 5 x 6 pixels"),
        ({"NumberOfFrames": 10**9, "syntax": RLELossless, "PixelData": encapsulate([b"12"])}, "asks for 1,000,000,000"),
        ({"Rows": None}, "holds no image"),
        ({"PhotometricInterpretation": "HSV"}, "as HSV; expected grey values or colours"),
        ({"PixelSpacing": [0, 1]}, "its pixels are 0 x 1 mm apart"),
        ({"RescaleSlope": 0}, "its rescale slope is 0"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0], "ImagePositionPatient": [0, 0, 0]}, "at right angles"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(FileError, match=words):
        files.read(save(tmp_path / "a.dcm", SLICE, **fields))


def test_a_transfer_syntax_that_could_explode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="decompress it first"):
        files.read(save(tmp_path / "a.dcm", SLICE, syntax=DeflatedExplicitVRLittleEndian))


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", SLICE)
    path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(files.read(path).array[0], SLICE)


@pytest.mark.parametrize(("slide", "refused"), [(0.0, False), (0.03, False), (0.5, True)])
def test_slices_that_slide_as_with_a_tilted_gantry_are_refused_with_the_angle(
    tmp_path: Path, slide: float, refused: bool
) -> None:
    series(tmp_path / "s", [0.0, 2.0, 4.0])
    for index, path in enumerate(sorted((tmp_path / "s").iterdir(), reverse=True)):
        found = dcmread(path)
        found.ImagePositionPatient = [float(x) for x in np.array(found.ImagePositionPatient) + index * slide * DOWN]
        found.save_as(path)
    if not refused:
        assert files.read(tmp_path / "s").geometry.affine is not None
        return
    angle = 90 - np.degrees(np.arctan(slide / 2))
    with pytest.raises(FileError, match=f"axes 2 and 3 meet at {angle:.1f} degrees"):
        files.read(tmp_path / "s")
