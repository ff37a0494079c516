"""Which format a file is, by its first bytes; its name is asked only for annotations, which are text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from scantling.data.formats.common import Plan, Source
from scantling.data.formats.gzipped import GZIP, unpacked

MAGICS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    *((b"P%d" % kind, "PNM") for kind in range(1, 7)),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\x93NUMPY", "NPY"),
    (b"PK\x03\x04", "NPZ"),
    (b"\x1f\x8b", "NIfTI"),
    (b"\x5c\x01\0\0", "NIfTI"),
    (b"\0\0\x01\x5c", "NIfTI"),
    (b"\x1c\x02\0\0", "NIfTI"),
    (b"\0\0\x02\x1c", "NIfTI"),
    (b"\0\0\0\x01\0\0", "MGH"),
    (b"NRRD000", "NRRD"),
)
ANNOTATIONS = (".json", ".geojson", ".xml", ".csv")
"""Files that hold what was drawn on images, as `annotations.reading` tells."""
METAIMAGE = re.compile(rb"\s*(ObjectType|ObjectSubType|NDims|Comment)\s*=")
READABLE = "PNG, JPEG, JPEG 2000, GIF, BMP, WebP, PNM, TIFF, NIfTI, MGH, NRRD, MetaImage, DICOM, NPY or NPZ"
BESIDE = {
    ".hdr": (".img", ".img.gz"),
    ".mhd": (".raw", ".zraw", ".raw.gz"),
    ".nhdr": (".raw", ".raw.gz", ".img", ".gz"),
}
"""The suffixes of headers, and those of the files beside them that hold the voxels."""


def recognise(source: Source) -> str:
    """The name of the format; an error if it is none that can be read."""
    if source.address.path.is_dir():
        return "objects" if source.address.member.startswith(("mask:", "objects:")) else "DICOM folder"
    start = source.at(0, min(source.size, 132))
    if source.address.path.name.lower().endswith(ANNOTATIONS):
        return "annotations"
    if start[128:132] == b"DICM":  # whatever stands in its preamble
        return "DICOM"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start[:2] == GZIP and unpacked(source, 6, whole=False)[:6] == b"\0\0\0\x01\0\0":
        return "MGH"
    for magic, name in MAGICS:
        if start.startswith(magic):
            return name
    if METAIMAGE.match(start):
        return "MetaImage"
    if looks_like_dicom(start):
        return "DICOM"
    if header := header_of(source.address.path):
        raise source.error("holds the voxels of another file", remedy=f"name {header.name}")
    raise source.error("is of no format that can be read", expected=READABLE, remedy="convert it, or leave it out")


def is_fragile(path: Path) -> bool:
    """Whether the library that reads a file (SimpleITK: NRRD, MetaImage) may end its process where it is damaged."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start.startswith(b"NRRD000") or METAIMAGE.match(start) is not None


def header_of(path: Path) -> Path | None:
    """The header beside a file of voxels (`a.hdr` of `a.img.gz`), if it is there."""
    for end, voxels in BESIDE.items():
        for suffix in voxels:
            if (
                path.name.lower().endswith(suffix)
                and (head := path.with_name(path.name[: -len(suffix)] + end)).is_file()
            ):
                return head
    return None


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file that begins so (132 bytes) is DICOM, with its preamble, or without it by its first element."""
    if start[128:132] == b"DICM":
        return True
    order: Literal["little", "big"] = "big" if start[:1] == b"\0" else "little"
    group, element = (int.from_bytes(start[at : at + 2], order) for at in (0, 2))
    explicit = start[4:6] in (b"UL", b"UI", b"CS", b"OB", b"DA", b"TM", b"SH", b"LO")
    implicit = order == "little" and int.from_bytes(start[4:8], order) <= 64
    return len(start) > 8 and group in (2, 8) and element <= 0x18 and (explicit or implicit)


def inspector(name: str) -> Callable[[Source], Plan]:
    """The function that judges a file of this format; its libraries are imported only now."""
    if name == "annotations":
        from scantling.data.annotations.reading import inspect
    elif name == "objects":
        from scantling.data.objects import inspect
    elif name == "PNG":
        from scantling.data.formats.png import inspect
    elif name == "JPEG":
        from scantling.data.formats.jpeg import inspect
    elif name == "GIF":
        from scantling.data.formats.pillow import inspect_gif as inspect
    elif name == "BMP":
        from scantling.data.formats.pillow import inspect_bmp as inspect
    elif name == "WebP":
        from scantling.data.formats.pillow import inspect_webp as inspect
    elif name == "PNM":
        from scantling.data.formats.pnm import inspect
    elif name == "JPEG 2000":
        from scantling.data.formats.jpeg2000 import inspect
    elif name == "TIFF":
        from scantling.data.formats.tiff import inspect
    elif name == "NIfTI":
        from scantling.data.formats.nifti import inspect
    elif name == "MGH":
        from scantling.data.formats.mgh import inspect
    elif name in ("NRRD", "MetaImage"):
        from scantling.data.formats.itk import inspect
    elif name == "DICOM":
        from scantling.data.formats.dicom import inspect
    elif name == "NPZ":
        from scantling.data.formats.arrays import inspect_npz as inspect
    else:
        from scantling.data.formats.arrays import inspect_npy as inspect
    return inspect
