"""The cards of our methods: what each is, what it needs and what it gives; read without importing torch."""

from __future__ import annotations

from scantling.contract.card import Card
from scantling.methods.features import cards as features
from scantling.methods.generation import cards as generation
from scantling.methods.mask_diffusion import cards as mask_diffusion
from scantling.methods.registration import cards as registration
from scantling.methods.semi_supervised import cards as semi_supervised
from scantling.methods.supervised import cards as supervised
from scantling.methods.weakly_supervised import cards as weakly_supervised
from scantling.methods.without_labels import cards as without_labels

ROOMS = (
    supervised, semi_supervised, weakly_supervised, registration, mask_diffusion, without_labels, features, generation,
)  # fmt: skip

CARDS: dict[str, Card] = {
    card.name: card
    for room in (
        supervised,
        semi_supervised,
        weakly_supervised,
        registration,
        mask_diffusion,
        without_labels,
        features,
        generation,
    )
    for card in room.CARDS
}
