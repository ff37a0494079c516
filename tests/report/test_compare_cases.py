"""What `compare` shows case by case: pairs, the widest disagreement first, pictures under every method, settings."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.cli.main import main
from scantling.experiments.candidates import Candidate
from scantling.experiments.compare import compare
from scantling.experiments.comparison import Comparison
from scantling.experiments.settings_apart import settings_apart
from scantling.records.predictions import NO_PREDICTIONS
from scantling.records.run import RunRecord
from scantling.report.comparison import write_comparison
from scantling.report.paired import paired_chart, side_by_side, widest_apart
from scantling.report.words import metric

CASES = 8


def png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture(scope="module", name="place")
def the_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Truths of squares; `one` is right, `two` is shifted by as many pixels as the number of the case says."""
    place = tmp_path_factory.mktemp("place")
    for number in range(CASES):
        truth = np.zeros((24, 32), np.uint8)
        truth[4:16, 4:16] = 255
        png(place / "data" / "test" / "images" / f"c{number}.png", np.full((24, 32, 3), 90, np.uint8))
        png(place / "data" / "test" / "masks" / f"c{number}.png", truth)
        png(place / "one" / f"c{number}.png", truth)
        png(place / "two" / f"c{number}.png", np.roll(truth, number, axis=1))
    for name, samples in (("one", 1), ("two", 4)):
        cases = [{"id": f"c{number}", "mask": f"c{number}.png"} for number in range(CASES)]
        facts = {
            "method": "unet",
            "classes": ["mask"],
            "values": [[255]],
            "cases": cases,
            "options": {"samples": samples},
        }
        (place / name / "predictions.json").write_text(json.dumps(facts))
    return place


@pytest.fixture(scope="module", name="found")
def the_comparison(place: Path) -> Comparison:
    return compare([place / "one", place / "two"], place / "data", metrics=["dice", "volume_difference"])


def test_the_widest_disagreement_comes_first(found: Comparison) -> None:
    dice = metric("dice")
    order = widest_apart(found, dice)
    assert [id for id, _ in order] == [f"c{number}" for number in reversed(range(CASES))]
    assert order[-1][1] == 0, "both are right about the first"
    sides = list(side_by_side(found, dice))
    assert [side.id for side in sides] == [f"c{number}" for number in (7, 6, 5, 4, 3, 2)]
    assert all(picture.uri.startswith("data:image/jpeg") for side in sides for picture in side.pictures)
    assert [picture.method for picture in sides[0].pictures] == ["one", "two"]


def test_the_paired_chart_has_a_line_for_each_case_and_ends_with_its_values(found: Comparison) -> None:
    chart = paired_chart(found, metric("dice"))
    assert chart is not None
    assert chart.svg.count('class="curve raw') == CASES
    assert chart.svg.count("<circle") == 2 * CASES
    assert [row[0] for row in chart.table] == ["id", *(f"c{number}" for number in range(CASES))]
    assert all(row[1] == 1 for row in chart.table[1:])
    assert "Dice" in chart.axes
    flat = paired_chart(found, metric("volume_difference", units={"volume_difference": "pixel"}))
    assert flat is not None
    assert chart.note.endswith("higher is better.")


def test_only_settings_that_differ_are_listed(found: Comparison) -> None:
    assert found.settings == (("answers.samples", ("1", "4")),)
    runs = [
        RunRecord.model_validate(
            {"method": "unet", "settings": {"depth": depth, "optimiser": {"rate": 0.1}}, "seed": 0}
        )
        for depth in (3, 4)
    ]
    groups = [[(Candidate(Path(str(n)), "run", run), NO_PREDICTIONS)] for n, run in enumerate(runs)]
    assert settings_apart(groups) == (("settings.depth", ("3", "4")),)
    masks = (Candidate(Path("masks"), "masks"), NO_PREDICTIONS)
    table = dict(settings_apart([groups[0], [masks]]))
    assert table["settings.optimiser.rate"] == ("0.1", "–"), "of a folder of masks nothing is known"


def test_page_json_and_figures_have_the_cases(place: Path, tmp_path: Path) -> None:
    words = ["--data", str(place / "data"), "--metrics", "dice", "--out", str(tmp_path / "out")]
    command = ["compare", str(place / "one"), str(place / "two"), *words, "--json", str(tmp_path / "c.json")]
    assert main([*command, "--figures", str(tmp_path / "f")]) == 0
    facts = json.loads((tmp_path / "c.json").read_text())
    assert facts["case_ids"] == [f"c{number}" for number in range(CASES)]
    assert facts["by_case"]["dice"]["one"] == [1.0] * CASES
    assert facts["settings"] == [{"name": "answers.samples", "values": ["1", "4"]}]
    text = (tmp_path / "out" / "compare.html").read_text()
    for heading in ("Case by case", "Where they disagree most", "Settings that differ"):
        assert f">{heading}</h2>" in text
    names = {path.name for path in (tmp_path / "f").iterdir()}
    assert {"table.tex", "settings.tex", "cases.csv", "dice-case-by-case.svg", "panel-c7-two.png"} <= names
    rows = list(csv.DictReader((tmp_path / "f" / "cases.csv").read_text().splitlines()))
    assert len(rows) == 2 * CASES


def test_files_that_are_gone_leave_a_sentence_in_place_of_a_picture(
    found: Comparison, place: Path, tmp_path: Path
) -> None:
    away = place / "away"
    (place / "two").rename(away)
    try:
        (first, *_) = side_by_side(found, metric("dice"))
        assert first.pictures[1].missing.startswith("The mask is not shown")
        assert write_comparison(found, tmp_path / "compare.html").is_file()
    finally:
        away.rename(place / "two")
