"""A made data set held against the real one: diversity, distance in named features, copies, slices, anatomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.checks import check_choice, check_count
from scantling.core.machine import COMPUTE, Compute
from scantling.core.randomness import numpy_generator
from scantling.data.dataset import Dataset
from scantling.data.opening import OPENING, Opening
from scantling.data.splits import SPLITS
from scantling.evaluation.anatomy import Distribution, Marker, distributions
from scantling.evaluation.copies import Memorisation, look_for_copies
from scantling.evaluation.feature_scores import FeatureScores, score_features
from scantling.evaluation.made_and_real import (
    ImageSet,
    Places,
    Progress,
    Reader,
    halves,
    made_cases,
    pairs_between,
    pairs_within,
    real_cases,
)
from scantling.evaluation.named_features import HOW_TO, open_features
from scantling.evaluation.object_distributions import ObjectDistribution, object_distributions
from scantling.inference.common_grid import CommonGrid, Images, common_grid
from scantling.metrics.memorisation import FEWEST as SUBJECTS
from scantling.metrics.structural import ms_ssim, scales_of, slice_consistency

MOST = 200
"""Images of each set that are measured unless said; copies of all real images are looked for."""
PAIRS = {2: 200, 3: 60}
"""Pairs of images of which MS-SSIM is measured, by the number of axes."""
GENERATED_REAL, GENERATED, REAL = "generated-real", "generated-generated", "real-real"
SHUFFLED = "real, slices shuffled"

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What a made data set is like beside the real one.

    Attributes:
        counts: images: "made" and "real" that there are, "made measured" and "real measured".
        structural: MS-SSIM of pairs: generated-real, generated-generated, real-real.
        features: None where no network was named.
        memorisation: in pixels, and in features where a network was named; empty of too few training subjects.
        slices: of volumes, the SSIM of neighbouring slices of each image: made, real, real with slices shuffled.
        anatomy: where a segmenter was named, whose name is `segmenter`.
        objects: where both sets have instance maps.
        remarks: what a reader should know.
        failed: sentences on images that could not be read.
    """

    made: Path
    real: Path
    split: str
    counts: Mapping[str, int]
    grid: CommonGrid
    structural: Mapping[str, Floats]
    features: FeatureScores | None
    memorisation: tuple[Memorisation, ...]
    slices: Mapping[str, Floats]
    segmenter: str
    anatomy: tuple[Distribution, ...]
    objects: tuple[ObjectDistribution, ...]
    remarks: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether no more copies were found than chance gives; also where none could be looked for."""
        return all(each.clean for each in self.memorisation)

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        scales = scales_of(self.grid.shape)
        return {
            "made": str(self.made),
            "real": str(self.real),
            "split": self.split,
            "images": dict(self.counts),
            "grid": {"shape": list(self.grid.shape), "window": scales.window, "scales": len(scales.weights)},
            "ms_ssim": {name: spread(values) for name, values in self.structural.items()},
            "features": None if self.features is None else self.features.facts(),
            "memorisation": [each.facts() for each in self.memorisation],
            "slice_consistency": {name: spread(values) for name, values in self.slices.items()},
            "segmenter": self.segmenter,
            "anatomy": [
                {"quantity": each.quantity, "real": spread(each.real), "made": spread(each.made),
                 "distance": each.distance, "real_real": each.scale}
                for each in self.anatomy
            ],
            "objects": [
                {"quantity": each.quantity, "real": spread(each.real), "made": spread(each.made),
                 "ks": each.distance, "real_real": each.scale}
                for each in self.objects
            ],
            "remarks": list(self.remarks),
            "failed": list(self.failed),
        }  # fmt: skip

    def table(self) -> str:
        """For a terminal."""
        counts = self.counts
        lines = [
            f"{counts['made measured']} of {counts['made']} made images beside {counts['real measured']} of "
            f"{counts['real']} real ones",
            "MS-SSIM: " + ", ".join(f"{name} {np.mean(v):.3f}" for name, v in self.structural.items() if v.size),
        ]
        if self.features is not None:
            lines += self.features.lines()
        lines += [each.verdict() for each in self.memorisation]
        if self.slices:
            lines.append("slice consistency: " + ", ".join(f"{n} {np.mean(v):.3f}" for n, v in self.slices.items()))
        lines += [
            f"{each.quantity}: distance {each.distance:.2f}, of real halves {each.scale:.2f}" for each in self.anatomy
        ]
        lines += [
            f"{each.quantity}: Kolmogorov-Smirnov distance {each.distance:.2f}, of real halves {each.scale:.2f}; mean "
            f"{np.mean(each.made):.4g}, real {np.mean(each.real):.4g}"
            for each in self.objects
            if each.made.size and each.real.size
        ]
        return "\n".join([*lines, *self.remarks])


def assess(
    made: Path | Dataset,
    real: Path | Dataset,
    *,
    split: str = "train",
    features: str | Path | None = None,
    segmenter: Path | None = None,
    most: int = MOST,
    opening: Opening = OPENING,
    compute: Compute = COMPUTE,
    progress: Progress | None = None,
) -> Assessment:
    """Hold made images against real ones, which a generator may have learned from.

    Args:
        made: a folder of `synthesize`, or another data set whose manifest says that its cases are synthetic.
        real: the data set that the generator was trained on.
        split: of the real images: train, validation, test or all.
        features: a run of a segmenter or an encoder, or MODULE:FACTORY; without one what needs features is left out.
        segmenter: a run, trained on real images, that marks both sets.
        most: images of each set that are measured, drawn by a hash of their ids; copies are looked for of
            all real ones.
        opening: of the real data set.
        progress: called with (done, total, id) after each image.

    Raises:
        ScantlingError: there are no such images, or they cannot be compared. An image that cannot be read is listed.
    """
    check_count(most, argument="--most", least=2)
    check_choice(split, (*SPLITS, "all"), argument="--split")
    own = Opening(untrusted=opening.untrusted, limits=opening.limits)
    sets = tuple(each.with_instances(each.label_source.resolved) for each in (own.open(made), opening.open(real)))
    images = made_cases(sets[0]), real_cases(sets[1], split)
    grid = common_grid(images[1], opening=own)
    reader = Reader(
        grid,
        None if features is None else open_features(features, grid, compute=compute),
        None if segmenter is None else Marker(segmenter, compute=compute),
    )

    def counted(first: int) -> Progress | None:
        return None if progress is None else lambda done, _, id: progress(first + done, sum(map(len, images)), id)

    new = reader.read(images[0], most=most, everything=False, noise=False, progress=counted(0))
    old = reader.read(images[1], most=most, everything=True, noise=True, progress=counted(len(images[0])))
    divided = halves(old.subjects[: old.measured])
    scores = None
    if reader.features is not None:
        scores = score_features(
            reader.features.name, np.stack(old.features[: old.measured]), np.stack(new.features),
            np.stack(old.noisy), divided,
        )  # fmt: skip
    return Assessment(
        made=sets[0].root,
        real=sets[1].root,
        split=split,
        counts={
            "made": len(images[0]), "real": len(images[1]), "made measured": new.measured,
            "real measured": old.measured,
        },
        grid=grid,
        structural=_structural(new, old),
        features=scores,
        memorisation=look_for_copies(new, old),
        slices=_slices(new, old, grid),
        segmenter="" if reader.marker is None else reader.marker.name,
        anatomy=distributions(old.anatomy, new.anatomy, divided) if reader.marker is not None else (),
        objects=object_distributions(images[0], images[1], most=most, opening=opening),
        remarks=tuple(_remarks(new, old, divided, grid, named=features is not None)),
        failed=(*new.failed, *old.failed),
    )  # fmt: skip


def spread(values: Floats) -> dict[str, float | int]:
    """Mean, deviation (of a sample) and number of values."""
    mean = float(values.mean()) if values.size else float("nan")
    return {"mean": mean, "std": float(values.std(ddof=1)) if values.size > 1 else float("nan"), "count": values.size}


def _structural(new: ImageSet, old: ImageSet) -> dict[str, Floats]:
    most = PAIRS[new.images[0].ndim - 1]
    between = pairs_between(new.measured, old.measured, most)
    ids, subjects = [str(number) for number in range(new.measured)], old.subjects[: old.measured]
    return {
        GENERATED_REAL: np.array([ms_ssim(new.images[one], old.images[other]) for one, other in between]),
        GENERATED: np.array([ms_ssim(new.images[a], new.images[b]) for a, b in pairs_within(ids, most)]),
        REAL: np.array([ms_ssim(old.images[a], old.images[b]) for a, b in pairs_within(subjects, most)]),
    }


def _slices(new: ImageSet, old: ImageSet, grid: CommonGrid) -> dict[str, Floats]:
    if len(grid.shape) == 2:
        return {}
    axis = grid.slice_axis

    def over(images: Sequence[Images]) -> Floats:
        return np.array([slice_consistency(image, axis=axis) for image in images])

    shuffled = [
        image.take(numpy_generator("slices", number).permutation(image.shape[1 + axis]), 1 + axis)
        for number, image in enumerate(old.images)
    ]
    return {"made": over(new.images), "real": over(old.images), SHUFFLED: over(shuffled)}


def _remarks(
    new: ImageSet, old: ImageSet, divided: Sequence[tuple[Places, Places]], grid: CommonGrid, *, named: bool
) -> list[str]:
    found = []
    if grid.own_range:
        found.append(
            "the real images are in no common unit, since their ranges differ more than fourfold: each image, made or "
            "real, is compared in its own range"
        )
    if not named:
        found.append(HOW_TO)
    subjects = len(set(old.subjects))
    if subjects < SUBJECTS:
        found.append(
            f"whether training images were copied cannot be told: {subjects} training subjects, expected {SUBJECTS} or "
            "more"
        )
    if subjects == 1:
        found.append("the real images are of one subject: their halves are halves of its images")
    if named and min(len(divided[0][0]), new.measured) < 50:
        found.append("FID of fewer than 50 images is mostly chance and their number; KID is not biased by it")
    return found
