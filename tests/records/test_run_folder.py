"""What a model folder holds: all that inference needs, and nothing that only trained the models that it is built on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from scantling.contract.card import Card
from scantling.contract.method import Method
from scantling.core.samples import Traits
from scantling.methods.catalogue import added
from scantling.records.run_folder import load_model, save_model
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
