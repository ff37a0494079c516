"""The report shows what was drawn of a case: annotators and samples side by side, uncertainty over the image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reported import SIZE, Page, evaluation, page_of
from scantling.core.case import Geometry
from scantling.data.files import write_map
from scantling.report.pictures import glow
from scantling.report.words import metric

MEDIAN = 5
"""The number of the median case of the twelve that `evaluation` makes."""


def drawn(folder: Path, *, samples: int, case: int = MEDIAN, uncertainty: bool = True) -> dict[str, Any]:
    """An evaluation in which one case has a second annotator, samples and an uncertainty map."""
    facts = evaluation(folder)
    files = facts["cases"][case]["files"]
    draw = np.random.default_rng(0)
    names = [*(f"samples/x/{number:02d}.png" for number in range(samples)), "second.png"]
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((draw.random(SIZE) < 0.3).astype(np.uint8) * 255).save(path)
    files |= {"samples": [str(folder / name) for name in names[:-1]], "annotators": [str(folder / "second.png")]}
    if uncertainty:
        values = np.linspace(0, 0.48, SIZE[0] * SIZE[1], dtype=np.float32).reshape(1, *SIZE)
        write_map(folder / "maps", "x", values, Geometry(SIZE, (1.0, 1.0)))
        files["uncertainty"] = {"deviation": str(folder / "maps" / "x.tif")}
        cases = [{"id": facts["cases"][case]["id"], "uncertainty": {"deviation": 0.0123}}]
        (folder / "predictions.json").write_text(json.dumps({"values": [[255]], "cases": cases}))
    return facts


def page(folder: Path, facts: dict[str, Any]) -> Page:
    (folder / "a.json").write_text(json.dumps(facts))
    return page_of(folder / "a.json")


def captions(found: Page) -> list[str]:
    """The captions of the section on samples."""
    parts = found.source.split('<div class="set">')
    return [] if len(parts) < 2 else [
        line.split("<figcaption>")[1].split("</figcaption>")[0]
        for line in parts[1].split("</section>")[0].splitlines()
        if "<figcaption>" in line
    ]  # fmt: skip


def test_the_median_case_shows_its_annotators_its_samples_and_their_disagreement(tmp_path: Path) -> None:
    found = page(tmp_path, drawn(tmp_path / "masks", samples=3))
    assert captions(found) == [
        "Image", "Annotator 1", "Annotator 2", "Sample 1", "Sample 2", "Sample 3",
        "Deviation, 0 to 0.5, mean 0.012",
    ]  # fmt: skip
    assert "Case case-05: 3 samples." in found.text


def test_of_many_samples_the_first_are_shown(tmp_path: Path) -> None:
    found = page(tmp_path, drawn(tmp_path / "masks", samples=16))
    assert "Case case-05: the first 8 of 16 samples." in found.text
    assert sum(caption.startswith("Sample") for caption in captions(found)) == 8


def test_any_case_with_samples_stands_in_where_the_median_has_none(tmp_path: Path) -> None:
    assert "Case case-02: 1 sample." in page(tmp_path, drawn(tmp_path / "masks", samples=1, case=2)).text


def test_without_samples_there_is_no_such_part(tmp_path: Path) -> None:
    assert "Samples and uncertainty" not in page(tmp_path, evaluation(tmp_path / "masks")).text


def test_uncertainty_is_shown_without_samples_too(tmp_path: Path) -> None:
    facts = drawn(tmp_path / "masks", samples=0)
    facts["cases"][MEDIAN]["files"]["annotators"] = []
    found = page(tmp_path, facts)
    assert captions(found) == ["Image", "Truth", "Deviation, 0 to 0.5, mean 0.012"]
    assert "Case case-05: where its mask is uncertain." in found.text


def test_files_that_are_gone_are_said_and_the_page_is_written(tmp_path: Path) -> None:
    facts = drawn(tmp_path / "masks", samples=2)
    (tmp_path / "masks" / "samples" / "x" / "01.png").unlink()
    (tmp_path / "masks" / "maps" / "x.tif").write_bytes(b"nothing")
    found = page(tmp_path, facts)
    assert captions(found) == ["Image", "Annotator 1", "Annotator 2", "Sample 1"]
    assert "The sample is not shown" in found.text
    assert "The deviation is not shown" in found.text


def test_files_of_another_size_are_not_drawn(tmp_path: Path) -> None:
    facts = drawn(tmp_path / "masks", samples=2)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "masks" / "samples" / "x" / "00.png")
    found = page(tmp_path, facts)
    assert captions(found) == []
    assert "The files of this case differ in size, so they are not drawn." in found.text


def test_a_glow_is_clear_at_nothing_and_opaque_at_its_brightest() -> None:
    painted = glow(np.array([[0.0, 0.25, 0.5]]), highest=0.5, colour="#102030")
    assert painted[0].tolist() == [[16, 32, 48, 0], [16, 32, 48, 128], [16, 32, 48, 255]]
    assert not glow(np.zeros((2, 2)), highest=0.0, colour="#102030")[..., 3].any()


@pytest.mark.parametrize(("key", "short"), [("ged", "GED"), ("hm_iou", "HM-IoU"), ("soft_dice", "Soft Dice")])
def test_measures_of_several_annotators_are_a_family_with_three_digits(key: str, short: str) -> None:
    said = metric(key)
    assert (said.family, said.short, said.write(0.25)) == ("several annotators", short, "0.250")
