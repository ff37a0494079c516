"""The commands as functions: text, paths, runs and open data sets go wherever a folder goes, and answer the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import scantling
from made import images_for
from scantling.core.errors import SettingsError
from scantling.methods.catalogue import CARDS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("commands")
    images_for(CARDS["unet"], place / "data", dimensions=2)
    scantling.train("unet", place / "data", place / "run", preset="tiny", steps=2, validation=0.0)
    return place


def test_predictions_scores_comparisons_and_pages_by_text_and_by_object_are_the_same(place: Path) -> None:
    run, data = scantling.Run(place / "run"), scantling.open_dataset(place / "data")
    by_text = scantling.predict(str(place / "run"), str(place / "data"), out=str(place / "text"), device="cpu")
    by_object = run.predict(data, place / "object")
    assert [case["id"] for case in by_text.cases] == [case["id"] for case in by_object.cases]
    for case in by_text.cases:
        assert (place / "text" / case["mask"]).read_bytes() == (place / "object" / case["mask"]).read_bytes()
    scores = [
        scantling.evaluate(str(place / "text"), str(place / "data"), metrics=["dice"]).facts()["mean"],
        scantling.evaluate(place / "object", data, metrics=["dice"]).facts()["mean"],
    ]
    assert scores[0] == scores[1]
    found = scantling.compare([str(place / "text"), place / "object"], data, metrics=["dice"], baseline="first")
    assert found.facts()["metrics"]
    assert run.report(str(place / "page.html")) == scantling.write_report(run, out=place / "page.html")
    report = scantling.check(str(place / "data"))
    assert report.facts() == scantling.check(data).facts()


def test_errors_name_the_arguments_of_the_function(place: Path) -> None:
    data: Any = place / "data"
    with pytest.raises(SettingsError, match=r"^given .*asks for nothing; leave it out"):
        scantling.synthesize("retina-phantoms", count=1, out=place / "other", size=64, given=data)
    with pytest.raises(SettingsError, match=r"^split tset: expected train, validation, test or all"):
        scantling.compare([place / "run", place / "text"], data, split="tset")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"^precision half: expected auto or float32"):
        scantling.predict(place / "run", data, out=place / "other", precision="half")  # type: ignore[arg-type]
