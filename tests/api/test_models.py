"""`load_model(...).predict` answers as the command does, whatever the image comes in, and gives back what came."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from api.untrained import untrained
from made import images_for
from scantling import load_model
from scantling.api.answers import Answer
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.data.dataset import open_dataset
from scantling.inference import predict
from scantling.methods.catalogue import CARDS, added
from stored import read
from toys_capabilities import TOYS


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["unet"], tmp_path_factory.mktemp("pictures"), dimensions=2)


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained("unet", pictures, tmp_path_factory.mktemp("run"), dropout=0.3)


@pytest.fixture(scope="module")
def picture(pictures: Path) -> Path:
    return pictures / "test" / "images" / "case4.png"


@pytest.fixture(scope="module")
def written(run: Path, picture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes of the picture."""
    out = tmp_path_factory.mktemp("written")
    done = predict(run, picture, out=out, options={"samples": 2, "seed": 3}, probabilities=True)
    assert not done.failed
    return out


def equal_to_files(answer: Answer, out: Path, id: str, end: str = ".png") -> None:
    """The arrays of an answer about a picture are those of the files of the command."""
    np.testing.assert_array_equal(answer.mask, read(out / f"{id}{end}").array[0])
    np.testing.assert_array_equal(answer.probabilities, read(out / "probabilities" / f"{id}.tif").array)
    for number, sample in enumerate(answer.samples):
        np.testing.assert_array_equal(sample, read(out / "samples" / id / f"{number:02d}{end}").array[0])
    assert set(answer.uncertainty) == {path.name for path in out.glob("uncertainty/*")}
    for name, map_ in answer.uncertainty.items():
        np.testing.assert_array_equal(map_, read(out / "uncertainty" / name / f"{id}.tif").array[0])


def test_the_answer_about_a_file_a_case_or_its_array_is_that_of_the_command_bit_for_bit(
    run: Path, pictures: Path, picture: Path, written: Path
) -> None:
    model, array = load_model(run), np.asarray(Image.open(picture))
    (case,) = (case for case in open_dataset(pictures).cases if case.id == "case4")
    how: dict[str, Any] = {"samples": 2, "seed": 3}
    for x in (picture, str(picture), case):
        equal_to_files(model.predict(x, **how), written, "case4")
    arrays = (array, array[None], array[..., None], torch.from_numpy(array.copy()), Image.open(picture))
    for x in arrays:
        equal_to_files(model.predict(x, **how, id="case4"), written, "case4")
    assert not np.array_equal(model.predict(array, **how).probabilities, model.predict(picture, **how).probabilities)


def test_an_array_of_torch_is_answered_in_torch_and_a_list_by_a_list(run: Path, picture: Path) -> None:
    model, array = load_model(run), np.asarray(Image.open(picture))
    answers = model.predict([array, torch.from_numpy(array.copy())], samples=2)
    assert isinstance(answers[0].mask, np.ndarray)
    assert isinstance(answers[1].mask, torch.Tensor)
    assert answers[1].samples.shape == (2, *array.shape)
    np.testing.assert_array_equal(answers[0].probabilities, answers[1].probabilities.numpy())
    assert answers[0].classes == ("foreground",)
    assert answers[0].spacing == (1.0, 1.0)
    assert model.predict(array, spacing=0.5).spacing == (0.5, 0.5)
    assert set(np.unique(answers[0].mask)) <= {0, *answers[0].values}


def test_an_ensemble_answers_as_the_command_does(run: Path, pictures: Path, picture: Path, tmp_path: Path) -> None:
    other = untrained("unet", pictures, tmp_path / "other", seed=1)
    predict(run, picture, out=tmp_path / "out", ensemble=[other], probabilities=True)
    equal_to_files(load_model([run, other]).predict(picture), tmp_path / "out", "case4")


