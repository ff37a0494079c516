"""Whether a dataset holds together: its files, their agreement, its labels, its splits. Nothing is written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from scantling.core.case import Frozen, Labels
from scantling.core.errors import ScantlingError
from scantling.core.samples import Traits
from scantling.data.background import minority_background
from scantling.data.contents import Finding, count, some
from scantling.data.duplicates import ALIKE, BITS, NEAR
from scantling.data.examination import Seen, examine
from scantling.data.leakage import duplicates, leaks
from scantling.data.summary import Summary, summary_of, traits_for_planning
from scantling.data.traits import Progress, in_order, stride_for
from scantling.data.understood import understood

if TYPE_CHECKING:
    from scantling.data.dataset import Dataset

_GROUPED = {
    "qform": "whose qform and sform disagree; the sform is used",
    "constant image": "with an image of one value only; leave it out",
    "empty mask": "with a mask in which no pixel has a class; make sure that this is meant",
    "unknown mask": "with a mask that says nothing of any pixel; draw it, or correct 'ignore' or 'drawn_slices'",
    "empty region": "with an empty region of interest; draw it or leave it out",
    "whole region": "with a region of interest that is the whole image; make sure that this is meant",
    "empty scribbles": "with scribbles that mark nothing; draw them or leave them out",
    "turned masks": "with masks that are stored in another orientation than their images; they are turned",
    "resampled masks": "with masks on another grid than their images; they are resampled by the nearest value",
    "exif": "with an image that is turned as its EXIF orientation says; its mask is to lie on it as viewers show it",
    "overlap": "whose masks of single classes share pixels; each class keeps its own",
    "scribbles": "with scribbles, and no value says 'nothing drawn here'; declare 'ignore' in a manifest",
}
LEVELS = ("error", "warning", "note")
_RARE = 0.05


class CheckReport(Frozen):
    """What `check` found in a dataset; JSON through `model_dump`.

    Attributes:
        name: of the dataset.
        root: its folder.
        labels: what the values of the masks mean, where that could be told.
        understood: the layout, and how many images have masks.
        summary: the fingerprint for people.
        findings: errors first, then warnings, then notes.
        conventions: the thresholds that were used.
        traits: see `traits_for_planning`; not in the JSON.
    """

    name: str
    root: str
    labels: Labels | None
    understood: str
    summary: Summary
    findings: tuple[Finding, ...]
    conventions: tuple[str, ...]
    traits: Traits | None = Field(default=None, exclude=True)

    def facts(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return self.model_dump(mode="json")

    def text(self) -> str:
        """Everything, for people: the fingerprint, then the findings, worst first."""
        lines = [f"{self.name} ({self.root}): {self.understood}", *(f"  {line}" for line in self.summary.lines())]
        if not self.findings:
            return "\n".join([*lines, "nothing is wrong"])
        counted = [count(len(self.of(level)), level) for level in LEVELS if self.of(level)]
        lines.append(", ".join(counted) + ":")
        lines += [f"  {finding.level}, {finding.kind}: {finding.sentence}" for finding in self.findings]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    __str__ = __repr__

    def of(self, level: str) -> tuple[Finding, ...]:
        """The findings of one level ("error", "warning", "note")."""
        return tuple(finding for finding in self.findings if finding.level == level)


def check(dataset: Dataset, *, untrusted: bool = False, progress: Progress | None = None) -> CheckReport:
    """Read every file of a dataset once and report all that is wrong or odd.

    Args:
        dataset: every case of which has a split.
        untrusted: decode in a process with limits on time and memory.
        progress: told after each case.
    """
    findings = list(dataset.remarks)
    try:
        source = dataset.label_source.find(untrusted=untrusted)
        labels = source.labels
        dataset = dataset.with_instances(labels)
        findings += [Finding(level="warning", kind="label values", sentence=remark) for remark in source.remarks]
    except ScantlingError as error:
        labels = None
        findings.append(Finding(level="error", kind="labels", sentence=str(error)))
    stride = stride_for((case for case in dataset.cases if case.images), untrusted=untrusted)
    found = list(
        in_order(
            lambda case: examine(case, labels, stride=stride, untrusted=untrusted), dataset.cases, progress=progress
        )
    )
    findings += _problems(found)
    findings += _outside(found)
    findings += _partly_drawn(found)
    findings += _label_findings(found, labels, declared=dataset.label_source.declared is not None)
    findings += minority_background(found, labels if dataset.label_source.declared is None else None)
    findings += duplicates(found)
    findings += leaks(dataset.cases)
    findings += _mixtures(found)
    summary = summary_of(found, labels)
    return CheckReport(
        name=dataset.name,
        root=str(dataset.root),
        labels=labels,
        understood=understood(dataset.cases, dataset.layout),
        summary=summary,
        traits=traits_for_planning(found, summary, labels),
        findings=tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level))),
        conventions=(
            f"Two images are near duplicates if at most {NEAR} of the {BITS} bits of their perceptual hashes differ "
            f"and the detail of their thumbnails correlates by {ALIKE} or more; images of one subject, and linked "
            "ones, are "
            "not compared.",
        ),
    )


def _problems(found: Sequence[Seen]) -> Iterator[Finding]:
    """What was wrong with single cases; kinds that say the same of every case in one sentence."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for seen in found:
        for problem in seen.problems:
            if problem.kind in _GROUPED and not problem.sentence:
                grouped[problem.kind].append(seen.case.id)
            else:
                yield Finding(level=problem.level, kind=problem.kind, cases=(seen.case.id,), sentence=problem.sentence)
    levels = {problem.kind: problem.level for seen in found for problem in seen.problems}
    for kind, ids in grouped.items():
        listed = tuple(dict.fromkeys(ids))
        yield Finding(
            level=levels[kind],
            kind=kind,
            cases=listed,
            sentence=f"{count(len(listed), 'case')} ({some(listed)}) {_GROUPED[kind]}",
        )


