"""Run folders and evaluations for the tests of the report, and the page as a tree that must balance."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scantling.report import report

SIZE = (24, 32)
VOID = {"meta", "link", "img", "br", "hr", "input"}


def evaluation(folder: Path, *, cases: int = 12, **changes: Any) -> dict[str, Any]:
    """An evaluation in which nothing is doubtful, with its PNG files; the Dice of the cases rises with their number."""
    draws = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number in range(cases):
        truth = np.zeros(SIZE, np.uint8)
        truth[4:12, 5 + number % 8 : 20] = 255
        mask = np.roll(truth, (number % 3, 1), axis=(0, 1))
        photo = draws.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        files = {}
        for what, array in (("image", photo), ("truth", truth), ("prediction", mask)):
            path = folder / f"{what}-{number:02d}.png"
            Image.fromarray(array).save(path)
            files[what] = [str(path)] if what == "image" else str(path)
        dice = 0.80 + 0.002 * number
        values = {"dice": dice, "precision": dice + 0.01, "sensitivity": dice - 0.01, "accuracy": 0.97}
        values |= {"vca": 1.1, "log_vca": 0.1, "hd95": 9.0 - 0.1 * number, "ece": 0.02}
        listed.append({"id": f"case-{number:02d}", "subject": f"s{number:02d}", **values, "files": files})
    keys = [key for key in listed[0] if key not in ("id", "subject", "files")]
    classes = changes.get("classes", ["vessel"])
    mean = {key: float(np.mean([case[key] for case in listed])) for key in keys}
    facts: dict[str, Any] = {
        "prediction": str(folder), "truth": str(folder / "truth"), "split": "test", "run": None, "classes": ["vessel"],
        "labels": labels_of(classes, [[255]] if len(classes) == 1 else [[n + 1] for n in range(len(classes))]),
        "mean": mean, "std": dict.fromkeys(keys, 0.01),
        "interval": {key: [value - 0.01, value + 0.01] for key, value in mean.items()},
        "count": dict.fromkeys(keys, cases), "classes_mean": {}, "cases": listed, "failed": [], "notes": [],
        "conventions": ["Dice: 1 if both masks are empty, 0 if only one is."],
        "detection": {"found": {"cases": [cases, cases], "subjects": [cases, cases]}},
        "reliability": {
            "edges": [0.0, 0.5, 1.0], "confidence": [0.2, 0.8], "accuracy": [0.2, 0.8], "count": [90, 10],
        },
    }  # fmt: skip
    return facts | changes


def labels_of(names: list[str], values: list[list[int]], *, ignore: int | None = None) -> dict[str, Any]:
    """What an evaluation says of masks whose values mean the same on both sides."""
    labels = {"names": names, "values": values, "ignore": ignore, "background": [0]}
    return {"truth": labels, "prediction": labels, "order": list(range(len(names)))}


def run_facts(data: Path) -> dict[str, Any]:
    """A run.json in which nothing is doubtful."""
    return {
        "command": ["/somewhere/bin/scantling", "train", "unet", "--data", str(data), "--out", "runs/one two"],
        "method": "unet", "preset": "quick", "settings": {"depth": 4, "optimiser": {"rate": 0.003}}, "base": None,
        "traits": {"regions": False, "foreground": [0.09], "labelled": 16, "unlabelled": 2,
                   "labels": {"names": ["vessel"], "values": [[255]], "ignore": None}},
        "data": [{"path": str(data), "name": "drive", "sha256": "8c1f0a3be2d94f77", "cases": {"train": 18}}],
        "split": {"train": [f"t{n}" for n in range(18)], "validation": [f"v{n}" for n in range(6)],
                  "test": [f"case-{n:02d}" for n in range(12)]},
        "seed": 3, "options": {"select": "last"}, "started": "2026-11-20T09:12:44+00:00",
        "finished": "2026-11-20T09:17:21+00:00", "seconds": 277.3, "parameters": 312481, "steps": 400,
        "selected": {"rule": "last", "stage": "train", "step": 400, "value": None}, "warnings": [],
        "device": "cpu", "device_name": "A processor", "threads": 2, "versions": {"torch": "2.13.0", "monai": None},
    }  # fmt: skip


def log_lines(
    steps: int = 100, loss: Callable[[int], float] = lambda step: 0.2 + math.exp(-step / 8)
) -> list[dict[str, Any]]:
    """A log whose loss has settled and whose validation has levelled off."""
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        losses = {"segmenter": {"cross_entropy": loss(step), "dice": loss(step) / 2}}
        lines.append(
            {
                "stage": "train",
                "step": step,
                "seconds": step / 10,
                "rate": 10,
                "losses": losses,
                "lr": {"segmenter": 1e-3},
            }
        )
        if step % 10 == 0:
            lines.append({"stage": "train", "step": step, "validation": {"dice": 0.8 - 0.5 * math.exp(-step / 6)}})
    return lines


def write_run(folder: Path, facts: dict[str, Any], lines: list[Any], *evaluations: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "evaluations").mkdir(exist_ok=True)
    for number, one in enumerate(evaluations):
        (folder / "evaluations" / f"test{number}.json").write_text(json.dumps(one))
    return folder


def settled_run(folder: Path) -> Path:
    """A run in `folder`/runs/one with masks in `folder`/masks, in which nothing is doubtful."""
    facts = evaluation(folder / "masks")
    return write_run(folder / "runs" / "one", run_facts(folder / "masks" / "truth"), log_lines(), facts)


class Page(HTMLParser):
    """A page as a tree of tags that must balance, with its texts, attributes and tables at hand."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(self.source)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of {tag} stands twice"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes what it did not open"

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def text(self) -> str:
        """What a reader sees."""
        return " ".join(" ".join(data for tag, data in self.texts if tag not in ("style", "script")).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def rows(self) -> list[list[str]]:
        """The cells of every row of every table, without their tags."""
        rows = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", self.source))
        return [[html.unescape(re.sub("<[^>]*>", "", cell)) for cell in row] for row in rows]

    def doubts(self) -> list[str]:
        """The sentences below "What to doubt"."""
        found = re.search(r'<ul class="doubts">(.*?)</ul>', self.source, re.S)
        return re.findall(r"</span><span>(.*?)</span></li>", found[1], re.S) if found else []


def page_of(*targets: Path, out: Path | None = None) -> Page:
    return Page(report(targets, out=out))
