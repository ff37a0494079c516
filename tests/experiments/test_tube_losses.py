"""The benchmark of losses for tubes: what it scores, that it is done once, and when it says that a loss helps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.data.dataset import open_dataset
from scantling.data.division import divide
from scantling.evaluation import evaluate
from scantling.experiments.statistics import Paired
from scantling.phantoms import vessel_images
from script import script

tubes = script("benchmarks/tubes.py")


def test_a_table_of_validation_cases_is_made_once_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "vessels", tmp_path / "out"
    for number, (image, mask) in enumerate(vessel_images(6, 32, seed=0)):
        for kind, array in (("images", image), ("masks", mask * np.uint8(255))):
            (data / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(data / kind / f"{number:02}.png")
    monkeypatch.setattr(tubes, "MENDING", {"rule": "hysteresis"})  # needs nothing compiled
    command = ["--data", str(data), "--out", str(out), "--preset", "tiny", "--seeds", "0", "--threads", "1"]
    assert tubes.main([*command, "--steps", "2"]) == 0
    first = capsys.readouterr().out
    assert first.count("| vessels |") == 2 * len(tubes.LOSSES)

    dataset = divide(open_dataset(data), validation=tubes.HELD_OUT)
    held_out = {case.id for case in dataset.split("validation")}
    for loss in ("dice", "cldice", "skeleton-recall"):
        place = out / f"vessels-unet-{loss}-0"
        kept = json.loads((place / "validation.json").read_text())
        assert all(cases.keys() == held_out for cases in kept["scores"].values())
        again = evaluate(place / "validation" / "masks", dataset, split="validation", metrics=["dice"])
        for case in again.cases:
            assert kept["scores"]["none"][case.id]["dice"] == pytest.approx(case.scores.mean["dice"])
        settings = json.loads((place / "run" / "model" / "settings.json").read_text())["settings"]
        weights = {"dice": (0, 0), "cldice": (0.5, 0), "skeleton-recall": (0, 1)}[loss]
        assert (settings["cldice"], settings["skeleton_recall"]) == weights

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(tubes, "train", never)
    assert tubes.main([*command, "--steps", "2"]) == 0
    assert capsys.readouterr().out == first
    assert tubes.main([*command, "--steps", "3"]) == 1
    assert "choose another --out" in capsys.readouterr().err


def test_a_loss_helps_only_beyond_the_noise_of_images_and_of_seeds() -> None:
    better, level = Paired(0.02, (0.01, 0.03), 0.01), Paired(0.0, (-0.01, 0.01), 0.9)
    worse, unsure = Paired(-0.02, (-0.03, -0.01), 0.01), Paired(0.02, (-0.01, 0.05), 0.2)
    alone = Paired(0.02, (np.nan, np.nan), np.nan)
    assert tubes.helps(better, [0.01, 0.03], level)
    assert not tubes.helps(better, [-0.01, 0.05], level)
    assert not tubes.helps(better, [0.01, 0.03], worse)
    assert not tubes.helps(unsure, [0.02, 0.02], level)
    assert not tubes.helps(alone, [0.02], level)
