"""What a new user tries: answers, cases and files where masks go, the plan, and wrong things where folders go."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch

import scantling
from made import images_for
from scantling.api.training import TrainingOptions
from scantling.cli.main import parse
from scantling.core.errors import ArrayError, FileError, SettingsError
from scantling.methods.catalogue import CARDS
from scantling.training import Options
from scantling.training.equivalent import equivalent_command, shown

HOW: TrainingOptions = {"preset": "tiny", "steps": 30, "validation": 0.0, "settings": {"widths": (8, 16)}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("new")
    images_for(CARDS["unet"], place / "data", dimensions=2)
    run = scantling.train("unet", place / "data", place / "run", **HOW)
    run.predict(place / "data", place / "masks", split="all", probabilities=True)
    return place


@pytest.fixture(scope="module")
def data(place: Path) -> Any:
    return scantling.open_dataset(place / "data")


@pytest.fixture(scope="module")
def model(place: Path) -> Any:
    return scantling.load_model(place / "run")


def same(one: dict[str, float], other: dict[str, float]) -> bool:
    return one.keys() == other.keys() and all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(one.values(), other.values(), strict=True)
    )


def test_an_answer_and_a_case_have_the_scores_of_their_files(place: Path, data: Any, model: Any) -> None:
    found = scantling.evaluate(place / "masks", data, probabilities=place / "masks" / "probabilities", split="all")
    assert len(found.cases) == len(data)
    for scored in found.cases:
        case = data[scored.id]
        assert same(scantling.score(model.predict(case), case), dict(scored.scores.mean))


def test_files_have_the_scores_of_their_arrays(place: Path, data: Any, model: Any) -> None:
    case = data[0]
    answer, sample = model.predict(case), case.load()
    files = place / "masks" / f"{case.id}.png", str(case.masks[0].path)
    assert same(scantling.score(*files), scantling.score(answer.mask > 0, sample.mask[0] > 0))
    truth = np.where(sample.mask[0] > 0, 255, 0).astype(np.uint8)
    truth[:5] = 7
    np.save(place / "truth.npy", truth)
    with pytest.raises(ArrayError, match=r"^truth: found the values .*7, 255"):
        scantling.score(files[0], place / "truth.npy")
    with pytest.raises(FileError, match=r"no\.png: does not exist"):
        scantling.score(files[0], "no.png")


def test_samples_come_as_a_list_or_as_an_array_and_of_an_answer_by_themselves(data: Any, model: Any) -> None:
    answer = model.predict(data[0])
    mask, truth = answer.mask > 0, data[0].load().mask[0]
    drawn = np.stack([mask, ~mask])
    scores = [
        scantling.score(mask, truth, samples=each, annotators=[truth])["ged"]
        for each in (drawn, [*drawn], torch.from_numpy(drawn))
    ]
    assert scores[0] == scores[1] == scores[2] > 0
    with pytest.raises(SettingsError, match="samples: found a int; expected a list of masks"):
        scantling.score(mask, truth, samples=3)  # type: ignore[arg-type]


def test_a_map_in_a_file_and_an_answer_are_mended_as_their_arrays(place: Path, data: Any, model: Any) -> None:
    answer, how = model.predict(data[0]), {"rule": "hysteresis", "low": 0.2}
    expected = scantling.mend(answer.probabilities, spatial_dims=2, **how)[0]
    np.testing.assert_array_equal(scantling.mend(answer, **how), expected)
    (file,) = (place / "masks" / "probabilities").glob(f"{data[0].id}.*")
    np.testing.assert_array_equal(scantling.mend(file, **how), expected)
    image = SimpleITK.GetImageFromArray(data[0].load().image[0])
    mended = scantling.mend(model.predict(image), **how)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(mended), expected)
    with pytest.raises(ArrayError, match="found 2 spatial axes and spatial_dims=3"):
        scantling.mend(answer, spatial_dims=3)


def test_the_plan_is_that_of_the_training_and_writes_nothing(place: Path) -> None:
    files = {*place.rglob("*")}
    plan = scantling.plan("unet", place / "data", **HOW)
    assert {*place.rglob("*")} == files
    assert plan.facts()["settings"] == scantling.Run(place / "run").record["settings"]
    assert "widths 8,16" in repr(plan)
    with pytest.raises(TypeError, match=r"plan\(\) got an unexpected keyword argument 'presett'"):
        scantling.plan("unet", place / "data", **{"presett": "quick"})  # type: ignore[arg-type]


def test_a_run_records_the_command_that_its_call_stands_for(place: Path) -> None:
    words = scantling.Run(place / "run").record["command"]
    assert words[:2] == ["scantling", "train"]
    parsed: Any = parse(words[1:])
    assert (parsed.method, parsed.data, parsed.out) == ("unet", [place / "data"], place / "run")
    assert (parsed.preset, parsed.steps, parsed.validation, parsed.settings) == ("tiny", 30, 0.0, {"widths": [8, 16]})
    options = Options(labels="10%", uses={"segmenter": Path("r")}, share={"real": 0.5}, base=Path("b"), threads=2)
    parsed = parse(equivalent_command("direction", [Path("d"), Path("e")], Path("o"), options)[1:])
    assert (parsed.data, parsed.labels, parsed.use) == ([Path("d"), Path("e")], "10%", ["segmenter=r"])
    assert (parsed.share, parsed.base, parsed.threads) == (["real=0.5"], Path("b"), 2)
    assert [shown(each) for each in (True, None, 0.1, ((2, 2), (1, 2)), "x", 3e-5)] == [
        "true", "none", "0.1", "2x2,1x2", "x", "3e-05",
    ]  # fmt: skip


def test_what_a_call_returns_reads_like_its_table(place: Path, data: Any) -> None:
    assert repr(scantling.check(data)) == scantling.check(data).text()
    assert repr(scantling.evaluate(place / "masks", data, metrics="dice")).count("Dice") >= 1
    listing = scantling.predict(place / "run", data, out=place / "masks", split="all", probabilities=True)
    assert repr(listing).endswith("predictions.json: 6 cases")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p, d, x: scantling.predict(p / "run", x, out=p / "no"), r"^source: found a ndarray; .*dataset_from"),
        (lambda p, d, x: scantling.predict(None, d, out=p / "no"), r"^run: found a NoneType; expected a path"),
        (lambda p, d, x: scantling.register(p / "run", [x], out=p / "no"), r"^fixed: found a list"),
        (lambda p, d, x: scantling.evaluate(x, d), r"^prediction: found a ndarray; .*scored by scantling.score"),
        (lambda p, d, x: scantling.compare(3, d), r"^runs: found a int; expected a path, or a list"),
        (lambda p, d, x: scantling.write_report([d, 3]), r"^targets\[0\]: found a Dataset; expected a path"),
        (lambda p, d, x: scantling.write_report([]), r"^targets: found an empty list"),
        (lambda p, d, x: scantling.export(None, p / "no"), r"^source: found a NoneType; expected a run"),
        (lambda p, d, x: scantling.train("unet", x, p / "no"), r"^data: found a ndarray; .*scantling.dataset_from"),
        (lambda p, d, x: scantling.train("unet", d, p / "no", callbacks=[3]), r"^callbacks: found \[3\]; expected"),
        (lambda p, d, x: scantling.load_model("vessel-trees").generate(1, data=d), "vessel-trees asks for nothing"),
    ],
)
def test_what_is_no_folder_is_named_by_its_argument(
    call: Callable[..., Any], sentence: str, place: Path, data: Any
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        call(place, data, np.zeros((4, 4)))
    assert not (place / "no").exists()


def test_a_page_on_masks_is_written_as_by_the_command(place: Path) -> None:
    page = scantling.write_report(place / "data", out=place / "quality.html")
    assert "<svg" in page.read_text()


def test_images_of_nibabel_and_simpleitk_in_dictionaries_are_read_as_their_files(tmp_path: Path) -> None:
    affine = np.array([[0, 0, -2.5, 30], [-1.2, 0, 0, 8], [0, 1.0, 0, -4], [0, 0, 0, 1]])
    values = np.random.default_rng(0).integers(-99, 300, (9, 8, 7)).astype(np.int16)
    paths = [tmp_path / name for name in ("scan.nii.gz", "mask.nii.gz")]
    for path, array in zip(paths, (values, (values > 90).astype(np.uint8)), strict=True):
        nib.save(nib.Nifti1Image(array, affine), path)
    expected, *others = (
        scantling.dataset_from([{"image": reader(paths[0]), "label": reader(paths[1])}], classes=["high"])[0].load()
        for reader in (str, nib.load, lambda path: SimpleITK.ReadImage(str(path)))
    )
    for sample in others:
        np.testing.assert_array_equal(sample.image, expected.image)
        np.testing.assert_array_equal(sample.mask, expected.mask)
        np.testing.assert_allclose(sample.affine, expected.affine, atol=1e-5)


def test_a_picture_of_simpleitk_is_rows_and_columns_with_its_spacing_if_it_has_one() -> None:
    colours = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    image = SimpleITK.GetImageFromArray(colours, isVector=True)
    sample = scantling.dataset_from([{"image": image}])[0].load()
    np.testing.assert_array_equal(sample.image, colours.transpose(2, 0, 1))
    assert sample.geometry.unit == "pixel"
    image.SetSpacing((0.5, 0.25))
    assert scantling.dataset_from([{"image": image}])[0].load().spacing == (0.25, 0.5)
