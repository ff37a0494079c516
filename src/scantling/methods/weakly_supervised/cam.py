"""Class activation maps of a trained classifier, cut to masks: the controls of what learns from classes of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.capabilities import Classifier, Segmenter
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Segmentation
from scantling.contract.settings import Names, Settings
from scantling.contract.step import Inference
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.methods.catalogue import CARDS
from scantling.methods.weakly_supervised.class_activation import grad_cam, grad_cam_pp, layer_cam, score_cam
from scantling.methods.weakly_supervised.class_maps import (
    ClassMapOptions,
    as_probabilities,
    classes_with_object,
    cut,
    shown_and_not,
    traits_of_object,
)

Kind = Literal["grad-cam", "grad-cam++", "score-cam", "layer-cam"]
BY_GRADIENT = {"grad-cam": grad_cam, "grad-cam++": grad_cam_pp, "layer-cam": layer_cam}


class CamOptions(ClassMapOptions):
    """How the map of an image is made; None is as in the settings.

    Attributes:
        kind, level: see `CamSettings`.
    """

    kind: Kind | None = None
    level: Annotated[int, Field(ge=0)] | None = None


class CamSettings(Settings):
    """Settings of `cam`; nothing is trained.

    Attributes:
        shown: the image classes that show the object; all but one that is called "normal", "no …" or the like.
        kind: how the feature maps are weighed.
        level: the stage of the classifier whose maps are weighed, from 0, the last and coarsest.
        largest: keep the largest component of a mask alone.
        gate: see `ClassMapOptions`.
    """

    shown: Names = ()
    kind: Kind = "grad-cam"
    level: Annotated[int, Field(ge=0)] = 0
    largest: bool = False
    gate: Annotated[float, Field(ge=0, le=1)] = 0.0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quick": {}, "tiny": {"shown": ("bright",)}}

    def resolve(self, traits: Traits) -> Self:
        """Decide which image classes show the object."""
        return self.model_copy(update={"shown": classes_with_object("cam", self.shown, traits)})

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """Which images show the object."""
        return (f"{shown_and_not(self.shown, traits)}; nothing is trained, and no mask is read",)


class CAM(Segmenter):
    """Grad-CAM, Grad-CAM++, Score-CAM or LayerCAM of a classifier, above Otsu's threshold of each image.

    The score is the logit of the image class that shows the object, of several the largest one. A map is brought to the
    size of the image linearly.
    """

    card = CARDS["cam"]
    Settings = CamSettings
    settings: CamSettings
    segment_with = CamOptions

    def __init__(self, settings: CamSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        network = self.uses["classifier"]
        if not isinstance(network, Classifier):
            raise SettingsError("--use classifier=RUN: found a model that does not classify; name one that does")
        self.classifier_used = (network,)  # in a tuple: its weights stand among those of `uses` already
        if network.traits.channels != traits.channels:
            raise SettingsError(
                f"--use classifier=RUN: it knows the channels {', '.join(network.traits.channels)}, the data have "
                f"{', '.join(traits.channels)}; train one on these data"
            )
        if unknown := [name for name in settings.shown if name not in network.traits.image_classes]:
            raise SettingsError(
                f"--use classifier=RUN: it does not know the image class {unknown[0]!r}; it knows "
                f"{', '.join(network.traits.image_classes)}"
            )

    @classmethod
    def resolve_traits(cls, settings: CamSettings, traits: Traits) -> Traits:
        """One class: that of the data where they name one, else the image class that shows it."""
        return traits_of_object(settings.shown, traits)

    @property
    def classifier(self) -> Classifier:
        """The classifier that it is built on."""
        return self.classifier_used[0]

    @property
    def preprocessing(self) -> Preprocessing:
        """As of the classifier."""
        return self.classifier.preprocessing

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """The kind and the level of the settings, unless something else is asked."""
        of, asked = self.settings, CamOptions.of(dict(options))
        own = ("kind", "level", "largest", "gate")
        chosen = {name: getattr(of, name) if getattr(asked, name) is None else getattr(asked, name) for name in own}
        return super().segment_options(asked.model_copy(update=chosen))

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """Above one half where the map exceeds Otsu's threshold of its image, which sees the whole of it."""
        options = CamOptions.of(dict(self.segment_options(inference.options)))
        small = torch.cat([self.activation(batch.image[row : row + 1], options) for row in range(len(batch.image))])
        evidence = F.interpolate(small, batch.image.shape[2:], mode="bilinear", align_corners=False)
        mask = cut(evidence, batch.region, largest=bool(options.largest))
        likely = as_probabilities(evidence, mask, batch.region)
        if options.gate:
            shows = self.classifier.maps_and_logits(batch.image)[1].softmax(1)[:, self.places].sum(1) >= options.gate
            likely = likely * shows.view(-1, 1, 1, 1)
        return Segmentation(probabilities=likely, maps={"evidence": evidence})

    def activation(self, image: Tensor, options: CamOptions) -> Tensor:
        """The map (1, 1, h, w) of one image (1, C, H, W), on the grid of the feature maps.

        Raises:
            SettingsError: the classifier has no such level.
        """
        level = options.level or 0
        with torch.enable_grad():
            maps, logits = self.classifier.maps_and_logits(image.detach().requires_grad_())
            if level >= len(maps):
                raise SettingsError(f"the level is {level}; the classifier has the levels 0 to {len(maps) - 1}")
            chosen = maps[-1 - level]
            if options.kind == "score-cam":
                chosen = chosen.detach()
            else:
                (gradient,) = torch.autograd.grad(self._score(logits).sum(), chosen)
                return BY_GRADIENT[options.kind or "grad-cam"](chosen, gradient).detach()
        with torch.no_grad():
            return score_cam(lambda seen: self._score(self.classifier.maps_and_logits(seen)[1]), image, chosen)

    @property
    def places(self) -> list[int]:
        """The numbers of the image classes that show the object, as the classifier counts them."""
        return [self.classifier.traits.image_classes.index(name) for name in self.settings.shown]

    def _score(self, logits: Tensor) -> Tensor:
        return logits[:, self.places].amax(1)
