"""The page of a run or an evaluation: whole in itself, safe, complete, and readable by everyone."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made import images_for
from reported import Page, evaluation, labels_of, log_lines, page_of, run_facts, settled_run, write_run
from scantling.core.errors import ScantlingError
from scantling.methods.catalogue import CARDS
from scantling.records.run_folder import identity_of
from scantling.report import pictures, report
from scantling.report.charts import POINTS, Axis, Series, line_chart, round_ticks, smooth, thin, trace
from scantling.report.targets import open_evaluation, open_run
from scantling.report.viewer import LIMIT
from scantling.report.words import duration, listing, metric, moment, percent
from scantling.training import Options, train


@pytest.fixture(name="run")
def a_run(tmp_path: Path) -> Path:
    return settled_run(tmp_path)


def test_the_page_of_a_run_lies_in_it_and_tells_what_was_run(run: Path) -> None:
    (run / "model").mkdir()
    (run / "model" / "card.json").write_text(
        json.dumps({"title": "U-Net", "authors": "Ronneberger et al.", "year": 2015})
    )
    path = report([run])
    page = Page(path)
    assert path == run / "report.html"
    for told in ("U-Net", "Ronneberger et al., 2015", "quick", "312,481", "4 min 37 s", "cpu – A processor", "2.13.0",
                 "20 November 2026, 09:17 UTC", "18 train, 6 validation, 12 test", "optimiser.rate 0.003"):  # fmt: skip
        assert told in page.text
    assert "scantling train unet --data" in page.text
    assert "--out 'runs/one two'" in page.text, "the command is quoted as a shell needs it"


def test_a_method_that_reads_no_mask_is_not_said_to_have_learned_from_labels(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {"traits": {"labelled": 3, "unlabelled": 9}}))
    (run / "model").mkdir()
    for needs, told in (
        ([["image"]], "no mask of an image is read; 12 training images"),
        ([["image", "mask"]], "3 labelled, 9 unlabelled training cases"),
    ):
        (run / "model" / "card.json").write_text(json.dumps({"title": "DARL", "needs": needs}))
        text = page_of(run).text
        assert told in text
        assert ("It learnt from 3 labelled cases" in text) == ("labelled" in told)


def test_the_score_of_a_starting_model_stands_beside_that_of_the_trained_one(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    facts |= {"base": "runs/first", "warnings": ["the training did not beat the model that it starts from: dice 0.7"]}
    starting = {"summary": "", "metric": "dice", "cases": 6, "seen": 0, "before": 0.8123, "after": 0.7}
    (run / "run.json").write_text(json.dumps(facts | {"starting_model": starting}))
    text = page_of(run).text
    assert "runs/first (Dice 0.812, after the training 0.700, on 6 validation cases)" in text
    assert "The run warned: the training did not beat the model that it starts from" in text
    (run / "run.json").write_text(json.dumps(facts | {"starting_model": {"unscored": "it needs the channel t1"}}))
    assert "runs/first" in page_of(run).text


def test_the_page_needs_nothing_from_elsewhere(run: Path) -> None:
    page = page_of(run)
    linked = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(value.startswith(("#", "data:image/")) for value in linked)
    assert not page.all("link")
    assert not re.search(r"url\(|@import|https?://", page.source)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
    script = re.search(r"<script>(.*?)</script>", page.source, re.S)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy, "only the page's own script may run"


def test_the_page_can_be_read_without_eyes_or_mouse(run: Path) -> None:
    page = page_of(run)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    named = {name for _, attributes in page.tags for name in attributes.get("aria-labelledby", "").split()}
    assert named <= set(ids)
    assert all("alt" in image for image in page.all("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") == "true" for svg in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table")) >= 2
    assert all("scope" in head for head in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), "no level of heading is skipped"


def test_colours_have_enough_contrast_in_light_and_dark() -> None:
    style = (Path(pictures.__file__).parent / "page.css").read_text()
    palettes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6});", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]
    assert len(palettes) == 3, "light, dark, print"
    for palette in palettes:
        for name in ("ink", "soft", "accent", "serious", "caution", "note"):
            assert contrast(palette[name], palette["paper"]) >= 4.5, f"{name} of text on paper"
            assert contrast(palette[name], palette["card"]) >= 4.5
        for number in range(6):
            assert contrast(palette[f"s{number}"], palette["paper"]) >= 3, "WCAG 1.4.11: lines of a chart"


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.1."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_what_others_wrote_is_text_and_never_markup(tmp_path: Path) -> None:
    evil = "</code></script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    facts = evaluation(
        tmp_path / "masks", failed=[{"id": evil, "error": evil}], conventions=[evil], notes=[evil], split=evil
    )
    facts["cases"][0] |= {"id": evil, "subject": evil}
    facts |= {"classes": [evil, "b"], "labels": labels_of([evil, "b"], [[255], [1]])}
    facts["classes_mean"] = {evil: facts["mean"], "b": facts["mean"]}
    for part in ("mean", "count"):
        facts[part][evil] = 1
    record = run_facts(tmp_path) | {"method": evil, "preset": evil, "warnings": [evil], "versions": {evil: evil}}
    record |= {"command": ["scantling", evil], "settings": {evil: evil}, "device": evil, "finished": evil}
    record["data"][0] |= {"path": evil, "name": evil}
    lines = [line | {"stage": evil} for line in log_lines()] + [
        {"stage": "b", "step": 1, "losses": {evil: {evil: 1.0}}, "lr": {evil: 1.0}, "validation": {evil: 0.5}}
    ]
    page = page_of(write_run(tmp_path / "run", record, lines, facts))
    assert [one for one in page.all("script") if one.get("type") != "application/json"] == [{}], "no other runs"
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert page.text.count("alert(2)") > 10, "it is shown, as text"


def test_the_same_facts_give_the_same_page(run: Path, tmp_path: Path) -> None:
    one, other = report([run], out=tmp_path / "a.html"), report([run], out=tmp_path / "b.html")
    assert one.read_bytes() == other.read_bytes()


def test_numbers_that_are_none_are_dashes(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks")
    for part in ("mean", "std"):
        facts[part]["hd95"] = math.nan
    facts["interval"] |= {"hd95": None, "dice": [math.nan, math.inf]}
    facts["count"]["hd95"] = 0
    for case in facts["cases"]:
        case["hd95"] = None
    facts["cases"][0] |= {"dice": math.nan, "accuracy": math.inf}
    facts["reliability"]["confidence"][0] = math.nan
    lines = log_lines()
    lines[3]["losses"]["segmenter"]["dice"] = None
    lines[4]["losses"]["segmenter"]["dice"] = math.nan
    page = page_of(write_run(tmp_path / "run", run_facts(tmp_path), lines, facts))
    assert not re.search(r"\b(nan|inf|none|null)\b", page.text, re.I)
    assert not re.search(r'(d|cx|cy|x|y|width|height)="[^"]*(nan|inf)', page.source)
    assert "95 % Hausdorff distance (mm or pixels) ↓ , lower is better – – – 0" in page.text


def test_pictures_of_any_size_leave_the_page_small(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", cases=3)
    draws = np.random.default_rng(1)
    for case in facts["cases"]:  # noise is what compresses worst
        Image.fromarray(draws.integers(0, 256, (900, 700, 3), dtype=np.uint8)).save(case["files"]["image"][0])
        for what in ("truth", "prediction"):
            Image.fromarray((draws.random((900, 700)) < 0.3).astype(np.uint8) * 255).save(case["files"][what])
    path = report([write_run(tmp_path / "run", run_facts(tmp_path), [], facts)])
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(uri))).size
        for uri in re.findall(r'src="data:[^,]*,([^"]*)"', path.read_text())
    ]
    assert max(max(size) for size in sizes) == 1024, "contours are drawn twice as fine as the image"
    assert path.stat().st_size < 3e6 + 3 * LIMIT, "beside the cases of the viewer"


def test_an_unfinished_run_without_scores_gives_the_commands_that_make_them(tmp_path: Path) -> None:
    record = run_facts(tmp_path / "data set") | {"finished": None, "selected": None, "seconds": None}
    record["split"]["validation"] = []
    run = write_run(tmp_path / "run", record, [])
    page = page_of(run)
    assert "The training has not finished" in page.text
    assert (
        f"scantling predict {run} '{tmp_path / 'data set'}' --out {run / 'predictions'} --probabilities --split test"
        in page.text
    )
    assert f"scantling evaluate {run / 'predictions'}" in page.text
    assert "No validation cases were held out, so there is no validation curve" in page.text
    assert not page.all("img")


def test_only_what_a_run_must_say_is_needed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"method": "unet"}, [])
    (run / "log.jsonl").unlink()
    assert "Nothing has been scored" in page_of(run).text


def test_a_page_without_a_run_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(evaluation(tmp_path / "masks")))
    page = page_of(path)
    assert (tmp_path / "mine.html").is_file()
    assert "The run that made what was scored is not known" in page.text


def test_an_evaluation_finds_its_run_and_a_folder_of_masks_its_scores(run: Path, tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", run=str(run))
    (tmp_path / "masks" / "scores.json").write_text(json.dumps(facts))
    page = page_of(tmp_path / "masks")
    assert (tmp_path / "masks" / "scores.html").is_file()
    assert "312,481" in page.text
    assert "312,481" in page_of(run / "evaluations" / "test0.json").text, "an evaluation kept in a run belongs to it"


def test_broken_lines_of_a_log_are_counted_and_passed_over(run: Path) -> None:
    with (run / "log.jsonl").open("a") as log:
        log.write('{"stage": "train", "st\n[1, 2]\n"text"\n{"stage": "train", "step": "many"}\n\n')
    assert "4 lines of log.jsonl could not be read and count in no curve." in page_of(run).doubts()


def test_a_broken_evaluation_in_a_run_is_a_doubt_and_not_the_end(run: Path) -> None:
    (run / "evaluations" / "other.json").write_text("{")
    page = page_of(run)
    assert any("other.json: is not JSON" in doubt for doubt in page.doubts())
    assert "Scores of masks on truth, test split" in page.text


def _nothing(folder: Path) -> Path:
    return folder / "nothing"


def _empty(folder: Path) -> Path:
    return folder


def _unscored(folder: Path) -> Path:
    (folder / "predictions.json").write_text("{}")
    return folder


def _picture(folder: Path) -> Path:
    Image.new("L", (2, 2)).save(folder / "a.png")
    return folder / "a.png"


def _other_json(folder: Path) -> Path:
    (folder / "a.json").write_text('{"mean": 3}')
    return folder / "a.json"


def _no_json(folder: Path) -> Path:
    (folder / "a.json").write_text("{")
    return folder / "a.json"


def _deep_json(folder: Path) -> Path:
    (folder / "a.json").write_text("[" * 100_000)
    return folder / "a.json"


def _wrong_type(folder: Path) -> Path:
    (folder / "a.json").write_text('{"cases": [], "mean": {"dice": "high"}}')
    return folder / "a.json"


def _wrong_run(folder: Path) -> Path:
    (folder / "run.json").write_text('{"method": "unet", "seed": "a"}')
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_nothing, "there is no such file or folder"),
        (_empty, "neither a run nor an evaluation"),
        (_unscored, "have not been scored; do it with scantling evaluate"),
        (_picture, "neither a run nor an evaluation"),
        (_other_json, "neither a run nor an evaluation"),
        (_no_json, "is not JSON"),
        (_deep_json, "is not JSON"),
        (_wrong_type, "mean.dice: input should be a valid number"),
        (_wrong_run, "seed: input should be a valid integer"),
    ],
)
def test_what_is_no_target_ends_in_one_sentence(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    target = make(tmp_path)
    with pytest.raises(ScantlingError) as caught:
        report([target])
    assert said in str(caught.value)
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_page_never_overwrites_what_is_no_page(run: Path) -> None:
    with pytest.raises(ScantlingError, match=r"name a file that ends in \.html"):
        report([run], out=run / "run.json")
    with pytest.raises(ScantlingError, match="no run or evaluation"):
        report([])


def test_files_that_are_gone_become_sentences(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", cases=3)
    worst, median, best = (case["files"] for case in facts["cases"])
    Path(worst["image"][0]).unlink()
    Path(median["prediction"]).write_bytes(b"no picture")
    Image.new("L", (5, 5)).save(best["prediction"])
    page = page_of(write_run(tmp_path / "run", run_facts(tmp_path), [], facts))
    assert "The image is not shown" in page.text
    assert "The mask is not shown" in page.text
    assert "The mask and the truth differ in size, so no errors are drawn." in page.text
    assert len(page.all("img")) == (0 + 1 + 1 + 2) + (1 + 1) + (1 + 1), "the others are drawn"


def test_a_long_log_is_drawn_with_few_points(run: Path) -> None:
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log_lines(5000)))
    paths = re.findall(r'class="curve[^"]*" d="([^"]*)"', report([run]).read_text())
    assert max(len(re.findall("[ML]", path)) for path in paths) == POINTS


def test_every_stage_and_player_has_its_chart(tmp_path: Path) -> None:
    lines = [
        {"stage": stage, "step": step, "losses": {"painter": {"cycle": 1 / step}, "judges": {"real": 0.5}},
         "lr": {"painter": 1e-4, "judges": 2e-4}, "validation": {"dice": 0.5, "hd95": 12.0}}
        for stage in ("denoise", "paint") for step in range(1, 9)
    ]  # fmt: skip
    page = page_of(write_run(tmp_path / "run", run_facts(tmp_path), lines))
    assert "Stage denoise" in page.text
    assert "Stage paint" in page.text
    for title in (
        "Loss of painter",
        "Loss of judges",
        "Validation",
        "Validation 95 % Hausdorff distance",
        "Learning rate",
    ):
        assert sum(data.strip() == title for tag, data in page.texts if tag == "figcaption") == 2


def test_thinning_keeps_means_and_ends_and_a_gap_lifts_the_pen() -> None:
    x, y = [float(n) for n in range(1000)], [float(n % 7) for n in range(1000)]
    few_x, few_y = thin(x, y, 100)
    np.testing.assert_allclose(few_x, np.reshape(x, (100, 10)).mean(axis=1))
    np.testing.assert_allclose(few_y, np.reshape(y, (100, 10)).mean(axis=1))
    assert thin([1.0, 2.0], [3.0, math.nan], 100)[0] == [1.0, 2.0]
    across, up = Axis([0, 4], 0, 4), Axis([0, 1], 1, 0)
    assert trace([0, 1, 2, 3, 4], [0, 1, math.nan, 0, 1], across, up) == "M0.0 1.0L1.0 0.0M3.0 1.0L4.0 0.0"
    assert smooth([1.0, 1.0, math.nan, 1.0], 3) == [1.0] * 4


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.604, 0.887), (-3.0, 12.0), (1e-7, 3e-7), (0.0, 12345.0)])
def test_ticks_are_round_few_and_enclose(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    steps = np.diff(ticks)
    assert ticks[0] <= low + 1e-12
    assert ticks[-1] >= high - 1e-12
    assert 3 <= len(ticks) <= 8
    np.testing.assert_allclose(steps, steps[0])
    assert f"{steps[0]:.0e}"[0] in "125"


@pytest.mark.parametrize("values", [[], [math.nan], [0.7], [0.0, 0.0], [5.0] * 3, [-1.0, 1.0], [1e-9, 1e9]])
def test_a_chart_of_any_values_has_finite_coordinates(values: list[float]) -> None:
    chart = line_chart("Loss", [Series("a", [float(n) for n in range(len(values))], values)], noisy=True, log=True)
    assert not re.search(r"nan|inf", str(chart.svg).replace("no numbers", ""))


def test_several_targets_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    other = write_run(
        tmp_path / "runs" / "two", run_facts(tmp_path) | {"method": "fr-unet"}, [], evaluation(tmp_path / "masks")
    )
    unscored = write_run(tmp_path / "runs" / "three", run_facts(tmp_path), [])
    path = report([run, other, unscored])
    page = Page(path)
    assert path == tmp_path / "runs" / "comparison.html"
    assert "All were scored on the 12 same cases." in page.text
    assert "not scored yet" in page.text
    assert "0.811 0.801 to 0.821" in page.text
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels.count(2) == 3
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_scores_that_do_not_compare_are_said_not_to(run: Path, tmp_path: Path) -> None:
    fewer = evaluation(tmp_path / "masks")
    fewer["cases"] = fewer["cases"][3:]
    other = write_run(tmp_path / "runs" / "two", run_facts(tmp_path), [], fewer)
    assert "only 9 scored cases in common" in page_of(run, other).text
    elsewhere = write_run(tmp_path / "runs" / "four", run_facts(tmp_path), [], evaluation(tmp_path / "b"))
    assert "held against 2 different truths" in page_of(run, elsewhere).text


def test_every_case_is_listed_with_what_it_sorts_by(run: Path) -> None:
    source = report([run]).read_text()
    rows = re.findall(r'<tr><th scope="row"><button [^>]*>(case-\d\d)</button></th>(.*?)</tr>', source)
    assert [name for name, _ in rows] == [f"case-{number:02d}" for number in range(12)]
    assert f'data-value="{0.80 + 0.002 * 7:.6g}"' in rows[7][1]


def test_classes_have_a_table_where_there_are_several(run: Path, tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", classes=["head", "tail"])
    facts["classes_mean"] = {"head": {"dice": 0.83}, "tail": {"dice": 0.79, "hd95": None}}
    (tmp_path / "a.json").write_text(json.dumps(facts))
    assert re.search(r"By class .* head 0.830 – .* tail 0.790 –", page_of(tmp_path / "a.json").text)
    assert "By class" not in page_of(run).text


def test_the_reliability_is_drawn_where_it_is_known(run: Path, tmp_path: Path) -> None:
    assert "Reliability of the probabilities" in page_of(run).text
    (tmp_path / "a.json").write_text(json.dumps(evaluation(tmp_path / "masks", reliability=None)))
    assert "Reliability of the probabilities" not in page_of(tmp_path / "a.json").text


def test_many_cases_are_counted_by_bars(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", cases=3)
    facts["cases"] = [facts["cases"][0] | {"id": str(n), "dice": 0.5 + n / 1000} for n in range(200)]
    (tmp_path / "a.json").write_text(json.dumps(facts))
    bars = [
        int(count) for count in re.findall(r"<title>(\d+) cases</title>", report([tmp_path / "a.json"]).read_text())
    ]
    assert sum(bars) == 200


def test_a_validation_without_a_test_stands_in_and_is_called_by_its_name(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", run_facts(tmp_path), log_lines())
    (run / "validation").mkdir()
    (run / "validation" / "scores.json").write_text(json.dumps(evaluation(tmp_path / "masks", split="validation")))
    page = page_of(run)
    assert "Scores on the validation cases" in page.text
    assert "Validation Dice" in page.text
    assert "Nothing has been scored on the 12 test cases" in page.text
    assert open_run(run).evaluations == ()


def test_scores_of_validation_cases_are_known_wherever_they_are_kept(run: Path, tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", split="validation")
    (run / "evaluations" / "a.json").write_text(json.dumps(facts))
    found = open_run(run)
    assert found.validation is not None
    assert [one.record.split for one in found.evaluations] == ["test"]
    page = page_of(run)
    assert page.text.index("Scores of masks on truth, test split") < page.text.index("Scores on the validation cases")


def test_validation_masks_without_scores_give_the_command_that_scores_them(run: Path, tmp_path: Path) -> None:
    (run / "validation").mkdir()
    (run / "validation" / "predictions.json").write_text("{}")
    data, masks = tmp_path / "masks" / "truth", run / "validation"
    expected = f"scantling evaluate {masks} {data} --probabilities {masks / 'probabilities'} --split validation"
    assert expected in page_of(run).text


def test_several_evaluations_of_a_run_are_told_apart(run: Path, tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", truth="stare", split=None)
    facts["cases"][3]["dice"] = 0.2
    (run / "evaluations" / "z.json").write_text(json.dumps(facts))
    page = page_of(run)
    assert "Scores of masks on truth, test split" in page.text
    assert "Scores of masks on stare" in page.text
    assert page.doubts() == ["masks on stare: 1 case lies far below the median Dice of 0.811: case-03 with 0.200."]


def samples() -> Iterator[tuple[str, str]]:
    yield duration(3.21), "3.2 s"
    yield duration(59.6), "1 min 00 s"
    yield duration(425), "7 min 05 s"
    yield duration(12000), "3 h 20 min"
    yield percent(0.0872), "8.7 %"
    yield percent(0.000234), "0.023 %"
    yield percent(0), "0 %"
    yield percent(0.5), "50 %"
    yield moment("2026-11-20T10:05:00+01:00"), "20 November 2026, 09:05 UTC"
    yield moment("2026-11-20 09:24:58 UTC"), "20 November 2026, 09:24 UTC"
    yield moment("yesterday"), "yesterday"
    yield listing(["a"]), "a"
    yield listing(["a", "b", "c"]), "a, b and c"
    yield listing(list("abcdef")), "a, b, c, d and 2 more"
    yield metric("hd95").write(7.774), "7.77"
    yield metric("vca").write(114.29), "114.3"
    yield metric("dice").write(None), "–"
    yield metric("never_heard").title, "never heard"


def test_numbers_are_said_as_people_say_them() -> None:
    for said, expected in samples():
        assert said == expected


MADE = {
    "run": "/r",
    "mending": {"rule": "both"},
    "options": {"samples": 16, "ensemble": [{"run": "/s"}], "views": True},
}


def test_an_evaluation_is_called_by_its_masks_and_how_they_were_made(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "a" / "masks", truth="/data/p/truth")
    titles = {
        "a/masks": {},
        "b/masks (mended, of 16 samples, of 2 runs, over views)": {"prediction": "/b/masks", "made": MADE},
        "c": {"prediction": "/b/c", "truth": "/data/q/truth", "options": {"region": "/fov", "metrics": ["dice"]}},
    }
    paths = []
    for number, changes in enumerate(titles.values()):
        (tmp_path / f"{number}.json").write_text(json.dumps(facts | changes))
        paths.append(tmp_path / f"{number}.json")
    page = page_of(*paths)
    headings = [data for tag, data in page.texts if tag in ("h2", "h3")]
    for title in titles:
        truth = "q/truth, test split, by dice" if title == "c" else "p/truth, test split"
        assert f"Scores of {title} on {truth}" in headings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": "all"}, "they differ in the split"),
        ({"definitions": {"dice": 2}}, "they differ in the definition of Dice"),
        ({"files": {"region": "/fov/a.png"}}, "they differ in the pixels that count (region)"),
        ({"files": {"threshold": 128}}, "how the true masks are read (threshold"),
        ({"files": {"truth": "/elsewhere.png"}}, "they differ in the files of the truth"),
        ({"files": {"samples": ["/s/00.png"]}}, "they differ in the number of samples, on which GED depends"),
        ({"labels": labels_of(["vessel"], [[1]])}, "how the true masks are read (threshold"),
        ({"classes": ["a", "b"], "labels": labels_of(["a", "b"], [[1], [2]])}, "they differ in the classes and how"),
        ({"truth": "/other", "files": {"truth": "/other/a.png"}}, ": the masks were held against 2 different truths."),
    ],
)  # fmt: skip
def test_scores_that_were_counted_otherwise_are_not_called_comparable(
    run: Path, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    facts = evaluation(tmp_path / "masks")
    facts |= {key: value for key, value in changes.items() if key != "files"}
    for case in facts["cases"]:
        case["files"] |= changes.get("files", {})
    if "samples" in changes.get("files", {}):
        first = json.loads((run / "evaluations" / "test0.json").read_text())
        for each in (facts, first):
            each["mean"]["ged"] = 0.5
        (run / "evaluations" / "test0.json").write_text(json.dumps(first))
    page = page_of(run, write_run(tmp_path / "runs" / "two", run_facts(tmp_path), [], facts))
    assert "Do not compare these scores: " in page.text
    assert said in page.text
    assert "All were scored on the" not in page.text


def test_scores_of_the_same_cases_by_other_measures_still_compare(run: Path, tmp_path: Path) -> None:
    facts = evaluation(
        tmp_path / "masks", conventions=["All pixels.", "HD95: in mm.", "Dice: 1 if both masks are empty."]
    )
    first = json.loads((run / "evaluations" / "test0.json").read_text())
    first["conventions"] = ["All pixels.", "Dice: 1 if both masks are empty.", "ECE: 15 bins."]
    (run / "evaluations" / "test0.json").write_text(json.dumps(first))
    page = page_of(run, write_run(tmp_path / "runs" / "two", run_facts(tmp_path), [], facts))
    assert "All were scored on the 12 same cases." in page.text


@pytest.mark.parametrize(
    ("program", "typed"),
    [
        ("/opt/bin/scantling", "scantling train"),
        ("/opt/lib/scantling/__main__.py", "python -m scantling train"),
        ("/opt/lib/pytest/__main__.py", "python /opt/lib/pytest/__main__.py train"),
        ("study.py", "python study.py train"),
    ],
)
def test_a_training_that_another_program_started_is_not_said_to_be_a_command_of_ours(
    run: Path, program: str, typed: str
) -> None:
    facts = json.loads((run / "run.json").read_text()) | {"command": [program, "train"]}
    (run / "run.json").write_text(json.dumps(facts))
    assert " ".join(open_run(run).command) == typed


def test_scores_of_weights_that_the_run_no_longer_has_are_not_shown_as_its_own(run: Path, tmp_path: Path) -> None:
    (run / "model").mkdir()
    (run / "model" / "weights.safetensors").write_bytes(b"now")
    for number, model in enumerate([identity_of(run), "0123456789abcdef"]):
        facts = evaluation(tmp_path / "masks", truth=f"/truth-{number}", made={"model": model})
        (run / "evaluations" / f"{number}.json").write_text(json.dumps(facts))
    page = page_of(run)
    assert "Scores of masks on truth-0" in page.text
    assert "Scores of masks on truth-1" not in page.text
    assert any("1.json: holds scores of weights that the run no longer has" in doubt for doubt in page.doubts())


def test_what_lies_beside_an_evaluation_by_chance_is_not_taken_for_its_masks(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", prediction="/gone/masks")
    listing = {"cases": [], "failed": [{"id": "of others", "error": "broken"}]}
    (tmp_path / "predictions.json").write_text(json.dumps(listing))
    for name, beside in (("mine.json", False), ("scores.json", True)):
        (tmp_path / name).write_text(json.dumps(facts))
        assert bool(open_evaluation(tmp_path / name).predictions.failed) == beside


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts["cases"][0].update(dice=10**400),
        lambda facts: facts.update(made={"run": "r", "input": "--help", "options": {"memory": 10**400}}),
        lambda facts: facts["cases"][0]["files"].update(spacing=[0, 0]),
        lambda facts: facts["cases"][0]["files"].update(spacing=[1e-300, 1e300]),
        lambda facts: [case.update(dice=(-1) ** n * 1e308) for n, case in enumerate(facts["cases"])],
    ],
    ids=["number", "memory", "flat", "needle", "span"],
)
def test_numbers_of_a_stranger_break_no_page(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    facts = evaluation(tmp_path / "masks")
    change(facts)
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(facts))
    page = page_of(path)
    assert "predict r --help" not in page.text


def test_the_validation_cases_of_all_joined_data_sets_are_scored(tmp_path: Path) -> None:
    sets = [images_for(CARDS["unet"], tmp_path / name, dimensions=2) for name in ("one", "other")]
    facts = train("unet", sets, tmp_path / "run", Options(preset="tiny", steps=2, validation=0.5))
    page_of(tmp_path / "run")
    scores = json.loads((tmp_path / "run" / "validation" / "scores.json").read_text())
    assert sorted(case["id"] for case in scores["cases"]) == sorted(facts["split"]["validation"])
    assert {id.partition("_")[0] for id in facts["split"]["validation"]} == {"one", "other"}


def test_the_report_shows_what_a_model_has_learned_by_modality_and_class(tmp_path: Path) -> None:
    run = settled_run(tmp_path)
    assert "What the model has learned" not in page_of(run).text
    facts = json.loads((run / "run.json").read_text())

    def page_with(learned: dict[str, float]) -> str:
        (run / "run.json").write_text(json.dumps(facts | {"learned": learned}))
        text = page_of(run).text
        return text[text.index("What the model has learned", text.index("tell how far they vary") - 200) :][:400]

    of = "reliability of {} for {}"
    table = {of.format(m, c): b for m, c, b in (("T1", "liver", 0.25), ("T1", "cyst", 0.5), ("T2", "liver", 0.75))}
    assert "reliability of T2 for liver 0.750" in " ".join(page_with(table).replace("R", "r").split())
    whole = " ".join(page_with(table | {of.format("T2", "cyst"): 1.0}).split())
    assert "What liver cyst Reliability of T1 0.250 0.500 Reliability of T2 0.750 1.000" in whole


def test_the_report_says_what_was_kept_and_what_was_not(tmp_path: Path) -> None:
    run = settled_run(tmp_path)
    assert "Postprocessing" not in page_of(run).text
    trials = [
        {"part": "temperature", "value": 1.5, "kept": True, "before": 0.1, "after": 0.05, "error": 0.01, "subjects": 6},
        {"part": "components", "name": "vessel", "value": 30.0, "before": 0.7, "after": 0.701, "error": 0.01,
         "subjects": 6},
    ]  # fmt: skip
    facts = {"temperature": 1.5, "ece": [0.08, 0.02], "subjects": 6, "cases": 7, "of": 6, "trials": trials}
    (run / "model").mkdir(exist_ok=True)
    (run / "model" / "postprocessing.json").write_text(json.dumps(facts))
    page = page_of(run)
    assert "1 of 2 parts tried is kept, as the gain on 6 validation subjects (7 cases) is beyond noise" in page.text
    assert "0.080 before and 0.020 after the temperature" in page.text
    assert ["Temperature", "all", "1.50", "log-loss 0.1000", "0.0500", "± 0.0100", "kept"] in page.rows
    wanted = ["Components", "vessel", "of 30 pixels or more", "Dice 0.700", "0.701", "± 0.010", "not kept"]
    assert wanted in page.rows
    (run / "model" / "postprocessing.json").write_text("{")
    assert "postprocessing.json" in page_of(run).text
