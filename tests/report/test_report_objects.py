"""The report draws the worst case by its objects, with its merges and splits side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from reported import page_of
from scantling.evaluation.folders import evaluate


def written(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


def test_the_worst_case_is_drawn_with_its_merges_and_splits(tmp_path: Path) -> None:
    truth = np.zeros((40, 50), np.uint8)
    truth[4:12, 4:12], truth[4:12, 12:20], truth[24:32, 20:36] = 1, 2, 3
    data = tmp_path / "data"
    written(data / "images", {id: (truth > 0).astype(np.uint8) * 80 for id in "ab"})
    written(data / "masks", {id: (truth > 0).astype(np.uint8) * 255 for id in "ab"})
    written(data / "instances", dict.fromkeys("ab", truth))
    found = np.where(truth == 2, 1, truth)
    found[24:32, 28:36] = 4
    out = written(tmp_path / "out", {"a": truth, "b": found})
    facts = evaluate(out, data, metrics=["dice", "pq"]).facts()
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(facts))
    page = page_of(path)
    said = "Case b, the worst by Panoptic quality (0.000): 3 true objects, 3 predicted, 1 merge and 1 split."
    assert said in page.text
    for caption in ("Outlines", "Merge 1: truth", "Merge 1: prediction", "Split 1: truth", "Split 1: prediction"):
        assert f"<figcaption>{caption}</figcaption>" in page.source
    assert "6 true objects and 6 predicted in all cases together, 1 merge, 1 split: PQ" in page.text
    (out / "b.png").unlink()
    page = page_of(path)
    assert "the worst by Panoptic quality (0.000)." in page.text
    assert "Merge 1" not in page.text


def test_without_metrics_of_objects_none_are_drawn(tmp_path: Path) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[3:9, 3:9] = 255
    data, out = written(tmp_path / "data", {"a": mask}), written(tmp_path / "out", {"a": mask})
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(evaluate(out, data).facts()))
    assert "Outlines" not in page_of(path).text
