"""Objects that several windows show are one; boxes and masks follow the grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from scantling.contract.results import Objects
from scantling.core.case import Geometry
from scantling.data.orientation import as_stored, stored_as
from scantling.inference.objects import as_file_has_them, gather, label_map, rescaled, run_lengths, without
from scantling.inference.tiles import Tiler


def found(canvas: Tensor) -> Objects:
    """Connected pieces of (1, 1, *S) as objects, larger ones with a better score."""
    numbers, count = ndimage.label(canvas[0, 0].numpy() > 0)
    masks = [torch.from_numpy(numbers == number) for number in range(1, count + 1)]
    scores = torch.tensor([1 - 1 / (1 + float(mask.sum())) for mask in masks])
    return Objects.of_masks(masks, classes=torch.zeros(len(masks), dtype=torch.long), scores=scores)


def discs(shape: tuple[int, ...], centres: list[tuple[int, ...]], radius: float) -> Tensor:
    grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"), -1)
    hits = [(grid - torch.tensor(centre)).square().sum(-1) < radius**2 for centre in centres]
    return torch.stack(hits).any(0).float()[None, None]


def test_windows_find_the_same_objects_as_the_whole_canvas() -> None:
    for shape, centres, radius in (
        ((96, 80), [(10, 12), (31, 33), (48, 60), (70, 20), (84, 70), (16, 64)], 6.0),
        ((40, 32, 36), [(8, 8, 9), (20, 18, 19), (32, 24, 28)], 5.0),
    ):
        canvas = discs(shape, centres, radius)
        whole = found(canvas)
        cut = Tiler(memory=18 * 32 ** len(shape)).find(found, canvas)
        assert len(whole.classes) == len(centres) == len(cut.classes)
        one, other = label_map(whole, shape), label_map(cut, shape)
        assert one is not None
        assert other is not None
        assert np.array_equal(one > 0, other > 0)
        assert sorted(map(str, whole.boxes.tolist())) == sorted(map(str, cut.boxes.tolist()))


def test_of_two_that_overlap_the_whole_one_and_then_the_better_one_stays() -> None:
    box = torch.tensor([[[2.0, 8.0], [2.0, 8.0]]])
    label = torch.zeros(1, dtype=torch.long)
    sure, unsure = (Objects(classes=label, boxes=box, scores=torch.tensor([score])) for score in (0.9, 0.4))
    kept = gather([((0, 0), (10, 10), unsure), ((0, 0), (10, 10), sure)], (10, 10))
    assert kept.scores is not None
    assert kept.scores.tolist() == [torch.tensor(0.9).item()]
    # the better one lies at a border inside the canvas: it is a piece of the other
    piece = Objects(classes=label, boxes=torch.tensor([[[2.0, 5.0], [2.0, 8.0]]]), scores=torch.tensor([0.9]))
    kept = gather([((0, 0), (5, 10), piece), ((0, 0), (10, 10), unsure)], (10, 10))
    assert kept.boxes.tolist() == box.tolist()
    apart = Objects(classes=label + 1, boxes=box, scores=torch.tensor([0.4]))
    assert len(gather([((0, 0), (10, 10), sure), ((0, 0), (10, 10), apart)], (10, 10)).classes) == 2


def test_objects_on_another_grid_keep_their_place() -> None:
    canvas = discs((20, 30), [(6, 7), (13, 22)], 4.0)
    objects = found(canvas)

    def restore(layer: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(layer[None], (40, 60), mode="nearest")[0]

    larger = rescaled(objects, restore, (20, 30), (40, 60))
    assert torch.equal(larger.boxes, objects.boxes * 2)
    numbers = label_map(larger, (40, 60))
    assert numbers is not None
    assert np.array_equal(numbers > 0, restore(canvas[0])[0].numpy() > 0)


def test_objects_that_do_not_overlap_come_onto_another_grid_together_as_they_would_one_by_one() -> None:
    canvas = discs((20, 30), [(6, 7), (13, 22)], 4.0)
    canvas[0, 0, 0, 29] = 1  # nothing is left of it on the coarser grid
    objects = found(canvas)
    numbers = label_map(objects, (20, 30))
    assert numbers is not None

    def restore(layer: Tensor) -> Tensor:
        return layer[:, 1::2, ::2]

    coarser = rescaled(objects, restore, (20, 30), (10, 15))
    masks = [restore(torch.from_numpy(numbers == number)[None])[0] for number in (1, 2, 3)]
    expected = Objects.of_masks(masks, classes=objects.classes)
    assert [crop.tolist() for crop in coarser.crops] == [crop.tolist() for crop in expected.crops]
    assert sorted(crop.numel() for crop in coarser.crops)[0] == 0
    assert coarser.corners is not None
    assert torch.equal(coarser.corners, expected.corners)  # type: ignore[arg-type]


def test_overlapping_masks_have_no_label_map_and_run_lengths_give_them_back() -> None:
    masks = [torch.zeros(6, 7, dtype=torch.bool) for _ in range(2)]
    masks[0][1:4, 1:5] = True
    masks[1][2:5, 3:6] = True
    masks[1][3, 4] = False
    objects = Objects.of_masks(masks, classes=torch.tensor([0, 0]))
    assert label_map(objects, (6, 7)) is None
    for crop, corner, mask in zip(objects.crops, objects.corners.tolist(), masks, strict=True):  # type: ignore[union-attr]
        flat: list[bool] = []
        for place, length in enumerate(run_lengths(crop)):
            flat += [bool(place % 2)] * length
        again = torch.zeros(6, 7, dtype=torch.bool)
        inside = torch.tensor(flat).reshape(crop.shape)
        again[tuple(slice(c, c + n) for c, n in zip(corner, crop.shape, strict=True))] = inside
        assert torch.equal(again, mask)


def nothing() -> Objects:
    return Objects(classes=torch.zeros(0, dtype=torch.long), boxes=torch.zeros(0, 2, 2), scores=torch.zeros(0))


def test_two_objects_of_one_window_stay_two_however_they_overlap() -> None:
    boxes = torch.tensor([[[1.0, 9.0], [1.0, 9.0]], [[1.0, 9.0], [2.0, 9.0]]])
    both = Objects(classes=torch.zeros(2, dtype=torch.long), boxes=boxes, scores=torch.tensor([0.9, 0.8]))
    assert torch.equal(gather([((0, 0), (12, 12), both), ((10, 0), (12, 12), nothing())], (22, 12)).boxes, boxes)


def test_a_large_object_that_a_border_cuts_is_no_piece_of_a_small_one_inside_it() -> None:
    def one(start: float, stop: float, score: float) -> Objects:
        box = torch.tensor([[[start, stop], [start, stop]]])
        return Objects(classes=torch.zeros(1, dtype=torch.long), boxes=box, scores=torch.tensor([score]))

    kept = gather([((0, 0), (10, 12), one(0, 10, 0.9)), ((0, 0), (16, 12), one(4, 6, 0.8))], (20, 12))
    assert kept.boxes[:, 0].tolist() == [[0.0, 10.0], [4.0, 6.0]]


def test_a_crop_does_not_hold_the_memory_of_the_whole_mask() -> None:
    objects = found(discs((200, 300), [(30, 40), (130, 220)], 4.0))
    larger = rescaled(
        objects, lambda layer: layer.repeat_interleave(2, 1).repeat_interleave(2, 2), (200, 300), (400, 600)
    )
    for crop in (*objects.crops, *larger.crops):
        assert crop.untyped_storage().nbytes() == crop.numel()


def test_objects_in_a_volume_are_written_in_the_order_of_its_file() -> None:
    shape, axes, flips = (5, 6, 7), (2, 0, 1), (True, False, True)
    plain = Geometry(shape, (1.0, 1.0, 1.0), np.eye(4), "volume")
    geometry = stored_as(plain, axes, flips)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[1:3, 2:6, 4], mask[1, 2, 5] = True, True
    found = as_file_has_them(Objects.of_masks([mask], classes=torch.zeros(1, dtype=torch.long)), geometry)
    whole = np.zeros(geometry.stored, bool)
    assert found.corners is not None
    window = tuple(slice(c, c + n) for c, n in zip(found.corners[0].tolist(), found.crops[0].shape, strict=True))
    whole[window] = found.crops[0].numpy()
    np.testing.assert_array_equal(whole, as_stored(mask.numpy()[None], geometry)[0])
    box = Objects.of_masks([torch.from_numpy(whole)], classes=torch.zeros(1, dtype=torch.long)).boxes
    torch.testing.assert_close(found.boxes, box)
    assert as_file_has_them(found, plain) is found


def slide(shape: tuple[int, int]) -> tuple[Tensor, int]:
    """(1, 1, H, W) of a made slide, and how many objects it has: long ones, and small ones in pairs a pixel apart."""
    canvas, count = torch.zeros(1, 1, *shape), 0
    for row in range(4, shape[0] - 8, 12):
        for start, stop in ((3, shape[1] // 2 - 1), (shape[1] // 2, shape[1] - 4)) if row % 24 == 4 else ():
            canvas[0, 0, row : row + 4, start:stop] = 1
            count += 1
        for column in range(3, shape[1] - 9, 11) if row % 24 != 4 else ():
            canvas[0, 0, row : row + 4, column : column + 3] = canvas[0, 0, row : row + 4, column + 4 : column + 7] = 1
            count += 2
    return canvas, count


def test_a_made_slide_in_tiles_has_as_many_objects_as_were_put_there() -> None:
    canvas, count = slide((120, 156))
    whole = found(canvas)
    assert len(whole.classes) == count
    for overlap in (0.5, 0.25):
        pieces = Tiler(memory=18 * 32**2, overlap=overlap).find(found, canvas)
        assert len(pieces.classes) == count  # though most objects are longer than what neighbouring windows share
        numbers = label_map(pieces, (120, 156))
        assert numbers is not None
        assert np.array_equal(numbers > 0, canvas[0, 0].numpy() > 0)
        assert sorted(map(str, whole.boxes.tolist())) == sorted(map(str, pieces.boxes.tolist()))


def test_boxes_that_borders_cut_are_joined_where_they_agree_on_what_both_windows_show() -> None:
    def boxes(*rows: tuple[float, float, float, float]) -> Objects:
        sides = torch.tensor([[[top, bottom], [left, right]] for top, bottom, left, right in rows])
        return Objects(classes=torch.zeros(len(rows), dtype=torch.long), boxes=sides, scores=torch.ones(len(rows)))

    left = boxes((2, 6, 4, 20), (7, 11, 8, 20))
    right = boxes((2, 6, 0, 15), (7, 11, 0, 3))  # in its own pixels; it begins at column 12
    kept = gather([((0, 0), (16, 20), left), ((0, 12), (16, 20), right)], (16, 32))
    assert sorted(kept.boxes.tolist()) == [[[2.0, 6.0], [4.0, 27.0]], [[7.0, 11.0], [8.0, 20.0]]]


def test_where_no_window_shows_two_objects_on_a_pixel_nor_does_the_answer() -> None:
    """One window sees two objects, another one, a third one an object of another class: what comes first stays."""

    def rows(*ends: tuple[int, int, int, int], label: int = 0) -> Objects:
        masks = [torch.zeros(20, 20, dtype=torch.bool) for _ in ends]
        for mask, (top, bottom, left, right) in zip(masks, ends, strict=True):
            mask[top:bottom, left:right] = True
        return Objects.of_masks(
            masks, classes=torch.full((len(ends),), label), scores=torch.linspace(0.9, 0.8, len(ends))
        )

    pair, halves = rows((4, 14, 8, 12)), rows((4, 9, 8, 12), (9, 14, 8, 12))
    first, second, third = (((0, 0), (20, 20), each) for each in (halves, pair, rows((4, 14, 8, 11), label=1)))
    assert gather([second, first, third], (20, 20)).boxes.tolist() == [[[4, 14], [8, 12]]]
    assert gather([first, second, third], (20, 20)).boxes.tolist() == [[[4, 9], [8, 12]], [[9, 14], [8, 12]]]
    shifted = rows((4, 14, 11, 16))  # most of it is left beside the pair
    kept = gather([((0, 0), (20, 20), pair), ((0, 0), (20, 20), shifted)], (20, 20))
    assert len(kept.classes) == 2
    assert label_map(kept, (20, 20)) is not None


def test_objects_end_where_nothing_is_answered_and_those_of_which_nothing_is_left_are_none() -> None:
    masks = torch.zeros(3, 12, 16, dtype=torch.bool)
    masks[0, 2:5, 1:4] = masks[1, 6:9, 5:11] = masks[2, 1:3, 12:15] = True
    beyond = np.zeros((12, 16), bool)
    beyond[:, 8:] = True
    objects = Objects.of_masks(list(masks), classes=torch.tensor([0, 1, 2]), scores=torch.tensor([0.9, 0.8, 0.7]))
    found = without(objects, beyond)
    assert found.classes.tolist() == [0, 1]
    assert found.boxes.tolist() == [[[2, 5], [1, 4]], [[6, 9], [5, 8]]]
    numbers = label_map(found, (12, 16))
    assert numbers is not None
    assert np.array_equal(numbers > 0, masks[:2].any(0).numpy() & ~beyond)
    assert len(without(objects, ~np.zeros((12, 16), bool)).classes) == 0
    alone = without(replace(objects, crops=(), corners=None), beyond)
    assert alone.classes.tolist() == [0], "the middle of the second box lies at the border, beyond"
