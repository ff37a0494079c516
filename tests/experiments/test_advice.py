"""`advise`: who can learn from what, what the rules cite, and that nothing of a test case is opened."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scantling.cli.main import main, parse
from scantling.core.case import Address
from scantling.core.errors import DataError
from scantling.data import label_source
from scantling.data.dataset import distinct, join, open_dataset
from scantling.experiments.advice import LOOKED, advise, situation_of
from scantling.experiments.advice_rules import MAKERS, RULES, Situation
from scantling.methods.catalogue import CARDS
from script import ROOT

WORDS = ("mask", "scribbles", "boxes", "instances", "image_class")


def pictures(folder: Path, *, masks: int, images: int = 6, split: str = "train", channels: int = 1) -> Path:
    """A data set of small pictures, the first so many with masks of a class 255."""
    random = np.random.default_rng(0)
    for number in range(images):
        shape = (16, 16, 3) if channels == 3 else (16, 16)
        for kind in ("images", "masks")[: 2 if number < masks else 1]:
            array = random.integers(0, 255, shape) if kind == "images" else 255 * np.eye(16, k=number)
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(folder / split / kind / f"{split}{number}.png")
    return folder


def test_no_file_of_a_test_case_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(pictures(tmp_path / "data", masks=6), masks=2, images=2, split="test")
    for file in (data / "test").rglob("*.png"):
        file.write_bytes(b"no picture")
    assert main(["advise", str(data), "--json", str(tmp_path / "advice.json")]) == 0
    told, found = capsys.readouterr().out, json.loads((tmp_path / "advice.json").read_text())
    assert "2 test cases, not opened" in " ".join(told.split())
    assert found["situation"]["labelled"] == {"mask": 6}
    assert found["tests"] == 2
    assert {"unet", "plain-diffusion"} <= {one["method"] for one in (*found["suggested"], *found["able"])}
    assert found["unable"]["partial"] == "no training case has images and scribbles"
    assert found["unable"]["gan-3d"] == "takes volumes; these are pictures"
    assert found["unable"]["dkm-kinetics"].startswith("needs 2 channels")
    every = {one["method"] for one in (*found["suggested"], *found["able"])} | found["unable"].keys()
    assert every >= {name for name, card in CARDS.items() if card.needs}


def test_a_few_masks_tell_the_classes_and_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find, asked = label_source.find_labels, list[int]()

    def noted(masks: Sequence[Address], **more: Any) -> label_source.FoundLabels:
        asked.append(len(masks))
        return find(masks, **more)

    monkeypatch.setattr(label_source, "find_labels", noted)
    data = open_dataset(pictures(tmp_path / "data", masks=40, images=40))
    more = open_dataset(pictures(tmp_path / "more", masks=1, images=2))
    found = advise(join(distinct([data, more])))
    assert found.situation.labelled == {"mask": 41}
    assert found.situation.classes == ("foreground",)
    assert len([number for number in asked if number]) <= 2, "once for each of the two data sets"
    assert 0 < sum(asked) <= LOOKED


def test_lines_are_short_and_commands_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pictures(tmp_path / "data", masks=2).parent)
    text = advise(open_dataset("data"), place="data").text(every=True)
    assert max(map(len, text.splitlines())) <= 60
    lines = re.sub(r" \\\n\s+", " ", text).splitlines()
    commands = [shlex.split(line) for line in lines if line.strip().startswith("scantling ")]
    assert len(commands) > 20
    for command in commands[::5]:
        parse(command[1:])
    teacher = "scantling train mean-teacher --data data --out runs/mean-teacher --preset quick"
    assert shlex.split(teacher) in commands
    direction = next(command for command in commands if command[2] == "direction")
    assert direction[-2:] == ["--use", "segmenter=runs/unet"]


def test_labels_that_are_few_or_none_lead_to_other_methods(tmp_path: Path) -> None:
    few = advise(open_dataset(pictures(tmp_path / "few", masks=2)))
    assert [one.method for one in few.suggested][:2] == ["unet", "mean-teacher"]
    assert few.suggested[0].commands[-1].endswith("--augment strong")
    assert few.suggested[-1].verdict == "worse"
    none = advise(open_dataset(pictures(tmp_path / "none", masks=0)), structure="vessels")
    assert [(one.method, one.verdict) for one in none.suggested] == [
        ("vessels", "helps"), ("vesselness", "helps"), ("darl", "worse"),
    ]  # fmt: skip
    assert none.suggested[0].commands[0].startswith("scantling train vessels --data")
    assert none.unable["berdiff"] == "no training case has images and masks"
    with pytest.raises(DataError, match="found no training case with an image"):
        situation_of(replace(open_dataset(tmp_path / "none"), cases=()))


def test_each_rule_speaks_of_a_method_and_cites_a_section_with_its_figures() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    sections = {
        re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-"): body
        for head, body in re.findall(r"^##+ (.+?)$(.*?)(?=^##+ |\Z)", page, re.MULTILINE | re.DOTALL)
    }
    for rule in RULES:
        assert rule.method in CARDS
        figures = re.findall(r"0\.\d{3}", rule.why)
        for figure in figures:
            near = {figure, *(f"{float(figure) + d:.4f}"[:6] for d in np.arange(-5e-4, 5e-4, 1e-4))}
            assert any(one in sections[rule.cites] for one in near), f"{rule.method}: {figure} is not in {rule.cites}"
    assert set(MAKERS.values()) <= set(CARDS)


def test_a_rule_of_masks_says_nothing_where_there_are_none() -> None:
    bare = Situation(images=5, axes=2, channels=1, classes=(), structure="regions")
    assert not [rule for rule in RULES if rule.when(bare)]
    full = replace(bare, labelled=dict.fromkeys(WORDS, 5), readers=2)
    assert {rule.method for rule in RULES if rule.when(full)} >= {"unet", "berdiff", "partial"}
