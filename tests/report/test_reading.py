"""The reading page tells nobody what is made; its answers, with the key, tell what readers said."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scantling
from commands import command
from made import write
from scantling.core.errors import FileError, SettingsError
from scantling.evaluation.readings import score_readings

RNG = np.random.default_rng(0)


def sets(folder: Path, *shape: int, count: int = 3) -> tuple[Path, Path]:
    """Made and real images."""
    suffix = "png" if len(shape) == 2 else "nii.gz"
    for name in ("made", "real"):
        for number in range(count):
            write(folder / name / "images", f"{name}-{number}", RNG.integers(0, 255, shape).astype(np.uint8))
    cases = [
        {"id": f"made-{n}", "images": f"images/made-{n}.{suffix}", "origin": {"kind": "synthetic", "model": "x"}}
        for n in range(count)
    ]
    (folder / "made" / "scantling.json").write_text(json.dumps({"name": "made", "case": cases}))
    return folder / "made", folder / "real"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def found_interval(question: dict[str, Any]) -> tuple[float | None, float | None]:
    return question["difference"]["low"], question["difference"]["high"]


def answers(path: Path, key: Path, reader: str, grades: dict[str, tuple[int, ...]]) -> Path:
    """A file as the page saves it: the grades of made and of real cases."""
    lines = ["page,reader,case,look,anatomy"]
    for row in rows_of(key):
        given = grades[row["source"]]
        lines.append(f'{row["page"]},"{reader}",{row["case"]},{given[0]},{given[1] or ""}')
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("shape", [(20, 24), (7, 9, 8)])
def test_the_page_holds_all_images_and_no_source(tmp_path: Path, shape: tuple[int, ...]) -> None:
    made, real = sets(tmp_path, *shape)
    page, key = scantling.write_reading(made, real, tmp_path / "reading.html", split="all")
    rows = rows_of(key)
    assert key.name == "reading-key.csv"
    assert sorted(row["source"] for row in rows) == ["made"] * 3 + ["real"] * 3
    assert {row["id"].split("-")[0] == row["source"] for row in rows} == {True}
    html = page.read_text()
    images = 6 if len(shape) == 2 else 6 * min(shape)
    assert html.count("<img") >= images
    assert "made-" not in html
    assert "real-" not in html
    assert ("neighbouring slices" in html) == (len(shape) == 3)
    assert html.count('type="radio"') == 6 * 4 * len(shape)
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}" in html


def test_answers_are_scored_by_source_with_the_agreement_of_readers(tmp_path: Path) -> None:
    made, real = sets(tmp_path, 20, 24)
    page, facts_of_page = tmp_path / "r.html", tmp_path / "r.json"
    done = command("assess", made, "--real", real, "--split", "all", "--reading", page, "--json", facts_of_page)
    assert done.returncode == 0, done.stderr
    key = Path(json.loads(facts_of_page.read_text())["key"])
    one = answers(tmp_path / "a.csv", key, "A", {"made": (1, 2), "real": (4, 0)})
    other = answers(tmp_path / "b.csv", key, "B", {"made": (2, 2), "real": (4, 3)})
    done = command("assess", one, other, "--key", key, "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "scores.json").read_text())
    look, structure = facts["questions"]["look"], facts["questions"]["anatomy"]
    assert look["mean"] == {"made": 1.5, "real": 4}
    assert look["difference"]["mean"] == -2.5
    assert structure["mean"] == {"made": 2, "real": 3}
    assert facts["missing"] == 3
    assert facts["readers"] == ["A", "B"]
    assert 0.4 < look["alpha"] < 1
    assert found_interval(look) == (None, None)  # no case of a source differs from another
    assert "made 1.50, real 4.00; difference -2.50" in done.stdout
    found = scantling.score_readings([one, other], key)
    assert found.facts()["cases"] == {"made": 3, "real": 3}
    assert np.isnan(scantling.score_readings(one, key).questions[0].alpha)


def test_wrong_answers_end_in_a_sentence(tmp_path: Path) -> None:
    made, real = sets(tmp_path, 20, 24)
    _, key = scantling.write_reading(made, real, tmp_path / "r.html", split="all")
    good = answers(tmp_path / "a.csv", key, "A", {"made": (1, 2), "real": (4, 3)})
    with pytest.raises(SettingsError, match="holds answers of 'A' again"):
        score_readings([good, good], key)
    with pytest.raises(FileError, match="lacks the column 'source'"):
        score_readings([good], good)
    for old, new, expected in (
        (",4,3", ",5,3", "found '5'"),
        ('"A",1,', '"A",77,', "found case '77'"),
        (rows_of(key)[0]["page"], "another", "the answers are of page 'another'"),
        ("look,anatomy", "beauty,charm", "it holds no question"),
    ):
        bad = tmp_path / "bad.csv"
        bad.write_text(good.read_text().replace(old, new))
        with pytest.raises(FileError, match=expected):
            score_readings([bad], key)
    assert command("assess", good, "--key", key, "--real", real).returncode == 2
    assert command("assess", made, "--real", real, "--reading", tmp_path / "r.html", "--features", "x").returncode == 2
    (tmp_path / "r-key.csv").write_text("something else")
    with pytest.raises(SettingsError, match="holds something else than"):
        scantling.write_reading(made, real, tmp_path / "r.html", split="all")
