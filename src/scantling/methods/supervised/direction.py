"""The direction layer: a segmenter's own features say which way a vessel runs, and its mask grows along it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Segmentation
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage, frozen
from scantling.contract.step import Inference, Step, Total
from scantling.core.case import IGNORE
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.losses.continuity import soft_cldice_loss
from scantling.losses.orientation import crossing, mask_structure, trace
from scantling.losses.overlap import binary_cross_entropy, dice_loss
from scantling.mending.anisotropic import Diffusion, diffuse, diffuse_tensors
from scantling.methods.catalogue import CARDS
from scantling.networks.unet import CONV

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]

FAINT = 1e-6
"""The length below which a vector has less and less of a direction, and none at 0."""


class DirectionSettings(Settings):
    """Settings of `direction`. The defaults are those of the slides and, where they are silent, of their author's code.

    Attributes:
        steps: of training: the slides' 40 times 10 updates.
        batch: patches a step.
        pixels: of a patch, a square or a cube, cut to what the images have room for.
        kernel: the side k of the convolution.
        iterations: N, steps of the diffusion; what answers uses it as it stands with the model.
        step: Δt.
        parallel: λ∥, the conductivity along the direction.
        perpendicular: λ⊥, the conductivity across it.
        length: of the vectors: "unit" as in the slides, or "bounded" by 1, so that the layer can also say that
            nothing is to be done at a pixel (v |v|⁻¹ tanh |v|; ours).
        integrator: "rk4" as in the slides, or "euler".
        coarse: Δt in training, where longer steps reach the same time N Δt in fewer; None: as in answers.
        cross_entropy: weight of the cross-entropy of the mended probabilities.
        dice: weight of their Dice loss.
        cldice: weight of their soft clDice loss; the slides' other loss is (1 - a) of Dice and a of this.
        crossing: weight of the loss of directions that cross the true vessels (`losses.orientation`); ours.
        skeleton: iterations of the skeletons of clDice, at least the largest radius of a vessel in pixels.
        foreground: the share of patches centred on a labelled pixel.
    """

    steps: Positive = 400
    batch: Positive = 64
    rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Weight = 1e-5
    pixels: Positive = 512 * 512
    kernel: Literal[1, 3, 5, 7, 9, 11, 13] = 9
    iterations: Positive = 100
    step: Annotated[float, Field(gt=0)] = 0.1
    parallel: Weight = 1.0
    perpendicular: Weight = 0.0
    length: Literal["unit", "bounded"] = "unit"
    integrator: Literal["rk4", "euler"] = "rk4"
    coarse: Annotated[float, Field(gt=0)] | None = None
    cross_entropy: Weight = 1.0
    dice: Weight = 0.0
    cldice: Weight = 0.0
    crossing: Weight = 0.0
    skeleton: Positive = 10
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "batch": 4,
            "pixels": 128 * 128,
            "rate": 1e-3,
            "coarse": 0.25,
            "foreground": 0.33,
            "crossing": 1.0,
            "length": "bounded",
        },
        "tiny": {
            "steps": 4,
            "batch": 2,
            "pixels": 64 * 64,
            "rate": 2e-2,
            "kernel": 5,
            "iterations": 20,
            "integrator": "euler",
            "coarse": 0.2,
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Refuse data without classes and a training without a loss."""
        if traits.labels is None:
            raise SettingsError("direction needs masks to know its classes; the training data have none")
        if not (self.cross_entropy or self.dice or self.cldice):
            raise SettingsError(
                "--settings.cross_entropy, dice and cldice are all 0; give at least one of them a weight"
            )
        return self

    @property
    def diffusion(self) -> Diffusion:
        """How an answer is mended."""
        return Diffusion(
            iterations=self.iterations,
            step=self.step,
            parallel=self.parallel,
            perpendicular=self.perpendicular,
            integrator=self.integrator,
        )

    @property
    def learning(self) -> Diffusion:
        """The diffusion that gradients go through: to the same time, in steps of `coarse` or a little less."""
        if self.coarse is None or self.coarse <= self.step:
            return self.diffusion
        time = self.iterations * self.step
        count = math.ceil(round(time / self.coarse, 6))
        return self.diffusion.model_copy(update={"iterations": count, "step": time / count})


