"""The benchmark of the plan against a sweep: chosen on validation, test masks read for two runs alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.cli.main import main
from script import script

regret = script("benchmarks/regret.py")


def test_the_best_on_validation_is_held_against_the_plan_and_no_other_is_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[5:15, 5:15] = 255
    for kind in ("images", "masks"):
        (tmp_path / "data" / "drive" / "test" / kind).mkdir(parents=True)
        Image.fromarray(truth).save(tmp_path / "data" / "drive" / "test" / kind / "a.png")
    tested = []

    def scantling(*words: object) -> None:
        """Trainings end with the validation score of their place in the sweep; answers of the plan are the truth."""
        if words[0] == "train":
            run = Path(str(words[words.index("--out") + 1]))
            run.mkdir(parents=True, exist_ok=True)
            dice = 0.5 + 0.1 * ("128-5" in run.name or "256" in run.name)
            (run / "log.jsonl").write_text(json.dumps({"step": 1, "validation": {"dice": dice}}) + "\n")
        elif words[0] == "predict":
            tested.append(Path(str(words[1])).name)
            masks = Path(str(words[words.index("--out") + 1]))
            masks.mkdir()
            mask = truth if tested[-1] == "plan" else np.roll(truth, 3, 0)
            Image.fromarray(mask).save(masks / "a.png")
        else:
            assert main([str(word) for word in words]) == 0

    monkeypatch.setattr(regret, "scantling", scantling)
    words = ["regret.py", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--sets", "drive"]
    monkeypatch.setattr("sys.argv", words)
    assert regret.main() == 0
    assert tested == ["plan", "full-patches-of-256-5-levels"]
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("drive "))
    assert row.split()[1:6] == ["0.5000", "1.0000", "0.6000", "0.7000", "-0.3000"]
    assert regret.main() == 0
    assert len(tested) == 2
