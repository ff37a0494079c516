"""Images unlike the training images are marked, and those like them are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from made import write
from scantling.core.case import Case
from scantling.data.dataset import open_dataset
from scantling.data.loading import load
from scantling.inference import unlike
from scantling.inference.unlike import appearance_of_cases, likeness, sentences_on_likeness
from scantling.records.expectations import AppearanceRecord
from scantling.records.record import read_record


class Seen:
    """What is asked of a method: how it sees images."""

    channels, partial, traits = ("grey",), False, SimpleNamespace(shape=(64, 80))


def image(generator: np.random.Generator) -> np.ndarray:
    smooth = ndimage.gaussian_filter(generator.normal(size=(64, 80)), 3)
    values = generator.normal(100, 5) + generator.normal(300, 20) * smooth + generator.normal(0, 4, smooth.shape)
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder, generator = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(60):
        write(folder, f"case{number}", image(generator))
    return list(open_dataset(folder).cases)


def marked(case: Case, known: AppearanceRecord, change: object = None) -> list[str]:
    sample = load(case, channels=("grey",), reads=("image",))
    if callable(change):
        object.__setattr__(sample, "image", change(sample.image.astype(np.float32)))
        object.__setattr__(sample.geometry, "shape", sample.image.shape[1:])
    return list(likeness(sample, ("grey",), known)["unlike"])


def test_images_of_the_same_kind_are_alike_and_changed_ones_are_not(cases: list[Case], tmp_path: Path) -> None:
    appearance_of_cases(Seen(), cases[:30]).write(tmp_path / "appearance.json")  # type: ignore[arg-type]
    known = read_record(AppearanceRecord, tmp_path / "appearance.json")
    new = cases[30:]
    # about one in twenty by chance, so at most five of thirty at three binomial deviations
    assert sum(bool(marked(case, known)) for case in new) <= 5
    changes = {
        "scale": lambda array: np.repeat(np.repeat(array, 2, axis=1), 2, axis=2),
        "sharpness": lambda array: ndimage.gaussian_filter(array, (0, 2, 2)),
        "intensity": lambda array: array * 2,
    }
    for kind, change in changes.items():
        assert all(kind in marked(case, known, change) for case in new), kind


def test_images_of_one_subject_do_not_vouch_for_each_other(cases: list[Case]) -> None:
    twice = [replace(case, id=f"{case.id} {part}", subject=case.id) for case in cases[:20] for part in "ab"]
    once, again = (appearance_of_cases(Seen(), some) for some in (cases[:20], twice))  # type: ignore[arg-type]
    assert again.subjects == once.subjects == 20
    assert again.threshold == pytest.approx(once.threshold, rel=0.3), "and not 0, the distance of an image to itself"


def test_of_large_images_fewer_are_looked_at_and_enough(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    for most, looked_at in ((30, 30), (3, 20), (1000, 60)):
        monkeypatch.setattr(unlike, "MOST_VALUES", most * 64 * 80)
        assert len(appearance_of_cases(Seen(), cases).images) == looked_at  # type: ignore[arg-type]


def test_few_training_subjects_tell_nothing(cases: list[Case]) -> None:
    known = appearance_of_cases(Seen(), cases[:7])  # type: ignore[arg-type]
    assert known.threshold is None
    assert likeness(load(cases[9], channels=("grey",), reads=("image",)), ("grey",), known) == {}
    (sentence,) = sentences_on_likeness([], known)
    assert "7 subjects, expected 8 or more" in sentence
    assert sentences_on_likeness([{"id": "a"}], None) == [], "a model of an earlier version"


def test_one_line_names_the_images_that_are_unlike_farthest_first(cases: list[Case]) -> None:
    known = AppearanceRecord(subjects=20, threshold=1.0)
    entries = [
        {"id": "a", "unlike": [], "distance": 0.4},
        {"id": "b", "unlike": ["scale"], "distance": 1.5, "stands_out": "scale: side 1 in pixels 2 times as large"},
        {"id": "c", "unlike": ["colour"], "distance": 2.5, "stands_out": "colour: x"},
    ]
    (sentence,) = sentences_on_likeness(entries, known)
    assert sentence == (
        "2 of 3 images are unlike the training images: c (colour: x), b (scale: side 1 in pixels 2 times as large)"
    )
