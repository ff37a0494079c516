"""Which samples a training draws: streams, what comes along with a sample, and how samples are changed.

Nothing here reads a file, and nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import combinations
from typing import Literal, Self

from scantling.core.case import Case

MOST_ROTATED = 30.0
"""Degrees, where left and right are not alike; ours."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Changes to the grid and the values of a training sample, drawn anew at every visit.

    Changes to the grid apply to all fields of a sample and to its views and linked samples alike, changes to the
    values to its image. Ranges are symmetric and uniform; 0 or False switches a change off.

    Attributes:
        flips: mirror each axis with probability ½; which axes, where they are not all alike.
        turns: quarter turns in the plane of axes of equal patch length and spacing; where `flips` tells the axes apart,
            of two axes that are mirrored.
        rotation: degrees, in every plane of the world.
        zoom: share, e.g. 0.2 for factors from 1/1.2 to 1.2.
        warped: the share of samples that are rotated and zoomed (the others keep their exact pixels).
        brightness: in units of the normalised image.
        contrast: share, e.g. 0.2 for factors from 1/1.2 to 1.2.
        gamma: share, on the image scaled to its own range.
        blur: the greatest deviation of a Gaussian, in pixels.
        low_resolution: the greatest factor by which an image is made smaller, and then as large as before; 1 or more.
        noise: the greatest standard deviation, in units of the normalised image.
        jpeg: the lowest quality at which a picture is compressed by JPEG, and unpacked; 100 for none.
        degraded: the share of samples that are blurred, made coarse, noisy and compressed (the others stay sharp).
        cutout: the side of a block that is levelled to the mean, as a share of the patch's (DeVries and Taylor, 2017).
        spacing: of the grid along each axis, in mm; None where it is the same along all.
        ignore_sides: mirror and turn along axes too along which the labels tell the two sides apart
            (`Traits.mirrored`).
    """

    flips: bool | tuple[bool, ...] = True
    turns: bool = True
    rotation: float = 0.0
    zoom: float = 0.0
    warped: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    low_resolution: float = 1.0
    noise: float = 0.0
    jpeg: int = 100
    degraded: float = 1.0
    cutout: float = 0.0
    spacing: tuple[float, ...] | None = None
    ignore_sides: bool = False

    @classmethod
    def strong(cls, *, spacing: tuple[float, ...] | None = None) -> Self:
        """A strong set for images of any kind; ours."""
        return cls(
            rotation=30, zoom=0.3, brightness=0.5, contrast=0.5, gamma=0.5, blur=1.5, low_resolution=2, noise=0.2,
            cutout=0.25, spacing=spacing,
        )  # fmt: skip

    def along(self, axes: int) -> tuple[bool, ...]:
        """Whether each of so many axes is mirrored."""
        return (self.flips,) * axes if isinstance(self.flips, bool) else self.flips

    def planes(self, lengths: Sequence[int]) -> list[tuple[int, int]]:
        """The pairs of axes in whose plane a patch of these lengths is turned."""
        if not self.turns:
            return []
        spacing = self.spacing or (1.0,) * len(lengths)
        alike = [(length, round(mm, 3)) for length, mm in zip(lengths, spacing, strict=True)]
        free = (True,) * len(lengths) if isinstance(self.flips, bool) else self.flips
        return [(a, b) for a, b in combinations(range(len(lengths)), 2) if alike[a] == alike[b] and free[a] and free[b]]

    def within(self, mirrored: Sequence[bool]) -> Self:
        """The changes without those that mix up sides, where not all axes may be `mirrored` (`Traits.mirrored`).

        Nothing is mirrored or turned by a right angle along the other axes, nor rotated by more than `MOST_ROTATED`.
        """
        if all(mirrored) or self.ignore_sides:
            return self
        return replace(
            self,
            flips=tuple(flip and free for flip, free in zip(self.along(len(mirrored)), mirrored, strict=True)),
            turns=self.turns and bool(self.flips),
            rotation=min(self.rotation, MOST_ROTATED),
        )


@dataclass(frozen=True)
class View:
    """The same patch of the same image once more, with changes of its values of its own (FixMatch: Sohn et al., 2020).

    Only the changes of `augment` to the values count.
    """

    name: str
    augment: Augmentation | None = None


@dataclass(frozen=True)
class Link:
    """The case that a case links to by this role, on the same patch; cases without the link are not in the stream."""

    role: str

    @property
    def name(self) -> str:
        """The role."""
        return self.role


@dataclass(frozen=True)
class Partner:
    """Another case of the stream's pool, drawn at every visit, with a patch and changes of its own.

    Attributes:
        labelled: only cases with a mask (True) or without (False).
        other_subject: never a case of the same subject.
        case: the id of a case that is always the partner, of any pool.
    """

    name: str
    _: KW_ONLY
    labelled: bool | None = None
    other_subject: bool = True
    case: str = ""

    def takes(self, case: Case, pool: str) -> bool:
        """Whether `case` can be the partner of a case of the pool of a stream (any if empty)."""
        if self.case:
            return case.id == self.case
        return case.has("image") and (not pool or case.pool == pool) and self.labelled in (None, case.has("mask"))


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A never-ending sequence of training samples that a stage reads.

    Attributes:
        name: under which its batches stand in what the objectives receive.
        reads: the fields (`core.fields`) that each sample carries; cases that lack any of them are not in the stream,
            and nothing else is read from disk. Reading only "image" takes labelled and unlabelled cases alike.
        wants: fields that are read where a case has them; `Batch.present` says where.
        pool: only cases of this pool; any pool if empty.
        without: leaves out cases that have any of this ("mask": those with one; "class:NAME": those of a class).
        batch: samples a step, over all processes and micro-batches.
        patch: the spatial shape of a sample; None takes whole images (all must then have one shape).
        pixels: how many single pixels are read of an image in place of a patch, at random among those that the mask
            knows; fields are then (B, C, pixels). Prepared fields may lie on coarser grids; nothing is augmented.
        foreground: the share of patches centred on a labelled pixel.
        companions: other samples that come along.
        annotator: whose mask, where there are several: the first, or one drawn at every visit.
        augment: changes to the samples; None for none.
        partial: cases may lack channels of the image and files of single classes.
        layered: masks have a layer (B, K, *S) of 0, 1 and `IGNORE` for each class, also where classes exclude one
            another: so they say what the masks of a case that know only some classes know (`Case.drawn_classes`).
        optional: left out of the batches where no case belongs to it, which else is an error.

    Only training cases are ever in a stream; validation and test subjects are kept out, labelled or not.
    """

    name: str
    reads: tuple[str, ...] = ("image", "mask")
    wants: tuple[str, ...] = ()
    pool: str = ""
    without: tuple[str, ...] = ()
    batch: int = 1
    patch: tuple[int, ...] | None = None
    pixels: int = 0
    foreground: float = 0.0
    companions: tuple[View | Link | Partner, ...] = ()
    annotator: Literal["first", "drawn"] = "first"
    augment: Augmentation | None = None
    partial: bool = False
    layered: bool = False
    optional: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """All that its batches carry: what it reads and wants, and the region of an image."""
        names = (*self.reads, *self.wants)
        return tuple(dict.fromkeys((*names, "region") if "image" in names else names))

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the links that it follows."""
        return tuple(companion.role for companion in self.companions if isinstance(companion, Link))

    def takes(self, case: Case) -> bool:
        """Whether `case` belongs to the stream (its split aside)."""
        return (
            all(case.has(what) for what in self.reads)
            and not any(case.has(what) for what in self.without)
            and (not self.pool or case.pool == self.pool)
            and all(case.has(f"link:{role}") for role in self.roles)
        )
