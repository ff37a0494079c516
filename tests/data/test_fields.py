"""Fields of every kind stay with their image, whatever happens to its grid; what is absent is neutral."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from scantling.core.case import IGNORE, Address, Case, Geometry, Labels, Sample
from scantling.core.errors import DataError
from scantling.core.fields import FIELDS
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch, Intensity, Preprocessing, Traits
from scantling.core.streams import Augmentation, Link, Partner, Stream, View
from scantling.data.case_cache import CaseCache
from scantling.data.placement import Placement
from scantling.data.preprocessing import Preprocessed, preprocess, restore_grid
from scantling.data.reader import Reader

GREY = Intensity(mean=0, std=1, low=-2, high=2, minimum=-3, maximum=3)
TRAITS = Traits(
    dimensions=2, channels=("a", "b"), labels=Labels(names=("x", "y"), values=((1,), (2,))),
    image_classes=("benign", "malignant"), spacing=(1.0, 1.0), shape=(32, 32), smallest=(32, 32),
    intensity=(GREY, GREY),
)  # fmt: skip
STRONG = Augmentation(rotation=40, zoom=0.3, warped=0.7)
SHAPES = [(40, 44), (24, 26, 22)]
FILE = Address(path=__file__)  # type: ignore[arg-type]


def placements(shape: tuple[int, ...], *, warped: float, count: int = 12) -> list[Placement]:
    """Patches with every change of the grid, half as long as the image."""
    changes = replace(STRONG, warped=warped)
    patch = (20,) * 2 if len(shape) == 2 else (14,) * 3
    return [Placement.draw(shape, patch, changes, numpy_generator("p", number)) for number in range(count)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("warped", [0.0, 1.0])
def test_points_follow_a_bright_spot(shape: tuple[int, ...], warped: float) -> None:
    middle = np.array(shape) / 2 + 0.3
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    spot = torch.from_numpy(np.exp(-((grid - middle) ** 2).sum(-1) / 2)).float()[None]  # of deviation 1
    points = torch.from_numpy(middle)[None].float()
    seen = 0
    for place in placements(shape, warped=warped, count=40):
        patch = place.cut_field(spot, FIELDS["image"])[0]
        moved, _ = place.points(points)
        if len(moved) and moved.min() > 4 and moved.max() < len(patch) - 5:  # all of the spot is in the patch
            axes = np.stack(np.meshgrid(*map(np.arange, patch.shape), indexing="ij"), -1)
            found = (axes * patch.numpy()[..., None]).reshape(-1, len(shape)).sum(0) / patch.numpy().sum()
            assert np.allclose(moved[0].numpy(), found, atol=0.15)
            seen += 1
    assert seen


@pytest.mark.parametrize("shape", SHAPES)
def test_points_beyond_the_patch_are_dropped_with_their_classes(shape: tuple[int, ...]) -> None:
    place = Placement((2,) * len(shape), (10,) * len(shape))
    points = torch.tensor([[1.4] * len(shape), [1.6] * len(shape), [5.0] * len(shape), [11.6] * len(shape)])
    moved, inside = place.points(points)
    assert inside.tolist() == [False, True, True, False]  # the patch reaches from 1.5 to 11.5
    assert torch.allclose(moved, points[1:3] - 2)


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_follow_the_bounding_box_of_a_mask(shape: tuple[int, ...]) -> None:
    mask = torch.zeros(1, *shape, dtype=torch.uint8)
    box = [(n // 2 - 5, n // 2 + 3) for n in shape]
    mask[(0, *(slice(*span) for span in box))] = 1
    for warped in (0.0, 1.0):
        for place in placements(shape, warped=warped):
            patch = place.cut_field(mask, FIELDS["mask"])[0]
            marked = torch.nonzero(patch == 1)
            moved, inside = place.boxes(torch.tensor([box]).float())
            if not len(marked):
                assert warped or not inside.any()
                continue
            found = torch.stack([marked.amin(0), marked.amax(0) + 1], -1).float()
            if not warped:
                assert torch.equal(moved[0], found)
            elif found.min() > 0 and found.max() < len(patch):  # not cut by the border
                assert torch.allclose(moved[0], found, atol=1.5)  # the corner of a turned block may miss a pixel


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("warped", [0.0, 1.0])
def test_warping_and_cutting_a_displacement_is_cutting_what_was_warped(shape: tuple[int, ...], warped: float) -> None:
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    phases = [grid[axis] / shape[axis] * 3 for axis in range(len(shape))]
    image = torch.from_numpy(sum(np.sin(phase + axis) for axis, phase in enumerate(phases))).float()[None]
    field = torch.from_numpy(np.stack([1.5 * np.cos(phases[axis - 1]) for axis in range(len(shape))])).float()
    whole = warp(image, field)
    for place in placements(shape, warped=warped, count=6):
        expected = place.cut_field(whole, FIELDS["image"])
        cut = warp(place.cut_field(image, FIELDS["image"]), place.cut_field(field, DISPLACEMENT))
        inner = (slice(None), *[slice(4, -4)] * len(shape))
        inside = place.cut(torch.ones_like(image), linear=False, outside=0)[inner] > 0
        assert (cut - expected)[inner][inside].abs().max() < 0.03


DISPLACEMENT = replace(FIELDS["image"], name="displacement", kind="displacement")


def warp(image: Tensor, field: Tensor) -> Tensor:
    """The value at x of the result is that of the image at x + field(x); by SciPy."""
    grid = np.stack(np.meshgrid(*map(np.arange, image.shape[1:]), indexing="ij"))
    return torch.from_numpy(map_coordinates(image[0].numpy(), grid + field.numpy(), order=1, mode="nearest"))[None]


def sample(case: Case, shape: tuple[int, ...] = (16, 24), **held: object) -> Sample:
    geometry = Geometry(shape, (1.0,) * len(shape), slice_axis=2 if len(shape) == 3 else 0)
    return replace(Sample(case, np.zeros((1, *shape), np.float32), geometry), **held)  # type: ignore[arg-type]


def test_boxes_and_points_are_resampled_with_their_image_and_come_back() -> None:
    box, point = np.array([[[2, 6], [3, 9]]], np.float32), np.array([[4.0, 7.0]], np.float32)
    mask = np.zeros((1, 16, 24), np.uint8)
    mask[0, 2:6, 3:9] = 1
    whole = sample(Case(id="a", subject="a"), boxes=box, points=point, masks=(mask,))
    recipe = Preprocessing(dimensions=2, normalise="none", size=(32, 48))
    done = preprocess(whole, recipe, TRAITS)
    marked = torch.nonzero(done.masks[0][0])
    assert done.coordinates["boxes"][0].tolist() == torch.stack([marked.amin(0), marked.amax(0) + 1], -1).tolist()
    # the centre of pixel 4 lies at 4.5 of 16, that is 9 of 32, and pixel centres there are at halves
    assert done.coordinates["points"][0].tolist() == [8.5, 14.5]
    for name, kept in (("boxes", box), ("points", point)):
        back = restore_grid(done.coordinates[name], whole, recipe, TRAITS, kind=FIELDS[name].kind)
        assert np.allclose(back.numpy(), kept)


def test_a_displacement_is_scaled_with_its_grid() -> None:
    whole = sample(Case(id="a", subject="a"))
    recipe = Preprocessing(dimensions=2, normalise="none", size=(32, 12))
    shift = torch.tensor([2.0, 3.0]).view(2, 1, 1).expand(2, 32, 12)
    back = restore_grid(shift, whole, recipe, TRAITS, kind="displacement")
    assert back.shape == (2, 16, 24)
    assert torch.allclose(back[:, 0, 0], torch.tensor([1.0, 6.0]))
    labels = torch.tensor([0, 1, 2, 7] * 3, dtype=torch.uint8).expand(1, 32, 12)
    assert {*restore_grid(labels, whole, recipe, TRAITS, kind="labels").unique().tolist()} == {0, 1, 2, 7}


def test_a_slice_has_the_boxes_and_points_that_lie_in_it() -> None:
    shape = (8, 10, 6)
    boxes = np.array([[[1, 3], [2, 5], [2, 4]], [[0, 2], [0, 2], [5, 6]]], np.float32)
    points = np.array([[1, 2, 3], [4, 5, 2.6]], np.float32)
    whole = sample(
        Case(id="v", subject="v"), shape, boxes=boxes, points=points,
        classes={"boxes": np.array([0, 1]), "points": np.array([1, 0])},
    )  # fmt: skip
    facts = TRAITS.model_copy(update={"dimensions": 3, "slice_axis": 2})
    done = preprocess(whole, Preprocessing(dimensions=2, normalise="none"), facts)
    held = {part: done.slice(part) for part in range(6)}
    assert {part: one.classes["boxes"].tolist() for part, one in held.items() if len(one.classes["boxes"])} == {
        2: [0], 3: [0], 5: [1],
    }  # fmt: skip
    assert held[2].coordinates["boxes"].tolist() == [[[1, 3], [2, 5]]]
    assert held[3].coordinates["points"].tolist() == [[1, 2], [4, 5]]
    assert held[3].classes["points"].tolist() == [1, 0]


def test_every_field_is_an_attribute_of_a_case_and_of_a_batch() -> None:
    attributes = {field.name for field in fields(Case)}
    for name, field in FIELDS.items():
        assert name == "masks" or (field.attribute or name) in attributes
        assert hasattr(Batch, name)


def case(number: int, **held: object) -> Case:
    return Case(id=f"case{number}", subject=f"s{number // 2}", images={"a": FILE}, **held)  # type: ignore[arg-type]


def prepared(case: Case) -> Preprocessed:
    """Case n has pixels of its own; every even case lacks channel b, and has what it has."""
    number = int(case.id[4:])
    rows = torch.tensor([[4.0, 5.0], [9.0, 9.0], [20.0, 20.0]])[: len(case.points or ())]
    return Preprocessed(
        torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(number)),
        {"region": torch.zeros(1, 32, 32, dtype=torch.bool)} if case.region else {},
        (torch.ones(1, 32, 32, dtype=torch.uint8),) * len(case.masks),
        {"points": rows} if case.points else {},
        {"points": torch.arange(len(rows)) % 2},
        torch.tensor([True, bool(number % 2)]),
    )


CASES = {
    one.id: one
    for one in (
        case(0, masks=(FILE,), image_class="malignant", points=((4.0, 5.0),)),
        case(1, region=FILE),
        case(2, masks=(FILE, FILE), points=((4.0, 5.0), (9.0, 9.0), (20.0, 20.0))),
        case(3, image_class="benign", scribbles=FILE),
    )
}
WANTS = ("mask", "masks", "scribbles", "image_class", "points", "boxes", "instances")


def reader(stream: Stream, **changes: object) -> Reader:
    arguments = {"seed": 0, "stage": "s", "others": CASES, "traits": TRAITS} | changes
    taken = [one for one in CASES.values() if stream.takes(one)]
    return Reader(stream, taken, CaseCache(prepared, budget=1 << 30), **arguments)  # type: ignore[arg-type]


def wanting(**changes: object) -> Stream:
    settings = {"name": "a", "reads": ("image",), "wants": WANTS, "batch": 4, "patch": (32, 32), "partial": True}
    return Stream(**settings | changes)  # type: ignore[arg-type]


def test_what_is_absent_is_neutral_and_present_says_so() -> None:
    batch = reader(wanting(augment=Augmentation(flips=False, turns=False, brightness=1, noise=1))).batch(0)
    rows = {int(position): row for row, position in enumerate(batch.case)}
    for position, one in enumerate(CASES.values()):
        row = rows[position]
        for name in ("scribbles", "instances", "boxes"):
            assert not batch.present[name][row].any() or one.has(name), name
        assert batch.present["image"][row].tolist() == [True, bool(position % 2)]
        assert bool(batch.image[row, 1].any()) == bool(position % 2), "changed values leave what is absent at 0"
        assert batch.present["mask"][row].tolist() == [one.has("mask")] * 2
        assert bool((batch.mask[row] == IGNORE).all()) != one.has("mask")
        assert bool(batch.region[row].all()) != one.has("region")
        assert batch.present["region"][row].tolist() == [one.has("region")]
        assert int(batch.counts["points"][row]) == len(one.points or ())
        assert int(batch.counts["masks"][row]) == len(one.masks)
        assert batch.classes["points"][row].tolist() == [
            *([0, 1, 0][: len(one.points or ())]),
            *[-1] * (3 - len(one.points or ())),
        ]
    assert [int(batch.image_class[rows[number]]) for number in range(4)] == [1, -1, -1, 0]
    assert batch.points.shape == (4, 3, 2)
    assert batch.masks.shape == (4, 2, 1, 32, 32)
    assert batch.boxes.shape == (4, 0, 2, 2)


def test_parts_of_a_batch_with_absent_fields_make_the_whole_batch() -> None:
    read = reader(wanting(augment=STRONG, patch=(16, 16), companions=(Partner(name="other"),)))
    for step in range(3):
        whole, parts = read.batch(step), [read.batch(step, slot=slot, slots=4) for slot in range(4)]
        for name in whole.fields:
            assert torch.equal(whole.present[name], torch.cat([part.present[name] for part in parts])), name
            for row, part in enumerate(parts):
                assert torch.equal(whole.companions["other"].image[row], part.companions["other"].image[0])
                own, more = part.fields[name][0], whole.fields[name][row]
                if name in whole.counts:  # more rows are padding
                    assert int(whole.counts[name][row]) == int(part.counts[name][0])
                    more = more[: len(own)]
                assert torch.equal(own, more), name


def test_a_batch_made_by_hand_has_a_region_and_says_what_is_present() -> None:
    batch = Batch(torch.arange(2), torch.arange(2), {"image": torch.zeros(2, 3, 4, 4)})
    assert batch.region.shape == (2, 1, 4, 4)
    assert batch.region.all()
    assert not batch.present["region"].any()
    assert batch.present["image"].shape == (2, 3)
    assert batch.to("cpu", torch.float64).region.dtype == torch.bool


def test_views_are_the_same_patch_with_values_of_their_own() -> None:
    views = (View(name="plain"), View(name="strong", augment=replace(Augmentation.strong(), noise=0.3)))
    batch = reader(wanting(patch=(16, 16), augment=replace(STRONG, brightness=1), companions=views)).batch(0)
    plain, strong = batch.companions["plain"], batch.companions["strong"]
    for name in ("mask", "region"):
        assert torch.equal(batch.fields[name], plain.fields[name])
        assert torch.equal(batch.fields[name], strong.fields[name])
    shift = (batch.image - plain.image)[:, 0].flatten(1)  # brightness alone
    assert torch.allclose(shift, shift[:, :1].expand_as(shift), atol=1e-5)
    assert shift[:, 0].abs().min() > 0
    assert not torch.allclose(strong.image, plain.image, atol=0.1)


def test_a_partner_is_another_case_with_a_patch_of_its_own() -> None:
    partners = (
        Partner(name="labelled", labelled=True),
        Partner(name="unlabelled", labelled=False, other_subject=False),
        Partner(name="atlas", case="case3"),
    )
    read = reader(wanting(batch=40, patch=(16, 16), augment=STRONG, companions=partners))
    batch = read.batch(0)
    assert batch.companions["labelled"].present["mask"].all()
    assert not batch.companions["unlabelled"].present["mask"].any()
    assert (batch.companions["atlas"].image_class == 0).all(), "that of case3"
    places = {partner.name: [place.case.id for place in read.partners[partner.name]] for partner in partners}
    assert places == {"labelled": ["case0", "case2"], "unlabelled": ["case1", "case3"], "atlas": ["case3"]}
    for index in range(40):
        row = read._row(index)
        own, drawn = read.places[row.position].case, row.companions["labelled"]
        number = 0 if drawn.fields["points"].shape[0] <= 1 and int(drawn.fields["image_class"]) == 1 else 2
        assert CASES[f"case{number}"].subject != own.subject
    again = reader(wanting(batch=40, patch=(16, 16), augment=STRONG, companions=partners)).batch(0)
    assert torch.equal(batch.companions["labelled"].image, again.companions["labelled"].image)


def test_a_case_without_a_partner_is_a_sentence() -> None:
    stream = wanting(companions=(Partner(name="other", case="nobody"),))
    with pytest.raises(DataError, match=r"case case0 needs the case nobody for training beside it \(other\)"):
        reader(stream)
    alone = {"case0": CASES["case0"], "case1": CASES["case1"]}  # of one subject
    with pytest.raises(DataError, match="needs another case of another subject for training"):
        reader(wanting(companions=(Partner(name="other"),)), others=alone)


def test_a_visit_brings_companions_whole_and_unchanged() -> None:
    known = {id: replace(one, links={"after": "case3"}) for id, one in CASES.items()}
    companions = (View(name="strong", augment=Augmentation.strong()), Link(role="after"))
    stream = wanting(patch=(8, 8), augment=STRONG, companions=companions)
    read = Reader(
        stream, list(known.values()), CaseCache(prepared, budget=0), seed=0, stage="s", others=known, traits=TRAITS
    )
    for batch in read.visit():
        assert torch.equal(batch.companions["strong"].image, batch.image)
        assert torch.equal(batch.companions["after"].image[0], prepared(known["case3"]).image)  # type: ignore[arg-type]
