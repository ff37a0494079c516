"""What is computed piece by piece is what numpy computes of the whole, and takes no copy of it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scantling.core import pieces
from scantling.core.case import Address, Geometry, Labels
from scantling.data import duplicates
from scantling.data.duplicates import looks
from scantling.data.examination import _background
from scantling.data.formats.common import GREY, Picture
from scantling.data.labels import encode, region_of
from scantling.data.mask_colours import label_map, numbers
from scantling.data.mask_values import ValueCounts, grey_peaks
from scantling.data.moments import Moments
from scantling.data.traits import class_pixels
from scantling.evaluation.scores import marked_share
from scantling.inference.writing import write_mask
from scantling.metrics.distance import surface_distances

CLASSES = Labels(names=("a", "b"), values=((3,), (200,)))
WHERE = Address(Path(__file__))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few values, so that small arrays have many."""
    monkeypatch.setattr(pieces, "AT_ONCE", 7)


def drawn(*shape: int, high: int = 256) -> np.ndarray:
    return np.random.default_rng(3).integers(0, high, shape)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("values", [(0,), (-3, 4), (1, 2, 3, 250), tuple(range(-20, 300))])
def test_counts_are_those_of_unique(values: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).choice(values, (9, 31)).astype(np.int32)
    counts = pieces.value_counts(array, low=-20, high=300)
    found, expected = np.unique(array, return_counts=True)
    assert np.array_equal(np.flatnonzero(counts) - 20, found)
    assert np.array_equal(counts[counts > 0], expected)


@pytest.mark.usefixtures("small")
def test_a_lookup_is_an_index() -> None:
    table, indices = drawn(256).astype(np.uint16), drawn(3, 5, 7).astype(np.uint8)
    assert np.array_equal(pieces.lookup(table, indices), table[indices])
    assert pieces.lookup(table, indices[:0]).shape == (0, 5, 7)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (40, 2, 9)])
def test_slabs_and_pieces_cover_everything_once(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    assert np.concatenate([array[slab] for slab in pieces.slabs(shape)]).tolist() == array.tolist()
    assert np.concatenate([*pieces.pieces(array)]).tolist() == array.ravel().tolist()


def test_masks_and_images_mean_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.clip(np.kron(drawn(8, 8, high=2), np.ones((9, 9))) * 255 + drawn(72, 72, high=9) - 4, 0, 255)
    grey = np.where(drawn(72, 72, high=3) > 0, np.where(grey > 127, 255, 0), grey).astype(np.int32)
    nearest = Labels(names=("a",), values=((255,),), others="nearest")
    objects = Labels(names=("object",), values=((255,),), others="object")
    overlapping = Labels(names=("a", "b"), values=((0, 3), (3, 255)), background=(), others="background")
    colours = drawn(3, 72, 72, high=3).astype(np.uint8) * 127

    def everything() -> list[object]:
        return [
            *(encode(grey, labels, WHERE).tolist() for labels in (nearest, objects, overlapping)),
            grey_peaks([grey, grey.T]),
            numbers(colours, ("red", "green", "blue")),
            marked_share(drawn(2, 9, 9, high=2), np.where(drawn(2, 9, 9) > 200, 255, 0), drawn(9, 9, high=2)),
        ]

    whole = everything()
    monkeypatch.setattr(pieces, "AT_ONCE", 100)
    for one, other in zip(whole, everything(), strict=True):
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def test_moments_in_pieces_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    values = drawn(1000).astype(np.uint8)
    monkeypatch.setattr("scantling.data.moments.LARGE", 10)
    monkeypatch.setattr(pieces, "AT_ONCE", 64)
    found = Moments.of(values, 3)
    assert (found.count, found.low, found.high) == (1000, values.min(), values.max())
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.deviation == pytest.approx(np.square(values - values.mean()).sum(), rel=1e-12)
    assert np.array_equal(found.values[0], values[::3])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_image_looks_like_itself(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = drawn(channels, 300, 200).astype(np.uint8)
    geometry = Geometry(shape=(300, 200), spacing=(1.0, 1.0))
    whole = looks(image, geometry)
    monkeypatch.setattr(duplicates, "LARGE", 10)
    monkeypatch.setattr(pieces, "AT_ONCE", 1000)
    for same in (image, image.astype(np.uint16), image.astype(np.float32)):
        pieced = looks(same, geometry)
        assert whole is not None
        assert pieced is not None
        assert pieced.pixels == whole.pixels
        np.testing.assert_allclose(pieced.detail, whole.detail, atol=1e-4)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_distances_between_borders_of_large_masks_are_those_of_the_transform(
    spacing: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns = np.mgrid[:60, :80]
    one, other = (rows - 30) ** 2 + (columns - 40) ** 2 < 200, (rows - 25) ** 2 + 2 * (columns - 45) ** 2 < 300
    whole = surface_distances(one, other, spacing=spacing)
    monkeypatch.setattr("scantling.metrics.distance.LARGE", 0)
    tree = surface_distances(one, other, spacing=spacing)
    np.testing.assert_allclose(tree.from_prediction, whole.from_prediction)
    np.testing.assert_allclose(tree.from_truth, whole.from_truth)


SIDE = 4096
MASK = np.kron(np.array([[0, 3], [200, 0]], np.uint8), np.ones((SIDE // 2, SIDE // 2), np.uint8))
NUMBERS = np.kron(np.array([[0, 1], [2, 0]], np.uint8), np.ones((SIDE // 2, SIDE // 2), np.uint8))
FLAT = Geometry(shape=(SIDE, SIDE), spacing=(1.0, 1.0))


@pytest.mark.parametrize(
    ("work", "bytes_a_pixel"),
    [
        (lambda folder: ValueCounts.of(MASK), 0),
        (lambda folder: encode(MASK, CLASSES, WHERE), 1),
        (lambda folder: region_of(MASK, WHERE), 1),
        (lambda folder: class_pixels(NUMBERS[None], CLASSES), 0),
        (lambda folder: _background(NUMBERS[None]), 1),
        (lambda folder: label_map(Picture(MASK[None], FLAT, GREY), WHERE), 4),
        (lambda folder: label_map(Picture(MASK[None].astype(np.float32), FLAT, GREY), WHERE), 12),
        (lambda folder: looks(MASK[None], FLAT), 0),
        (lambda folder: marked_share(NUMBERS[None], NUMBERS[None], None), 0),
        (lambda folder: write_mask(folder, "a", NUMBERS, FLAT, CLASSES), 1),
    ],
)
def test_a_large_mask_takes_few_bytes_a_pixel(
    work: Callable[[Path], object], bytes_a_pixel: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(duplicates, "LARGE", 10)
    work(tmp_path)
    tracemalloc.start()
    try:
        work(tmp_path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most <= (bytes_a_pixel + 1) * SIDE**2 + (24 << 20)  # a piece in numbers of 8 bytes, thrice
