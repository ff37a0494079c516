"""What a program holds is trained on, answered and scored as the same files are, and a run knows it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityd
from safetensors.numpy import load_file

from scantling.api.models import load_model
from scantling.core.errors import RunError
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.items import dataset_from
from scantling.data.loading import load
from scantling.evaluation import evaluate
from scantling.inference import predict
from scantling.methods.catalogue import CARDS
from scantling.records.run_data import dataset_of
from scantling.testing.data import make_data
from scantling.training import train
from scantling.training.options import Options

SHORT = Options(preset="tiny", settings={"steps": 2})


def items_of(data: Dataset) -> list[dict[str, Any]]:
    samples = [load(case, labels=data.labels) for case in data.cases]
    return [{"image": s.image, "label": s.masks[0], "id": s.case.id, "split": s.case.split} for s in samples]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(make_data(CARDS["unet"], tmp_path_factory.mktemp("toy"), dimensions=2))


@pytest.fixture(scope="module")
def run(folder: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on arrays."""
    out = tmp_path_factory.mktemp("runs") / "arrays"
    train("unet", [dataset_from(items_of(folder), classes=["ball"])], out, SHORT)
    return out


def test_arrays_train_to_the_weights_of_their_files_bit_for_bit(folder: Dataset, run: Path, tmp_path: Path) -> None:
    train("unet", [folder], tmp_path / "files", SHORT)
    own, other = (load_file(each / "model" / "weights.safetensors") for each in (run, tmp_path / "files"))
    assert own.keys() == other.keys()
    for name, weights in own.items():
        np.testing.assert_array_equal(weights, other[name])


def test_a_run_knows_the_same_arrays_and_refuses_others(folder: Dataset, run: Path) -> None:
    items = items_of(folder)
    assert train("unet", [dataset_from(items, classes=["ball"])], run, SHORT)["finished"]
    items[0]["image"] = items[0]["image"] + 1
    with pytest.raises(RunError, match="begun with other settings"):
        train("unet", [dataset_from(items, classes=["ball"])], run, SHORT)
    with pytest.raises(RunError, match=r"trained on data in memory \(data\).*pass the data instead"):
        dataset_of(run)


def test_arrays_are_answered_and_scored_in_their_own_split(folder: Dataset, run: Path, tmp_path: Path) -> None:
    data = dataset_from(items_of(folder), classes=["ball"])
    done = predict(run, data, out=tmp_path / "masks")
    assert sorted(case["id"] for case in done.cases) == sorted(case.id for case in folder.split("test"))
    assert not done.failed
    scored = evaluate(tmp_path / "masks", data)
    assert len(scored.cases) == len(folder.split("test"))


def test_a_transform_stands_in_front_of_training_and_prediction(folder: Dataset, tmp_path: Path) -> None:
    scaled = folder.with_transform(ScaleIntensityd("image"))
    facts = train("unet", [scaled], tmp_path / "run", SHORT)
    assert facts["traits"]["intensity"][0]["maximum"] == 1
    assert any("ScaleIntensityd" in warning for warning in facts["warnings"])
    assert not predict(tmp_path / "run", scaled, out=tmp_path / "masks").failed
    with pytest.raises(RunError, match="begun with other settings"):
        train("unet", [folder], tmp_path / "run", SHORT)


def test_a_model_of_tensors_that_lie_nowhere_answers_about_them_as_about_its_data(tmp_path: Path) -> None:
    """MONAI and TorchIO put an identity, TorchIO with turned signs, where nothing is known: no axis is turned."""
    values = np.random.default_rng(0).normal(size=(4, 1, 12, 18, 16)).astype(np.float32)
    affine = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    items = [{"image": MetaTensor(each, affine=affine), "label": (each > 1).astype(np.uint8)} for each in values]
    data = dataset_from(items, classes=["high"])
    train("unet", [data], tmp_path / "run", Options(preset="tiny", steps=1))
    model = load_model(tmp_path / "run")
    one, other = (model.predict(x, id=data[0].id, views=False) for x in (data[0], items[0]["image"]))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert one.affine is None
    np.testing.assert_array_equal(model.predict(values[0], id=data[0].id).mask, model.predict(data[0]).mask)
    assert not any("point to the right" in note for note in model.predict(values[0]).notes)
