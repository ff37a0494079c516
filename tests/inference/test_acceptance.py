"""Made images that copy a training image are refused, made anew and counted; the others are what they were."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import command
from made import blobs, write
from scantling.core.case import Address, Case, Geometry, Labels
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.samples import StoredImage
from scantling.evaluation.acceptance import gate_of
from scantling.inference.acceptance import COPY, UNSEEN, Gates, LabelGate, copy_gate
from scantling.inference.made_cases import MadeArrays
from scantling.inference.synthesis import synthesize
from scantling.methods.catalogue import added
from toys_generation import CARDS

RNG = np.random.default_rng(0)


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
    assert gate.copies({"any": np.kron(coarse[3][::-1], np.ones((7, 7), np.uint8))[None]}) == COPY
    new = RNG.integers(0, 256, (10, 8, 9)).astype(np.uint8)
    assert not any(gate.copies({"any": np.kron(one, np.ones((5, 5), np.uint8))[None]}) for one in new)
    with pytest.raises(DataError, match="have 3 channels and 2 axes, the training images 1 and 2"):
        gate.copies({"any": np.zeros((3, 40, 45), np.uint8)})
    with pytest.raises(DataError, match="images of 2 subjects; expected 3 or more"):
        copy_gate(cases(tmp_path, training)[:2])


@dataclass
class Gate:
    """Refuses some of the images that it sees, counted from 1; all if none are named."""

    those: tuple[int, ...] = ()
    name: str = "accepted: new, of the test"
    seen: int = 0

    def refuses(self, made: MadeArrays) -> str:
        """See `CopyGate.refuses`."""
        if not made.images:
            raise SettingsError("makes no images")
        self.seen += 1
        return COPY if self.seen in self.those or not self.those else ""


def gated(out: Path, gate: Gate | None, count: int = 2) -> dict[str, Any]:
    """What `synthesize` says of some toys."""
    with added(*CARDS.values()):
        return synthesize("sower", count=count, out=out, settings={"discs": 4}, accept=gate)


def test_what_is_refused_is_made_anew_and_counted_and_the_rest_is_as_without(tmp_path: Path) -> None:
    plain = gated(tmp_path / "plain", None)["case"]
    made = gated(tmp_path / "made", Gate(those=(2, 3)))  # the second case and its second try
    assert [case["id"] for case in made["case"]] == [case["id"] for case in plain]
    assert made["rejected"][COPY] == 2
    assert [case["origin"].get("rejected", {}).get(COPY) for case in made["case"]] == [None, 2]
    files = [
        [(tmp_path / name / next(iter(case["images"].values()))).read_bytes() for case in cases]
        for name, cases in (("plain", plain), ("made", made["case"]))
    ]
    assert [one == other for one, other in zip(*files, strict=True)] == [True, False]
    assert all(Gate.name in case["origin"]["model"] for case in made["case"])
    with pytest.raises(RunError, match="lists cases that were made otherwise"):
        gated(tmp_path / "made", None)


def test_a_model_that_makes_nothing_but_copies_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scantling.inference.synthesis.TRIES", 2)
    with pytest.raises(RunError, match=f"was refused 2 times, since it {COPY}"):
        gated(tmp_path, Gate(), count=1)
    with pytest.raises(SettingsError, match="makes no images"):
        synthesize("fractal-vessels", count=1, out=tmp_path / "masks", settings={"size": 64}, accept=Gate())


def test_the_command_accepts_against_the_training_images_of_the_run(tmp_path: Path) -> None:
    for number in range(6):
        image = np.kron(RNG.integers(0, 256, (4, 4)), np.ones((8, 8)))
        write(tmp_path / "data" / "train" / "images", f"c{number}", image.astype(np.uint8))
    done = command(
        "train", "diffusion-pretrain", "--data", tmp_path / "data", "--out", tmp_path / "run", "--preset", "tiny",
        "--steps", "2", "--validation", "0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = ("--count", "2", "--accept", "--sampling-steps", "2", "--out", tmp_path / "made")
    done = command("synthesize", tmp_path / "run", *words)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "made" / "scantling.json").read_text())
    assert all("accepted: new, of 6 training images" in case["origin"]["model"] for case in manifest["case"])


def test_what_has_no_training_images_accepts_nothing(tmp_path: Path) -> None:
    assert gate_of(tmp_path, None) == (None, {})
    with pytest.raises(SettingsError, match="is no run, and has no training images"):
        gate_of("retina-phantoms", "new")
    with pytest.raises(SettingsError, match="expected one of new"):
        gate_of(tmp_path, "old")


# the gate of labels


@dataclass
class Finder:
    """A segmenter that finds what lies in the first channel of an image, above a grey."""

    labels: Labels
    made_by: str = "finder 0123"

    def __call__(self, id: str, made: MadeArrays) -> MadeArrays:
        ((_, image),) = made.images
        return replace(made, mask=np.where(image[0] > 100, self.labels.values[0][0], 0).astype(np.uint8))


def arrays(image: np.ndarray, mask: np.ndarray | None) -> MadeArrays:
    stored = StoredImage(name="image", channels=("image",), dtype="uint8")
    geometry = Geometry(image.shape, (1.0, 1.0))
    return MadeArrays(geometry=geometry, mask=mask, images=[(stored, image[None])], fields={}, image_class=None)


def test_a_case_passes_where_the_segmenter_finds_the_label_that_it_was_made_from() -> None:
    block, half, nothing = (np.zeros((10, 10), np.uint8) for _ in range(3))
    block[2:8, 2:8], half[2:8, 2:5] = 200, 200
    own, known = (Labels(names=(name,), values=((value,),)) for name, value in (("lesion", 7), ("foreground", 255)))
    label = np.where(block, 7, 0).astype(np.uint8)
    gates = [LabelGate(Finder(known), own, least) for least in (0.6, 0.7)]  # type: ignore[arg-type]
    assert [gate.refuses(arrays(block, label)) for gate in gates] == ["", ""]
    assert [gate.refuses(arrays(half, label)) for gate in gates] == ["", UNSEEN], "Dice 2 * 18 / (18 + 36)"
    assert gates[1].refuses(arrays(block, nothing)) == "", "an empty label cannot be missed"
    assert gates[1].name == "accepted: labels, Dice of 0.7 by finder 0123"
    both = Gates((Gate(those=(1,)), gates[1]))
    assert both.refuses(arrays(half, label)) == COPY, "the first reason counts"
    assert both.name == "accepted: new, of the test, accepted: labels, Dice of 0.7 by finder 0123"
    with pytest.raises(SettingsError, match="goes with a generator that makes images and masks"):
        gates[0].refuses(arrays(block, None))
    with pytest.raises(SettingsError, match="knows the classes foreground; expected those of the made masks: a, b"):
        LabelGate(Finder(known), Labels(names=("a", "b"), values=((1,), (2,))), 0.5)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="--accept-dice 2: expected a number from 0 to 1"):
        LabelGate(Finder(known), own, 2)  # type: ignore[arg-type]


def test_the_gate_of_labels_asks_for_a_segmenter_and_takes_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="name it with --use segmenter=RUN"):
        gate_of("retina-phantoms", "labels")
    with pytest.raises(SettingsError, match=r"--accept-dice 0\.5: goes with --accept labels"):
        gate_of("retina-phantoms", None, least=0.5)
    generator = np.random.default_rng(0)
    for number in range(4):
        mask = blobs((33, 35), generator, 1)
        image = (60 + 60 * mask + generator.normal(0, 15, mask.shape))[..., None] * [1, 0.8, 0.6]
        folder = tmp_path / "data" / "train" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / f"c{number}.png")
        write(tmp_path / "data" / "train" / "masks", f"c{number}", mask * np.uint8(255))
    words = ("--preset", "tiny", "--steps", "1", "--validation", "0", "--settings.widths", "2,4")
    done = command("train", "unet", "--data", tmp_path / "data", "--out", tmp_path / "run", *words)
    assert done.returncode == 0, done.stderr
    use = ("--use", f"segmenter={tmp_path / 'run'}", "--accept", "labels", "--accept-dice")
    made = ("synthesize", "retina-phantoms", "--count", "1", "--size", "64", "--out", tmp_path / "made")
    done = command(*made, *use, "0")
    assert done.returncode == 0, done.stderr
    (case,) = json.loads((tmp_path / "made" / "scantling.json").read_text())["case"]
    assert "accepted: labels, Dice of 0 by unet" in case["origin"]["model"]
