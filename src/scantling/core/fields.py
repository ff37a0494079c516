"""The fields of a case: one table, from which reading, cutting, batching and the words of cards follow.

A field has one name everywhere: in a manifest, in what cards need and streams read, in a batch and in a summary.
Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

IGNORE = 255
"""The value of a mask where nothing is known; it counts in no loss and in no metric."""

Kind = Literal["image", "probabilities", "labels", "binary", "objects", "class", "boxes", "points", "displacement"]
"""How a field behaves when its grid changes.

- image, probabilities: (C, *S), interpolated linearly; what shrinks is averaged (`data.interpolation`).
- labels, binary, objects: (C, *S) class numbers, yes or no, numbers of objects; the nearest value. Masks that shrink
  have the class with the largest share of the area.
- class: one number for the whole image, which no grid changes.
- boxes: (N, D, 2), where each starts and stops along each axis; the first pixel reaches from 0 to 1.
- points: (N, D) indices; the centre of the first pixel is 0.
- displacement: (D, *S) in pixels along each axis; interpolated linearly, its vectors turned and scaled with the grid.
"""

LINEARLY = ("image", "probabilities", "displacement")
"""The kinds whose values are interpolated linearly."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a case may hold beside its id.

    Attributes:
        name: see above.
        kind: see `Kind`.
        title: what it is called in a sentence.
        label: whether somebody has labelled the image to make it.
        outside: its value beyond the border of the image; None goes on with the value of the border.
        absent: its value where a case has none.
        channels: what its rows of `Batch.present` stand for: the channels of the image, the classes of the mask, or
            the whole field.
        attribute: of `Case`, if it is not the name.
    """

    name: str
    kind: Kind
    title: str = ""
    label: bool = False
    outside: float | None = None
    absent: float = 0
    channels: Literal["channels", "classes", "one"] = "one"
    attribute: str = ""

    @property
    def linear(self) -> bool:
        """Whether its values are interpolated."""
        return self.kind in LINEARLY

    @property
    def gridded(self) -> bool:
        """Whether it is an array on the grid of the image."""
        return self.kind not in ("class", "boxes", "points")


FIELDS: Mapping[str, Field] = {
    field.name: field
    for field in (
        Field("image", "image", "images", channels="channels", attribute="images"),
        Field("mask", "labels", "masks", True, IGNORE, IGNORE, "classes", "masks"),
        Field("masks", "labels", "masks by several annotators", True, IGNORE, IGNORE, "classes"),
        Field("scribbles", "labels", "scribbles", True, IGNORE, IGNORE),
        Field("boxes", "boxes", "boxes", True),
        Field("points", "points", "points", True),
        Field("image_class", "class", "image classes (labels.csv)", True, absent=-1),
        Field("instances", "objects", "instance maps", True, 0),
        Field("region", "binary", "regions of interest (fov)", False, 0, 1),
    )
}
"""Every field by its name. `mask` is the first annotator's, `masks` are all."""


def title_of(word: str) -> str:
    """A word of a card's needs, a field or `link:ROLE` or `pool:NAME`, as in a sentence."""
    return FIELDS[word].title if word in FIELDS else word.replace(":", " ")


def reads_labels(words: Iterable[str]) -> bool:
    """Whether a label is among the words of a card's needs."""
    return any(word in FIELDS and FIELDS[word].label for word in words)


def reads_masks(words: Collection[str]) -> bool:
    """Whether masks, by one or all annotators, are among the words of a card's needs."""
    return "mask" in words or "masks" in words


def gives_truth(words: Collection[str]) -> bool:
    """Whether answers to validation cases may be held against a label among the words of a card's needs."""
    return reads_masks(words) or "image_class" in words


def is_weak(words: Collection[str]) -> bool:
    """Whether a method with these words among its card's needs learns from scribbles or boxes, and from nothing that
    can judge its answers."""
    return ("scribbles" in words or "boxes" in words) and "instances" not in words and not gives_truth(words)


def label_map_of(words: Collection[str]) -> Literal["mask", "scribbles"] | None:
    """Which label map tells the classes of pixels where these words are read: masks where they are, else scribbles."""
    return "mask" if reads_masks(words) else "scribbles" if "scribbles" in words else None


def drawn_field(words: Collection[str]) -> Literal["mask", "scribbles", "boxes", "instances"]:
    """Which field makes an image a labelled one, in what is counted and said: the label map, boxes, objects, masks."""
    return label_map_of(words) or ("boxes" if "boxes" in words else "instances" if "instances" in words else "mask")
