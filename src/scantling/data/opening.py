"""How a data set is opened and its files are decoded: what every command that reads data takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scantling.core.paths import StrPath
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.files import Limits
from scantling.data.subjects import Subjects


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How a data set is opened and its files are decoded.

    Attributes:
        manifest: says what the files are; folders with a layout that is recognised need none.
        root: the folder that the manifest's paths start from.
        subjects: see `open_dataset`.
        untrusted: decode in a process with limits on time and memory.
        limits: bounds on what is decoded.
    """

    manifest: Path | None = None
    root: Path | None = None
    subjects: Subjects = "name"
    untrusted: bool = False
    limits: Limits | None = None

    def __post_init__(self) -> None:
        for name in ("manifest", "root"):
            place = getattr(self, name)
            object.__setattr__(self, name, None if place is None else Path(place))

    def open(self, path: StrPath | Dataset) -> Dataset:
        """The data set at `path`, or the one that is open already.

        Raises:
            DataError: nothing is there, or it does not hold together.
            FileError: a manifest or table cannot be read.
        """
        if isinstance(path, Dataset):
            return path
        return open_dataset(path, manifest=self.manifest, root=self.root, subjects=self.subjects)

    def facts(self) -> dict[str, str | None]:
        """What a record says of it."""
        return {
            "manifest": str(self.manifest.resolve()) if self.manifest else None,
            "root": str(self.root.resolve()) if self.root else None,
            **({"subjects": self.subjects} if self.subjects != "name" else {}),
        }


OPENING = Opening()
