"""`worth` of a method that learns from instance maps: AJI unless said, and made cases have to hold such maps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scantling.contract.card import Card, learns_objects
from scantling.core.errors import DataError
from scantling.data.dataset import open_dataset
from scantling.experiments.made_sets import check_made, drawn_cases
from scantling.experiments.worth import _metric
from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data


def as_made(card: Card, folder: Path) -> Path:
    """Toy data whose manifest says that they are made."""
    made = make_data(card, folder, dimensions=2)
    facts = json.loads((made / "scantling.json").read_text())
    facts["case"] = [case for case in facts["case"] if case["split"] == "train"]
    for case in facts["case"]:
        case |= {"origin": {"kind": "synthetic", "model": "retina-phantoms"}}
    (made / "scantling.json").write_text(json.dumps(facts))
    return made


def test_a_method_that_learns_from_instance_maps_is_scored_by_objects_unless_said() -> None:
    assert learns_objects(CARDS["nuclei-diffusion"])
    assert not learns_objects(CARDS["unet"])
    assert _metric(None, CARDS["hover-net"]).name == "aji"
    assert _metric(None, CARDS["unet"]).name == "dice"
    assert _metric("dice", CARDS["hover-net"]).name == "dice"


def test_made_cases_without_instance_maps_are_refused_where_these_are_learnt_from(tmp_path: Path) -> None:
    real = open_dataset(make_data(CARDS["nuclei-diffusion"], tmp_path / "real", dimensions=2))
    whole, masks = (
        open_dataset(as_made(CARDS[name], tmp_path / name)) for name in ("nuclei-diffusion", "mask-to-image")
    )
    check_made("whole", whole, real, label="instances")
    with pytest.raises(DataError, match="have no instance maps to learn from; make them with a generator"):
        check_made("masks", masks, real, label="instances")
    subjects = {case.subject for case in real.cases}
    assert len(drawn_cases(whole, subjects, real, draw=0, label="instances")) == 4
