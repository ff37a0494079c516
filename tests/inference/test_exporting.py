"""A network leaves as ONNX only if one pass of it is the whole answer, and gives the same numbers elsewhere."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import scantling
from scantling.cli.main import main
from scantling.contract.method import build
from scantling.contract.views import Views
from scantling.core.atomic import write_json
from scantling.core.errors import RunError, SettingsError
from scantling.core.postprocessing import Postprocessing
from scantling.data.dataset import open_dataset
from scantling.data.traits import readable_traits
from scantling.inference import exporting
from scantling.inference.exporting import OnePass, example, export_onnx
from scantling.methods.catalogue import CARDS, implementation_of
from scantling.records.run_folder import load_model
from scantling.testing.data import make_data
from scantling.training import train
from scantling.training.options import Options


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    make_data(CARDS["unet"], folder / "data", dimensions=2, classes=2)
    train("unet", [folder / "data"], folder / "run", Options(preset="tiny", settings={"steps": 1}))
    return folder / "run"


def tiny(name: str, folder: Path, dimensions: int) -> Any:
    data = open_dataset(make_data(CARDS[name], folder, dimensions=dimensions))
    traits, _ = readable_traits(data, reads=("image", "mask"))
    kind = implementation_of(CARDS[name])
    return build(kind, kind.Settings.preset("tiny").resolve(traits), traits).eval()


@pytest.fixture(scope="module")
def exported(run: Path) -> tuple[Path, str]:
    """The export of the run with what validation could have taught it, and what the command has told."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    taught(run, Views(mirrored=(True, True), turned=True), Postprocessing(temperature=1.7, components=("largest", 9.0)))
    told = io.StringIO()
    with redirect_stdout(told):
        assert main(["export", str(run), "--to", "onnx", "--out", str(run / "onnx"), "--json", "-"]) == 0
    return run / "onnx", told.getvalue()


def taught(run: Path, views: Views, postprocessing: Postprocessing) -> None:
    write_json(run / "model" / "views.json", views.model_dump())
    write_json(run / "model" / "postprocessing.json", postprocessing.model_dump())


def test_the_exported_network_gives_the_probabilities_of_the_model_at_any_size(
    run: Path, exported: tuple[Path, str]
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    out, told = exported
    facts = json.loads((out / "export.json").read_text())
    assert json.loads(told) == facts
    assert facts["input"]["shape"] == [None, 1, None, None]
    assert facts["output"]["classes"] == ["class-1", "class-2"]
    assert facts["preprocessing"]["normalise"] == "image"
    assert facts["check"]["greatest_difference"] <= facts["check"]["tolerance"]
    image = torch.randn(1, 1, 37, 70, generator=torch.Generator().manual_seed(7))
    session = runtime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": image.numpy()})
    method = load_model(run)
    with torch.no_grad():
        logits = method.network(image)
    np.testing.assert_allclose(found, logits.softmax(1)[:, 1:].numpy(), atol=1e-5)


def agree(folder: Path, image: np.ndarray, spacing: tuple[float, ...], answer: Any) -> None:
    """Hold an answer against that of the rules of `export.json`, where no rounding decides."""
    from exported import repeated

    mask, likely = repeated(folder, image[None], spacing)
    np.testing.assert_allclose(answer.probabilities, likely, atol=1e-4)
    assert len(np.unique(mask)) > 1
    assert np.mean(answer.mask != mask) <= 1e-3


def test_the_rules_beside_the_network_repeat_the_answer_with_views_and_postprocessing(
    run: Path, exported: tuple[Path, str]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (61, 84), np.uint8)
    image[20:40, 30:60] //= 4
    model = scantling.load_model(run, device="cpu")
    answer = model.predict(image)
    agree(exported[0], image, (1, 1), answer)
    plain = model.predict(image, postprocess=False, views=False)
    assert np.abs(plain.probabilities - answer.probabilities).max() > 1e-2
    assert (plain.mask != answer.mask).any()


def test_the_rules_beside_a_network_of_volumes_repeat_the_answer_on_another_grid(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    make_data(CARDS["unet"], tmp_path / "data", dimensions=3)
    train("unet", [tmp_path / "data"], tmp_path / "run", Options(preset="tiny", settings={"steps": 2}))
    views = Views(mirrored=(True, False, False))
    taught(tmp_path / "run", views, Postprocessing(temperature=0.8, thresholds=(0.45,), components=(20.0,)))
    facts = export_onnx(tmp_path / "run", tmp_path / "onnx")
    assert facts["views"]["each"] == [{"quarter_turns": 0, "reversed": axes} for axes in ([], [0])]
    spacing = tuple(factor * s for factor, s in zip((0.4, 1.6, 0.8), facts["preprocessing"]["spacing"], strict=True))
    image = np.random.default_rng(1).normal(100, 20, (33, 14, 21)).astype(np.float32)
    model = scantling.load_model(tmp_path / "run", device="cpu")
    agree(tmp_path / "onnx", image, spacing, model.predict(image, spacing=spacing))


@pytest.mark.parametrize(("name", "dimensions"), [("unet", 2), ("unet", 3), ("fr-unet", 2)])
def test_methods_of_one_pass_are_found_to_be_so(name: str, dimensions: int, tmp_path: Path) -> None:
    method = tiny(name, tmp_path, dimensions)
    image = example(method)
    assert OnePass(method).refusal(image) == ""
    assert len({*image.shape[2:]}) == image.ndim - 2
    assert all(side % 2 for side in image.shape[2:])


@pytest.mark.parametrize(
    ("name", "reason"),
    [("vesselness", "no network"), ("berdiff", "in many passes"), ("medsegdiff", "in many passes")],
)
def test_methods_of_many_passes_are_refused(name: str, reason: str, tmp_path: Path) -> None:
    method = tiny(name, tmp_path, 2)
    assert reason in OnePass(method).refusal(example(method))


def test_a_network_that_gives_other_numbers_is_not_left_behind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Program:
        def save(self, path: str) -> None:
            Path(path).write_bytes(b"onnx")

    def differs(*args: object, **options: object) -> None:
        raise RunError("a probability differs by 0.1 on onnxruntime")

    monkeypatch.setattr(exporting, "exported", lambda *args, **options: Program())
    monkeypatch.setattr(exporting, "checked", differs)
    monkeypatch.setattr(exporting, "_package", lambda name: None)
    with pytest.raises(RunError, match=r"cannot be exported: a probability differs by 0\.1"):
        export_onnx(run, tmp_path / "onnx")
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == ["export.json"]


def test_a_folder_of_something_else_and_a_missing_package_are_told_of(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    monkeypatch.setattr(exporting, "_package", lambda name: None)
    with pytest.raises(SettingsError, match=r"holds notes\.txt"):
        export_onnx(run, tmp_path / "full")
    monkeypatch.undo()

    def absent(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(exporting, "import_module", absent)
    with pytest.raises(SettingsError, match=r"onnx cannot be imported.*pip install 'scantling\[onnx\]'"):
        export_onnx(run, tmp_path / "onnx")
