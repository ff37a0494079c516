"""Weak labels as an annotator would draw them, made by rule from masks: strokes, centre lines, boxes and points.

All of it is ours, but the skeleton of an eroded region as a stroke (Valvano, Leo, Tsaftaris, 2021, and the generator of
Luo et al., 2022). Label maps are (*S) of class numbers with the background as 0 and `IGNORE` where nothing is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path
from scipy.spatial import cKDTree

from scantling.core.case import Sample
from scantling.core.fields import IGNORE, drawn_field
from scantling.metrics.arrays import bounding_box
from scantling.metrics.topology import skeleton

Bool = NDArray[np.bool_]
EFFORT = ("pixels", "strokes")
HAND = 4.0
"""Pixels of the Gaussian over which a hand that is not steady goes astray in one direction."""
MOST_POINTS = 2000
"""Of a longer skeleton every n-th pixel is looked at to find its longest path."""


def scribbles_of(
    labels: np.ndarray, *, generator: np.random.Generator, eroded: float, broken: float, least: int
) -> tuple[np.ndarray, int]:
    """One stroke inside each object of a plane, and one around the objects for the background.

    A stroke is the longest path along the skeleton of an object that was eroded by a random part of its radius, or in a
    round object along a ring between its border and its middle, without a random part of its ends. Around the objects
    it runs at a random distance, of half to one and a half times the largest radius; where there is no object, it is
    the middle line of the plane.

    Args:
        labels: (H, W).
        eroded: the greatest share of the radius that is eroded.
        broken: the greatest share of a stroke that is left out.
        least: pixels of the smallest object that is marked.

    Returns:
        (H, W), `IGNORE` where nothing was drawn, and how many strokes there are.
    """
    drawn, strokes = np.full(labels.shape, IGNORE, np.uint8), 0
    widest = 0.0
    for value, region in _objects(labels):
        box = bounding_box(region)
        if box is None:
            continue
        distance = ndimage.distance_transform_edt(np.pad(region[box], 1))[1:-1, 1:-1]
        widest = max(widest, float(distance.max()))
        if np.count_nonzero(region) < least:
            continue
        inner = distance > generator.uniform(0, eroded) * distance.max()
        line = skeleton(inner)
        if np.count_nonzero(line) < 2 * distance.max():  # a round object, whose skeleton is but a dot
            line = np.abs(distance - generator.uniform(0.3, 0.7) * distance.max()) <= 0.7
        drawn[box][stroke(line & region[box], generator=generator, broken=broken)] = value
        strokes += 1
    line = stroke(_around(labels, widest, generator), generator=generator, broken=broken)
    if line.any():
        drawn[line] = 0
        strokes += 1
    return drawn, strokes


def _around(labels: np.ndarray, radius: float, generator: np.random.Generator) -> Bool:
    """A line (H, W) of the background around all objects; its middle line where there is none."""
    background = labels == 0
    if not radius:
        line = np.zeros(labels.shape, bool)
        line[labels.shape[0] // 2] = True
        return line & background
    distance = ndimage.distance_transform_edt((labels == 0) | (labels == IGNORE))
    most = float(distance[background].max(initial=0))
    away = min(generator.uniform(0.5, 1.5) * max(radius, 2.0), 0.5 * most) if most > 1 else most
    return np.asarray((np.abs(distance - max(away, 1.0)) <= 0.7) & background)


def stroke(line: Bool, *, generator: np.random.Generator, broken: float) -> Bool:
    """The longest path along a line (H, W), without a random part of its ends, `broken` of its length at most.

    A closed line is cut open at a random place.
    """
    places = np.argwhere(line)
    if len(places) < 3:
        return line
    every = -(-len(places) // MOST_POINTS)
    places = places[::every]
    first = int(generator.integers(len(places)))
    away = np.square(places - places[first]).sum(1)
    paths = [longest_path(places, reach=1.5 * every), longest_path(places[away > 9], reach=1.5 * every)]
    path = max(paths, key=len)
    kept = min(max(3, round(len(path) * (1 - generator.uniform(0, broken)))), len(path))
    begin = int(generator.integers(len(path) - kept + 1))
    found = np.zeros_like(line)
    found[tuple(path[begin : begin + kept].T)] = True
    return found


def longest_path(places: np.ndarray, *, reach: float) -> np.ndarray:
    """(n, 2) of places (N, 2) along the longest of the shortest paths from the first one's far end, step by step.

    Args:
        reach: the farthest that two places are from each other in a step.
    """
    if len(places) < 2:
        return places
    near = cKDTree(places).query_pairs(reach, output_type="ndarray")
    graph = coo_array((np.ones(len(near)), (near[:, 0], near[:, 1])), shape=(len(places),) * 2).tocsr()
    start = end = 0
    for _ in range(2):  # the farthest place from the farthest place
        away, before = shortest_path(graph, directed=False, unweighted=True, indices=end, return_predecessors=True)
        away[~np.isfinite(away)] = -1
        start, end = end, int(away.argmax())
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return np.asarray(places[path])


def centre_lines_of(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """The skeleton of each class (*S), and background farther from every line than the thickest object is wide.

    Returns:
        (*S), `IGNORE` where nothing was drawn, and how many lines there are that do not touch, and one for the width.
    """
    drawn, strokes, widest = np.full(labels.shape, IGNORE, np.uint8), 0, 0.0
    touching = np.ones((3,) * labels.ndim)
    for value in _classes(labels):
        region = labels == value
        line = skeleton(region, spatial_dims=labels.ndim)
        widest = max(widest, 2 * float(ndimage.distance_transform_edt(region)[line].max(initial=0)))
        drawn[line] = value
        strokes += int(ndimage.label(line, touching)[1])
    if strokes:
        far = ndimage.distance_transform_edt(drawn == IGNORE) > widest
        drawn[far & (labels == 0)] = 0
    else:
        drawn[labels == 0] = 0
    return drawn, strokes + 1


def unsteady(labels: np.ndarray, *, noise: float, generator: np.random.Generator) -> np.ndarray:
    """Labels (*S) as if a hand that is not steady had drawn them: shifted by a smooth random field.

    Args:
        noise: the deviation of the shift along each axis, in pixels.
    """
    if not noise:
        return labels
    places = list(np.indices(labels.shape, np.float64))
    for place in places:
        shift = ndimage.gaussian_filter(generator.standard_normal(labels.shape), HAND, mode="wrap")
        place += noise * shift / max(float(shift.std()), 1e-9)
    return np.asarray(ndimage.map_coordinates(labels, places, order=0, mode="nearest"))


def boxes_of(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, D, 2) where each object starts and stops along each axis, and (N,) its class from 0."""
    boxes, classes = [], []
    for value, region in _objects(labels):
        if (box := bounding_box(region)) is not None:
            boxes.append([[float(side.start), float(side.stop)] for side in box])
            classes.append(value - 1)
    return np.array(boxes).reshape(-1, labels.ndim, 2), np.array(classes, np.int64)


