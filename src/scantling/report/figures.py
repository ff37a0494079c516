"""A folder of figures for a paper: charts as SVG and PDF with their numbers, panels as PNG, tables in LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from scantling.core import atomic
from scantling.core.outputs import FIGURES, check_record
from scantling.report.charts import Chart
from scantling.report.drawing import drawing_of
from scantling.report.latex import table_tex
from scantling.report.vector_files import NO_PDF, can_write_pdf, pdf_bytes, svg_text


def check_figures(folder: Path | None) -> None:
    """Make sure, before anything is computed, that figures can go into a folder.

    Raises:
        SettingsError: it holds something else than figures of an earlier command, or is a file.
    """
    if folder is not None:
        check_record(folder, FIGURES, option="--figures")


@dataclass
class Figures:
    """Writes figures into a folder, each under a name of its own.

    Attributes:
        written: the names of the files, in order.
        captions: a line for each chart: what it shows and what its marks mean; they go into captions.txt.
    """

    folder: Path
    written: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)

    def chart(self, name: str, chart: Chart) -> None:
        """A chart as NAME.svg, as NAME.pdf where reportlab is installed, and its numbers as NAME.csv."""
        name, drawing = self._free(name, ".svg"), drawing_of(chart)
        self._text(f"{name}.svg", svg_text(drawing))
        if can_write_pdf():
            self._bytes(f"{name}.pdf", pdf_bytes(drawing))
        self.captions.append(f"{name}: {chart.title}. {chart.note}".strip())
        if chart.table:
            self._text(f"{name}.csv", csv_text(chart.table))

    def table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str) -> None:
        """A table as NAME.tex."""
        name = self._free(name, ".tex")
        self._text(f"{name}.tex", table_tex(header, rows, caption=caption, label=f"tab:{name}"))

    def numbers(self, name: str, rows: Sequence[Sequence[str | float | None]]) -> None:
        """A header and rows as NAME.csv."""
        self._text(f"{self._free(name, '.csv')}.csv", csv_text(rows))

    def picture(self, name: str, picture: np.ndarray) -> None:
        """A picture (h, w, 3) uint8 as NAME.png."""
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(picture)).save(file, "PNG", optimize=True)
        self._bytes(f"{self._free(name, '.png')}.png", file.getvalue())

    def finish(self, command: Sequence[str] = ()) -> list[str]:
        """Write the list of the figures; returns sentences on what is not there."""
        if self.captions:
            self._text("captions.txt", "\n".join([*self.captions, ""]))
        facts = {"made_by": "scantling --figures", "command": list(command), "files": self.written}
        atomic.write_json(self.folder / FIGURES, facts)
        return [] if can_write_pdf() else [NO_PDF]

    def _free(self, name: str, suffix: str) -> str:
        """A name of letters, digits and hyphens that no file with this suffix has."""
        name = slug(name)
        taken = {one.removesuffix(suffix) for one in self.written if one.endswith(suffix)}
        numbers = (f"{name}-{number}" for number in range(2, len(taken) + 3))
        return name if name not in taken else next(each for each in numbers if each not in taken)

    def _text(self, name: str, text: str) -> None:
        self._bytes(name, text.encode())

    def _bytes(self, name: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(self.folder / name, content)
        self.written.append(name)


def slug(text: str) -> str:
    """Text as the name of a file: lower case, hyphens for all but letters and digits."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80] or "figure"


def csv_text(rows: Sequence[Sequence[str | float | None]]) -> str:
    """Rows as CSV; a number that is not finite is empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    for row in rows:
        table.writerow(
            ["" if cell is None or (isinstance(cell, float) and not math.isfinite(cell)) else cell for cell in row]
        )
    return text.getvalue()
