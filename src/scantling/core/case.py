"""The nouns of the data: what a case is, what its labels mean, where its arrays lie.

Nothing here reads a file, and nothing here imports torch. Arrays keep the axis order of their file: `(C, *S)` for one
image, where `*S` is two or three spatial axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from scantling.core.fields import FIELDS
from scantling.core.fields import IGNORE as IGNORE

if TYPE_CHECKING:
    import numpy as np

Split = Literal["train", "validation", "test"]
Unit = Literal["mm", "pixel"]
"""What lengths are in: mm where the files or the manifest say how large a pixel is."""
COLOURED = 1 << 24
"""In label maps, a colour that is no grey is the number `COLOURED` + 0xRRGGBB; a grey is itself."""


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

    kind: Literal["real", "synthetic", "simulated"] = "real"
    """"simulated": a real image, with labels that a rule has drawn from others as a person might have."""
    model: str = ""
    seed: int | None = None
    parents: tuple[str, ...] = ()
    hand_drawn: int = 0
    """How many masks drawn by people its model has learned from; a synthetic mask that is free of labels has 0."""
    rejected: dict[str, int] = {}
    """How many were made and thrown away, by reason, until this case and those made together with it were left."""
    effort: dict[str, int] = {}
    """What a hand would have had to do for simulated labels, an estimate: "pixels", "strokes", "slices"."""


class Correction(Frozen):
    """How a mask came to be that a person has corrected by hand.

    Attributes:
        author: who corrected it.
        at: when it was saved last, in ISO 8601.
        seconds: that were spent on it, of all sittings.
        model: whose mask it was before: a method and a short name for its weights; empty if it was drawn from nothing.
        images: the SHA-256 of each file of the images that it was drawn on.
        instead: whether it stands in for a mask that the data have; known of joined data, and never written.
    """

    author: str = ""
    at: str = ""
    seconds: float = 0.0
    model: str = ""
    images: tuple[str, ...] = ()
    instead: bool = Field(default=False, exclude=True)


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
            () where somebody looked and found none; None where nobody looked.
        points: indices, one tuple for each point; the centre of the first pixel is 0. () and None as of boxes.
        box_classes: the name of the class of each box; none where there is one class.
        point_classes: the same of each point.
        image_class: the class of the whole image.
        caption: what the image shows, as nouns that commas divide; "" where nobody says.
        instances: a label map of objects, 0 background, 1..N one number for each.
        region: a mask of the pixels that count (field of view, brain mask).
        known: a mask of the pixels that were looked at when the masks were drawn; outside it they say nothing.
        drawn_slices: the slices of a volume that were drawn, from 0, or "marked": those that hold a class; None: all.
        drawn_axis: the axis of the file along which `drawn_slices` count; None: that of its slices.
        drawn_objects: the numbers of the objects that were drawn, or "marked": those that the map of objects, or the
            mask, holds; of all else nothing is known. None: all.
        drawn_rim: the pixels around a drawn object that are known to be no part of it: background, unless another
            object lies there.
        drawn_classes: the classes that its masks know; what they do not mark may be one of the others. None: all.
        links: other cases by role ("background", "after") and their ids.
        strata: what scores are told apart by: the value of each stratum by its name ("skin": "dark", "site": "A").
        pool: the name of the set it belongs to, where a dataset holds several ("angiograms", "background").
        split: where it may be used; None until a dataset without a split gets one.
        spacing: overrides what the file says, in mm for each axis.
        threshold: where masks are grey, the value from which on a pixel belongs to the one class.
        origin: real, or synthetic and from what.
        correction: how the mask was corrected by hand; None where it was not.
    """

    id: str
    subject: str
    images: Mapping[str, Address] = field(default_factory=dict)
    masks: tuple[Address | Mapping[str, Address], ...] = ()
    scribbles: Address | None = None
    boxes: tuple[tuple[tuple[float, float], ...], ...] | None = None
    points: tuple[tuple[float, ...], ...] | None = None
    box_classes: tuple[str, ...] = ()
    point_classes: tuple[str, ...] = ()
    image_class: str | None = None
    caption: str = ""
    instances: Address | None = None
    region: Address | None = None
    known: Address | None = None
    drawn_slices: tuple[int, ...] | Literal["marked"] | None = None
    drawn_axis: int | None = None
    drawn_objects: tuple[int, ...] | Literal["marked"] | None = None
    drawn_rim: float = 0.0
    drawn_classes: tuple[str, ...] | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    strata: Mapping[str, str] = field(default_factory=dict)
    pool: str = ""
    split: Split | None = None
    spacing: tuple[float, ...] | None = None
    threshold: float | None = None
    origin: Origin = Origin()
    named: bool = False
    correction: Correction | None = None

    def has(self, what: str) -> bool:
        """Whether the case holds `what`: a field (`core.fields`), `link:ROLE`, `pool:NAME` or `class:NAME`."""
        kind, colon, name = what.partition(":")
        if colon:
            return (
                name in self.links if kind == "link" else (self.image_class if kind == "class" else self.pool) == name
            )
        if kind in ("boxes", "points"):
            return getattr(self, kind) is not None  # an image without an object is labelled, too
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
        for role in ("scribbles", "instances", "region", "known"):
            if (single := getattr(self, role)) is not None:
                yield role, single


