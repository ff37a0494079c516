"""What a case is made from, as one hash: a result is made again where it has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from scantling.core.case import Address, Case
from scantling.core.errors import FileError
from scantling.data import objects
from scantling.data.formats.recognised import BESIDE
from scantling.data.memory import MemoryAddress


def content_of(case: Case, *, reads: Collection[str] = ("image",)) -> str:
    """A short hash of the bytes of a case's files, or of its arrays in memory.

    Args:
        reads: which files: "image", "region" and "mask"; with the masks goes what was drawn of them.

    Raises:
        FileError: a file cannot be read.
    """
    digest = hashlib.sha256()
    if "mask" in reads and case.drawn_slices is not None:
        digest.update(f"{case.drawn_slices}\0{case.drawn_axis}\0".encode())
    if "mask" in reads and case.drawn_objects is not None:
        digest.update(f"{case.drawn_objects}\0{case.drawn_rim}\0".encode())
    if "mask" in reads and case.drawn_classes is not None:
        digest.update(f"{case.drawn_classes}\0".encode())
    for role, address in case.addresses():
        if role.partition(" ")[0] in reads or (role == "known" and "mask" in reads):
            digest.update(f"{role}\0{address.member}\0".encode(errors="surrogateescape"))
            if isinstance(address, MemoryAddress):
                digest.update(bytes.fromhex(address.digest()))
                continue
            for path in files_of(address):
                digest.update(bytes.fromhex(hash_of(path)))
    return digest.hexdigest()[:16]


def hash_of(path: Path) -> str:
    """The SHA-256 of a file.

    Raises:
        FileError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})") from None


def files_of(address: Address) -> list[Path]:
    """Every file that is read at an address: of a series, of objects, and the voxels of a header that lie beside it."""
    path = address.path
    if path.suffix.lower() in (".mhd", ".nhdr"):
        from scantling.data.formats.itk import voxels_beside

        return [path, *voxels_beside(path)]
    if not path.is_dir():
        data = (path.with_suffix(suffix) for suffix in BESIDE.get(path.suffix.lower(), ()))
        return [path, *(file for file in data if file.is_file())]
    if address.member:
        from scantling.data.formats.dicom_index import series_files

        return objects.files_of(address) or [entry.path for entry in series_files(path, address.member)]
    return sorted(file for file in path.iterdir() if file.is_file())
