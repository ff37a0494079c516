"""Labels around points: what they say is right where objects are discs, and what was drawn stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scantling.core.errors import DataError
from scantling.core.fields import IGNORE
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.loading import load
from scantling.inference import synthesize
from scantling.inference.conditions import Conditions
from scantling.mending.around_points import cluster_labels, voronoi_labels
from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data
from scantling.testing.trainings import quiet
from scantling.training import Options, train

POINTS, CLASSES = np.array([[20.0, 20.0], [20.0, 60.0], [60.0, 35.0]]), np.array([0, 1, 0])
HOW = {"spacing": (1.0, 1.0), "radius": 2.0, "far": 20.0, "least": 30, "border": 2}


def discs() -> np.ndarray:
    """The true labels (80, 80) of three discs around `POINTS`."""
    rows, columns = np.indices((80, 80))
    found = np.zeros((80, 80), np.uint8)
    for (row, column), number in zip(POINTS, CLASSES, strict=True):
        found[np.hypot(rows - row, columns - column) < 12] = number + 1
    return found


def test_voronoi_labels_are_the_points_and_what_is_as_far_from_two_of_them() -> None:
    found = voronoi_labels(POINTS, CLASSES, (80, 80), spacing=(1.0, 1.0), radius=2.0)
    rows, columns = np.indices((80, 80))
    away = np.sort([np.hypot(rows - row, columns - column) for row, column in POINTS], axis=0)
    assert (found[away[0] <= 2] == discs()[away[0] <= 2]).all()
    assert (found[(away[1] - away[0] < 0.5) & (away[0] > 2)] == 0).all()
    assert (found[(away[1] - away[0] > 4) & (away[0] > 2)] == IGNORE).all()
    assert not voronoi_labels(POINTS[:0], CLASSES[:0], (8, 9), spacing=(1.0, 1.0), radius=2.0).any()


@pytest.mark.parametrize("dark", [False, True])
def test_most_pixels_of_bright_or_dark_discs_get_their_label(dark: bool) -> None:
    truth, noise = discs(), np.random.default_rng(0).normal(0, 5, (80, 80))
    image = (np.where(truth > 0, 60.0, 160.0) if dark else np.where(truth > 0, 160.0, 60.0)) + noise
    found = cluster_labels(image[None], POINTS, CLASSES, **HOW)  # type: ignore[arg-type]
    known = found != IGNORE
    assert known.mean() > 0.5
    assert (found[known] == truth[known]).mean() > 0.99
    assert all((found == number).sum() > 0.4 * (truth == number).sum() for number in (1, 2))


def drawn(name: str, data: Path, out: Path) -> Dataset:
    synthesize(name, out=out, conditions=Conditions(data=data))
    return open_dataset(out)


def test_points_and_what_is_made_of_them_teach_partial_and_keep_their_effort(tmp_path: Path) -> None:
    data = make_data(CARDS["unet"], tmp_path / "data", dimensions=2)
    points = drawn("points", data, tmp_path / "points")
    filled = drawn("point-filling", tmp_path / "points", tmp_path / "filled")
    for case, more in zip(points.cases, filled.cases, strict=True):
        few, many = (load(one, labels=points.labels).scribbles for one in (case, more))
        assert few is not None
        assert many is not None
        known = few != IGNORE
        assert known.sum() == case.origin.effort["pixels"] == 2 * len(case.points or ())
        assert (many[few == 0] == 0).all()
        assert (many != IGNORE).sum() > known.sum()
        assert more.origin.effort == case.origin.effort
    for folder in ("points", "filled"):
        options = Options(preset="tiny", steps=1)
        train("partial", [tmp_path / folder], tmp_path / f"run-{folder}", options, console=quiet())


def test_a_point_outside_of_its_image_and_classes_that_overlap_are_refused(tmp_path: Path) -> None:
    data = make_data(CARDS["point-filling"], tmp_path / "data", dimensions=2)
    facts = json.loads((data / "scantling.json").read_text())
    facts["case"][0]["points"] = [[500, 3]]
    (data / "scantling.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"case case0: the point \(500, 3\) lies outside"):
        synthesize("point-filling", out=tmp_path / "out", conditions=Conditions(data=data))
