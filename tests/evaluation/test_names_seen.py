"""Scores of classes that a model had learned, and of those that it knows by their words alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scantling.evaluation import evaluate

TRUTH = np.repeat([0, 1, 2, 3], 4).astype(np.uint8).reshape(4, 4)
MASK = np.where(np.arange(16).reshape(4, 4) == 15, 0, TRUTH).astype(np.uint8)  # a pixel of the last class is missed
CLASSES = ["liver", "spleen", "cyst"]


def folders(place: Path, *, vocabulary: list[str]) -> tuple[Path, Path]:
    """Masks of one image that a run of two classes gave for a vocabulary, and their truth."""
    (place / "run").mkdir()
    traits: dict[str, Any] = {"labels": {"names": ["Liver", "lien"], "values": [[1], [2]]}}
    (place / "run" / "run.json").write_text(json.dumps({"method": "odise", "traits": traits}))
    for name, mask in (("truth", TRUTH), ("out", MASK)):
        (place / name).mkdir()
        Image.fromarray(mask).save(place / name / "p.png")
    (place / "truth" / "scantling.toml").write_text(
        'classes = { liver = 1, spleen = 2, cyst = 3 }\n[[group]]\npattern = "{id}.png"\nimages = {}\nmasks = "{path}"'
    )
    facts = {
        "run": str(place / "run"), "classes": CLASSES, "values": [[1], [2], [3]], "exclusive": True,
        "options": {"vocabulary": vocabulary}, "cases": [{"id": "p", "mask": "p.png"}], "failed": [],
    }  # fmt: skip
    (place / "out" / "predictions.json").write_text(json.dumps(facts))
    return place / "out", place / "truth"


def test_learned_names_and_others_have_scores_of_their_own(tmp_path: Path) -> None:
    found = evaluate(*folders(tmp_path, vocabulary=["liver", "spleen|lien", "cyst"]), metrics=["iou", "dice"])
    names = found.record().names
    assert {group: one.classes for group, one in names.items()} == {"seen": ("liver", "spleen"), "unseen": ("cyst",)}
    assert names["seen"].mean["iou"] == pytest.approx(1.0)
    assert names["unseen"].mean["iou"] == pytest.approx(0.75)
    assert found.record().notes[-1].startswith("Classes that it knows by their words alone (cyst): mIoU 0.7500")
    assert "Classes that the model has learned (liver, spleen): mIoU 1.0000" in found.table()


def test_without_a_vocabulary_or_a_run_nothing_is_told_apart(tmp_path: Path) -> None:
    for number, change in enumerate(({"options": {}}, {"run": str(tmp_path / "gone")}, {"run": None})):
        (place := tmp_path / str(number)).mkdir()
        out, truth = folders(place, vocabulary=CLASSES)
        facts = json.loads((out / "predictions.json").read_text())
        (out / "predictions.json").write_text(json.dumps(facts | change))
        assert evaluate(out, truth, metrics=["iou"]).record().names == {}
