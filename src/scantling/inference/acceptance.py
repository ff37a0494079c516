"""What made cases have to pass before they are written: that they copy no training image, or show their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from scantling.core.case import Case, Labels
from scantling.core.errors import DataError, SettingsError
from scantling.core.randomness import seed_of
from scantling.data.channels import joined
from scantling.data.opening import OPENING, Opening
from scantling.inference.common_grid import CommonGrid, Images, common_grid
from scantling.inference.made_cases import MadeArrays
from scantling.inference.marking import Marker
from scantling.inference.writing import values_of
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
UNSEEN = "shows its label too little for the segmenter"
"""The same of the gate of labels."""


class Gate(Protocol):
    """Refuses some made cases.

    Attributes:
        name: what stands in the origin of what has passed it.
    """

    @property
    def name(self) -> str: ...

    def refuses(self, made: MadeArrays) -> str:
        """Why a case is refused; empty where it is not."""
        ...


@dataclass(frozen=True)
class Gates:
    """Several gates, all of which a case has to pass."""

    each: tuple[Gate, ...]

    @property
    def name(self) -> str:
        """Those of all."""
        return ", ".join(gate.name for gate in self.each)

    def refuses(self, made: MadeArrays) -> str:
        """The first reason."""
        return next((reason for gate in self.each if (reason := gate.refuses(made))), "")


@dataclass(frozen=True)
class LabelGate:
    """Refuses cases in whose images a segmenter does not find the label that they were made from.

    The Dice of what it finds is the mean over the classes of the label; a case whose label is empty passes.

    Attributes:
        marker: the segmenter, trained on real data.
        labels: of the masks that the generator makes; the segmenter has all of these classes.
        least: the Dice from which on a case passes.
    """

    marker: Marker
    labels: Labels
    least: float

    def __post_init__(self) -> None:
        """Make sure that both know the same classes.

        Raises:
            SettingsError: they do not, or `least` is no Dice.
        """
        if not 0 <= self.least <= 1:
            raise SettingsError(f"--accept-dice {self.least:g}: expected a number from 0 to 1")
        own, known = self.labels.names, self.marker.labels.names
        if not {*own} <= {*known} and len(own) + len(known) > 2:
            raise SettingsError(
                f"--use segmenter: knows the classes {', '.join(known)}; expected those of the made masks: "
                f"{', '.join(own)}"
            )

    @property
    def name(self) -> str:
        """With the segmenter and the threshold."""
        return f"accepted: labels, Dice of {self.least:g} by {self.marker.made_by}"

    def refuses(self, made: MadeArrays) -> str:
        """Why a case is refused; empty where it is not.

        Raises:
            SettingsError: it has no mask, or no image.
        """
        if made.mask is None or not made.images:
            raise SettingsError("--accept labels: goes with a generator that makes images and masks; leave it out")
        marked = self.marker("made", replace(made, mask=None)).mask
        found, wanted = _layers(marked, self.marker.labels), _layers(made.mask, self.labels)
        if len(found) == len(wanted) == 1:
            found = dict(zip(wanted, found.values(), strict=True))
        dice = [2 * (found[n] & one).sum() / (found[n].sum() + one.sum()) for n, one in wanted.items() if one.any()]
        return UNSEEN if dice and float(np.mean(dice)) < self.least else ""


def _layers(mask: np.ndarray | None, labels: Labels) -> dict[str, np.ndarray]:
    """The pixels of each class in a mask as it is written (`mask_values`)."""
    if mask is None:
        return {}
    if not labels.exclusive:
        return {name: layer > 0 for name, layer in zip(labels.names, mask, strict=True)}
    return {name: mask == value for name, value in zip(labels.names, values_of(labels), strict=True)}


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

    def refuses(self, made: MadeArrays) -> str:
        """Why a case is refused; empty where it is not.

        Raises:
            DataError: see `copies`.
            SettingsError: it has no image.
        """
        if not made.images:
            raise SettingsError("--accept new: the method makes no images, which alone can be copies; leave it out")
        return self.copies({file.name: values for file, values in made.images})

    def copies(self, files: Mapping[str, np.ndarray]) -> str:
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
