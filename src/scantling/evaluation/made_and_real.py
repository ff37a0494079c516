"""The images of a made and of a real data set on one grid, with what networks say of them, read one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from scantling.core.case import Case, Sample
from scantling.core.errors import DataError, ScantlingError
from scantling.core.randomness import numpy_generator, seed_of
from scantling.data.dataset import Dataset
from scantling.evaluation.anatomy import Marker, Values
from scantling.evaluation.named_features import NamedFeatures
from scantling.inference.common_grid import CommonGrid, Images
from scantling.metrics.memorisation import standardised

FEWEST = 2
"""Images of a set that can be compared with another."""
NOISE = 0.1
"""Of the range of values: the noise of the real images that serve as a scale."""
HALVES = 10
"""How often the real subjects are divided into halves."""

Progress = Callable[[int, int, str], None]
Places = NDArray[np.int64]


@dataclass
class ImageSet:
    """What was read of one set; lists grow together, those of `whole` cases first.

    Attributes:
        images: on the common grid, of the cases that are measured.
        small: standardised, on the small grid, of all cases.
        features, noisy: rows, where a network was named; noisy of real images that are measured.
        anatomy: of the cases that are measured, where a segmenter was named.
        failed: sentences on cases that could not be read.
    """

    cases: list[Case] = field(default_factory=list)
    images: list[Images] = field(default_factory=list)
    small: list[Images] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    noisy: list[np.ndarray] = field(default_factory=list)
    anatomy: list[Values] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def subjects(self) -> list[str]:
        """Of all cases."""
        return [case.subject for case in self.cases]

    @property
    def measured(self) -> int:
        """How many cases are measured."""
        return len(self.images)


@dataclass(frozen=True)
class Reader:
    """Reads cases for the measures.

    Attributes:
        features, marker: None where none was named.
    """

    grid: CommonGrid
    features: NamedFeatures | None = None
    marker: Marker | None = None

    def read(
        self, cases: Sequence[Case], *, most: int, everything: bool, noise: bool, progress: Progress | None = None
    ) -> ImageSet:
        """At most `most` cases, drawn by hash, and the others for the search of copies if `everything`.

        Raises:
            ScantlingError: none of them can be read.
        """
        found = ImageSet()
        drawn = sorted(cases, key=lambda case: seed_of("generated images", case.id))
        drawn = drawn if everything else drawn[:most]
        error: ScantlingError | None = None
        for number, case in enumerate(drawn):
            try:
                self._one(case, found, measured=found.measured < most, noise=noise)
            except ScantlingError as problem:
                error = error or problem
                found.failed.append(f"{case.id}: {problem}")
            if progress is not None:
                progress(number + 1, len(drawn), case.id)
        if error is not None and not found.cases:
            raise error
        return found

    def _one(self, case: Case, found: ImageSet, *, measured: bool, noise: bool) -> None:
        sample = self.grid.sample(case)
        image = self.grid.bring(sample.image)
        row = self.features.read(sample) if self.features is not None else None
        anatomy = self.marker(sample) if self.marker is not None and measured else None
        if row is not None and self.features is not None:
            if noise and measured:
                found.noisy.append(self.features.read(self._with_noise(sample)))
            found.features.append(row)
        if anatomy is not None:
            found.anatomy.append(anatomy)
        if measured:
            found.images.append(image)
        found.small.append(standardised(self.grid.smaller(image)[None])[0])
        found.cases.append(case)

    def _with_noise(self, sample: Sample) -> Sample:
        """With normal noise upon each channel, whose deviation is `NOISE` of its range."""
        noise = numpy_generator("noise", sample.case.id).standard_normal(sample.image.shape)
        limits = self.grid.limits_of(sample.image)
        ranges = np.array([high - low for low, high in limits]).reshape(-1, *[1] * len(self.grid.shape))
        return replace(sample, image=sample.image + (NOISE * ranges * noise).astype(np.float32))


def real_cases(dataset: Dataset, split: str) -> list[Case]:
    """The real images of a data set that a generator may have learned from.

    Raises:
        DataError: there are fewer than two.
    """
    cases = [case for case in dataset.cases if case.images and case.origin.kind != "synthetic"]
    cases = [case for case in cases if split in ("all", case.split)]
    if not cases and not any(case.images for case in dataset.cases):
        raise DataError(f"{dataset.root}: holds no images; expected real images, not masks alone")
    if len(cases) < FEWEST:
        raise DataError(
            f"{dataset.root}: found {len(cases)} real images (split {split}); expected {FEWEST} or more, or another "
            "--split"
        )
    return cases


def made_cases(dataset: Dataset) -> list[Case]:
    """The made images of a data set.

    Raises:
        DataError: there are fewer than two.
    """
    made = [case for case in dataset.cases if case.origin.kind == "synthetic"]
    cases = [case for case in made if case.images]
    if not made:
        raise DataError(
            f"{dataset.root}: holds no made case: all {len(dataset.cases)} are real by their origin; expected a folder "
            'of `synthesize`, or a manifest that says origin = {kind = "synthetic"} of each case'
        )
    if not cases:
        raise DataError(f"{dataset.root}: its made cases hold no images, only masks; `scantling report` measures masks")
    if len(cases) < FEWEST:
        raise DataError(f"{dataset.root}: found {len(cases)} made image; expected {FEWEST} or more")
    return cases


def halves(subjects: Sequence[str]) -> list[tuple[Places, Places]]:
    """Places of the one half of the subjects and of the other, drawn several times; of cases where there is one."""
    names = np.array(subjects, str)
    units = names if len(np.unique(names)) > 1 else np.arange(len(names)).astype(str)
    known, found = np.unique(units), []
    for draw in range(HALVES):
        order = numpy_generator("halves", draw).permutation(len(known))
        first = np.isin(units, known[order[: len(known) // 2]])
        shuffled = numpy_generator("places", draw).permutation(len(names))
        found.append((shuffled[first[shuffled]], shuffled[~first[shuffled]]))
    return found


def pairs_within(subjects: Sequence[str], most: int) -> list[tuple[int, int]]:
    """At most so many pairs of different subjects; of one subject pairs of images."""
    every = list(combinations(range(len(subjects)), 2))
    apart = [(one, other) for one, other in every if subjects[one] != subjects[other]] or every
    return _drawn(apart, most)


def pairs_between(one: int, other: int, most: int) -> list[tuple[int, int]]:
    """At most so many pairs of one of the first and one of the second set."""
    return _drawn([(first, second) for first in range(one) for second in range(other)], most)


def _drawn(pairs: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    chosen = numpy_generator("pairs", len(pairs)).permutation(len(pairs))[:most]
    return [pairs[place] for place in chosen]