class DirectionMender(Segmenter):
    r"""One convolution on the features of a frozen segmenter; its probabilities are diffused along what it says.

    .. math:: v = \frac{w * F}{|w * F|}, \quad D = \lambda_\parallel v v^T + \lambda_\perp (I - v v^T), \quad
              \partial u / \partial t = \mathrm{ReLU}(\nabla \cdot (D \nabla u))

    (Sano, 2025), with a field v for each class, where the slides have one class. Departures from the author's code,
    where it is wrong: the segmenter stays in evaluation mode, so that its batch norm does not drift, and the
    cross-entropy takes the diffused probabilities for what they are, not for logits.
    """

    card = CARDS["direction"]
    Settings = DirectionSettings
    settings: DirectionSettings

    def __init__(
        self, settings: DirectionSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        base = (uses or {}).get("segmenter")
        if not isinstance(base, Segmenter):
            raise SettingsError("direction is built on a model that segments; name its run with --use segmenter=RUN")
        _check_match(base, traits)
        # the base must see its images in the units that it was trained in
        units = {name: getattr(base.traits, name) for name in ("intensity", "foreground_intensity")}
        super().__init__(settings, traits.model_copy(update=units), uses=uses)
        dimensions = base.preprocessing.dimensions
        for diffusion in (settings.diffusion, settings.learning):
            diffusion.check(dimensions)
        weight = next(base.parameters())
        features, _ = self.seen(weight.new_zeros((1, len(traits.channels), *(16,) * dimensions)))
        self.layer = CONV[dimensions](
            features.shape[1], len(traits.classes) * dimensions, settings.kernel, padding=settings.kernel // 2
        )

    @property
    def base(self) -> Segmenter:
        """The segmenter that it is built on."""
        return cast(Segmenter, self.uses["segmenter"])

    @property
    def preprocessing(self) -> Preprocessing:
        """The base's."""
        return self.base.preprocessing

    def stages(self) -> Sequence[Stage]:
        """One stage, in which only the layer learns."""
        of = self.settings
        player = Player(
            name="direction",
            modules=(self.layer,),
            rate=of.rate,
            weight_decay=of.weight_decay,
            schedule="cosine",
        )
        stream = Stream(
            name="labelled",
            batch=of.batch,
            patch=_patch(self.traits, self.preprocessing, of.pixels),
            foreground=of.foreground,
            augment=Augmentation(flips=True, turns=True, spacing=self.preprocessing.spacing),
        )
        return (Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The terms that have a weight, of the mended probabilities: cross-entropy, Dice, soft clDice."""
        labelled, of = batch["labelled"], self.settings
        if of.crossing:
            structure = mask_structure(labelled.mask, len(self.traits.classes), dtype=self.dtype, ignore_index=IGNORE)
            change = yield Total(trace(structure))
        features, probabilities = self.seen(labelled.image)  # (B, F, *S), (B, K, *S)
        vectors = self._vectors(self.layer(features))  # (B, K, D, *S)
        mended = self.mended(probabilities, self.directed(vectors), how=of.learning)
        terms = {}
        if of.cross_entropy:
            terms["cross_entropy"] = of.cross_entropy * binary_cross_entropy(mended, labelled.mask, ignore_index=IGNORE)
        if of.dice:
            terms["overlap"] = of.dice * dice_loss(mended, labelled.mask, ignore_index=IGNORE)
        if of.cldice:
            whole = soft_cldice_loss(mended, labelled.mask, iterations=of.skeleton, ignore_index=IGNORE)
            terms["continuity"] = of.cldice * whole
        if of.crossing:
            terms["crossing"] = of.crossing * step.mean(crossing(unit(vectors), structure), change)
        yield "direction", terms

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """Steps are those of the diffusion."""
        return (
            super()
            .segment_options(options.model_copy(update={"steps": None}))
            .model_copy(update={"steps": options.steps})
        )

    def calls(self, options: SegmentOptions) -> int:
        """One a sample: steps are those of the diffusion."""
        return options.samples or 1

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """The base's probabilities, mended over the whole canvas at once; `maps` hold the directions (B, K D, *S).

        Where the canvas is tiled, probabilities and vectors are blended, and vectors become directions after it.
        """

        def network(tile: Tensor) -> Tensor:
            with torch.no_grad():  # and not frozen: samples are those of the base's dropout, left on
                features, probabilities = self.base.features(tile)
            return torch.cat([probabilities, self.layer(features)], 1)

        probabilities, vectors = inference.tile(network, batch.image).tensor_split([len(self.traits.classes)], 1)
        direction = self.directed(self._vectors(vectors))
        how = self.settings.diffusion
        if inference.options.steps is not None:
            how = how.model_copy(update={"iterations": inference.options.steps})
        mended = self.mended(probabilities, direction, how=how)
        return Segmentation(probabilities=mended, maps={"direction": direction.flatten(1, 2)})

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """The directions of the first class in an image: the hue is the angle, the brightness the probability."""
        if self.preprocessing.dimensions != 2 or batch.image.ndim != 4:
            return {}
        answer = self.segment(batch, inference)
        if answer.probabilities is None:
            return {}
        down, right = answer.maps["direction"][0, :2]
        twice = 2 * torch.atan2(down, right)  # v and -v are one direction
        thirds = torch.tensor([0.0, -1.0, 1.0], device=twice.device).view(3, 1, 1) * (2 * torch.pi / 3)
        colour = (1 + torch.cos(twice + thirds)) / 2
        caption = "Learned directions: the hue is the angle (red along the rows), the brightness the mended probability"
        return {caption: colour * answer.probabilities[0, :1]}

    def seen(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What is learned on: the base's features (B, F, *S) and probabilities (B, K, *S), in evaluation mode."""
        with frozen(self.base), torch.no_grad():
            return self.base.features(image)

    def directed(self, vectors: Tensor) -> Tensor:
        """What the mask is diffused along, of the layer's vectors (B, K, D, *S): of length 1, or at most 1."""
        if self.settings.length == "unit":
            return unit(vectors)
        vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32)).contiguous()
        length = vectors.square().sum(2, keepdim=True).add(FAINT**2).sqrt()
        return vectors * (length.tanh() / length)

    def mended(self, probabilities: Tensor, direction: Tensor, *, how: Diffusion) -> Tensor:
        """Diffuse each class along its own directions; exclusive classes that then exceed 1 together share it.

        Args:
            probabilities: (B, K, *S).
            direction: (B, K, D, *S), of length 1 at most.
            how: λ∥, λ⊥, Δt, N and the integrator.
        """
        u, v = probabilities.flatten(0, 1), direction.flatten(0, 1)  # (B K, *S), (B K, D, *S)
        if u.is_cpu and not v.requires_grad:
            pairs = zip(_array(u), _array(v), strict=True)
            maps = np.stack([diffuse(map_, along, settings=how) for map_, along in pairs])
            mended = torch.from_numpy(maps).to(probabilities.dtype)
        else:
            mended = diffuse_tensors(u[:, None], v, settings=how)
        mended = mended.view(probabilities.shape)
        labels = self.traits.labels
        if labels is not None and labels.exclusive and len(labels.names) > 1:
            mended = mended / mended.sum(1, keepdim=True).clamp(min=1)
        return mended

    def _vectors(self, channels: Tensor) -> Tensor:
        """(B, K, D, *S) of the layer's channels (B, K D, *S), in the order of the axes."""
        return channels.unflatten(1, (len(self.traits.classes), self.preprocessing.dimensions))


