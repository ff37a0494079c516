"""FR-UNet: vessels by a network that never leaves full resolution, with soft clDice as a choice of loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.results import Segmentation
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step
from scantling.core.case import IGNORE
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.losses.continuity import soft_cldice_loss
from scantling.losses.overlap import cross_entropy, dice_loss, probabilities_of
from scantling.losses.skeleton_recall import skeleton_recall_loss
from scantling.methods.catalogue import CARDS
from scantling.networks.fr_unet import DIVISOR, SMALLEST, FRUNet

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]

COLOUR = ("red", "green", "blue")
LUMA = (0.299, 0.587, 0.114)
"""The weights of the colours in grey (ITU-R BT.601)."""


class FRUNetSettings(Settings):
    """Settings of `fr-unet`. The defaults are the paper's on DRIVE, as its authors' code has them.

    Attributes:
        steps: of training. The paper's 40 epochs: on DRIVE its grid of stride 6 has 91 x 88 patches an image, 20
            images fill 312 batches of 512, the rest is dropped.
        batch: patches a step.
        optimiser: of the player, with `rate`, `weight_decay`, `schedule`, `clip` and `average`; see `Player`.
        widths: channels of the four rows.
        patch: the side of a patch; resolved to what the images have room for.
        grey: colour becomes one grey channel.
        normalise: "unit" scales each image to [0, 1]; the others as in `Preprocessing`.
        norm: "instance" where batches are small.
        dropout: on whole channels, after every convolution of a block.
        cross_entropy: weight of the cross-entropy.
        dice: weight of the Dice loss.
        cldice: weight of the soft clDice loss; beside Dice, (1 - a) and a are those of Shit et al. (2021).
        iterations: of the skeletons of clDice, at least the largest radius of a vessel in pixels.
        skeleton_recall: weight of the Skeleton Recall loss (Kirchhoff et al., 2024); no loss by itself, since it says
            nothing of what is marked too much.
        foreground: the share of patches centred on a labelled pixel.
        rotation: with `zoom` and `jitter`, beyond the flips and quarter turns of the paper; see `Augmentation`.
    """

    steps: Positive = 12_480
    batch: Positive = 512
    optimiser: Literal["adam", "adamw"] = "adam"
    rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Weight = 1e-5
    schedule: Literal["cosine", "one-cycle"] = "cosine"
    clip: Annotated[float, Field(gt=0)] | None = None
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    widths: tuple[Positive, Positive, Positive, Positive] = (32, 64, 128, 256)
    patch: Annotated[int, Field(ge=SMALLEST)] = 48
    grey: bool = True
    normalise: Literal["unit", "image", "dataset"] = "unit"
    norm: Literal["batch", "instance"] = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    cross_entropy: Weight = 1.0
    dice: Weight = 0.0
    cldice: Weight = 0.0
    iterations: Positive = 10
    skeleton_recall: Weight = 0.0
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.0
    rotation: Annotated[float, Field(ge=0)] = 0.0
    zoom: Annotated[float, Field(ge=0)] = 0.0
    jitter: Annotated[float, Field(ge=0)] = 0.0

    architecture: ClassVar[tuple[str, ...]] = ("widths", "norm")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {  # ours: the recipe of the U-Net on a narrow network
            "steps": 1000,
            "batch": 8,
            "optimiser": "adamw",
            "rate": 3e-3,
            "weight_decay": 1e-2,
            "schedule": "one-cycle",
            "clip": 1.0,
            "average": 0.99,
            "widths": (8, 16, 32, 64),
            "patch": 128,
            "grey": False,
            "normalise": "image",
            "dropout": 0.0,
            "dice": 0.5,
            "foreground": 0.33,
            "rotation": 30.0,
            "zoom": 0.2,
            "jitter": 0.2,
        },
        "tiny": {
            "steps": 4,
            "batch": 2,
            "rate": 1e-2,
            "widths": (4, 4, 6, 8),
            "patch": 32,
            "norm": "instance",
            "dropout": 0.0,
            "dice": 0.25,
            "cldice": 0.25,
            "iterations": 2,
            "average": 0.9,
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Fit the patch into the images, and decide whether there is colour to make grey."""
        if traits.labels is None:
            raise SettingsError("fr-unet needs masks to know its classes; the training data have none")
        if not (self.cross_entropy or self.dice or self.cldice):
            raise SettingsError(
                "--settings.cross_entropy, dice and cldice are all 0; give at least one of them a weight"
            )
        room = max(SMALLEST, min(traits.slices().shape) // DIVISOR * DIVISOR)
        return self.model_copy(update={"patch": min(self.patch, room), "grey": self.grey and traits.channels == COLOUR})


class FRUNetSegmenter(Segmenter):
    """FR-UNet trained on patches; answers with one forward pass."""

    card = CARDS["fr-unet"]
    Settings = FRUNetSettings
    settings: FRUNetSettings

    def __init__(self, settings: FRUNetSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        classes = len(traits.classes)
        exclusive = traits.labels is not None and traits.labels.exclusive
        self.network = FRUNet(
            1 if settings.grey else len(traits.channels),
            classes + 1 if exclusive and classes > 1 else classes,
            widths=settings.widths,
            norm=settings.norm,
            dropout=settings.dropout,
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """Images, or slices of volumes, on their own grid."""
        return Preprocessing(dimensions=2, normalise=self.settings.normalise)

    def stages(self) -> Sequence[Stage]:
        """One stage, one player; patches lie anywhere, where the paper's lie on a grid of stride 6."""
        of = self.settings
        player = Player(
            name="fr-unet",
            modules=(self.network,),
            rate=of.rate,
            optimiser=of.optimiser,
            weight_decay=of.weight_decay,
            schedule=of.schedule,
            clip=of.clip,
            average=of.average,
        )
        stream = Stream(
            name="labelled",
            batch=of.batch,
            patch=(of.patch, of.patch),
            foreground=of.foreground,
            augment=Augmentation(
                flips=True,
                turns=True,
                rotation=of.rotation,
                zoom=of.zoom,
                warped=0.3,
                brightness=of.jitter,
                contrast=of.jitter,
                gamma=of.jitter,
            ),
        )
        return (Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The terms that have a weight: cross-entropy, Dice, soft clDice, Skeleton Recall."""
        labelled, of = batch["labelled"], self.settings
        logits = self.network(self.shades(labelled.image))  # (B, K or K + 1, H, W)
        found = self.probabilities(logits)  # (B, K, H, W)
        terms = {}
        if of.cross_entropy:
            terms["cross_entropy"] = of.cross_entropy * cross_entropy(logits, labelled.mask, ignore_index=IGNORE)
        if of.dice:
            terms["overlap"] = of.dice * dice_loss(found, labelled.mask, ignore_index=IGNORE)
        if of.cldice:
            whole = soft_cldice_loss(found, labelled.mask, iterations=of.iterations, ignore_index=IGNORE)
            terms["continuity"] = of.cldice * whole
        if of.skeleton_recall:
            terms["skeleton_recall"] = of.skeleton_recall * skeleton_recall_loss(
                found, labelled.mask, ignore_index=IGNORE
            )
        yield "fr-unet", terms

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """Probabilities of the classes, from the whole image or from blended tiles."""
        image = self.shades(batch.image)
        return Segmentation(probabilities=inference.tile(lambda tile: self.probabilities(self.network(tile)), image))

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The map of the last block (B, widths[0], H, W) and the probabilities (B, K, H, W)."""
        maps = self.network.maps(self.shades(image))
        return maps["13"], self.probabilities(self.network.logits(maps))

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, K, H, W) of the foreground classes."""
        return probabilities_of(logits, len(self.traits.classes))

    def shades(self, image: Tensor) -> Tensor:
        """What the network reads, (B, 1 or C, H, W): in [0, 1] where the preprocessing is "unit", and grey if so set.

        The paper's z-score by data set and scaling to [0, 1] by image are scaling alone: both are affine, and
        the range of (x - mean) / deviation is mapped to [0, 1] as the range of x is.
        """
        if self.settings.normalise == "unit":
            image = (image + 1) / 2
        if self.settings.grey:
            image = image.mul(image.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        return image
