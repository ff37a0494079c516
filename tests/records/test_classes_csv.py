"""`classes.csv`: what is written is read back, and damage is told in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from scantling.core.errors import FileError
from scantling.data import tables
from scantling.records.classes_csv import ClassRow, read_classes, write_classes

NAMES = ("benign", "malign, or not sure")
ROWS = (ClassRow("a", "benign", {NAMES[0]: 0.75, NAMES[1]: 0.25}), ClassRow("b", NAMES[1], {NAMES[0]: 0, NAMES[1]: 1}))


def test_what_is_written_is_read_back_by_id(tmp_path: Path) -> None:
    write_classes(tmp_path / "classes.csv", reversed(ROWS), NAMES)
    assert read_classes(tmp_path / "classes.csv") == (NAMES, ROWS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns"),
        ("id,predicted\na,x\n", "a column 'p NAME'"),
        ("id,predicted,p x,p x\na,x,1,0\n", "a different name for each"),
        ("id,predicted,p x,p y\na,x,1\n", "row 2 has 3 cells"),
        ("id,predicted,p x,p y\na,z,1,0\n", "predicted is 'z'"),
        ("id,predicted,p x,p y\na,x,nan,0\n", "the probability of x is 'nan'"),
        ("id,predicted,p x,p y\na,x,1.5,-0.5\n", "the probability of x is '1.5'"),
        ("id,predicted,p x,p y\na,x,0.5,0.1\n", "add up to 0.6"),
        ("id,predicted,p x,p y\na,x,1,0\na,y,0,1\n", "'a' is empty or there twice"),
        ('id,predicted,p x\n"a,x,1\n', "no CSV"),
    ],
)
def test_damage_is_told_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(FileError, match=message):
        read_classes(tmp_path / "classes.csv")


def test_a_file_that_is_missing_too_large_or_no_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "classes.csv"
    with pytest.raises(FileError, match="No such file"):
        read_classes(path)
    path.write_bytes(b"id,predicted,p \x81\n")
    with pytest.raises(FileError, match="UTF-8"):
        read_classes(path)
    monkeypatch.setattr(tables, "LARGEST", 10)
    with pytest.raises(FileError, match="at most 10"):
        read_classes(path)
