"""NRRD and MetaImage through SimpleITK, which is an extra: `pip install "scantling[itk]"`.

SimpleITK believes the sizes of a header, so they are held against the bytes that are there first; a header may name
one file of voxels, in its own folder. Raw and gzipped voxels are read. Axes are those of the file (X, Y, Z).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.case import Address, Geometry
from scantling.core.errors import FileError
from scantling.data.formats.common import (
    COLOUR,
    LPS_TO_RAS,
    Array,
    Header,
    Limits,
    Plan,
    Source,
    numbered,
    plausible_affine,
    plausible_spacing,
    volume,
)
from scantling.data.formats.gzipped import unpacked

LONGEST_HEADER = 1 << 20
BYTES = {
    r"(signed|unsigned|u)?char|u?int8(_t)?": 1,
    r"(signed|unsigned|u)?short(int)?|u?int16(_t)?": 2,
    r"(signed|unsigned|u)?int|u?int32(_t)?|float|u?long": 4,
    r"(signed|unsigned|u)?long_?long(int)?|u?int64(_t)?|double": 8,
}
"""The bytes of a number by what either format calls its type, in small letters without spaces."""
DAMAGED = "it is truncated or damaged: copy it again from its source"


@dataclass(frozen=True)
class _Text:
    """The fields of a header by their names in small letters without spaces, and where it ends."""

    fields: Mapping[str, str]
    end: int

    def get(self, *names: str) -> str:
        """The first of these fields that is there."""
        return next((self.fields[name] for name in names if name in self.fields), "")


def inspect(source: Source) -> Plan:
    """Judge the header, and the length of the voxels if they are not packed."""
    text = _text(source)
    coded = _judge_voxels(source, text, whole=False)
    reader, sitk = _reader(source)
    size = tuple(int(length) for length in reader.GetSize())
    components = int(reader.GetNumberOfComponents())
    if not 2 <= len(size) <= 4 or (len(size) == 4 and components > 1):
        raise source.error(f"has {len(size)} axes of {components} numbers", expected="two or three axes, and channels")
    name = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    dtype = np.dtype(_dtype(source, name))
    stored, count = (*size, 1)[:3], size[3] if len(size) == 4 else components
    geometry = _geometry(source, text, reader, stored)
    channels = COLOUR if components == 3 and dtype == np.uint8 else numbered(count)
    header = Header(_format(source), geometry.shape, channels, dtype, geometry)

    def decode() -> Array:
        _judge_voxels(source, text, whole=True)
        array = sitk.GetArrayFromImage(reader.Execute())
        array = array.reshape((*stored[::-1], components)) if components > 1 else array.reshape((count, *stored[::-1]))
        array = array.transpose(3, 2, 1, 0) if components > 1 else array.transpose(0, 3, 2, 1)
        return np.ascontiguousarray(array.reshape(count, *header.shape))

    return Plan(header, decode, count * prod(stored) * dtype.itemsize, coded)


def _format(source: Source) -> str:
    return "NRRD" if source.at(0, 4) == b"NRRD" else "MetaImage"


def _text(source: Source) -> _Text:
    """The fields of the header; of a MetaImage up to its last, `ElementDataFile`, of a NRRD up to an empty line."""
    start = source.at(0, min(source.size, LONGEST_HEADER))
    nrrd = start[:4] == b"NRRD"
    last = re.search(rb"\r?\n\r?\n" if nrrd else rb"ElementDataFile[^\n]*(\n|$)", start)
    if last is None and (not nrrd or len(start) == LONGEST_HEADER):
        raise source.error("its header does not end", expected="a text of at most 1 MiB", remedy=DAMAGED)
    end = last.end() if last else len(start)
    fields: dict[str, str] = {}
    for line in start[:end].decode("latin-1").replace("\r", "").split("\n"):
        name, mark, value = line.partition(":" if nrrd else "=")
        key = name.replace(" ", "").lower()
        if not mark or line.startswith("#") or value.startswith("="):  # a comment, a note of somebody (key:=value)
            continue
        if key in fields and key != "comment":
            raise source.error(f"its header says twice what {name.strip()} is", remedy=DAMAGED)
        fields[key] = value.strip()
    if not nrrd and "elementdatafile" not in fields:  # after a comment or a colon, where SimpleITK would read on
        raise source.error("its header does not end with a line 'ElementDataFile = NAME'", remedy=DAMAGED)
    return _Text(fields, end)


def _judge_voxels(source: Source, text: _Text, *, whole: bool) -> int:
    """The bytes of the file of voxels; an error if they are not those that the header asks for.

    Args:
        whole: unpack what is packed as well.
    """
    kind = text.get("type", "elementtype").replace(" ", "").lower().removeprefix("met_").removesuffix("_array")
    sizes = text.get("sizes", "dimsize").split()
    channels = text.get("elementnumberofchannels") or "1"
    item = next((count for names, count in BYTES.items() if re.fullmatch(names, kind)), 0)
    if not item or not sizes or not all(re.fullmatch(r"[1-9]\d{0,9}", part) for part in [*sizes, channels]):
        raise source.error(f"holds {' x '.join(sizes) or 'no'} numbers of type {kind or 'none'}", remedy=DAMAGED)
    if (axes := text.get("dimension", "ndims")) != str(len(sizes)):  # SimpleITK frees what is not its own
        raise source.error(f"has {axes or 'no'} axes", expected=f"{len(sizes)}, as it gives sizes", remedy=DAMAGED)
    encoding = text.get("encoding").lower()
    packed = encoding in ("gzip", "gz") or text.get("compresseddata").lower() in ("true", "1")
    odd = text.get("lineskip", "byteskip", "headersize") not in ("", "0")
    if encoding not in ("", "raw", "gzip", "gz") or odd or text.get("binarydata").lower() in ("false", "0"):
        raise source.error("its voxels are text, packed in a rare way or begin later", expected="raw or gzipped ones")
    length = prod(map(int, sizes)) * int(channels) * item
    with _voxels(source, text) as (voxels, begin):
        if packed and whole:
            unpacked(voxels, length, whole=True, begin=begin)
        if not packed and voxels.size - begin != length:
            raise source.error(
                f"holds {voxels.size - begin:,} bytes of voxels",
                expected=f"{length:,} for {' x '.join(sizes)} of {kind}",
                remedy=DAMAGED,
            )
        return voxels.size


def voxels_beside(path: Path) -> list[Path]:
    """The file that a header names for its voxels; none where it holds them itself, or cannot be read."""
    try:
        with path.open("rb") as file:
            source = Source(Address(path), file, path.stat().st_size, Limits())
            with _voxels(source, _text(source)) as (voxels, _):
                return [] if voxels is source else [Path(voxels.file.name)]
    except (OSError, FileError):
        return []


@contextmanager
def _voxels(source: Source, text: _Text) -> Iterator[tuple[Source, int]]:
    """The source of the voxels and where they begin: after the header, or in a file beside it."""
    name = text.get("datafile", "elementdatafile")
    if not name or name.lower() == "local":
        yield source, text.end
        return
    place = source.address.path.with_name(name) if re.fullmatch(r"[^/\\%\s][^/\\%]*", name) else source.address.path
    if place.name != name or name.split()[0].upper() == "LIST" or not place.is_file():
        raise source.error(
            f"its voxels lie in {name[:80]!r}", expected="one file in the same folder", remedy="copy it there"
        )
    size = place.stat().st_size
    if size > source.limits.bytes:
        raise source.error(f"{name} holds {size:,} bytes", remedy="raise the limit")
    with place.open("rb") as file:
        yield replace(source, file=file, size=size), 0


def _reader(source: Source) -> tuple[Any, Any]:
    """SimpleITK's reader, which has read the header."""
    try:
        import SimpleITK as sitk  # noqa: N813
    except ImportError:
        raise source.error(
            f"is a {_format(source)} file, which SimpleITK reads, and that is not installed",
            remedy='install it: pip install "scantling[itk]"',
        ) from None
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if _format(source) == "NRRD" else "MetaImageIO")
    reader.SetFileName(str(source.address.path))
    reader.ReadImageInformation()
    return reader, sitk


