"""The cases of a data set as Python sees them: by number, by id, by slice; each can be read and shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, fields, replace
from io import BytesIO
from pathlib import Path
from typing import Self, overload

from PIL import Image

from scantling.core.case import Case, Sample
from scantling.core.checks import check_choice
from scantling.core.errors import ScantlingError
from scantling.core.fields import FIELDS, reads_labels
from scantling.data.contents import count
from scantling.data.label_source import LabelSource
from scantling.data.loading import EVERYTHING, load
from scantling.data.splits import SPLITS


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCase(Case):
    """A case of an open data set, which knows what the values of its masks mean; it goes wherever a `Case` goes."""

    label_source: LabelSource = field(default_factory=LabelSource, repr=False, compare=False)

    @classmethod
    def of(cls, case: Case, source: LabelSource) -> OpenCase:
        """A case of the data set whose labels come from `source`."""
        return cls(**{each.name: getattr(case, each.name) for each in fields(Case)}, label_source=source)

    def __repr__(self) -> str:
        return f"OpenCase({self.id!r}, {self.split}: {', '.join(name for name in FIELDS if self.has(name))})"

    def load(self, *, reads: Collection[str] = EVERYTHING) -> Sample:
        """Read the files of the case.

        Args:
            reads: the fields that are read, of image, mask (of the first annotator), masks (of all), scribbles, boxes,
                points, image_class, instances, region; what is not named is not opened.

        Returns:
            The arrays in the number type and with the values of their files: `image` (C, *S), `mask` (1, *S) uint8 of
            class numbers (0 background, 1..K, 255 unknown) or (K, *S) of 0 and 1 where classes overlap, `masks` of all
            annotators, `region` (*S) bool, ...; `spacing`, one for each spatial axis, in mm where the file says it;
            `affine` (4, 4), or None. Where there is an affine, the axes of a volume are right, anterior and superior.

        Raises:
            SettingsError: there is no such field.
            FileError: a file cannot be read.
            DataError: the files of the case disagree, or hold values that do not fit.

        Example:
            >>> sample = scantling.open_dataset("scans")[0].load(reads=("image", "mask"))
            >>> sample.image.shape, sample.spacing
        """
        reads = (reads,) if isinstance(reads, str) else reads
        for name in reads:
            check_choice(name, FIELDS, argument="reads")
        return load(self, labels=self.label_source.labels if reads_labels(reads) else None, reads=reads)

    def plot(self, *, size: int = 384) -> Image.Image:
        """A picture of the case with the outline of its mask, a volume by one slice, as in a contact sheet.

        Args:
            size: of the longer side, in pixels.

        Example:
            >>> scantling.open_dataset("scans")["p01"].plot().save("p01.png")
        """
        from scantling.data.contact_sheet import picture_of

        try:
            labels = self.label_source.labels
        except ScantlingError:
            labels = None
        return picture_of(self, labels, side=size)

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.plot().save(file, "PNG")
        return file.getvalue()


class CaseSequence:
    """What has cases, as a sequence of them: `len(data)`, `for case in data`, `data[0]`, `data["id"]`, `data[:5]`."""

    name: str
    root: Path
    cases: tuple[Case, ...]
    label_source: LabelSource

    def __repr__(self) -> str:
        splits = Counter(case.split for case in self.cases)
        parts = ", ".join(f"{splits[name]} {name}" for name in SPLITS if splits[name])
        return f"{type(self).__name__}({self.name!r}: {count(len(self.cases), 'case')}, {parts or 'none'}; {self.root})"

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[OpenCase]:
        return (OpenCase.of(case, self.label_source) for case in self.cases)

    def __contains__(self, key: object) -> bool:
        """Whether there is a case of this id, or this case."""
        return any(key in (case.id, case, OpenCase.of(case, self.label_source)) for case in self.cases)

    @overload
    def __getitem__(self, key: int | str) -> OpenCase: ...

    @overload
    def __getitem__(self, key: slice) -> Self: ...

    def __getitem__(self, key: int | str | slice) -> OpenCase | Self:
        """A case by its number or its id; a slice is a data set of the same splits.

        Raises:
            IndexError, KeyError: there is no such case.
        """
        if isinstance(key, slice):
            return replace(self, cases=self.cases[key])  # type: ignore[type-var]
        if not isinstance(key, str):
            return OpenCase.of(self.cases[key], self.label_source)
        found = next((case for case in self.cases if case.id == key), None)
        if found is None:
            raise KeyError(f"no case has the id {key!r}")
        return OpenCase.of(found, self.label_source)

    def _repr_html_(self) -> str:
        from scantling.data.overview import overview

        return overview(self)  # type: ignore[arg-type]
