"""What people say of images whose source they do not know: the answers to a reading page, and their agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from scantling.core.errors import FileError, SettingsError
from scantling.data.tables import read_table
from scantling.metrics.agreement import krippendorff_alpha

QUESTIONS: Mapping[str, str] = {
    "look": "Does it look real?",
    "anatomy": "Is the anatomy correct?",
    "slices": "Do neighbouring slices fit each other?",
}
"""By the column of the answers; the last is asked of volumes alone (Khader et al., Medical diffusion, 2023)."""
GRADES: Mapping[int, str] = {1: "not at all", 2: "rather not", 3: "rather", 4: "fully"}
KEY_COLUMNS, ANSWER_COLUMNS = ("page", "case", "source", "id"), ("page", "reader", "case")
MADE, REAL = "made", "real"
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """The answers to one question.

    Attributes:
        means: of each source over its cases, each the mean over readers; NaN where nobody answered.
        deviations: over the cases of a source.
        difference: made less real, with the 95 % interval of Welch (1947) over cases; NaN of too few.
        alpha: Krippendorff's, of ordered grades; NaN of a single reader.
    """

    name: str
    means: Mapping[str, float]
    deviations: Mapping[str, float]
    difference: tuple[float, float, float]
    alpha: float


@dataclass(frozen=True)
class Readings:
    """The answers of all readers to one page.

    Attributes:
        readers: their names.
        counts: cases of each source that somebody graded.
        missing: grades that were not given.
    """

    readers: tuple[str, ...]
    counts: Mapping[str, int]
    questions: tuple[Question, ...]
    missing: int

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "readers": list(self.readers),
            "cases": dict(self.counts),
            "missing": self.missing,
            "questions": {
                each.name: {
                    "mean": dict(each.means),
                    "std": dict(each.deviations),
                    "difference": dict(zip(("mean", "low", "high"), each.difference, strict=True)),
                    "alpha": each.alpha,
                }
                for each in self.questions
            },
        }

    def table(self) -> str:
        """For a terminal."""
        count = f"{len(self.readers)} reader{'s' if len(self.readers) != 1 else ''}"
        lines = [f"{count}, {self.counts[MADE]} made and {self.counts[REAL]} real images, grades 1 to 4"]
        for each in self.questions:
            mean, low, high = each.difference
            lines.append(
                f"{QUESTIONS[each.name]} made {each.means[MADE]:.2f}, real {each.means[REAL]:.2f}; difference "
                f"{mean:+.2f} ({low:+.2f} to {high:+.2f}); agreement (Krippendorff's alpha) {each.alpha:.2f}"
            )
        if self.missing:
            lines.append(f"{self.missing} grades were not given")
        return "\n".join(lines)


def score_readings(answers: Sequence[Path], key: Path) -> Readings:
    """The grades of readers by source, which the key tells.

    Args:
        answers: one CSV for each reader, as the page saves it.
        key: the CSV that was written beside the page.

    Raises:
        SettingsError: there are no answers, or two of one reader.
        FileError: a table lacks a column, is of another page, or holds a case or a grade that there is not.
    """
    if not answers:
        raise SettingsError("found no answers; name the CSV files that readers have saved from the page")
    columns, rows = read_table(key)
    _check_columns(key, columns, KEY_COLUMNS)
    sources = {row["case"]: row["source"] for row in rows}
    pages = {row["page"] for row in rows}
    if len(pages) != 1 or not {*sources.values()} <= {MADE, REAL} or len(sources) < len(rows):
        raise FileError(key, "it is no key of one reading page", expected="the file that was written beside the page")
    cases = list(sources)
    grades: dict[str, dict[str, Floats]] = {}
    names: list[str] = []
    for path in answers:
        reader, own = _grades_of(path, page=next(iter(pages)), cases=cases)
        if reader in grades:
            raise SettingsError(f"{path}: holds answers of {reader!r} again; name each reader once")
        grades[reader] = own
        names = [name for name in QUESTIONS if name in own or name in names]
    tables = {name: np.stack([own.get(name, np.full(len(cases), np.nan)) for own in grades.values()]) for name in names}
    made = np.array([sources[case] == MADE for case in cases])
    graded = np.any([np.isfinite(table).any(0) for table in tables.values()], axis=0)
    return Readings(
        readers=tuple(grades),
        counts={MADE: int((graded & made).sum()), REAL: int((graded & ~made).sum())},
        questions=tuple(_question(name, table, made) for name, table in tables.items()),
        missing=int(sum(np.isnan(table).sum() for table in tables.values())),
    )


def _grades_of(path: Path, *, page: str, cases: Sequence[str]) -> tuple[str, dict[str, Floats]]:
    """The name of a reader, and the grades (N,) of all cases by question."""
    columns, rows = read_table(path)
    _check_columns(path, columns, ANSWER_COLUMNS)
    names = [name for name in QUESTIONS if name in columns]
    if not names:
        raise FileError(path, "it holds no question", expected=f"columns such as {', '.join(QUESTIONS)}")
    grades = {name: np.full(len(cases), np.nan) for name in names}
    places = {case: place for place, case in enumerate(cases)}
    for row in rows:
        if row["page"] != page:
            raise FileError(path, f"the answers are of page {row['page']!r}", expected=f"page {page!r}, as in the key")
        if row["case"] not in places:
            raise FileError(path, f"found case {row['case']!r}", expected=f"a case of the key, 1 to {len(cases)}")
        for name in names:
            text = row[name].strip()
            if text and text not in map(str, GRADES):
                raise FileError(path, f"case {row['case']}, {name}: found {text!r}", expected="a grade from 1 to 4")
            grades[name][places[row["case"]]] = float(text) if text else np.nan
    readers = {row["reader"] for row in rows}
    if len(readers) != 1:
        raise FileError(path, f"it holds answers of {len(readers)} readers", expected="one file for each reader")
    return readers.pop() or path.stem, grades


def _question(name: str, table: Floats, made: NDArray[np.bool_]) -> Question:
    known = np.isfinite(table)
    means = np.divide(
        np.where(known, table, 0).sum(0), known.sum(0), out=np.full(table.shape[1], np.nan), where=known.any(0)
    )
    parts = {source: means[place & np.isfinite(means)] for source, place in ((MADE, made), (REAL, ~made))}
    nan = float("nan")
    difference = (nan, nan, nan)
    if all(part.size > 1 for part in parts.values()):
        difference = _welch(parts[MADE], parts[REAL])
    return Question(
        name,
        {source: float(part.mean()) if part.size else nan for source, part in parts.items()},
        {source: float(part.std(ddof=1)) if part.size > 1 else nan for source, part in parts.items()},
        difference,
        krippendorff_alpha(table) if len(table) > 1 else nan,
    )


def _welch(one: Floats, other: Floats) -> tuple[float, float, float]:
    """The difference of two means with its interval; none where nothing scatters."""
    mean = float(one.mean() - other.mean())
    errors = np.array([part.var(ddof=1) / part.size for part in (one, other)])
    if not errors.any():
        return mean, float("nan"), float("nan")
    freedom = errors.sum() ** 2 / float(np.sum(errors**2 / (np.array([one.size, other.size]) - 1)))
    half = float(special.stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(errors.sum()))
    return mean, mean - half, mean + half


def _check_columns(path: Path, columns: Sequence[str], expected: Sequence[str]) -> None:
    if missing := [name for name in expected if name not in columns]:
        raise FileError(
            path, f"the table lacks the column {missing[0]!r}", expected=f"the columns {', '.join(expected)}"
        )