def test_a_region_counts_as_that_of_the_case(run: Path, picture: Path, tmp_path: Path) -> None:
    array = np.asarray(Image.open(picture))
    region = np.zeros(array.shape, bool)
    region[4:20, 5:25] = True
    for folder, values in (("images", array), ("fov", region * np.uint8(255))):
        (tmp_path / folder).mkdir()
        Image.fromarray(values).save(tmp_path / folder / "a.png")
    predict(run, tmp_path, out=tmp_path / "out", split="all", probabilities=True)
    model = load_model(run)
    for x, inside in ((array, region), (tmp_path / "images" / "a.png", tmp_path / "fov" / "a.png")):
        equal_to_files(model.predict(x, region=inside), tmp_path / "out", "a")
    for wrong, match in (
        (region[:-1], "region: it does not fit x"),
        (region[:1], "region: it does not fit x"),
        (region * 0.5, r"found the values 0, 0\.5"),
        (region * np.nan, "found the values nan"),
        (region * -1, "found the values -1, 0"),
        (region & False, "found no pixel that is marked"),
    ):
        with pytest.raises(DataError, match=match):
            model.predict(array, region=wrong)


def test_threads_get_their_own_answers(run: Path, picture: Path) -> None:
    model, asked = load_model(run), ({"samples": 2}, {"samples": 1})
    alone = [model.predict(picture, **how).probabilities for how in asked]
    with ThreadPoolExecutor(2) as pool:
        several = list(pool.map(lambda n: model.predict(picture, **asked[n % 2]).probabilities, range(4)))
    for number, found in enumerate(several):
        np.testing.assert_array_equal(found, alone[number % 2])


def test_a_mask_is_saved_as_the_command_writes_it_and_shown(
    run: Path, picture: Path, written: Path, tmp_path: Path
) -> None:
    answer = load_model(run).predict(picture, samples=2, seed=3)
    (saved,) = answer.save(tmp_path / "deep" / "case4.png")
    assert saved.read_bytes() == (written / "case4.png").read_bytes()
    with pytest.raises(SettingsError, match=r"expected \.png"):
        answer.save(tmp_path / "mask.nii.gz")
    shown = answer.plot(longest=100)
    assert max(shown.size) == 100
    assert len(np.unique(np.asarray(shown).reshape(-1, 3), axis=0)) > 2
    assert "data:image/png" in answer._repr_html_()


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((1, 40, 1), 'two readings.*channels="first" or channels="last"'),
        ((2, 1, 40, 40), r"a batch \(2, 1, 40, 40\).*\[\*x\]"),
        ((40,), "the model takes images"),
        ((5, 40, 40), "or 1 channel "),
        ((3, 40, 40), "or 1 channel "),
    ],
)
def test_a_shape_without_one_reading_is_refused(run: Path, shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(DataError, match=match):
        load_model(run).predict(np.ones(shape, np.float32))


def test_what_is_no_image_of_the_model_is_refused_with_a_sentence(run: Path, pictures: Path) -> None:
    model, array = load_model(run), np.ones((40, 40), np.uint8)
    for x, match in (
        (open_dataset(pictures), "pass x.cases"),
        (pictures / "test", "expected one"),
        ("nowhere.png", "no such file"),
        ({}, "empty dictionary"),
        ({"a": array, "b": array}, "expected the channels grey"),
        (object(), "found a builtins.object; expected a NumPy array"),
        (np.full((40, 40), 1j), "complex128"),
        (np.full((40, 40), np.nan), "NaN"),
        (np.ones((0, 40)), "expected an image that holds pixels"),
        (np.ma.masked_less(array, 2), r"masked; pass x.data, and region=~x.mask"),
    ):
        with pytest.raises(Exception, match=match) as caught:
            model.predict(x)
        assert type(caught.value).__module__ == "scantling.core.errors"
    strange: Any
    for strange in ((1, 1, 1), -1, ("a", "b"), float("nan")):
        with pytest.raises(DataError, match="spacing: found"):
            model.predict(array, spacing=strange)
    for strange in (np.eye(3), "x"):
        with pytest.raises(DataError, match=r"expected.* \(4, 4\)"):
            model.predict(array, affine=strange)
    assert model.predict(array, spacing=np.float32(2)).spacing == (2, 2)
    with pytest.raises(DataError, match="region: found 3 channels that differ"):
        model.predict(array, region=np.stack([array, array, 0 * array], axis=-1))
    with pytest.raises(SettingsError, match=r"^fuse: found 'nonsense'"):
        model.predict(array, fuse="nonsense")
    with pytest.raises(SettingsError, match=r"^tempo: this model has no such option") as caught:
        model.predict(array, tempo=3)
    assert "--" not in str(caught.value)


def test_a_dictionary_of_monai_gives_its_image(run: Path, picture: Path) -> None:
    model, array = load_model(run), np.asarray(Image.open(picture))
    both = {"image": array[None], "label": np.zeros((1, *array.shape), np.uint8)}
    np.testing.assert_array_equal(model.predict(both).mask, model.predict(array).mask)


def test_numbers_from_0_to_1_are_refused_where_the_model_takes_values_as_they_are(
    pictures: Path, picture: Path, tmp_path: Path
) -> None:
    model = load_model(untrained("unet", pictures, tmp_path, normalise="dataset"))
    array = np.asarray(Image.open(picture))
    with pytest.raises(DataError, match="multiply x by 255"):
        model.predict((array / 255).astype(np.float32))
    np.testing.assert_array_equal(model.predict(array.astype(np.float32)).mask, model.predict(picture).mask)


def test_a_colour_picture_is_read_by_all_packages_alike(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    generator, folder = np.random.default_rng(1), tmp_path / "data"
    for number in range(3):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "masks").mkdir(exist_ok=True)
        mask = generator.random((33, 41)) > 0.6
        Image.fromarray(generator.integers(0, 255, (33, 41, 3)).astype(np.uint8)).save(folder / f"images/{number}.png")
        Image.fromarray(mask * np.uint8(255)).save(folder / f"masks/{number}.png")
    model, path = load_model(untrained("unet", folder, tmp_path / "run")), folder / "images" / "1.png"
    expected, array = model.predict(path), np.asarray(Image.open(path))
    for x in (array, array.transpose(2, 0, 1), np.dstack([array, array[..., :1]])):
        np.testing.assert_array_equal(model.predict(x).probabilities, expected.probabilities)
    image = sitk.ReadImage(str(path))
    answer = model.predict(image)
    assert answer.mask.GetSize() == image.GetSize()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(answer.mask), expected.mask)
    rows = model.predict(MetaTensor(torch.from_numpy(array.transpose(2, 0, 1).copy())))
    np.testing.assert_array_equal(rows.mask[0].numpy(), expected.mask)
    tio = pytest.importorskip("torchio", reason="TorchIO is not installed")
    columns = model.predict(tio.ScalarImage(path))
    np.testing.assert_array_equal(columns.mask.numpy()[0, :, :, 0].T, expected.mask)
    np.testing.assert_array_equal(columns.probabilities.numpy()[0, :, :, 0].T, expected.probabilities[0])


