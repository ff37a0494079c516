"""Anisotropic mending: the stencil against polynomials, both paths against a plain one, what holds for any map."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from scantling.core.errors import SettingsError
from scantling.core.randomness import numpy_generator
from scantling.mending.anisotropic import Diffusion, diffuse, diffuse_tensors
from scantling.mending.differentiable import change, derivative, transposed_derivative
from scantling.mending.hysteresis import hysteresis
from scantling.mending.orientation import structure_orientation
from scantling.mending.stencil import LARGEST_SQUARE, REAL_STABILITY, WEIGHTS, longest_step, symbol
from scantling.metrics.overlap import confusion
from scantling.metrics.topology import components

SHAPES = [(40, 33), (1, 7), (5, 1), (70, 18), (9, 10, 11), (1, 2, 3), (30, 3, 17)]
Array = NDArray[np.float64]


def directions(*shape: int) -> Array:
    v = numpy_generator("directions", *shape).standard_normal((len(shape), *shape))
    return v / np.linalg.norm(v, axis=0)


def map_(*shape: int) -> Array:
    return numpy_generator("map", *shape).random(shape) * 0.7


def smooth_map(*shape: int) -> Array:
    return np.clip(ndimage.gaussian_filter(numpy_generator("smooth", *shape).standard_normal(shape), 2) * 3, 0, 1)


def plainly(u: Array, v: Array, *, settings: Diffusion, strength: Array) -> Array:
    """The equation in float64, written down as it stands."""

    def slope(x: Array, axis: int) -> Array:
        wide = np.pad(x, [(4, 4) if each == axis else (0, 0) for each in range(x.ndim)], "edge")
        at = [np.take(wide, range(offset, offset + x.shape[axis]), axis) for offset in range(9)]
        return sum(weight * (at[4 + k] - at[4 - k]) for k, weight in enumerate(WEIGHTS, 1))

    def change(x: Array) -> Array:
        g = np.stack([slope(x, axis) for axis in range(x.ndim)])
        along = v * (v * g).sum(0)
        q = strength * (settings.parallel * along + settings.perpendicular * (g - along))
        total = sum(slope(q[axis], axis) for axis in range(x.ndim))
        return np.maximum(total, 0) if settings.rectified else total

    h = settings.step
    for _ in range(settings.iterations):
        k1 = change(u)
        if settings.integrator == "euler":
            u = np.clip(u + h * k1, 0, 1)
        else:
            k2 = change(u + h / 2 * k1)
            k3 = change(u + h / 2 * k2)
            k4 = change(u + h * k3)
            u = np.clip(u + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), 0, 1)
    return u


@pytest.mark.parametrize("degree", range(10))
def test_the_stencil_is_exact_to_degree_eight_and_wrong_at_nine(degree: int) -> None:
    x = torch.arange(-10, 11, dtype=torch.float64) / 4
    found = derivative((x**degree)[None, None], -1)[0, 0, 4:-4] * 4
    expected = degree * x[4:-4] ** (degree - 1) if degree else torch.zeros(13, dtype=torch.float64)
    error = float((found - expected).abs().max())
    assert (error < 1e-9 * 2.5**degree) == (degree <= 8)
    if degree == 9:  # the first term that is left: 9!/630 h^8, by Taylor
        assert error == pytest.approx(math.factorial(9) / 630 / 4**8, rel=1e-6)


def test_away_from_the_border_the_transposed_stencil_is_minus_the_stencil() -> None:
    x = torch.zeros(1, 1, 40, dtype=torch.float64)
    x[..., 8:-8] = torch.from_numpy(map_(24))
    assert torch.equal(transposed_derivative(x, -1), -derivative(x, -1))


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_the_transposed_stencil_is_the_transpose_of_the_stencil_border_included(n: int) -> None:
    basis = torch.eye(n, dtype=torch.float64)[:, None]
    matrix = derivative(basis, -1)[:, 0]
    assert torch.allclose(transposed_derivative(basis, -1)[:, 0], matrix.T, atol=1e-15)


def test_under_periodic_padding_gradient_and_divergence_are_minus_each_others_transpose() -> None:
    # <div q, u> = -<q, grad u> for the same stencil wrapped around.
    u, q = map_(24, 20), np.stack([map_(24, 20), smooth_map(24, 20)])

    def wrapped(x: Array, axis: int) -> Array:
        return sum(w * (np.roll(x, -k, axis) - np.roll(x, k, axis)) for k, w in enumerate(WEIGHTS, 1))

    padded = torch.from_numpy(np.pad(u, 4, "wrap"))[None, None]
    assert np.allclose(derivative(padded, -1)[0, 0, 4:-4, 4:-4].numpy(), wrapped(u, 1), atol=1e-15)
    divergence = sum(wrapped(q[axis], axis) for axis in (0, 1))
    gradient = [wrapped(u, axis) for axis in (0, 1)]
    assert (divergence * u).sum() == pytest.approx(-sum((q[axis] * gradient[axis]).sum() for axis in (0, 1)), rel=1e-12)


@pytest.mark.parametrize("integrator", ["rk4", "euler"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_compiled_and_the_torch_path_solve_the_equation_as_it_stands(
    shape: tuple[int, ...], integrator: str
) -> None:
    settings = Diffusion(iterations=5, perpendicular=0.2, integrator=integrator, rectified=shape != SHAPES[-3])
    u, v, strength = map_(*shape), directions(*shape), smooth_map(*shape)
    expected = plainly(u, v, settings=settings, strength=strength)
    compiled = diffuse(u, v, settings=settings, strength=strength)
    batch = [torch.from_numpy(each)[None] for each in (u[None], v, strength[None])]
    in_torch = diffuse_tensors(batch[0], batch[1], settings=settings, strength=batch[2])
    assert compiled.dtype == np.float32
    assert np.allclose(compiled, expected, atol=1e-6)
    assert np.allclose(in_torch[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(61, 50), (12, 13, 14)])
def test_without_the_rectifier_what_is_high_falls_and_nothing_is_lost(shape: tuple[int, ...]) -> None:
    settings = Diffusion(iterations=20, perpendicular=1.0, rectified=False)
    u = np.zeros(shape)
    u[tuple(n // 2 for n in shape)] = 0.8
    u = ndimage.gaussian_filter(u, 1.5)
    spread = diffuse(u, directions(*shape), settings=settings)
    assert spread.max() < 0.8 * u.max()
    assert spread.sum() == pytest.approx(u.sum(), rel=0.1), "but for what is cut at 0"
    expected = plainly(u, directions(*shape), settings=settings, strength=np.ones(shape))
    assert np.allclose(spread, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(61, 50), (12, 13, 14)])
def test_the_two_paths_agree_after_many_steps(shape: tuple[int, ...]) -> None:
    settings = Diffusion(iterations=60)
    u, v = smooth_map(*shape).astype(np.float32), directions(*shape).astype(np.float32)
    in_torch = diffuse_tensors(torch.from_numpy(u)[None, None], torch.from_numpy(v)[None], settings=settings)
    assert np.abs(in_torch[0, 0].numpy() - diffuse(u, v, settings=settings)).max() < 1e-5


def test_stopping_and_going_on_is_the_same_bit_for_bit_and_so_is_repeating() -> None:
    u, v = map_(90, 77), directions(90, 77)
    whole = diffuse(u, v, settings=Diffusion(iterations=30))
    half = diffuse(diffuse(u, v, settings=Diffusion(iterations=10)), v, settings=Diffusion(iterations=20))
    assert np.array_equal(whole, half)
    assert np.array_equal(whole, diffuse(u, v, settings=Diffusion(iterations=30)))


@pytest.mark.parametrize("shape", [(30, 40), (8, 9, 10)])
def test_a_constant_map_stays(shape: tuple[int, ...]) -> None:
    u = np.full(shape, 0.37, np.float32)
    assert np.array_equal(diffuse(u, directions(*shape), settings=Diffusion(perpendicular=0.5)), u)


@pytest.mark.parametrize("shape", [(30, 40), (8, 9, 10)])
def test_a_direction_and_its_opposite_agree(shape: tuple[int, ...]) -> None:
    u, v = map_(*shape), directions(*shape)
    sign = np.where(numpy_generator("sign").random(shape) < 0.5, -1, 1)
    settings = Diffusion(iterations=20)
    assert np.array_equal(diffuse(u, v, settings=settings), diffuse(u, v * sign, settings=settings))


def test_quarter_turns_commute_with_mending() -> None:
    u, v = smooth_map(40, 52), directions(40, 52)
    settings = Diffusion(iterations=30)
    turned = np.rot90(diffuse(u, v, settings=settings))
    way = np.stack([-np.rot90(v[1]), np.rot90(v[0])])  # a quarter turn sends (row, column) to (-column, row)
    assert np.allclose(diffuse(np.rot90(u), way, settings=settings), turned, atol=1e-6)


def test_turning_a_volume_about_its_axes_commutes_with_mending() -> None:
    u, v = smooth_map(10, 12, 14), directions(10, 12, 14)
    settings = Diffusion(iterations=10)
    expected = diffuse(u, v, settings=settings).transpose(2, 0, 1)
    assert np.allclose(
        diffuse(u.transpose(2, 0, 1), v[[2, 0, 1]].transpose(0, 3, 1, 2), settings=settings), expected, atol=1e-6
    )


@pytest.mark.parametrize("shape", [(50, 41), (10, 11, 12)])
def test_no_pixel_ever_falls_and_none_leaves_the_unit_interval(shape: tuple[int, ...]) -> None:
    u, v = map_(*shape).astype(np.float32), directions(*shape)
    for _ in range(15):
        following = diffuse(u, v, settings=Diffusion(iterations=1, perpendicular=0.3))
        assert (following >= u).all()
        assert following.max() <= 1
        u = following


@pytest.mark.parametrize("shape", [(32, 34), (20, 21, 22)])
def test_a_linear_ramp_does_not_change_inside(shape: tuple[int, ...]) -> None:
    steepness = np.array([0.008, 0.01, 0.006])[: len(shape)]
    u = np.tensordot(steepness, np.indices(shape), 1)
    v = np.ones((len(shape), *shape)) / math.sqrt(len(shape))
    mended = diffuse(u, v, settings=Diffusion(iterations=1, integrator="euler"))
    inside = (slice(8, -8),) * len(shape)  # the repeated border bends the flux, four pixels deep and four again
    assert np.allclose(mended[inside], u[inside], atol=1e-6)
    assert not np.allclose(mended, u, atol=1e-4)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_the_stencil_does_not_see_a_checkerboard(axes: tuple[int, ...]) -> None:
    board = np.indices((32, 32))[list(axes)].sum(0) % 2 * 0.5 + 0.2
    u, v = torch.from_numpy(board)[None, None], torch.from_numpy(directions(32, 32))[None]
    found = change(u, v, parallel=1.0, perpendicular=0.3)[0, 0, 8:-8, 8:-8]
    assert float(found.abs().max()) < 1e-15
    mended = diffuse(board, v[0].numpy(), settings=Diffusion(iterations=1, integrator="euler"))
    assert np.array_equal(mended[8:-8, 8:-8], board.astype(np.float32)[8:-8, 8:-8])


def dashed(gap: int) -> tuple[NDArray[np.float32], Array, slice]:
    """A straight vessel three pixels wide, on rows 30 to 32, with a gap; its direction; where the gap is."""
    u = np.full((64, 64), 0.02, np.float32)
    hole = slice(32 - gap // 2, 32 - gap // 2 + gap)
    u[30:33] = 0.95
    u[30:33, hole] = 0.02
    v = np.zeros((2, 64, 64))
    v[1] = 1
    return u, v, hole


@pytest.mark.parametrize(("gap", "about"), [(2, 10), (4, 30), (8, 80), (12, 170), (16, 290)])
def test_a_gap_closes_after_about_as_many_steps_as_published_and_nothing_widens(gap: int, about: int) -> None:
    u, v, hole = dashed(gap)
    before = diffuse(u, v, settings=Diffusion(iterations=about // 2))
    assert not (before[31, hole] > 0.5).all()
    after = diffuse(u, v, settings=Diffusion(iterations=about + about // 5))
    assert (after[30:33] > 0.5).all()
    outside = np.ones(64, np.bool_)
    outside[30:33] = False
    assert np.array_equal(after[outside], u[outside])


def test_a_gap_in_a_tube_in_space_closes_along_it_and_nothing_widens() -> None:
    u = np.full((11, 11, 40), 0.02, np.float32)
    u[4:7, 4:7] = 0.95
    u[4:7, 4:7, 18:22] = 0.02
    v = np.zeros((3, *u.shape))
    v[2] = 1
    outside = np.ones(u.shape, np.bool_)
    outside[4:7, 4:7] = False
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):  # the tube along every axis
        turned = v[list(order)].transpose(0, *(1 + axis for axis in order))
        mended = diffuse(u.transpose(order), turned, settings=Diffusion(iterations=36)).transpose(np.argsort(order))
        assert (mended[4:7, 4:7] > 0.5).all()
        assert np.array_equal(mended[outside], u[outside])


def test_the_strength_says_how_far_to_go() -> None:
    u, v, hole = dashed(4)
    assert np.array_equal(diffuse(u, v, settings=Diffusion(), strength=np.zeros((64, 64))), u)
    half = diffuse(u, v, settings=Diffusion(iterations=60), strength=np.full((64, 64), 0.5))
    assert np.allclose(half, diffuse(u, v, settings=Diffusion(iterations=60, parallel=0.5)), atol=1e-6)
    assert (half[31, hole] > 0.5).all()


def test_the_largest_square_of_the_symbol_is_what_a_search_finds() -> None:
    frequencies = np.linspace(0, math.pi, 100_001)
    squares = np.array([symbol(each) ** 2 for each in frequencies])
    assert squares.max() == pytest.approx(LARGEST_SQUARE, rel=1e-7)
    assert frequencies[squares.argmax()] / math.pi == pytest.approx(0.647, abs=1e-3)
    assert symbol(math.pi) == pytest.approx(0, abs=1e-15)


def test_the_limits_of_the_integrators_are_where_their_polynomials_leave_the_unit_disc() -> None:
    def growth(z: float) -> float:
        return 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24

    limit = REAL_STABILITY["rk4"]
    assert growth(-limit) == pytest.approx(1, abs=1e-12)
    assert growth(-limit + 0.01) < 1 < growth(-limit - 0.01)
    assert abs(1 - REAL_STABILITY["euler"]) == 1


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_largest_eigenvalue_that_the_limit_supposes_is_reached(dimensions: int) -> None:
    # A wave with θ = 11/17 π along every axis, wrapped around, and the direction along the diagonal.
    wave = np.cos(11 * math.pi / 17 * np.indices((34,) * dimensions).sum(0))

    def along(x: Array) -> Array:
        slopes = [
            sum(w * (np.roll(x, -k, axis) - np.roll(x, k, axis)) for k, w in enumerate(WEIGHTS, 1))
            for axis in range(dimensions)
        ]
        return sum(slopes) / math.sqrt(dimensions)

    eigenvalue = (along(along(wave)) * wave).sum() / (wave * wave).sum()
    assert eigenvalue == pytest.approx(-dimensions * LARGEST_SQUARE, rel=1e-4)


@pytest.mark.parametrize(
    ("dimensions", "integrator", "limit"),
    [(2, "rk4", 0.465), (2, "euler", 0.3339), (3, "rk4", 0.3099), (3, "euler", 0.2226)],
)
def test_a_step_beyond_the_limit_is_refused_with_the_limit(dimensions: int, integrator: str, limit: float) -> None:
    assert longest_step(dimensions, conductivity=1, integrator=integrator) == pytest.approx(limit, abs=5e-4)
    assert longest_step(dimensions, conductivity=2, integrator=integrator) == pytest.approx(limit / 2, abs=5e-4)
    u, v = map_(*(6,) * dimensions), directions(*(6,) * dimensions)
    diffuse(u, v, settings=Diffusion(iterations=1, step=limit - 0.002, integrator=integrator))
    too_long = Diffusion(iterations=1, step=limit + 0.002, integrator=integrator)
    with pytest.raises(SettingsError, match="unstable.*at most " + str(limit)[:4]):
        diffuse(u, v, settings=too_long)
    with pytest.raises(SettingsError, match="unstable"):
        diffuse_tensors(torch.from_numpy(u)[None, None], torch.from_numpy(v)[None], settings=too_long)
    with pytest.raises(SettingsError, match="unstable"):
        diffuse(u, v, settings=Diffusion(perpendicular=5))


def test_runge_kutta_and_euler_agree_for_small_steps() -> None:
    u, v = smooth_map(40, 40), directions(40, 40)
    errors = []
    for step in (0.1, 0.05, 0.025):
        number = round(1 / step)
        rk4 = diffuse(u, v, settings=Diffusion(iterations=number, step=step))
        euler = diffuse(u, v, settings=Diffusion(iterations=number, step=step, integrator="euler"))
        errors.append(float(np.abs(rk4 - euler).mean()))
    assert all(1.6 < before / after < 2.4 for before, after in pairwise(errors))  # Euler is of the first order
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2)])
def test_the_gradient_of_every_argument_is_right(shape: tuple[int, ...]) -> None:
    def leaf(array: Array) -> torch.Tensor:
        return torch.from_numpy(array)[None].requires_grad_()

    u, v, strength = leaf(0.2 + map_(*shape)[None] * 0.5), leaf(directions(*shape)), leaf(0.3 + map_(*shape)[None])
    settings = Diffusion(iterations=2, step=0.05, perpendicular=0.1)
    assert torch.autograd.gradcheck(
        lambda u, v, s: diffuse_tensors(u, v, settings=settings, strength=s), (u, v, strength), eps=1e-7, atol=1e-5
    )
    assert torch.autograd.gradgradcheck(lambda x: derivative(x, -1) ** 2, (u,))


@pytest.mark.parametrize("integrator", ["rk4", "euler"])
def test_the_gradient_through_twenty_checkpointed_steps_is_that_of_plain_autograd(integrator: str) -> None:
    def slope(x: torch.Tensor, dim: int) -> torch.Tensor:
        n = x.shape[dim]
        at = [x.index_select(dim, (torch.arange(n) + k).clamp(0, n - 1)) for k in range(-4, 5)]
        return sum(weight * (at[4 + k] - at[4 - k]) for k, weight in enumerate(WEIGHTS, 1))

    def plain(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        def k(x: torch.Tensor) -> torch.Tensor:
            along = v[:, :1] * slope(x, -2) + v[:, 1:] * slope(x, -1)
            return (slope(v[:, :1] * along, -2) + slope(v[:, 1:] * along, -1)).relu()

        for _ in range(20):
            k1 = k(u)
            rise = k1
            if integrator == "rk4":
                k2 = k(u + 0.05 * k1)
                k3 = k(u + 0.05 * k2)
                rise = (k1 + 2 * k2 + 2 * k3 + k(u + 0.1 * k3)) / 6
            u = (u + 0.1 * rise).clamp(0, 1)
        return u

    settings = Diffusion(iterations=20, integrator=integrator)
    target = torch.from_numpy(map_(24, 20))[None, None]
    gradients = []
    for mend in (lambda u, v: diffuse_tensors(u, v, settings=settings), plain):
        u = torch.from_numpy(smooth_map(24, 20))[None, None].requires_grad_()
        v = torch.from_numpy(directions(24, 20))[None].requires_grad_()
        ((mend(u, v) - target) ** 2).sum().backward()
        gradients.append((u.grad, v.grad))
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-11)
        assert float(ours.abs().max()) > 1e-3


def test_between_checkpoints_only_maps_are_kept() -> None:
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    u = torch.from_numpy(smooth_map(24, 20))[None, None]
    v = torch.from_numpy(directions(24, 20))[None].requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        diffuse_tensors(u, v, settings=Diffusion(iterations=20))
    assert sum(kept) <= 20 * (u.numel() + v.numel())  # a map a step, and the direction that all share


def test_a_learned_direction_finds_the_way_across_a_gap() -> None:
    u, _, hole = dashed(4)
    angle = torch.full((1, 1, 64, 64), 1.0, requires_grad=True)  # 57 degrees off the vessel
    truth = torch.zeros(1, 1, 64, 64)
    truth[:, :, 30:33] = 1
    start = torch.from_numpy(u)[None, None]
    optimiser = torch.optim.Adam([angle], lr=0.1)
    for _ in range(12):
        v = torch.cat([angle.sin(), angle.cos()], 1)
        mended = diffuse_tensors(start, v, settings=Diffusion(iterations=20, step=0.3))
        loss = torch.nn.functional.binary_cross_entropy(mended.clamp(1e-6, 1 - 1e-6), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (mended[0, 0, 31, hole] > 0.5).all()


def toy(size: int = 192) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Six sinusoidal vessels, dimmed at random places."""
    draw = numpy_generator("toy", 0)
    x, rows = np.arange(size), np.arange(size)[:, None]
    level, truth = np.full((size, size), 0.03), np.zeros((size, size), np.bool_)
    for number in range(6):
        centre = (number + 0.5) * size / 6
        centre = centre + draw.uniform(4, 9) * np.sin(2 * np.pi * x / draw.uniform(60, 140) + draw.uniform(0, 6))
        brightness = np.full(size, 0.9)
        for _ in range(6):
            begin, length = draw.integers(0, size), draw.integers(2, 13)
            brightness[begin : begin + length] = draw.uniform(0.1, 0.5)
        on = np.abs(rows - centre) <= 1.5
        truth |= on
        level = np.where(on, brightness, level)
    return ndimage.gaussian_filter(level, 0.7).astype(np.float32), truth


