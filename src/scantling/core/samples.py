"""What methods see of the data: what is measured of them, which samples a training draws, what a batch carries.

Nothing here reads a file, and nothing here imports torch. Tensors are `(B, C, *S)`, where `*S` is two or three spatial
axes in the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal, Self

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

    Changes to the grid apply to all fields of a sample and to its views and linked samples alike, changes to the
    values to its image. Ranges are symmetric and uniform; 0 or False switches a change off.

    Attributes:
        flips: mirror each axis with probability ½.
        turns: quarter turns in the plane of axes of equal patch length and spacing.
        rotation: degrees, in every plane of the world.
        zoom: share, e.g. 0.2 for factors from 1/1.2 to 1.2.
        warped: the share of samples that are rotated and zoomed (the others keep their exact pixels).
        brightness: in units of the normalised image.
        contrast: share, e.g. 0.2 for factors from 1/1.2 to 1.2.
        gamma: share, on the image scaled to its own range.
        blur: the greatest deviation of a Gaussian, in pixels.
        low_resolution: the greatest factor by which an image is made smaller, and then as large as before; 1 or more.
        noise: the greatest standard deviation, in units of the normalised image.
        cutout: the side of a block that is levelled to the mean, as a share of the patch's (DeVries and Taylor, 2017).
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
    blur: float = 0.0
    low_resolution: float = 1.0
    noise: float = 0.0
    cutout: float = 0.0
    spacing: tuple[float, ...] | None = None

    @classmethod
    def strong(cls, *, spacing: tuple[float, ...] | None = None) -> Self:
        """A strong set for images of any kind; ours."""
        return cls(
            rotation=30, zoom=0.3, brightness=0.5, contrast=0.5, gamma=0.5, blur=1.5, low_resolution=2, noise=0.2,
            cutout=0.25, spacing=spacing,
        )  # fmt: skip


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
        without: leaves out cases that have any of this ("mask": the unlabelled ones).
        batch: samples a step, over all processes and micro-batches.
        patch: the spatial shape of a sample; None takes whole images (all must then have one shape).
        foreground: the share of patches centred on a labelled pixel.
        companions: other samples that come along.
        annotator: whose mask, where there are several: the first, or one drawn at every visit.
        augment: changes to the samples; None for none.
        partial: cases may lack channels of the image and files of single classes.
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
    foreground: float = 0.0
    companions: tuple[View | Link | Partner, ...] = ()
    annotator: Literal["first", "drawn"] = "first"
    augment: Augmentation | None = None
    partial: bool = False
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


@dataclass(frozen=True)
class Batch:
    """Samples of one stream, on the device, normalised as the method's preprocessing says.

    What a case does not have is neutral: an image is 0, masks and scribbles `IGNORE`, the region all, the image class
    -1, and there is no box and no point.

    Attributes:
        index: (B,) int64, the global index of each sample in its stream: what its randomness is a function of.
        case: (B,) int64, the position of each sample's case (or slice) in the stream.
        fields: what the stream reads, by the names of the properties below.
        companions: the batches of the companions by name.
        present: (B, n) bool by field: what each sample's case has, of n channels of an image or classes of a mask;
            else n is 1. All that is in `fields`, unless said.
        counts: (B,) int64: how many of the rows of "boxes", "points" or "masks" are real; the rest is padding.
        classes: (B, N) int64, the class of each box and point by field, from 0; -1 is padding.
    """

    index: torch.Tensor
    case: torch.Tensor
    fields: Mapping[str, torch.Tensor]
    companions: Mapping[str, Batch] = field(default_factory=dict)
    present: Mapping[str, torch.Tensor] = field(default_factory=dict)
    counts: Mapping[str, torch.Tensor] = field(default_factory=dict)
    classes: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fields, present = dict(self.fields), dict(self.present)
        if "image" in fields and "region" not in fields:
            fields["region"] = ~fields["image"][:, :1].isnan()  # all of it
            present.setdefault("region", self.index.new_zeros((len(self.index), 1)).bool())
        for name, tensor in fields.items():
            width = tensor.shape[1] if name in ("image", "mask") else 1
            if name not in present:
                present[name] = tensor.new_ones((len(tensor), width)).bool()
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "present", present)

    @property
    def image(self) -> torch.Tensor:
        """(B, C, *S) float32."""
        return self._field("image")

    @property
    def mask(self) -> torch.Tensor:
        """(B, 1, *S) uint8 of class numbers, or (B, K, *S) of 0 and 1 where classes overlap; `IGNORE` is unknown."""
        return self._field("mask")

    @property
    def masks(self) -> torch.Tensor:
        """(B, A, 1 or K, *S) uint8, the masks of all annotators, padded with `IGNORE`."""
        return self._field("masks")

    @property
    def region(self) -> torch.Tensor:
        """(B, 1, *S) bool, always there beside an image; False beyond the border of the image."""
        return self._field("region")

    @property
    def scribbles(self) -> torch.Tensor:
        """(B, 1, *S) uint8 of class numbers, `IGNORE` where nothing was drawn."""
        return self._field("scribbles")

    @property
    def instances(self) -> torch.Tensor:
        """(B, 1, *S) int32, 0 background."""
        return self._field("instances")

    @property
    def image_class(self) -> torch.Tensor:
        """(B,) int64, -1 where it is not known."""
        return self._field("image_class")

    @property
    def boxes(self) -> torch.Tensor:
        """(B, N, D, 2) float32, where each starts and stops in the patch, in pixels; padded with 0."""
        return self._field("boxes")

    @property
    def points(self) -> torch.Tensor:
        """(B, N, D) float32 indices in the patch; padded with 0."""
        return self._field("points")

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Batch:
        """The batch on `device`, its images in `dtype`."""

        def moved(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {name: tensor.to(device) for name, tensor in tensors.items()}

        return Batch(
            self.index.to(device),
            self.case.to(device),
            {name: f.to(device, dtype if name == "image" else None) for name, f in self.fields.items()},
            {name: batch.to(device, dtype) for name, batch in self.companions.items()},
            moved(self.present),
            moved(self.counts),
            moved(self.classes),
        )

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
