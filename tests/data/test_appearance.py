"""The features of an image change as what they are called after does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from scantling.core.case import Case, Geometry, Sample
from scantling.data.appearance import appearance

RGB = ("red", "green", "blue")


def sample(image: np.ndarray, **changes: object) -> Sample:
    shape = image.shape[1:]
    geometry = Geometry(shape, (1.0,) * len(shape))
    return replace(Sample(Case(id="a", subject="a"), image, geometry), **changes)  # type: ignore[arg-type]


def texture(shape: tuple[int, ...] = (120, 160), channels: int = 3) -> np.ndarray:
    """Smooth blobs with a little noise, in float32."""
    generator = np.random.default_rng(0)
    smooth = [ndimage.gaussian_filter(generator.normal(size=shape), 4) for _ in range(channels)]
    return np.stack([100 + 20 * c + 300 * one + generator.normal(0, 1, shape) for c, one in enumerate(smooth)]).astype(
        np.float32
    )


def test_intensities_are_those_inside_the_region_in_units_of_the_file() -> None:
    image = texture()
    region = np.zeros(image.shape[1:], np.bool_)
    region[20:80, 30:90] = True
    image[:, ~region] = -1000
    found = appearance(sample(image, region=region), RGB)
    inside = image[1][region].astype(np.float64)
    assert found["intensity mean of green"] == pytest.approx(inside.mean())
    assert found["intensity deviation of green"] == pytest.approx(inside.std())
    assert found["intensity high of green"] == pytest.approx(np.percentile(inside, 99))
    assert found["sharpness of single pixels"] == pytest.approx(
        appearance(sample(np.where(region, image, 5000), region=region), RGB)["sharpness of single pixels"], abs=0.02
    ), "what lies outside is not looked at"


def test_colour_is_the_relation_of_channels() -> None:
    image = texture()
    found, swapped = appearance(sample(image), RGB), appearance(sample(image[::-1]), RGB)
    name = "colour difference of red and blue"
    assert found[name] == pytest.approx(-swapped[name])
    grey = appearance(sample(np.repeat(image[:1], 3, axis=0)), RGB)
    assert grey["colour correlation of red and green"] == pytest.approx(1)
    assert grey[name] == pytest.approx(0)


def test_blur_lowers_sharpness_and_noise_raises_it() -> None:
    image = texture(channels=1)
    name = "sharpness of single pixels"
    usual = appearance(sample(image), ("grey",))[name]
    blurred = np.stack([ndimage.gaussian_filter(image[0], 2)])
    noisy = image + np.random.default_rng(1).normal(0, 20, image.shape).astype(np.float32)
    assert appearance(sample(blurred), ("grey",))[name] < usual - 0.1
    assert appearance(sample(noisy), ("grey",))[name] > usual + 0.3


def test_an_image_twice_as_large_has_sides_and_details_twice_as_large() -> None:
    image = texture(channels=1)
    small = appearance(sample(image), ("grey",))
    large = appearance(sample(np.stack([ndimage.zoom(image[0], 2, order=1)])), ("grey",))
    for name in ("scale side 1 in pixels", "scale side 2 in pixels"):
        assert large[name] - small[name] == pytest.approx(math.log(2))
    name = "scale size of details in pixels"
    assert large[name] - small[name] == pytest.approx(math.log(2), abs=0.1)
    turned = appearance(sample(image.transpose(0, 2, 1)), ("grey",))
    assert turned == pytest.approx(small, abs=0.01), "a picture may lie on its side"


def test_volumes_have_their_lengths_in_mm_and_missing_channels_no_features() -> None:
    image = texture((24, 40, 48), channels=2)
    geometry = Geometry((24, 40, 48), (3.0, 0.5, 0.5), None, "volume", unit="mm")
    found = appearance(sample(image, geometry=geometry, channels=np.array([True, False])), ("flair", "t1"))
    assert found["scale side 1 in mm"] == pytest.approx(math.log(72))
    assert found["scale spacing 2 in mm"] == pytest.approx(math.log(0.5))
    assert not any("t1" in name for name in found)
    constant = appearance(sample(np.full((1, 16, 16), 7, np.uint8)), ("grey",))
    assert constant["intensity mean of grey"] == 7
    assert not any(name.startswith("sharpness") for name in constant)
