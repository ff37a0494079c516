"""Objects of made and real instance maps: equal sets are equal, other sizes are told, large images are cut alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from commands import command
from scantling.core.case import Geometry
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.files import write_image, write_labels
from scantling.data.opening import OPENING
from scantling.evaluation.object_distributions import AREA, COUNT, NEIGHBOUR, object_distributions


def objects(folder: Path, *, side: int, size: int, pitch: int = 8, made: bool) -> Path:
    """A data set of four images with squares of a side on a grid."""
    cases, geometry = list[dict[str, object]](), Geometry((size, size), (1.0, 1.0))
    rng = np.random.default_rng(int(made))
    for case in range(4):
        numbers = np.zeros((size, size), np.int32)
        for place, (row, column) in enumerate(np.argwhere(np.ones((size // pitch,) * 2)) * pitch, start=1):
            numbers[row : row + side, column : column + side] = place
        image = (100 + 50 * (numbers > 0) + rng.normal(0, 9, numbers.shape)).astype(np.uint8)[None]
        paths = {
            "images": write_image(folder / "images", f"c{case}", image, geometry),
            "instances": write_labels(folder / "instances", f"c{case}", numbers, geometry),
        }
        entry = {name: path.relative_to(folder).as_posix() for name, path in paths.items()}
        origin = {"kind": "synthetic", "model": "test"} if made else {"kind": "real"}
        cases.append({"id": f"c{case}", "subject": f"s{case}", "split": "train", "origin": origin, **entry})
    (folder / "scantling.json").write_text(json.dumps({"name": folder.name, "case": cases}))
    return folder


def distances(made: Dataset, real: Dataset) -> dict[str, float]:
    found = object_distributions(made.cases, real.cases, most=10, opening=OPENING)
    return {each.quantity: each.distance for each in found}


def test_equal_objects_are_at_distance_0_in_windows_of_larger_images_and_larger_ones_are_told(tmp_path: Path) -> None:
    real = open_dataset(objects(tmp_path / "real", side=4, size=64, made=False))
    same = open_dataset(objects(tmp_path / "same", side=4, size=32, made=True))
    other = open_dataset(objects(tmp_path / "other", side=6, size=32, made=True))
    assert distances(same, real) == {COUNT: 0, AREA: 0, NEIGHBOUR: 0}
    assert distances(other, real) == {COUNT: 0, AREA: 1, NEIGHBOUR: 0}


def test_sets_without_instance_maps_have_none(tmp_path: Path) -> None:
    real = open_dataset(objects(tmp_path / "real", side=4, size=32, made=False))
    assert distances(open_dataset(tmp_path / "real" / "images"), real) == {}


def test_assess_prints_the_distances_where_some_pictures_are_grey_and_others_in_colour(tmp_path: Path) -> None:
    real, made = (objects(tmp_path / n, side=4, size=32, made=n == "made") for n in ("real", "made"))
    coloured = np.random.default_rng(2).integers(0, 255, (3, 32, 32), np.uint8)
    write_image(real / "images", "c1", coloured, Geometry((32, 32), (1.0, 1.0)), colour=True)
    done = command("assess", made, "--real", real, "--json", tmp_path / "numbers.json")
    assert done.returncode == 0, done.stderr
    assert "Kolmogorov-Smirnov distance 0.00" in done.stdout
    found = {each["quantity"]: each["ks"] for each in json.loads((tmp_path / "numbers.json").read_text())["objects"]}
    assert found == {COUNT: 0, AREA: 0, NEIGHBOUR: 0}
    assert "Objects of the instance maps" in (tmp_path / "made.html").read_text()
