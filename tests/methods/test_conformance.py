"""Every method in the catalogue, and a toy of each capability, keeps what the contract promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scantling.contract.card import Card
from scantling.methods.catalogue import CARDS, added
from scantling.testing.checks import Check, checks_of
from scantling.testing.subject import Subject
from toys_capabilities import TOYS
from toys_generation import CARDS as GENERATORS
from toys_registration import CARD as SHIFT

CARDS_OF_TOYS = (*TOYS.values(), *GENERATORS.values(), SHIFT)
EACH = {f"{card.name}-{n}d": (card, n) for card in (*CARDS.values(), *CARDS_OF_TOYS) for n in card.dimensions}
MODELS: dict[str, dict[str, Card | None]] = {
    "toy-head": {"code": TOYS["toy-encoder"]},
    "medical-diffusion": {"autoencoder": CARDS["vq-gan"]},
    "vessels": {"segmenter": None},
}
"""The models that a method is built on, where not any that gives what is needed will do; None: it begins without."""
ON_UNET = (
    "mean-teacher", "cross-pseudo", "fixmatch", "copy-paste", "self-training",
    "partial", "scribble", "scribble-teacher", "box-supervised", "direction",
    "deep-atlas", "registration-augmentation", "masked-pretrain", "registration", "monai-net", "vessels",
)  # fmt: skip
"""Methods that differ from `unet` in what they learn from. Of volumes `unet` goes through all checks."""
OF_TRAINING = ("goes_on_where_it_was_interrupted", "is_divided_in_any_way", "reads_no_mask")
"""Checks of how they learn, which pictures show."""
CHECKS = [
    (name, check)
    for name, (card, axes) in EACH.items()
    for check in checks_of(card)
    if axes == 2 or card.name not in ON_UNET or check.__name__ not in OF_TRAINING
]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Subject]]:
    """Each method with a folder of its own, whose data and models are made once."""
    shared = tmp_path_factory.mktemp("models")
    with added(*CARDS_OF_TOYS):
        yield {
            name: Subject(card, n, tmp_path_factory.mktemp("subject"), MODELS.get(card.name, {}), shared)
            for name, (card, n) in EACH.items()
        }


@pytest.mark.parametrize(("name", "check"), CHECKS, ids=[f"{name}-{check.__name__}" for name, check in CHECKS])
def test_the_contract_holds(subjects: dict[str, Subject], name: str, check: Check) -> None:
    check(subjects[name])
