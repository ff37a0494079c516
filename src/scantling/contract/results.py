"""What methods answer: a result for each capability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The objects that were found in one image, or drawn into one.

    Attributes:
        classes: (N,) int64, the number of the class of each, from 0.
        boxes: (N, D, 2), where each starts and stops along each axis, in pixels.
        scores: (N,) in [0, 1]; None where objects are made and not found.
        crops: the mask of each, bool, cut to where it is; none where there are no masks.
        corners: (N, D) int64, where each crop starts; None where there are no masks.
    """

    classes: Tensor
    boxes: Tensor
    scores: Tensor | None = None
    crops: tuple[Tensor, ...] = ()
    corners: Tensor | None = None

    @classmethod
    def of_masks(
        cls, masks: Sequence[Tensor], *, classes: Tensor, scores: Tensor | None = None, boxes: Tensor | None = None
    ) -> Self:
        """Objects of N masks (*S) of bool; an empty mask has an empty crop.

        Args:
            boxes: None takes those around the masks.
        """
        crops, corners, around = [], [], []
        for mask in masks:
            places = mask.nonzero()
            low = places.amin(0) if len(places) else torch.zeros(mask.ndim, dtype=torch.long)
            high = places.amax(0) + 1 if len(places) else low
            crops.append(
                mask[tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))].clone().cpu()
            )
            corners.append(low.cpu())
            around.append(torch.stack([low, high], 1).float().cpu())
        dimensions = masks[0].ndim if len(masks) else (boxes.shape[1] if boxes is not None else 2)
        none = torch.zeros(0, dimensions, dtype=torch.long)
        if boxes is None:
            boxes = torch.stack(around) if around else torch.zeros(0, dimensions, 2)
        return cls(
            classes=classes, boxes=boxes, scores=scores, crops=tuple(crops),
            corners=torch.stack(corners) if corners else none,
        )  # fmt: skip


DISPUTED = "disputed"
"""The uncertainty in [0, 1] of a mask that is held against a second one (`Segmenter.second_opinion`): where the two
differ."""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What a method says of a batch of images, and how sure it is.

    Attributes:
        probabilities: (B, K, *S), one channel for each foreground class; of exclusive classes, what remains to
            1 is background.
        samples: (N, B, K, *S), on any device, where a method draws; then `fusion` makes them one, on the grid of the
            file, and probabilities are not read.
        uncertainty: (B, 1, *S) by name.
        maps: what else a method has found, (B, C, *S) by name, such as directions along vessels.
        decision: (B, 1, *S) class numbers, or (B, K, *S) of 0 and 1 where classes overlap, where the method decides
            itself (a map cut by Otsu's threshold, the winner of queries): no threshold and no calibration follows.
            Where several answers become one (views, samples of dropout, an ensemble), these are their samples.
        instances: the objects of each image.
    """

    probabilities: Tensor | None = None
    samples: Tensor | None = None
    uncertainty: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    decision: Tensor | None = None
    instances: Sequence[Objects] = ()


@dataclass(frozen=True, kw_only=True)
class Classification:
    """What a method says of whole images.

    Attributes:
        probabilities: (B, K), one for each image class; they sum to 1.
        uncertainty: (B,) by name.
    """

    probabilities: Tensor
    uncertainty: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A batch of cases that a method has made.

    Attributes:
        masks: (B, K, *S) probabilities or bool, one channel for each foreground class, where it makes any.
        images: (B, C, *S), the channels of `Method.channels_out`, where it makes any.
        normalised: whether the images are in the units of its preprocessing, the inverse of which brings them into
            those of the training data; else they are in [0, 1], from the least to the greatest value that the files of
            such data hold.
        fields: what else is known of each case, (B, 1, *S): "region", "scribbles", "centre line" or "sketch". Each goes
            into a folder of its own.
        instances: the objects of each case.
        points: the points of each case (n, D), in pixels.
        point_classes: (n,) int64, the class of each of them, from 0; may be left out where there is one class.
        image_classes: (B,) int64, the number of the image class of each case.
        rejected: how many were made and thrown away until these were left, by reason ("does not fit").
        parents: of each case the ids of the training cases that something of it was taken from, such as its lesion.
    """

    masks: Tensor | None = None
    images: Tensor | None = None
    normalised: bool = False
    fields: Mapping[str, Tensor] = field(default_factory=dict)
    instances: Sequence[Objects] = ()
    points: Sequence[Tensor] = ()
    point_classes: Sequence[Tensor] = ()
    image_classes: Tensor | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    parents: Sequence[tuple[str, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Labels that a rule has made for one image, in arrays on its grid.

    Attributes:
        mask: (1 or K, *S) as `core.case.Sample` holds it, `IGNORE` where it is unknown.
        drawn_slices: those of a volume that the mask knows, along `Geometry.slice_axis`; None: all.
        scribbles: (1, *S) class numbers, `IGNORE` where nothing was drawn.
        boxes, points: (N, D, 2) and (N, D), see `core.fields.Kind`.
        box_classes, point_classes: (N,) the class of each, from 0.
        uncertainty: (*S) by name.
        effort: an estimate of what a hand would have had to do: "pixels" of the lines that it follows, "strokes",
            "slices".
    """

    mask: np.ndarray | None = None
    drawn_slices: tuple[int, ...] | None = None
    scribbles: np.ndarray | None = None
    boxes: np.ndarray | None = None
    points: np.ndarray | None = None
    box_classes: np.ndarray | None = None
    point_classes: np.ndarray | None = None
    uncertainty: Mapping[str, np.ndarray] = field(default_factory=dict)
    effort: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Registration:
    """How a batch of moving images is warped onto fixed ones.

    Attributes:
        displacement: (B, D, *S) in pixels of the grid of the method: the value at x of the warped image is that of the
            moving image at x + displacement(x), axes in the order of the array.
        inverse: the same from the moving image's pixels to the fixed one's, where the method has it.
        uncertainty: (B, 1, *S) by name.
    """

    displacement: Tensor
    inverse: Tensor | None = None
    uncertainty: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What a method makes of images for others to build on.

    Attributes:
        features: (B, F, *s) by level and timestep, e.g. "level 2" or "level 2, timestep 50".
        latent: what `decode` takes, where the method decodes.
    """

    features: Mapping[str, Tensor] = field(default_factory=dict)
    latent: Tensor | None = None
