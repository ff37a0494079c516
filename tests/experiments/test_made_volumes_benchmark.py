"""The trial of made volumes: who has seen what, and that all trainings have the same minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scantling.data.dataset import open_dataset
from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data
from scantling.training import Options
from script import script

trial = script("benchmarks/made_volumes.py")


def test_generators_and_trainings_see_what_their_column_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = CARDS["unet"]
    data = make_data(card, tmp_path / "data", dimensions=2)
    of = trial.Trial(
        data=data, out=tmp_path / "trial", labels=2, label_seed=0, count=3, seeds=1, minutes=2.0,
        generator="medical-diffusion", generator_minutes=18.0, preset="tiny", threads=1,
    )  # fmt: skip
    of.out.mkdir()
    seen = dict[str, tuple[str, list[Path], Options]]()

    def train(method: str, places: list[Path], out: Path, options: Options) -> None:
        seen[out.name] = method, places, options

    monkeypatch.setattr(trial, "train", train)
    monkeypatch.setattr(trial.scantling, "synthesize", lambda *_, **__: None)
    monkeypatch.setattr(trial.Trial, "scored", lambda self, run, whole: run)
    of.run()

    labelled, everything = (open_dataset(path) for path in of.manifests())
    known: Any = [case.id for case in open_dataset(data).split("train")]
    assert len(labelled.split("train")) == 2
    assert all(case.masks for case in labelled.split("train"))
    assert [case.id for case in everything.split("train")] == known
    assert sum(bool(case.masks) for case in everything.split("train")) == 2, "the others are images without masks"
    assert labelled.split("test") == everything.split("test")

    alone, both = [of.manifests()[0]], [of.manifests()[1]]
    assert seen["generator-made"][1] == alone
    assert seen["generator-made-all"][1] == both
    assert seen["deep-atlas-made-0"][1] == [*alone, of.out / "made"]
    assert seen["deep-atlas-real-0"][1] == both
    assert seen["unet-real-0"][1] == alone
    assert seen["unet-real-0"][2].base == of.out / "restored-real-0"
    assert seen["restored-real-0"][:2] == ("masked-pretrain", both)
    minutes = {name: options.minutes for name, (_, _, options) in seen.items() if "generator" not in name}
    assert minutes.pop("unet-alone-0") == 2.0
    assert minutes.pop("deep-atlas-made-all-0") == 2.0
    assert minutes["restored-made-0"] == minutes["unet-made-0"] == 1.0, "half for each of two"
    assert all(options.validation == 0 for _, _, options in seen.values()), "so few labels choose nothing"
