"""What a method can do: a base class for each capability, with its options and its result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from scantling.contract.card import Capability
from scantling.contract.method import Method, dropouts
from scantling.contract.options import (
    AnnotateOptions,
    ClassifyOptions,
    EncodeOptions,
    GenerateOptions,
    RegisterOptions,
    SegmentOptions,
)
from scantling.contract.results import Annotation, Classification, Encoding, Generation, Registration, Segmentation
from scantling.contract.step import Inference
from scantling.contract.views import Views, views_of_training
from scantling.core.case import Labels, Sample
from scantling.core.errors import SettingsError
from scantling.core.postprocessing import AS_ANSWERED, Postprocessing
from scantling.core.samples import Batch, Preprocessing, Traits


class Segmenter(Method):
    """A method that segments images."""

    segment_with: ClassVar[type[SegmentOptions]] = SegmentOptions
    draws: ClassVar[bool] = False
    """Whether `segment` answers with as many samples as its options say."""
    views_by_default: ClassVar[bool] = False
    """Whether one answer is the mean over the views of its training unless options say otherwise."""
    finds_objects: ClassVar[bool] = False
    """Whether it answers with objects: those of several answers do not become one."""
    objects_in_maps: ClassVar[bool] = False
    """Whether it finds them by a rule in maps of the image: it averages the maps over `Inference.views` itself, and a
    large image comes in squares whose objects are stitched. Other methods that find objects look at no views."""
    views: Views | None = None
    """The views of its training, as saved with the model; None of a model of earlier versions."""
    postprocessing: Postprocessing = AS_ANSWERED
    """What is done to its answers, learnt on validation cases when its training ends."""

    @abstractmethod
    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """The probabilities of the classes for the images of a batch, or samples of them, which `fusion` makes one."""

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """The options with all that the method decides filled in; a method that draws no samples answers once.

        Such a method can still give samples: those of its dropout, left on (Gal and Ghahramani, 2016).

        Raises:
            SettingsError: the method cannot do it.
        """
        if options.steps is not None:
            raise SettingsError(f"--sampling-steps: {self.card.name} runs no chain that could have steps; leave it out")
        if (options.samples or 1) > 1 and not dropouts(self):
            raise SettingsError(f"--samples {options.samples}: {without_dropout(self)}")
        return options.model_copy(update={"samples": options.samples or 1, "fuse": options.fuse or "mean"})

    def labels_of(self, options: SegmentOptions) -> Labels | None:
        """The classes of its masks: those that it was trained on, unless its options choose others (a vocabulary)."""
        del options
        return self.traits.labels

    def resolved_views(self) -> Views:
        """The views under which its training saw its images, read from its streams where the model does not say.

        Of a method whose objects do not become one (`objects_in_maps`) the image as it is alone.
        """
        if self.finds_objects and not self.objects_in_maps:
            return Views(mirrored=(False,) * self.preprocessing.dimensions)
        alone = self.views is not None and self.objects_in_maps and len(self.views.each) == 1  # of earlier versions
        return views_of_training(self) if self.views is None or alone else self.views

    def uses_views(self, options: SegmentOptions) -> bool:
        """Whether an answer is the mean over views: where options say so, or one answer is given by default."""
        by_default = self.views_by_default and (options.samples or 1) == 1
        return (by_default if options.views is None else options.views) and not self.without_views()

    def without_views(self) -> str:
        """Why answers are given without views although options ask for them; empty where they are given with them."""
        if self.finds_objects and not self.objects_in_maps:
            return "objects of several answers do not become one"
        views = self.resolved_views()
        if len(views.each) == 1:
            return "the training of this model showed it no mirrored or turned images"
        if views.hurt:
            cases = f"{views.cases} validation case" + "s" * (views.cases != 1)
            with_, without = views.dice_of_views, views.dice
            return f"on {cases} the Dice of this model was {with_:.3f} with views and {without:.3f} without"
        return ""

    def calls(self, options: SegmentOptions) -> int:
        """Passes through the network that an answer takes, with resolved options; all tiles of a canvas are one."""
        return (options.samples or 1) * (options.steps or 1)

    def second_opinion(self, batch: Batch) -> Tensor | None:
        """The mask (B, 1, *S) of the only class that the method makes another way, where it learns without a truth.

        The Dice of both is then what is expected of its answer; where they differ is the uncertainty `DISPUTED`.
        """
        del batch
        return None

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What a method that is built on this one reads, in one pass over an image or a tile (B, C, *S).

        Returns:
            The last feature map (B, F, *S) and the probabilities (B, K, *S) that are read from it.

        Raises:
            SettingsError: the method hands out no features.
        """
        raise SettingsError(f"{self.card.name} hands out no features that another method could be built on")


