"""Streams: the batch of a step is a function of the step, and image, mask and links stay together."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from scantling.core.case import IGNORE, Address, Case, Geometry, Sample
from scantling.core.errors import DataError, SettingsError
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Intensity, Preprocessing, Traits
from scantling.core.streams import Augmentation, Link, Stream
from scantling.data.case_cache import CaseCache
from scantling.data.placement import Placement
from scantling.data.prefetcher import Prefetcher
from scantling.data.preprocessing import Preprocessed, preprocess, restore_grid
from scantling.data.reader import Reader
from toys import cases, taken

STRONG = Augmentation(rotation=40, zoom=0.3, warped=0.5, brightness=0.2, contrast=0.2, gamma=0.2, noise=0.1)


def reader(stream: Stream, *, budget: int = 1 << 30, seed: int = 0) -> Reader:
    return Reader(stream, list(cases().values()), CaseCache(taken, budget=budget), seed=seed, stage="s", others=cases())


def test_the_batch_of_a_step_is_a_function_of_the_step() -> None:
    stream = Stream(name="a", batch=4, patch=(8, 8), augment=STRONG, foreground=0.5)
    one, other = reader(stream), reader(stream, budget=0)
    other.batch(0)
    assert torch.equal(one.batch(7).image, other.batch(7).image)
    assert torch.equal(one.batch(7).mask, other.batch(7).mask)
    assert not torch.equal(one.batch(7).image, one.batch(8).image)
    assert not torch.equal(one.batch(7).image, reader(stream, seed=1).batch(7).image)


def test_parts_of_a_batch_make_the_whole_batch() -> None:
    stream = Stream(name="a", batch=6, patch=(8, 8), augment=STRONG)
    whole = reader(stream).batch(3)
    parts = [reader(stream).batch(3, slot=slot, slots=3) for slot in range(3)]
    assert torch.equal(whole.image, torch.cat([part.image for part in parts]))
    assert torch.equal(whole.index, torch.cat([part.index for part in parts]))
    with pytest.raises(SettingsError, match="cannot be shared by 4"):
        reader(stream).batch(0, slots=4)


def test_a_share_of_the_samples_is_changed_and_the_others_stay_as_they_are() -> None:
    still, strong = (Stream(name="a", batch=8, patch=None, augment=augment) for augment in (None, STRONG))
    plain, every = reader(still).batch(0).image, reader(strong).batch(0).image
    half = Reader(
        strong, list(cases().values()), CaseCache(taken, budget=1 << 30), seed=0, stage="s", others=cases(), changed=0.5
    ).batch(0).image  # fmt: skip
    kept = [torch.equal(one, other) for one, other in zip(half, plain, strict=True)]
    assert kept == [True, False] * 4
    assert torch.equal(half[1::2], every[1::2]), "those that are changed are changed as ever"


def test_each_case_comes_once_an_epoch_in_an_order_that_changes() -> None:
    read = reader(Stream(name="a", batch=1, patch=(8, 8)))
    epochs = [[int(read.batch(step).case) for step in range(e * 5, e * 5 + 5)] for e in range(4)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_feeding_ahead_changes_nothing() -> None:
    stream = Stream(name="a", batch=4, patch=(8, 8), augment=STRONG)
    with Prefetcher({"a": reader(stream)}, None, [0], 1) as prefetcher:
        fed = [prefetcher.batches(step)[0]["a"].image for step in (0, 1, 2, 5)]
    assert all(
        torch.equal(image, reader(stream).batch(step).image) for image, step in zip(fed, (0, 1, 2, 5), strict=True)
    )


def test_batches_are_made_in_turn_where_no_thread_may_begin_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    stream = Stream(name="a", batch=4, patch=(8, 8))
    with Prefetcher({"a": reader(stream)}, None, [0], 1) as prefetcher:
        monkeypatch.setattr(prefetcher._pool, "submit", refused)
        fed = [prefetcher.batches(step)[0]["a"].image for step in range(2)]
    assert all(torch.equal(image, reader(stream).batch(step).image) for step, image in enumerate(fed))


def test_a_step_reads_the_streams_that_it_draws() -> None:
    streams = {name: reader(Stream(name=name, batch=1, patch=(8, 8))) for name in "ab"}
    with Prefetcher(streams, lambda step: ("a",) if step % 3 else ("b", "c"), [0], 1) as prefetcher:
        drawn = [list(prefetcher.batches(step)[0]) for step in range(4)]
    assert drawn == [["b"], ["a"], ["a"], ["b"]], "a stream that has no reader is left out"


def test_image_and_mask_stay_together_under_every_change_of_the_grid() -> None:
    def same(case: Case) -> Preprocessed:
        mask = taken(case, (24, 24)).masks[0]
        return Preprocessed(mask.float(), {"region": mask.bool()}, (mask,))

    exact = Augmentation(rotation=0, zoom=0)
    read = Reader(
        Stream(name="a", batch=16, patch=(16, 16), augment=exact), list(cases().values()),
        CaseCache(same, budget=1 << 30), seed=0, stage="s",
    )  # fmt: skip
    batch = read.batch(0)
    assert torch.equal(batch.image, batch.mask.float())
    assert torch.equal(batch.region, batch.mask.bool())
    drawn = (Placement.draw((24, 24), (16, 16), STRONG, numpy_generator("w", seed)) for seed in range(40))
    warped = next(placement for placement in drawn if placement.matrix is not None)
    block = torch.zeros(1, 24, 24)
    block[:, 8:16, 8:16] = 1
    soft = warped.cut(block, linear=True)
    hard = warped.cut(block.to(torch.uint8), linear=False)
    assert ((soft > 0.5) == (hard == 1)).float().mean() > 0.95


def test_the_region_of_a_sample_does_not_depend_on_the_batch_that_it_stands_in() -> None:
    known = {
        id: replace(case, region=Address(Path("region.png")) if number % 2 else None)
        for number, (id, case) in enumerate(cases().items())
    }
    half = torch.arange(64).reshape(1, 8, 8) < 32

    def prepared(case: Case) -> Preprocessed:
        return Preprocessed(torch.zeros(1, 8, 8), {"region": half} if case.region else {}, ())

    def reader(known: dict[str, Case]) -> Reader:
        stream = Stream(name="a", reads=("image",), batch=4)
        return Reader(stream, list(known.values()), CaseCache(prepared, budget=1 << 20), seed=0, stage="s")

    read = reader(known)
    for step in range(3):
        whole, parts = read.batch(step), [read.batch(step, slot=slot, slots=4) for slot in range(4)]
        assert torch.equal(whole.region, torch.cat([part.region for part in parts]))
        for row, position in enumerate(whole.case.tolist()):
            own = list(known.values())[position].region is not None
            assert torch.equal(whole.region[row], half if own else torch.ones_like(half))
            assert bool(whole.present["region"][row]) == own
    assert reader(cases()).batch(0).region.all(), "where no case has one, all counts"


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_warp_without_rotation_and_zoom_is_the_plain_window(dimensions: int) -> None:
    array = torch.randn(2, *(20, 18, 14)[:dimensions])
    start, patch = (3, 4, 2)[:dimensions], (8, 8, 6)[:dimensions]
    plain = Placement(start, patch)
    warped = replace(plain, matrix=torch.eye(dimensions, dimensions + 1))
    assert torch.allclose(plain.cut(array, linear=True), warped.cut(array, linear=True), atol=1e-5)
    window = (slice(None), *(slice(s, s + p) for s, p in zip(start, patch, strict=True)))
    assert torch.equal(plain.cut(array, linear=True), array[window])


@pytest.mark.parametrize("shape", [(40, 30), (25, 30, 12)])
def test_a_warp_reads_the_image_where_its_matrix_says(shape: tuple[int, ...]) -> None:
    generator = numpy_generator("places", len(shape))
    strong = Augmentation(flips=False, turns=False, rotation=90, zoom=0.5, warped=1)
    array, patch = torch.randn(1, *shape), (16, 12, 9)[: len(shape)]
    for _ in range(5):
        place = Placement.draw(shape, patch, strong, generator)
        assert place.matrix is not None
        offsets = np.stack(np.meshgrid(*(np.arange(p) - (p - 1) / 2 for p in patch), indexing="ij"))
        turned = np.tensordot(place.matrix[:, :-1].double().numpy(), offsets, 1)
        middle = np.reshape([s + (p - 1) / 2 for s, p in zip(place.start, patch, strict=True)], (-1, *[1] * len(patch)))
        expected = map_coordinates(array[0].double().numpy(), turned + middle, order=1, mode="nearest")
        assert np.allclose(place.cut(array, linear=True)[0].numpy(), expected, atol=1e-4)
        inside = np.all([(c >= -0.5) & (c <= n - 0.5) for c, n in zip(turned + middle, shape, strict=True)], axis=0)
        beyond = place.cut(torch.ones(1, *shape, dtype=torch.uint8), linear=False, outside=IGNORE)[0].numpy() == IGNORE
        assert np.mean(beyond == ~inside) > 0.999  # a pixel on the very border may fall to either side


def test_rotations_and_turns_are_of_the_world_not_of_the_array() -> None:
    spacing = np.array([1.0, 1.0, 4.0])
    coarse = Augmentation(rotation=60, zoom=0.3, warped=1, spacing=tuple(spacing))
    for number in range(20):
        place = Placement.draw((32, 32, 32), (16, 16, 16), coarse, numpy_generator("world", number))
        assert place.matrix is not None
        world = np.diag(spacing) @ place.matrix[:, :-1].double().numpy() @ np.diag(1 / spacing)
        scale = abs(np.linalg.det(world)) ** (1 / 3)
        assert np.allclose(world @ world.T, scale**2 * np.eye(3), atol=1e-5)  # a rotation times a zoom
        assert place.turned is not None
        assert place.turned[:2] == (0, 1)


def test_a_quarter_turn_by_angle_equals_a_quarter_turn_of_the_array() -> None:
    array = torch.randn(1, 9, 9)
    turned = Placement((0, 0), (9, 9), matrix=torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])).cut(array, linear=True)
    assert any(torch.allclose(turned, torch.rot90(array, k, (1, 2)), atol=1e-5) for k in (1, 3))


def test_beyond_the_border_the_image_goes_on_and_the_mask_does_not_count() -> None:
    image, mask = torch.arange(16.0).view(1, 4, 4), torch.ones(1, 4, 4, dtype=torch.uint8)
    place = Placement.draw((4, 4), (8, 4), None, numpy_generator(0))
    cut = place.cut(mask, linear=False, outside=IGNORE)
    assert Counter(cut.flatten().tolist()) == {1: 16, IGNORE: 16}
    assert torch.equal(place.cut(image, linear=True)[0, 0], image[0, 0])


def test_patches_are_centred_on_labelled_pixels_as_often_as_asked() -> None:
    def dot(case: Case) -> Preprocessed:
        mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
        mask[0, 40, 20] = 1
        return Preprocessed(mask.float(), {}, (mask,))

    def share(foreground: float) -> float:
        stream = Stream(name="a", batch=200, patch=(8, 8), foreground=foreground)
        read = Reader(stream, list(cases().values()), CaseCache(dot, budget=1 << 30), seed=0, stage="s")
        return float(read.batch(0).mask.flatten(1).any(1).float().mean())

    assert share(1.0) == 1.0
    assert share(0.0) < 0.1  # 64 of 57² patches hold the dot
    assert 0.35 < share(0.5) < 0.65


def test_linked_images_are_cut_at_the_same_place() -> None:
    known = cases(2)
    known["case0"] = replace(known["case0"], links={"after": "case1"})

    def twin(case: Case) -> Preprocessed:
        image = torch.arange(400.0).view(1, 20, 20)
        return Preprocessed(image + (1000 if case.id == "case1" else 0), {}, ())

    augment = Augmentation(rotation=20, zoom=0.1, warped=0.5)
    stream = Stream(
        name="a", reads=("image",), batch=8, patch=(8, 8), companions=(Link(role="after"),), augment=augment
    )
    read = Reader(stream, [known["case0"]], CaseCache(twin, budget=1 << 30), seed=0, stage="s", others=known)
    batch = read.batch(0)
    assert torch.allclose(batch.companions["after"].image - batch.image, torch.full((8, 1, 8, 8), 1000.0), atol=1e-2)


def test_a_case_linked_to_one_that_is_not_for_training_is_a_sentence() -> None:
    known = cases(2)
    torn = replace(known["case0"], links={"after": "elsewhere"})
    stream = Stream(name="a", reads=("image",), patch=(8, 8), companions=(Link(role="after"),))
    with pytest.raises(DataError, match="case0: its after is 'elsewhere', which is no training case"):
        Reader(stream, [torn], CaseCache(taken, budget=0), seed=0, stage="s", others=known)


def test_a_visit_brings_each_case_once_whole_and_unchanged() -> None:
    read = reader(Stream(name="a", batch=4, patch=(8, 8), augment=STRONG))
    seen = list(read.visit())
    assert [int(batch.case) for batch in seen] == list(range(5))
    for batch, place in zip(seen, read.places, strict=True):
        whole = taken(place.case)
        assert torch.equal(batch.image[0], whole.image)
        assert torch.equal(batch.mask[0], whole.masks[0])


def test_a_picture_among_volumes_is_one_place_and_a_volume_as_many_as_it_has_slices() -> None:
    found = list(cases().values())[:2]
    read = Reader(
        Stream(name="a"), found, CaseCache(taken, budget=0), seed=0, stage="s",
        slices=lambda case: 3 if case.id == found[0].id else None,
    )  # fmt: skip
    assert [(place.case.id, place.slice) for place in read.places] == [
        (found[0].id, 0), (found[0].id, 1), (found[0].id, 2), (found[1].id, None),
    ]  # fmt: skip


def test_what_does_not_fit_into_memory_is_read_once_a_visit() -> None:
    read: list[str] = []

    def counted(case: Case) -> Preprocessed:
        read.append(case.id)
        return taken(case)

    stream = Stream(name="a", batch=10, patch=(8, 8), foreground=1.0)
    Reader(stream, list(cases().values()), CaseCache(counted, budget=0), seed=0, stage="s").batch(0)
    assert Counter(read) == dict.fromkeys(cases(), 2)


def test_whole_images_of_several_sizes_cannot_be_stacked() -> None:
    def uneven(case: Case) -> Preprocessed:
        return Preprocessed(torch.zeros(1, 8, 8 + int(case.id[-1])), {}, ())

    read = Reader(
        Stream(name="a", reads=("image",), batch=4),
        list(cases().values()),
        CaseCache(uneven, budget=0),
        seed=0,
        stage="s",
    )
    with pytest.raises(DataError, match="sizes differ"):
        read.batch(0)


def test_an_empty_stream_says_what_no_case_has() -> None:
    with pytest.raises(DataError, match="no training case has image and scribbles"):
        Reader(Stream(name="a", reads=("image", "scribbles")), [], CaseCache(taken, budget=0), seed=0, stage="s")


def traits(**changes: object) -> Traits:
    facts = {
        "dimensions": 3, "channels": ("a",), "spacing": (1.0, 1.0, 3.0), "shape": (8, 10, 6), "smallest": (8, 10, 6),
        "slice_axis": 2, "intensity": (Intensity(mean=5, std=2, low=1, high=9, minimum=0, maximum=10),),
    }  # fmt: skip
    return Traits.model_validate(facts | changes)


def volume(shape: tuple[int, ...] = (8, 10, 6)) -> Sample:
    generator = np.random.default_rng(0)
    image = generator.normal(5, 2, (1, *shape)).astype(np.float32)
    case = Case(id="v", subject="v")
    return Sample(
        case,
        image,
        Geometry(shape, (1.0, 1.0, 3.0), container="volume", slice_axis=2),
        (np.ones((1, *shape), np.uint8),),
    )


def test_a_volume_read_as_slices_comes_back_as_it_was() -> None:
    sample, facts = volume(), traits()
    preprocessing = Preprocessing(dimensions=2, normalise="none")
    back = preprocess(sample, preprocessing, facts)
    assert back.shape == (6, 8, 10)
    assert np.array_equal(restore_grid(back.image, sample, preprocessing, facts).numpy(), sample.image)


def test_resampling_to_a_grid_and_back_keeps_shape_and_linear_images() -> None:
    sample, facts = volume((16, 20, 12)), traits()
    ramp = np.broadcast_to(np.linspace(0, 1, 20, dtype=np.float32)[:, None], (1, 16, 20, 12))
    sample = replace(sample, image=np.ascontiguousarray(ramp))
    preprocessing = Preprocessing(dimensions=3, normalise="none", spacing=(2.0, 2.0, 2.0))
    on_grid = preprocess(sample, preprocessing, facts)
    assert on_grid.shape == (8, 10, 18)
    back = restore_grid(on_grid.image, sample, preprocessing, facts).numpy()
    assert back.shape == sample.image.shape
    assert np.abs(back - sample.image)[:, :, 3:-3].max() < 1e-5  # the first voxel averages fewer, and reaches so far


def test_units_are_what_their_names_say() -> None:
    sample, facts = volume(), traits()
    region = np.zeros((8, 10, 6), bool)
    region[:4] = True
    inside = preprocess(replace(sample, region=region), Preprocessing(dimensions=3), facts).image[0].numpy()[region]
    assert abs(float(inside.mean())) < 1e-5
    assert abs(float(inside.std()) - 1) < 1e-5
    unit = preprocess(sample, Preprocessing(dimensions=3, normalise="unit"), facts).image
    assert (float(unit.min()), float(unit.max())) == (-1.0, 1.0)
    known = preprocess(sample, Preprocessing(dimensions=3, normalise="dataset"), facts).image.numpy()
    assert np.allclose(known, (sample.image.clip(1, 9) - 5) / 2)
    foreground = Preprocessing(dimensions=3, normalise="foreground")
    assert np.array_equal(preprocess(sample, foreground, facts).image, known), "where no foreground was measured"
    organ = facts.intensity[0].model_copy(update={"low": 3.0, "high": 6.0, "mean": 4.0, "std": 0.5})
    of_organ = facts.model_copy(update={"foreground_intensity": (organ,)})
    assert np.allclose(preprocess(sample, foreground, of_organ).image, (sample.image.clip(3, 6) - 4) / 0.5)
    even = organ.model_copy(update={"low": 4.0, "high": 4.0, "mean": 4.0, "std": 0.0})
    of_even = facts.model_copy(update={"foreground_intensity": (even,)})
    assert np.array_equal(preprocess(sample, foreground, of_even).image, known), "clipped to one value nothing is left"
    flat = replace(sample, image=np.full((1, 8, 10, 6), 7, np.float32))
    assert not preprocess(flat, Preprocessing(dimensions=3), facts).image.any()
