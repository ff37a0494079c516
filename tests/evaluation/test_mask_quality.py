"""What masks are like: bars whose width is known, folders that are equal, origins, and a page whole in itself."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from made import write
from scantling.cli.main import main
from scantling.core.atomic import to_json
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.evaluation.masks import measure_masks
from scantling.inference.synthesis import synthesize
from scantling.report import holds_masks, report_masks
from scantling.report.histograms import histogram_chart


def bars(folder: Path, *, width: int = 5, count: int = 4, shape: tuple[int, int] = (60, 80)) -> Path:
    """Masks of one straight bar each, in another place each."""
    for number in range(count):
        mask = np.zeros(shape, np.uint8)
        mask[6 * number + 5 : 6 * number + 5 + width] = 255
        write(folder / "masks", f"bar{number}", mask)
        write(folder / "images", f"bar{number}", mask // 2)
    return folder


@pytest.mark.parametrize("width", [3, 5, 8])
def test_bars_have_the_width_and_the_coverage_that_they_have(tmp_path: Path, width: int) -> None:
    found = measure_masks(bars(tmp_path / "bars", width=width))
    assert found.mean("width") == (width, 0)
    assert (found.widths == width).all()
    assert found.mean("coverage") == (pytest.approx(width / 60), pytest.approx(0))
    assert found.mean("components") == (1, 0)
    assert found.mean("holes") == (0, 0)
    assert not found.angles.size
    assert np.isnan(found.mean("angle")[0])
    assert found.shapes == ((60, 80),)


def test_bars_that_do_not_overlap_are_as_diverse_as_can_be_and_equal_ones_are_not(tmp_path: Path) -> None:
    apart = measure_masks(bars(tmp_path / "apart", width=4))
    assert (apart.diversity, apart.compared) == (1, 4)
    for number in range(3):
        write(tmp_path / "same", f"{number}", np.eye(20, dtype=np.uint8) * 255)
    assert measure_masks(tmp_path / "same").diversity == 0


def test_coverage_is_that_of_the_region_of_interest(tmp_path: Path) -> None:
    folder = bars(tmp_path / "bars", width=6)
    region = np.zeros((60, 80), np.uint8)
    region[:30, :40] = 255
    for number in range(4):
        write(folder / "fov", f"bar{number}", region)
    assert measure_masks(folder).mean("coverage")[0] == pytest.approx(6 / 30)


def test_two_equal_folders_have_equal_numbers(tmp_path: Path) -> None:
    one, other = (measure_masks(bars(tmp_path / name)).facts() for name in ("one", "other"))
    for facts in (one, other):
        del facts["name"], facts["folder"]
    assert to_json(one) == to_json(other)  # NaN is not equal to itself


def test_a_hash_draws_the_same_masks_every_time(tmp_path: Path) -> None:
    folder = bars(tmp_path / "bars", width=2, count=9)
    few, again = measure_masks(folder, most=4), measure_masks(folder, most=4)
    assert [case.id for case in few.cases] == [case.id for case in again.cases]
    assert (len(few.cases), few.count) == (4, 9)
    more = measure_masks(folder, most=6)
    assert {case.id for case in few.cases} < {case.id for case in more.cases}
    with pytest.raises(SettingsError, match="--most 0: expected 1 or more"):
        measure_masks(folder, most=0)


def test_volumes_have_tunnels_and_cavities(tmp_path: Path) -> None:
    shell = np.zeros((12, 13, 14), np.uint8)
    shell[2:9, 2:9, 2:9] = 1
    shell[4:7, 4:7, 4:7] = 0
    write(tmp_path / "masks", "shell", shell)
    write(tmp_path / "images", "shell", shell)
    found = measure_masks(tmp_path)
    assert [found.mean(name)[0] for name in ("components", "tunnels", "cavities")] == [1, 0, 1]
    assert "holes" not in found.values


def test_a_mask_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    synthesize("fractal-vessels", count=2, out=tmp_path / "made", settings={"size": 64})
    broken = sorted((tmp_path / "made" / "masks").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:40])
    found = measure_masks(tmp_path / "made")
    assert (found.count, len(found.cases), len(found.failed)) == (2, 1, 1)
    assert broken.stem in found.failed[0]
    for each in (tmp_path / "made" / "masks").iterdir():
        each.write_bytes(b"")
    with pytest.raises(DataError, match="none of its masks can be read"):
        measure_masks(tmp_path / "made")


def test_the_page_tells_origins_sizes_and_names_and_is_whole_in_itself(tmp_path: Path) -> None:
    synthesize("fractal-vessels", count=2, out=tmp_path / "made", settings={"size": 96}, options={"seed": 3})
    folders = [bars(tmp_path / "real"), tmp_path / "made"]
    page, sets = report_masks(folders, command=("scantling", "report", "real", "made"))
    assert page == tmp_path / "mask-quality.html"
    text = page.read_text()
    assert "real, by annotators" in text
    assert "made by fractal-vessels (size 96, thickness [15, 20])." in text
    assert "60 × 80" in text
    assert "different sizes" in text
    assert text.count('src="data:image/png;base64,') == 6
    for title in ("Widths", "Coverage", "Pieces (β₀)", "Holes (β₁)", "Fractal dimension"):
        assert f'aria-label="{title}: ' in text
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    assert "http" not in text.replace("http-equiv", "")
    assert [each.origins[0].kind for each in sets] == ["real", "synthetic"]
    assert sets[1].facts()["origins"][0]["model"].startswith("fractal-vessels ")


def test_names_are_told_apart_and_escaped(tmp_path: Path) -> None:
    page, _ = report_masks([bars(tmp_path / name / "a<b>") for name in ("one", "two")], out=tmp_path)
    text = page.read_text()
    assert "a&lt;b&gt; (1)" in text
    assert "a&lt;b&gt; (2)" in text
    assert "a<b>" not in text


def test_the_command_writes_numbers_and_refuses_runs_among_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bars(tmp_path / "bars")
    out, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    assert main(["report", str(folder), "--out", str(out), "--json", str(numbers), "--most", "3"]) == 0
    facts = json.loads(numbers.read_text())
    assert facts["page"] == str(out)
    assert facts["folders"][0]["mean"]["width"] == 5
    assert facts["folders"][0]["mean"]["angle"] is None
    assert facts["folders"][0]["measured"] == 3
    assert "3 of 4 masks were measured, drawn by a hash" in out.read_text()
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    assert not holds_masks(run)
    with pytest.raises(RunError, match="report runs and evaluations apart"):
        report_masks([folder, run])
    with pytest.raises(SettingsError, match=r"name a file that ends in \.html"):
        report_masks([folder], out=tmp_path / "page.pdf")
    assert main(["report", str(folder), str(run)]) == 2
    assert "report runs and evaluations apart" in capsys.readouterr().err


def test_a_histogram_counts_every_number_of_every_group_once() -> None:
    values = np.concatenate([np.arange(50.0), [1e6]])  # the last one counts in the last bin
    chart = histogram_chart("T", [("a<", values), ("none", np.array([np.nan]))], label="x", note="N.", whole=True)
    assert chart is not None
    assert "a&lt; median 25; none none" in chart.svg
    assert chart.svg.count('<path class="curve') == 1
    assert histogram_chart("T", [("none", np.zeros(0))], label="x", note="N.") is None


def test_a_volume_is_shown_the_same_way_however_it_is_stored(tmp_path: Path) -> None:
    mask = np.zeros((8, 10, 6), np.uint8)
    mask[5:, 7:, 2:4] = 1  # to the right and the front
    shown = []
    for number, signs in enumerate(itertools.product((1, -1), repeat=3)):
        way = np.array([[2, signs[0]], [0, signs[1]], [1, signs[2]]])
        image = nib.Nifti1Image(mask, np.diag([0.8, 1.2, 3.0, 1.0])).as_reoriented(way)
        folder = tmp_path / f"{number}" / "masks"
        folder.mkdir(parents=True)
        nib.save(image, folder / "a.nii.gz")
        page, _ = report_masks([folder], out=tmp_path / f"{number}.html")
        shown.append(re.search(r'<div class="picture.*?</div>', page.read_text(), re.S))
    assert {found and found[0] for found in shown} == {shown[0] and shown[0][0]}
    assert shown[0] is not None
    assert "aspect-ratio: 0.53" in shown[0][0], "8 x 0.8 mm wide, 10 x 1.2 mm high"
    assert re.findall(r'letter (\w+)" aria-hidden="true">(\w)', shown[0][0]) == [
        ("left", "R"), ("right", "L"), ("top", "A"), ("bottom", "P"),
    ]  # fmt: skip
