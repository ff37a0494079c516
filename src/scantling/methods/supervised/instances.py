"""What methods share whose network answers maps of the whole picture, in which a rule then finds the objects."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Objects, Segmentation
from scantling.contract.step import Inference
from scantling.contract.views import turned, turned_back
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.metrics.instance_overlaps import separated

Map = NDArray[np.int32]


class InstanceOptions(SegmentOptions):
    """How objects are found in the maps.

    Attributes:
        threshold: the probability above which a pixel belongs to some object.
        smallest: pixels that a piece of them has at least.
        keep_unmarked: whether a piece in which no marker is left, because it is small, is an object (ours).
    """

    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5
    smallest: Annotated[int, Field(ge=1)] = 10
    keep_unmarked: bool = True


class InstanceSegmenter(Segmenter):
    """A segmenter of single objects in pictures.

    The maps of a picture are blended from overlapping tiles, and averaged over views, before objects are looked for.
    Views are asked for: what they do to rims and distances is not known yet.
    """

    segment_with = InstanceOptions
    finds_objects = objects_in_maps = True
    views_by_default = False
    signed: ClassVar[bool] = False
    """Whether the maps of the rule are how far to the right and how far down a pixel lies, in this order."""

    @abstractmethod
    def maps(self, image: Tensor) -> Tensor:
        """(B, K + M, H, W) of an image (B, C, H, W): the probabilities of the classes, and what the rule reads."""

    @abstractmethod
    def instances_in(self, inside: NDArray[np.float32], maps: NDArray[np.float32], options: Any) -> Map:
        """The objects (H, W), 0 background, where `inside` (H, W) is the probability of any and `maps` (M, H, W)."""

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """The objects of each image, and the probabilities of the classes (B, K, H, W)."""
        classes = len(self.traits.classes)
        options = inference.options if isinstance(inference.options, InstanceOptions) else self.segment_with()
        network = partial(self.mean_maps, views=inference.views) if inference.views else self.maps
        answer = inference.tile(network, batch.image).float().cpu()
        probabilities = answer[:, :classes]
        found = [
            objects_of(
                self.instances_in(each[:classes].sum(0).numpy(), each[classes:].numpy(), options), each[:classes]
            )
            for each in answer
        ]
        return Segmentation(probabilities=probabilities, instances=found)

    def mean_maps(self, image: Tensor, *, views: Sequence[Sequence[int]]) -> Tensor:
        """The mean over views (`Views.each`) of `maps`."""
        classes, total = len(self.traits.classes), torch.zeros((), device=image.device)
        for view in views:
            answer = self.maps(turned(image, view))
            likely = turned_back(answer[:, :classes], view)
            total = total + torch.cat([likely, turned_back(answer[:, classes:], view, signed=self.signed)], 1)
        return total / len(views)


def check_traits(traits: Traits, name: str) -> None:
    """Refuse data in which the method cannot tell objects apart.

    Raises:
        SettingsError: volumes, no classes, or several classes that overlap.
    """
    if traits.dimensions == 3:
        raise SettingsError(
            f"{name} finds objects in pictures, and the data are volumes; write their slices as pictures"
        )
    if traits.labels is None or not traits.classes:
        raise SettingsError(f"{name}: found no classes; expected masks beside the instance maps, which name them")
    if len(traits.classes) > 1 and not traits.labels.exclusive:
        raise SettingsError(
            f"{name}: the classes {', '.join(traits.classes)} overlap, and an object has one class; expected classes "
            "that exclude one another"
        )


def objects_in(batch: Batch) -> list[Map]:
    """The instance map (H, W) of each sample of a batch, from 1; one number for separate objects is several objects."""
    return [separated(layers[0])[0] for layers in batch.instances.cpu().numpy()]


def anywhere(batch: Batch) -> Tensor:
    """(B, 1, H, W) uint8: 1 in an object, 0 in none, `IGNORE` where the mask does not know a class."""
    unknown = (batch.mask == IGNORE).any(1, keepdim=True)
    return (batch.instances > 0).to(torch.uint8).masked_fill(unknown, IGNORE)


def objects_of(instances: Map, probabilities: Tensor) -> Objects:
    """The objects of an instance map (H, W) that is numbered from 1.

    The class of each is the one that is likeliest in most of its pixels, its score the mean over them of the
    probability of any class (ours).

    Args:
        probabilities: (K, H, W).
    """
    count = int(instances.max(initial=0))
    numbers = torch.from_numpy(instances.astype(np.int64)).flatten()
    inside = probabilities.sum(0).flatten()
    sizes = torch.bincount(numbers, minlength=count + 1).clamp(min=1)
    scores = torch.bincount(numbers, weights=inside.double(), minlength=count + 1) / sizes
    votes = torch.stack(
        [torch.bincount(numbers, weights=(probabilities.argmax(0) == k).flatten().double(), minlength=count + 1)
         for k in range(len(probabilities))]
    )  # fmt: skip
    crops, corners = list[Tensor](), list[list[int]]()
    for number, window in enumerate(ndimage.find_objects(instances), start=1):
        crops.append(torch.from_numpy(instances[window] == number))
        corners.append([part.start for part in window])
    low = torch.tensor(corners, dtype=torch.long).view(-1, 2)
    high = low + torch.tensor([crop.shape for crop in crops], dtype=torch.long).view(-1, 2)
    return Objects(
        classes=votes.argmax(0)[1:], boxes=torch.stack([low, high], -1).float(), scores=scores[1:].clamp(0, 1).float(),
        crops=tuple(crops), corners=low,
    )  # fmt: skip
