"""Slices of which most show nothing: what a model that marks nothing, everything or the right thing is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reported import Page
from scantling.cli.main import main

SUBJECTS, SLICES, SHOWN = 10, 12, 4
Answer = Callable[[int, np.ndarray], np.ndarray]


def nothing(number: int, truth: np.ndarray) -> np.ndarray:
    """A model that marks nothing at all."""
    return np.zeros_like(truth)


def everything(number: int, truth: np.ndarray) -> np.ndarray:
    """A model that marks the whole image."""
    return np.ones_like(truth)


def mixed(number: int, truth: np.ndarray) -> np.ndarray:
    """A model that finds most, a pixel aside, and marks something in every sixth empty slice."""
    if truth.any():
        return np.zeros_like(truth) if number % 20 == 0 else np.roll(truth, 1, axis=0)
    alarm = np.zeros_like(truth)
    alarm[2:4, 2:4] = number % 6 == 0
    return alarm


def write(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((mask * 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose slices show a disc in one of three, and the masks of the three models."""
    place = tmp_path_factory.mktemp("slices")
    y, x = np.mgrid[:24, :24]
    answers: dict[str, Answer] = {"nothing": nothing, "everything": everything, "mixed": mixed}
    for number in range(SUBJECTS * SLICES):
        subject, level = divmod(number, SLICES)
        truth = ((y - 12) ** 2 + (x - 10 - level) ** 2 < 25) & (level < SHOWN)
        id = f"s{subject:02d}_{level:02d}"
        write(place / "data" / "truth" / f"{id}.png", truth)
        for name, answer in answers.items():
            write(place / name / f"{id}.png", answer(number, truth))
    (place / "data" / "scantling.toml").write_text(
        'name = "slices"\nclasses = { tumour = 255 }\n[[group]]\npattern = "truth/{subject}_{level}.png"\n'
        'id = "{subject}_{level}"\nsplit = "test"\nimages = {}\nmasks = "{path}"\n'
    )
    return place


def scores(place: Path, name: str, out: Path) -> dict[str, Any]:
    assert main(["evaluate", str(place / name), str(place / "data"), "--json", str(out)]) == 0
    facts: dict[str, Any] = json.loads(out.read_text())
    return facts


def test_a_model_that_marks_nothing_looks_like_one(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scores(place, "nothing", tmp_path / "nothing.json")
    shown, empty = SUBJECTS * SHOWN, SUBJECTS * (SLICES - SHOWN)
    assert (found["mean"]["dice"], found["count"]["dice"], found["subjects"]["dice"]) == (0, shown, SUBJECTS)
    assert found["mean"]["dice_or_empty"] == pytest.approx(empty / (shown + empty)), "what other tables say"
    assert found["detection"]["found"] == {"cases": [0, shown], "subjects": [0, SUBJECTS], "classes": {}}
    assert found["detection"]["false_alarm"]["cases"] == [0, empty]
    assert found["mean"]["hd95"] == pytest.approx(np.hypot(23, 23))
    told = capsys.readouterr().out
    assert f"Found: 0 of {shown} cases, 0 of {SUBJECTS} subjects." in told
    assert f"False alarms: 0 of {empty} cases, 0 of {SUBJECTS} subjects." in told
    assert "Every predicted mask is empty." in told


def test_a_model_that_marks_everything_looks_like_one(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scores(place, "everything", tmp_path / "everything.json")
    assert found["mean"]["found"] == found["mean"]["false_alarm"] == found["mean"]["sensitivity"] == 1
    assert found["mean"]["dice"] < 0.25
    assert found["interval"]["found"][0] < 1, "ten subjects do not prove that all are found"
    assert "Every predicted mask marks everything as foreground." in capsys.readouterr().out


def test_a_model_that_finds_most_is_told_from_one_that_finds_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scores(place, "mixed", tmp_path / "mixed.json")
    assert found["mean"]["dice"] > 0.6
    assert found["detection"]["found"]["cases"] == [38, 40]
    assert 0 < found["mean"]["false_alarm"] < 0.2
    masks = [str(place / name) for name in ("nothing", "everything", "mixed")]
    words = ["compare", *masks, "--data", str(place / "data"), "--out", str(tmp_path / "out")]
    assert main([*words, "--json", str(tmp_path / "table.json")]) == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert [one["name"] for one in table["methods"]] == ["mixed", "everything", "nothing"]
    assert all(pair["verdict"] != "no difference shown" for pair in table["pairs"] if pair["metric"] == "dice")
    assert table["metrics"][:3] == ["dice", "found", "false_alarm"]
    assert table["count"]["dice"] + table["count"]["false_alarm"] == table["cases"]


def test_the_page_draws_the_worst_false_alarm_and_doubts_the_trivial_models(place: Path, tmp_path: Path) -> None:
    told = {
        "nothing": (0, "is empty: the model marks nothing"),
        "everything": (40, "the model marks everything"),
        "mixed": (38, "False alarms in"),
    }
    for name, (found, doubt) in told.items():
        scores(place, name, tmp_path / f"{name}.json")
        assert main(["report", str(tmp_path / f"{name}.json")]) == 0
        page = Page(tmp_path / f"{name}.html")
        assert doubt in page.text
        assert f"Found: {found} of 40 cases" in page.text
        assert bool(re.search(r"False alarm s\d\d_\d", page.text)) == (name != "nothing")


def test_where_every_truth_is_empty_an_empty_mask_is_no_fault_and_nothing_is_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, empty = tmp_path / "data", np.zeros((16, 16), bool)
    for number in range(3):
        for name in ("masks", "images"):
            write(data / name / f"{number}.png", empty)
        for name in ("one", "other"):
            write(tmp_path / name / f"{number}.png", empty)
    (data / "scantling.toml").write_text(
        'classes = { tumour = 255 }\n[[group]]\npattern = "masks/{id}.png"\nimages = {}\nmasks = "{path}"\n'
    )
    assert main(["evaluate", str(tmp_path / "one"), str(data)]) == 0
    assert "Every predicted mask is empty" not in capsys.readouterr().out
    masks = [str(tmp_path / name) for name in ("one", "other")]
    words = ["compare", *masks, "--data", str(data), "--split", "all", "--out", str(tmp_path / "out")]
    assert main([*words, "--json", str(tmp_path / "table.json")]) == 0
    told = capsys.readouterr().out
    assert "Nothing can be said of" in told
    assert "smallest p" not in told
    (pair,) = [pair for pair in json.loads((tmp_path / "table.json").read_text())["pairs"] if pair["metric"] == "dice"]
    assert pair["verdict"] == "not tested"


def test_the_least_p_counts_only_subjects_in_which_something_is_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, disc = tmp_path / "data", np.zeros((16, 16), bool)
    disc[4:9, 4:9] = True
    for number in range(12):  # of twelve subjects four show something
        truth = disc if number < 4 else np.zeros_like(disc)
        write(data / "masks" / f"{number:02d}.png", truth)
        write(data / "images" / f"{number:02d}.png", disc)
        write(tmp_path / "one" / f"{number:02d}.png", truth)
        write(tmp_path / "other" / f"{number:02d}.png", np.roll(truth, 1, axis=0))
    masks = [str(tmp_path / name) for name in ("one", "other")]
    assert main(["compare", *masks, "--data", str(data), "--split", "all", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "4 subjects, 1 pair of methods: no difference could have been shown" in told
    assert "is 0.12." in told, "2 of the 2^4 patterns of signs"
