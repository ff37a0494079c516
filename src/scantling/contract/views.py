"""The views under which the training of a model saw its images: what `predict --views` averages over.

An image that is mirrored where the training mirrored none is answered as if its sides were named the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from scantling.contract.method import Method
from scantling.core.case import Frozen
from scantling.core.streams import Augmentation


class Views(Frozen):
    """Which views the training saw, and whether they helped on validation cases.

    Attributes:
        mirrored: for each axis of what the networks see, whether it was mirrored.
        turned: whether images with two axes were turned by right angles.
        cases: of how many validation cases both scores are the mean; 0 where nothing was compared.
        dice: of the image as it is.
        dice_of_views: of the mean over the views.
    """

    mirrored: tuple[bool, ...]
    turned: bool = False
    cases: int = 0
    dice: float | None = None
    dice_of_views: float | None = None

    @property
    def each(self) -> list[tuple[int, ...]]:
        """The quarter turns of each view, then whether each axis is mirrored; the image as it is comes first."""
        turns = range(2 if self.turned and len(self.mirrored) == 2 else 1)
        return list(product(turns, *[(False, True) if axis else (False,) for axis in self.mirrored]))

    @property
    def hurt(self) -> bool:
        """Whether the views were worse than none on validation cases."""
        return self.dice is not None and self.dice_of_views is not None and self.dice_of_views < self.dice


def mirrored_of(method: Method) -> tuple[bool, ...]:
    """`Traits.mirrored` of the axes that the networks of a method see; empty where nothing is known."""
    traits = method.traits
    return (traits.slices() if method.preprocessing.dimensions == 2 else traits).mirrored


def views_of_training(
    method: Method, augmented: Callable[[Augmentation | None], Augmentation | None] | None = None
) -> Views:
    """The views that every stream of images of a method's last stage shows; all of them of a method without stages.

    Args:
        augmented: what a training made of the changes of a stream; None: what it makes of them by default.
    """
    dimensions = method.preprocessing.dimensions
    stages = method.stages()
    if not stages:
        return Views(mirrored=(True,) * dimensions, turned=True)
    mirrored, turned = [True] * dimensions, dimensions == 2
    for stream in stages[-1].streams:
        if "image" not in stream.reads:
            continue
        own = stream.augment
        augment = augmented(own) if augmented else own and own.within(mirrored_of(method))
        if augment is None:
            return Views(mirrored=(False,) * dimensions)
        lengths = stream.patch or method.median_shape
        mirrored = [a and b for a, b in zip(mirrored, augment.along(dimensions), strict=True)]
        turned = turned and bool(augment.planes(lengths))
    return Views(mirrored=tuple(mirrored), turned=turned)


def turned(image: Tensor, view: Sequence[int]) -> Tensor:
    """Images (B, C, *S) as a view of `Views.each` shows them."""
    quarter, *mirrored = view
    return torch.rot90(image, quarter, (2, 3)).flip([2 + axis for axis, wanted in enumerate(mirrored) if wanted])


def turned_back(answer: Tensor, view: Sequence[int], *, signed: bool = False) -> Tensor:
    """What was answered about a view (B, C, *S), as an answer about the image as it is.

    Args:
        signed: the answer (B, 2, H, W) is how far to the right and how far down something lies: a mirror negates what
            runs across it, a quarter turn exchanges the two and the sign of one.
    """
    quarter, *mirrored = view
    back = torch.rot90(answer.flip([2 + axis for axis, wanted in enumerate(mirrored) if wanted]), -quarter, (2, 3))
    if not signed:
        return back
    down, right = (-1 if wanted else 1 for wanted in mirrored)
    parts = [right * back[:, :1], down * back[:, 1:]]
    for _ in range(quarter % 4):  # the view was turned counter-clockwise: what points up there points right here
        parts = [-parts[1], parts[0]]
    return torch.cat(parts, 1)