def test_a_classifier_says_the_class_of_the_image_as_the_command_does(pictures: Path, tmp_path: Path) -> None:
    with added(TOYS["toy-both"]):
        run = untrained("toy-both", pictures, tmp_path / "run", traits={"image_classes": ("bright", "dark")})
        (facts,) = predict(run, pictures / "test" / "images" / "case4.png", out=tmp_path / "out").cases
        answer = load_model(run).predict(pictures / "test" / "images" / "case4.png")
    assert (answer.image_class, answer.image_class_probabilities) == (facts["image_class"], facts["classes"])
    assert answer.image_class_uncertainty == facts["class_uncertainty"]
    np.testing.assert_array_equal(answer.mask, np.asarray(Image.open(tmp_path / "out" / "case4.png")))


def test_a_closed_model_and_a_rule_say_what_they_cannot_do(run: Path) -> None:
    with load_model(run) as model:
        assert "unet" in repr(model)
        assert model.classes == ("foreground",)
        with pytest.raises(RunError, match="makes no images"):
            model.generate(1)
    with pytest.raises(RunError, match="closed"):
        model.predict(np.ones((40, 40), np.uint8))
    with pytest.raises(RunError, match=r"cannot segment or classify; it can generate"):
        load_model("retina-phantoms").predict(np.ones((40, 40), np.uint8))
    with pytest.raises(RunError, match=r"no such run and no such rule; rules are: .*retina-phantoms"):
        load_model("runs/nothing")
    with pytest.raises(RunError, match="vesselness has to be trained first"):
        load_model("vesselness")
    with pytest.raises(SettingsError, match="settings belong to a rule"):
        load_model(run, settings={"size": 64})
    with pytest.raises(SettingsError, match="device tpu: no such device"):
        load_model(run, device="tpu")
    with pytest.raises(SettingsError, match="run: found a int; expected a path"):
        load_model(3)  # type: ignore[arg-type]
