"""DKM: a segmenter of the frame before the contrast agent, helped by what a diffusion model knows of later ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.results import Segmentation
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step, Total
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.losses.overlap import batch_dice_loss, cross_entropy, overlap_sums, probabilities_of
from scantling.methods.catalogue import CARDS
from scantling.methods.features.dkm_settings import DkmSettings
from scantling.methods.features.kinetics import DkmKinetics
from scantling.methods.features.source import OnFeatures
from scantling.networks.first_answer import begin_at_shares
from scantling.networks.kinetic_unet import KineticUNet, together

STAGES: Mapping[int, int] = {1: 17, 2: 13, 3: 10, 4: 7}
"""The stages f1 to f4 among the 18 blocks of guided-diffusion's decoder: the last of each level in the level's size."""
TIMESTEP = 50
"""Of 1000; the paper does not say where features are read."""


class Dkm(Segmenter, OnFeatures):
    r"""Segmentation with a latent kinetic code (Lv et al., 2023): maps of a diffusion model in a U-Net's encoder.

    .. math:: \hat f = [\mathrm{ReLU}(\mathrm{BN}(W * f_{DM})); f_{SM}]

    The diffusion model is a `DkmKinetics`, which was trained on frames before and after a contrast agent and is asked
    for the frame before it alone, or any other source of features. It is read at one timestep, with one noise for all
    images. The paper's loss is not known: cross-entropy and Dice over the batch, from the shares of the classes on, as
    `unet` has them: most slices of a volume are empty, and Dice of each by itself would teach to mark nothing.
    """

    card = CARDS["dkm"]
    Settings = DkmSettings
    settings: DkmSettings

    def __init__(self, settings: DkmSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        blocks = tuple(STAGES[stage] for stage in sorted(settings.stages))
        super().__init__(settings, traits, uses=uses, blocks=blocks, timestep=TIMESTEP)
        check_frame(traits, (uses or {}).get("encoder"))
        levels = len(settings.widths)
        self.levels = tuple(
            min(levels - 1, max(0, round(math.log2(max(1.0, smaller))))) for smaller in self.reader.smaller
        )
        codes = [0] * levels
        for level, channels in zip(self.levels, self.reader.channels, strict=True):
            codes[level] += channels
        exclusive = traits.labels is not None and traits.labels.exclusive
        classes = len(traits.classes)
        self.segmenter = KineticUNet(
            len(traits.channels),
            classes + 1 if exclusive and classes > 1 else classes,
            widths=settings.widths,
            codes=codes,
            norm=settings.norm,
        )
        begin_at_shares(self.segmenter.head, traits.foreground, exclusive=exclusive and classes > 1)

    @classmethod
    def resolve_traits(cls, settings: DkmSettings, traits: Traits) -> Traits:
        """The frames that are seen alone: no other is read, in training either."""
        return traits.only(settings.frames)

    def stages(self) -> Sequence[Stage]:
        """One stage; the encoder learns in it only if it is not frozen."""
        of, divisor = self.settings, 2 ** len(self.settings.widths)
        learning = [] if of.frozen else [each for each in (*self.uses.values(), self.network) if each is not None]
        player = Player(
            name="segmenter",
            modules=(self.segmenter, *learning),
            rate=of.rate,
            optimiser="adamw",
            weight_decay=of.weight_decay,
            schedule="one-cycle",
            clip=1.0,
            average=of.average,
        )
        stream = Stream(
            name="labelled",
            batch=of.batch,
            patch=tuple(-(-n // divisor) * divisor for n in self.median_shape[-2:]),
            foreground=of.foreground,
            augment=Augmentation(
                flips=of.flips,
                turns=False,
                rotation=of.rotation,
                zoom=of.zoom,
                warped=of.warped,
                brightness=of.jitter,
                contrast=of.jitter,
                gamma=of.jitter,
            ),
        )
        return (
            Stage(name="segmenter", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """Cross-entropy and Dice."""
        labelled = batch["labelled"]
        logits = self.logits(labelled, learning=not self.settings.frozen)
        found = probabilities_of(logits, len(self.traits.classes))
        sums = overlap_sums(found, labelled.mask, ignore_index=IGNORE).sum(1)  # (3, K)
        overlap = batch_dice_loss(sums, total=(yield Total(sums)), parts=step.slots)
        entropy = cross_entropy(logits, labelled.mask, ignore_index=IGNORE)
        yield "segmenter", {"overlap": overlap, "cross_entropy": entropy}

    def logits(self, batch: Batch, *, learning: bool = False) -> Tensor:
        """(B, K or K + 1, H, W) of a batch of the frames that are seen."""
        codes: list[list[Tensor]] = [[] for _ in self.settings.widths]
        for level, one in zip(self.levels, self.reader.maps(batch, learning=learning).values(), strict=True):
            codes[level].append(one.to(self.dtype))
        logits: Tensor = self.segmenter(batch.image, [together(maps) for maps in codes])
        return logits

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """Probabilities of the classes, from whole images."""
        del inference
        return Segmentation(probabilities=probabilities_of(self.logits(batch), len(self.traits.classes)))


def check_frame(traits: Traits, encoder: Method | None) -> None:
    """Make sure that a kinetic module is shown the frame that it leads from, and none of its later ones.

    Raises:
        SettingsError: what is seen is another frame of its sequence.
    """
    if not isinstance(encoder, DkmKinetics):
        return
    later = [name for name in encoder.settings.frames if name not in encoder.channels]
    if wrong := [name for name in traits.channels if name in later]:
        raise SettingsError(
            f"--settings.frames: found {wrong[0]!r}, a later frame of the model that --use encoder names, which leads "
            f"from {encoder.channels[0]!r}; name that one, or inject nothing: --settings.features none"
        )
