"""What methods answer: a result for each capability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What a method says of a batch of images, with its doubt.

    Attributes:
        probabilities: (B, K, *S), one channel for each foreground class; of exclusive classes, what remains to
            1 is background.
        samples: (N, B, K, *S), on any device, where a method draws; then `fusion` makes them one, on the grid of the
            file, and probabilities are not read.
        uncertainty: (B, 1, *S) by name.
        maps: what else a method has found, (B, C, *S) by name, such as directions along vessels.
    """

    probabilities: Tensor | None = None
    samples: Tensor | None = None
    uncertainty: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A batch of cases that a method has made.

    Attributes:
        masks: (B, K, *S) probabilities or bool, one channel for each foreground class.
        images: (B, C, *S) in [0, 1], where it makes any.
        fields: what else is known of each case, (B, 1, *S) of 0 and 1: its "region", "centre line" or "sketch". Each
            goes into a folder of its own.
    """

    masks: Tensor
    images: Tensor | None = None
    fields: Mapping[str, Tensor] = field(default_factory=dict)
