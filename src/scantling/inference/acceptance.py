"""What made images have to pass before they are written: that they copy no training image."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scantling.core.case import Case
from scantling.core.errors import DataError
from scantling.core.randomness import seed_of
from scantling.data.channels import joined
from scantling.data.opening import OPENING, Opening
from scantling.inference.common_grid import CommonGrid, Images, common_grid
from scantling.metrics.memorisation import (
    FEWEST,
    MemorisationLimits,
    aligned_distances,
    memorisation_limits,
    nearest,
    standardised,
)

COPY = "copies a training image"
"""The reason for which an image is refused, as it stands in the origin of the case that came after it."""
TRIES = 20
"""So often a case is made anew before the command gives up."""
MOST = 200
"""Training images, drawn by hash, on which it is learnt how near training images are to each other."""


@dataclass(frozen=True)
class CopyGate:
    """Refuses images that copy a training image (`metrics.memorisation`, in pixels).

    Attributes:
        training: (N, C, *S), standardised, of all training images.
        subjects: (N,) theirs.
        name: what stands in the origin of what has passed it.
    """

    grid: CommonGrid
    training: Images
    subjects: tuple[str, ...]
    limits: MemorisationLimits
    name: str

    def refuses(self, files: Mapping[str, np.ndarray]) -> str:
        """Why an image is refused; empty where it is not.

        Args:
            files: (C, *S) of each file in its units, by name.

        Raises:
            DataError: it has other channels or axes than the training images.
        """
        names = self.grid.names
        if len(files) == len(names) > 1 and set(files) == set(names):
            files = {name: files[name] for name in names}
        image = joined(list(files.values()))
        expected = (len(self.grid.limits), *self.grid.shape)
        if image.ndim != len(expected) or len(image) != expected[0]:
            raise DataError(
                f"--accept new: the made images have {len(image)} channels and {image.ndim - 1} axes, the training "
                f"images {expected[0]} and {len(expected) - 1}; leave it out"
            )
        small = standardised(self.grid.smaller(self.grid.bring(image))[None])
        found = nearest(aligned_distances(small, self.training), self.subjects)
        return COPY if self.limits.copied(found)[0] else ""


def copy_gate(cases: Sequence[Case], *, opening: Opening = OPENING) -> CopyGate:
    """The gate that training images make.

    Args:
        cases: of the training; those without images do not count.

    Raises:
        DataError: they are of fewer than three subjects, or differ in axes or channels.
        FileError: one cannot be read.
    """
    cases = sorted((case for case in cases if case.images), key=lambda case: seed_of("acceptance", case.id))
    subjects = tuple(case.subject for case in cases)
    if len(set(subjects)) < FEWEST:
        raise DataError(
            f"--accept new: found training images of {len(set(subjects))} subjects; expected {FEWEST} or more, to tell "
            "how near they are to each other"
        )
    grid = common_grid(cases, opening=opening)
    training = np.concatenate([standardised(grid.smaller(grid.read(case))[None]) for case in cases])
    drawn = training[:MOST]
    limits = memorisation_limits(nearest(aligned_distances(drawn, training), subjects, own=subjects[: len(drawn)]))
    digest = hashlib.sha256(training.tobytes() + repr(subjects).encode()).hexdigest()[:16]
    return CopyGate(grid, training, subjects, limits, f"accepted: new, of {len(cases)} training images {digest}")
