"""Figures for a paper: vectors with named axes, panels with a true scale, tables that LaTeX takes; axes that fit."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from reported import evaluation, settled_run
from scantling.core.case import Geometry
from scantling.core.errors import SettingsError
from scantling.core.outputs import FIGURES
from scantling.data.pictures import View
from scantling.experiments.comparison import Cost
from scantling.experiments.curve_result import Curve, Point, Worth
from scantling.metrics.catalogue import METRICS
from scantling.report import report
from scantling.report.case_files import Layer, Mask
from scantling.report.case_panels import unit_of
from scantling.report.case_panels import view_of as seen_of
from scantling.report.charts import SIGNED, Axis, Chart, Series, line_chart
from scantling.report.curve import write_curve
from scantling.report.drawing import Line, Words, drawing_of, palette
from scantling.report.figures import Figures, check_figures, csv_text, slug
from scantling.report.histograms import histogram_chart
from scantling.report.latex import escaped, table_tex
from scantling.report.panels import canvas_of, contours, outlined, round_length, scaled
from scantling.report.spreads import forest_chart, reliability_chart, strip_chart
from scantling.report.vector_files import can_write_pdf, pdf_bytes, svg_text

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("snug", [False, True])
def test_an_axis_of_a_constant_share_stays_between_0_and_1(value: float, snug: bool) -> None:
    axis = Axis([value] * 3, 0, 100, bounds=(0.0, 1.0), snug=snug)
    assert 0 <= axis.low < axis.high <= 1
    assert axis.low <= value <= axis.high
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    assert axis.ticks


def test_an_axis_goes_below_0_only_for_what_can_be_negative() -> None:
    assert Axis([0.0, 0.0], 0, 100).low == 0
    assert Axis([0.02, 0.9], 0, 100).low == 0
    assert Axis([0.0], 0, 100, bounds=SIGNED).low < 0
    assert Axis([-0.3, 0.2], 0, 100).low <= -0.3
    assert Axis([1.2], 0, 100, bounds=(0.0, 1.0)).high >= 1.2, "a file may hold what cannot be; it is still drawn"


def test_an_axis_ends_at_most_a_step_beyond_its_values() -> None:
    for seed in range(200):
        values = np.random.default_rng(seed).random(5) * 10.0 ** (seed % 5 - 2)
        axis = Axis(values.tolist(), 0, 100)
        step = axis.ticks[1] - axis.ticks[0]
        assert axis.low <= values.min() < axis.low + step * (1 + 1e-6)
        assert axis.high - step * (1 + 1e-6) < values.max() <= axis.high * (1 + 1e-12)


def made_charts() -> list[Chart]:
    cases = [(f"case {number}", 0.0) for number in range(5)]
    many = [(f"case {number}", 0.001 * (number % 7)) for number in range(200)]
    histogram = histogram_chart("Widths", [("a & <b>", np.arange(20.0))], label="mm", note="One.")
    assert histogram is not None
    rows = [("fix", 0.02, (-0.01, 0.05), "a"), ("mean", -0.03, (math.nan, math.nan), "b")]
    return [
        strip_chart("Dice of each case", cases, mean=0.0, interval=(0.0, 0.1), axis="Dice", bounds=(0.0, 1.0)),
        strip_chart("Dice of each case", many, mean=0.003, interval=None, axis="Dice"),
        line_chart("Loss", [Series("one", [1, 2, 3], [3, 2, math.nan]), Series("two", [1, 2, 3], [1, 1, 1])]),
        forest_chart("Dice: difference", rows, label="x", note="n", axis="difference in Dice"),
        reliability_chart([0, 0.5, 1], [(0.1, 0.2, 9), (None, None, 0)]),
        histogram,
    ]


@pytest.mark.parametrize("chart", made_charts(), ids=lambda chart: slug(chart.title))
def test_a_standalone_svg_names_its_axes_and_needs_no_style(chart: Chart) -> None:
    root = ElementTree.fromstring(svg_text(drawing_of(chart)).encode())
    texts = ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]
    assert all(name in texts for name in chart.axes if name)
    assert chart.axes[0], "every chart has a horizontal axis"
    assert not any("class" in each.attrib or "style" in each.attrib for each in root.iter())
    assert root.attrib["width"] == "88mm"
    sizes = [float(each.attrib["font-size"]) for each in root.iter(f"{SVG}text")]
    points = 88 / 25.4 * 72 / float(root.attrib["viewBox"].split()[2])
    assert min(sizes) * points >= 7, "legible in a column"
    left, top, wide, high = map(float, root.attrib["viewBox"].split())
    for each in root.iter(f"{SVG}text"):
        assert left <= float(each.attrib["x"]) <= left + wide
        assert top <= float(each.attrib["y"]) <= top + high
    assert {len(row) for row in chart.table} == {len(chart.table[0])}


def test_the_colours_of_a_figure_are_those_of_the_light_page() -> None:
    lines = [shape for shape in drawing_of(made_charts()[2]).shapes if isinstance(shape, Line)]
    assert {palette()["s0"], palette()["s1"]} <= {line.stroke for line in lines}


def test_two_curves_have_a_legend_above_the_chart_and_one_has_none() -> None:
    drawn = drawing_of(made_charts()[2])
    assert {"one", "two"} <= {shape.text for shape in drawn.shapes if isinstance(shape, Words)}
    single = drawing_of(line_chart("Loss", [Series("one", [1, 2], [3, 2])]))
    assert "one" not in {shape.text for shape in single.shapes if isinstance(shape, Words)}


def test_a_pdf_has_its_font_inside_and_is_the_same_each_time() -> None:
    pytest.importorskip("reportlab", reason="the extra `figures` is not installed")
    for chart in made_charts():
        drawn = drawing_of(chart)
        one = pdf_bytes(drawn)
        assert one.startswith(b"%PDF")
        assert b"/FontFile2" in one
        assert one == pdf_bytes(drawn)


def test_latex_prints_every_sign_as_it_is_and_a_table_has_as_many_columns_as_its_header() -> None:
    assert escaped("50 % & a_b #1 {x} \\") == r"50 \% \& a\_b \#1 \{x\} \textbackslash{}"
    assert escaped("−0.1 ± 2 mm²") == r"$-$0.1 $\pm$ 2 mm\textsuperscript{2}"
    assert escaped("a~b^c $1 <x>") == r"a\textasciitilde{}b\textasciicircum{}c \$1 \textless{}x\textgreater{}"
    assert escaped('"[a]*') == "''{[}a]{*}", "no options of the line break above; no sign that needs another encoding"
    text = table_tex(["Metric", "Mean"], [["Dice", "0.9"]], caption="50 %.", label="tab:t")
    assert r"\begin{tabular}{lr}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]


def view_of(shape: tuple[int, int], spacing: tuple[float, float]) -> View:
    return View.of(Geometry(shape, spacing=spacing))


def test_a_panel_has_square_pixels_and_each_of_a_small_picture_is_a_block() -> None:
    plane = np.arange(20, dtype=np.uint8).reshape(4, 5)
    picture, scale = canvas_of(plane, view_of((4, 5), (1.0, 1.0)))
    assert picture.shape == (320, 400, 3)
    assert scale == (80, 80)
    assert np.array_equal(picture[40::80, 40::80, 0], plane)
    large = np.zeros((600, 500), np.uint8)
    assert canvas_of(large, view_of((600, 500), (1.0, 1.0)))[0].shape == (600, 500, 3), "native"
    assert canvas_of(large, view_of((600, 500), (2.0, 1.0)))[0].shape == (1200, 500, 3), "as wide as in the world"
    assert canvas_of(large, view_of((600, 500), (1.0, 1.0)), most=300)[0].shape == (300, 250, 3)


def test_the_bar_is_as_long_as_it_says() -> None:
    view = view_of((100, 500), (0.5, 0.5))
    picture, scale = canvas_of(np.zeros((100, 500), np.uint8), view)
    shown = scaled(picture, view, scale, "mm")
    row = (shown[-6] == 255).all(axis=1)
    assert abs(int(row.sum()) - 50 / 0.5) <= 2, "250 mm wide; the longest round bar below 30 % is 50 mm"
    assert [round_length(most) for most in (75, 0.3, 5, 1.99)] == [50, 0.2, 5, 1]


def test_the_unit_of_a_bar_is_that_of_the_grid_that_is_shown() -> None:
    image = Layer(np.zeros((20, 20), np.uint8), Geometry((20, 20), spacing=(1.0, 1.0)))
    marked = np.ones((1, 20, 20), bool)
    mask = Mask(marked, marked, Geometry((20, 20), spacing=(0.5, 0.25), unit="mm"))
    shown = seen_of(image, None, mask)
    assert shown is not None
    assert (unit_of(image, mask), shown.pixel) == ("mm", (0.5, 0.25)), "not the image's steps of 1 called mm"
    assert unit_of(image, None) == "pixel"


def test_contours_lie_between_pixels_and_a_dashed_one_has_gaps() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    (line,) = contours(mask)
    assert (line.min(), line.max()) == (4.5, 14.5)
    assert contours(np.zeros((4, 4), bool)) == []
    black = np.zeros((400, 400, 3), np.uint8)
    solid, dashed = (outlined(black, [(mask, "#FFFFFF")], (20, 20), dashed=dash).astype(bool) for dash in (False, True))
    assert 0.3 < dashed.sum() / solid.sum() < 0.8


def test_figures_of_a_run_are_charts_panels_and_tables(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    report([settled_run(tmp_path)], figures=folder, command=("scantling", "report"))
    names = {path.name for path in folder.iterdir()}
    listed = json.loads((folder / "figures.json").read_text())["files"]
    assert names == {*listed, "figures.json"}
    assert {"dice-of-each-case.svg", "dice-of-each-case.csv", "table.tex", "cases.csv", "captions.txt"} <= names
    assert ("dice-of-each-case.pdf" in names) == can_write_pdf()
    panels = sorted(name for name in names if name.endswith(".png"))
    assert panels[0].startswith("panel-best-case-11-contours")
    assert len(panels) == 9, "image, contours and errors of the worst, the median and the best"
    with Image.open(folder / panels[0]) as picture:
        assert picture.size[0] % 32 == 0, "each of the 32 columns is a block"
    rows = list(csv.DictReader((folder / "cases.csv").read_text().splitlines()))
    assert len(rows) == 12
    assert float(rows[0]["dice"]) == 0.8
    report([settled_run(tmp_path)], figures=folder)  # again: an earlier command's figures are replaced


def test_figures_go_into_no_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"--figures .*: holds notes.txt but no figures.json"):
        check_figures(tmp_path)
    with pytest.raises(SettingsError, match=r"--figures .*: is a file; expected a folder"):
        check_figures(tmp_path / "notes.txt")
    check_figures(tmp_path / "new")


def test_two_figures_of_one_name_are_two_files_and_what_is_no_number_is_empty(tmp_path: Path) -> None:
    figures = Figures(tmp_path / "f")
    for _ in range(2):
        figures.numbers("Ä/../b", [("a",), (math.nan,)])
    assert figures.written == ["b.csv", "b-2.csv"]
    assert csv_text([("a", "b"), (None, math.inf)]) == "a,b\n,\n"


def test_an_evaluation_in_which_every_dice_is_0_is_drawn_from_0(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", cases=4)
    for case in facts["cases"]:
        case["dice"] = 0.0
    facts["mean"]["dice"], facts["interval"]["dice"] = 0.0, None
    (tmp_path / "scores.json").write_text(json.dumps(facts))
    report([tmp_path / "scores.json"], figures=tmp_path / "figures")
    text = (tmp_path / "figures" / "dice-of-each-case.svg").read_text()
    assert "−" not in text


def test_figures_of_a_curve_are_charts_with_their_numbers_and_a_table(tmp_path: Path) -> None:
    odd, none = 'a_<b>&"%#$', (math.nan, math.nan)

    def point(method: str, place: int, mean: float, difference: float, worth: Worth | None = None) -> Point:
        cost = Cost(parameters=1e6, calls=1, seconds=0.1, training_seconds=60)
        apart = none if math.isnan(difference) else (difference - 0.02, difference + 0.02)
        interval = none if mean > 0.79 else (mean - 0.1, mean + 0.1)
        return Point(method, str(place), place, 2, mean, interval, difference, apart, worth, {}, cost)

    points = (
        point("unet", 3, 0.6, math.nan), point("unet", 20, 0.75, math.nan),
        point(odd, 3, 0.65, 0.05, Worth(5, (3, 9), 3, 20)), point(odd, 20, 0.8, 0.05, Worth(math.inf, none, 3, 20)),
    )  # fmt: skip
    found = Curve(Path(), "toys_1", Path(), "unet", METRICS["dice"], {}, points, (), cases=("a", "b"), subjects=2)
    folder = tmp_path / "figures"
    page = write_curve(found, tmp_path / "curve.html", figures=folder)
    assert "<b>" not in page.read_text()
    names = {path.name for path in folder.iterdir()}
    charts = ("dice-over-labelled-subjects", "dice-difference-to-unet")
    kinds = ("svg", "csv", "pdf") if can_write_pdf() else ("svg", "csv")
    assert names == {f"{name}.{kind}" for name in charts for kind in kinds} | {"table.tex", "captions.txt", FIGURES}
    texts = ["".join(each.itertext()) for each in ElementTree.parse(folder / f"{charts[0]}.svg").iter(f"{SVG}text")]
    assert {"labelled subjects", "Dice", "unet", odd} <= set(texts)
    header, *rows = csv.reader((folder / f"{charts[0]}.csv").read_text().splitlines())
    assert header == ["method", "labelled subjects", "Dice", "low", "high"]
    assert rows[-1] == [odd, "20", "0.8", "", ""], "an interval that is not known is empty"
    table = (folder / "table.tex").read_text()
    assert r"on toys\_1" in table
    assert r"a\_\textless{}b\textgreater{}\&''\%\#\$ & 20 & 0.800 & +0.050" in table
    assert "more than 20" in table
