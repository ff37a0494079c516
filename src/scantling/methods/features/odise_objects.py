"""The segments that `odise` learns from, and those that its masks become."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.results import Objects
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch
from scantling.losses.mask_sets import Segments
from scantling.losses.overlap import class_channels
from scantling.methods.supervised.gland_objects import truth_of

Source = Literal["mask", "pieces", "instances"]


def segments_of(tiles: Batch, classes: int, *, objects_from: Source, background: bool) -> list[Segments]:
    """The segments of each tile.

    Args:
        classes: K.
        objects_from: "mask": all pixels of a class are one segment; "pieces": each connected piece of a class is one;
            "instances": each object of the instance map.
        background: whether what belongs to no class is one more segment, of class K.
    """
    if objects_from == "mask":
        pairs = zip(tiles.mask, tiles.region[:, 0], strict=True)
        return [_of_classes(mask, region, classes, background) for mask, region in pairs]
    source: Literal["mask", "instances"] = "mask" if objects_from == "pieces" else "instances"
    found = []
    for truth in truth_of(tiles, objects_from=source, least=1):
        numbers = torch.arange(1, len(truth.classes) + 1, device=truth.numbers.device)
        masks = truth.numbers == numbers[:, None, None]
        empty = (truth.numbers == 0) & truth.known
        found.append(_with_background(masks, truth.classes, truth.known, empty, classes, background))
    return found


def _of_classes(mask: Tensor, region: Tensor, classes: int, background: bool) -> Segments:
    layers = class_channels(mask[None], classes)[0]  # (K, H, W)
    known = region.bool() & (mask != IGNORE).all(0)
    numbers = torch.arange(classes, device=mask.device)
    return _with_background(layers & known, numbers, known, known & ~layers.any(0), classes, background)


def _with_background(
    masks: Tensor, classes: Tensor, known: Tensor, empty: Tensor, count: int, background: bool
) -> Segments:
    if background:
        masks = torch.cat([masks, empty[None]])
        classes = torch.cat([classes, classes.new_tensor([count])])
    there = masks.flatten(1).any(1)
    return Segments(masks[there], classes[there], known)


def semantic(classes: Tensor, logits: Tensor, size: tuple[int, ...]) -> Tensor:
    """Σ_q p_q(c) σ(m_q) in each pixel, (B, K, H, W) (Cheng et al., 2022).

    Args:
        classes: (B, Q, K) the probabilities of the classes of each mask, without "nothing".
        logits: (B, Q, h, w) of the masks.
    """
    return torch.einsum("bqk,bqhw->bkhw", classes, likely(logits, size))


def likely(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    """The masks (B, Q, *size) in [0, 1] of logits (B, Q, h, w)."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False).sigmoid()


def panoptic(classes: Tensor, masks: Tensor, *, things: int, overlap: float, threshold: float) -> Objects:
    """The objects of one image, of which no two share a pixel: the winner of each pixel owns it (Cheng et al., 2022).

    A mask that keeps less than `overlap` of its pixels is dropped.

    Args:
        classes: (Q, K + 1) probabilities, "nothing" the last one.
        masks: (Q, H, W) in [0, 1].
        things: the first classes, which are objects; others only compete for pixels.
        threshold: the least probability of a class.
    """
    scores, labels = classes.max(1)
    kept = ((labels < classes.shape[1] - 1) & (scores > threshold)).nonzero()[:, 0]
    found, numbers, values = list[Tensor](), list[int](), list[float]()
    if len(kept):
        scores, labels, masks = scores[kept], labels[kept], masks[kept]
        owner = (scores[:, None, None] * masks).argmax(0)
        for place in range(len(kept)):
            own, whole = owner == place, masks[place] >= 0.5
            inside = own & whole
            if labels[place] >= things or not bool(inside.any()) or int(own.sum()) < overlap * int(whole.sum()):
                continue
            found.append(inside)
            numbers.append(int(labels[place]))
            values.append(float(scores[place] * masks[place][inside].mean()))
    return _objects(found, numbers, values)


def overlapping(classes: Tensor, masks: Tensor, *, things: int, threshold: float, most: int) -> Objects:
    """The masks of one image as objects that may overlap, the best first, as COCO's average precision ranks them.

    Args:
        classes, masks, things, threshold: see `panoptic`.
        most: objects of an image.
    """
    scores, labels = classes[:, :things].max(1)
    found, numbers, values = list[Tensor](), list[int](), list[float]()
    for place in scores.argsort(descending=True, stable=True).tolist():
        inside = masks[place] >= 0.5
        if len(found) == most or float(scores[place]) <= threshold:
            break
        if bool(inside.any()):
            found.append(inside)
            numbers.append(int(labels[place]))
            values.append(float(scores[place] * masks[place][inside].mean()))
    return _objects(found, numbers, values)


def _objects(masks: list[Tensor], classes: list[int], scores: list[float]) -> Objects:
    """Objects, the best score first."""
    order = sorted(range(len(masks)), key=lambda place: -scores[place])
    return Objects.of_masks(
        [masks[place] for place in order], classes=torch.tensor([classes[place] for place in order], dtype=torch.long),
        scores=torch.tensor([scores[place] for place in order]),
    )  # fmt: skip