def _outside(found: Sequence[Seen]) -> Iterator[Finding]:
    """Images that hold no number in places."""
    if lost := [seen for seen in found if seen.outside]:
        ids = tuple(seen.case.id for seen in lost)
        yield Finding(
            level="note",
            kind="not finite",
            cases=ids,
            sentence=(
                f"{count(len(ids), 'case')} ({some(ids)}) with {sum(seen.outside for seen in lost):,} pixels that are "
                "NaN or infinite; they are read as outside of the region of interest, and every answer is 0 there"
            ),
        )


def _partly_drawn(found: Sequence[Seen]) -> Iterator[Finding]:
    """How much is known of masks that were drawn in parts, and volumes that may have been."""
    partly = [
        seen
        for seen in found
        if any(part is not None for part in (seen.case.known, seen.case.drawn_slices, seen.case.drawn_objects))
    ]
    read = [(seen.pixels[0], seen.geometry.shape) for seen in partly if seen.pixels is not None and seen.geometry]
    if read:
        share = sum(known for known, _ in read) / sum(int(np.prod(shape)) for _, shape in read)
        yield Finding(
            level="note",
            kind="partly drawn",
            cases=tuple(seen.case.id for seen in partly),
            sentence=f"{share:.2%} of the pixels of {count(len(read), 'mask')} are known; the others count nowhere",
        )
    some_classes = [seen.case for seen in found if seen.case.masks and seen.case.drawn_classes is not None]
    if some_classes:
        times = Counter(name for case in some_classes for name in case.drawn_classes or ())
        rest = count(sum(bool(seen.case.masks) for seen in found) - len(some_classes), "mask")
        yield Finding(
            level="note",
            kind="partly drawn",
            cases=tuple(case.id for case in some_classes),
            sentence=(
                f"{count(len(some_classes), 'mask')} know only some classes "
                f"({some([f'{name} in {number}' for name, number in times.items()], most=9)}), {rest} all of them; the "
                "others are unknown there, and not background"
            ),
        )
    holders = [(seen.case.id, seen.gaps) for seen in found if seen.gaps is not None]
    if holders:
        ids, (_, first) = tuple(id for id, _ in holders), holders[0]
        yield Finding(
            level="warning",
            kind="partly drawn",
            cases=ids,
            sentence=(
                f"{count(len(ids), 'volume')} ({some(ids)}) with classes in single slices and none between them, in "
                f"case {ids[0]} in {first.sentence}; the others count as background; if they were not drawn, write "
                f"'drawn_slices = \"marked\"' and 'drawn_axis = {first.axis}' into the [[group]] of a manifest "
                "(scantling.toml), or list the slices there"
            ),
        )