def test_six_dimmed_vessels_follow_the_published_trend() -> None:
    start, truth = toy()
    direction = structure_orientation(start).direction
    u, pieces, dice, done = start, [], [], 0
    for iterations in (0, 10, 100, 1000, 10000):
        u = diffuse(u, direction, settings=Diffusion(iterations=iterations - done))
        done = iterations
        pieces.append(components(u > 0.5))
        dice.append(confusion(u > 0.5, truth).dice)
    # Published: 21, 19, 7, 7, 16 pieces and Dice .936, .942, .959, .947, .825.
    assert pieces[0] > pieces[1] > pieces[2] >= pieces[3] < pieces[4]
    assert pieces[2] <= 0.6 * pieces[0]
    assert dice[0] < dice[1] < dice[2] > dice[3] > dice[4]
    assert dice[3] > dice[0] > dice[4] + 0.05
    by_hysteresis = hysteresis(start)
    assert components(by_hysteresis) < pieces[0]
    assert confusion(by_hysteresis, truth).dice < dice[2]  # it widens too


@pytest.mark.parametrize(
    ("u", "v", "strength", "said"),
    [
        ((5,), (1, 5), None, "1 dimensions"),
        ((5, 6), (2, 5, 5), None, "directions have shape"),
        ((5, 6), (3, 5, 6), None, "directions have shape"),
        ((5, 6), (2, 5, 6), (6, 5), "strength has shape"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(
    u: tuple[int, ...], v: tuple[int, ...], strength: tuple[int, ...] | None, said: str
) -> None:
    weights = None if strength is None else np.zeros(strength)
    with pytest.raises(ValueError, match=said):
        diffuse(np.zeros(u), np.zeros(v), settings=Diffusion(), strength=weights)
    rows = [torch.zeros(1, 1, *u), torch.zeros(1, *v)]
    with pytest.raises(ValueError, match=said):
        diffuse_tensors(*rows, settings=Diffusion(), strength=None if weights is None else torch.zeros(1, 1, *strength))


def test_a_batch_in_torch_needs_one_channel_and_as_many_directions_as_maps() -> None:
    for shape in ((1, 2, 5, 6), (3, 1, 5, 6)):
        with pytest.raises(ValueError, match=r"expected \(B, 1, \*S\)"):
            diffuse_tensors(torch.zeros(shape), torch.zeros(1, 2, 5, 6), settings=Diffusion())
