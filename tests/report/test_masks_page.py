"""The page of predictions without a truth: what it says of volumes, pieces, doubt, and of what is not there."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from scantling.cli.main import main
from scantling.core.errors import RunError, SettingsError
from scantling.report import holds_unscored, report_unscored
from scantling.report.masks_page import RESEARCH_ONLY
from scantling.report.mended import mended_block
from scantling.report.unscored import read_unscored


def png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def predicted(folder: Path, cases: list[dict[str, Any]], source: Path | None = None, **changes: Any) -> Path:
    facts = {
        "method": "unet", "input": None if source is None else str(source), "split": "all",
        "classes": ["blob"], "values": [[255]], "cases": cases, "failed": [],
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predictions.json").write_text(json.dumps(facts | changes))
    return folder


def squares(folder: Path, sizes: dict[str, int]) -> None:
    for id, size in sizes.items():
        mask = np.zeros((16, 24), np.uint8)
        mask[1 : 1 + size, 1 : 1 + size] = 255
        if size:
            mask[14, 20] = 255
        png(folder / f"{id}.png", mask)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three masks of pictures: sure, unsure, empty; the unsure one is of an unlike image."""
    for id in "abc":
        png(tmp_path / "images" / f"{id}.png", np.full((16, 24, 3), 80, np.uint8))
    squares(tmp_path / "masks", {"a": 4, "b": 6, "c": 0})
    cases = [
        {"id": "a", "mask": "a.png", "expected": {"estimate": 0.9, "dice": 0.9, "low": 0.8, "high": 1.0}, "unlike": []},
        {"id": "b", "mask": "b.png", "expected": {"estimate": 0.4, "dice": 0.4, "low": 0.1, "high": 0.7},
         "unlike": ["intensity"], "distance": 2.0, "stands_out": "intensity: mean of red 3 instead of 90"},
        {"id": "c", "mask": "c.png", "expected": {"estimate": None, "dice": 0.0}, "unlike": []},
    ]  # fmt: skip
    return predicted(tmp_path / "masks", cases, tmp_path / "images")


def test_the_most_uncertain_comes_first_the_unlike_one_is_marked_and_the_empty_one_is_said(pictures: Path) -> None:
    page, table, failed = report_unscored(pictures, command=("scantling", "report", str(pictures)))
    text = page.read_text()
    assert failed == ()
    places = [text.index(f'<h3 class="sub">{id}</h3>') for id in "bac"]
    assert places == sorted(places)
    assert "Unlike the training images: intensity: mean of red 3 instead of 90" in text
    assert "1 of 3 images is unlike the training images: b" in text
    assert "In 1 case nothing was marked: c" in text
    assert RESEARCH_ONLY in text[text.index("<footer>") :]
    assert text.count("data:image/jpeg") == 3
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["id"], row["volume"], row["unit"], row["pieces"]) for row in rows] == [
        ("b", "37.0", "pixels", "2"), ("a", "17.0", "pixels", "2"), ("c", "0.0", "pixels", "0"),
    ]  # fmt: skip
    assert [row["unlike"] for row in rows] == ["intensity", "no", "no"]


def test_volumes_are_in_ml_where_the_file_says_mm_and_mixed_units_are_said(tmp_path: Path) -> None:
    mask = np.zeros((6, 6, 4), np.uint8)
    mask[1:3, 1:3, 1:3] = 255
    for name, unit in (("a", 2), ("b", 2)):
        header = nib.Nifti1Header()
        header.set_xyzt_units(unit)
        (tmp_path / "m").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(mask, np.diag([5.0, 5.0, 10.0, 1.0]), header), tmp_path / "m" / f"{name}.nii.gz")
    squares(tmp_path / "m", {"c": 4})
    files = {"a": "a.nii.gz", "b": "b.nii.gz", "c": "c.png"}
    folder = predicted(tmp_path / "m", [{"id": id, "mask": name} for id, name in files.items()])
    found = read_unscored(folder)
    assert {case.id: (case.unit, case.amounts["blob"].volume) for case in found.cases} == {
        "a": ("mL", 2.0), "b": ("mL", 2.0), "c": ("pixel", 17.0),
    }  # fmt: skip
    text = report_unscored(folder)[0].read_text()
    assert "Volumes have different units (mL, pixels)" in text
    assert "drawn on black" in text
    assert "in the order of their ids" in text, "nothing is known of how certain they are"


