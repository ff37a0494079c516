"""The U-Net as a small, strong default that configures itself from the traits of the data."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from scantling import planning
from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.results import Segmentation
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step, Total
from scantling.core.case import IGNORE
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.losses.continuity import soft_cldice_loss
from scantling.losses.overlap import batch_dice_loss, cross_entropy, dice_loss, overlap_sums, probabilities_of
from scantling.losses.skeleton_recall import skeleton_recall_loss
from scantling.methods.catalogue import CARDS
from scantling.methods.features.factories import made_by
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.networks.encoded_unet import EncodedUNet
from scantling.networks.first_answer import begin_at_shares
from scantling.networks.unet import UNet

WORSE: Mapping[str, Any] = {"blur": 1.5, "low_resolution": 2.0, "noise": 0.2, "jpeg": 40}
"""How much worse the patches are made that are."""


class UNetSegmenter(Segmenter):
    """U-Net trained with cross-entropy and Dice on patches; answers with the mean over the views of its training.

    The last layer has one channel for each class, or one more for the background where several classes exclude
    each other.
    """

    card = CARDS["unet"]
    Settings = UNetSettings
    settings: UNetSettings
    begins_with: ClassVar[tuple[str, ...]] = ("masked-pretrain",)
    further_outputs: ClassVar[int] = 0
    """Channels beside those of the classes, for methods that are built on it."""
    views_by_default = True  # as nnU-Net does (Isensee et al., 2021), where validation does not say that they hurt

    def __init__(self, settings: UNetSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        classes = len(traits.classes)
        exclusive = traits.labels is not None and traits.labels.exclusive and classes > 1
        self.network = self.new_network(classes + exclusive + self.further_outputs)
        if settings.first_answer == "shares":
            begin_at_shares(self.network.head, traits.foreground, exclusive=exclusive)

    def new_network(self, outputs: int) -> UNet:
        """The network, with so many channels that come out."""
        return network_of(self.settings, self.traits, outputs)

    @property
    def preprocessing(self) -> Preprocessing:
        """Volumes on one grid, each image in units of its own deviation (or the data set's)."""
        return preprocessing_of(self.settings, self.traits)

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        of = self.settings
        player, stream = player_of(of, "unet", self.network), stream_of(of, self.traits, "labelled")
        return (Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """One move of the only player."""
        image, mask = batch["labelled"].image, batch["labelled"].mask
        yield "unet", (yield from self.loss_terms(self.network(image), mask, step))

    def loss_terms(self, logits: Tensor, mask: Tensor, step: Step) -> Generator[Total, Tensor, dict[str, Tensor]]:
        """Cross-entropy, and the terms that have a weight: Dice, soft clDice, Skeleton Recall.

        Takes logits (B, K or K + 1, *S) and what `Batch.mask` holds, (B, 1 or K, *S). Where masks know only some of
        several classes that exclude one another, they are layered: what is not known counts in no term but the
        cross-entropy, which takes the background and the unknown classes as one there.
        """
        of = self.settings
        found = self.probabilities(logits)  # (B, K, *S)
        terms = {"cross_entropy": cross_entropy(logits, mask, ignore_index=IGNORE)}
        if of.dice and of.dice_over == "batch":
            sums = overlap_sums(found, mask, ignore_index=IGNORE).sum(1)  # (3, K)
            terms["overlap"] = of.dice * batch_dice_loss(sums, total=(yield Total(sums)), parts=step.slots)
        elif of.dice:
            terms["overlap"] = of.dice * dice_loss(found, mask, ignore_index=IGNORE)
        if of.cldice:
            whole = soft_cldice_loss(found, mask, iterations=of.iterations, ignore_index=IGNORE)
            terms["continuity"] = of.cldice * whole
        if of.skeleton_recall:
            terms["skeleton_recall"] = of.skeleton_recall * skeleton_recall_loss(found, mask, ignore_index=IGNORE)
        return terms

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """Probabilities of the classes, from the whole image or from blended tiles."""
        return Segmentation(
            probabilities=inference.tile(lambda tile: self.probabilities(self.network(tile)), batch.image)
        )

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The last feature map (B, widths[0], *S) and the probabilities (B, K, *S)."""
        last = self.network.features(image)
        return last, self.probabilities(self.network.head(last))

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, K, *S) of the foreground classes."""
        return probabilities_of(logits, len(self.traits.classes))


def network_of(settings: UNetSettings, traits: Traits, outputs: int) -> UNet:
    """The network of resolved settings, for images of these traits, with so many channels that come out."""
    traits = settings.seen(traits)
    patch, widths = settings.patch or traits.shape, settings.widths or (settings.width,)
    strides: Sequence[Sequence[int]] = (
        settings.strides or planning.levels_of(patch, settings.spacing or traits.spacing, most=len(widths) - 1)[0]
    )  # models of earlier versions do not say
    if settings.encoder is not None:
        return EncodedUNet(
            made_by(settings.encoder, flag="--settings.encoder"), settings.layers, len(traits.channels), outputs,
            width=widths[0], norm=settings.norm, dropout=settings.dropout or 0.0,
        )  # fmt: skip
    return UNet(
        len(traits.channels),
        outputs,
        widths=widths[: len(strides) + 1],
        strides=strides,
        kernels=settings.kernels,
        norm=settings.norm,
        dropout=settings.dropout or 0.0,
        narrow=settings.narrow,
    )


def preprocessing_of(settings: UNetSettings, traits: Traits) -> Preprocessing:
    """On which grid and in which units images are seen."""
    return Preprocessing(
        dimensions=settings.seen(traits).dimensions,
        normalise=settings.normalise or "image",
        spacing=settings.spacing,
        size=None if settings.size is None else (settings.size,) * 2,
        longest=settings.longest,
    )


def player_of(settings: UNetSettings, name: str, *modules: nn.Module) -> Player:
    """Who trains the network, and how."""
    return Player(
        name=name, modules=modules, rate=settings.rate, optimiser="adamw", weight_decay=settings.weight_decay,
        schedule="one-cycle", clip=1.0, average=settings.average,
    )  # fmt: skip


def stream_of(settings: UNetSettings, traits: Traits, name: str) -> Stream:
    """Patches of images with masks, changed at random."""
    of, seen = settings, settings.seen(traits)
    return Stream(
        name=name,
        layered=traits.partly_known and len(traits.classes) > 1,
        batch=of.batch or 1,
        patch=of.patch,
        foreground=of.foreground,
        augment=Augmentation(
            flips=of.flips or False,
            ignore_sides=_more(of.flips or False, seen.mirrored),
            turns=seen.dimensions == 2,
            rotation=of.rotation or 0.0,
            zoom=of.zoom or 0.0,
            warped=of.warped or 0.0,
            brightness=of.jitter or 0.0,
            contrast=of.jitter or 0.0,
            gamma=of.jitter or 0.0,
            degraded=of.degraded or 0.0,
            **(WORSE if of.degraded else {}),
            spacing=of.spacing,
        ),
    )


def _more(flips: bool | tuple[bool, ...], free: Sequence[bool]) -> bool:
    """Whether the user has asked for mirroring along axes that are not free."""
    flipped = (flips,) * len(free) if isinstance(flips, bool) else flips
    return any(flip and not may for flip, may in zip(flipped, free, strict=False))
