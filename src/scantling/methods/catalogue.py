"""The cards of all methods: what each is, what it needs and what it gives; read without importing torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from scantling.contract.card import Card
from scantling.core.errors import SettingsError

if TYPE_CHECKING:
    from scantling.contract.method import Method


CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        Card(
            name="unet",
            title="U-Net: convolutional networks for biomedical image segmentation",
            authors="Ronneberger, Fischer, Brox; Çiçek et al. (3-D)",
            year=2015,
            needs=(("image", "mask"),),
            gives=("segment",),
            dimensions=(2, 3),
            fits="overlap",
            implementation="scantling.methods.supervised.unet:UNetSegmenter",
        ),
        Card(
            name="fr-unet",
            title="Full-resolution network and dual-threshold iteration for retinal vessel and coronary angiograph "
            "segmentation",
            authors="Liu et al.",
            year=2022,
            needs=(("image", "mask"),),
            gives=("segment",),
            dimensions=(2,),
            fits="cross_entropy",
            implementation="scantling.methods.supervised.fr_unet:FRUNetSegmenter",
        ),
        Card(
            name="direction",
            title="Improving the continuity of tubular structure segmentation with anisotropic diffusion",
            authors="Sano",
            year=2025,
            needs=(("image", "mask"),),
            gives=("segment",),
            dimensions=(2, 3),
            builds_on="segment",
            fits="cross_entropy",
            implementation="scantling.methods.supervised.direction:DirectionMender",
        ),
        Card(
            name="berdiff",
            title="BerDiff: conditional Bernoulli diffusion model for medical image segmentation",
            authors="Chen, Wang, Shan",
            year=2023,
            needs=(("image", "mask"),),
            gives=("segment",),
            dimensions=(2,),
            fits="cross_entropy",
            implementation="scantling.methods.mask_diffusion.berdiff:BerDiff",
        ),
        Card(
            name="medsegdiff",
            title="MedSegDiff: medical image segmentation with diffusion probabilistic model",
            authors="Wu et al.",
            year=2023,
            needs=(("image", "mask"),),
            gives=("segment",),
            dimensions=(2,),
            fits="denoising",
            implementation="scantling.methods.mask_diffusion.medsegdiff:MedSegDiff",
        ),
        Card(
            name="medsegdiff-v2",
            title="MedSegDiff-V2: diffusion-based medical image segmentation with transformer",
            authors="Wu et al.",
            year=2024,
            needs=(("image", "mask"),),
            gives=("segment",),
            dimensions=(2,),
            fits="denoising",
            implementation="scantling.methods.mask_diffusion.medsegdiff_v2:MedSegDiffV2",
        ),
        Card(
            name="dtu-net",
            title="Diffusion transformer U-Net for medical image segmentation",
            authors="Chowdary, Yin",
            year=2023,
            needs=(("image", "mask"),),
            gives=("segment",),
            dimensions=(2,),
            fits="denoising",
            implementation="scantling.methods.mask_diffusion.dtu_net:DTUNet",
        ),
        Card(
            name="mb-diff",
            title="Medical boundary diffusion model for skin lesion segmentation",
            authors="Wang, Yang, Zhou, Wang",
            year=2023,
            needs=(("image", "mask"),),
            gives=("segment",),
            dimensions=(2,),
            fits="denoising",
            implementation="scantling.methods.mask_diffusion.mb_diff:MBDiff",
        ),
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
            name="vessel-controlnet",
            title="Vessel masks by diffusion, controlled by sketches (adding conditional control to text-to-image "
            "diffusion models)",
            authors="Zhang, Rao, Agrawala; ours",
            year=2023,
            needs=(("mask",),),
            asks=(),
            gives=("generate",),
            dimensions=(2,),
            fits="denoising",
            implementation="scantling.methods.generation.vessel_controlnet:VesselControlNet",
        ),
        Card(
            name="vessel-stable-diffusion",
            title="Vessel masks by Stable Diffusion with a ControlNet, from weights of the user",
            authors="Rombach et al.; Zhang, Rao, Agrawala",
            year=2023,
            needs=(),
            asks=(),
            gives=("generate",),
            dimensions=(2,),
            extra="diffusers",
            implementation="scantling.methods.generation.vessel_stable_diffusion:VesselStableDiffusion",
        ),
        Card(
            name="fractal-vessels",
            title="Self-supervised vessel segmentation via adversarial learning: its fractal masks",
            authors="Ma et al.",
            year=2021,
            needs=(),
            asks=(),
            gives=("generate",),
            dimensions=(2,),
            implementation="scantling.methods.generation.vessels_by_rule:FractalVessels",
        ),
        Card(
            name="vessel-trees",
            title="The physiological principle of minimum work: trees by Murray's law",
            authors="Murray",
            year=1926,
            needs=(),
            asks=(),
            gives=("generate",),
            dimensions=(2, 3),
            implementation="scantling.methods.generation.vessels_by_rule:VesselTrees",
        ),
        Card(
            name="angiogram-phantoms",
            title="Angiograms made by rule around trees by Murray's law",
            authors="ours",
            year=2026,
            needs=(),
            asks=(),
            gives=("generate",),
            dimensions=(2,),
            implementation="scantling.methods.generation.vessels_by_rule:AngiogramPhantoms",
        ),
        Card(
            name="retina-phantoms",
            title="Retinal photographs made by rule around trees by Murray's law",
            authors="ours",
            year=2026,
            needs=(),
            asks=(),
            gives=("generate",),
            dimensions=(2,),
            implementation="scantling.methods.generation.vessels_by_rule:RetinaPhantoms",
        ),
    )
}


def card_of(name: str) -> Card:
    """The card of the method `name`.

    Raises:
        SettingsError: there is no such method; the sentence lists those that there are.
    """
    if name not in CARDS:
        import difflib

        near = difflib.get_close_matches(name, CARDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(CARDS)}"
        raise SettingsError(f"no method is called {name!r}; {hint} (see `scantling methods`)")
    return CARDS[name]


def implementation_of(card: Card) -> type[Method]:
    """The class behind a card; this imports torch."""
    module, _, name = card.implementation.partition(":")
    kind: type[Method] = getattr(importlib.import_module(module), name)
    return kind
