"""The sweep of CDM: what is trained and scored once is not done again, and slices without an object are told of."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.core.errors import DataError
from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data
from scantling.testing.trainings import quickly
from script import script

trial = script("benchmarks/cdm_sweep.py")


def test_what_is_trained_and_scored_is_not_done_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "SMALL_SWEEP", {"steps": (1,), "guidance": (0.0,)})
    monkeypatch.setattr(trial, "KINDS", ("grad-cam", "layer-cam"))
    data, out = make_data(CARDS["unet"], tmp_path / "data", dimensions=2), tmp_path / "out"
    for name in ("case1", "case3", "case5"):
        with Image.open(data / "masks" / f"{name}.png") as mask:
            size = mask.size
        Image.fromarray(np.zeros(size[::-1], np.uint8)).save(data / "masks" / f"{name}.png")
    words = ["--data", str(data), "--out", str(out), "--small"]
    with quickly():
        assert trial.main(words) == 0, capsys.readouterr().err
        found = capsys.readouterr().out
        assert "| cg-cdm | s 0 |" in found
        assert "| layer-cam | level 1 |" in found
        trained = {path: path.stat().st_mtime_ns for path in out.glob("*/model/weights.safetensors")}
        assert sorted(path.parent.parent.name for path in trained) == ["cam-0", "cdm-0", "classifier-0"]
        scores = json.loads((out / "scores.json").read_text())
        assert trial.main([*words, "--test"]) == 0, capsys.readouterr().err
    found = capsys.readouterr().out
    assert "1 test slices with the object and 1 without, of 2 patients; 1 seed" in found
    assert "cg-cdm - layer-cam" in found
    assert "not judged yet" in found
    assert trained == {path: path.stat().st_mtime_ns for path in trained}
    again = json.loads((out / "scores.json").read_text())
    assert {key: again[key] for key in scores} == scores


def test_the_best_values_of_the_sweep_are_those_of_the_greatest_dice_on_validation() -> None:
    arm = trial.Arm("cdm", (("variant", "cdm"),))
    of = trial.Trial.__new__(trial.Trial)
    of.small, of.out = True, Path("out")

    def scored(dice: float | None) -> dict[str, dict[str, float | None]]:
        return {"a": {"dice": dice}, "b": {"dice": None}}

    of.scores = {
        arm.key(0, "validation"): scored(0.4),
        arm.having(noise_level=4).key(0, "validation"): scored(0.5),
        arm.having(noise_level=8).key(0, "validation"): scored(0.6),
        arm.having(tau=0.5).key(0, "validation"): scored(0.3),
        arm.having(tau=0.5).key(0, "test"): scored(0.9),
    }
    assert dict(of._best(arm).options) == {"variant": "cdm", "noise_level": 8}
    assert math.isnan(trial.mean_of({}, arm))
    with pytest.raises(DataError, match="found no sweep of cg-cdm in out"):
        of._best(trial.Arm("cdm", (("variant", "cg-cdm"),)))
