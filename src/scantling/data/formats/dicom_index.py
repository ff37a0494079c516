"""What the DICOM files of a folder are, by their headers: images of which series, segmentations, or no images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from scantling.core.case import Address
from scantling.data.formats.common import Limits, Source
from scantling.data.formats.dicom import SEGMENTATIONS, quiet, read_header
from scantling.data.formats.dicom_files import DEEPEST, DIRECTORY, files_below, is_dicom

NO_IMAGE = ("RTDOSE", "PR", "SR", "KO", "REG", "RTSTRUCT", "RTPLAN", "RTRECORD", "FID", "RWV", "DOC", "AU", "ECG")
"""Modalities of objects that are no images, also where they hold pixel data."""
_MEDIA = "1.2.840.10008.1.3."
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_NO_IMAGE = (*(_STORAGE + kind for kind in ("9.", "11.", "66", "67", "88.", "104.", "481.")), _MEDIA)
"""How the SOP classes of the same begin, and that of a medium's directory."""
_RT_IMAGE = _STORAGE + "481.1"
_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "SeriesInstanceUID", "SeriesDescription"),
    *("SeriesNumber", "ImageType", "Rows", "NumberOfFrames", "ImagePositionPatient", "ReferencedSeriesSequence"),
]


@dataclass(frozen=True, eq=False)
class Entry:
    """One DICOM file.

    Attributes:
        modality: as DICOM abbreviates it ("CT", "SR"); "?" where the file does not say or cannot be parsed.
        image: whether it holds an image, which a segmentation is not; true where its header cannot be parsed, so that
            it is read and the error is told.
        sized: whether it says how many rows of pixels it has.
        scout: whether it is a localizer.
        placed: whether it says where it lies in the patient.
        refers: the series and the instances that a segmentation is of.
    """

    path: Path
    modality: str = "?"
    patient: str = ""
    series: str = ""
    instance: str = ""
    description: str = ""
    number: str = ""
    sized: bool = False
    frames: int = 1
    image: bool = False
    scout: bool = False
    placed: bool = False
    segmentation: bool = False
    refers: tuple[str, frozenset[str]] = ("", frozenset())


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[Source]:
    """The source of one file of a folder."""
    size = path.stat().st_size
    if size > limits.bytes:
        raise Source(Address(path), None, size, limits).error(  # type: ignore[arg-type]
            f"holds {size:,} bytes", expected=f"at most {limits.bytes:,}", remedy="raise the limit"
        )
    with path.open("rb") as file:
        yield Source(Address(path), file, size, limits)


def entries_of(folder: Path, *, levels: int = 0) -> tuple[Entry, ...]:
    """The DICOM files of a folder; what was found is remembered as long as no file changes."""
    listed = []
    for path in files_below(folder, levels=levels):
        try:
            facts = path.stat()
        except OSError:
            continue
        listed.append((path, facts.st_mtime_ns, facts.st_size))
    return _entries(tuple(listed))


@lru_cache(maxsize=8)
def _entries(files: tuple[tuple[Path, int, int], ...]) -> tuple[Entry, ...]:
    with quiet():
        return tuple(_entry(path) for path, _, _ in files if is_dicom(path))


def _entry(path: Path) -> Entry:
    try:
        with opened(path, Limits()) as source:
            found = read_header(source, _TAGS)

        def text(name: str) -> str:
            return str(found.get(name) or "").strip()

        kind = text("SOPClassUID") or str(found.file_meta.get("MediaStorageSOPClassUID", ""))
        segmentation = kind in SEGMENTATIONS
        modality = text("Modality") or "?"
        return Entry(
            path=path,
            modality=DIRECTORY if kind.startswith(_MEDIA) else modality,
            patient=text("PatientID"),
            series=text("SeriesInstanceUID"),
            instance=text("SOPInstanceUID"),
            description=text("SeriesDescription"),
            number=text("SeriesNumber"),
            sized=bool(found.get("Rows")),
            frames=int(text("NumberOfFrames") or 1),
            image=modality not in NO_IMAGE and (kind == _RT_IMAGE or not kind.startswith(_NO_IMAGE)),
            scout="LOCALIZER" in [str(word).upper() for word in _listed(found.get("ImageType"))],
            placed=bool(found.get("ImagePositionPatient")),
            segmentation=segmentation,
            refers=_referred(found) if segmentation else ("", frozenset()),
        )
    except Exception:  # pydicom raises many kinds on damaged headers; reading the file itself says what is wrong
        return Entry(path=path, image=True, sized=True)


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or value is None else list(value)


def _referred(found: Any) -> tuple[str, frozenset[str]]:
    for item in found.get("ReferencedSeriesSequence") or ():
        instances = item.get("ReferencedInstanceSequence") or ()
        named = frozenset(str(one.get("ReferencedSOPInstanceUID", "")) for one in instances)
        return str(item.get("SeriesInstanceUID", "")), named
    return "", frozenset()


def series_files(folder: Path, series: str, *, levels: int = DEEPEST) -> list[Entry]:
    """The images of the series with this UID in a folder and below, scouts among them aside; of a folder if it is "".

    Of an instance that several folders hold, the first counts.
    """
    found = [entry for entry in entries_of(folder, levels=levels if series else 0) if entry.image]
    if series:
        found = [entry for entry in found if entry.series == series]
        first: dict[str, Path] = {}
        found = [entry for entry in found if first.setdefault(entry.instance, entry.path.parent) == entry.path.parent]
    return without_scouts(found)


def without_scouts(entries: list[Entry]) -> list[Entry]:
    """The entries without localizers, unless all are."""
    return [entry for entry in entries if not entry.scout] or entries
