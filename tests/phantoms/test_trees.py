"""Trees: Murray's law at every fork, exact centre lines and radii, and what becomes of them on a grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from scantling.core.errors import SettingsError
from scantling.core.randomness import numpy_generator
from scantling.metrics.topology import betti_numbers
from scantling.phantoms.forest import Forest, tree_vessels
from scantling.phantoms.raster import draw, path_lengths
from scantling.phantoms.trees import Growth, Tree, _angles, _fork, grow_tree


def generator(seed: int = 0) -> np.random.Generator:
    return numpy_generator(seed, "test trees")


def grown(shape: tuple[int, ...], seed: int = 0, growth: Growth = Growth()) -> Tree:  # noqa: B008
    root, direction = np.array(shape) / 2.0, np.eye(len(shape))[-1]
    root[-1] = 2.0
    return grow_tree(
        np.ones(shape, bool), root, direction=direction, radius=4.0, generator=generator(seed), growth=growth
    )


def line(points: list[tuple[float, ...]], radii: list[float]) -> Tree:
    return Tree(np.array(points, float), np.array(radii, float), np.array([0, len(points)]), np.array([-1]))


@pytest.mark.parametrize("share", [0.08, 0.25, 0.5])
def test_forks_keep_the_flow_and_balance_the_pull_of_their_branches(share: float) -> None:
    larger, smaller = _fork(2.0, share=share)
    assert larger**3 + smaller**3 == pytest.approx(2.0**3)
    turn, other = _angles(2.0, larger, smaller)
    # Least work: each vessel pulls the fork with a force in proportion to its cross-section.
    assert larger**2 * math.cos(turn) + smaller**2 * math.cos(other) == pytest.approx(2.0**2)
    assert larger**2 * math.sin(turn) == pytest.approx(smaller**2 * math.sin(other))


@pytest.mark.parametrize("shape", [(300, 400), (90, 100, 110)])
@pytest.mark.parametrize("room", [0.0, 10.0])
def test_murrays_law_holds_at_every_fork_of_a_grown_tree(shape: tuple[int, ...], room: float) -> None:
    tree = grown(shape, growth=Growth(finest=0.5, room=room))
    first, last = tree.starts[:-1], tree.starts[1:] - 1
    forks = 0
    for parent in range(len(tree.parents)):
        children = np.flatnonzero(tree.parents == parent)
        assert len(children) <= 2
        for child in children:
            assert np.array_equal(tree.points[first[child]], tree.points[last[parent]])
        if len(children) < 2 or (tree.starts[children + 1] - first[children] < 2).any():
            continue
        forks += 1
        radius, arms = tree.radii[last[parent]], tree.radii[first[children]]
        assert np.sum(arms**3) == pytest.approx(radius**3)
        ways = [tree.points[first[child] + 1] - tree.points[first[child]] for child in children]
        between = math.acos(np.clip(ways[0] @ ways[1] / np.prod(np.linalg.norm(ways, axis=1)), -1, 1))
        # Half a pixel after the fork the curvature has turned each arm by no more than a few degrees.
        assert between == pytest.approx(sum(_angles(radius, arms.max(), arms.min())), abs=0.25)
    assert forks > 5


@pytest.mark.parametrize("shape", [(300, 400), (90, 100, 110)])
def test_branches_are_dense_polylines_within_the_region_that_taper_to_the_finest_radius(shape: tuple[int, ...]) -> None:
    tree = grown(shape, growth=Growth(taper=0.002))
    assert tree.parents[0] == -1
    assert (tree.parents[1:] >= 0).all()
    assert (tree.parents < np.arange(len(tree.parents))).all()
    assert tree.starts[-1] == len(tree.points) == len(tree.radii)
    assert tree.radii.max() == 4.0
    assert tree.radii.min() >= 0.75
    assert ((tree.points >= -0.5) & (tree.points <= np.array(shape) - 0.5)).all()
    for start, stop in zip(tree.starts[:-1], tree.starts[1:], strict=True):
        steps = np.linalg.norm(np.diff(tree.points[start:stop], axis=0), axis=1)
        assert steps == pytest.approx(np.full(stop - start - 1, 0.5))
        assert tree.radii[start + 1 : stop] == pytest.approx(tree.radii[start : stop - 1] * 0.999)


def test_without_wandering_a_trunk_is_an_arc_with_the_curvature_asked_for() -> None:
    still = Growth(tortuosity=0.0, least=400.0, taper=0.0)
    tree = grow_tree(
        np.ones((300, 300), bool), (50.0, 20.0), direction=(0.0, 1.0), radius=3.0, generator=generator(), bend=0.01,
        growth=still,
    )  # fmt: skip
    trunk = tree.points[: tree.starts[1]]
    away = np.linalg.norm(trunk - [150.0, 20.0], axis=1)  # from columns towards rows, on a radius of 1 / 0.01
    assert away == pytest.approx(np.full(len(trunk), 100.0), abs=0.3)


def test_with_room_branches_keep_to_themselves() -> None:
    crowded, roomy = (grown((300, 400), growth=Growth(room=room, finest=0.5)) for room in (0.0, 12.0))
    pieces = [betti_numbers(draw([tree], (300, 400), thinnest=math.sqrt(0.5)).mask) for tree in (crowded, roomy)]
    assert pieces[0][0] == pieces[1][0] == 1
    assert pieces[1][1] < pieces[0][1] / 2


def test_a_tree_ends_where_its_region_does_and_a_root_outside_grows_nothing() -> None:
    region = np.zeros((120, 90), bool)
    region[:, :50] = True
    tree = grow_tree(region, (60.0, 10.0), direction=(0.0, 1.0), radius=3.0, generator=generator())
    assert (tree.points[:, 1] <= 49.5).all()
    nothing = grow_tree(region, (60.0, 70.0), direction=(0.0, 1.0), radius=3.0, generator=generator())
    assert nothing.points.shape == (0, 2)
    assert nothing.radii.shape == nothing.parents.shape == (0,)
    assert nothing.starts.tolist() == [0]


@pytest.mark.parametrize("shape", [(61, 47), (23, 31, 29)])
def test_a_raster_is_the_union_of_capsules(shape: tuple[int, ...]) -> None:
    made = generator(4)
    tree = line([tuple(made.uniform(0, np.array(shape))) for _ in range(5)], list(made.uniform(1, 5, 5)))
    raster = draw([tree], shape, margin=2.0)
    pixels = np.moveaxis(np.indices(shape), 0, -1).astype(float)
    depth = np.full(shape, -np.inf)
    for (p, q), (r, s) in zip(
        zip(tree.points[1:], tree.points, strict=False), zip(tree.radii[1:], tree.radii, strict=False), strict=True
    ):
        along = np.clip((pixels - p) @ (q - p) / ((q - p) @ (q - p)), 0, 1)[..., None]
        depth = np.maximum(depth, r + along[..., 0] * (s - r) - np.linalg.norm(pixels - p - along * (q - p), axis=-1))
    near = depth >= -2.0 + 1e-4
    assert raster.depth[near] == pytest.approx(depth[near], abs=1e-4)
    assert np.isneginf(raster.depth[depth < -2.0 - 1e-4]).all()
    clear = np.abs(depth) > 1e-4
    assert np.array_equal(raster.mask[clear], (depth >= 0)[clear])


def test_a_straight_bar_has_its_radius_in_every_pixel() -> None:
    raster = draw([line([(20.0, 5.0), (20.0, 30.0)], [3.0, 3.0])], (41, 36), margin=5.0)
    assert raster.mask[:, 15].sum() == 7
    assert (raster.radius[raster.mask] == 3.0).all()
    assert raster.depth[20, 15] == 3.0
    assert raster.depth[25, 15] == -2.0


@pytest.mark.parametrize("shape", [(128, 128), (101, 157), (64, 65, 66)])
def test_vessels_hold_their_centre_lines_and_have_no_more_pieces_than_trees(shape: tuple[int, ...]) -> None:
    for seed in range(6):
        vessels = tree_vessels(shape, generator=generator(seed), forest=Forest(trees=(1, 3)))
        assert 1 <= len(vessels.trees) <= 3
        raster = vessels.raster
        assert raster.mask.shape == shape
        assert raster.mask[raster.centre_line].all()
        assert 1 <= betti_numbers(raster.mask)[0] <= len(vessels.trees)
        assert ndimage.label(raster.centre_line, np.ones((3,) * len(shape)))[1] <= len(vessels.trees)
        assert 0.0 < raster.mask.mean() < 0.4


def test_vessels_repeat_with_their_seed_and_vary_without() -> None:
    first, again, other = (tree_vessels((96, 120), generator=generator(seed)).raster.mask for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rays_add_up_the_vessels_that_they_meet() -> None:
    def rod(*ends: tuple[float, ...], radius: float) -> Tree:
        steps = np.linspace(0, 1, 161)[:, None]
        points = np.array(ends[0]) * (1 - steps) + np.array(ends[1]) * steps
        return line([tuple(each) for each in points], [radius] * 161)

    across = rod((10.0, 20.0, 0.0), (10.0, 20.0, 40.0), radius=5.0)
    paths = path_lengths(across, (41, 41))
    for offset in range(5):
        chord = 2 * math.sqrt(25.25 - offset**2) * 25 / 25.25
        assert paths[20 + offset, 20] == pytest.approx(chord, rel=1e-3)
    assert paths[26, 20] == 0
    assert paths[:, 20].sum() == pytest.approx(math.pi * 25, rel=0.02)  # the area of the cross-section
    thin = path_lengths(rod((10.0, 20.3, 0.0), (10.0, 20.3, 40.0), radius=0.5), (41, 41))
    assert thin[:, 20].sum() == pytest.approx(math.pi / 4, rel=0.25)
    deep = Tree(
        np.concatenate([across.points, rod((30.0, 0.0, 20.0), (30.0, 40.0, 20.0), radius=3.0).points]),
        np.concatenate([across.radii, np.full(161, 3.0)]),
        np.array([0, 161, 322]),
        np.array([-1, 0]),
    )
    both = path_lengths(deep, (41, 41))
    assert both[20, 20] == pytest.approx(paths[20, 20] + both[5, 20], rel=1e-3)
    along = path_lengths(rod((5.0, 20.0, 20.0), (25.0, 20.0, 20.0), radius=3.0), (41, 41))
    assert along[20, 20] == pytest.approx(20 + 2 * 3 * 3 / math.sqrt(9.25), rel=0.02)


def test_impossible_forests_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"trees are \(0, 2\)"):
        Forest(trees=(0, 2))
    with pytest.raises(SettingsError, match="finest"):
        Forest(finest=20.0)
    with pytest.raises(SettingsError, match="6 x 40 pixels is too small"):
        tree_vessels((6, 40), generator=generator())


def test_a_wire_is_one_branch_and_what_forks_needs_an_end() -> None:
    wire = grown((200, 200), growth=Growth(finest=0.0, reach=0.0, least=40.0, forks=False))
    assert len(wire.parents) == 1
    with pytest.raises(SettingsError, match="finest: found 0"):
        grown((200, 200), growth=Growth(finest=0.0))
