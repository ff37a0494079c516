"""The settings of the multimodal GAN: five of its thesis, and two of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from zipfile import BadZipFile

import numpy as np
from pydantic import Field

from scantling.contract.options import GenerateOptions
from scantling.contract.settings import Settings
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rule = Literal["planned", "brats", "fundus", "xray", "lung-ct", "tianchi"]
Part = Literal["structures", "helpers", "pretraining", "images"]

TEXT: Mapping[str, float] = {}
CODE: Mapping[str, float] = {
    "organ": 15, "again": 25, "again, absolute": 10, "codes, real": 10, "codes, made": 10, "codes fooled": 0.001,
    "moments": 0.001, "structures, real": 25, "structures, made": 25, "structures fooled": 0.1, "real": 5, "made": 3,
    "fooled": 3, "class": 5, "registration": 20, "lesion": 5, "painting": 5, "painting, outside": 5, "cycle": 20,
    "background": 0.5, "foreground": 25,
}  # fmt: skip
"""What the authors' code multiplies the terms of the losses with; in the text of the thesis all weights are 1."""
ABSENT_IN_TEXT = ("again, absolute", "moments")
"""Terms that only the code has."""


class MultimodalGanOptions(GenerateOptions):
    """How cases are made.

    Attributes:
        walk: cases lie in so many steps between one drawn code and the next, so that structures change gradually; 0
            draws a code for each.
        codes: a file (.npy) of codes (N, code²) to draw structures of, in place of drawn ones: case n takes row n
            modulo N, with noise and a label of its own.
        realistic: structures are drawn anew until the mean score of their discriminator is so high, at most 50 times,
            and else the best is taken (a later text of the thesis: 0.55).
        tries: turns of a lesion label in one organ; see `label_placing`.
        organs: organs that are tried for a label, before it is said that it cannot be placed.
    """

    walk: Annotated[int, Field(ge=0)] = 0
    codes: Path | None = None
    realistic: float | None = None
    tries: Positive = 100
    organs: Positive = 20


