"""The cards of all methods: what each is, what it needs and what it gives; read without importing torch."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
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
            uses={"segmenter": "segment"},
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


GROUP = "scantling.methods"
"""The entry points by which other packages announce the cards of their methods."""


_CLASSES: dict[str, type[Method]] = {}
"""The classes that were named themselves, by the name of their card; for the length of the process."""


def cards() -> Mapping[str, Card]:
    """The cards of all methods: ours, those of packages that announce theirs, those of classes that were named."""
    return {**CARDS, **_outside()[0], **{name: kind.card for name, kind in _CLASSES.items()}}


@contextmanager
def added(*those: Card) -> Iterator[None]:
    """Cards that are in no catalogue, for the length of the block."""
    new = {card.name: card for card in those if card.name not in cards()}
    CARDS.update(new)
    try:
        yield
    finally:
        for name in new:
            del CARDS[name]


def left_out() -> tuple[str, ...]:
    """A sentence for each announced method that cannot be used."""
    return _outside()[1]


@cache
def _outside() -> tuple[Mapping[str, Card], tuple[str, ...]]:
    found, sentences = dict[str, Card](), list[str]()
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            card = point.load()
        except Exception as error:  # whatever goes wrong in a package that is not ours
            problem = f"cannot be loaded ({type(error).__name__}: {error})"
        else:
            if isinstance(card, Card) and card.name not in {**CARDS, **found}:
                found[card.name] = card
                continue
            taken = f"its name {card.name} is taken" if isinstance(card, Card) else ""
            problem = taken or f"is a {type(card).__name__}; expected a Card"
        sentences.append(f"method {point.name} ({point.value}): {problem}; it is left out")
    return found, tuple(sentences)


def card_of(method: str | type[Method]) -> Card:
    """The card of a method, by its name or by its class; for the rest of the process, a class is known by its name.

    Raises:
        SettingsError: there is no such method; the sentence lists those that there are. Or the class is no method, or
            has the name of another one.
    """
    if not isinstance(method, str):
        return _card_of_class(method)
    name, known = method, cards()
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise SettingsError(f"no method is called {name!r}; {hint} (see `scantling methods`)")
    return known[name]


def _card_of_class(kind: type[Method]) -> Card:
    card = getattr(kind, "card", None)
    if not isinstance(kind, type) or not isinstance(card, Card):
        found = f"the class {kind.__qualname__}, which has no card" if isinstance(kind, type) else repr(kind)
        raise SettingsError(f"method: found {found}; expected the name of a method, or a subclass of Method")
    there = {**CARDS, **_outside()[0]}.get(card.name)
    where = import_path(kind)
    if there is not None and there.implementation != where:
        raise SettingsError(
            f"method: the card of {where} has the name {card.name}, as the method {there.implementation} has; give "
            "it another one"
        )
    _CLASSES[card.name] = kind
    return card


def import_path(kind: type) -> str:
    """Where a class is found, as `Card.implementation` names it."""
    return f"{kind.__module__}:{kind.__qualname__}"


def implementation_of(card: Card) -> type[Method]:
    """The class behind a card; this imports torch.

    Raises:
        SettingsError: the package of a method that is not ours cannot be imported.
    """
    if card.name in _CLASSES:
        return _CLASSES[card.name]
    module, _, name = card.implementation.partition(":")
    try:
        kind: type[Method] = getattr(importlib.import_module(module), name)
    except Exception as error:
        if module.partition(".")[0] == "scantling":
            raise
        raise SettingsError(
            f"{card.name}: {card.implementation} cannot be imported ({type(error).__name__}: {error}); mend or "
            "reinstall its package"
        ) from error
    return kind
