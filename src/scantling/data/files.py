"""The one door for image files: headers are judged before pixels are decoded, and every failure is one sentence.

Reads PNG, JPEG, JPEG 2000, GIF, BMP, WebP, PNM, TIFF, NIfTI, MGH, NRRD, MetaImage, DICOM (a file, or a series), NPY
and NPZ, by content, not by name. Axes keep the order of the file: `(H, W)` or `(slices, H, W)` for TIFF, NPY and NPZ,
`(X, Y, Z)` for other volumes. Pictures are turned as EXIF says, volumes with an affine to right, anterior, superior,
and back when they are written (`data.orientation`). A damaged file ends in a `FileError`, or in an image of its true
shape as far as its format can tell.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from scantling.core import atomic
from scantling.core.case import COLOURED, Address, Geometry
from scantling.core.errors import FileError
from scantling.data.formats.common import Array, Header, Limits, Picture, Plan, Source, admit
from scantling.data.formats.exif import as_shown
from scantling.data.formats.recognised import ANNOTATIONS, inspector, is_fragile, recognise
from scantling.data.mask_colours import label_map
from scantling.data.memory import MemoryAddress
from scantling.data.orientation import canonical, turned

__all__ = [
    "Header",
    "Limits",
    "Picture",
    "is_image_name",
    "parse_address",
    "probe",
    "read",
    "read_labels",
    "safe_id",
    "stem_of",
    "write_labels",
    "write_map",
]

GENEROUS = Limits()
UNBOUND: dict[str, Any] = {"seconds": 3600.0, "memory": 0}
"""What a trusted file may take in another process, where a crash of its library ends."""
RASTERS = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".j2k", ".pgm", ".ppm", ".pbm")
VOLUMES = (".nii", ".nii.gz", ".npy", ".npz", ".hdr", ".mgh", ".mgz", ".nrrd", ".nhdr", ".mha", ".mhd")
SUFFIXES = (*RASTERS, *VOLUMES, ".dcm", ".dicom", ".ima")
RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(1, 10))}
WRITTEN = ("uint8", "uint16", "int16", "int32", "float32")
SHORT = 65535
"""The greatest number in 16 bits."""
FORBIDDEN = set('/\\:*?"<>|')


def probe(address: Address | Path | str, *, limits: Limits = GENEROUS, untrusted: bool = False) -> Header:
    """What the file says of itself, from its header only: nothing is decoded. Arguments as for `read`.

    Raises:
        FileError: if the file cannot be read, makes no sense or exceeds a limit.
    """
    address = parse_address(address)
    if isinstance(address, MemoryAddress):
        return address.header()
    if untrusted or is_fragile(address.path):
        from scantling.data import guard

        header = guard.probe(address, limits if untrusted else replace(limits, **UNBOUND))
    else:
        header = inspected(address, limits)
    geometry = canonical(header.geometry)
    return replace(header, shape=geometry.shape, geometry=geometry)


def read(
    address: Address | Path | str, *, limits: Limits = GENEROUS, untrusted: bool = False, labels: bool = False
) -> Picture:
    """An image as `(C, *S)` in the number type of its file (float32 where the file scales its values).

    Args:
        address: a file, a folder with one DICOM series, a member (`f.npz#image`, `folder#SeriesInstanceUID`), or an
            address in memory.
        limits: what the file may ask for.
        untrusted: decode in another process with a time and a memory limit. NRRD and MetaImage always are in another.
        labels: a palette of colours gives indices, and a channel "alpha" is kept.

    Raises:
        FileError: if the file cannot be read, is damaged, or exceeds a limit.
    """
    address = parse_address(address)
    if isinstance(address, MemoryAddress):
        return address.picture()
    if untrusted or is_fragile(address.path):
        from scantling.data import guard

        picture = guard.read(address, limits if untrusted else replace(limits, **UNBOUND), labels=labels)
    else:
        picture = decoded(address, limits, labels=labels)
    geometry = canonical(picture.geometry)
    return Picture(turned(picture.array, geometry), geometry, picture.channels)


def read_labels(
    address: Address | Path | str,
    *,
    limits: Limits = GENEROUS,
    untrusted: bool = False,
    colours: bool = False,
    rounded: bool = False,
) -> tuple[Array, Geometry]:
    """A label map as int32 `(*S)`.

    A palette of greys gives the greys, a palette of colours the indices, or the colours if `colours`. Colours become
    numbers, and a mask may lie in the alpha channel: see `mask_colours`. Fractions become the nearest whole number if
    `rounded`. Other arguments as for `read`.

    Raises:
        FileError: also if a value is not a whole number within 0.001, or not finite, or there are several channels
            that are not red, green, blue and alpha.
    """
    address = parse_address(address)
    picture = read(address, limits=limits, untrusted=untrusted, labels=True)
    if colours and len(picture.channels) == 1:  # it may have a palette
        picture = read(address, limits=limits, untrusted=untrusted)
    return label_map(picture, address, rounded=rounded), picture.geometry


def write_labels(folder: Path | str, id: str, array: Array, geometry: Geometry) -> Path:
    """Write a label map `(*S)` of whole numbers from 0 as `ID.png`, or `ID.nii.gz` for a volume; return its path.

    Numbers are 8 bits, 16 above 255 and 32 above 65,535, which a PNG does not hold: then it is `ID.tif`. A volume keeps
    its affine, and axes of length 1 that its image has.

    Raises:
        FileError: if the id is no safe name, the shape is not the geometry's, or a value does not fit.
    """
    values = np.asarray(array)
    raster = geometry.container == "raster"
    low, high = (int(values.min()), int(values.max())) if values.size and values.dtype.kind in "biu" else (0, 0)
    flat = ".tif" if high > SHORT else ".png"
    path = Path(folder) / f"{safe_id(id)}{flat if raster else '.nii.gz'}"
    _fits(path, values.shape, geometry)
    if values.dtype.kind not in "biu":
        raise FileError(path, f"labels are of type {values.dtype}", expected="whole numbers")
    if low < 0 or high >= COLOURED:
        raise FileError(path, f"labels reach from {low} to {high}", expected=f"numbers from 0 to {COLOURED - 1:,}")
    numbers = values.astype(np.int32 if high > SHORT else np.uint16 if high > 255 else np.uint8, copy=False)
    if raster:
        from scantling.data.formats import png, tiff

        atomic.write_bytes(path, tiff.encode(numbers[None]) if high > SHORT else png.encode(numbers))
    else:
        from scantling.data.formats import nifti

        atomic.write_bytes(path, nifti.encode(numbers[None], geometry))
    return path


def write_map(folder: Path | str, id: str, array: Array, geometry: Geometry) -> Path:
    """Write maps `(K, *S)` as float32 `ID.tif` (a page each), or `ID.nii.gz` (X, Y, Z[, K]) for a volume.

    `read` gives back `(K, *S)` exactly.

    Raises:
        FileError: if the id is no safe name or the shape is not the geometry's.
    """
    maps = np.asarray(array, np.float32)
    raster = geometry.container == "raster"
    path = Path(folder) / f"{safe_id(id)}{'.tif' if raster else '.nii.gz'}"
    _fits(path, maps.shape[1:], geometry)
    if raster:
        from scantling.data.formats import tiff

        atomic.write_bytes(path, tiff.encode(maps))
    else:
        from scantling.data.formats import nifti

        atomic.write_bytes(path, nifti.encode(maps, geometry))
    return path


def write_image(folder: Path | str, id: str, array: Array, geometry: Geometry, *, colour: bool | None = None) -> Path:
    """Write an image `(C, *S)` in its own number type; return its path.

    A volume becomes `ID.nii.gz`; another image `ID.png` where that holds it (8 bits in grey or colour, 16 in grey),
    else `ID.tif`. `colour` is whether the channels are red, green and blue; None: where there are three.

    Raises:
        FileError: if the id is no safe name, or the array is no such image.
    """
    image = np.asarray(array)
    colour = len(image) == 3 if colour is None else colour
    flat = (len(image) == 1 and image.dtype.name in WRITTEN[:2]) or (colour and image.dtype == np.uint8)
    suffix = ".nii.gz" if geometry.container == "volume" else ".png" if flat else ".tif"
    path = Path(folder) / f"{safe_id(id)}{suffix}"
    if image.dtype.name not in WRITTEN or image.ndim < 3 or (colour and len(image) != 3):
        raise FileError(path, f"the image is {image.dtype} {image.shape}", expected=f"(C, *S) of {', '.join(WRITTEN)}")
    _fits(path, image.shape[1:], geometry)
    from scantling.data.formats import nifti, png, tiff

    if geometry.container == "volume":
        atomic.write_bytes(path, nifti.encode(image, geometry))
    elif flat:
        atomic.write_bytes(path, png.encode(image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)))
    else:
        atomic.write_bytes(path, tiff.encode(image, colour=colour))
    return path


def parse_address(address: Address | Path | str) -> Address:
    """An address from its text: what follows `#` names a member of an archive, of annotations or of a folder."""
    if isinstance(address, Address):
        return address
    text = str(address)
    path, mark, member = text.rpartition("#")
    named = path.lower().endswith((".npz", *ANNOTATIONS)) or member.startswith(("mask:", "objects:"))
    if mark and (named or Path(path).exists()) and not Path(text).exists():
        return Address(Path(path), member)
    return Address(Path(text))


def stem_of(path: PurePath | str) -> str:
    """The name of a file without the suffix of its format, in the Unicode form NFC: `a.b.nii.gz` is `a.b`."""
    name = unicodedata.normalize("NFC", PurePath(path).name)
    suffixes = (*SUFFIXES, ".ome.tif", ".ome.tiff")
    suffix = max((suffix for suffix in suffixes if name.lower().endswith(suffix)), key=len, default="")
    return name[: len(name) - len(suffix)] if suffix else PurePath(name).stem


def is_image_name(path: Path | str) -> bool:
    """Whether this is named like a file that can be read, or is a folder of DICOM files rather than of other images."""
    path = Path(path)
    if path.is_dir():
        from scantling.data.formats.dicom_files import holds_dicom

        return holds_dicom(path, others=RASTERS + VOLUMES)
    return not path.name.startswith(".") and path.name.lower().endswith(SUFFIXES)


def safe_id(id: str) -> str:
    """The id itself, if it is a file name on every system and leads nowhere else.

    Raises:
        FileError: if it holds a separator or another character that Windows forbids, is reserved, or too long.
    """
    bad = sorted({character for character in id if character in FORBIDDEN or not character.isprintable()})
    reserved = id.split(".", 1)[0].strip().lower() in RESERVED
    if bad or reserved or not id or id[0] == " " or id[-1] in " ." or len(id.encode()) > 200:
        raise FileError(
            repr(id[:80]),
            "cannot be the name of a file" + (f" because of {' '.join(map(repr, bad[:5]))}" if bad else ""),
            expected="letters, digits, '-', '_' and '.', under 200 of them, and no reserved name",
            remedy="rename the case",
        )
    return id


def inspected(address: Address, limits: Limits) -> Header:
    """The header in this process, axes as the file stores them. For `probe` and its guard."""
    with _planned(address, limits, labels=False) as plan:
        return plan.header


def decoded(address: Address, limits: Limits, *, labels: bool) -> Picture:
    """Decode in this process, axes as the file stores them; with `labels`, palettes of colours give indices.

    For `read` and its guard.
    """
    with _planned(address, limits, labels=labels) as plan:
        header = plan.header
        array = as_shown(plan.decode(), header.geometry.exif)
    if array.shape != (len(header.channels), *header.shape) or array.dtype != header.dtype:
        raise FileError(
            str(address),
            f"decoded to {array.dtype} {array.shape}",
            expected=f"{header.dtype} {(len(header.channels), *header.shape)} as its header says",
            remedy="it is damaged: copy it again from its source",
        )
    return Picture(array, header.geometry, header.channels)


@contextmanager
def _planned(address: Address, limits: Limits, *, labels: bool) -> Iterator[Plan]:
    """The judged plan of a file, open; whatever goes wrong inside becomes a `FileError`."""
    try:
        with np.errstate(all="ignore"), _opened(address, limits, labels) as source:
            plan = _inspected(source)
            admit(source, plan)
            yield plan
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(str(address), "does not fit into memory", remedy="use a smaller image or limit") from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise FileError(str(address), f"cannot be read ({error.strerror})", remedy="check the file") from error
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise FileError(
            str(address),
            f"cannot be decoded ({reason or type(error).__name__})",
            remedy="it is damaged or of a kind that is not read: save it again from its source",
        ) from error


@contextmanager
def _opened(address: Address, limits: Limits, labels: bool) -> Iterator[Source]:
    path = address.path
    if path.is_dir():
        yield Source(address, io.BytesIO(), 0, limits, labels)
        return
    if not path.is_file():
        exists = path.exists()
        raise FileError(path, "is no ordinary file" if exists else "does not exist", remedy="correct the path")
    with path.open("rb") as file:
        size = path.stat().st_size
        source = Source(address, file, size, limits, labels)
        if size == 0:
            raise source.error("is empty", expected="an image", remedy="copy it again from its source")
        if size > limits.bytes:
            raise source.error(f"holds {size:,} bytes", expected=f"at most {limits.bytes:,}", remedy="raise the limit")
        yield source


def _inspected(source: Source) -> Plan:
    found = recognise(source)
    if source.address.member and "DICOM" not in found and found not in ("NPZ", "annotations", "objects"):
        raise source.error(f"is a {found}, which has no members", expected="an NPZ archive before '#'")
    if found == "DICOM folder":
        from scantling.data.formats import dicom_series

        return dicom_series.inspect(source)
    return inspector(found)(source)


def _fits(path: Path, shape: tuple[int, ...], geometry: Geometry) -> None:
    if shape != geometry.shape or (geometry.container == "raster" and len(shape) != 2):
        raise FileError(path, f"is to hold an array of shape {shape}", expected=f"that of its image, {geometry.shape}")
