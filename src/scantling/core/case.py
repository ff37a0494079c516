"""The nouns of the data: what a case is, what its labels mean, where its arrays lie.

Nothing here reads a file, and nothing here imports torch. Arrays keep the axis order of their file: `(C, *S)` for one
image, where `*S` is two or three spatial axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from scantling.core.fields import FIELDS
from scantling.core.fields import IGNORE as IGNORE

if TYPE_CHECKING:
    import numpy as np

Split = Literal["train", "validation", "test"]


class Frozen(BaseModel):
    """A record that goes through JSON unchanged: immutable, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Address:
    """Where an array lies: a file or a DICOM folder, or a member of an archive (`f.npz#label`)."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}#{self.member}" if self.member else str(self.path)


class Origin(Frozen):
    """What a case was made from. A synthetic case inherits the split of its parents."""

    kind: Literal["real", "synthetic"] = "real"
    model: str = ""
    seed: int | None = None
    parents: tuple[str, ...] = ()
    hand_drawn: int = 0
    """How many masks drawn by people its model has learned from; a synthetic mask that is free of labels has 0."""
    rejected: dict[str, int] = {}
    """How many were made and thrown away, by reason, until this case and those made together with it were left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One image of one subject and all that is known of it; addresses, no pixels.

    Attributes:
        id: unique in its dataset; may hold no separator of paths.
        subject: whoever was imaged; a split never divides a subject.
        named: whether the data name the subject, who is then the same in all datasets; else it is called after a file.
        images: the files by name ("image", "flair", "t1c"); one file may hold several channels; empty for a
            case that is only a mask.
        masks: one per annotator, the first is the reference. An annotator's mask is one label map, or one
            file for each class (by class name) where classes overlap.
        scribbles: a sparse label map, `ignore` where nothing was drawn.
        boxes: ((axis-0 start, stop), (axis-1 start, stop), ...) in pixels for each box; the first reaches from 0 to 1.
        points: indices, one tuple for each point; the centre of the first pixel is 0.
        box_classes: the name of the class of each box; none where there is one class.
        point_classes: the same of each point.
        image_class: the class of the whole image.
        instances: a label map of objects, 0 background, 1..N one number for each.
        region: a mask of the pixels that count (field of view, brain mask).
        links: other cases by role ("background", "after") and their ids.
        strata: what scores are told apart by: the value of each stratum by its name ("skin": "dark", "site": "A").
        pool: the name of the set it belongs to, where a dataset holds several ("angiograms", "background").
        split: where it may be used; None until a dataset without a split gets one.
        spacing: overrides what the file says, in mm for each axis.
        threshold: where masks are grey, the value from which on a pixel belongs to the one class.
        origin: real, or synthetic and from what.
    """

    id: str
    subject: str
    images: Mapping[str, Address] = field(default_factory=dict)
    masks: tuple[Address | Mapping[str, Address], ...] = ()
    scribbles: Address | None = None
    boxes: tuple[tuple[tuple[float, float], ...], ...] = ()
    points: tuple[tuple[float, ...], ...] = ()
    box_classes: tuple[str, ...] = ()
    point_classes: tuple[str, ...] = ()
    image_class: str | None = None
    instances: Address | None = None
    region: Address | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    strata: Mapping[str, str] = field(default_factory=dict)
    pool: str = ""
    split: Split | None = None
    spacing: tuple[float, ...] | None = None
    threshold: float | None = None
    origin: Origin = Origin()
    named: bool = False

    def has(self, what: str) -> bool:
        """Whether the case holds `what`: a field (`core.fields`), `link:ROLE` or `pool:NAME`."""
        kind, colon, name = what.partition(":")
        if colon:
            return name in self.links if kind == "link" else self.pool == name
        return len(self.masks) > 1 if kind == "masks" else bool(getattr(self, FIELDS[kind].attribute or kind))

    def addresses(self) -> Iterator[tuple[str, Address]]:
        """Every address of the case with its role ("image flair", "mask 1", "region")."""
        for name, address in self.images.items():
            yield f"image {name}", address
        for number, mask in enumerate(self.masks, start=1):
            if isinstance(mask, Address):
                yield f"mask {number}", mask
            else:
                yield from ((f"mask {number} {name}", address) for name, address in mask.items())
        for role, single in (("scribbles", self.scribbles), ("instances", self.instances), ("region", self.region)):
            if single is not None:
                yield role, single


class Labels(Frozen):
    """What the values of a mask mean.

    Attributes:
        names: the foreground classes, in the order of the channels of every probability map.
        values: for each class the values in the file that belong to it. Classes that share a value overlap
            (regions such as "whole tumour"), and so do classes that lie in a file each (`values` is then ()).
        ignore: the value in the file where nothing is known.
        background: the values in the file that belong to no class.
        others: what any other value is: an error; a grey between two of the values, which counts as the nearer; or
            the number of an object of the one class.
    """

    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    ignore: int | None = None
    background: tuple[int, ...] = (0,)
    others: Literal["error", "nearest", "object"] = "error"

    @property
    def exclusive(self) -> bool:
        """Whether a pixel has at most one class; one class alone is exclusive."""
        listed = [value for values in self.values for value in values]
        return len(self.names) == 1 or (all(self.values) and len(listed) == len(set(listed)))


@dataclass(frozen=True)
class Geometry:
    """How an array lies in its file and in the world.

    Attributes:
        shape: the spatial shape `(*S)` of the array.
        spacing: the distance between neighbours along each axis, in `unit`.
        affine: (4, 4), from indices in the order of the array's axes to millimetres (right, anterior, superior);
            None where the file does not say.
        container: what a mask of this image is written as: "raster" leaves as PNG, "volume" as NIfTI.
        slice_axis: the axis along which the file stacks its slices (three spatial axes only).
        stored: the spatial shape in the file where it differs (a NIfTI image with axes of length 1).
        unit: "mm" where the file, or the manifest, says how large its pixels are; else "pixel", and the spacing is 1.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    affine: np.ndarray | None = None
    container: Literal["raster", "volume"] = "raster"
    slice_axis: int = 0
    stored: tuple[int, ...] | None = None
    unit: Literal["mm", "pixel"] = "pixel"


@dataclass(frozen=True)
class Sample:
    """A case as arrays, read through the door and before any change to its grid or its values.

    Attributes:
        image: (C, *S) in the number type of its files.
        masks: one (1, *S) uint8 of class numbers (0 background, 1..K, `IGNORE`) for each annotator, or
            (K, *S) of 0, 1 and `IGNORE` where classes overlap.
        region: (*S) bool.
        scribbles: (1, *S) uint8 of class numbers, `IGNORE` where nothing was drawn.
        instances: (*S) int32.
        boxes: (N, D, 2), see `core.fields.Kind`.
        points: (N, D).
        classes: (N,) int64 of the boxes and the points, by field; classes are counted from 0.
        channels: (C,) which of the image's channels the case has; None: all. The others are 0.
        known: (K,) which classes the first mask knows; None: all.
    """

    case: Case
    image: np.ndarray
    geometry: Geometry
    masks: tuple[np.ndarray, ...] = ()
    region: np.ndarray | None = None
    scribbles: np.ndarray | None = None
    instances: np.ndarray | None = None
    boxes: np.ndarray | None = None
    points: np.ndarray | None = None
    classes: Mapping[str, np.ndarray] = field(default_factory=dict)
    channels: np.ndarray | None = None
    known: np.ndarray | None = None
