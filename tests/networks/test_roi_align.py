"""RoIAlign against its plain definition: a loop over samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from scantling.core.errors import ArrayError
from scantling.networks.roi_align import RoIAlign, levels_of


def bilinear(plane: Tensor, y: float, x: float) -> Tensor:
    """The value (C,) of a plane (C, H, W) at a place; 0 more than a pixel beyond its border."""
    height, width = plane.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros_like(plane[:, 0, 0])
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = math.floor(y), math.floor(x)
    low, right = min(top + 1, height - 1), min(left + 1, width - 1)
    a, b = y - top, x - left
    return (
        (1 - a) * (1 - b) * plane[:, top, left] + (1 - a) * b * plane[:, top, right]
        + a * (1 - b) * plane[:, low, left] + a * b * plane[:, low, right]
    )  # fmt: skip


def plainly(plane: Tensor, box: list[float], stride: float, *, output: int, sampling: int) -> Tensor:
    """The cells (output², C) of one box, sample by sample."""
    top, left, bottom, right = (end / stride - 0.5 for end in box)
    high, wide = (bottom - top) / output, (right - left) / output
    cells = []
    for row in range(output):
        for column in range(output):
            shares = [(k + 0.5) / sampling for k in range(sampling)]
            samples = [
                bilinear(plane, top + (row + a) * high, left + (column + b) * wide) for a in shares for b in shares
            ]
            cells.append(torch.stack(samples).mean(0))
    return torch.stack(cells)


BOXES = [
    [3.0, 4.0, 15.0, 19.0], [-9.0, -3.0, 6.0, 50.0], [10.2, 11.7, 10.9, 12.1], [20.0, 0.0, 47.0, 31.0],
    [100.0, 100.0, 120.0, 120.0], [0.0, 0.0, 40.0, 32.0], [7.0, 7.0, 7.0, 7.0],
]  # fmt: skip
"""Inside, over the border, within a pixel, far beyond, the whole image, empty."""


@pytest.mark.parametrize(("output", "sampling"), [(1, 1), (3, 2)])
def test_what_lies_in_a_box_is_the_mean_of_its_samples(output: int, sampling: int) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 20, 16, dtype=torch.float64)
    image = torch.tensor([0, 1, 0, 1, 0, 1, 0])
    read = RoIAlign([maps], strides=(2,), output=output, sampling=sampling, chunk=3)
    found = read(torch.tensor(BOXES, dtype=torch.float64), image)
    expected = [
        plainly(maps[number], box, 2, output=output, sampling=sampling)
        for number, box in zip(image.tolist(), BOXES, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(expected))


def test_each_box_is_read_from_the_map_of_its_size() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 2, 64 // 2**level, 48 // 2**level, dtype=torch.float64) for level in range(3)]
    strides, image = (4, 8, 16), torch.tensor([1, 0, 1])
    boxes = torch.tensor([[8.0, 8, 30, 40], [0, 0, 140, 120], [0, 0, 240, 224]], dtype=torch.float64)
    assert levels_of(boxes, torch.tensor(strides)).tolist() == [0, 1, 2]
    found = RoIAlign(maps, strides=strides, output=2)(boxes, image)
    for place, level in enumerate((0, 1, 2)):
        plane = maps[level][image[place]]
        expected = plainly(plane, boxes[place].tolist(), strides[level], output=2, sampling=2)
        torch.testing.assert_close(found[place], expected)


def test_a_side_of_224_pixels_is_read_at_stride_16_and_every_box_from_some_map() -> None:
    sides = torch.tensor([0.0, 55.9, 111.9, 112.1, 223.9, 224.1, 447.9, 448.1, 9999.0])
    boxes = torch.stack([0 * sides, 0 * sides, sides, sides], 1)
    assert levels_of(boxes, torch.tensor([4.0, 8, 16, 32])).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]


def test_its_gradients_are_right() -> None:
    torch.manual_seed(0)
    fine = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[1.0, 0.5, 7.0, 6.0], [-3.0, 2.0, 9.0, 20.0]], dtype=torch.float64)
    image = torch.zeros(2, dtype=torch.long)

    def read(one: Tensor, other: Tensor) -> Tensor:
        return RoIAlign([one, other], strides=(2, 4), output=2)(boxes, image)

    coarse = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(read, (fine, coarse))


def test_chunks_change_nothing_and_no_box_gives_no_cell() -> None:
    torch.manual_seed(0)
    maps, boxes = torch.randn(1, 3, 16, 16), torch.rand(10, 4) * 20
    boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    image = torch.zeros(10, dtype=torch.long)
    whole = RoIAlign([maps], strides=(2,))(boxes, image)
    assert torch.equal(whole, RoIAlign([maps], strides=(2,), chunk=3)(boxes, image))
    assert RoIAlign([maps], strides=(2,))(boxes[:0], image[:0]).shape == (0, 49, 3)


def test_maps_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ArrayError, match="a stride for each"):
        RoIAlign([torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 2, 2)], strides=(2, 4))
    with pytest.raises(ArrayError, match="1 strides"):
        RoIAlign([torch.zeros(1, 2, 4, 4)] * 2, strides=(2,))