def _dtype(source: Source, name: str) -> str:
    """The number type of SimpleITK's name for it ("vector of 16-bit signed integer")."""
    if match := re.search(r"(8|16|32|64)-bit (un)?signed integer", name):
        return f"{'u' if match[2] else 'i'}{int(match[1]) // 8}"
    if match := re.search(r"(32|64)-bit float", name):
        return f"f{int(match[1]) // 8}"
    raise source.error(f"holds numbers of type {name}", expected="whole or real numbers of 8 to 64 bits")


def _geometry(source: Source, text: _Text, reader: Any, stored: tuple[int, ...]) -> Geometry:
    """The geometry, as far as the header says it: SimpleITK fills in spacings and directions that it does not."""
    axes = int(reader.GetDimension())
    kept = min(axes, 3)
    steps = [*map(float, reader.GetSpacing()[:kept]), 1.0][:3]
    if not text.get("spacings", "spacedirections", "elementspacing", "elementsize"):
        return volume(stored, None, affine=None, slice_axis=2)
    plausible_spacing(source, steps)
    affine = None
    if text.get("space", "spacedimension", "transformmatrix", "orientation", "rotation", "offset", "position"):
        turned = np.eye(4)
        turned[:kept, :kept] = np.reshape(reader.GetDirection(), (axes, axes))[:kept, :kept]
        turned[:3, :3] *= steps
        turned[:kept, 3] = reader.GetOrigin()[:kept]
        affine = LPS_TO_RAS @ turned
        plausible_affine(source, affine, steps)
    return volume(stored, steps, affine=affine, slice_axis=2)
