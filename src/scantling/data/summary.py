"""The fingerprint of a dataset for people: how many cases of what kind, in which sizes, with which classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from scantling.core.case import Frozen, Labels, Unit
from scantling.core.fields import FIELDS
from scantling.core.samples import Intensity, Thickness
from scantling.data.contents import count
from scantling.data.examination import Seen
from scantling.data.moments import summed
from scantling.data.splits import SPLITS, is_labelled
from scantling.data.thickness import thickness_of


class Range(Frozen):
    """The least, the median and the greatest of something, for each axis."""

    least: tuple[float, ...]
    median: tuple[float, ...]
    greatest: tuple[float, ...]

    def text(self) -> str:
        """ "584 x 565", or "31 x 40 to 38 x 57 (median 36 x 50)"."""
        low, middle, high = (
            " x ".join(f"{value:.4g}" for value in row) for row in (self.least, self.median, self.greatest)
        )
        return low if low == high else f"{low} to {high} (median {middle})"


class Part(Frozen):
    """The cases of one split and pool."""

    split: str
    pool: str
    cases: int
    subjects: int
    labelled: int
    synthetic: int


class Summary(Frozen):
    """What a dataset has.

    Attributes:
        parts: the cases by split and pool.
        holds: how many cases have each kind of thing ("image flair", "mask 1", "region", "boxes").
        dimensions: how many cases have two or three axes.
        shape: in pixels, in the order of the axes.
        spacing: in mm, of the cases that say it; None where none does.
        units: how many cases have their lengths in "mm" and in "pixel".
        stored: how many images are grey, in colour, or grey in three channels, by name of the image.
        classes: the share of the known pixels of the first masks that each class has.
        thickness: of the objects of each class in the training cases, in `thickness_unit`.
        thickness_unit: "mm" where all training cases say their spacing.
        image_classes: how many cases each image class has.
        strata: how many cases each value of a stratum has, by its name.
        intensity: of the training images inside their regions, by name and channel of the image.
    """

    parts: tuple[Part, ...]
    holds: dict[str, int]
    dimensions: dict[int, int]
    shape: Range | None
    spacing: Range | None
    units: dict[str, int]
    stored: dict[str, dict[str, int]]
    classes: dict[str, float]
    thickness: dict[str, Thickness] = {}
    thickness_unit: Unit = "pixel"
    image_classes: dict[str, int]
    strata: dict[str, dict[str, int]]
    intensity: dict[str, Intensity]

    def lines(self) -> list[str]:
        """The summary for people, a line for each thing."""
        lines = []
        for part in self.parts:
            pool = f" in {part.pool}" if part.pool else ""
            made = f", {part.synthetic} synthetic" if part.synthetic else ""
            lines.append(
                f"{part.split}{pool}: {count(part.cases, 'case')} of {count(part.subjects, 'subject')}, "
                f"{part.labelled} with image and mask{made}"
            )
        roles = {role: "image" if role == "image image" else role for role in self.holds}
        lines.append("files: " + ", ".join(f"{number} {roles[role]}" for role, number in self.holds.items()))
        if self.shape is not None:
            lines.append(f"size: {self.shape.text()} pixels")
        unknown = self.units.get("pixel", 0)
        if self.spacing is not None:
            rest = f"; {count(unknown, 'case')} without one" if unknown else ""
            lines.append(f"spacing: {self.spacing.text()} mm{rest}")
        elif unknown:
            lines.append("spacing: in no file; distances are in pixels")
        for name, how in self.stored.items():
            lines.append(f"channels of {name}: " + ", ".join(f"{number} {kind}" for kind, number in how.items()))
        if self.classes:
            lines.append("classes: " + ", ".join(f"{name} {share:.2%}" for name, share in self.classes.items()))
        unit = {"pixel": "pixels", "mm": "mm"}[self.thickness_unit]
        lines += [
            f"{name}: {one.median:.3g} {unit} thick (10 to 90 %: {one.low:.3g} to {one.high:.3g})"
            for name, one in self.thickness.items()
        ]
        if self.image_classes:
            lines.append("image classes: " + ", ".join(f"{n} {name}" for name, n in self.image_classes.items()))
        for name, number_of in self.strata.items():
            lines.append(f"stratum {name}: " + ", ".join(f"{n} {value}" for value, n in number_of.items()))
        for name, one in self.intensity.items():
            lines.append(
                f"intensity of {name}: mean {one.mean:.4g}, deviation {one.std:.4g}, "
                f"{one.low:.4g} to {one.high:.4g} (0.5th to 99.5th percentile)"
            )
        return lines


def summary_of(found: Sequence[Seen], labels: Labels | None) -> Summary:
    """The summary of all cases that could be read."""
    cases = [seen.case for seen in found]
    parts = []
    for split in SPLITS:
        for pool in sorted({case.pool for case in cases if case.split == split}):
            those = [case for case in cases if case.split == split and case.pool == pool]
            parts.append(
                Part(
                    split=split,
                    pool=pool,
                    cases=len(those),
                    subjects=len({case.subject for case in those}),
                    labelled=sum(map(is_labelled, those)),
                    synthetic=sum(case.origin.kind == "synthetic" for case in those),
                )
            )
    holds = Counter(role for case in cases for role, _ in case.addresses())
    listed = [name for name, field in FIELDS.items() if not field.gridded]
    holds.update(name for case in cases for name in listed if case.has(name))
    grids = [seen.geometry for seen in found if seen.geometry is not None]
    axes = Counter(len(grid.shape) for grid in grids)
    usual = [grid for grid in grids if len(grid.shape) == axes.most_common(1)[0][0]]
    stored: dict[str, Counter[str]] = {}
    for seen in found:
        for name, how in seen.stored.items():
            stored.setdefault(name, Counter())[how] += 1
    counted = [seen.pixels for seen in found if seen.pixels is not None]
    pixels = np.sum(counted, axis=0) if counted else np.zeros(1, np.int64)
    training = [seen.geometry.unit for seen in found if seen.geometry is not None and seen.case.split == "train"]
    unit: Unit = "mm" if {*training} == {"mm"} else "pixel"
    thickness = thickness_of([seen.objects for seen in found if seen.objects is not None], unit)
    return Summary(
        parts=tuple(parts),
        holds=dict(sorted(holds.items())),
        dimensions=dict(sorted(axes.items())),
        shape=_range([grid.shape for grid in usual]),
        spacing=_range([grid.spacing for grid in usual if grid.unit == "mm"]),
        units=dict(sorted(Counter(grid.unit for grid in grids).items())),
        stored={name: dict(how) for name, how in stored.items()},
        classes={
            name: float(number / max(pixels[0], 1))
            for name, number in zip(labels.names if labels and counted else (), pixels[1:], strict=False)
        },
        thickness={
            name: one for name, one in zip(labels.names if labels else (), thickness, strict=False) if one is not None
        },
        thickness_unit=unit,
        image_classes=dict(sorted(Counter(case.image_class for case in cases if case.image_class is not None).items())),
        strata={
            name: dict(sorted(Counter(case.strata[name] for case in cases if name in case.strata).items()))
            for name in sorted({name for case in cases for name in case.strata})
        },
        intensity=_intensity(found),
    )


def _range(rows: Sequence[Sequence[float]]) -> Range | None:
    if not rows:
        return None
    table = np.array(rows, dtype=np.float64)
    low, middle, high = (
        tuple(float(value) for value in row) for row in (table.min(axis=0), np.median(table, axis=0), table.max(axis=0))
    )
    return Range(least=low, median=middle, greatest=high)


def _intensity(found: Sequence[Seen]) -> dict[str, Intensity]:
    """Of each image name; channel by channel where all its images have as many."""
    result = {}
    for name in dict.fromkeys(name for seen in found for name in seen.moments):
        those = [seen for seen in found if name in seen.moments]
        widest = max((seen.channels[name] for seen in those), key=len)
        fitting = [seen.moments[name] for seen in those if len(seen.moments[name]) in (1, len(widest))]
        for number, channel in enumerate(widest):
            key = name if len(widest) == 1 else f"{name} {channel}"
            result[key] = summed(part[number if len(part) > 1 else 0] for part in fitting).intensity()
    return result
