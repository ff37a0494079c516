"""Mutate small files of every readable format and read them: typed error or the same shape, never anything else.

    python benchmarks/fuzz.py [--count 1500] [--seed 0]

Each file is mutated `count` times: a quarter is truncated, the others have 1 to 16 bits flipped, half of these within
their first 256 bytes, where headers lie. Exits with 1 if an error was not typed, a read took over 2 s, or another
shape was accepted. Some sizes are measured but not judged, because their format stores them once, without a
checksum, and their data do not depend on their last bits: a JPEG that is no multiple of its blocks, an 8-bit BMP or a
PBM whose rows are padded, a TIFF or a JPEG 2000 whose tiles reach beyond the image. Nor are those judged whose decoder
fills or cuts what does not fit its size (WebP, CCITT), and an EXIF orientation, which nothing protects.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from scantling.core.case import Address, Geometry
from scantling.core.errors import FileError
from scantling.data import files

SLOWEST = 2.0
HEADER = 256


@dataclass(frozen=True)
class Sample:
    """A valid file.

    Attributes:
        name: of the file, with a member after `#`; in a folder that is read as a whole if it names one.
        judged: whether its format gives its size any protection.
        beside: other files of the folder, which stay sound.
        with_files: names and contents of files that it refers to, which stay sound.
    """

    kind: str
    name: str
    data: bytes
    judged: bool = True
    beside: tuple[bytes, ...] = ()
    with_files: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Tally:
    """What became of the mutations of one sample."""

    same: int = 0
    typed: int = 0
    other: int = 0
    untyped: int = 0
    slowest: float = 0.0
    example: str = ""


def samples() -> Iterator[Sample]:
    """One small valid file for each way in which a format is commonly written."""
    rng = np.random.default_rng(7)
    down, across = np.mgrid[:48, :64]
    smooth = (120 + 60 * np.sin(down / 7) + 50 * np.cos(across / 9)).astype(np.uint8)
    grey = np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)
    colour = np.stack([grey, smooth, 255 - grey], axis=-1)
    odd = colour[:45, :61]
    labels = (grey > 120).astype(np.uint8)
    volume = rng.integers(0, 900, (20, 18, 12)).astype(np.int16)

    yield Sample("PNG grey", "a.png", _pillow(grey, "PNG"))
    yield Sample("PNG colour", "a.png", _pillow(colour, "PNG"))
    yield Sample("PNG palette", "a.png", _pillow(colour, "PNG", mode="P"))
    deep = colour.astype(np.uint16) * 257
    yield Sample("PNG 16 bits in colour", "a.png", imagecodecs.png_encode(deep))
    yield Sample("PNG 16 bits", "a.png", _pillow(grey.astype(np.uint16) * 257, "PNG"))
    yield Sample("JPEG grey", "a.jpg", _pillow(grey, "JPEG"))
    yield Sample("JPEG colour", "a.jpg", _pillow(colour, "JPEG"))
    yield Sample("JPEG progressive", "a.jpg", _pillow(colour, "JPEG", progressive=True))
    yield Sample("JPEG restarts", "a.jpg", _pillow(colour, "JPEG", restart_marker_blocks=3))
    yield Sample("JPEG 61 x 45", "a.jpg", _pillow(odd, "JPEG"), judged=False)
    yield Sample("JPEG turned by EXIF", "a.jpg", _pillow(odd, "JPEG", exif=_turned_by(6)), judged=False)
    yield Sample("JPEG 2000", "a.jp2", _pillow(colour, "JPEG2000"))
    yield Sample("JPEG 2000 tiles", "a.j2k", _pillow(grey, "JPEG2000", no_jp2=True, tile_size=(32, 32)), judged=False)
    yield Sample("WebP", "a.webp", _pillow(colour, "WEBP"), judged=False)
    yield Sample("WebP lossless", "a.webp", _pillow(colour, "WEBP", lossless=True), judged=False)
    yield Sample("PGM", "a.pgm", _pillow(grey, "PPM"))
    yield Sample("PPM", "a.ppm", _pillow(colour, "PPM"))
    yield Sample("PBM 61 x 45", "a.pbm", _pillow(grey[:45, :61] > 120, "PPM"), judged=False)
    yield Sample("PGM as text", "a.pgm", b"P2\n64 48\n255\n" + b" ".join(b"%d" % value for value in grey.flat))
    yield Sample("GIF grey", "a.gif", _pillow(grey, "GIF"))
    yield Sample("GIF colour", "a.gif", _pillow(colour, "GIF", mode="P"))
    yield Sample("BMP colour", "a.bmp", _pillow(colour, "BMP"))
    yield Sample("BMP grey", "a.bmp", _pillow(grey, "BMP"))
    yield Sample("BMP grey 61 x 45", "a.bmp", _pillow(grey[:45, :61], "BMP"), judged=False)
    yield Sample("TIFF plain", "a.tif", _pillow(colour, "TIFF"))
    yield Sample("TIFF LZW", "a.tif", _pillow(colour, "TIFF", compression="tiff_lzw"))
    yield Sample("TIFF deflate", "a.tif", _tiff(grey, compression="zlib"))
    yield Sample("TIFF stack", "a.tif", _tiff(rng.integers(0, 999, (5, 48, 64)).astype(np.uint16)))
    yield Sample("TIFF ImageJ", "a.tif", _tiff(rng.random((2, 3, 48, 64)).astype(np.float32), imagej=True))
    yield Sample("TIFF tiles", "a.tif", _tiff(grey, tile=(16, 16), compression="zlib"))
    yield Sample("TIFF tiles 61 x 45", "a.tif", _tiff(grey[:45, :61], tile=(16, 16), metadata=None), judged=False)
    yield Sample("TIFF JPEG", "a.tif", _tiff(colour, compression="jpeg", photometric="rgb", rowsperstrip=16))
    yield Sample("TIFF JPEG 2000", "a.tif", _tiff(grey, compression="jpeg2000"))
    yield Sample("TIFF zstd", "a.tif", _tiff(deep, compression="zstd", predictor=True))
    yield Sample("TIFF float", "a.tif", _tiff(grey / np.float32(7), compression="lzw", predictor=3))
    yield Sample("TIFF PackBits", "a.tif", _tiff(grey, compression="packbits"))
    yield Sample("TIFF group 3", "a.tif", _pillow(grey > 120, "TIFF", compression="group3"), judged=False)
    yield Sample("TIFF group 4", "a.tif", _pillow(grey > 120, "TIFF", compression="group4"), judged=False)
    yield Sample("BigTIFF", "a.tif", _tiff(grey, bigtiff=True, compression="zlib", rowsperstrip=8))
    yield Sample(
        "TIFF OME", "a.tif", _tiff(rng.integers(0, 999, (2, 3, 48, 64), np.uint16), ome=True, metadata={"axes": "CZYX"})
    )
    with tempfile.TemporaryDirectory() as folder:
        flat = Geometry((48, 64), (1.0, 1.0))
        solid = Geometry(volume.shape, (1.0, 1.0, 2.0), np.diag([1.0, 1.0, 2.0, 1.0]), "volume", 2)
        maps = rng.random((3, 48, 64)).astype(np.float32)
        yield Sample("TIFF ours", "a.tif", files.write_map(folder, "a", maps, flat).read_bytes())
        yield Sample("PNG ours", "a.png", files.write_labels(folder, "a", labels, flat).read_bytes())
        yield Sample("NIfTI ours", "a.nii.gz", files.write_labels(folder, "a", volume > 450, solid).read_bytes())
    image = nibabel.Nifti1Image(volume, np.diag([1.0, 1.0, 2.0, 1.0]))
    yield Sample("NIfTI", "a.nii", image.to_bytes())
    yield Sample("NIfTI gzip", "a.nii.gz", _gzipped(image))
    yield Sample("NIfTI channels", "a.nii", nibabel.Nifti1Image(rng.random((9, 8, 7, 3), np.float32), None).to_bytes())
    yield Sample("DICOM explicit", "a.dcm", dicom(volume[:, :, 0]))
    yield Sample("DICOM implicit", "a.dcm", dicom(volume[:, :, 0], syntax=ImplicitVRLittleEndian))
    yield Sample("DICOM frames", "a.dcm", dicom(volume))
    yield Sample("DICOM run lengths", "a.dcm", dicom(volume[:, :, 0], syntax=RLELossless))
    yield from _coded_dicom(volume[:, :, 0])
    yield from volumes(volume)
    yield Sample("DICOM colour", "a.dcm", dicom(colour[:20, :18]))
    places = [{"ImagePositionPatient": [-10, -20, 2 * height]} for height in range(5)]
    last, *others = (dicom(volume[:, :, 0], **place) for place in places)
    yield Sample("DICOM series", "s/9.dcm", last, beside=tuple(others))
    yield Sample("NPY image", "a.npy", _numpy(grey))
    yield Sample("NPY colour", "a.npy", _numpy(colour))
    yield Sample("NPY volume", "a.npy", _numpy(volume))
    yield Sample("NPZ member", "a.npz#image", _numpy(volume, member=True))


def _coded_dicom(pixels: np.ndarray) -> Iterator[Sample]:
    """Compressed files, which hold their size twice, and a segmentation."""
    smooth = np.tile(np.abs(np.cumsum(pixels % 7, axis=0)), (2, 2)).astype(np.uint16) % 256
    for name, syntax in (("JPEG-LS", JPEGLSLossless), ("JPEG 2000", JPEG2000Lossless)):
        yield Sample(f"DICOM {name}", "a.dcm", dicom(smooth, syntax=syntax))
    twelve = {"BitsStored": 12, "HighBit": 11}
    for name, syntax, array, coded, fields in (
        ("JPEG", JPEGBaseline8Bit, smooth.astype(np.uint8), imagecodecs.jpeg_encode(smooth.astype(np.uint8)), {}),
        ("12-bit JPEG", JPEGExtended12Bit, smooth, imagecodecs.jpeg_encode(smooth, bitspersample=12), twelve),
        ("lossless JPEG", JPEGLosslessSV1, smooth, imagecodecs.ljpeg_encode(smooth, bitspersample=12), twelve),
    ):
        data = dicom(array, syntax=syntax, PixelData=encapsulate([coded]), **fields)
        yield Sample(f"DICOM {name}", "a.dcm", data)
    item = Dataset()
    item.SegmentNumber, item.SegmentLabel = 1, "liver"
    place = dict.fromkeys(("ImageOrientationPatient", "ImagePositionPatient", "RescaleSlope"))
    fields = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "SegmentationType": "BINARY", "BitsAllocated": 1}
    fields |= {"BitsStored": 1, "HighBit": 0, "SegmentSequence": Sequence([item]), "PixelData": bytes(range(46))}
    yield Sample("DICOM segmentation", "a.dcm", dicom((pixels > 450).astype(np.uint16), **fields, **place))


def volumes(volume: np.ndarray) -> Iterator[Sample]:
    """Volumes that nibabel and SimpleITK write; MGH, which may go on after its voxels, does not protect its size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nibabel.save(nibabel.Nifti1Pair(volume, np.eye(4)), folder / "a.img")
        pair = ("a.img", (folder / "a.img").read_bytes())
        yield Sample("NIfTI pair", "a.hdr", (folder / "a.hdr").read_bytes(), with_files=(pair,))
        for kind, judged in (("mgh", False), ("mgz", True)):
            nibabel.save(nibabel.MGHImage(volume, np.eye(4)), folder / f"a.{kind}")
            yield Sample(kind.upper(), f"a.{kind}", (folder / f"a.{kind}").read_bytes(), judged=judged)
        try:
            import SimpleITK as sitk  # noqa: N813
        except ImportError:
            return
        image = sitk.GetImageFromArray(volume)
        for kind, suffix in (("NRRD", "nrrd"), ("MetaImage", "mha")):
            for packed in (False, True):
                sitk.WriteImage(image, str(folder / f"a.{suffix}"), packed)
                data = (folder / f"a.{suffix}").read_bytes()
                yield Sample(f"{kind}{' packed' if packed else ''}", f"a.{suffix}", data)
        sitk.WriteImage(image, str(folder / "b.mhd"))
        voxels = ("b.raw", (folder / "b.raw").read_bytes())
        yield Sample("MetaImage in two files", "b.mhd", (folder / "b.mhd").read_bytes(), with_files=(voxels,))


def mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged copies of `data`, the same for the same seed."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        if number % 4 == 0:
            yield data[: int(rng.integers(0, len(data)))]
            continue
        mutated = bytearray(data)
        reach = min(HEADER, len(data)) if number % 2 else len(data)
        for _ in range(int(rng.choice([1, 1, 2, 4, 8, 16]))):
            mutated[int(rng.integers(0, reach))] ^= 1 << int(rng.integers(0, 8))
        yield bytes(mutated)


def fuzz(sample: Sample, count: int, seed: int) -> Tally:
    """Read `count` mutations of `sample` in this process and sort what happens."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        name, _, member = sample.name.partition("#")
        address = Address(Path(folder) / name, member)
        target = address.path
        if sample.beside:
            address = Address(target.parent)
            address.path.mkdir()
            for number, data in enumerate(sample.beside):
                target.with_name(f"{number}.dcm").write_bytes(data)
        for other, data in sample.with_files:
            target.with_name(other).write_bytes(data)
        target.write_bytes(sample.data)
        expected = files.read(address).array.shape
        for number, data in enumerate(mutations(sample.data, count, seed)):
            target.write_bytes(data)
            start = time.perf_counter()
            try:
                shape = files.read(address).array.shape
                tally.same += shape == expected
                tally.other += shape != expected
                if shape != expected and not tally.example:
                    tally.example = f"mutation {number}: {shape} for {expected}"
            except FileError:
                tally.typed += 1
            except Exception as error:  # what must never happen is what is counted here
                tally.untyped += 1
                tally.example = tally.example or f"mutation {number}: {type(error).__name__}: {error}"
            tally.slowest = max(tally.slowest, time.perf_counter() - start)
    return tally


def dicom(pixels: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **fields: object) -> bytes:
    """A DICOM file of `(rows, columns)`, `(rows, columns, 3)` uint8 or `(frames, rows, columns)` numbers."""
    meta = FileMetaDataset()
    packed = syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if packed else syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["a"])
    found = FileDataset("", Dataset(), file_meta=meta, preamble=bytes(128))
    found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    found.SeriesInstanceUID = generate_uid(entropy_srcs=["b"])
    colour = pixels.ndim == 3 and pixels.dtype == np.uint8
    found.SamplesPerPixel = 3 if colour else 1
    found.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        found.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        found.NumberOfFrames = len(pixels)
    found.Rows, found.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    found.BitsAllocated = found.BitsStored = pixels.dtype.itemsize * 8
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    found.PixelSpacing, found.RescaleSlope, found.RescaleIntercept = [0.7, 0.7], 1, -1024
    found.ImageOrientationPatient, found.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-10, -20, 5]
    found.PixelData = np.ascontiguousarray(pixels).tobytes()
    for name, value in fields.items():
        setattr(found, name, value)
    if packed:
        found.compress(syntax, generate_instance_uid=False)
    stream = io.BytesIO()
    found.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _pillow(array: np.ndarray, format: str, *, mode: str = "", **options: object) -> bytes:
    image = Image.fromarray(array)
    stream = io.BytesIO()
    (image.convert(mode, palette=Image.Palette.ADAPTIVE) if mode else image).save(stream, format, **options)
    return stream.getvalue()


def _turned_by(orientation: int) -> bytes:
    notes = Image.Exif()
    notes[274] = orientation
    return notes.tobytes()


def _tiff(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def _gzipped(image: nibabel.Nifti1Image) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        nibabel.save(image, Path(folder) / "a.nii.gz")
        return (Path(folder) / "a.nii.gz").read_bytes()


def _numpy(array: np.ndarray, *, member: bool = False) -> bytes:
    stream = io.BytesIO()
    if member:
        np.savez_compressed(stream, image=array, label=array > 450)
    else:
        np.save(stream, array)
    return stream.getvalue()


def main() -> int:
    """Print the table; 1 if a judged sample fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="samples whose name begins so")
    options = parser.parse_args()
    warnings.simplefilter("error")
    out = sys.stdout
    out.write("| sample | bytes | same shape | typed error | other shape | untyped | slowest s |\n")
    out.write("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
    failed = False
    for sample in samples():
        if not sample.kind.startswith(options.only):
            continue
        tally = fuzz(sample, options.count, options.seed)
        failed |= bool(tally.untyped or tally.slowest > SLOWEST or (tally.other and sample.judged))
        mark = "" if sample.judged else " (size unprotected)"
        out.write(
            f"| {sample.kind}{mark} | {len(sample.data):,} | {tally.same} | {tally.typed} | {tally.other} | "
            f"{tally.untyped} | {tally.slowest:.3f} |{' ' + tally.example if tally.example else ''}\n"
        )
        out.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
