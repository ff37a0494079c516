"""What a model folder holds: all that inference needs, and nothing that only trained the models that it is built on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import nn

from scantling.contract.capabilities import Segmenter
from scantling.contract.card import Card
from scantling.contract.method import Method
from scantling.core.errors import ScantlingError
from scantling.core.postprocessing import AS_ANSWERED, Postprocessing, Trial
from scantling.core.samples import Traits
from scantling.methods.catalogue import CARDS, added
from scantling.records.run_folder import identity_of, load_model, save_model
from scantling.testing.subject import Subject
from toys_capabilities import TOYS, Coder, Shade, ToySettings


class Judged(Coder):
    """An encoder with a module that serves its training alone."""

    card = Card.model_validate(
        {**TOYS["toy-encoder"].model_dump(), "name": "toy-judged", "implementation": f"{__name__}:Judged"}
    )
    answering = ("down", "up")

    def __init__(self, settings: ToySettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.judge = nn.Linear(9, 1)


class Open(Shade):
    """Knows a class more than its data."""

    card = Card.model_validate(
        {**TOYS["toy-classifier"].model_dump(), "name": "toy-open", "implementation": f"{__name__}:Open"}
    )

    @classmethod
    def resolve_traits(cls, settings: ToySettings, traits: Traits) -> Traits:
        return traits.model_copy(update={"image_classes": (*traits.image_classes, "other")})


def test_traits_that_a_method_has_resolved_are_those_of_the_loaded_model(tmp_path: Path) -> None:
    with added(Open.card):
        method = Subject(Open.card, 2, tmp_path).method()
        save_model(method, tmp_path / "model")
        assert load_model(tmp_path / "model").traits == method.traits
    assert method.traits.image_classes == ("bright", "dark", "other")


def test_a_model_holds_no_training_state_of_the_models_that_it_is_built_on(tmp_path: Path) -> None:
    with added(*TOYS.values(), Judged.card):
        save_model(Subject(TOYS["toy-head"], 2, tmp_path, {"code": Judged.card}).method(), tmp_path / "model")
        names = load_file(tmp_path / "model" / "weights.safetensors").keys()
        expected = [f"uses.code.{part}.{kind}" for part in ("down", "up") for kind in ("bias", "weight")]
        assert sorted(names) == ["head.bias", "head.weight", *expected]
        load_model(tmp_path / "model")


def segmenter(folder: Path) -> Segmenter:
    method = Subject(CARDS["unet"], 2, folder).method()
    assert isinstance(method, Segmenter)
    return method


def test_a_postprocessing_is_part_of_the_model_and_of_its_identity(tmp_path: Path) -> None:
    method, folder = segmenter(tmp_path), tmp_path / "model"
    save_model(method, folder)
    assert not (folder / "postprocessing.json").exists()  # as in models of earlier versions
    before, plain = load_model(folder), identity_of(folder)
    assert isinstance(before, Segmenter)
    assert before.postprocessing == AS_ANSWERED
    trial = Trial(part="components", name="vessel", value="largest", kept=True, before=0.7, after=0.8, error=0.01,
                  subjects=9)  # fmt: skip
    method.postprocessing = Postprocessing(
        temperature=1.5, thresholds=(0.4,), components=("largest",), ece=(0.1, 0.05), subjects=9, trials=(trial,)
    )
    save_model(method, folder)
    after = load_model(folder)
    assert isinstance(after, Segmenter)
    assert after.postprocessing == method.postprocessing
    assert identity_of(folder) != plain
    method.postprocessing = AS_ANSWERED
    save_model(method, folder)
    assert identity_of(folder) == plain


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "not JSON"),
        ('{"temperature": 0}', "temperature"),
        ('{"thresholds": [1.5]}', "thresholds"),
        ('{"thresholds": [0.5, 0.5, 0.5]}', "classes of the model"),
        ('{"components": [-1]}', "components"),
        ('["a"]', "no postprocessing"),
    ],
)
def test_a_broken_postprocessing_is_a_sentence(tmp_path: Path, content: str, found: str) -> None:
    save_model(segmenter(tmp_path), tmp_path / "model")
    (tmp_path / "model" / "postprocessing.json").write_text(content)
    with pytest.raises(ScantlingError, match=found):
        load_model(tmp_path / "model")