def _label_findings(found: Sequence[Seen], labels: Labels | None, *, declared: bool) -> Iterator[Finding]:
    """Classes that never occur, and values that were taken for classes but may be none."""
    images = [seen.case for seen in found if seen.case.images]
    bare = [case.id for case in images if not case.masks]
    if bare and len(bare) < len(images):
        yield Finding(
            level="note",
            kind="unlabelled",
            cases=tuple(bare),
            sentence=f"{len(bare)} of {len(images)} images have no mask ({some(bare, most=3)})",
        )
    counted = [(seen.case.id, seen.pixels) for seen in found if seen.pixels is not None and seen.case.split == "train"]
    if labels is None or not counted:
        return
    empty = not any(pixels[1:].any() for _, pixels in counted)
    for number, name in enumerate(labels.names, start=1):
        holders = [id for id, pixels in counted if pixels[number]]
        if not holders:
            yield Finding(
                level="error" if empty else "warning",
                kind="classes",
                sentence=f"no training mask has a pixel of the class {name!r}; it cannot be learnt",
            )
        elif not declared and len(labels.names) > 1 and len(holders) <= _RARE * len(counted):
            yield Finding(
                level="warning",
                kind="classes",
                cases=tuple(holders),
                sentence=(
                    f"the value {labels.values[number - 1][0]} was taken for a class and occurs in {len(holders)} of "
                    f"{len(counted)} training masks ({some(holders, most=3)}); declare the classes in a manifest, or "
                    "mend the masks"
                ),
            )
    if not declared and len(labels.names) > 2 and labels.values[-1] == (255,):
        yield Finding(
            level="note",
            kind="classes",
            sentence="the value 255 was taken for a class; if it means 'unknown', "
            "declare the classes and 'ignore = 255' in a manifest",
        )


def _mixtures(found: Sequence[Seen]) -> Iterator[Finding]:
    """What differs between cases and need not: sizes, spacings, channels, images."""
    grids = [seen.geometry for seen in found if seen.geometry is not None]
    axes = sorted({len(grid.shape) for grid in grids})
    if len(axes) > 1:
        yield Finding(
            level="error", kind="sizes", sentence="some images have two axes and some three; split the folder"
        )
    elif grids:
        shapes = np.array([grid.shape for grid in grids])
        if (shapes != shapes[0]).any():
            least, most = (" x ".join(map(str, row)) for row in (shapes.min(axis=0), shapes.max(axis=0)))
            yield Finding(
                level="note", kind="sizes", sentence=f"the images differ in size, from {least} to {most} pixels"
            )
        bare = [seen.case.id for seen in found if seen.geometry is not None and seen.geometry.unit == "pixel"]
        if 0 < len(bare) < len(grids):
            yield Finding(
                level="warning",
                kind="spacing",
                cases=tuple(bare),
                sentence=(
                    f"{count(len(bare), 'case')} ({some(bare, most=3)}) of {len(grids)} have no spacing, the others "
                    "have one in mm; none is resampled by its spacing, and distances in pixels are in no mean; add "
                    "'spacing' in a manifest"
                ),
            )
        spacings = np.array([grid.spacing for grid in grids if grid.unit == "mm"] or [(1.0,)])
        if not np.allclose(spacings, spacings[0], rtol=0.01):
            least, most = (
                " x ".join(f"{value:.3g}" for value in row) for row in (spacings.min(axis=0), spacings.max(axis=0))
            )
            yield Finding(
                level="note", kind="spacing", sentence=f"the images differ in spacing, from {least} to {most} mm"
            )
    for name in dict.fromkeys(name for seen in found for name in seen.dtypes):
        types = Counter(seen.dtypes[name] for seen in found if name in seen.dtypes)
        if len(types) > 1:
            listed = ", ".join(f"{number} {dtype}" for dtype, number in types.most_common())
            sentence = (
                f"the files of {name!r} differ in their number type ({listed}); make sure that all have one scale"
            )
            yield Finding(level="note", kind="number types", sentence=sentence)
    for name in dict.fromkeys(name for seen in found for name in seen.stored):
        how: dict[str, list[str]] = defaultdict(list)
        for seen in found:
            if name in seen.stored:
                how[seen.stored[name]].append(seen.case.id)
        if len(how) > 1:
            listed = ", ".join(f"{len(ids)} {kind}" for kind, ids in how.items())
            fits = set(how) <= {"grey", "grey in three channels", "colour"}
            yield Finding(
                level="note" if fits else "error",
                kind="channels",
                sentence=(
                    f"the files of {name!r} differ in their channels: {listed}"
                    + ("" if fits else "; split the folder or convert them")
                ),
            )
    names = {frozenset(seen.case.images) for seen in found if seen.case.images}
    lacking = [
        seen.case.id for seen in found if seen.case.images and len(seen.case.images) < len(frozenset().union(*names))
    ]
    if lacking:
        yield Finding(
            level="error",
            kind="channels",
            cases=tuple(lacking),
            sentence=(
                f"{count(len(lacking), 'case')} ({some(lacking)}) have not all of the images "
                f"{some(sorted(frozenset().union(*names)))}; add them or leave the cases out"
            ),
        )
