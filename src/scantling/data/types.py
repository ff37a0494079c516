"""The nouns of the data: what a case is, what a dataset says of itself, what a batch carries.

Nothing here reads a file, and nothing here imports torch: methods see these types and no more of `data`.
Arrays and tensors keep the axis order of their file: `(C, *S)` for one image, `(B, C, *S)` for a batch, where
`*S` is two or three spatial axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from scantling.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import torch

Split = Literal["train", "validation", "test"]
IGNORE = 255
"""The value of a mask where nothing is known; it counts in no loss and in no measure."""


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
        boxes: ((axis-0 start, stop), (axis-1 start, stop), ...) in pixels for each box.
        points: pixel coordinates, one tuple for each point.
        image_class: the class of the whole image.
        instances: a label map of objects, 0 background, 1..N one number for each.
        region: a mask of the pixels that count (field of view, brain mask).
        links: other cases by role ("background", "after") and their ids.
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
    image_class: str | None = None
    instances: Address | None = None
    region: Address | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    pool: str = ""
    split: Split | None = None
    spacing: tuple[float, ...] | None = None
    threshold: float | None = None
    origin: Origin = Origin()
    named: bool = False

    def has(self, what: str) -> bool:
        """Whether the case holds `what`, in the words of a card's needs (see `methods.catalogue`)."""
        kind, _, name = what.partition(":")
        held: dict[str, bool] = {
            "image": bool(self.images),
            "mask": bool(self.masks),
            "masks": len(self.masks) > 1,
            "scribble": self.scribbles is not None,
            "box": bool(self.boxes),
            "point": bool(self.points),
            "class": self.image_class is not None,
            "instance": self.instances is not None,
            "region": self.region is not None,
            "link": name in self.links,
            "pool": self.pool == name,
        }
        return held[kind]

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
        background: the values in the file that belong to no class; any other value is an error.
    """

    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    ignore: int | None = None
    background: tuple[int, ...] = (0,)

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
        spacing: mm between neighbours along each axis; 1.0 where the file does not say.
        affine: (4, 4), from indices in the order of the array's axes to millimetres (right, anterior, superior);
            None where the file does not say.
        container: what a mask of this image is written as: "raster" leaves as PNG, "volume" as NIfTI.
        slice_axis: the axis along which the file stacks its slices (three spatial axes only).
        stored: the spatial shape in the file where it differs (a NIfTI image with axes of length 1).
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    affine: np.ndarray | None = None
    container: Literal["raster", "volume"] = "raster"
    slice_axis: int = 0
    stored: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Sample:
    """A case as arrays, read through the door and before any change to its grid or its values.

    Attributes:
        image: (C, *S) float32.
        masks: one (1, *S) uint8 of class numbers (0 background, 1..K, `IGNORE`) for each annotator, or
            (K, *S) of 0, 1 and `IGNORE` where classes overlap.
        region: (*S) bool.
        scribbles: (1, *S) uint8 of class numbers, `IGNORE` where nothing was drawn.
        instances: (*S) int32.
    """

    case: Case
    image: np.ndarray
    geometry: Geometry
    masks: tuple[np.ndarray, ...] = ()
    region: np.ndarray | None = None
    scribbles: np.ndarray | None = None
    instances: np.ndarray | None = None


class Intensity(Frozen):
    """Statistics of one channel over the training images, inside the region where there is one."""

    mean: float
    std: float
    low: float
    """The 0.5th percentile."""
    high: float
    """The 99.5th percentile."""
    minimum: float
    maximum: float


class Traits(Frozen):
    """What a method knows of its data: measured on the training cases once, saved with the model for good."""

    dimensions: Literal[2, 3]
    channels: tuple[str, ...]
    labels: Labels | None = None
    image_classes: tuple[str, ...] = ()
    spacing: tuple[float, ...]
    """The median, for each axis."""
    shape: tuple[int, ...]
    """The median, for each axis."""
    smallest: tuple[int, ...]
    slice_axis: int = 0
    intensity: tuple[Intensity, ...]
    regions: bool = False
    """Whether the training cases have a region of interest."""
    foreground: tuple[float, ...] = ()
    """The share of pixels of each class in the labelled training cases."""
    labelled: int = 0
    unlabelled: int = 0
    masks_alone: int = 0
    """How many training cases are only a mask."""
    hand_drawn: int = 0
    """How many masks drawn by people stand behind the training images with masks, those of synthetic ones included."""
    hand_drawn_alone: int = 0
    """The same of training cases that are only a mask."""
    hand_drawn_before: int = 0
    """The same of the weights that the training began with."""
    pools: tuple[str, ...] = ()
    """The names of the pools of the training images."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the foreground classes."""
        return self.labels.names if self.labels else ()


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Changes to the grid and the values of a training sample, drawn anew at every visit.

    Grid changes apply to a sample's image, masks, region and linked samples alike. Ranges are symmetric and
    uniform; 0 or False switches a change off.

    Attributes:
        flips: mirror each axis with probability ½.
        turns: quarter turns in the plane of axes of equal patch length and spacing.
        rotation: degrees, in every plane of the world.
        zoom: share, e.g. 0.2 for factors from 1/1.2 to 1.2.
        warped: the share of samples that are rotated and zoomed (the others keep their exact pixels).
        brightness: in units of the normalised image.
        contrast: share, e.g. 0.2 for factors from 1/1.2 to 1.2.
        gamma: share, on the image scaled to its own range.
        noise: the greatest standard deviation, in units of the normalised image.
        spacing: of the grid along each axis, in mm; None where it is the same along all.
    """

    flips: bool = True
    turns: bool = True
    rotation: float = 0.0
    zoom: float = 0.0
    warped: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    spacing: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A never-ending sequence of training samples that a stage reads.

    Attributes:
        name: under which its batches stand in what the objectives receive.
        reads: what each sample carries, in the words of a card's needs ("image", "mask", "region", "class",
            "scribble", "instance"); cases that lack any of it are not in the stream, and nothing else is read
            from disk. Reading only "image" takes labelled and unlabelled cases alike.
        pool: only cases of this pool; any pool if empty.
        without: leaves out cases that have any of this ("mask": the unlabelled ones).
        batch: samples a step, over all processes and micro-batches.
        patch: the spatial shape of a sample; None takes whole images (all must then have one shape).
        foreground: the share of patches centred on a labelled pixel.
        linked: roles of links whose cases come along, on the same patch with the same changes to the grid.
        annotator: whose mask, where there are several: the first, or one drawn at every visit.
        augment: changes to the samples; None for none.

    Only training cases are ever in a stream; validation and test subjects are kept out, labelled or not.
    """

    name: str
    reads: tuple[str, ...] = ("image", "mask")
    pool: str = ""
    without: tuple[str, ...] = ()
    batch: int = 1
    patch: tuple[int, ...] | None = None
    foreground: float = 0.0
    linked: tuple[str, ...] = ()
    annotator: Literal["first", "drawn"] = "first"
    augment: Augmentation | None = None

    def takes(self, case: Case) -> bool:
        """Whether `case` belongs to the stream (its split aside)."""
        return (
            all(case.has(what) for what in self.reads)
            and not any(case.has(what) for what in self.without)
            and (not self.pool or case.pool == self.pool)
            and all(case.has(f"link:{role}") for role in self.linked)
        )


