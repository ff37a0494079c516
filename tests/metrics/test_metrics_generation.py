"""Measures of generation against MONAI, closed forms and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics.regression import MultiScaleSSIMMetric, SSIMMetric
from scipy import linalg

from scantling.core.errors import ArrayError
from scantling.metrics import frechet_distance, kernel_distance, manifolds, ms_ssim, scales_of, slice_consistency, ssim

RNG = np.random.default_rng(0)


def smooth(*shape: int) -> np.ndarray:
    """An image in [0, 1] with structure."""
    from scipy.ndimage import gaussian_filter

    found = gaussian_filter(RNG.standard_normal(shape), (0, *[2] * (len(shape) - 1)))
    return (found - found.min()) / np.ptp(found)


@pytest.mark.parametrize("shape", [(1, 176, 180), (3, 128, 131), (1, 45, 44, 50)])
def test_ms_ssim_is_monais_where_its_window_fits(shape: tuple[int, ...]) -> None:
    one, other = smooth(*shape), 0.5 * smooth(*shape) + 0.2
    scales = scales_of(shape[1:])
    assert scales.window == 11
    known = MultiScaleSSIMMetric(len(shape) - 1, weights=scales.weights)
    expected = known(torch.tensor(other)[None].float(), torch.tensor(one)[None].float()).item()
    assert ms_ssim(one, other) == pytest.approx(expected, abs=2e-5)


def test_ssim_is_monais() -> None:
    one, other = smooth(2, 20, 30), smooth(2, 20, 30)
    expected = SSIMMetric(2)(torch.tensor(other)[None].float(), torch.tensor(one)[None].float()).item()
    assert ssim(one, other) == pytest.approx(expected, abs=1e-5)


def test_windows_and_scales_shrink_with_the_image() -> None:
    assert len(scales_of((176, 400)).weights) == 5
    assert (scales_of((128, 128)).window, len(scales_of((128, 128)).weights)) == (11, 4)
    assert (scales_of((24, 64, 64)).window, len(scales_of((24, 64, 64)).weights)) == (5, 3)
    assert scales_of((3, 200)).weights == (1.0,)
    for shape in ((3, 3), (8, 9), (24, 24, 24), (500, 500)):
        scales = scales_of(shape)
        assert sum(scales.weights) == pytest.approx(1)
        assert min(shape) >> (len(scales.weights) - 1) >= scales.window
    with pytest.raises(ArrayError, match="below 3"):
        scales_of((2, 100))


@pytest.mark.parametrize("shape", [(1, 9, 12), (2, 8, 16, 16)])
def test_ms_ssim_of_an_image_with_itself_is_one_and_falls_with_noise(shape: tuple[int, ...]) -> None:
    one = smooth(*shape)
    noise = RNG.standard_normal(shape)
    values = [ms_ssim(one, one + share * noise) for share in (0, 0.05, 0.2, 0.8)]
    assert values[0] == pytest.approx(1)
    assert values == sorted(values, reverse=True)
    assert ms_ssim(255 * one, 255 * (one + 0.2 * noise), data_range=255) == pytest.approx(values[2])


def test_slices_that_are_shuffled_are_less_consistent() -> None:
    volume = smooth(1, 16, 24, 24)
    shuffled = volume[:, RNG.permutation(16)]
    assert slice_consistency(volume) > slice_consistency(shuffled) + 0.1
    assert slice_consistency(np.repeat(volume[:, :1], 5, axis=1)) == pytest.approx(1)
    turned = np.moveaxis(volume, 1, 3)
    assert slice_consistency(turned, axis=2) == pytest.approx(slice_consistency(volume))
    assert np.isnan(slice_consistency(volume[:, :1]))


def test_images_of_other_shapes_are_refused() -> None:
    with pytest.raises(ArrayError, match=r"\(1, 9, 9\) and \(1, 9, 8\)"):
        ms_ssim(np.zeros((1, 9, 9)), np.zeros((1, 9, 8)))
    with pytest.raises(ArrayError, match="NaN"):
        ssim(np.full((1, 9, 9), np.nan), np.zeros((1, 9, 9)))
    with pytest.raises(ArrayError, match=r"expected \(C, D, H, W\)"):
        slice_consistency(np.zeros((9, 9)))


@pytest.mark.parametrize("count", [40, 7])
def test_the_frechet_distance_is_that_of_the_matrix_root(count: int) -> None:
    real, made = RNG.standard_normal((50, 12)), RNG.standard_normal((count, 12)) @ np.diag(np.arange(1, 13)) / 6 + 0.3
    one, other = np.cov(real.T), np.cov(made.T)
    root = linalg.sqrtm(one @ other + (1e-10 * np.eye(12) if count < 13 else 0)).real
    apart = np.square(real.mean(0) - made.mean(0)).sum()
    expected = apart + np.trace(one + other - 2 * root)
    assert frechet_distance(real, made) == pytest.approx(expected, rel=1e-3)
    assert frechet_distance(made, real) == pytest.approx(frechet_distance(real, made))


def test_the_frechet_distance_of_a_shifted_set_is_the_square_of_the_shift() -> None:
    for shape in ((30, 5), (5, 30)):  # more images than features, and fewer
        real = RNG.standard_normal(shape)
        assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
        assert frechet_distance(real, real + 2) == pytest.approx(4 * shape[1])
        scaled = real.mean(0) + 3 * (real - real.mean(0))  # tr(Σ + 9 Σ - 6 Σ)
        assert frechet_distance(real, scaled) == pytest.approx(4 * np.var(real, axis=0, ddof=1).sum())


def test_the_kernel_distance_is_the_mean_over_all_pairs() -> None:
    real, made = RNG.standard_normal((6, 4)), RNG.standard_normal((5, 4)) + 1

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 4 + 1) ** 3)

    def mean(pairs: list[float]) -> float:
        return sum(pairs) / len(pairs)

    within = [
        mean([kernel(x, y) for i, x in enumerate(each) for j, y in enumerate(each) if i != j]) for each in (real, made)
    ]
    between = mean([kernel(x, y) for x in real for y in made])
    assert kernel_distance(real, made) == pytest.approx(sum(within) - 2 * between)


def test_the_kernel_distance_of_one_distribution_is_nothing_on_average() -> None:
    found = [kernel_distance(*RNG.standard_normal((2, 20, 3))) for _ in range(400)]
    assert abs(np.mean(found)) < 4 * np.std(found) / 20  # its standard error, 4 times


def test_manifolds_count_balls_as_a_plain_loop_does() -> None:
    real, made, k = RNG.standard_normal((20, 3)), RNG.standard_normal((15, 3)) + 0.7, 3

    def radius(points: np.ndarray, i: int) -> float:
        return sorted(np.linalg.norm(points - points[i], axis=1))[k]

    def inside(x: np.ndarray, points: np.ndarray) -> list[bool]:
        return [bool(np.linalg.norm(x - points[i]) <= radius(points, i)) for i in range(len(points))]

    found = manifolds(real, made, neighbours=k)
    assert found.precision == np.mean([any(inside(x, real)) for x in made])
    assert found.recall == np.mean([any(inside(x, made)) for x in real])
    assert found.density == pytest.approx(np.mean([sum(inside(x, real)) / k for x in made]))
    balls = np.array([inside(x, real) for x in made])
    assert found.coverage == balls.any(0).mean()


def test_a_set_that_misses_a_mode_has_precision_and_no_recall() -> None:
    modes = np.array([[0.0, 0.0], [50.0, 0.0]])
    real = np.repeat(modes, 20, axis=0) + RNG.standard_normal((40, 2))
    made = modes[:1] + RNG.standard_normal((40, 2))
    found = manifolds(real, made, neighbours=5)
    assert found.precision > 0.8
    assert found.recall <= 0.5
    assert found.coverage <= 0.5


def test_features_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArrayError, match="expected one network"):
        frechet_distance(np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(ArrayError, match="2 rows or more"):
        kernel_distance(np.zeros((4, 3)), np.zeros((1, 3)))
    with pytest.raises(ArrayError, match="4 rows or more"):
        manifolds(np.zeros((4, 3)), np.zeros((3, 3)), neighbours=3)
    with pytest.raises(ArrayError, match="NaN"):
        frechet_distance(np.full((4, 3), np.nan), np.zeros((4, 3)))
