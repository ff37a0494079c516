"""A training says what images its model fits and how far its expected scores hold; `evaluate` says how it went."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from made import images_for
from scantling.core.errors import FileError
from scantling.evaluation import evaluate
from scantling.inference import predict
from scantling.methods.catalogue import CARDS
from scantling.records.expectations import AppearanceRecord, ExpectedRecord, of_model
from scantling.records.run_folder import read_postprocessing
from scantling.report.page import report
from scantling.training import Options, train

OPTIONS = Options(preset="tiny", steps=60, validation=0.55, select="best")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["unet"], tmp_path_factory.mktemp("data"), dimensions=2, count=26, classes=2)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unet"
    train("unet", [data], out, OPTIONS, console=Console(quiet=True))
    return out


def test_the_calibration_is_what_evaluate_finds_on_the_validation_cases(run: Path, data: Path) -> None:
    scores = evaluate(run / "validation", data, split="validation", metrics=["dice"])
    listed = json.loads((run / "validation" / "predictions.json").read_text())
    estimates = {case["id"]: case["expected"]["estimate"] for case in listed["cases"]}
    assert "these are the validation cases" in scores.coverage.sentence  # type: ignore[union-attr]
    residuals = [case.scores.mean["dice"] - estimates[case.id] for case in scores.cases if estimates[case.id]]
    known = of_model(ExpectedRecord, run)
    assert known is not None
    assert known.low is not None
    assert known.high is not None
    assert known.cases == known.subjects == len(residuals) == 13
    assert known.centre == pytest.approx(np.median(residuals), abs=1e-4)
    assert known.low <= np.quantile(residuals, 0.1)
    assert known.high >= np.quantile(residuals, 0.9)
    assert known.fitted[0] == "the weights were chosen"


def test_predictions_promise_scores_and_mark_images_and_evaluate_and_report_say_how_it_went(
    run: Path, data: Path, tmp_path: Path
) -> None:
    known = of_model(AppearanceRecord, run)
    assert known is not None
    assert known.subjects == 11
    dark = tmp_path / "dark"
    for folder in ("images", "masks"):
        (dark / folder).mkdir(parents=True)
        for path in (data / "test" / folder).iterdir():
            array = np.asarray(Image.open(path))
            if folder == "images" and path.stem == "case24":
                array = np.repeat(np.repeat(255 - array, 3, axis=0), 3, axis=1)
            elif path.stem == "case24":
                array = np.repeat(np.repeat(array, 3, axis=0), 3, axis=1)
            Image.fromarray(array).save(dark / folder / path.name)
    done = predict(run, dark, out=tmp_path / "out")
    far, usual = sorted(done.cases, key=lambda case: case["id"])
    assert {"intensity", "scale"} <= {*far["unlike"]}
    assert far["distance"] > 1
    assert far["stands_out"]
    assert usual["distance"] < far["distance"]
    assert all(case["expected"]["low"] <= case["expected"]["dice"] <= case["expected"]["high"] for case in done.cases)
    assert any("unlike the training images" in note and "case24" in note for note in done.notes)
    assert any(note.startswith("expected Dice") and "13 validation subjects" in note for note in done.notes)
    record = evaluate(tmp_path / "out", dark).record()
    assert record.coverage is not None
    assert record.coverage.promised == 0.9
    inside = [
        case.expected.low - 1e-4 <= case.values["dice"] <= case.expected.high + 1e-4  # type: ignore[operator,union-attr]
        for case in record.cases
    ]
    assert (record.coverage.held, record.coverage.cases) == (sum(inside), 2)
    alike = [held for case, held in zip(record.cases, inside, strict=True) if not case.unlike]
    assert record.coverage.alike == (sum(alike), len(alike))
    table = evaluate(tmp_path / "out", dark).table()
    assert "of 2 cases" in table
    assert "promised" in table
    assert "unlike the training images: case24" in table
    (tmp_path / "scores.json").write_text(json.dumps(record.facts()))
    page = report([tmp_path / "scores.json"]).read_text()
    for text in ("Expected Dice", "Unlike", "90 % promised", "unlike the training images"):
        assert text in page


def test_other_answers_than_those_of_validation_have_no_interval(run: Path, data: Path, tmp_path: Path) -> None:
    assert any("low" in case["expected"] for case in predict(run, data, out=tmp_path / "own").cases)
    assert read_postprocessing(run).applied
    for name in ("views", "postprocess"):  # both are the default
        done = predict(run, data, out=tmp_path / name, options={name: False})
        assert all("low" not in case["expected"] and case["expected"]["reason"] for case in done.cases)
    evaluation = evaluate(tmp_path / "views", data, metrics=["dice"])
    assert evaluation.coverage is not None
    assert evaluation.coverage.cases == 0
    assert "No interval of the expected score was promised" in evaluation.table()


def test_models_and_predictions_of_earlier_versions_go_on(run: Path, data: Path, tmp_path: Path) -> None:
    old = tmp_path / "old" / "model"
    old.mkdir(parents=True)
    for name in ("weights.safetensors", "settings.json", "card.json"):
        (old / name).write_bytes((run / "model" / name).read_bytes())
    done = predict(tmp_path / "old", data, out=tmp_path / "out", split="all")
    assert all("unlike" not in case and "no calibration" in case["expected"]["reason"] for case in done.cases)
    path = tmp_path / "out" / "predictions.json"
    facts = json.loads(path.read_text())
    kept = facts["cases"].pop()["id"]
    for case in facts["cases"]:
        del case["expected"]  # as those that an earlier version has made
    path.write_text(json.dumps(facts))
    again = predict(tmp_path / "old", data, out=tmp_path / "out", split="all")
    assert again.skipped == len(again.cases) - 1
    assert [case["id"] for case in again.cases if "expected" in case] == [kept]
    assert evaluate(tmp_path / "out", data, split="all", metrics=["dice"]).coverage is not None


def test_a_broken_record_of_a_model_is_a_sentence(run: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "broken")
    record = json.loads((tmp_path / "broken" / "appearance.json").read_text())
    for change in ({"spread": [0.0] * len(record["spread"])}, {"features": ["a"]}, {"images": [[1.0]]}):
        (tmp_path / "broken" / "appearance.json").write_text(json.dumps(record | change))
        with pytest.raises(FileError, match="is no record of what training images look like"):
            predict(tmp_path / "broken", data, out=tmp_path / "out")


def test_few_validation_subjects_promise_nothing_and_say_how_many_there_were(data: Path, tmp_path: Path) -> None:
    few = replace(OPTIONS, validation=0.15, steps=4, select="last")
    train("unet", [data], tmp_path / "run", few, console=Console(quiet=True))
    known = of_model(ExpectedRecord, tmp_path / "run")
    assert known is not None
    assert known.low is None
    assert known.subjects < 10
    done = predict(tmp_path / "run", data, out=tmp_path / "out")
    assert any("no interval can be promised: calibrated on" in note for note in done.notes)
