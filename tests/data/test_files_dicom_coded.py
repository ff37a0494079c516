"""Compressed DICOM through the door: what another library packed, or unpacks, is what is read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

import stored
from data.test_files_dicom import save
from scantling.core.errors import FileError
from scantling.data import files

pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(6)
DOWN, ACROSS = np.mgrid[:40, :56]
SMOOTH = (1400 + 700 * np.sin(DOWN / 7) + 500 * np.cos(ACROSS / 9) + RNG.integers(0, 9, (40, 56))).astype(np.uint16)
LOSSLESS = [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1]


def packed(path: Path, pixels: np.ndarray, syntax: str, **fields: Any) -> Path:
    """A file packed by pydicom, or by GDCM where pydicom cannot."""
    if syntax != JPEGLosslessSV1:
        save(path, pixels, **fields)
        found = dcmread(path)
        found.compress(syntax, generate_instance_uid=False)
        found.save_as(path)
        return path
    gdcm = pytest.importorskip("gdcm", reason="GDCM packs lossless JPEG")
    plain = save(path.with_suffix(".plain"), pixels, **fields)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    plain.unlink()
    return path


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name[:24])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2"])
def test_a_lossless_file_is_what_was_packed(tmp_path: Path, syntax: Any, kind: str) -> None:
    pixels = (SMOOTH // (16 if kind == "u1" else 1)).astype(kind) - np.array(700 if kind == "i2" else 0, kind)
    path = packed(tmp_path / "a.dcm", pixels, syntax)
    assert dcmread(path).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(stored.read(path).array[0], pixels)
    np.testing.assert_array_equal(stored.read(path, untrusted=True).array[0], pixels)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name[:24])
def test_frames_and_colours_are_unpacked_and_simpleitk_agrees(tmp_path: Path, syntax: Any) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is an extra")
    frames = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]])
    fields = {"NumberOfFrames": 3, "Rows": 40, "Columns": 56}
    path = packed(tmp_path / "a.dcm", frames, syntax, **fields)
    np.testing.assert_array_equal(stored.read(path).array[0], frames.T)
    colours = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], axis=-1).astype(np.uint8)
    fields = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    path = packed(tmp_path / "b.dcm", colours, syntax, **fields)
    picture = stored.read(path)
    np.testing.assert_array_equal(picture.array, np.moveaxis(colours, -1, 0))
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO")).squeeze()
    np.testing.assert_array_equal(np.moveaxis(picture.array, 0, -1), read)


def test_extended_jpeg_of_12_bits_is_near_what_was_packed(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs", reason="imagecodecs packs 12 bits")
    coded = encapsulate([imagecodecs.jpeg_encode(SMOOTH, level=95, bitspersample=12)])
    fields = {"syntax": JPEGExtended12Bit, "BitsStored": 12, "HighBit": 11, "PixelData": coded}
    path = save(tmp_path / "a.dcm", SMOOTH, **fields)
    np.testing.assert_allclose(stored.read(path).array[0], SMOOTH, atol=20)


def test_a_photograph_in_baseline_jpeg_has_the_colours_that_pillow_shows(tmp_path: Path) -> None:
    colours = np.stack([SMOOTH // 16, SMOOTH[::-1] // 16, SMOOTH[:, ::-1] // 16], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "JPEG", quality=90)
    fields = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    coded = encapsulate([stream.getvalue()])
    picture = stored.read(save(tmp_path / "a.dcm", colours, syntax=JPEGBaseline8Bit, PixelData=coded, **fields))
    np.testing.assert_allclose(np.moveaxis(picture.array, 0, -1), np.asarray(Image.open(stream)), atol=2)
    cut = encapsulate([stream.getvalue()[:-200]])
    with pytest.raises(FileError, match="truncated"):
        stored.read(save(tmp_path / "b.dcm", colours, syntax=JPEGBaseline8Bit, PixelData=cut, **fields))


@pytest.mark.parametrize("kind", ["YBR_FULL", "YBR_FULL_422"])
def test_luma_and_chroma_become_red_green_and_blue(tmp_path: Path, kind: str) -> None:
    red, luma = (
        np.array([200, 30, 40]),
        np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]),
    )
    ybr = (luma @ red + [0, 128, 128]).round().astype(np.uint8)
    pixels = np.tile(ybr, (6, 8, 1))
    fields: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": kind, "PlanarConfiguration": 0}
    if kind == "YBR_FULL_422":
        fields["PixelData"] = bytes([ybr[0], ybr[0], ybr[1], ybr[2]]) * (6 * 8 // 2)
    picture = stored.read(save(tmp_path / "a.dcm", pixels, **fields))
    np.testing.assert_allclose(picture.array, np.broadcast_to(red[:, None, None], (3, 6, 8)), atol=2)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name[:24])
def test_a_packed_size_that_contradicts_the_header_is_refused(tmp_path: Path, syntax: Any) -> None:
    path = packed(tmp_path / "a.dcm", SMOOTH, syntax)
    for name, length in (("Rows", 39), ("Columns", 80)):
        found = dcmread(path)
        setattr(found, name, length)
        found.save_as(tmp_path / "b.dcm")
        with pytest.raises(FileError):
            stored.read(tmp_path / "b.dcm")


@pytest.mark.parametrize(
    ("fields", "spacing"),
    [
        ({"PixelSpacing": [0.5, 0.25]}, (0.5, 0.25)),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"NominalScannedPixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"PixelSpacing": [0.5, 0.25], "ImagerPixelSpacing": [0.2, 0.1]}, (0.5, 0.25)),
        ({}, None),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0]}, None),
    ],
)
@pytest.mark.parametrize("modality", ["DX", "US", "CT", "OP"])
def test_a_spacing_counts_for_every_modality_and_none_is_pixels(
    tmp_path: Path, fields: dict[str, Any], spacing: tuple[float, float] | None, modality: str
) -> None:
    geometry = stored.probe(save(tmp_path / "a.dcm", SMOOTH, Modality=modality, **fields)).geometry
    assert (geometry.unit, geometry.spacing) == (("mm", spacing) if spacing else ("pixel", (1.0, 1.0)))
    assert spacing or geometry.affine is None


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", ExplicitVRLittleEndian])
def test_a_file_that_begins_with_its_first_element_is_dicom(tmp_path: Path, syntax: str) -> None:
    path = save(tmp_path / "a.dcm", SMOOTH, syntax=syntax, Modality="CT")
    found = dcmread(path)
    found.preamble = None
    del found.file_meta
    found.save_as(path, enforce_file_format=False, implicit_vr=syntax == "1.2.840.10008.1.2", little_endian=True)
    assert path.read_bytes()[:2] == b"\x08\x00"
    if syntax == ExplicitVRLittleEndian:
        assert files.is_image_name(tmp_path)
    np.testing.assert_array_equal(stored.read(path).array[0], SMOOTH)