def unit(vectors: Tensor) -> Tensor:
    """Directions of vectors (B, K, D, *S): of length 1, fading to 0 for vectors shorter than `FAINT`."""
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32)).contiguous()
    return vectors / vectors.square().sum(2, keepdim=True).add(FAINT**2).sqrt()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().contiguous().numpy()


def _check_match(base: Segmenter, traits: Traits) -> None:
    """Refuse a base that was trained on other channels, classes or dimensions than the data have."""

    def described(facts: Traits) -> str:
        together = facts.labels is None or facts.labels.exclusive
        channels, classes = ", ".join(facts.channels), ", ".join(facts.classes) or "none"
        overlapping = "" if together else "overlapping "
        return f"{facts.dimensions}-D images with the channels {channels} and the {overlapping}classes {classes}"

    if described(base.traits) != described(traits):
        raise SettingsError(
            f"direction: the model to build on ({base.card.name}) was trained for {described(base.traits)}; the data "
            f"have {described(traits)}; name a model for such data with --use segmenter=RUN"
        )


def _patch(traits: Traits, preprocessing: Preprocessing, pixels: int) -> tuple[int, ...]:
    """A square or a cube of `pixels` pixels, cut to the images as the base takes them."""
    shape, spacing = list(traits.shape), list(traits.spacing)
    if preprocessing.dimensions < len(shape):
        shape.pop(traits.slice_axis)
        spacing.pop(traits.slice_axis)
    shape = list(preprocessing.grid(shape, spacing))
    side = round(pixels ** (1 / len(shape)))
    if len(shape) == 2:  # a square can be turned
        side = min(side, *shape)
    return tuple(min(side, n) for n in shape)
