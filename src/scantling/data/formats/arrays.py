"""NPY and NPZ: the length must be exactly what the header asks for; pickled objects are never read.

Two axes are an image, three a volume `(slices, H, W)` unless they are uint8 with 3 or 4 colours last, four are
`(C, *S)`. An NPZ also has a checksum for each member; an NPY has none, but a wrong size contradicts its length.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from scantling.core.case import Address
from scantling.data.formats.common import COLOUR, GREY, Array, Header, Plan, Source, numbered, raster, volume

FIELDS = {
    "descr": re.compile(r"'descr' ?: ?'([<>|=][a-z]\d+)'"),
    "fortran_order": re.compile(r"'fortran_order' ?: ?(True|False)"),
    "shape": re.compile(r"'shape' ?: ?\(([0-9, ]*)\)"),
}
ITEMS = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
LONGEST_HEADER = 65536
Reader = Callable[[int, int], bytes]


def inspect_npy(source: Source) -> Plan:
    """Judge the header and the length of an NPY file."""
    header, offset, dtype, shape, fortran = _header(source, source.at, source.size, "NPY")

    def decode() -> Array:
        source.file.seek(offset)
        flat = np.fromfile(source.file, dtype, prod(shape))
        if flat.size != prod(shape):
            raise source.error("the file became shorter while it was read", remedy="try again")
        return _arranged(flat, shape, fortran, header)

    return Plan(header, decode, source.size, source.size)


def inspect_npz(source: Source) -> Plan:
    """Judge the named member of an NPZ, or its only one."""
    archive = zipfile.ZipFile(source.file)
    names = [info.filename for info in archive.infolist()]
    listed = ", ".join(name.removesuffix(".npy") for name in names[:12]) + (", ..." if len(names) > 12 else "")
    member = source.address.member
    if not member and len(names) != 1:
        raise source.error(
            f"holds {len(names)} arrays ({listed})",
            expected="one, or an address that names it",
            remedy=f"write {source.address.path.name}#NAME",
        )
    name = next((name for name in names if name in (member + ".npy", member) or not member), None)
    if name is None:
        raise source.error(f"holds no array of that name, only {listed}", remedy="correct the name")
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise source.error("is encrypted or compressed in a rare way", expected="an NPZ as NumPy writes it")
    inner = Source(Address(source.address.path, name.removesuffix(".npy")), source.file, info.file_size, source.limits)
    with archive.open(info) as stream:
        beginning = stream.read(LONGEST_HEADER)
    header, offset, dtype, shape, fortran = _header(inner, _reader(inner, beginning), info.file_size, "NPZ")

    def decode() -> Array:
        with archive.open(info) as stream:
            data = stream.read(info.file_size)
            if len(data) != info.file_size or stream.read(1):  # reading to the end verifies the checksum
                raise inner.error("its length is not what the archive says", remedy="it is damaged")
        return _arranged(np.frombuffer(data, dtype, offset=offset), shape, fortran, header)

    return Plan(header, decode, info.file_size, info.compress_size)


def _reader(source: Source, beginning: bytes) -> Reader:
    def at(offset: int, count: int) -> bytes:
        if offset + count > len(beginning):
            raise source.error("its header is cut short", remedy="it is damaged")
        return beginning[offset : offset + count]

    return at


def _header(
    source: Source, at: Reader, size: int, format: str
) -> tuple[Header, int, np.dtype[Any], tuple[int, ...], bool]:
    """(header, offset of the numbers, their type, the stored shape, whether its first axis runs fastest)."""
    magic = at(0, 8)
    wide = magic[6] > 1
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise source.error("is no NPY array", expected="an array as NumPy writes it", remedy="save it again")
    length = int.from_bytes(at(8, 4 if wide else 2), "little")
    offset = (12 if wide else 10) + length
    if length > LONGEST_HEADER - 12:
        raise source.error("its header is too long", expected="plain numbers", remedy="save it again")
    text = at(offset - length, length).decode("latin-1")
    fields = {name: pattern.findall(text) for name, pattern in FIELDS.items()}
    rest = text
    for pattern in FIELDS.values():
        rest = pattern.sub("", rest)
    if any(len(found) != 1 for found in fields.values()) or not re.fullmatch(r"\{[ ,]*\} *\n?", rest):
        raise source.error(
            "holds no plain numbers", expected="an array of whole or real numbers", remedy="save it without objects"
        )
    kind, items = fields["descr"][0][1], int(fields["descr"][0][2:])
    if items not in ITEMS.get(kind, ()):
        raise source.error(
            f"holds numbers of type {fields['descr'][0]}", expected="whole or real numbers, 8 to 64 bits"
        )
    dtype = np.dtype(fields["descr"][0])
    shape = tuple(int(part) for part in fields["shape"][0].replace(" ", "").split(",") if part)
    if not 2 <= len(shape) <= 4 or 0 in shape:
        raise source.error(f"its shape is ({fields['shape'][0]})", expected="two to four axes, none of length 0")
    if size - offset != prod(shape) * items:
        raise source.error(
            f"holds {size - offset:,} bytes of numbers",
            expected=f"{prod(shape) * items:,} for the shape ({fields['shape'][0]})",
            remedy="it is truncated or damaged: copy it again from its source",
        )
    return _meaning(format, shape, dtype.newbyteorder("=")), offset, dtype, shape, fields["fortran_order"][0] == "True"


def _meaning(format: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Header:
    if dtype == np.bool_:
        dtype = np.dtype(np.uint8)  # 0 and 1, as in every other format
    elif len(shape) == 3 and dtype == np.uint8 and shape[2] in (3, 4):
        return raster(format, shape[:2], COLOUR, dtype)
    if len(shape) == 2:
        return raster(format, shape, GREY, dtype)
    channels, stored = (numbered(shape[0]), shape[1:]) if len(shape) == 4 else (GREY, shape)
    geometry = volume(stored, None, affine=None, slice_axis=0)
    return Header(format, geometry.shape, channels, dtype, geometry)


def _arranged(flat: Array, shape: tuple[int, ...], fortran: bool, header: Header) -> Array:
    array = flat.reshape(shape, order="F" if fortran else "C")
    if header.channels == COLOUR:
        array = np.moveaxis(array[:, :, :3], 2, 0)
    return np.ascontiguousarray(array.reshape(len(header.channels), *header.shape), header.dtype)