def test_an_uncertainty_that_a_case_lacks_leaves_its_cell_empty(tmp_path: Path) -> None:
    squares(tmp_path / "m", {'a<&"': 4, "b": 4})
    cases = [
        {"id": 'a<&"', "mask": 'a<&".png', "uncertainty": {"entropy": 0.5, "variance": 0.25}},
        {"id": "b", "mask": "b.png", "uncertainty": {"variance": 0.125}},
    ]
    page, table, _ = report_unscored(predicted(tmp_path / "m", cases), figures=tmp_path / "f")
    text = page.read_text()
    assert "a<&" not in text
    assert '<td data-value=""></td>' not in text
    assert '<td data-value="">–</td><td data-value="0.125">0.125</td>' in text
    lines = (tmp_path / "f" / "table.tex").read_text().splitlines()
    assert {line.count(" & ") for line in lines if line.endswith(r"\\")} == {6}
    rows = {row["id"]: row for row in csv.DictReader(table.read_text().splitlines())}
    assert (rows["b"]["uncertainty_entropy"], rows["b"]["uncertainty_variance"]) == ("", "0.125")
    assert rows['a<&"']["uncertainty_entropy"] == "0.5"


def test_a_mask_that_cannot_be_read_is_listed_and_the_others_are_shown(pictures: Path) -> None:
    (pictures / "a.png").write_bytes(b"broken")
    page, _, failed = report_unscored(pictures)
    assert len(failed) == 1
    assert failed[0].startswith("a: ")
    assert "could not be predicted or read" in page.read_text()
    (pictures / "masks.html").unlink()
    assert main(["report", str(pictures)]) == 1, "some failed"


def test_images_that_are_gone_are_said_and_uncertainty_orders_where_no_dice_was_expected(tmp_path: Path) -> None:
    squares(tmp_path / "masks", {"a": 4, "b": 4})
    cases = [
        {"id": id, "mask": f"{id}.png", "uncertainty": {"entropy": value}} for id, value in (("a", 0.1), ("b", 0.3))
    ]
    folder = predicted(tmp_path / "masks", cases, tmp_path / "gone")
    assert [case.id for case in read_unscored(folder).cases] == ["b", "a"]
    assert "The images cannot be read, so the masks are drawn on black" in report_unscored(folder)[0].read_text()


def test_of_many_masks_some_are_drawn_and_all_are_in_the_table(tmp_path: Path) -> None:
    squares(tmp_path / "masks", {f"c{number:02d}": 3 for number in range(30)})
    folder = predicted(tmp_path / "masks", [{"id": f"c{n:02d}", "mask": f"c{n:02d}.png"} for n in range(30)])
    text = report_unscored(folder)[0].read_text()
    assert text.count('class="card"') == 24
    assert text.count('<th scope="row">') == 30
    assert "24 of 30 cases are drawn" in text


def test_a_folder_without_masks_and_a_page_that_is_none_are_refused(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(RunError, match="lists no mask"):
        report_unscored(predicted(tmp_path / "none", [{"id": "a", "image_class": "x"}]))
    with pytest.raises(SettingsError, match=r"name a file ending in \.html"):
        report_unscored(pictures, out=tmp_path / "page.pdf")
    (tmp_path / "mine.csv").write_text("my,own,table\n")
    with pytest.raises(SettingsError, match="holds something else than a table"):
        report_unscored(pictures, csv=tmp_path / "mine.csv")
    assert holds_unscored(pictures)
    (pictures / "scores.json").write_text("{}")
    assert not holds_unscored(pictures), "then it is an evaluation"


def test_the_command_writes_page_table_and_figures(pictures: Path, tmp_path: Path) -> None:
    words = ["report", str(pictures), "--out", str(tmp_path / "p.html"), "--csv", str(tmp_path / "v.csv")]
    assert main([*words, "--figures", str(tmp_path / "figures")]) == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"table.tex", "volumes.csv", "panel-b-contours.png", "volume-of-each-case.svg"} <= names
    assert (tmp_path / "v.csv").is_file()
    assert main([*words, "--figures", str(tmp_path)]) == 2, "a folder of something else"


def test_the_vessels_of_mended_masks_stand_beside_those_before(tmp_path: Path) -> None:
    pytest.importorskip("skan")
    cases = [{"id": "a", "mask": "a.png"}]
    for place, gap in (("masks", slice(18, 22)), ("mended", slice(0, 0))):
        mask = np.zeros((16, 40), np.uint8)
        mask[7:10, 4:36] = 255
        mask[:, gap] = 0
        png(tmp_path / place / "a.png", mask)
    predicted(tmp_path / "masks", cases)
    mended = predicted(
        tmp_path / "mended",
        cases,
        mending={"rule": "direction"},
        mended={"maps": str(tmp_path / "masks/probabilities")},
    )
    block = mended_block(mended, read_unscored(mended).listing.made)
    assert block is not None
    rows = dict(block.rows)
    assert rows["Pieces"] == ("2", "1", "−1")
    assert rows["Free ends"] == ("4", "2", "−2")
    assert float(rows["Length (pixels)"][1]) > float(rows["Length (pixels)"][0])
    page, _, _ = report_unscored(mended)
    assert "Vessels before and after mending" in page.read_text()
    assert mended_block(tmp_path / "masks", read_unscored(tmp_path / "masks").listing.made) is None
