"""A model that has seen one slice of a patient has seen the patient: training, evaluation and comparison say so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from made import blobs, write
from scantling.cli.main import main
from scantling.core.case import Case
from scantling.data.dataset import open_dataset
from scantling.evaluation.truth import choose
from scantling.records.predictions import PredictionsRecord
from scantling.records.run import RunRecord, TrainingData, read_run
from scantling.report.commands import data_flags
from scantling.report.targets import Run
from scantling.training.leakage import learned_from


def picture(path: Path, seed: int) -> None:
    write(path.parent, path.stem, np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8))


def record_of(folder: Path, cases: tuple[Case, ...], *, subjects: str = "name") -> RunRecord:
    facts = {
        "method": "unet", "settings": {}, "warnings": [], "split": {"train": [case.id for case in cases]},
        "data": [TrainingData(path=str(folder.resolve()), name=folder.name)], "subjects": subjects,
    }  # fmt: skip
    return RunRecord.model_validate(facts)


def test_a_patient_who_was_learned_from_in_another_folder_is_known_by_name(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for p in range(3):
        for s in range(2):
            picture(one / "images" / f"pat{p}_slice{s}.png", 10 * p + s)
            picture(other / "images" / f"pat{p + 2}_slice{s + 5}.png", 100 + 10 * p + s)
    seen, ids = open_dataset(one), {case.id for case in open_dataset(other).cases}
    found = learned_from([record_of(one, seen.cases)], open_dataset(other), among=ids)
    assert found == {"pat2_slice5", "pat2_slice6"}
    alone = record_of(one, seen.cases, subjects="file")
    assert learned_from([alone], open_dataset(other, subjects="file"), among=ids) == set()


def test_evaluation_says_which_cases_are_of_subjects_that_were_trained_on(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    for p in range(3):
        for s in range(2):
            for kind in ("images", "masks"):
                picture(data / kind / f"pat{p}_slice{s}.png", 10 * p + s)
    truth = open_dataset(data)
    run.mkdir()
    trained = tuple(case for case in truth.cases if case.id in ("pat0_slice0", "pat1_slice0"))
    record = record_of(data, trained)
    facts = {"traits": {}, **record.facts()}
    (run / "run.json").write_text(RunRecord.model_validate(facts).model_dump_json(exclude_unset=True))
    listing = PredictionsRecord(run=str(run))
    ids = {case.id for case in truth.cases}
    notes = choose(truth, tmp_path, answered=ids, listing=listing, split="all", kind="mask").notes
    assert any("trained on 2 of these cases (pat0_slice0, pat1_slice0)" in note for note in notes)
    assert any("other images of the subjects of 2 of these cases (pat0_slice1, pat1_slice1)" in note for note in notes)


def test_how_subjects_were_told_is_recorded_and_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    for p in range(3):
        for s in range(2):
            mask = blobs((32, 32), generator, 1)
            write(tmp_path / "data" / "images", f"pat{p}_slice{s}", (60 + 90 * mask).astype(np.uint8))
            write(tmp_path / "data" / "masks", f"pat{p}_slice{s}", mask * 255)
    train = ["train", "unet", "--data", str(tmp_path / "data"), "--preset", "tiny", "--steps", "1", "--validation", "0"]
    assert main([*train, "--out", str(tmp_path / "name")]) == 0
    assert main([*train, "--subjects", "file", "--out", str(tmp_path / "file")]) == 0
    name, file = read_run(tmp_path / "name"), read_run(tmp_path / "file")
    assert (name.subjects, file.subjects) == ("name", "file")
    tested = set(name.split["test"])
    assert {id.split("_")[0] for id in tested}.isdisjoint(id.split("_")[0] for id in name.split["train"])
    assert "6 cases of 3 subjects by their names" in capsys.readouterr().err
    assert data_flags(cast("Run", SimpleNamespace(record=file))) == ["--subjects", "file"]
    assert data_flags(cast("Run", SimpleNamespace(record=name))) == []
