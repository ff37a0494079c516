"""Warping against SimpleITK's resampler, and local correlation by box sums against convolutions of the same window.

    python benchmarks/warping.py [--repeats 3] [--threads 2]

All in one process, on the same number of threads each and in turns; each time is the smallest of all turns. A volume of
192 x 160 x 192 is warped by a smooth displacement of some pixels; where SimpleITK (`pip install 'scantling[itk]'`) is
installed, values must agree within 1e-4 (save the pixels whose place lies within a thousandth of a pixel of the edge,
where rounding decides whether they are inside) and warping may take 1.5 times as long. The local correlation of a
window of 9 and its gradient must be 5 times as fast as with `conv3d`, of equal values.
Exits with 1 if a result differs or a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.losses.registration import box_counts, box_sums, local_correlation_loss
from scantling.warping import pixel_grid, warp

SHAPE, SMALL, WINDOW = (192, 160, 192), (64, 64, 64), 9
SLOWER, FASTER, CLOSE = 1.5, 5.0, 1e-4


def fastest(ways: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, Any]]:
    """The smallest time of each way, and what it gives, taken in turns."""
    found: dict[str, tuple[float, Any]] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            begun = time.perf_counter()
            result = way()
            seconds = time.perf_counter() - begun
            found[name] = (min(seconds, found[name][0]) if name in found else seconds, result)
    return found


def warping(repeats: int, threads: int) -> bool:
    """Whether warping is as fast and as exact as it has to be."""
    draw = torch.Generator().manual_seed(0)
    image = torch.rand((1, 1, *SHAPE), generator=draw)
    shift = F.interpolate(4 * torch.randn((1, 3, 8, 8, 8), generator=draw), SHAPE, mode="trilinear")
    ways: dict[str, Callable[[], Any]] = {"warp": lambda: warp(image, shift)}
    try:
        import SimpleITK as sitk  # noqa: N813
    except ImportError:
        print(
            f"warp {fastest(ways, repeats)['warp'][0]:.2f} s; SimpleITK is not installed, so that nothing is compared"
        )
        return True
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    moving = sitk.GetImageFromArray(image[0, 0].numpy())
    field = np.ascontiguousarray(shift[0].flip(0).movedim(0, -1).numpy().astype(np.float64))
    transform = sitk.DisplacementFieldTransform(sitk.GetImageFromArray(field, isVector=True))
    ways["SimpleITK"] = lambda: sitk.Resample(moving, moving, transform, sitk.sitkLinear, 0.0)
    found = fastest(ways, repeats)
    (own, warped), (theirs, resampled) = found["warp"], found["SimpleITK"]
    places = pixel_grid(SHAPE, like=shift) + shift
    lengths = torch.tensor(SHAPE).view(1, 3, 1, 1, 1)
    rounded = (((places + 0.5).abs() < 1e-3) | ((places + 0.5 - lengths).abs() < 1e-3)).any(1)[0].numpy()
    apart = np.abs(sitk.GetArrayFromImage(resampled) - warped[0, 0].numpy())[~rounded].max()
    held = own <= SLOWER * theirs and apart <= CLOSE
    print(
        f"warping {'x'.join(map(str, SHAPE))}: {own:.2f} s, SimpleITK {theirs:.2f} s: {own / theirs:.2f} of it (at "
        f"most {SLOWER}); values differ by {apart:.1e} (at most {CLOSE:g}): {'reached' if held else 'MISSED'}"
    )
    return held


def by_convolution(image: Tensor, other: Tensor) -> Tensor:
    """The same local correlation with sums by `conv3d`."""
    f, m = (one - one.mean((2, 3, 4), keepdim=True) for one in (image, other))
    kernel = torch.ones((1, 1, *[WINDOW] * 3))
    count = box_counts(f.shape[2:], WINDOW)
    sums = [F.conv3d(each, kernel, padding=WINDOW // 2) / count for each in (f, m, f * f, m * m, f * m)]
    covariance = sums[4] - sums[0] * sums[1]
    variances = (sums[2] - sums[0].square()).clamp(min=0) * (sums[3] - sums[1].square()).clamp(min=0)
    return 1 - (covariance.square() / (variances + 1e-5)).mean()


def correlation(repeats: int) -> bool:
    """Whether local correlation by box sums is as fast and as exact as it has to be."""
    draw = torch.Generator().manual_seed(0)
    image, other = (torch.randn((1, 1, *SMALL), generator=draw) for _ in range(2))

    def with_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], float]:
        def once() -> float:
            leaf = image.clone().requires_grad_()
            value = loss(leaf, other)
            value.backward()  # type: ignore[no-untyped-call]
            return float(value.detach())

        return once

    ways: dict[str, Callable[[], Any]] = {
        "box sums": with_gradient(lambda one, two: local_correlation_loss(one, two, window=WINDOW)),
        "convolution": with_gradient(by_convolution),
        "box sums alone": lambda: box_sums(image, WINDOW),
        "convolution alone": lambda: F.conv3d(image, torch.ones((1, 1, *[WINDOW] * 3)), padding=WINDOW // 2),
    }
    found = fastest(ways, repeats)
    (own, value), (theirs, wanted) = found["box sums"], found["convolution"]
    alone = found["convolution alone"][0] / found["box sums alone"][0]
    held = theirs >= FASTER * own and abs(value - wanted) <= CLOSE
    print(
        f"local correlation, window {WINDOW}, {'x'.join(map(str, SMALL))}, with gradient: {own:.3f} s, by convolution "
        f"{theirs:.3f} s: {theirs / own:.1f} times (at least {FASTER:g}; one sum alone {alone:.1f}); values differ by "
        f"{abs(value - wanted):.1e}: {'reached' if held else 'MISSED'}"
    )
    return held


def main() -> int:
    """Print the lines; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return 0 if all([warping(options.repeats, options.threads), correlation(options.repeats)]) else 1


if __name__ == "__main__":
    sys.exit(main())
