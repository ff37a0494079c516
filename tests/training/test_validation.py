"""What scores a training: masks, image classes, or masks after warping."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from made import write
from scantling.core.case import Labels
from scantling.methods.catalogue import added
from scantling.testing.trainings import quiet
from scantling.training import Options, train
from scantling.training.validation import _renumbered
from toys_registration import CARD, ToyShift


def test_a_registrar_is_scored_by_masks_after_warping_where_it_may_read_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(40), np.arange(44), indexing="ij"), -1)
    for number in range(8):
        centre = generator.uniform(12, 28, 2)
        disc = np.linalg.norm(grid - centre, axis=-1) < 7
        part = tmp_path / "data" / ("train" if number < 5 else "validation")
        write(part / "images", f"case{number}", (20 + 200 * disc).astype(np.uint8))
        write(part / "masks", f"case{number}", (255 * disc).astype(np.uint8))
    card = CARD.model_copy(update={"needs": (("image", "mask"),)})
    monkeypatch.setattr(ToyShift, "card", card)
    with added(card):
        train(card.name, [tmp_path / "data"], tmp_path / "run", Options(select="best"), console=quiet())
        train("unet", [tmp_path / "data"], tmp_path / "unet", Options(preset="tiny"), console=quiet())
        again = Options(base=tmp_path / "run", validation=0.2)
        starting = train(card.name, [tmp_path / "data"], tmp_path / "again", again, console=quiet())["starting_model"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    scores = [line["validation"]["dice_warped"] for line in lines if "validation" in line]
    assert 0.9 < scores[-1] <= 1
    assert starting["before"] == pytest.approx(max(scores))
    assert starting["after"] is not None
    assert json.loads((tmp_path / "run" / "run.json").read_text())["selected"]["value"] == max(scores)
    assert "dice" in (tmp_path / "unet" / "log.jsonl").read_text()


def test_where_classes_of_a_model_overlap_and_those_of_the_truth_do_not_the_last_one_is_decided() -> None:
    own = Labels(names=("a", "b", "c"), values=((), (), ()))
    truth = Labels(names=("c", "b"), values=((1,), (2,)))
    layers = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]], np.uint8)  # a, b, c
    assert _renumbered(layers, own, truth).tolist() == [0, 2, 2, 1]
