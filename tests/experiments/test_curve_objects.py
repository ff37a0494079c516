"""A curve and a training whose budgets count drawn objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scantling
from scantling.core.errors import SettingsError
from scantling.data.loading import load
from scantling.experiments.curve import curve
from scantling.records.run_data import dataset_of
from scantling.report.curve import write_curve
from scantling.testing.trainings import quiet
from scantling.training import Options, train

TINY = Options(preset="tiny", steps=1, settings={"patch": [16, 16]})


def cells(root: Path) -> Path:
    """Six images with 4 to 9 squares, numbered from 1; two are for testing."""
    for number in range(6):
        array = np.zeros((32, 32), np.uint8)
        for place in range(4 + number):
            row, column = 1 + 10 * (place // 3), 1 + 10 * (place % 3)
            array[row : row + 5, column : column + 5] = place + 1
        part = root / ("test" if number > 3 else "train")
        for folder, values in (("images", 20 + 180 * (array > 0).astype(np.uint8)), ("masks", array)):
            (part / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(part / folder / f"cell{number}.png")
    (root / "scantling.toml").write_text('others = "object"\nclasses = { cell = 1 }\n')
    return root


def test_a_curve_counts_its_budgets_in_drawn_objects(tmp_path: Path) -> None:
    data = cells(tmp_path / "cells")
    found = curve(["unet"], data, tmp_path / "curve", label_instances=[3, "all"], options=TINY, metric="count_error")
    assert [(point.labels, point.subjects) for point in found.points] == [("3 objects", 3), ("all", 4 + 5 + 6 + 7)]
    assert not found.failed
    run = tmp_path / "curve/runs/unet/labels-3-objects/draw-0/seed-0"
    assert run.is_dir()
    kept = dataset_of(run)
    (case,) = [one for one in kept.cases if one.split == "train" and one.masks]
    sample = load(case, labels=kept.labels, reads=("mask", "instances"))
    assert sample.instances is not None
    assert len(np.unique(sample.instances)) == 4
    assert "Trained once with 3 drawn objects, all labels: what other drawn objects or another seed" in " ".join(
        found.sentences
    )
    page = write_curve(found, tmp_path / "curve/curve.html").read_text()
    assert "over drawn objects" in page
    with pytest.raises(SettingsError, match="labels and label_instances are two budgets"):
        scantling.curve(["unet"], data, tmp_path / "other", labels=[2], label_instances=[3], preset="tiny")


def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    data = cells(tmp_path / "cells")
    with pytest.raises(SettingsError, match="two budgets"):
        Options(labels=2, label_instances=3).check()
    with pytest.raises(SettingsError, match="--label-instances 0"):
        Options(label_instances=0).check()
    options = Options(preset="tiny", label_instances=3)
    with pytest.raises(SettingsError, match="diffusion-pretrain does not learn from masks or instance maps"):
        train("diffusion-pretrain", [data], tmp_path / "run", options, console=quiet())
