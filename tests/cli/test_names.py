"""Names of every kind go through every command, and a console shows what it can and escapes the rest."""

from __future__ import annotations

import html
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from made import blobs, write
from scantling.cli import command
from scantling.cli.main import main

NAMES = (
    "-dash", "two  words", "it's", "[bold]", "[x]", "{brace}", "100% & more", "a#b", "(1)+;,~!", "\u00e9",
    "\u60a3\u8005-02", "\U0001f600", "x" * 200,
)  # fmt: skip


def images(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    generator = np.random.default_rng(0)
    for name in names:
        mask = blobs((32, 32), generator, 1)
        write(
            folder / "images", name, np.clip(60 + 90 * mask + generator.normal(0, 9, (32, 32)), 0, 255).astype(np.uint8)
        )
        write(folder / "masks", name, mask * 255)
    return folder


def scantling(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    code = "import sys; from scantling.cli.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        timeout=300,
        check=False,
    )


def test_names_of_every_kind_go_through_every_command(tmp_path: Path) -> None:
    data, run, masks = images(tmp_path / "it's [x] & #1"), tmp_path / "[bold]run", tmp_path / "-masks #2"
    known = {name if len(name) < 200 else "x" * 200 for name in NAMES}
    assert main(["check", str(data), "--contact-sheet", str(tmp_path / "sheet.png")]) == 0
    train = ["train", "unet", "--data", str(data), "--out", str(run), "--preset", "tiny", "--steps", "2"]
    assert main(train) == 0
    assert main(["predict", str(run), str(data), "--split", "all", "--out", str(masks), "--probabilities"]) == 0
    assert {path.stem for path in masks.glob("*.png")} == known
    scores = tmp_path / "scores.json"
    assert main(["evaluate", str(masks), str(data), "--split", "all", "--json", str(scores)]) == 0
    assert {case["id"] for case in json.loads(scores.read_text(encoding="utf-8"))["cases"]} == known
    mended = str(tmp_path / "mended")
    assert main(["mend", str(masks / "probabilities"), "--out", mended, "--rule", "threshold"]) == 0
    assert main(["compare", str(run), str(masks), "--data", str(data), "--split", "all", "--metrics", "dice"]) == 0
    page = tmp_path / "page.html"
    assert main(["report", str(run), "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert html.escape(data.name, quote=False) in text.replace("&#39;", "'")
    assert "it's [x] & #1" not in text


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    console = Console(force_terminal=True, markup=False, width=200)
    monkeypatch.setattr(command, "talk", lambda: console)
    return console


def test_a_name_in_brackets_is_no_markup_of_the_progress_bar(terminal: Console) -> None:
    with terminal.capture() as capture, command.counting("checking") as progress:
        progress(1, 2, "[/x] [bold]")
        terminal.print("a line")
    assert "a line" in capture.get()


def test_a_console_of_few_characters_escapes_the_others(tmp_path: Path) -> None:
    data = images(tmp_path, ("\u0141\u00f3d\u017a", "\u00e9", "\U0001f600", "\u60a3"))
    (data / "images" / "\u60a3-broken.png").write_bytes(b"no image")
    done = scantling("check", data, "--json", "-", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert "\\u60a3-broken.png" in done.stderr.decode("ascii")
    report = json.loads(done.stdout.decode("ascii"))
    assert any("\u60a3-broken.png" in finding["sentence"] for finding in report["findings"])


@pytest.mark.skipif(os.name != "posix", reason="locales of POSIX systems")
def test_a_c_locale_loses_no_name(tmp_path: Path) -> None:
    data = images(tmp_path, ("\u0141\u00f3d\u017a", "\U0001f600", "c0"))
    done = scantling("check", data, LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="")
    assert done.returncode == 0, done.stderr
    assert b"3 images with masks" in done.stdout
    done.stdout.decode("ascii")
