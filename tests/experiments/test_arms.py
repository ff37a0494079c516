"""Arms of a curve: one method or several on other labels of the same images, and what it takes to draw these."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import scantling
from commands import command
from made import blobs, write
from reported import Page
from scantling.core.case import Case
from scantling.core.errors import DataError, SettingsError
from scantling.data.dataset import open_dataset
from scantling.data.loading import load
from scantling.experiments.arms import arms_of, check_arm
from scantling.experiments.drawing_effort import effort_of_case
from scantling.inference import synthesize
from scantling.inference.conditions import Conditions
from scantling.phantoms.weak_labels import outline_effort
from scantling.records.curve import CurveRecord

WORDS = ("--preset", "tiny", "--steps", "3", "--settings.widths", "2,4", "--settings.patch", "16,16")


@pytest.fixture(scope="module", name="data")
def the_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of bright blobs, and scribbles and points on those for training."""
    root, generator = tmp_path_factory.mktemp("arms"), np.random.default_rng(0)
    for number in range(6):
        part = root / "data" / ("train" if number < 4 else "test")
        mask = blobs((25, 29), generator, 1)
        image = np.clip(60 + 60 * mask + generator.normal(0, 15, mask.shape), 0, 255)
        write(part / "images", f"case{number}", image.astype(np.uint8))
        write(part / "masks", f"case{number}", mask * np.uint8(255))
    synthesize("scribbles", out=root / "scribbled", conditions=Conditions(data=root / "data"))
    return root / "data"


def test_a_method_on_other_labels_is_an_arm_whose_drawing_is_told_beside_what_it_is_worth(data: Path) -> None:
    root = data.parent
    arm, out = f"partial@{root / 'scribbled'}", root / "curve"
    words = ("--labels", "2", "all", "--label-seeds", "1", "--out", out, "--json", root / "found.json")
    found = command("curve", "unet", arm, "--data", data, *words, "--csv", root / "table.csv", *WORDS)
    assert found.returncode == 0, found.stderr
    facts = json.loads((root / "found.json").read_text())
    points = {(point.method, point.labels): point for point in CurveRecord.model_validate(facts).points}
    assert [*points] == [
        ("unet", "2"), ("unet", "all"), ("partial@scribbled", "2"), ("partial@scribbled", "all")
    ]  # fmt: skip
    whole, drawn = open_dataset(data), open_dataset(root / "scribbled")
    outlines = [outline_effort(load(case, labels=whole.labels).masks[0][0]) for case in whole.split("train")]
    assert points["unet", "all"].effort == {
        "pixels": sum(pixels for pixels, _ in outlines), "strokes": sum(strokes for _, strokes in outlines)
    }  # fmt: skip
    strokes = [case.origin.effort["pixels"] for case in drawn.cases]
    assert points["partial@scribbled", "all"].effort["pixels"] == sum(strokes)
    assert points["partial@scribbled", "2"].effort["pixels"] in {
        a + b for number, a in enumerate(strokes) for b in strokes[:number]
    }
    runs = {path.parent.relative_to(out / "runs").as_posix() for path in out.rglob("run.json")}
    assert "partial@scribbled/labels-2/draw-0/seed-0" in runs
    labelled = [
        json.loads((out / f"runs/{name}/labels-2/draw-0/seed-0/run.json").read_text())["labelled"]
        for name in ("unet", "partial@scribbled")
    ]
    assert labelled[0] == labelled[1], "the same subjects, by their ids"
    assert "the labels of `partial@scribbled` take about" in found.stdout
    assert "pixels drawn" in Page(out / "curve.html").text
    rows = list(csv.DictReader((root / "table.csv").read_text().splitlines()))
    assert all(int(row["pixels"]) > 0 for row in rows)
    (root / "scribbled/scribbles/case0.png").write_bytes((root / "scribbled/scribbles/case1.png").read_bytes())
    again = command("curve", "unet", arm, "--data", data, *words[:-2], *WORDS)
    assert again.returncode == 2
    assert "the labels of partial@scribbled have changed" in again.stderr


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["unet", "partial@nowhere"], "there is no 'nowhere'; expected METHOD@FOLDER"),
        (["unet", "unet@"], "expected METHOD@FOLDER"),
        (["unet", "unet"], "unet: is named twice"),
        (["vesselness@"], "expected METHOD@FOLDER"),
        ([], "found no method"),
    ],
)
def test_arms_that_are_none_are_refused(words: list[str], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        arms_of(words)


def test_an_arm_that_learns_from_test_subjects_or_from_others_is_refused(data: Path, tmp_path: Path) -> None:
    everything = tmp_path / "everything"
    synthesize("points", out=everything, conditions=Conditions(data=data, split="all"))
    whole = open_dataset(data)
    check_arm("x", open_dataset(everything), whole)
    facts = json.loads((everything / "scantling.json").read_text())
    for case in facts["case"]:
        case["split"] = "train"
    (everything / "scantling.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match="has case4, case5 for training"):
        check_arm("x", open_dataset(everything), whole)
    for case in facts["case"]:
        case["id"] = case["subject"] = f"other-{case['id']}"
    (everything / "scantling.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match="has no training subject of"):
        check_arm("x", open_dataset(everything), whole)


def test_the_effort_of_what_people_drew_is_counted_as_that_of_rules(data: Path) -> None:
    drawn = open_dataset(data.parent / "scribbled")
    for case in drawn.cases[1:]:
        by_hand = Case(id=case.id, subject=case.subject, images=case.images, scribbles=case.scribbles)
        found = effort_of_case(drawn, by_hand, {"image", "scribbles"})
        assert found["pixels"] == case.origin.effort["pixels"]
    boxed = Case(id="x", subject="x", images=case.images, boxes=(((0, 4), (0, 4)), ((5, 9), (1, 3))))
    assert effort_of_case(drawn, boxed, {"image", "boxes"}) == {"pixels": 4, "strokes": 2}


def test_arms_are_taken_from_python(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected METHOD@FOLDER"):
        scantling.curve(["unet", "partial@nowhere"], data, tmp_path / "curve", preset="tiny")
