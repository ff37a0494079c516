"""A file that cannot be read costs its own case, and says so, in a training too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from scantling.core.errors import DataError, FileError
from scantling.training.options import Options
from scantling.training.training import train

TINY = {"preset": "tiny", "steps": 2, "settings": {"patch": [16, 16], "widths": [4, 8]}}


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in range(6):
        image = np.random.default_rng(number).integers(0, 99, (24, 24), np.uint8)
        mask = np.zeros((24, 24), np.uint8)
        mask[6:15, 4 + number : 12 + number] = 255
        save(tmp_path / f"data/train/images/c{number}.png", image + mask // 2)
        save(tmp_path / f"data/train/masks/c{number}.png", mask)
    return tmp_path / "data"


def trained(data: Path, out: Path, **options: object) -> dict[str, object]:
    return train("unet", [data], out, Options(**{**TINY, "validation": 0.0, **options}), console=Console(quiet=True))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def of_another_size(path: Path) -> None:
    save(path, np.zeros((20, 24), np.uint8))


def no_image(path: Path) -> None:
    path.write_bytes(b"no image at all")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere.png")


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("breaks", [truncated, of_another_size, no_image, dangling])
def test_one_broken_file_is_said_and_left_out(
    data: Path, tmp_path: Path, kind: str, breaks: Callable[[Path], None]
) -> None:
    breaks(data / "train" / kind / "c2.png")
    facts = trained(data, tmp_path / "run")
    assert facts["finished"]
    assert sorted(facts["split"]["train"]) == ["c0", "c1", "c3", "c4", "c5"]  # type: ignore[index]
    assert any("c2" in warning and "left out" in warning for warning in facts["warnings"])  # type: ignore[attr-defined]
    assert facts["traits"]["labelled"] == 5  # type: ignore[index]
    again = trained(data, tmp_path / "run")  # the same command goes on, and finds it finished
    assert again["finished"] == facts["finished"]


def test_the_weights_are_those_of_a_folder_without_the_broken_case(data: Path, tmp_path: Path) -> None:
    truncated(data / "train/images/c2.png")
    trained(data, tmp_path / "one")
    shutil.copytree(data, tmp_path / "whole")
    for kind in ("images", "masks"):
        (tmp_path / "whole/train" / kind / "c2.png").unlink()
    trained(tmp_path / "whole", tmp_path / "two")
    one, two = ((tmp_path / name / "model/weights.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_broken_validation_case_is_left_out_too(data: Path, tmp_path: Path) -> None:
    facts = trained(data, tmp_path / "first", validation=0.4)
    held = facts["split"]["validation"]  # type: ignore[index]
    truncated(data / f"train/masks/{held[0]}.png")
    facts = trained(data, tmp_path / "second", validation=0.4)
    assert facts["split"]["validation"] == held[1:]  # type: ignore[index]
    assert list(facts["left_out"]) == [held[0]]  # type: ignore[call-overload]


def test_a_budget_of_labels_is_never_smaller_than_was_asked_for(data: Path, tmp_path: Path) -> None:
    kept = next(id for id in (f"c{number}" for number in range(6)) if _is_kept(data, id, tmp_path))
    truncated(data / f"train/masks/{kept}.png")
    with pytest.raises(DataError, match=r"--labels 1: 1 case cannot be read .* 5 of 6 training cases left, 0 of them"):
        trained(data, tmp_path / "run", labels=1)


def _is_kept(data: Path, id: str, tmp_path: Path) -> bool:
    from scantling.data.dataset import open_dataset
    from scantling.data.label_budget import keep_labels

    return any(case.id == id and case.masks for case in keep_labels(open_dataset(data), 1).dataset.cases)


def test_more_than_half_broken_is_an_error_with_the_number_left_and_all_broken_with_the_reason(
    data: Path, tmp_path: Path
) -> None:
    for number in range(4):
        truncated(data / f"train/images/c{number}.png")
    with pytest.raises(DataError, match=r"4 cases cannot be read .* 2 of 6 training cases left, 2 of them labelled"):
        trained(data, tmp_path / "run")
    for number in (4, 5):
        truncated(data / f"train/images/c{number}.png")
    with pytest.raises(FileError, match=r"c0\.png"):
        trained(data, tmp_path / "run")
