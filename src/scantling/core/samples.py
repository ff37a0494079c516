"""What methods see of the data: what is measured of them, which samples a training draws, what a batch carries.

Nothing here reads a file, and nothing here imports torch. Tensors are `(B, C, *S)`, where `*S` is two or three spatial
axes in the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from scantling.core.case import Case, Frozen, Labels
from scantling.core.errors import DataError

if TYPE_CHECKING:
    import torch


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

    def only(self, channels: tuple[str, ...]) -> Traits:
        """The traits of the images with these of their channels alone."""
        if channels == self.channels:
            return self
        places = [self.channels.index(name) for name in channels]
        return self.model_copy(
            update={"channels": channels, "intensity": tuple(self.intensity[place] for place in places)}
        )

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
    """Samples of one stream, on the device, normalised as the method's preprocessing says.

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


class Preprocessing(Frozen):
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