def codes_in(file: Path, length: int) -> np.ndarray:
    """Codes (N, length) float32 of a file that the user names.

    Raises:
        SettingsError: it cannot be read, or holds something else.
    """
    try:
        with file.open("rb") as stream:
            found = np.load(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(
            f"--options.codes {file}: cannot be read ({first}); expected a file of numpy.save"
        ) from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        raise SettingsError(f"--options.codes {file}: holds no numbers; expected an array ({length} to a case)")
    with np.errstate(over="ignore"):
        codes = found.astype(np.float32)
    if found.ndim != 2 or not len(found) or found.shape[1] != length or not np.isfinite(codes).all():
        raise SettingsError(
            f"--options.codes {file}: found the shape {found.shape}, or numbers that are not finite; expected "
            f"(cases, {length}), such as normal numbers"
        )
    return codes


class MultimodalGanSettings(Settings):
    """Settings of `multimodal-gan`; the defaults are those of brain MR with tumours (BRATS).

    Attributes:
        steps: of training, in all stages together.
        shares: of them that train structures, helpers (translator and recogniser), the pre-training and the images;
            what a stage that is left out would have had goes to the others.
        batch: of structures; `image_batch` in the other stages.
        rate: of the learning of all networks.
        painting_rate: of the painter in the last stage; None: as the others. Where it has been pre-trained, a judge
            that knows nothing yet leads it astray in large steps; ours.
        average: decay of averages of the painter's weights, which answer; 0 for none.
        size: (H, W) that images are resampled to; None: as `longest` says.
        longest: the longer side of the median image, whose proportions stay.
        modalities: the channels are modalities, painted one by one; or "one" image of several channels, such as colours
            or neighbouring slices.
        source: the channel that structures are drawn from; None: the mean of those that a case has.
        rule: whose numbers draw structures and organs (`phantoms.structure`).
        organ: the background is dark; else the organ is the whole image.
        with_masks: lesions have masks, which the painter is told and which made cases get.
        with_boxes: lesions have boxes, in place of masks: the painter is told their insides, and made cases get boxes.
        with_classes: images have a class, which the painter is told as a plane and which made cases get.
        vessels: the structure without the outline of the organ is the mask of made cases: of the retina its vessels.
        structures_of: the image class, such as the healthy one, from whose images alone structures are drawn: where
            lesions have no mask, nothing else keeps them out of a structure; None: all images.
        structures: paint after structures; else after noise (A of the ablation).
        organ_filter: lesion labels are turned until they lie inside the organ (C).
        noise: the organ is filled with noise (D; equation 12).
        registration: the painted modalities must translate into one another (E; equation 16).
        lesion_loss: recognisers must find the label in what is painted (F; equation 15).
        pretraining: the painter first learns real images from their structures (equation 18); needs the modalities of a
            case to be registered.
        outside: the weight of the background in that, in units of its weight.
        pairs: all pairs of modalities are translated in a step, or each into one other that is drawn.
        weights: of the losses: all 1, as in the "text", or as in the authors' "code".
        class_loss: how the discriminator tells modalities: by softmax, or by regression to their number as in the text.
        class_on_made: it learns that of made images too, as the text has it.
        kept: lesion labels of training cases that the model keeps.
        code: the side of the square of numbers that a structure is made of.
        width: channels of the painter and the translator at full resolution.
        judge, judge_stages: width and stages of the discriminators.
        coder, coder_stages: the same of the encoder of structures and of what draws them.
        organ_width: channels of what tells the organ from a structure, and of the recognisers, at full resolution.
    """

    steps: Annotated[int, Field(ge=4)] = 2_000_000
    shares: tuple[Share, Share, Share, Share] = (0.4, 0.2, 0.1, 0.3)
    batch: Positive = 1
    image_batch: Positive = 4
    rate: Annotated[float, Field(gt=0)] = 1e-5
    painting_rate: Annotated[float, Field(gt=0)] | None = None
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    size: tuple[Positive, Positive] | None = (184, 144)
    longest: Annotated[int, Field(ge=16)] = 128
    modalities: Literal["channels", "one"] = "channels"
    source: str | None = None
    rule: Rule = "brats"
    organ: bool = True
    with_masks: bool = True
    with_boxes: bool = False
    with_classes: bool = False
    vessels: bool = False
    structures_of: str | None = None
    structures: bool = True
    organ_filter: bool = True
    noise: bool = True
    registration: bool = True
    lesion_loss: bool = True
    pretraining: bool = False
    outside: Annotated[float, Field(ge=0)] = 1.0
    pairs: Literal["all", "drawn"] = "all"
    weights: Literal["text", "code"] = "text"
    class_loss: Literal["softmax", "regression"] = "softmax"
    class_on_made: bool = False
    kept: Positive = 200
    code: Positive = 64
    width: Positive = 64
    judge: Positive = 64
    judge_stages: Positive = 4
    coder: Positive = 64
    coder_stages: Positive = 6
    organ_width: Positive = 32

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "brats": {},
        "fundus": {
            "size": (512, 512), "modalities": "one", "rule": "fundus", "with_masks": False, "vessels": True,
            "registration": False, "lesion_loss": False, "pretraining": True, "outside": 0.1,
        },
        "xray": {
            "size": (512, 512), "modalities": "one", "rule": "xray", "with_masks": False, "with_classes": True,
            "registration": False, "pretraining": True,
        },
        "lung-ct": {
            "size": (512, 512), "modalities": "one", "rule": "lung-ct", "with_masks": False, "registration": False,
            "lesion_loss": False, "pretraining": True,
        },
        "tianchi": {
            "size": (512, 512), "modalities": "one", "rule": "tianchi", "with_masks": False, "with_boxes": True,
            "registration": False,
        },
        "quick": {
            "steps": 2400, "shares": (0.35, 0.05, 0.45, 0.15), "batch": 4, "image_batch": 2, "rate": 1e-3,
            "average": 0.99, "painting_rate": 1e-4, "registration": False,
            "size": None, "longest": 96, "rule": "planned", "pretraining": True, "pairs": "drawn", "weights": "code",
            "code": 16, "width": 16, "judge": 8, "judge_stages": 3, "coder": 8, "coder_stages": 4, "organ_width": 8,
        },
        "tiny": {
            "steps": 16, "shares": (0.25, 0.25, 0.25, 0.25), "batch": 2, "image_batch": 2, "rate": 1e-2,
            "average": 0.9, "size": (16, 16), "rule": "planned", "with_masks": False, "pretraining": True,
            "kept": 4, "code": 4, "width": 4, "judge": 4, "judge_stages": 2, "coder": 4, "coder_stages": 2,
            "organ_width": 4,
        },
    }  # fmt: skip
    architecture: ClassVar[tuple[str, ...]] = (
        "size", "modalities", "with_masks", "with_boxes", "with_classes", "structures", "registration", "lesion_loss",
        "class_loss", "kept", "code", "width", "judge", "judge_stages", "coder", "coder_stages", "organ_width",
    )  # fmt: skip

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, once resolved."""
        if self.size is None:
            raise SettingsError("--settings.size: is not decided yet; resolve the settings first")
        return self.size

    @property
    def lesions(self) -> Literal["mask", "boxes"] | None:
        """The field of a training case that says where its lesions are."""
        return "mask" if self.with_masks else "boxes" if self.with_boxes else None

    def weight(self, term: str) -> float:
        """What a term of a loss is multiplied with; 0 of those that the text does not have."""
        if self.weights == "code":
            return CODE[term]
        return 0.0 if term in ABSENT_IN_TEXT else 1.0

    def resolve(self, traits: Traits) -> Self:
        """Decide the grid, and switch off what the data have no use for.

        Raises:
            SettingsError: the settings contradict each other or the data.
        """
        labels = [f"--settings.{name}" for name in ("with_masks", "with_boxes", "with_classes") if getattr(self, name)]
        if len(labels) > 1:
            raise SettingsError(f"{', '.join(labels)}: a lesion has a mask, a box or a class; set all but one to false")
        if self.vessels and (self.lesions or not self.structures):
            raise SettingsError(
                "--settings.vessels: the mask of a made case is its structure; needs structures, and no with_masks and "
                "no with_boxes"
            )
        if self.with_masks and not traits.classes:
            raise SettingsError("--settings.with_masks: found no classes; the data need masks, or set it to false")
        if self.with_boxes and not traits.classes:
            raise SettingsError(
                "--settings.with_boxes: found no classes; declare 'classes' in a manifest, whose names the boxes have"
            )
        if self.with_classes and len(traits.image_classes) < 2:
            raise SettingsError(
                f"--settings.with_classes: found the image classes {', '.join(traits.image_classes) or 'none'}; "
                "expected two or more (labels.csv); set it to false where there is one"
            )
        if self.source is not None and self.source not in traits.channels:
            raise SettingsError(f"--settings.source {self.source}: expected one of {', '.join(traits.channels)}")
        if self.structures_of is not None and self.structures_of not in traits.image_classes:
            raise SettingsError(
                f"--settings.structures_of {self.structures_of}: found the image classes "
                f"{', '.join(traits.image_classes) or 'none'} (labels.csv); expected one of them"
            )
        if self.structures_of is not None and not self.structures:
            raise SettingsError("--settings.structures_of: this model paints after noise (--settings.structures false)")
        painted = self.number(traits)
        changes: dict[str, Any] = {
            "registration": self.registration and painted > 1,
            "lesion_loss": self.lesion_loss and (self.lesions is not None or self.with_classes),
            "organ_filter": self.organ_filter and self.lesions is not None and self.structures and self.organ,
        }
        if self.size is None:
            height, width = traits.slices().shape
            factor = self.longest / max(height, width)
            changes["size"] = tuple(max(16, round(n * factor / 8) * 8) for n in (height, width))
        return self.model_copy(update=changes)

    def number(self, traits: Traits) -> int:
        """Of modalities."""
        return len(traits.channels) if self.modalities == "channels" else 1

    def parts(self) -> dict[Part, int]:
        """The steps of each stage that there is, once resolved."""
        there: dict[Part, bool] = {
            "structures": self.structures,
            "helpers": self.registration or self.lesion_loss,
            "pretraining": self.pretraining and self.structures,
            "images": True,
        }
        kept = {name: share for (name, is_there), share in zip(there.items(), self.shares, strict=True) if is_there}
        total = sum(kept.values()) or 1.0
        found = {name: max(1, int(self.steps * share / total)) for name, share in kept.items()}
        found["images"] = max(1, self.steps - sum(found.values()) + found["images"])
        return found

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """Which grid, stages and switches."""
        stages = ", ".join(f"{name} ({steps} steps)" for name, steps in self.parts().items())
        height, width = self.shape
        only = "" if self.structures_of is None else f" of images of the class {self.structures_of!r} alone"
        what = (
            "image classes"
            if self.with_classes
            else {"mask": "masks", "boxes": "boxes", None: "no label"}[self.lesions]
        )
        return (
            f"paints {self.number(traits)} modalities of {height} x {width} pixels, told {what}",
            f"stages: {stages}; structures by the rule {self.rule!r}{only}",
        )
