"""`registrations.json`: which images were warped onto which, by which model, and into which files."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from scantling.core.case import Labels
from scantling.core.errors import FileError
from scantling.core.outputs import REGISTRATIONS
from scantling.records.predictions import Failure
from scantling.records.record import FileRecord, Record, read_record

Files = str | tuple[str, ...]
"""A mask is one file, or one for each class where classes overlap; paths lie below the folder."""


class WarpedFiles(Record):
    """What was written of one moving image.

    Attributes:
        image: the warped image on the fixed grid.
        mask: its mask, warped with the nearest value; None where it has none.
        displacement: see `data.displacements`.
        jacobian: the Jacobian determinant, where it was wanted.
        uncertainty: maps by name, where the method gives them.
    """

    image: str
    mask: Files | None = None
    displacement: str
    jacobian: str | None = None
    uncertainty: dict[str, str] = {}


class Registered(Record):
    """One fixed image and what was warped onto it.

    Attributes:
        moving: the ids of the moving images: one, or all atlases.
        files: of each of them, in that order.
        mask: the mask that the atlases' masks were fused into.
        resampled: of each moving image how its grid differs from that of the fixed one, empty where it does not; none
            in files of early versions.
        starts: of each moving image how it was laid onto the fixed one before: through the world, or by its shape.
    """

    id: str
    fixed: str
    moving: tuple[str, ...]
    files: tuple[WarpedFiles, ...]
    mask: Files | None = None
    resampled: tuple[str, ...] = ()
    starts: tuple[Literal["world", "shape"], ...] = ()
    seconds: float = 0.0


class Registrations(FileRecord):
    """What `scantling register` writes beside its files.

    Attributes:
        fixed: the file, folder or dataset of the fixed images.
        moving: that of the moving ones; None where it is the same.
        manifest, root, subjects: how the fixed images were opened.
        classes, values, exclusive, ignore: what the values of the warped masks mean; no class where there are no masks.
        total: pairs, or fixed images that atlases are warped onto, that were to be done.
    """

    what: ClassVar[str] = "list of registrations"
    writer: ClassVar[str] = "scantling register"

    run: str
    method: str
    model: str
    fixed: str
    moving: str | None = None
    manifest: str | None = None
    root: str | None = None
    subjects: Literal["name", "file"] = "name"
    split: str
    classes: tuple[str, ...] = ()
    values: tuple[tuple[int, ...], ...] = ()
    exclusive: bool = True
    ignore: int | None = None
    total: int = 0
    cases: tuple[Registered, ...] = ()
    failed: tuple[Failure, ...] = ()

    @property
    def labels(self) -> Labels | None:
        """What the values of the masks mean; None where there are no masks."""
        return Labels(names=self.classes, values=self.values, ignore=self.ignore) if self.classes else None


def read_registrations(folder: Path) -> Registrations:
    """The record of a folder.

    Raises:
        FileError: it is missing or does not describe registrations.
    """
    path = folder / REGISTRATIONS
    record = read_record(Registrations, path)
    for case in record.cases:
        if len(case.files) != len(case.moving):
            raise FileError(
                path, f"{case.id} lists {len(case.files)} files of {len(case.moving)} images", remedy="register again"
            )
    return record
