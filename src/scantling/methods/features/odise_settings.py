"""The settings of `odise` and the options of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from scantling.contract.options import SegmentOptions
from scantling.contract.settings import Names
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.losses.mask_sets import MaskWeights
from scantling.methods.features.odise_objects import Source
from scantling.methods.features.odise_words import BACKGROUND, check_names, plain
from scantling.methods.features.source import FeatureSettings, Positive

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class OdiseSettings(FeatureSettings):
    """Settings of `odise`: sizes, losses and recipe of the paper and its authors' code; `quick` is ours.

    Attributes:
        steps: of training.
        batch: images a step.
        rate: of AdamW; a tenth of it from 88.9 % of the training on, a hundredth from 96.3 %.
        weight_decay: of AdamW.
        clip: the greatest norm of the gradient.
        warmup: steps.
        objects_from: what a segment is: "mask": all pixels of a class; "pieces": each connected piece of a class;
            "instances": each object of the instance map.
        queries: masks of an image.
        adapters: the width to which the frozen maps are brought.
        width: of pixel decoder and queries.
        words: the width of the embeddings of words.
        encoder_layers, encoder_points, encoder_inner: of the pixel decoder.
        query_layers, inner: of the decoder of the queries.
        heads: of all attention.
        points: at which the masks of an image are compared.
        label, mask, dice, nothing: see `MaskWeights`.
        text: the folder of a CLIP as transformers saves it, whose text encoder embeds names; None: they are learned.
        supervision: "labels": the class of each segment; "captions": the nouns of each image, and of a segment only
            that it is one.
        grounding: the weight of the loss of captions (ours).
        captioner: what a model with a prompt is told of an image: "empty": the prompt of its folder; "heuristic": the
            names of the training that the CLIP of `text` finds likest (ours); "text": its caption in the manifest, as
            the text encoder of the folder reads both; "implicit": a prompt that is learned of an embedding of the
            image, that of `text` if there is one. None: implicit where there is a prompt.
        tile: the side of the squares in which larger images are read by the frozen model; they overlap where their
            side does not divide that of the image. None: whole.
        patch: the side of a patch where images have no common size; None: their longest side.
        flips, turns, zoom: see `Augmentation` (the authors scale images by .1 to 2).
    """

    size: Positive | None = 1024
    steps: Positive = 92_188
    batch: Positive = 64
    rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Weight = 0.05
    clip: Annotated[float, Field(gt=0)] = 0.01
    warmup: Annotated[int, Field(ge=0)] = 500
    objects_from: Source = "mask"
    queries: Positive = 100
    adapters: Positive = 512
    width: Annotated[int, Field(ge=4)] = 256
    words: Positive = 768
    encoder_layers: Positive = 6
    encoder_points: Positive = 4
    encoder_inner: Positive = 1024
    query_layers: Positive = 9
    inner: Positive = 2048
    heads: Positive = 8
    points: Annotated[int, Field(ge=4)] = 12_544
    label: Weight = 2.0
    mask: Weight = 5.0
    dice: Weight = 5.0
    nothing: Weight = 0.1
    text: Path | None = None
    supervision: Literal["labels", "captions"] = "labels"
    grounding: Weight = 2.0
    captioner: Literal["empty", "heuristic", "text", "implicit"] | None = None
    tile: Positive | None = 512
    patch: Positive | None = None
    flips: bool = True
    turns: bool = False
    zoom: Weight = 1.0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "size": None, "longest": 96, "steps": 800, "batch": 4, "rate": 1e-3, "clip": 1.0, "warmup": 50,
            "queries": 20, "adapters": 64, "width": 64, "words": 64, "encoder_layers": 2, "encoder_inner": 128,
            "query_layers": 3, "inner": 128, "heads": 4, "points": 1024, "zoom": 0.2,
        },
        "tiny": {
            "size": 16, "steps": 4, "batch": 2, "rate": 1e-2, "clip": 1.0, "warmup": 0, "queries": 4, "adapters": 8,
            "width": 8, "words": 8, "encoder_layers": 1, "encoder_points": 2, "encoder_inner": 8, "query_layers": 2,
            "inner": 8, "heads": 2, "points": 64, "zoom": 0.0,
        },
    }  # fmt: skip
    architecture: ClassVar[tuple[str, ...]] = (
        *FeatureSettings.architecture, "queries", "adapters", "width", "words", "encoder_layers", "encoder_points",
        "encoder_inner", "query_layers", "inner", "heads",
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, given: Any) -> Any:
        """Models of earlier versions, whose settings are whole but for the squares, read images as they were."""
        whole = isinstance(given, Mapping) and {*cls.model_fields} - {"tile"} == {*given}
        return {**given, "tile": None} if whole else given

    @property
    def weights(self) -> MaskWeights:
        """Of the loss."""
        return MaskWeights(self.label, self.mask, self.dice, self.nothing)

    def resolve(self, traits: Traits) -> Self:
        """Refuse classes and data in which there is nothing to find.

        Raises:
            SettingsError: no classes, or names that cannot be told apart, or single objects of volumes or of several
                classes that nothing tells.
        """
        if not traits.classes:
            raise SettingsError("odise needs masks to know its classes; the training data have none")
        check_names(traits.classes, "the classes of the data")
        if BACKGROUND in map(plain, traits.classes):
            raise SettingsError(
                f"the classes of the data: found {BACKGROUND!r}, which odise calls what belongs to no class; give it "
                "another name, or leave it out"
            )
        if self.supervision == "captions" and self.text is None:
            raise SettingsError(
                "--settings.supervision captions: nouns are compared as text, and there is no text encoder; name one "
                "with --settings.text FOLDER, or take labels"
            )
        if self.text is not None and len(traits.channels) not in (1, 3):
            raise SettingsError(
                f"--settings.text {self.text}: found images of {len(traits.channels)} channels "
                f"({', '.join(traits.channels)}); CLIP looks at colour images, or grey ones; leave it out"
            )
        if self.width % self.heads:
            raise SettingsError(f"--settings.width {self.width}: expected a multiple of --settings.heads {self.heads}")
        if self.objects_from != "mask" and traits.dimensions == 3:
            raise SettingsError(
                f"--settings.objects_from {self.objects_from}: finds objects in pictures, and the data are volumes; "
                "take mask, or write their slices as pictures"
            )
        if self.objects_from == "instances" and len(traits.classes) > 1:
            raise SettingsError(
                f"--settings.objects_from instances: instance maps do not say which of {', '.join(traits.classes)} an "
                "object is; take pieces, or mask"
            )
        return super().resolve(traits)

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """What a segment is."""
        what = {
            "mask": "all pixels of a class are one segment",
            "pieces": "each connected piece of a class is a segment",
            "instances": "each object of the instance maps is a segment",
        }[self.objects_from]
        return (f"{what}: {', '.join(traits.classes)}",)


def _as_words(given: Any) -> Any:
    """Names of classes that are numbers, as a command line reads them, as words."""
    several = isinstance(given, list | tuple)
    return [str(one) if isinstance(one, int) else one for one in given] if several else str(given)


class OdiseOptions(SegmentOptions):
    """How masks become an answer.

    Attributes:
        objects: "panoptic": no two share a pixel; "overlapping": each mask by itself, for average precision.
        overlap: of a panoptic answer, the share of its pixels that a mask has to keep.
        threshold: the least probability of the class of an object.
        most: objects of an image, of overlapping ones.
        vocabulary: the classes to look for, with synonyms as "tumour|lesion"; empty: those of the training.
        clip_seen, clip_unseen: w of the classes that were in the training and of others: the share of CLIP, which looks
            at each mask, in p ∝ p_diffusion^(1 - w) p_CLIP^w. None: .3 and .7, with captions .35 and .65 (the paper's);
            without a text encoder there is no CLIP.
    """

    objects: Literal["panoptic", "overlapping"] = "panoptic"
    overlap: Share = 0.8
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.0
    most: Positive = 100
    vocabulary: Annotated[Names, BeforeValidator(_as_words)] = ()
    clip_seen: Share | None = None
    clip_unseen: Share | None = None