class Labels(Frozen):
    """What the values of a mask mean.

    Attributes:
        names: the foreground classes, in the order of the channels of every probability map.
        values: for each class the values in the file that belong to it. Classes that share a value overlap
            (regions such as "whole tumour"), and so do classes that lie in a file each (`values` is then ()).
        ignore: the value in the file where nothing is known.
        background: the values in the file that belong to no class.
        others: what any other value is: an error; a grey or a colour between the values, which counts as the nearest;
            the number of an object of the one class; or background.
    """

    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    ignore: int | None = None
    background: tuple[int, ...] = (0,)
    others: Literal["error", "nearest", "object", "background"] = "error"

    @property
    def exclusive(self) -> bool:
        """Whether a pixel has at most one class; one class alone is exclusive."""
        listed = [value for values in self.values for value in values]
        return len(self.names) == 1 or (all(self.values) and len(listed) == len(set(listed)))

    @property
    def coloured(self) -> bool:
        """Whether any value is a colour; palettes are then read as colours, not as indices."""
        listed = {value for values in self.values for value in values} | {*self.background, self.ignore or 0}
        return any(COLOURED <= value < 2 * COLOURED for value in listed)


@dataclass(frozen=True)
class Orientation:
    """How a file stores the axes of a volume that reading has turned (`data.orientation`).

    Attributes:
        axes: for each of the three axes right, anterior and superior the axis of the file that is turned to it.
        flips: for each of them whether it runs the other way in the file.
        affine: (4, 4), from indices in the file to millimetres.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    affine: np.ndarray


@dataclass(frozen=True)
class Geometry:
    """How an array lies in its file and in the world.

    The axes of a volume with an affine are right, anterior and superior, whichever way its file stores them.

    Attributes:
        shape: the spatial shape `(*S)` of the array.
        spacing: the distance between neighbours along each axis, in `unit`.
        affine: (4, 4), from indices in the order of the array's axes to millimetres (right, anterior, superior);
            None where the file does not say.
        container: what a mask of this image is written as: "raster" leaves as PNG, "volume" as NIfTI.
        slice_axis: the axis along which slices are stacked (three spatial axes only; see `data.orientation`).
        stored: the spatial shape in the file where it differs (a NIfTI image with axes of length 1, or turned).
        orientation: how the file stores the axes; None where the array has them in its order.
        unit: "mm" where the file, or the manifest, says how large its pixels are; else "pixel", and the spacing is 1.
        exif: the EXIF orientation by which the array was turned to how viewers show it (1: not turned).
        remark: what a check says of how the file gives all this: "qform" where a NIfTI has two affines that disagree.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    affine: np.ndarray | None = None
    container: Literal["raster", "volume"] = "raster"
    slice_axis: int = 0
    stored: tuple[int, ...] | None = None
    unit: Unit = "pixel"
    orientation: Orientation | None = None
    exif: int = 1
    remark: str = ""


@dataclass(frozen=True)
class Sample:
    """A case as arrays, read through the door and before any change to its grid or its values.

    Attributes:
        image: (C, *S) in the number type of its files.
        masks: one (1, *S) uint8 of class numbers (0 background, 1..K, `IGNORE`) for each annotator, or
            (K, *S) of 0, 1 and `IGNORE` where classes overlap.
        region: (*S) bool.
        outside: (*S) bool, where the image holds no number; no answer is about these pixels, and they lie outside
            `region`. None: nowhere.
        scribbles: (1, *S) uint8 of class numbers, `IGNORE` where nothing was drawn.
        instances: (*S) int32.
        boxes: (N, D, 2), see `core.fields.Kind`.
        points: (N, D).
        classes: (N,) int64 of the boxes and the points, by field; classes are counted from 0.
        channels: (C,) which of the image's channels the case has; None: all. The others are 0.
        known: (K,) which classes the first mask knows; None: all.
        scale: how many times as large as the training images it is answered, in pixels for the same thing: the grid
            of a method that keeps the scale of pictures is so much coarser.
    """

    case: Case
    image: np.ndarray
    geometry: Geometry
    masks: tuple[np.ndarray, ...] = ()
    region: np.ndarray | None = None
    outside: np.ndarray | None = None
    scribbles: np.ndarray | None = None
    instances: np.ndarray | None = None
    boxes: np.ndarray | None = None
    points: np.ndarray | None = None
    classes: Mapping[str, np.ndarray] = field(default_factory=dict)
    channels: np.ndarray | None = None
    known: np.ndarray | None = None
    scale: float = 1.0

    def __repr__(self) -> str:
        held = {f"masks[{number}]": mask for number, mask in enumerate(self.masks)}
        held |= {each.name: getattr(self, each.name) for each in fields(self)}
        arrays = [f"{k} {v.shape} {v.dtype}" for k, v in held.items() if hasattr(v, "dtype")]
        return f"Sample({self.case.id!r}: {', '.join(arrays)})"

    @property
    def unanswered(self) -> np.ndarray | None:
        """(*S) bool, where every answer is 0: beyond the region of interest, and where the image holds no number.

        A region without a pixel is none.
        """
        return self.outside if self.region is None or not self.region.any() else ~self.region.astype(bool)

    @property
    def mask(self) -> np.ndarray | None:
        """The mask of the first annotator; None where there is none."""
        return self.masks[0] if self.masks else None

    @property
    def spacing(self) -> tuple[float, ...]:
        """The distance between neighbours along each spatial axis, in `geometry.unit`."""
        return self.geometry.spacing

    @property
    def affine(self) -> np.ndarray | None:
        """(4, 4), from indices to millimetres (right, anterior, superior); None where the file does not say."""
        return self.geometry.affine
