"""Every file that is written is read back equal by its model; files from before versions are read; damage is said."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from made import images_for, write
from scantling.core.errors import FileError, RunError
from scantling.data.manifest import read_manifest
from scantling.evaluation import evaluate
from scantling.experiments.compare import compare
from scantling.inference import synthesize
from scantling.methods.catalogue import CARDS
from scantling.records.comparison import ComparisonRecord
from scantling.records.evaluation import EvaluationRecord, Region
from scantling.records.made import MadeRecord
from scantling.records.predictions import PredictionsRecord
from scantling.records.record import FileRecord, read_json, read_record
from scantling.records.run import RunRecord, read_run
from scantling.training import Options, train

KINDS = (RunRecord, EvaluationRecord, ComparisonRecord, PredictionsRecord, MadeRecord)

# What earlier commands have written, as short as it can be.
OLD_RUN: dict[str, Any] = {
    "command": ["scantling", "train", "unet"], "method": "unet", "settings": {"depth": 2}, "base": "runs/first",
    "data": [{"path": "/data", "name": "data", "sha256": None, "cases": {"train": 1}}],
    "split": {"train": ["a"], "validation": [], "test": []}, "seed": 0, "options": {"select": "last"},
    "traits": None, "started": "2026-11-01 10:00:00 UTC", "finished": None, "warnings": [],
}  # fmt: skip
OLD_EVALUATION: dict[str, Any] = {
    "made_by": "scantling evaluate",
    "prediction": "/masks", "truth": "/truth", "split": None, "run": None,
    "options": {"probabilities": None, "region": "dataset", "measures": ["dice"], "manifest": None, "root": None},
    "made": {"asked": {"samples": 4}}, "classes": ["vessel"],
    "mean": {"dice": 0.5}, "std": {"dice": None}, "interval": {"dice": None}, "count": {"dice": 1},
    "cases": [{"id": 7, "subject": "s", "dice": 0.5, "files": {"image": ["/i.png"], "uncertainty": None}}],
    "failed": [{"id": "b", "error": "gone"}], "notes": [], "conventions": [], "reliability": None,
}  # fmt: skip
OLD_PREDICTIONS: dict[str, Any] = {
    "run": "/run", "classes": ["vessel"], "values": [[255]], "asked": {"samples": 4}, "calls": 1, "total": 1, "of": "0",
    "cases": [{"id": "a", "mask": "a.png", "probability": None, "seconds": 0.1}], "failed": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["unet"], tmp_path_factory.mktemp("records") / "data", dimensions=2)


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    options = Options(preset="tiny", steps=2, validation=0.3)
    train("unet", [data], data.parent / "run", options, console=Console(quiet=True))
    return data.parent / "run"


def saved(path: Path, facts: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts))
    return path


def comes_back(record: FileRecord, path: Path) -> None:
    """A record is the same after its file, and so is the file after its record."""
    record.write(path)
    again = read_record(type(record), path)
    assert again == record
    assert again.facts() == record.facts() == read_json(path)


def test_a_run_comes_back(run: Path, tmp_path: Path) -> None:
    written = read_json(run / "run.json")
    assert written["version"] == 1
    record = read_run(run)
    assert record.facts() == written, "nothing is lost"
    assert (record.method, record.finished, record.earlier) == ("unet", written["finished"], {})
    comes_back(record, tmp_path / "run.json")


def test_predictions_come_back(run: Path, tmp_path: Path) -> None:
    written = read_json(run / "validation" / "predictions.json")
    record = read_record(PredictionsRecord, run / "validation" / "predictions.json")
    assert record.facts() == {"version": 1, **written}
    assert record.made == {key: value for key, value in written.items() if key not in ("version", "cases", "failed")}
    assert record.labels.names == tuple(written["classes"])
    comes_back(record, tmp_path / "predictions.json")


def test_an_evaluation_and_a_comparison_come_back(data: Path, tmp_path: Path) -> None:
    masks = data / "test" / "masks"
    shape = np.zeros((4, 4), np.uint8)
    write(tmp_path / "other", "nothing", shape)  # has no true mask, and is left out
    for path in masks.iterdir():
        (tmp_path / "other" / path.name).write_bytes(path.read_bytes())
    found = evaluate(masks, data, split="test")
    facts = found.facts()
    assert facts["version"] == 1
    assert facts["region"] == {"of": "image"}
    assert set(facts["definitions"]) == set(facts["mean"])
    assert facts["cases"][0]["dice"] == found.cases[0].scores.mean["dice"]
    comes_back(found.record(), tmp_path / "scores.json")
    compared = compare([masks, tmp_path / "other"], data, metrics=["dice"])
    assert (compared.facts()["version"], compared.facts()["region"]["of"]) == (1, "image")
    comes_back(compared.record(), tmp_path / "compared.json")


def test_the_manifest_of_made_cases_comes_back_and_is_a_manifest(tmp_path: Path) -> None:
    made = synthesize("fractal-vessels", count=2, out=tmp_path / "made", settings={"size": 64})
    record = read_record(MadeRecord, tmp_path / "made" / "scantling.json")
    assert [case.id for case in record.case] == [case["id"] for case in made["case"]]
    comes_back(record, tmp_path / "again" / "scantling.json")
    manifest = read_manifest(tmp_path / "again" / "scantling.json")
    assert (manifest.case, manifest.version) == (record.case, 1)


def test_a_run_from_before_versions_is_read(tmp_path: Path) -> None:
    record = read_record(RunRecord, saved(tmp_path / "run.json", OLD_RUN))
    assert (record.version, record.earlier, record.data[0].path) == (1, {"from": "runs/first"}, "/data")
    with pytest.raises(FileError, match="does not describe a training"):
        read_run(tmp_path)


def test_an_evaluation_from_before_versions_is_read(tmp_path: Path) -> None:
    record = read_record(EvaluationRecord, saved(tmp_path / "a.json", OLD_EVALUATION))
    assert record.options["metrics"] == ["dice"]
    assert record.made == {"requested": {"samples": 4}}
    assert record.region == Region(of="cases")
    assert record.definitions == {"dice": 0}, "detections are not counted: an empty truth counted otherwise"
    assert (record.cases[0].id, record.cases[0].values) == ("7", {"dice": 0.5})
    assert record.facts()["made_by"] == "scantling evaluate"
    later = read_record(EvaluationRecord, saved(tmp_path / "b.json", OLD_EVALUATION | {"detection": {}}))
    assert later.definitions == {"dice": 1}
    comes_back(later, tmp_path / "c.json")


@pytest.mark.parametrize(
    ("region", "expected"),
    [(None, Region()), ("dataset", Region(of="cases")), ("/fov", Region(of="folder", folder="/fov"))],
)
def test_the_region_of_an_old_evaluation_is_that_of_its_options(region: str | None, expected: Region) -> None:
    record = EvaluationRecord.model_validate({"cases": [], "options": {"region": region}})
    assert record.region == expected


def test_predictions_from_before_versions_are_read(tmp_path: Path) -> None:
    record = read_record(PredictionsRecord, saved(tmp_path / "predictions.json", OLD_PREDICTIONS))
    assert record.requested == {"samples": 4}
    assert "asked" not in record.made
    assert record.facts()["calls"] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "should be a valid dictionary"),
        ("null", "should be a valid dictionary"),
        ('{"version": 2}', "update Scantling"),
        ('{"version": "new"}', "version: "),
    ],
)
def test_damage_is_said_in_one_sentence(kind: type[FileRecord], text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(FileError, match=said) as caught:
        read_record(kind, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_stranger_adds_is_kept_and_does_no_harm(kind: type[FileRecord]) -> None:
    own = {
        RunRecord: OLD_RUN,
        EvaluationRecord: OLD_EVALUATION,
        PredictionsRecord: OLD_PREDICTIONS,
        MadeRecord: {"name": "n", "classes": {"a": 1}, "case": []},
        ComparisonRecord: {
            "data": "/d", "split": "test", "baseline": "a", "metrics": [], "methods": [], "pairs": [], "cases": 0,
            "subjects": 0, "tested_subjects": 0,
        },
    }[kind]  # fmt: skip
    strange = {"facts": 1, "model_dump": "x", "write": None, "": [1e999]}
    record = kind.model_validate({**own, **strange})
    facts = record.facts()
    assert {key: facts[key] for key in strange} == strange | {"": [None]}


def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(FileError, match="is no ordinary file"):
        read_json(tmp_path / "pipe.json")
    with pytest.raises(FileError, match="cannot be read"):
        read_json(tmp_path / "none.json")
    with pytest.raises(RunError, match="found no run"):
        read_run(tmp_path)


def test_numbers_that_are_none_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"cases": [{"id": "a", "dice": NaN, "hd95": 1e400}], "mean": {"dice": Infinity}}')
    record = read_record(EvaluationRecord, path)
    assert (record.cases[0].values, record.mean) == ({"dice": None, "hd95": None}, {"dice": None})
