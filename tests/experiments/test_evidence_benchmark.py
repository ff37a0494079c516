"""The trial of evidence: every arm is trained once, scored clean and without each modality, and nothing done twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data
from scantling.testing.trainings import quickly
from script import script

trial = script("benchmarks/evidence.py")


def test_every_arm_answers_with_a_modality_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = make_data(CARDS["ei-ddpm"], tmp_path / "data", dimensions=2), tmp_path / "trial"
    words = ["--data", str(data), "--out", str(out), "--channels", "a,b", "--small", "--kinds", "missing"]
    with quickly():
        assert trial.main(words) == 0, capsys.readouterr().err
    found = json.loads((out / "evidence.json").read_text())
    (seed,) = found["seeds"]
    assert set(seed["dice"]) == {"clean", "missing a", "missing b"}
    assert all(set(arms) == set(trial.ARMS) for arms in seed["dice"].values())
    assert {path.parent.name for path in out.glob("*/run.json")} == {"ei-ddpm-0", "stacked-0", "a-0", "b-0"}
    assert "reliability of a for background" in seed["ei-ddpm"]
    notes = json.loads((out / "ei-ddpm-0" / "test_missing-a" / "predictions.json").read_text())
    assert not notes.get("failed"), "a case without a modality is answered"
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/model/weights.safetensors")}
    with quickly():
        assert trial.main(words) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert json.loads((out / "evidence.json").read_text()) == found


def test_a_kind_that_there_is_not_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trial.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--kinds", "dark"]) == 2
    assert "--kinds: found 'dark'; there are noise, blank, missing" in capsys.readouterr().err
