"""What commands say fits the terminal: no line is too long and no value is lost; a log has each sentence on a line."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from commands import command
from made import images_for
from scantling.cli.main import main
from scantling.core.text import aligned, alike, columns_of, wrapped
from scantling.methods.catalogue import CARDS
from scantling.records.classes_csv import ClassRow, write_classes
from scantling.testing.trainings import quickly
from scantling.training.log import Bar

NARROW, WIDE = 60, 400
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal(io.TextIOWrapper):
    """A stream that calls itself a terminal."""

    def isatty(self) -> bool:
        return True


def shown(width: int, *words: str | Path) -> tuple[list[str], list[str]]:
    """The lines of a command on standard output and standard error of a terminal so wide."""
    streams = [Terminal(io.BytesIO(), "utf-8", newline="") for _ in range(2)]
    with (
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.setenv("COLUMNS", str(width))
        environment.setenv("TERM", "xterm")
        code = main([str(word) for word in words])
    assert code == 0, streams[1].buffer.getvalue().decode()
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(CODES.sub("\n", stream.buffer.getvalue().decode()).replace("\r", "\n").splitlines())
    return texts[0], texts[1]


def values(lines: list[str]) -> Counter[str]:
    """The words of what is said, however it is laid out."""
    return Counter(word.strip(":,") for line in lines for word in line.split() if word.strip(":,"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with two classes, and two trainings on them."""
    place = tmp_path_factory.mktemp("x")  # paths are words that stay whole
    images_for(CARDS["unet"], place / "data", dimensions=2, classes=2)
    with quickly():
        for seed in "01":
            train = ("train", "unet", "--data", place / "data", "--out", place / f"r{seed}", "--validation", "0.5")
            assert main([str(w) for w in (*train, "--preset", "tiny", "--steps", "2", "--seed", seed)]) == 0
    assert command("predict", place / "r0", place / "data", "--out", place / "m").returncode == 0
    made = [
        {"id": f"m{n}", "split": "train", "images": {"image": f"{n}.png"}, "masks": [f"{n}-mask.png"],
         "origin": {"kind": "synthetic", "model": "painter 0", "seed": n}}
        for n in range(4)
    ]  # fmt: skip
    shutil.copytree(place / "data", place / "more")
    for n in range(2):  # without masks, for `next`
        name = f"{n}-an-image-with-a-long-name.png"
        shutil.copy(place / "data" / "train" / "images" / f"case{n}.png", place / "more" / "train" / "images" / name)
    (place / "made").mkdir()
    for n in range(4):
        for part, name in (("images", f"{n}.png"), ("masks", f"{n}-mask.png")):
            shutil.copy(place / "data" / "train" / part / f"case{n}.png", place / "made" / name)
    (place / "made" / "scantling.json").write_text(json.dumps({"name": "made", "case": made}))
    names = ("a benign lesion", "a malignant lesion", "neither of the two")
    rows = [
        ClassRow(f"case{n}", names[n % 3], {name: 0.5 * (name == names[n % 3]) + 1 / 6 for name in names})
        for n in range(6)
    ]
    (place / "classes").mkdir()
    write_classes(place / "classes" / "classes.csv", rows, names)
    truth = "".join(f"case{n},{names[n // 2]}\n" for n in range(6))
    (place / "labels.csv").write_text(f"id,class\n{truth}")
    with quickly():
        registration = ("train", "registration", "--data", place / "data", "--out", place / "r", "--preset", "tiny")
        assert main([str(w) for w in (*registration, "--steps", "1")]) == 0
    assert command("register", place / "r", place / "data", "--out", place / "warped").returncode == 0
    return place


