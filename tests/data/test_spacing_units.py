"""A spacing is in mm or it is none: `check`, the traits, the grid of a method, what is written, trainings say which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.cli.main import main
from scantling.core.case import Case, Geometry, Sample, Unit
from scantling.core.samples import Preprocessing
from scantling.data.dataset import open_dataset
from scantling.data.files import probe, write_labels
from scantling.data.integrity import check
from scantling.data.preprocessing import grid_of
from scantling.data.traits import measure_traits
from scantling.records.run import read_run
from toys import TRAITS


def made(root: Path, spacings: list[tuple[float, float] | None]) -> Path:
    """A dataset of pictures with the spacing that its manifest gives each of them, or without."""
    generator, entries = np.random.default_rng(0), []
    for number, spacing in enumerate(spacings):
        for name, array in (
            ("images", generator.integers(0, 255, (32, 32))),
            ("masks", np.pad(np.full((12, 12), 255), 10)),
        ):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(root / name / f"{number}.png")
        said = f"spacing = {list(spacing)}\n" if spacing else ""
        entries.append(
            f'[[case]]\nid = "{number}"\nsubject = "{number}"\nsplit = "train"\nimages = "images/{number}.png"\n'
            f'masks = "masks/{number}.png"\n{said}'
        )
    (root / "scantling.toml").write_text("classes = { square = 255 }\n" + "\n".join(entries))
    return root


def spacing_lines(root: Path) -> list[str]:
    return [line.strip() for line in check(open_dataset(root)).text().splitlines() if "spacing: " in line]


def test_check_claims_no_millimetres_for_pictures_that_carry_none(tmp_path: Path) -> None:
    report = check(open_dataset(made(tmp_path, [None, None])))
    assert "spacing: in no file; distances are in pixels" in report.text()
    assert " mm" not in report.text()
    assert (report.summary.spacing, report.summary.units) == (None, {"pixel": 2})


def test_check_gives_the_spacing_that_is_known_and_says_where_it_is_not(tmp_path: Path) -> None:
    assert spacing_lines(made(tmp_path / "all", [(0.5, 0.25), (0.5, 0.25)])) == ["spacing: 0.5 x 0.25 mm"]
    summary, warning = spacing_lines(made(tmp_path / "mixed", [(0.5, 0.25), None, None]))
    assert summary == "spacing: 0.5 x 0.25 mm; 2 cases without one"
    assert warning.startswith("warning, spacing: 2 cases (1, 2) of 3 have no spacing")


def test_traits_have_a_spacing_in_mm_only_where_all_training_images_say_it(tmp_path: Path) -> None:
    known = measure_traits(open_dataset(made(tmp_path / "mm", [(0.5, 0.25), (0.7, 0.25), (0.9, 0.25)])))
    assert (known.spacing, known.unit, known.unspaced) == ((0.7, 0.25), "mm", 0)
    bare = measure_traits(open_dataset(made(tmp_path / "pixel", [None, None])))
    assert (bare.spacing, bare.unit, bare.unspaced) == ((1.0, 1.0), "pixel", 0)
    mixed = measure_traits(open_dataset(made(tmp_path / "mixed", [(0.5, 0.25), None, (0.5, 0.25)])))
    assert (mixed.spacing, mixed.unit, mixed.unspaced) == ((1.0, 1.0), "pixel", 1)


@pytest.mark.parametrize(
    ("unit", "found", "spacing", "grid"),
    [
        ("mm", "mm", (1.0, 1.0), (20, 20)),  # known on both sides: 40 mm at 2 mm
        ("mm", "pixel", (1.0, 1.0), (10, 40)),  # taken to have the spacing of the traits, 0.5 x 2 mm
        ("pixel", "mm", (4.0, 4.0), (20, 20)),  # in pixels of the file, whatever their size
        (None, "pixel", (1.0, 1.0), (20, 20)),  # a model of an earlier version: as it was
    ],
)
def test_an_image_is_never_resampled_from_pixels_to_millimetres(
    unit: Unit | None, found: Unit, spacing: tuple[float, float], grid: tuple[int, int]
) -> None:
    traits = TRAITS.model_copy(update={"spacing": (0.5, 2.0) if unit == "mm" else (1.0, 1.0), "unit": unit})
    geometry = Geometry((40, 40), spacing, unit=found)
    sample = Sample(Case(id="a", subject="a"), np.zeros((1, 40, 40), np.float32), geometry)
    assert grid_of(sample, Preprocessing(dimensions=2, spacing=(2.0, 2.0)), traits) == grid


def test_a_volume_without_a_spacing_is_written_and_read_again_without_one(tmp_path: Path) -> None:
    values = np.zeros((4, 5, 6), np.int32)
    for unit, spacing, affine in (("pixel", (1.0,) * 3, None), ("mm", (1.0,) * 3, None), ("mm", (2.0,) * 3, None)):
        path = write_labels(tmp_path, "a", values, Geometry((4, 5, 6), spacing, affine, "volume", unit=unit))
        geometry = probe(path).geometry
        assert (geometry.spacing, geometry.unit) == (spacing, unit)


def test_training_and_prediction_say_in_one_line_that_the_spacing_is_not_known_of_all_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--preset", "tiny", "--steps", "2", "--validation", "0", "--settings.spacing", "0.5,0.5"]
    mixed = made(tmp_path / "mixed", [(0.5, 0.5), None, (0.5, 0.5)])
    assert main(["train", "unet", "--data", str(mixed), "--out", str(tmp_path / "run"), *words]) == 0
    sentence = "1 training case without a spacing, the others have one in mm"
    assert capsys.readouterr().err.count(sentence) == 1
    assert any(sentence in warning for warning in read_run(tmp_path / "run").facts()["warnings"])
    known = made(tmp_path / "known", [(0.5, 0.5), (0.5, 0.5)])
    assert main(["train", "unet", "--data", str(known), "--out", str(tmp_path / "mm"), *words]) == 0
    assert "no spacing" not in capsys.readouterr().err
    command = ["predict", str(tmp_path / "mm"), str(mixed), "--split", "all", "--out"]
    assert main([*command, str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "1 image (1) with no spacing, unlike the training images: taken to have theirs, 0.5 x 0.5 mm" in (
        told.out + told.err
    )
