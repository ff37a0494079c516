"""Directions, two thresholds, small pieces; the mending made of them, and how it is chosen on validation maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold
from skimage.morphology import disk, reconstruction, remove_small_objects

from scantling.core.errors import DataError, SettingsError
from scantling.core.randomness import numpy_generator
from scantling.mending.anisotropic import Diffusion, diffuse
from scantling.mending.choose import UNMENDED, Example, candidates, choose
from scantling.mending.eigen import smallest
from scantling.mending.hysteresis import drop_small, hysteresis
from scantling.mending.mend import RULES, Mending, mend
from scantling.mending.orientation import structure_orientation
from scantling.mending.smoothing import smoothed
from scantling.metrics.overlap import confusion
from scantling.metrics.topology import components, topology

Map = NDArray[np.float32]


def smooth_map(*shape: int, scale: float = 1.5, seed: int = 0) -> Map:
    field = ndimage.gaussian_filter(numpy_generator("rules", seed, *shape).standard_normal(shape), scale)
    return np.clip(0.5 + field / max(field.std(), 1e-9) / 4, 0, 1).astype(np.float32)


@pytest.mark.parametrize("shape", [(30, 41), (5, 3), (1, 1), (1, 20), (20, 1), (9, 10, 11), (2, 40, 40), (3, 1100, 2)])
@pytest.mark.parametrize("scale", [0.7, 1.0, 2.0, 3.3])
def test_smoothing_is_scipys(shape: tuple[int, ...], scale: float) -> None:
    map_ = numpy_generator("smoothing", *shape).random(shape)
    assert np.allclose(smoothed(map_, scale), ndimage.gaussian_filter(map_, scale, mode="nearest"), atol=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("scale", [1.0, 1e-10, 1e10])
def test_eigenvalues_and_vectors_are_lapacks(dimensions: int, scale: float) -> None:
    matrices = numpy_generator("matrices", dimensions).standard_normal((2000, dimensions, dimensions))
    matrices[:500] *= 1e-3
    matrices = ((matrices + matrices.transpose(0, 2, 1)) * scale).astype(np.float32).astype(np.float64)
    values, vectors = np.linalg.eigh(matrices)
    low, middle, vector = smallest([matrices[:, a, b] for a in range(dimensions) for b in range(a, dimensions)])
    size = np.abs(values).max(1)
    assert (np.abs(low - values[:, 0]) <= 1e-6 * size).all()
    assert (np.abs(middle - values[:, 1]) <= 1e-6 * size).all()
    apart = values[:, 1] - values[:, 0] > 1e-3 * size
    assert (np.abs((vector.T * vectors[:, :, 0]).sum(1)) > 1 - 1e-5)[apart].all()
    assert np.allclose(np.linalg.norm(vector, axis=0), 1, atol=1e-6)


def test_matrices_without_a_smallest_direction_have_none() -> None:
    ones, zeros = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    for entries in ([ones, zeros, ones], [zeros] * 3, [ones, zeros, zeros, ones, zeros, ones], [zeros] * 6):
        low, middle, vector = smallest(entries)
        assert np.array_equal(low, middle)
        assert not vector.any()
    low, middle, vector = smallest([ones, zeros, zeros, ones, zeros, 2 * ones])  # any direction of a plane: none
    assert np.allclose(low, middle)
    assert not vector.any()
    with pytest.raises(ValueError, match="found 4 entries"):
        smallest([ones] * 4)


@pytest.mark.parametrize("degrees", [0, 20, 45, 90, 135, 170])
def test_the_direction_of_a_straight_vessel_is_its_own(degrees: int) -> None:
    way = np.array([math.sin(math.radians(degrees)), math.cos(math.radians(degrees))])
    y, x = np.indices((60, 60)) - 29.5
    vessel = np.exp(-np.square(x * way[0] - y * way[1]) / 4)
    found = structure_orientation(vessel)
    on = (vessel > 0.3) & (np.hypot(x, y) < 20)
    agreement = np.abs(np.tensordot(way, found.direction, 1))[on]
    assert agreement.min() > math.cos(math.radians(2))
    assert found.coherence[on].min() > 0.9


@pytest.mark.parametrize("way", [(0, 0, 1), (1, 0, 0), (1, 2, 3), (1, -1, 0)])
def test_the_direction_of_a_straight_tube_is_its_own(way: tuple[int, ...]) -> None:
    axis = np.array(way) / np.linalg.norm(way)
    place = np.indices((24, 24, 24)) - 11.5
    square = np.square(place).sum(0) - np.square(np.tensordot(axis, place, 1))
    tube = np.exp(-square / 4)
    found = structure_orientation(tube)
    on = (tube > 0.3) & (np.square(place).sum(0) < 49)
    assert np.abs(np.tensordot(axis, found.direction, 1))[on].min() > math.cos(math.radians(3))
    assert found.coherence[on].min() > 0.8


def test_a_sheet_in_space_runs_no_one_way_and_a_ball_neither() -> None:
    place = np.indices((20, 20, 20)) - 9.5
    sheet = structure_orientation(np.exp(-np.square(place[0]) / 4))
    assert sheet.coherence[8:12, 5:15, 5:15].max() < 0.1
    disc = structure_orientation(np.exp(-np.square(np.indices((21, 21)) - 10).sum(0) / 8))
    assert disc.coherence[10, 10] < 1e-3


@pytest.mark.parametrize("shape", [(20, 30), (8, 9, 10), (1, 12), (12, 1), (1, 1), (1, 9, 9)])
def test_a_flat_map_has_no_direction_and_directions_have_length_one_or_none(shape: tuple[int, ...]) -> None:
    flat = structure_orientation(np.full(shape, 0.3))
    assert not flat.direction.any()
    assert not flat.coherence.any()
    rough = structure_orientation(smooth_map(*shape, scale=0.3))
    length = np.linalg.norm(rough.direction, axis=0)
    assert (np.isclose(length, 1, atol=1e-5) | (length == 0)).all()
    assert rough.coherence.min() >= 0
    assert rough.coherence.max() <= 1


def test_the_direction_of_a_turned_map_is_the_turned_direction() -> None:
    u = smooth_map(40, 50)
    here, there = structure_orientation(u), structure_orientation(np.rot90(u))
    way = np.stack([-np.rot90(here.direction[1]), np.rot90(here.direction[0])])
    assert np.allclose(there.coherence, np.rot90(here.coherence), atol=1e-3)
    sure = there.coherence > 0.05
    assert np.abs((way * there.direction).sum(0))[sure].min() > 1 - 1e-4


@pytest.mark.parametrize(("gap", "iterations"), [(4, 100), (8, 100), (16, 300)])
@pytest.mark.parametrize("turned", [False, True])
def test_directions_carried_into_a_gap_close_it_and_widen_nothing(gap: int, iterations: int, turned: bool) -> None:
    u = np.full((64, 96), 0.02, np.float32)
    u[30:33] = 0.95
    u[30:33, 48 - gap // 2 : 48 + gap // 2] = 0.02
    u = u.T if turned else u
    settings = Mending(iterations=iterations, carry=6)
    mask = mend(u[None], settings).mask[0].T if turned else mend(u[None], settings).mask[0]
    assert mask[30:33].all()
    assert mask.sum() == 3 * 96
    if gap > 4:  # the end of the vessel is a door to the structure tensor alone
        assert components(mend(u[None], settings.model_copy(update={"carry": 0})).mask[0]) == 2


def test_directions_are_carried_in_space_too() -> None:
    u = np.full((15, 15, 50), 0.02, np.float32)
    u[6:9, 6:9] = 0.95
    u[6:9, 6:9, 21:29] = 0.02
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        mask = mend(u.transpose(order)[None], Mending(iterations=100, carry=4)).mask[0].transpose(np.argsort(order))
        assert mask[6:9, 6:9].all()
        assert mask.sum() == 9 * 50


def as_published(u: Map, *, high: float, low: float) -> NDArray[np.bool_]:
    """The dual-threshold iteration with max-pooling, until nothing changes."""
    pool = torch.nn.functional.max_pool2d if u.ndim == 2 else torch.nn.functional.max_pool3d
    possible = torch.from_numpy(u > low)[None, None]
    kept = torch.from_numpy(u > high)[None, None].float()
    while True:
        grown = pool(kept, 3, 1, 1) * possible
        if torch.equal(grown, kept):
            return kept[0, 0].numpy() > 0
        kept = grown


@pytest.mark.parametrize(("high", "low"), [(0.5, 0.3), (0.7, 0.45), (0.9, 0.5), (0.5, 0.5)])
@pytest.mark.parametrize("shape", [(64, 50), (1, 30), (14, 15, 16)])
def test_hysteresis_is_the_published_iteration_and_scikit_images_reconstruction(
    shape: tuple[int, ...], high: float, low: float
) -> None:
    u = smooth_map(*shape, scale=1.0)
    found = hysteresis(u, high=high, low=low)
    assert np.array_equal(found, as_published(u, high=high, low=low))
    rebuilt = reconstruction((u > high).astype(float), (u > low).astype(float), footprint=np.ones((3,) * u.ndim))
    assert np.array_equal(found, rebuilt > 0)


def test_hysteresis_is_scikit_images_where_no_pieces_touch_at_corners_only_and_holds_it_everywhere() -> None:
    equal = 0
    for seed in range(60):
        u = smooth_map(40, 40, scale=3, seed=seed)
        ours, theirs = hysteresis(u, high=0.8, low=0.5), apply_hysteresis_threshold(u, 0.5, 0.8)
        assert (ours >= theirs).all()
        by_edges, by_corners = (ndimage.label(u > 0.5, ndimage.generate_binary_structure(2, k))[1] for k in (1, 2))
        if by_edges == by_corners:
            equal += 1
            assert np.array_equal(ours, theirs)
    assert equal > 10
    diagonal = np.diag([0.9, 0.4, 0.4]).astype(np.float32)
    assert hysteresis(diagonal).sum() == 3
    assert apply_hysteresis_threshold(diagonal, 0.3, 0.5).sum() == 1  # neighbours at edges only


@pytest.mark.parametrize("shape", [(50, 60), (12, 13, 14)])
def test_hysteresis_is_idempotent_between_its_thresholds_and_empty_without_a_sure_pixel(shape: tuple[int, ...]) -> None:
    u = smooth_map(*shape)
    found = hysteresis(u)
    assert (found >= (u > 0.5)).all()
    assert (found <= (u >= 0.3)).all()
    assert np.array_equal(hysteresis(np.where(found, u, 0)), found)
    assert np.array_equal(hysteresis(found.astype(np.float32)), found)
    assert not hysteresis(np.minimum(u, np.float32(0.5))).any()
    with pytest.raises(SettingsError, match="low threshold"):
        hysteresis(u, high=0.3, low=0.5)


@pytest.mark.parametrize("shape", [(50, 60), (12, 13, 14)])
@pytest.mark.parametrize("size", [0, 1, 2, 9, 30, 10_000])
def test_small_pieces_are_dropped_as_by_scikit_image(shape: tuple[int, ...], size: int) -> None:
    mask = smooth_map(*shape, scale=1.0) > 0.62
    expected = remove_small_objects(mask, max_size=size - 1, connectivity=mask.ndim) if size > 1 else mask
    assert np.array_equal(drop_small(mask, size), expected)


def test_the_rules_are_what_they_say() -> None:
    u = smooth_map(40, 50)
    settings = Mending(iterations=20, smallest=12, coherence=1.0)
    orientation = structure_orientation(u)
    diffused = diffuse(u, orientation.direction, settings=settings, strength=orientation.coherence)
    expected = {
        "threshold": (u, u > 0.5),
        "hysteresis": (u, hysteresis(u)),
        "anisotropic": (diffused, diffused > 0.5),
        "both": (diffused, hysteresis(diffused)),
        "closing": (u, ndimage.binary_closing(np.pad(u > 0.5, 9), disk(3))[9:-9, 9:-9]),
    }
    assert expected.keys() == RULES.keys()
    for rule, (map_, mask) in expected.items():
        found = mend(np.stack([u, u[::-1]]), settings.model_copy(update={"rule": rule}), spatial_dims=2)
        assert np.array_equal(found.map[0], map_)
        assert np.array_equal(found.mask[0], drop_small(mask, 12))
        assert found.map.dtype == np.float32
        assert found.map.shape == found.mask.shape == (2, 40, 50)


def test_known_directions_are_used_and_volumes_are_mended_too() -> None:
    u = np.full((1, 11, 11, 40), 0.02, np.float32)
    u[:, 4:7, 4:7] = 0.95
    u[:, 4:7, 4:7, 19:21] = 0.3
    v = np.zeros((3, 11, 11, 40))
    v[2] = 1
    for direction in (v, None):
        mended = mend(u, Mending(iterations=20), direction=direction)
        assert components(u[0] > 0.5) == 2
        assert components(mended.mask[0]) == 1
    v[:] = [[[[0.0]]], [[[1.0]]], [[[0.0]]]]
    assert components(mend(u, Mending(iterations=20), direction=v).mask[0]) == 2


def test_the_logit_sees_the_direction_of_a_faint_vessel_beside_a_bright_one() -> None:
    u = np.full((1, 40, 40), 0.001, np.float32)
    u[0, :, 10:13] = 0.95  # a bright vessel down, and a faint one across that ends beside it
    u[0, 19:22, 16:] = 0.2
    angles = []
    for tensor in ("probability", "logit"):
        mended = mend(u, Mending(tensor=tensor, iterations=40, rho=3.0))
        angles.append(float(mended.map[0, 20, 14]))
    assert angles[1] > angles[0]


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        (np.zeros((5, 5)), "expected probability maps"),
        (np.zeros((0, 5, 5)), "expected probability maps"),
        (np.full((1, 5, 5), 1.5), "values from 1.5 to 1.5; expected probabilities in"),
        (np.full((1, 5, 5), -3.0), "expected probabilities in"),
        (np.full((1, 5, 5), np.nan), "not numbers"),
        (np.eye(5)[None], "mask of zeros and ones"),
        (np.eye(5, dtype=np.uint8)[None], "mask of zeros and ones"),
        (np.eye(5)[None] * 255, "values from 0 to 255"),
    ],
)
def test_what_is_not_a_probability_map_is_refused_in_a_sentence(maps: NDArray[np.generic], said: str) -> None:
    with pytest.raises(DataError, match=said):
        mend(maps, Mending())


def test_maps_that_say_nothing_are_mended_to_nothing() -> None:
    for value in (0.0, 0.2):
        mended = mend(np.full((1, 9, 9), value), Mending(rule="both"))
        assert not mended.mask.any()
        assert np.array_equal(mended.map, np.full((1, 9, 9), np.float32(value)))


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"low threshold 0\.6 is above the high one 0\.5"):
        Mending(low=0.6)
    with pytest.raises(SettingsError, match="unstable"):
        mend(smooth_map(8, 9)[None], Mending(step=0.5))
    with pytest.raises(SettingsError, match=r"0\.309"):
        mend(smooth_map(8, 9, 10)[None], Mending(step=0.4))
    with pytest.raises(DataError, match="directions have shape"):
        mend(smooth_map(8, 9)[None], Mending(), direction=np.zeros((2, 9, 8)))


def score(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Mapping[str, float]:
    shape = topology(mask, truth)
    overlap = confusion(mask, truth)
    return {
        "dice": overlap.dice, "dice_or_empty": overlap.dice_or_empty, "cldice": shape.cldice, "vca": shape.vca,
        "log_vca": shape.log_vca,
    }  # fmt: skip


def broken_vessels(count: int) -> Iterator[Example]:
    """Two straight vessels with faint stretches, and specks."""
    for number in range(count):
        draw = numpy_generator("broken", number)
        truth = np.zeros((64, 64), np.bool_)
        truth[18:21] = truth[:, 40:43] = True
        u = np.where(truth, 0.9, 0.02)
        for begin in draw.integers(0, 58, 6):
            u[18:21, begin : begin + 3] *= 0.3
            u[begin : begin + 3, 40:43] *= 0.3
        for _ in range(5):
            y, x = draw.integers(0, 62, 2)
            u[y : y + 2, x : x + 2] = 0.7
        yield Example(np.clip(ndimage.gaussian_filter(u, 0.5), 0, 1)[None], truth[None])


def dice(example: Example, settings: Mending) -> float:
    return score(mend(example.maps, settings).mask[0], example.truth[0])["dice"]


def test_a_gain_that_one_odd_case_carries_is_not_trusted() -> None:
    truth = np.zeros((1, 9, 30), np.bool_)
    truth[0, 3:6] = True
    faint, sure = np.where(truth, 0.4, 0.1), np.where(truth, 0.6, 0.1)
    sure[0, 0, :2] = 0.4  # beside nothing: only a lower threshold takes it in
    lower = Mending(rule="threshold", high=0.35, low=0.3)

    def row(examples: list[NDArray[np.floating]]) -> tuple[float, bool]:
        table = choose([lower], [Example(each, truth) for each in examples], score=score).table
        return table[1].scores["dice"] - table[0].scores["dice"], table[1].admissible

    assert row([faint]) == (1, True)
    gain, admissible = row([faint, sure, sure])
    assert gain > 0.3
    assert not admissible
    assert row([faint, faint, sure])[1]


def test_the_choice_is_the_best_admissible_row_and_repeats() -> None:
    grid = [
        Mending(rule=rule, iterations=iterations, coherence=coherence, smallest=smallest)
        for rule in ("anisotropic", "both")
        for coherence in (0.0, 1.0)
        for iterations in (30, 10, 1000)
        for smallest in (0, 10)
    ]
    examples = list(broken_vessels(3))
    choice = choose(grid, examples, score=score)
    assert choice == choose(grid, iter(examples), score=score)
    assert [row.settings for row in choice.table] == [UNMENDED, *grid]
    for row in choice.table:
        gains = [dice(each, row.settings) - dice(each, UNMENDED) for each in examples]
        without = [np.mean(np.delete(gains, number)) for number in range(3)]
        assert row.admissible == (min(np.mean(gains), *without) >= 0)
        scores = row.scores
        assert row.value == pytest.approx(scores["dice"] + scores["cldice"] - 0.01 * scores["log_vca"])
    best = max(row.value for row in choice.table if row.admissible)
    assert next(row.value for row in choice.table if row.settings == choice.settings) == best
    assert not all(row.admissible for row in choice.table)  # 1000 steps flood


def test_every_row_of_the_table_is_what_mending_with_its_settings_gives() -> None:
    grid = [
        *(Mending(rule="anisotropic", iterations=n, tensor=t) for n in (20, 5) for t in ("logit", "probability")),
        Mending(rule="both", iterations=10, coherence=2, high=0.7, low=0.4, smallest=20),
        Mending(rule="hysteresis"),
    ]
    examples = list(broken_vessels(2))
    for row in choose(grid, examples, score=score).table:
        scores = [score(mend(each.maps, row.settings).mask[0], each.truth[0]) for each in examples]
        for name, value in row.scores.items():
            assert value == pytest.approx(np.mean([each[name] for each in scores]))


def test_mending_chosen_on_some_vessels_mends_others() -> None:
    examples = list(broken_vessels(6))
    choice = choose(candidates("both"), examples[:3], score=score)
    before = [score(mend(each.maps, UNMENDED).mask[0], each.truth[0]) for each in examples[3:]]
    after = [score(mend(each.maps, choice.settings).mask[0], each.truth[0]) for each in examples[3:]]
    assert np.mean([each["dice"] for each in after]) > np.mean([each["dice"] for each in before])
    assert np.mean([each["cldice"] for each in after]) > np.mean([each["cldice"] for each in before]) + 0.02
    assert np.mean([each["log_vca"] for each in after]) < 0.5 * np.mean([each["log_vca"] for each in before])


def test_nothing_is_mended_if_nothing_tried_is_admissible() -> None:
    example = next(broken_vessels(1))
    assert choose([Mending(iterations=3000)], [example], score=score).settings == UNMENDED


def test_a_choice_needs_cases_and_truths_that_fit_and_a_rule_that_exists() -> None:
    with pytest.raises(DataError, match="no validation cases"):
        choose([Mending()], [], score=score)
    with pytest.raises(DataError, match="truth has shape"):
        choose([Mending()], [Example(np.full((1, 5, 5), 0.3), np.zeros((5, 5), np.bool_))], score=score)
    with pytest.raises(SettingsError, match="no rule 'glue'"):
        candidates("glue")
    assert {settings.rule for settings in candidates()} == set(RULES) - {"closing"}
    assert {settings.radius for settings in candidates("closing")} == {1, 2, 3, 5, 8}
    assert {settings.rule for settings in candidates("hysteresis")} == {"hysteresis"}


def test_diffusion_settings_out_of_range_are_refused() -> None:
    for changes in ({"iterations": -1}, {"step": 0}, {"parallel": -1}, {"integrator": "leapfrog"}, {"speed": 3}):
        with pytest.raises(ValidationError):
            Diffusion(**changes)
