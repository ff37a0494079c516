"""The cards of the methods that need no labels."""

from __future__ import annotations

from scantling.contract.card import Card

CARDS: tuple[Card, ...] = (
    Card(
        name="darl",
        title="Diffusion adversarial representation learning for self-supervised vessel segmentation",
        authors="Kim, Oh, Ye",
        year=2023,
        needs=(("image",),),
        gives=("segment",),
        dimensions=(2,),
        fits="cycle",
        implementation="scantling.methods.without_labels.darl:DARL",
    ),
    Card(
        name="ssvs",
        title="Self-supervised vessel segmentation via adversarial learning",
        authors="Ma et al.",
        year=2021,
        needs=(("image",),),
        gives=("segment",),
        dimensions=(2,),
        fits="cycle",
        implementation="scantling.methods.without_labels.ssvs:SSVS",
    ),
    Card(
        name="vesselness",
        title="Three-dimensional multi-scale line filter for segmentation and visualization of curvilinear "
        "structures in medical images",
        authors="Sato et al.",
        year=1998,
        needs=(("image",),),
        gives=("segment",),
        dimensions=(2, 3),
        implementation="scantling.methods.without_labels.vesselness:Vesselness",
    ),
    Card(
        name="vessels",
        title="Vessels without a label: a U-Net on phantoms, then on its agreement with a filter for tubes",
        authors="ours",
        year=2026,
        needs=(("image",),),
        gives=("segment",),
        dimensions=(2, 3),
        may_use={"segmenter": "segment"},
        labels_by={"with_masks": "mask", "with_centre_lines": "scribbles"},
        fits="cross_entropy",
        implementation="scantling.methods.without_labels.vessels:Vessels",
    ),
)
