"""The trial of evidence: every arm is scored clean and without each modality, and nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scantling.contract.method import build
from scantling.data.dataset import open_dataset
from scantling.data.division import divide
from scantling.data.traits import measure_traits
from scantling.experiments import kept_scores
from scantling.methods.catalogue import CARDS, implementation_of
from scantling.records.run_folder import save_model
from scantling.testing.data import make_data
from script import script

trial = script("benchmarks/evidence.py")


def untrained(self: Any, method: str, data: list[Path], name: str, seed: int, minutes: float | None = None) -> Path:
    """A model as it begins, in place of a training."""
    run: Path = self.out / name
    if not (run / "model").is_dir():
        traits = measure_traits(divide(open_dataset(data[0]), validation=0.0), reads={"image", "mask"})
        kind = implementation_of(CARDS[method])
        model = build(kind, kind.Settings.preset("tiny").resolve(traits), traits, seed=ord(name[0]) + seed)
        save_model(model.eval(), run / "model")
    return run


def test_every_arm_answers_with_a_modality_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial.Trial, "trained", untrained)
    data, out = make_data(CARDS["ei-ddpm"], tmp_path / "data", dimensions=2), tmp_path / "trial"
    words = ["--data", str(data), "--out", str(out), "--channels", "a,b", "--small", "--kinds", "missing"]
    assert trial.main(words) == 0, capsys.readouterr().err
    found = json.loads((out / "evidence.json").read_text())
    (seed,) = found["seeds"]
    assert set(seed["dice"]) == {"clean", "missing a", "missing b"}
    assert all(set(arms) == set(trial.ARMS) for arms in seed["dice"].values())
    assert "reliability of a for background" in seed["ei-ddpm"]
    assert seed["dempster"]["believed"] == [[1.0], [1.0]], "what was not trained has held nothing out"
    listing = json.loads((out / "ei-ddpm-0" / "test_missing-a" / "predictions.json").read_text())
    assert listing["cases"], "a case without a modality is answered"
    assert not listing.get("failed")
    monkeypatch.setattr(kept_scores, "predict", None)  # nothing is answered again
    assert trial.main(words) == 0
    assert json.loads((out / "evidence.json").read_text()) == found


def test_what_is_lost_stands_beside_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    dice = {"clean": dict.fromkeys(trial.ARMS, 0.8), "blank a": {**dict.fromkeys(trial.ARMS, 0.3), "ei-ddpm": 0.7}}
    lost = {(name, arm): loss for name, arm, _, loss in trial.losses({"seeds": [{"dice": dice}]})}
    assert lost["blank a", "ei-ddpm"] == pytest.approx(0.1)
    assert lost["blank a", "stacked"] == pytest.approx(0.5)
    assert "0.700 (-0.100)" in trial.table({"seeds": [{"dice": dice}]})


def test_a_kind_that_there_is_not_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trial.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--kinds", "dark"]) == 2
    assert "--kinds: found 'dark'; there are noise, blank, missing" in capsys.readouterr().err