class Classifier(Method):
    """A method that says to which class an image belongs: one of `traits.image_classes`."""

    classify_with: ClassVar[type[ClassifyOptions]] = ClassifyOptions

    @abstractmethod
    def classify(self, batch: Batch, inference: Inference) -> Classification:
        """The probabilities of the image classes for the images of a batch."""

    def classify_options(self, options: ClassifyOptions) -> ClassifyOptions:
        """The options with all that the method decides filled in.

        Raises:
            SettingsError: the method cannot do it.
        """
        if (options.samples or 1) > 1 and not dropouts(self):
            raise SettingsError(f"--samples {options.samples}: {without_dropout(self)}")
        return options.model_copy(update={"samples": options.samples or 1})

    def maps_and_logits(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """What maps of the evidence for a class are made of, for images (B, C, H, W) as it takes them.

        Returns:
            Feature maps (B, F, h, w), from the finest to the coarsest, and the logits (B, K) that follow from them.

        Raises:
            SettingsError: the method has no such maps.
        """
        raise SettingsError(f"{self.card.name} hands out no feature maps that a map of a class could be made of")


class Generator(Method):
    """A method that makes masks, images, or images with their masks."""

    generate_with: ClassVar[type[GenerateOptions]] = GenerateOptions

    @abstractmethod
    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """`count` cases, from number `inference.number` on.

        Args:
            given: what its card asks for, a row for each case: masks, sketches, images, image classes.
        """

    @classmethod
    def blank(cls, settings: Any) -> Traits:
        """The traits of what a rule makes, for a method that needs no data and is not trained.

        Raises:
            SettingsError: the method has to be trained first.
        """
        del settings
        raise SettingsError(f"{cls.card.name} has to be trained first; name its run")

    @property
    def channels_out(self) -> tuple[str, ...]:
        """The names of the channels of the images that it makes."""
        return self.traits.channels

    def generate_options(self, options: GenerateOptions) -> GenerateOptions:
        """The options with all that the method decides filled in.

        Raises:
            SettingsError: the method cannot do it.
        """
        if options.steps is not None:
            raise SettingsError(f"--sampling-steps: {self.card.name} runs no chain that could have steps; leave it out")
        return options


class Annotator(Method):
    """A method that labels the images of a data set by rule, from the labels that they have; nothing is trained."""

    annotate_with: ClassVar[type[AnnotateOptions]] = AnnotateOptions
    completes: ClassVar[bool] = False
    """Whether it fills in masks of which only some slices are known, and needs such."""

    wants: ClassVar[tuple[str, ...]] = ()
    """Labels that it reads where a case has them, beside what its card asks for."""

    @abstractmethod
    def annotate(self, sample: Sample, labels: Labels, generator: np.random.Generator) -> Annotation:
        """The labels of one image.

        Args:
            sample: its image, region and what the card asks for.
            labels: what its masks mean.
            generator: where all chance comes from.

        Raises:
            DataError: the image, or its labels, are not of a kind that can be so labelled.
        """

    @property
    def preprocessing(self) -> Preprocessing:
        """It takes images as they are."""
        return Preprocessing(dimensions=2, normalise="none")

    @classmethod
    def blank(cls, settings: Any) -> Traits:
        """The traits of a rule, which knows nothing of its data before it sees them."""
        del settings
        return Traits(dimensions=2, channels=(), spacing=(1.0, 1.0), shape=(1, 1), smallest=(1, 1), intensity=())


class Registrar(Method):
    """A method that warps a moving image onto a fixed one."""

    register_with: ClassVar[type[RegisterOptions]] = RegisterOptions

    @abstractmethod
    def register(self, fixed: Batch, moving: Batch, inference: Inference) -> Registration:
        """The displacements that warp the images of `moving` onto those of `fixed`, which are on one grid."""

    def register_options(self, options: RegisterOptions) -> RegisterOptions:
        """The options with all that the method decides filled in.

        Raises:
            SettingsError: the method cannot do it.
        """
        return options


class Encoder(Method):
    """A method whose features other methods are built on; it has no command of its own."""

    encode_with: ClassVar[type[EncodeOptions]] = EncodeOptions

    @abstractmethod
    def encode(self, batch: Batch, inference: Inference) -> Encoding:
        """Features and latents of the images of a batch."""

    def encode_options(self, options: EncodeOptions) -> EncodeOptions:
        """The options with all that the method decides filled in.

        Raises:
            SettingsError: the method cannot do it.
        """
        return options

    def decode(self, latent: Tensor, inference: Inference) -> Tensor:
        """The images (B, C, *S) of latents.

        Raises:
            SettingsError: the method does not decode.
        """
        del latent, inference
        raise SettingsError(f"{self.card.name} does not decode what it encodes")


CAPABILITIES: Mapping[Capability, type] = {
    "segment": Segmenter,
    "classify": Classifier,
    "generate": Generator,
    "register": Registrar,
    "encode": Encoder,
    "annotate": Annotator,
}
"""The base class of each capability."""


def without_dropout(method: Method) -> str:
    """Why a method that draws nothing and drops nothing cannot give several answers, as the end of a sentence."""
    way = "train it with --settings.dropout 0.1, or " if "dropout" in type(method.settings).model_fields else ""
    return (
        f"this {method.card.name} has no dropout, so that all its answers to an image are one; {way}name runs with "
        "other seeds with --ensemble"
    )
