"""FEDD: small heads on what a frozen diffusion model knows, for segmentation and for image classes from few labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.capabilities import Classifier, Segmenter
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Classification, Segmentation
from scantling.contract.stage import Game, Player, Prepared, Stage
from scantling.contract.step import Inference, Step, Total
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Stream
from scantling.losses.overlap import cross_entropy, probabilities_of
from scantling.methods.catalogue import CARDS
from scantling.methods.features.fedd_settings import FeddClassifierSettings, FeddSettings
from scantling.methods.features.heads import ImageHead, PixelHead, disagreement, pooled
from scantling.methods.features.source import OnFeatures

VISITS = 4
"""After so many visits of as many pixels as there are, a head may stop (Baranchuk et al., 2022, their code)."""
BLOCKS, TIMESTEP = (6, 8), 100
"""Of the segmenter (Carrión and Norouzi, 2023), of 18 blocks and 1000 timesteps."""
POOLED = "pooled"
HIGHEST = 1e30
"""Above any loss."""


class Fedd(Segmenter, OnFeatures):
    r"""Few-label segmentation on frozen diffusion features (Carrión and Norouzi, 2023; Baranchuk et al., 2022).

    .. math:: p_n(i) = \mathrm{MLP}_n([\mathrm{up}(f_b(x_t))_i]_{b, t}), \quad x_t = \sqrt{\bar\alpha_t} x
              + \sqrt{1 - \bar\alpha_t} \epsilon

    with one ε for all images; the heads n vote on a pixel i. Departure from the authors' code: maps stay at their own
    size, and pixels are drawn anew at each step instead of all being held in memory and shuffled.
    """

    card = CARDS["fedd"]
    Settings = FeddSettings
    settings: FeddSettings
    draws = True  # a sample is a head

    lowest: Tensor
    stalled: Tensor

    def __init__(self, settings: FeddSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses, blocks=BLOCKS, timestep=TIMESTEP)
        outputs = len(traits.classes) + self.exclusive
        heads = [
            PixelHead(self.reader.width, outputs, hidden=settings.hidden or (), norm=settings.norm)
            for _ in range(settings.heads)
        ]
        self.heads = nn.ModuleList(heads)
        self.register_buffer("lowest", torch.full((settings.heads,), HIGHEST))
        self.register_buffer("stalled", torch.zeros(settings.heads))

    def stages(self) -> Sequence[Stage]:
        """One stage; each head is a player of its own."""
        of = self.settings
        pixels = Stream(
            name="pixels",
            reads=("image", "mask", *self.reader.names),
            batch=of.batch,
            pixels=of.pixels * of.heads,
        )
        players = [
            Player(name=f"head {n}", modules=(head,), rate=of.rate) for n, head in enumerate(self.heads, start=1)
        ]
        stage = Stage(
            name="heads",
            players=tuple(players),
            streams=(pixels,),
            steps=of.steps,
            objectives=self.objectives,
            prepares=(self.reader.prepared(reads=("image", "mask")),),
            stepped=self.look if of.patience else None,
        )
        return (stage,)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The cross-entropy of each head on pixels of its own; one that has stopped is left as it is."""
        pixels, losses = batch["pixels"], dict[int, Tensor]()
        x, mask = self.reader.stacked(pixels.fields).to(self.dtype), pixels.mask
        for n, (head, seen, true) in enumerate(
            zip(self.heads, x.chunk(len(self.heads), 2), mask.chunk(len(self.heads), 2), strict=True)
        ):
            if self.settings.patience and self.stalled[n] > self.settings.patience:
                continue
            loss = cross_entropy(head(seen)[..., None], true[..., None], ignore_index=IGNORE)
            if self.settings.patience:
                losses[n] = (yield Total(loss.detach())) / step.slots
            yield f"head {n + 1}", {f"head {n + 1}": loss}
        return losses

    def look(self, step: Step, returned: Sequence[Any]) -> None:
        """Count for each head the steps since its loss was lowest, from the fifth visit of the pixels on."""
        images = self.traits.slices().labelled
        of_all = images * math.prod(self.median_shape[-2:])
        if step.number * self.settings.batch * self.settings.pixels < VISITS * of_all:
            return
        for n, loss in returned[0].items():
            lower = bool(loss < self.lowest[n])
            self.stalled[n] = 0 if lower else self.stalled[n] + 1
            if lower:
                self.lowest[n] = loss

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """All heads, which vote, unless fewer or another rule are asked for.

        Raises:
            SettingsError: there are not so many heads.
        """
        options = (
            super()
            .segment_options(options.model_copy(update={"samples": None}))
            .model_copy(update={"samples": options.samples, "fuse": options.fuse or "vote"})
        )
        if (options.samples or 1) > len(self.heads):
            raise SettingsError(f"--samples {options.samples}: this {self.card.name} has {len(self.heads)} heads")
        return options.model_copy(update={"samples": options.samples or len(self.heads)})

    def calls(self, options: SegmentOptions) -> int:
        """One for each timestep; heads cost little."""
        del options
        return max(1, len(self.settings.timesteps))

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """The probabilities of each head as samples (N, B, K, *S), and how far the heads disagree."""
        maps, size = list(self.reader(batch).values()), batch.image.shape[2:]
        asked = self.segment_options(inference.options).samples
        heads = [head for head in self.heads if isinstance(head, PixelHead)][:asked]
        samples = torch.stack([probabilities_of(head.on_maps(maps, size), len(self.traits.classes)) for head in heads])
        divided = disagreement(samples, exclusive=self.exclusive)
        return Segmentation(samples=samples, uncertainty={"disagreement": divided})

    @property
    def exclusive(self) -> bool:
        """Whether classes exclude each other, so that the background is one more."""
        return self.traits.labels is None or self.traits.labels.exclusive