@dataclass(frozen=True)
class Batch:
    """Samples of one stream, on the device, normalised as the method's intake says.

    Attributes:
        index: (B,) int64, the global index of each sample in its stream: what its randomness is a function of.
        case: (B,) int64, the position of each sample's case (or slice) in the stream.
        fields: what the stream reads, by the names of the properties below.
        linked: the batches of linked cases by role.
    """

    index: torch.Tensor
    case: torch.Tensor
    fields: Mapping[str, torch.Tensor]
    linked: Mapping[str, Batch] = field(default_factory=dict)

    @property
    def image(self) -> torch.Tensor:
        """(B, C, *S) float32."""
        return self._field("image")

    @property
    def mask(self) -> torch.Tensor:
        """(B, 1, *S) uint8 of class numbers, or (B, K, *S) of 0 and 1 where classes overlap; `IGNORE` is unknown."""
        return self._field("mask")

    @property
    def region(self) -> torch.Tensor:
        """(B, 1, *S) bool."""
        return self._field("region")

    @property
    def scribbles(self) -> torch.Tensor:
        """(B, 1, *S) uint8 of class numbers, `IGNORE` where nothing was drawn."""
        return self._field("scribbles")

    @property
    def instances(self) -> torch.Tensor:
        """(B, 1, *S) int32."""
        return self._field("instances")

    @property
    def image_class(self) -> torch.Tensor:
        """(B,) int64."""
        return self._field("image_class")

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Batch:
        """The batch on `device`, its images in `dtype`."""
        fields = {
            name: tensor.to(device, dtype) if name == "image" and dtype is not None else tensor.to(device)
            for name, tensor in self.fields.items()
        }
        linked = {role: batch.to(device, dtype) for role, batch in self.linked.items()}
        return Batch(self.index.to(device), self.case.to(device), fields, linked)

    def _field(self, name: str) -> torch.Tensor:
        if name not in self.fields:
            raise DataError(f"a batch has no {name}; it has {', '.join(self.fields)}; the stream must read it")
        return self.fields[name]


class Intake(Frozen):
    """How a method takes its images: on which grid, in which units. The answer goes the way back.

    Attributes:
        dimensions: 2 reads a volume as slices that keep their subject.
        normalise: "image" subtracts the mean and divides by the deviation of each channel of each image, inside
            the region where there is one; "dataset" clips to the 0.5th and 99.5th percentile of the training
            data, then uses their mean and deviation (quantitative images such as CT); "unit" scales each image
            to [-1, 1]; "none" leaves the values.
        spacing: the grid in mm that images are resampled to; None keeps their own.
        size: the shape that every image, or slice, is resampled to whatever it was; None keeps its own.
    """

    dimensions: Literal[2, 3]
    normalise: Literal["image", "dataset", "unit", "none"] = "image"
    spacing: tuple[float, ...] | None = None
    size: tuple[int, ...] | None = None
