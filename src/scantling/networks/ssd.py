"""A single-shot detector: a trunk whose last maps each say, for default boxes at every place, what is in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.data.box_utils import box_iou, non_max_suppression
from torch import Tensor, nn

from scantling.networks.vgg import VGGTrunk

CENTRE, LENGTH = 0.1, 0.2
"""By these the offsets of centres and lengths are divided (Liu et al., 2016: "variances")."""
CANDIDATES = 400
"""The best boxes of a class among which doubles are sought."""


class SSD(nn.Module):
    """Logits (B, N, 1 + classes), the first of background, and offsets (B, N, 4) of N default boxes (Liu et al., 2016).

    Args:
        width: channels of the first stage of the trunk.
        first: the stage whose map is the finest that is read, from 0: its stride is 2^(first + 1).
        scales: the length of a default box on each map, as a share of the side of the image; as many maps are read.
        ratios: the proportions of the default boxes on each map beside 1.

    Example:
        >>> import torch
        >>> from scantling.networks import SSD
        >>> network = SSD(1, 2, width=4, first=0, scales=(0.2, 0.5))
        >>> logits, offsets = network(torch.zeros(1, 1, 16, 16))
        >>> logits.shape, offsets.shape, network.default_boxes((16, 16)).shape
        (torch.Size([1, 320, 3]), torch.Size([1, 320, 4]), torch.Size([320, 2, 2]))
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        width: int = 64,
        first: int = 2,
        scales: Sequence[float] = (0.1, 0.2, 0.375, 0.55, 0.725, 0.9),
        ratios: Sequence[float] = (2.0,),
    ) -> None:
        super().__init__()
        self.first, self.scales = first, tuple(scales)
        self.ratios = tuple(r for ratio in ratios for r in (ratio, 1 / ratio))
        self.each = 2 + len(self.ratios)
        self.outputs = 1 + classes
        self.trunk = VGGTrunk(in_channels, width=width, stages=first + len(scales))
        read = self.trunk.widths[first:]
        self.classes = nn.ModuleList(nn.Conv2d(n, self.each * self.outputs, 3, padding=1) for n in read)
        self.offsets = nn.ModuleList(nn.Conv2d(n, self.each * 4, 3, padding=1) for n in read)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See the class, of images (B, C, H, W)."""
        maps = self.trunk.maps(image)[self.first :]
        logits = [_rows(head(x), self.outputs) for head, x in zip(self.classes, maps, strict=True)]
        offsets = [_rows(head(x), 4) for head, x in zip(self.offsets, maps, strict=True)]
        return torch.cat(logits, 1), torch.cat(offsets, 1)

    def default_boxes(self, size: Sequence[int]) -> Tensor:
        """Where each of the default boxes starts and stops along each axis, (N, 2, 2) in pixels, of images (H, W)."""
        found, side = [], math.sqrt(size[0] * size[1])
        for place, scale in enumerate(self.scales):
            shape = [-(-n // 2 ** (self.first + place + 1)) for n in size]
            following = self.scales[place + 1] if place + 1 < len(self.scales) else 1.0
            lengths = [(scale, scale), (math.sqrt(scale * following),) * 2]
            lengths += [(scale / math.sqrt(ratio), scale * math.sqrt(ratio)) for ratio in self.ratios]
            centres = torch.cartesian_prod(
                *((torch.arange(n) + 0.5) * full / n for n, full in zip(shape, size, strict=True))
            )
            halves = side / 2 * torch.tensor(lengths)  # (each, 2)
            middle = centres[:, None].expand(-1, len(halves), -1)
            found.append(torch.stack([middle - halves, middle + halves], -1).flatten(0, 1))
        return torch.cat(found)


def _rows(maps: Tensor, width: int) -> Tensor:
    """(B, h · w · each, width) of maps (B, each · width, h, w)."""
    return maps.movedim(1, -1).reshape(len(maps), -1, width)


def corners(boxes: Tensor) -> Tensor:
    """(N, 4) all starts, then all stops, as MONAI has them, of boxes (N, 2, 2)."""
    return boxes.transpose(1, 2).flatten(1)


def assigned(truth: Tensor, defaults: Tensor, *, overlap: float = 0.5) -> Tensor:
    """For each default box (N, 2, 2) the number of the true box (M, 2, 2) that it is to find, (N,); -1 for none.

    Each has the true box that it overlaps most, where that is more than `overlap`; and each true box has the default
    box that overlaps it most. Of true boxes that want the same one the first is the one that overlaps it more, and the
    other has the best of those that are left.
    """
    if not len(truth):
        return torch.full((len(defaults),), -1, dtype=torch.int64, device=defaults.device)
    overlaps = torch.as_tensor(box_iou(corners(truth.float()), corners(defaults.float())))  # (M, N)
    most, which = overlaps.max(0)
    found = torch.where(most > overlap, which, -1)
    for _ in range(min(overlaps.shape)):
        number, best = divmod(int(overlaps.argmax()), len(defaults))
        if not overlaps[number, best] > 0:
            break  # what is left overlaps no default box that is left
        found[best] = number
        overlaps[number], overlaps[:, best] = -1, -1
    return found


def encoded(boxes: Tensor, defaults: Tensor) -> Tensor:
    """The offsets (N, 4) that lead from default boxes to boxes (N, 2, 2): centres, then logarithms of lengths."""
    length, wanted = (each[..., 1] - each[..., 0] for each in (defaults, boxes))
    centre = (boxes.mean(-1) - defaults.mean(-1)) / length / CENTRE
    return torch.cat([centre, (wanted.clamp(min=1e-3) / length).log() / LENGTH], -1)


def decoded(offsets: Tensor, defaults: Tensor) -> Tensor:
    """The boxes (N, 2, 2) that offsets (N, 4) lead to: the inverse of `encoded`."""
    length = defaults[..., 1] - defaults[..., 0]
    centre = defaults.mean(-1) + CENTRE * offsets[..., :2] * length
    half = length * (LENGTH * offsets[..., 2:]).clamp(max=6).exp() / 2
    return torch.stack([centre - half, centre + half], -1)


def detected(
    probabilities: Tensor, boxes: Tensor, *, score: float, overlap: float, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What is found in an image: boxes (n, 2, 2), their scores (n,) and classes (n,) from 0, the best first.

    Of boxes of one class that overlap more than `overlap`, the best remains (MONAI's non-maximum suppression).

    Args:
        probabilities: (N, 1 + classes) of which the first is the background.
        boxes: (N, 2, 2).
        score: the least that counts.
        most: boxes that are kept.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for number in range(probabilities.shape[1] - 1):
        scores = probabilities[:, number + 1]
        kept = without_doubles(corners(boxes), scores, score=score, overlap=overlap)
        parts.append((boxes[kept], scores[kept], torch.full_like(kept, number)))
    found = [torch.cat(each) for each in zip(*parts, strict=True)]
    order = found[1].argsort(descending=True, stable=True)[:most]
    return found[0][order], found[1][order], found[2][order]


def without_doubles(boxes: Tensor, scores: Tensor, *, score: float, overlap: float) -> Tensor:
    """The numbers of the boxes (N, 4) that remain, the best first: MONAI's non-maximum suppression.

    Args:
        scores: (N,).
        score: the least that counts.
        overlap: of boxes that overlap more than this, the best remains.
    """
    places = (scores > score).nonzero()[:, 0]
    places = places[scores[places].argsort(descending=True, stable=True)[:CANDIDATES]]
    return places[torch.as_tensor(non_max_suppression(boxes[places].float(), scores[places], overlap))]