COMMANDS = {
    "methods": "methods",
    "one method": "methods fedd",
    "check": "check data",
    "plan": "train unet --data data --preset quick --plan",
    "a finished training": "train unet --data data --out r0 --validation 0.5 --preset tiny --steps 2 --seed 0",
    "evaluate": "evaluate m data",
    "compare": "compare r0 r1 --data data --metrics dice found false_alarm cldice hd95 --out c",
    "curve": "curve unet mean-teacher --data data --preset tiny --steps 2 --labels 2 --label-seeds 1 --out k",
    "report": "report r0",
    "image classes": "evaluate classes labels.csv",
    "registrations": "evaluate warped data",
    "vessels": "vessels m --out v.csv",
    "next": "next r0 more --count 2 --csv n.csv",
    "worth": "worth unet --data data --made made --arms real+100% --labels 2 --preset tiny --steps 2 --out w",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_at_sixty_columns_no_line_is_longer_and_no_value_is_missing(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = COMMANDS[name].split()
    with quickly():
        wide, _ = shown(WIDE, *words)  # what is trained here is not trained again
        narrow, remarks = shown(NARROW, *words)
        log = command(*words)
    for line in (*narrow, *remarks):
        assert columns_of(line) <= NARROW or " " not in line.strip(), line
    assert wide or name in ("a finished training",)
    assert not values(wide) - values(narrow), "a value is missing"
    assert not values(wide) - values(log.stdout.splitlines()), "a value is missing in a log"
    assert "\x1b" not in log.stdout + log.stderr


def test_progress_keeps_the_time_left_whatever_else_has_to_go() -> None:
    facts = ("network 0.123", "critic 1.234", "best validation 0.823")
    fits = {
        130: ("fine-tuning (2/3)", " 3000/24000", *facts),
        80: ("fine-tuning (2/3)", "━━━", " 3000/24000"),
        60: ("fine-tuning (2/3)", "━", " 3000/24000"),
        40: ("fine-tuning (2/3)",),
        24: (" 3000/24000",),
        13: (),
    }
    for width, parts in fits.items():
        console = Console(width=width, force_terminal=True, color_system=None, file=io.StringIO())
        with Bar(console, "fine-tuning (2/3)", total=24000, done=0) as bar:
            bar.to(3000, ", ".join(facts), 5)
            bar._progress.refresh()
        lines = [line for line in CODES.sub("\n", console.file.getvalue()).replace("\r", "\n").splitlines() if line]
        assert all(len(line) <= width for line in lines), lines
        last = lines[-1]
        assert " left" in last
        assert "…" not in last
        assert all(part in last for part in parts), (width, last)


def test_twenty_failures_of_one_kind_are_one_line_with_their_number(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(20):
        (tmp_path / "in" / f"scan{number:02d}.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((40, 44), np.uint8)).save(tmp_path / "in" / "whole.png")
    (tmp_path / "in" / "short.png").write_bytes((tmp_path / "in" / "whole.png").read_bytes()[:60])
    assert main(["predict", str(folder / "r0"), str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    failed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert "20 in the same way (scan00, scan01, scan02 and 17 more); of scan00: " in failed[0] + failed[1]
    assert any("failed: short: " in line for line in failed)


def test_a_table_that_is_too_wide_stands_in_blocks_then_in_lines() -> None:
    rows = [["", "Dice", "95 % interval"], ["net", "0.8", "0.7 to 0.9"], ["細胞", "0.5", "0.4 to 0.6"]]
    assert aligned(rows) == ["      Dice  95 % interval", "net    0.8     0.7 to 0.9", "細胞   0.5     0.4 to 0.6"]
    assert aligned([[*row, row[1]] for row in rows], width=28) == [
        "      Dice  95 % interval", "net    0.8     0.7 to 0.9", "細胞   0.5     0.4 to 0.6", "",
        "      Dice", "net    0.8", "細胞   0.5",
    ]  # fmt: skip
    assert aligned(rows, width=24)[:3] == ["net", "  Dice: 0.8", "  95 % interval: 0.7 to 0.9"], "never parted"
    again = [["", "labels", "Dice"], ["unet", "5", "0.8"], ["", "10", "0.9"]]
    assert aligned(again, width=8, keys=2)[2:] == ["unet, labels 10", "  Dice: 0.9"], "the method is told again"


def test_sentences_are_wrapped_at_words_and_alike_ones_counted() -> None:
    assert wrapped("  one two three", 20) == "  one two three"
    assert wrapped("  one two three four five", 20) == "  one two three four\n    five"
    assert wrapped(f"see {'x' * 30}", 20) == f"see\n  {'x' * 30}", "a path stays whole"
    sentences = ["a: a.png has 3 axes", "b: b.png has 4 axes", "c: gone", "no id"]
    assert alike(sentences) == ["2 in the same way (a and b); of a: a.png has 3 axes", "c: gone", "no id"]