def boxes_of_layers(layers: Sequence[np.ndarray] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of a mask (1, *S) of class numbers, or (K, *S) of 0 and 1 where classes overlap."""
    found = [boxes_of(layer) for layer in layers]
    classes = [one + number * (len(found) > 1) for number, (_, one) in enumerate(found)]
    return np.concatenate([boxes for boxes, _ in found]), np.concatenate(classes)


def boxes_of_instances(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of a map (*S) of the numbers of objects, 0 background; all are of class 0."""
    windows = [window for window in ndimage.find_objects(numbers) if window is not None]
    boxes = np.array([[[side.start, side.stop] for side in window] for window in windows], np.float64)
    return boxes.reshape(-1, numbers.ndim, 2), np.zeros(len(windows), np.int64)


def points_of(labels: np.ndarray, *, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) a pixel of each object, at random among those at least half as deep inside as the deepest; (N,) its class
    from 0."""
    points, classes = [], []
    for value, region in _objects(labels):
        box = bounding_box(region)
        if box is None:
            continue
        distance = ndimage.distance_transform_edt(np.pad(region[box], 1))[(slice(1, -1),) * labels.ndim]
        deep = np.argwhere(distance >= 0.5 * distance.max())
        points.append(deep[int(generator.integers(len(deep)))] + [side.start for side in box])
        classes.append(value - 1)
    return np.array(points, np.float64).reshape(-1, labels.ndim), np.array(classes, np.int64)


def labels_effort(sample: Sample, words: Collection[str]) -> dict[str, int]:
    """The pixels and strokes behind the labels of a case that a hand has drawn, an estimate.

    A mask or an instance map takes the pixels on the borders of its objects, slice by slice, and a stroke for each
    object; a scribble its pixels and a stroke for each piece; a box two corners, a point one pixel.

    Args:
        words: the fields that are read; of several labels the one that counts (`drawn_field`), points first.
    """
    field = "points" if "points" in words else drawn_field(words)
    if field in ("boxes", "points"):
        rows = sample.boxes if field == "boxes" else sample.points
        strokes = 0 if rows is None else len(rows)
        return {"pixels": strokes * (2 if field == "boxes" else 1), "strokes": strokes}
    objects = None if sample.instances is None else sample.instances[None]
    array = {"scribbles": sample.scribbles, "instances": objects}.get(field, sample.mask)
    if array is None:
        return dict.fromkeys(EFFORT, 0)
    axis = None if array.ndim == 3 else sample.geometry.slice_axis
    planes = (plane for layer in array for plane in ([layer] if axis is None else np.moveaxis(layer, axis, 0)))
    effort = {"scribbles": stroke_effort, "instances": object_effort}.get(field, outline_effort)
    pairs = [effort(plane) for plane in planes]
    return dict(zip(EFFORT, map(sum, zip(*pairs, strict=True)), strict=True))


def stroke_effort(labels: np.ndarray) -> tuple[int, int]:
    """The pixels and the pieces of the strokes in a plane (H, W)."""
    drawn = [labels == value for value in np.unique(labels) if value != IGNORE]
    pieces = sum(int(ndimage.label(line, np.ones((3, 3)))[1]) for line in drawn)
    return int(sum(np.count_nonzero(line) for line in drawn)), pieces


def object_effort(numbers: np.ndarray) -> tuple[int, int]:
    """Pixels on the borders of the numbered objects of a plane (H, W), and how many objects there are."""
    padded = np.pad(numbers, 1)
    inner = padded[1:-1, 1:-1]
    ends = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    border = np.logical_or.reduce([inner != end for end in ends]) & (inner > 0)
    return int(np.count_nonzero(border)), int(np.count_nonzero(np.unique(numbers)))


def outline_effort(labels: np.ndarray) -> tuple[int, int]:
    """Pixels on the borders of the objects of a plane (H, W), which a hand follows to draw them, and their number."""
    pixels = strokes = 0
    for value in _classes(labels):
        region = labels == value  # neighbours of one class are of one object
        pixels += int(np.count_nonzero(region & ~ndimage.binary_erosion(np.pad(region, 1))[1:-1, 1:-1]))
        strokes += int(ndimage.label(region, np.ones((3, 3)))[1])
    return pixels, strokes


def _classes(labels: np.ndarray) -> list[int]:
    return [int(value) for value in np.unique(labels) if value not in (0, IGNORE)]


def _objects(labels: np.ndarray) -> Iterator[tuple[int, Bool]]:
    """The class number and the pixels of each object: pixels of a class that touch, at a corner too."""
    for value in _classes(labels):
        numbers, count = ndimage.label(labels == value, np.ones((3,) * labels.ndim))
        for number in range(1, count + 1):
            yield value, numbers == number
