"""Which format a file is, by its first bytes; its name is asked only for annotations, which are text."""

from __future__ import annotations

from collections.abc import Callable

from scantling.data.formats.common import Plan, Source

MAGICS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
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
)
ANNOTATIONS = (".json", ".geojson", ".xml", ".csv")
"""Files that hold what was drawn on images, as `annotations.reading` tells."""
READABLE = "PNG, JPEG, GIF, BMP, TIFF, NIfTI, DICOM, NPY or NPZ"


def recognise(source: Source) -> str:
    """The name of the format; an error if it is none that can be read."""
    if source.address.path.is_dir():
        return "objects" if source.address.member else "DICOM folder"
    start = source.at(0, min(source.size, 132))
    if source.address.path.name.lower().endswith(ANNOTATIONS):
        return "annotations"
    if start[128:132] == b"DICM":
        return "DICOM"
    for magic, name in MAGICS:
        if start.startswith(magic):
            return name
    if start[:4] in (b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x02\x00\x00\x00"):  # DICOM without its preamble
        return "DICOM"
    raise source.error("is of no format that can be read", expected=READABLE, remedy="convert it, or leave it out")


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
        from scantling.data.formats.gif import inspect
    elif name == "BMP":
        from scantling.data.formats.bmp import inspect
    elif name == "TIFF":
        from scantling.data.formats.tiff import inspect
    elif name == "NIfTI":
        from scantling.data.formats.nifti import inspect
    elif name == "DICOM":
        from scantling.data.formats.dicom import inspect
    elif name == "NPZ":
        from scantling.data.formats.arrays import inspect_npz as inspect
    else:
        from scantling.data.formats.arrays import inspect_npy as inspect
    return inspect
