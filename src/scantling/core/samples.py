"""What methods see of the data: what is measured of them, how images are prepared, what a batch carries.

Nothing here reads a file, and nothing here imports torch. Tensors are `(B, C, *S)`, where `*S` is two or three spatial
axes in the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from scantling.core.case import Frozen, Labels, Unit
from scantling.core.errors import DataError, SettingsError

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
    usual: tuple[float, float] | None = None
    """The medians over images of their least and of their greatest value; None in models of earlier versions."""


class Thickness(Frozen):
    """How thick the objects of a class are, over the labelled training cases; lengths in mm where `Traits.unit` is mm.

    An object is a component of the mask of a case; its thickness is twice the radius of the largest circle or ball that
    fits into it, through the distance transform. Percentiles are over objects, of which each counts by its share of the
    class in its case, and so each case the same. Volumes are measured in 3-D, also for methods in 2-D. All ours.
    """

    low: float
    """The 10th percentile, in mm where `Traits.unit` is mm, else in pixels of the file."""
    median: float
    high: float
    """The 90th percentile."""
    local: float = 0.0
    """The median of four times the mean distance to the border: the width of a tube, two thirds of the diameter of a
    disc. How thin what has to be resolved is."""
    spread: float = 0.0
    """The standard deviation of the logarithm of the thickness."""
    relative_spread: float = 0.0
    """The same of the thickness as a share of the longest side of its image."""
    number: float = 0.0
    """The median over cases of how many objects there are, as 1 / Σ (share of the class)², so that specks do not count;
    0 in models of earlier versions."""
    present: float | None = None
    """The share of the images that hold one; None where that is not known: of slices of volumes, and of models of
    earlier versions."""


StoredType = Literal["uint8", "uint16", "int16", "int32", "float32"]


class StoredImage(Frozen):
    """One image file of a case: its name in `Case.images`, its channels in `Traits.channels`, its number type."""

    name: str
    channels: tuple[str, ...]
    dtype: StoredType = "uint8"


class Storage(Frozen):
    """How the training cases lie in their files, and so those that are made like them."""

    files: tuple[StoredImage, ...] = ()
    """In the order of the channels; none where the cases are only masks."""
    container: Literal["raster", "volume"] = "raster"
    affine: tuple[tuple[float, ...], ...] | None = None
    """(4, 4), the median of those with the most frequent orientation; None where most files do not say."""
    axes: tuple[int, int, int] = (0, 1, 2)
    """In which order most of the files with this affine store the axes of a volume: see `core.case.Orientation`."""
    flips: tuple[bool, bool, bool] = (False, False, False)


class Traits(Frozen):
    """What a method knows of its data: measured on the training cases once, saved with the model for good."""

    dimensions: Literal[2, 3]
    channels: tuple[str, ...]
    labels: Labels | None = None
    image_classes: tuple[str, ...] = ()
    spacing: tuple[float, ...]
    """The median, for each axis; 1 unless all training cases say it in mm."""
    fine_spacing: tuple[float, ...] = ()
    """The 10th percentile, for each axis; empty in models of earlier versions."""
    unit: Unit | None = None
    """Of the spacing; None in models of earlier versions."""
    unspaced: int = 0
    """How many training cases do not say their spacing where others say it in mm."""
    shape: tuple[int, ...]
    """The median, for each axis."""
    smallest: tuple[int, ...]
    slice_axis: int = 0
    intensity: tuple[Intensity, ...]
    foreground_intensity: tuple[Intensity, ...] = ()
    """The same inside the classes of the labelled training cases, of each channel; empty where no mask was measured."""
    regions: bool = False
    """Whether the training cases have a region of interest."""
    foreground: tuple[float, ...] = ()
    """The share of pixels of each class in the labelled training cases."""
    foreground_inside: tuple[float, ...] = ()
    """The same of the pixels inside the region of interest; empty in models of earlier versions."""
    thickness: tuple[Thickness | None, ...] = ()
    """Of the objects of each class; None for a class without any, empty where no mask was measured. Where only some
    cases say their spacing, those count that do not."""
    partly_known: bool = False
    """Whether the masks of some training cases know only some of several classes (`Case.drawn_classes`)."""
    mirrored: tuple[bool, ...] = ()
    """For each axis, whether the labelled training cases look as likely mirrored along it; empty where unknown."""
    labelled: int = 0
    unlabelled: int = 0
    classified: int = 0
    """How many training images have an image class."""
    masks_alone: int = 0
    """How many training cases are only a mask."""
    hand_drawn: int = 0
    """How many masks drawn by people stand behind the training images with masks, those of synthetic ones included; or
    scribbles, for a method that reads these and no mask."""
    hand_drawn_alone: int = 0
    """The same of training cases that are only a mask."""
    hand_drawn_before: int = 0
    """The same of the weights that the training began with."""
    pools: tuple[str, ...] = ()
    """The names of the pools of the training images."""
    storage: Storage | None = None
    """How the training cases are stored; None where nothing was measured (rules, models of earlier versions)."""

    def only(self, channels: tuple[str, ...]) -> Traits:
        """The traits of the images with these of their channels alone."""
        if channels == self.channels:
            return self
        places = [self.channels.index(name) for name in channels]
        return self.model_copy(
            update={
                "channels": channels,
                "intensity": tuple(self.intensity[place] for place in places),
                "foreground_intensity": tuple(self.foreground_intensity[place] for place in places)
                if self.foreground_intensity
                else (),
            }
        )

    def slices(self) -> Traits:
        """The traits of the slices of volumes as pictures; of pictures themselves."""
        if self.dimensions == 2:
            return self
        axis, of_axes = self.slice_axis, ("spacing", "fine_spacing", "shape", "smallest", "mirrored")
        plane = {name: getattr(self, name)[:axis] + getattr(self, name)[axis + 1 :] for name in of_axes}
        number = {name: getattr(self, name) * self.shape[axis] for name in ("labelled", "unlabelled", "classified")}
        thickness = tuple(each and each.model_copy(update={"present": None}) for each in self.thickness)
        return self.model_copy(update={"dimensions": 2, "slice_axis": 0, "thickness": thickness, **plane, **number})

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the foreground classes."""
        return self.labels.names if self.labels else ()


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
        ids: of the case of each sample, where they were read from cases.
        captions: of the case of each sample, the same; "" where it has none.
    """

    index: torch.Tensor
    case: torch.Tensor
    fields: Mapping[str, torch.Tensor]
    companions: Mapping[str, Batch] = field(default_factory=dict)
    present: Mapping[str, torch.Tensor] = field(default_factory=dict)
    counts: Mapping[str, torch.Tensor] = field(default_factory=dict)
    classes: Mapping[str, torch.Tensor] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()

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
            self.ids,
            self.captions,
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
            data, then uses their mean and deviation; "foreground" does so with those of the labelled pixels of the
            training data (quantitative images such as CT; Isensee et al., 2021), and as "dataset" where they are not
            known or all equal; "unit" scales each image to [-1, 1]; "none" leaves the values.
        spacing: the grid that images are resampled to, in the unit of the traits; None keeps their own. An image
            whose spacing is not known in that unit keeps its grid where the spacing is that of the traits.
        size: the shape that every image, or slice, is resampled to whatever it was; None keeps its own.
        longest: how many pixels the longest side of every image, or slice, is resampled to; its proportions stay.
            At most one of `spacing`, `size` and `longest` is given.
        slice_rule: the axis along which volumes come to their `size` by whole slices: the last one is repeated where
            there are fewer, and some are deleted, evenly from the middle outwards, where there are more
            (`data.slice_rule`). None: by resampling, as along the other axes.
    """

    dimensions: Literal[2, 3]
    normalise: Literal["image", "dataset", "foreground", "unit", "none"] = "image"
    spacing: tuple[float, ...] | None = None
    size: tuple[int, ...] | None = None
    longest: int | None = None
    slice_rule: int | None = None

    def model_post_init(self, context: object, /) -> None:
        """Refuse two grids.

        Raises:
            SettingsError: more than one of `spacing`, `size` and `longest` is given.
        """
        del context
        given = [f"{name} {value}" for name in ("spacing", "size", "longest") if (value := getattr(self, name))]
        if len(given) > 1:
            raise SettingsError(
                f"images cannot be resampled to {' and '.join(given)} at once; expected one of spacing, size and "
                "longest; leave out the others"
            )
        if self.slice_rule is not None and (self.size is None or not 0 <= self.slice_rule < len(self.size) == 3):
            raise SettingsError(
                f"slice_rule: found the axis {self.slice_rule} for the size {self.size}; expected 0, 1 or 2 of a "
                "size of three axes"
            )

    def grid(self, shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
        """The shape on the method's grid of an image of `shape` and `spacing`, (*S).

        Of a volume that is read as slices, the slice axis comes first and keeps its length.
        """
        slices = len(shape) - self.dimensions  # 1 of a volume that is read as slices, else 0
        if self.size is not None:
            return (*shape[:slices], *self.size)
        if self.longest is not None:
            most = max(shape[slices:])
            return (*shape[:slices], *(max(1, round(n * self.longest / most)) for n in shape[slices:]))
        if self.spacing is None:
            return tuple(shape)
        targets = [*spacing[: len(shape) - len(self.spacing)], *self.spacing]
        return tuple(max(1, round(n * mm / target)) for n, mm, target in zip(shape, spacing, targets, strict=True))
