"""Channels that are wanted of an image are read by their names, and the others have no influence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from scantling.core.case import Address, Case
from scantling.core.errors import DataError
from scantling.data.loading import load

SHAPE = (6, 7)


@pytest.fixture
def layers() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, (3, *SHAPE)).astype(np.uint8)


def colour(path: Path, layers: np.ndarray) -> Address:
    Image.fromarray(np.moveaxis(layers, 0, -1)).save(path)
    return Address(path)


def frame(path: Path, array: np.ndarray) -> Address:
    tifffile.imwrite(path, array, photometric="minisblack", planarconfig="contig" if array.ndim == 3 else None)
    return Address(path)


def test_a_channel_of_a_colour_file_is_read_by_its_name_and_not_mixed_from_all(
    tmp_path: Path, layers: np.ndarray
) -> None:
    case = Case(id="a", subject="a", images={"image": colour(tmp_path / "a.png", layers)})
    for wanted, places in ((("red",), [0]), (("blue",), [2]), (("blue", "red"), [2, 0])):
        assert np.array_equal(load(case, channels=wanted).image, layers[places])
    two = Case(id="b", subject="b", images={"t1": case.images["image"], "t2": case.images["image"]})
    wanted = ("t1 blue", "t2 red", "t1 red")
    assert np.array_equal(load(two, channels=wanted).image, layers[[2, 0, 0]])


def test_a_grey_model_still_sees_the_brightness_of_colours_and_a_red_one_needs_red(
    tmp_path: Path, layers: np.ndarray
) -> None:
    case = Case(id="a", subject="a", images={"image": colour(tmp_path / "a.png", layers)})
    weights = np.array([0.299, 0.587, 0.114])[:, None, None]
    np.testing.assert_allclose(load(case, channels=("grey",)).image[0], (weights * layers).sum(0), rtol=1e-5)
    other = Case(
        id="b", subject="b", images={"image": frame(tmp_path / "b.tif", np.moveaxis(layers, 0, -1).astype("f4"))}
    )
    with pytest.raises(DataError, match=r"b\.tif: found 3 channels.*; expected red among them"):
        load(other, channels=("red",))


def test_images_without_a_wanted_channel_are_not_opened(tmp_path: Path, layers: np.ndarray) -> None:
    before = frame(tmp_path / "before.tif", layers[0].astype(np.float32))
    nothing = frame(tmp_path / "after.tif", np.full(SHAPE, np.nan, np.float32))
    case = Case(id="a", subject="a", images={"before": before, "after": nothing, "gone": Address(tmp_path / "gone")})
    sample = load(case, channels=("before",))
    assert np.array_equal(sample.image, layers[:1])
    assert sample.region is None or sample.region.all()
    two = Case(id="b", subject="b", images={"before": before, "after": before})
    with pytest.raises(DataError, match="images before, after; expected the channels later"):
        load(two, channels=("later",))
