"""What our own measurements say of which method in which situation: one table, read by `scantling advise`.

Each rule has a figure of `docs/results.md`, or says that there is none. A rule that no figure carries goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Structure = Literal["vessels", "objects", "regions"]
Verdict = Literal["helps", "level", "worse"]
TITLES: Mapping[Verdict, str] = {
    "helps": "LIKELY TO HELP",
    "level": "NO CLEAR GAIN SO FAR",
    "worse": "WORSE THAN ITS CONTROL SO FAR",
}


@dataclass(frozen=True)
class Situation:
    """What a data set is, as far as the rules ask; of training and validation cases alone.

    Attributes:
        images: how many.
        axes: 2 of pictures, 3 of volumes.
        channels: of the first image.
        classes: their names, where any mask or manifest tells.
        structure: what is to be segmented.
        labelled: how many images have each kind of label, by field.
        readers: the most masks of one image.
        slices: whether only some slices of volumes were drawn.
    """

    images: int
    axes: int
    channels: int
    classes: tuple[str, ...]
    structure: Structure
    labelled: Mapping[str, int] = field(default_factory=dict)
    readers: int = 0
    slices: bool = False

    def has(self, word: str) -> bool:
        """Whether any image has this label."""
        return self.labelled.get(word, 0) > 0

    @property
    def few(self) -> bool:
        """Whether some images have masks, and others none."""
        return 0 < self.labelled.get("mask", 0) < self.images


@dataclass(frozen=True)
class Rule:
    """One line of the table.

    Attributes:
        method: that it speaks of.
        when: whether it applies.
        verdict: in words of `TITLES`.
        why: what was measured, in a sentence or two.
        cites: the section of `docs/results.md`.
        first: commands before the training, in which DATA stands for the data set.
        data: what is trained on in place of the data set.
        more: words after the command.
    """

    method: str
    when: Callable[[Situation], bool]
    verdict: Verdict
    why: str
    cites: str
    first: tuple[str, ...] = ()
    data: str = "DATA"
    more: str = ""


def _drawn(s: Situation) -> bool:
    return s.has("mask") and not s.few and not s.slices


RULES: tuple[Rule, ...] = (
    Rule(
        "unet", lambda s: _drawn(s) and s.axes == 3, "helps",
        "Hippocampus, 50 labelled volumes, five minutes of two cores: Dice 0.880.", "hippocampus-unet-in-3-d",
    ),
    Rule(
        "unet", lambda s: _drawn(s) and s.axes == 2 and s.structure == "vessels", "helps",
        "DRIVE, 20 labelled images, seven minutes of two cores: Dice 0.821.", "drive-unet-in-minutes",
    ),
    Rule(
        "unet", lambda s: _drawn(s) and s.axes == 2 and s.structure == "regions", "helps",
        "ISIC 2017, 78 labelled images, five minutes of a core: Dice 0.875, mean of three seeds.",
        "many-masks-for-one-image-isic-2017",
    ),
    Rule(
        "berdiff", lambda s: s.readers > 1 and len(s.classes) < 2, "helps",
        "STARE, two readers: GED 0.357 of 16 samples, 0.485 of one mask of unet (lower is better); the Dice with the "
        "first reader is lower, 0.765 against 0.823. Four test images.",
        "two-readers-stare",
    ),
    Rule(
        "unet", lambda s: _drawn(s) and s.axes == 2 and s.structure == "vessels", "helps",
        "Soft clDice added 0.024 to clDice (0.008 to 0.040) on held-out images of DRIVE and STARE at equal steps; at "
        "equal minutes nothing is measured.",
        "losses-for-tubes", more="--settings.cldice 0.5",
    ),
    Rule(
        "mb-diff", lambda s: _drawn(s) and s.axes == 2 and s.structure == "regions" and len(s.classes) < 2, "level",
        "ISIC 2017: Dice 0.875, as unet; no difference is shown. It draws several masks and a map of doubt.",
        "many-masks-for-one-image-isic-2017",
    ),
    Rule(
        "unet", lambda s: s.few, "helps",
        "The control of all that follows: with 7 of 70 patients of ACDC it kept 95 % of the Dice of all labels.",
        "few-labels-acdc", more="--augment strong",
    ),
    Rule(
        "mean-teacher", lambda s: s.few, "level",
        "A tenth of the labels: better than unet on LGG (+0.035, 0.002 to 0.072), not shown on four other sets. Hold "
        "it against unet.",
        "a-tenth-of-the-labels-five-sets",
    ),
    Rule(
        "fedd", lambda s: s.few and s.axes == 2, "worse",
        "ISIC 2017, 20 labels: Dice 0.515 on features of minutes of pre-training, 0.791 of unet; with 5 and 10 "
        "patients of LGG worse than unet, too.",
        "few-labels-on-frozen-features-isic-2017",
    ),
    *(
        Rule(
            name, lambda s: s.few, "worse",
            f"ACDC, 7 labelled patients, 1,000 steps: {figure} of Dice beside unet.", "few-labels-acdc",
        )
        for name, figure in (
            ("cross-pseudo", "−0.040"), ("fixmatch", "−0.094"), ("copy-paste", "−0.144"), ("self-training", "−0.064"),
        )
    ),
    Rule(
        "partial", lambda s: s.has("scribbles"), "helps",
        "ACDC, scribbles that were filled in by a random walker: 94 % of the Dice of masks; as they are, 62 %. On "
        "nuclei filling in was worse: hold it against partial on the scribbles as they are.",
        "scribbles", first=("scantling synthesize scribble-filling --from DATA --out runs/filled",), data="runs/filled",
    ),
    Rule(
        "unet", lambda s: s.slices, "helps",
        "Hippocampus, every fifth slice drawn, the others filled in: 98 % of the Dice of masks of all slices (0.830).",
        "scribbles", first=("scantling synthesize slice-filling --from DATA --out runs/filled",),
        data="runs/filled",
    ),
    Rule(
        "vessels", lambda s: not s.labelled and s.structure == "vessels" and s.axes == 2, "helps",
        "DRIVE without labels: Dice 0.791, mended 0.802, 0.757 of the filter vesselness; on STARE's training images "
        "0.800 and 0.729.",
        "drive-without-labels",
    ),
    Rule(
        "vesselness", lambda s: not s.labelled and s.structure == "vessels" and s.axes == 2, "helps",
        "DRIVE without labels: Dice 0.757, in a second, without training.", "drive-without-labels",
    ),
    Rule(
        "darl", lambda s: not s.labelled and s.structure == "vessels" and s.axes == 2, "worse",
        "DRIVE without labels: Dice 0.659 with made trees, 0.757 of the filter vesselness.", "drive-without-labels",
        first=("scantling synthesize vessel-trees --count 200 --size 584 --out trees",), more="--data trees",
    ),
)  # fmt: skip
MAKERS: Mapping[str, str] = {
    "segmenter": "unet",
    "registration": "registration",
    "encoder": "diffusion-pretrain",
    "autoencoder": "vq-gan",
}
"""Which method trains the model that another one is built on, by role; elsewhere the first that gives it."""
VESSELS = ("vessel", "arter", "vein", "coronar")
"""Words in the names of classes that tell of vessels."""
