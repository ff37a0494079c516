"""Made images that copy a training image are refused, made anew and counted; the others are what they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from commands import command
from made import write
from scantling.core.atomic import to_json
from scantling.core.case import Address, Case
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.evaluation.acceptance import gate_of
from scantling.inference.acceptance import COPY, TRIES, copy_gate
from scantling.inference.synthesis import synthesize

RNG = np.random.default_rng(0)
SETTINGS = {"size": 64}


def cases(folder: Path, images: list[np.ndarray]) -> list[Case]:
    for number, image in enumerate(images):
        write(folder, f"c{number}", image)
    return [
        Case(id=f"c{n}", subject=f"c{n}", images={"image": Address(folder / f"c{n}.png")}) for n in range(len(images))
    ]


def test_a_copy_is_refused_whatever_its_size_and_side_and_a_new_image_is_not(tmp_path: Path) -> None:
    coarse = RNG.integers(0, 256, (10, 8, 9)).astype(np.uint8)
    training = [np.kron(one, np.ones((5, 5), np.uint8)) for one in coarse]
    gate = copy_gate(cases(tmp_path, training))
    assert gate.refuses({"any": np.kron(coarse[3][::-1], np.ones((7, 7), np.uint8))[None]}) == COPY
    new = RNG.integers(0, 256, (10, 8, 9)).astype(np.uint8)
    assert not any(gate.refuses({"any": np.kron(one, np.ones((5, 5), np.uint8))[None]}) for one in new)
    with pytest.raises(DataError, match="have 3 channels and 2 axes, the training images 1 and 2"):
        gate.refuses({"any": np.zeros((3, 40, 45), np.uint8)})
    with pytest.raises(DataError, match="images of 2 subjects; expected 3 or more"):
        copy_gate(cases(tmp_path, training)[:2])


@dataclass
class Every:
    """Refuses every third image that it sees."""

    name: str = "accepted: new, of the test"
    third: int = 3
    seen: int = 0

    def refuses(self, files: Mapping[str, np.ndarray]) -> str:
        """See `CopyGate.refuses`."""
        self.seen += 1
        return COPY if self.seen % self.third == 0 else ""


def test_what_is_refused_is_made_anew_and_counted_and_the_rest_is_as_without(tmp_path: Path) -> None:
    plain = synthesize("angiogram-phantoms", count=7, out=tmp_path / "plain", settings=SETTINGS)
    gate = Every()
    made = synthesize("angiogram-phantoms", count=7, out=tmp_path / "made", settings=SETTINGS, accept=gate)  # type: ignore[arg-type]
    assert [case["id"] for case in made["case"]] == [case["id"] for case in plain["case"]]
    assert made["rejected"] == {COPY: 2}
    refused = [case["origin"].get("rejected") for case in made["case"]]
    assert refused == [None, None, {COPY: 1}, None, None, {COPY: 1}, None]
    for place, (one, other) in enumerate(zip(plain["case"], made["case"], strict=True)):
        same = (tmp_path / "plain" / one["images"]["image"]).read_bytes() == (
            tmp_path / "made" / other["images"]["image"]
        ).read_bytes()
        assert same == (place not in (2, 5))
        assert gate.name in other["origin"]["model"]
    with pytest.raises(RunError, match="lists cases that were made otherwise"):
        synthesize("angiogram-phantoms", count=7, out=tmp_path / "made", settings=SETTINGS)


def test_a_model_that_makes_nothing_but_copies_ends_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"was refused {TRIES} times, since it {COPY}"):
        synthesize("angiogram-phantoms", count=1, out=tmp_path, settings=SETTINGS, accept=Every(third=1))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="makes no images"):
        synthesize("fractal-vessels", count=1, out=tmp_path / "masks", settings=SETTINGS, accept=Every())  # type: ignore[arg-type]


def test_the_command_accepts_against_the_training_images_of_the_run(tmp_path: Path) -> None:
    for number in range(6):
        image = np.kron(RNG.integers(0, 256, (4, 4)), np.ones((8, 8)))
        write(tmp_path / "data" / "train" / "images", f"c{number}", image.astype(np.uint8))
    done = command(
        "train", "diffusion-pretrain", "--data", tmp_path / "data", "--out", tmp_path / "run", "--preset", "tiny",
        "--steps", "2", "--validation", "0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = command(
        "synthesize", tmp_path / "run", "--count", "2", "--accept", "--sampling-steps", "2", "--out", tmp_path / "made"
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "made" / "scantling.json").read_text())
    assert all("accepted: new, of 6 training images" in case["origin"]["model"] for case in manifest["case"])
    assert to_json(manifest)


def test_what_has_no_training_images_accepts_nothing(tmp_path: Path) -> None:
    assert gate_of(tmp_path, None) is None
    with pytest.raises(SettingsError, match="is no run, and has no training images"):
        gate_of("retina-phantoms", "new")
    with pytest.raises(SettingsError, match="expected one of new"):
        gate_of(tmp_path, "old")
