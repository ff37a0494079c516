"""What the gallery does with each method: on which of its images, for how many steps, and what is left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scantling.contract.card import Card
from scantling.methods.catalogue import CARDS


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the strip of a method is made.

    Attributes:
        data: a data set of `images.KINDS`, or one with drawn labels ("organs+boxes"); empty where none is needed.
        steps: of the training with the preset; 0 for a method that trains nothing.
        shows: the capability that is shown.
        settings: that differ from the preset.
        labels: of so many images; None for all.
        uses: the methods of the runs that it is built on, by role.
        options: of its answer.
    """

    data: str = ""
    steps: int = 100
    shows: str = "segment"
    preset: str = "tiny"
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: int | None = None
    uses: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


LEFT_OUT: Mapping[str, str] = {
    "vessel-stable-diffusion": "needs weights of Stable Diffusion that the user has; none are fetched or kept here",
    "gland-diffusion": "300 steps of the tiny preset mark nothing, so that a picture would say nothing",
    "cdm": "learns from images with and without an object, and all made images have one",
    "cam": "shows what a classifier of images with and without an object looks at, and all made images have one",
    "odise": "not drawn yet: its queries need minutes of training, and the gallery trains for seconds",
}
"""Methods without a picture, and why."""

_SUPERVISED = {
    "unet": Recipe(data="vessels", steps=300),
    "monai-net": Recipe(data="vessels", steps=300),
    "fr-unet": Recipe(data="vessels", steps=300),
    "direction": Recipe(data="vessels", steps=300, uses={"segmenter": "unet"}),
    "classifier": Recipe(data="cells", shows="classify", steps=400),
    "ssd": Recipe(data="cells+boxes", steps=300),
    "hover-net": Recipe(data="cells", steps=300),
    "unet-watershed": Recipe(data="cells", steps=300),
    "gland-diffusion": Recipe(data="cells", steps=300),
}
_FEW = {
    name: Recipe(data="organs", labels=3, steps=300)
    for name in ("mean-teacher", "cross-pseudo", "fixmatch", "copy-paste", "self-training")
}
_WEAK = {
    "partial": Recipe(data="organs+scribbles"),
    "scribble": Recipe(data="organs+scribbles"),
    "scribble-teacher": Recipe(data="organs+scribbles"),
    "box-supervised": Recipe(data="lesions+boxes"),
}
_PAIRS = {
    "registration": Recipe(data="organs", shows="register"),
    "registration-classical": Recipe(data="organs", shows="register", steps=0),
    "deep-atlas": Recipe(data="organs", labels=3),
    "atlas-propagation": Recipe(data="organs", steps=0),
    "registration-augmentation": Recipe(data="organs", labels=3, uses={"registration": "registration"}),
}
_CHAINS = {
    **{
        name: Recipe(data="lesions")
        for name in ("berdiff", "medsegdiff", "medsegdiff-v2", "dtu-net", "mb-diff", "plain-diffusion")
    },
    "ei-ddpm": Recipe(data="frames"),
}
_WITHOUT = {
    "darl": Recipe(data="angiograms"),
    "ssvs": Recipe(data="angiograms"),
    "vesselness": Recipe(data="angiograms", steps=0),
    "vessels": Recipe(data="angiograms", steps=300, settings={"phantoms": 60}),
}
_FEATURES = {
    "diffusion-pretrain": Recipe(data="cells", shows="encode"),
    "masked-pretrain": Recipe(data="cells", shows="encode"),
    "vq-gan": Recipe(data="volumes", shows="encode"),
    "dkm-kinetics": Recipe(data="frames", shows="generate"),
    "dkm": Recipe(data="frames", uses={"encoder": "dkm-kinetics"}),
    "fedd": Recipe(data="lesions", uses={"encoder": "diffusion-pretrain"}),
    "fedd-classifier": Recipe(data="cells", shows="classify", uses={"encoder": "diffusion-pretrain"}),
}
_MADE = {
    "medical-diffusion": Recipe(data="volumes", shows="generate", uses={"autoencoder": "vq-gan"}),
    "gan-3d": Recipe(data="volumes", shows="generate"),
    "multimodal-gan": Recipe(data="organs", shows="generate"),
    **{
        name: Recipe(data="cells", shows="generate")
        for name in ("dcgan", "wgan", "acgan", "pggan", "gan", "skr-gan", "skr-gan-star", "nuclei-diffusion")
    },
    "mask-to-image": Recipe(data="lesions", shows="generate"),
    "vessel-controlnet": Recipe(data="angiograms", shows="generate"),
    **{
        name: Recipe(steps=0, shows="generate")
        for name in ("fractal-vessels", "vessel-trees", "angiogram-phantoms", "retina-phantoms")
    },
}
_DRAWN = {
    "scribbles": Recipe(data="organs", steps=0, shows="annotate"),
    "centre-lines": Recipe(data="vessels", steps=0, shows="annotate"),
    "slices": Recipe(data="volumes", steps=0, shows="annotate"),
    "boxes": Recipe(data="cells", steps=0, shows="annotate"),
    "points": Recipe(data="cells", steps=0, shows="annotate"),
    "slice-filling": Recipe(data="volumes+slices", steps=0, shows="annotate"),
    "scribble-filling": Recipe(data="organs+scribbles", steps=0, shows="annotate"),
    "point-filling": Recipe(data="cells+points", steps=0, shows="annotate"),
}
SECTIONS: Mapping[str, Mapping[str, Recipe]] = {
    "From masks": _SUPERVISED,
    "From few masks and many images": _FEW,
    "From scribbles and boxes": _WEAK,
    "By registration": _PAIRS,
    "By diffusion of masks": _CHAINS,
    "Without labels": _WITHOUT,
    "Features": _FEATURES,
    "Made images and masks": _MADE,
    "Drawn labels": _DRAWN,
}
RECIPES: Mapping[str, Recipe] = {name: recipe for section in SECTIONS.values() for name, recipe in section.items()}
UNTRAINED = frozenset(
    {
        # pictures of seconds of training would be noise
        "acgan", "berdiff", "dcgan", "dtu-net", "ei-ddpm", "gan", "gan-3d", "mask-to-image", "mb-diff",
        "medical-diffusion", "medsegdiff", "medsegdiff-v2", "multimodal-gan", "nuclei-diffusion", "pggan",
        "plain-diffusion", "skr-gan",
        "skr-gan-star", "vessel-controlnet", "wgan",
    }
)  # fmt: skip
"""Methods of which the picture shows what they learn from, and nothing is trained; without a name here the next command
trains the method as its recipe says."""


def label_of(card: Card) -> str:
    """The field that a method learns from beside the image, or ""."""
    words = [word for needed in card.needs for word in needed if word != "image"]
    return words[-1] if words else ""


def unnamed() -> list[str]:
    """Methods of the catalogue that have neither a recipe nor a reason."""
    return [name for name in CARDS if name not in RECIPES and name not in LEFT_OUT]
