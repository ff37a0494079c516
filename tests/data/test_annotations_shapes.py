"""Polygons, ellipses and run lengths cover the pixels that other libraries give them."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import ellipse as skimage_ellipse
from skimage.draw import polygon as skimage_polygon

from scantling.data.annotations.coco import uncompressed
from scantling.data.annotations.shapes import Polygon, Runs, covered, ellipse, ring, runs

SHAPE = (61, 83)
old_numpy_protocol = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""Of pycocotools."""


def painted(area: Polygon | Runs, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    drawn = np.zeros(shape, bool)
    place, inside = covered(area, shape)
    drawn[place] = inside
    return drawn


def blob(generator: np.random.Generator) -> np.ndarray:
    """A ring of 3 to 40 corners around a centre that may lie close to the border."""
    angles = np.sort(generator.uniform(0, 2 * np.pi, generator.integers(3, 41)))
    radius = generator.uniform(8, 30, len(angles))
    centre = generator.uniform((0, 0), SHAPE[::-1])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None] + centre


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


@old_numpy_protocol
def test_polygons_cover_the_pixels_that_pycocotools_gives_them_within_one_pixel_of_the_border() -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    generator, overlaps = np.random.default_rng(0), []
    for _ in range(100):
        points = np.clip(blob(generator), 0, SHAPE[::-1])
        theirs = coco.decode(coco.merge(coco.frPyObjects([points.ravel().tolist()], *SHAPE))).astype(bool)
        ours = painted(Polygon((points,)))
        along = np.linspace(0, 1, 200)[:, None, None]
        border = (points + along * (np.roll(points, -1, axis=0) - points)).reshape(-1, 2)
        centres = np.argwhere(ours != theirs)[:, ::-1] + 0.5
        assert (np.linalg.norm(centres[:, None] - border, axis=2).min(axis=1) < 1).all()
        overlaps += [iou(ours, theirs)]
    assert np.mean(overlaps) > 0.98


def test_polygons_cover_exactly_the_pixel_centres_that_skimage_finds_inside() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        points = blob(generator)  # corners at random: no centre lies on an edge
        wanted = np.zeros(SHAPE, bool)
        wanted[skimage_polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, SHAPE)] = True
        np.testing.assert_array_equal(painted(Polygon((points,))), wanted)


def test_a_rectangle_covers_its_area_and_neighbours_share_no_pixel() -> None:
    left, right = (np.array([[x, 2], [x + 5, 2], [x + 5, 6], [x, 6]], float) for x in (3, 8))
    one, other = painted(Polygon((left,))), painted(Polygon((right,)))
    assert one[2:6, 3:8].all()
    assert one.sum() == other.sum() == 20
    assert not (one & other).any()


def test_a_hole_is_not_covered_whichever_way_round_it_is_drawn() -> None:
    outer, hole = (np.array([[a, a], [b, a], [b, b], [a, b]], float) for a, b in ((2, 20), (8, 12)))
    for inner in (hole, hole[::-1]):
        drawn = painted(Polygon((outer, inner)))
        assert drawn.sum() == 18**2 - 4**2
        assert not drawn[8:12, 8:12].any()


@pytest.mark.parametrize("turned", [0.0, 30.0, 90.0, -45.0])
def test_an_ellipse_is_that_of_skimage(turned: float) -> None:
    wanted = np.zeros(SHAPE, bool)
    wanted[skimage_ellipse(29.5, 39.5, 12, 25, SHAPE, rotation=-np.deg2rad(turned))] = True
    assert iou(painted(ellipse((40, 30), (25, 12), turned=turned)), wanted) > 0.98


def test_what_lies_outside_of_the_image_is_cut_off() -> None:
    everywhere = np.array([[-1e6, -1e6], [1e6, -1e6], [1e6, 1e6], [-1e6, 1e6]])
    assert painted(Polygon((everywhere,))).all()
    assert not painted(Polygon((everywhere / 1e6 - 50,))).any()
    assert not painted(Polygon((everywhere / 1e6 + 500,))).any()
    assert painted(runs([0, 16], (4, 4), corner=(-2, -3), by_columns=False)).sum() == 2
    assert painted(runs([0, 16], (4, 4), corner=(59, 82), by_columns=False)).sum() == 2
    assert not painted(runs([0, 16], (4, 4), corner=(70, -9), by_columns=False)).any()


@old_numpy_protocol
def test_compressed_run_lengths_are_those_of_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    generator = np.random.default_rng(2)
    for density in (0.0, 0.01, 0.5, 1.0):
        mask = (generator.random((300, 200)) < density).astype(np.uint8)
        text = coco.encode(np.asfortranarray(mask))["counts"].decode()
        np.testing.assert_array_equal(painted(runs(uncompressed(text), mask.shape, by_columns=True), mask.shape), mask)


@pytest.mark.parametrize("lengths", [[10**18], [5, -1], [4, 4], [], [3, 10**9, -(10**9), 13]])
def test_run_lengths_that_do_not_fill_the_window_are_refused_before_they_are_unpacked(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        runs(lengths, (4, 4), by_columns=True)


@pytest.mark.parametrize("text", ["é", "o" * 40, "0o", "\x00"])
def test_text_that_is_no_compressed_run_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        uncompressed(text)


def test_corners_that_enclose_nothing_are_no_ring_and_wild_ones_an_error() -> None:
    assert ring([0, 0, 5, 5]) is None
    assert ring([0, 0, 5, 5, 0, 0]) is None
    for wild in ([0, 0, 1e9, 1, 2, 2], [0, 0, float("nan"), 1, 2, 2], ["a", 1, 2, 3], [1, 2, 3], [[1], [2, 3]]):
        with pytest.raises(ValueError):  # noqa: PT011
            ring(wild)


def test_a_border_that_crosses_too_many_rows_is_refused() -> None:
    zigzag = np.array([[number % 7, (number % 2) * 30000] for number in range(3000)], float)
    with pytest.raises(ValueError, match="crosses"):
        painted(Polygon((zigzag,)), (30000, 10))