class FeddClassifier(Classifier, OnFeatures):
    """Image classes on one block of a frozen diffusion model (Carrión and Norouzi, 2023).

    The map of a block at t = 0 is pooled to 512 numbers, on which a perceptron learns. Which block, follows from how
    many labelled images there are, as read off the paper's figure.
    """

    card = CARDS["fedd-classifier"]
    Settings = FeddClassifierSettings
    settings: FeddClassifierSettings

    def __init__(
        self, settings: FeddClassifierSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses, blocks=(block_for(traits.classified),), timestep=0)
        inputs = len(self.reader.names) * 512
        self.head = ImageHead(inputs, len(traits.image_classes), norm=settings.norm)

    def stages(self) -> Sequence[Stage]:
        """One stage on numbers that are prepared once."""
        of = self.settings
        player = Player(name="head", modules=(self.head,), rate=of.rate, weight_decay=of.weight_decay)
        reads = ("image", "image_class")
        images = Stream(name="images", reads=(*reads, POOLED), batch=of.batch, pixels=1)
        stage = Stage(
            name="head",
            players=(player,),
            streams=(images,),
            steps=of.steps,
            objectives=self.objectives,
            prepares=(Prepared(name=POOLED, kind="image", make=self.pool, reads=reads),),
        )
        return (stage,)

    def pool(self, batch: Batch, step: Step) -> Tensor:
        """512 numbers of each map, (B, D, 1, 1): one pixel that covers the image."""
        del step
        return torch.cat([pooled(one) for one in self.reader(batch).values()], 1)[..., None, None]

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The cross-entropy of the image classes."""
        images = batch["images"]
        logits = self.head(images.fields[POOLED][..., 0].to(self.dtype))
        yield "head", {"cross_entropy": F.cross_entropy(logits, images.image_class)}

    def classify(self, batch: Batch, inference: Inference) -> Classification:
        """The probabilities of the image classes."""
        numbers = torch.cat([pooled(one) for one in self.reader(batch).values()], 1)
        return Classification(probabilities=self.head(numbers.to(self.dtype)).float().softmax(1))


def block_for(images: int) -> int:
    """Of 18 blocks the one for so many labelled images, as read off the figure of Carrión and Norouzi (2023)."""
    return next((block for most, block in ((30, 4), (60, 6), (90, 12)) if images <= most), 10)
