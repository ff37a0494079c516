"""ODISE: queries on what a frozen diffusion model knows become masks, which are compared with words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Objects, Segmentation
from scantling.contract.schedules import steps_down
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step, Total
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.losses.grounding import grounding_loss
from scantling.losses.mask_sets import (
    OVERSAMPLED,
    UNCERTAIN,
    Segments,
    label_sum,
    label_total,
    mask_terms,
    matched,
    uncertain_points,
)
from scantling.methods.catalogue import CARDS
from scantling.methods.features.odise_captions import told
from scantling.methods.features.odise_lexicon import Lexicon
from scantling.methods.features.odise_objects import likely, overlapping, panoptic, segments_of, semantic
from scantling.methods.features.odise_settings import OdiseOptions, OdiseSettings
from scantling.methods.features.odise_words import nouns_of
from scantling.methods.features.source import OnFeatures
from scantling.methods.supervised.gland_objects import painted
from scantling.networks.mask_queries import MaskDecoder, MaskEmbedding, Masks
from scantling.networks.pixel_decoder import FeatureAdapters, PixelDecoder

BLOCKS, TIMESTEP = (4, 7, 10, 13), 0
"""Of 18 blocks for images of 256²: maps of 16, 32, 64 and 128 cells a side, as those of the paper (ours); its t = 0."""
DROPS = (0.889, 0.963)
"""The shares of the training at which the rate falls to a tenth (Xu et al., 2023, their code)."""


class Odise(Segmenter, OnFeatures):
    r"""Panoptic segmentation on frozen diffusion features (Xu et al., 2023), with the queries of Mask2Former.

    .. math:: p_i(c) \propto \exp(s \cos(z_i, T(c))), \quad
              z_i = \mathrm{MLP}(\mathrm{pool}(F, m_i) + q_i)

    Departures: T is learned where there is no text encoder; the background is a class of its own where classes exclude
    one another; points are shared by the segments and the layers of an image.
    """

    card = CARDS["odise"]
    Settings = OdiseSettings
    settings: OdiseSettings
    segment_with = OdiseOptions

    def __init__(self, settings: OdiseSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses, blocks=BLOCKS, timestep=TIMESTEP)
        of = self.settings
        if of.text is not None and self.preprocessing.normalise != "unit":
            raise SettingsError(
                f"--settings.text {of.text}: CLIP looks at images scaled by their range, and the model of --use "
                f"encoder scales them by {self.preprocessing.normalise!r}; name another one, or leave the text out"
            )
        self.lexicon = Lexicon(
            traits.classes, background=self.exclusive, width=of.words, text=of.text,
            captions=of.supervision == "captions",
        )  # fmt: skip
        heard = told(self.network, of, self.lexicon, channels=len(traits.channels))
        self.captioner, self.prompts, self.reader = heard.captioner, heard.prompts, heard.reader or self.reader
        self.settings = of = of.model_copy(update={"captioner": heard.kind})
        if of.tile is not None:
            self.reader.in_tiles(of.tile)
        self.finds_objects = of.objects_from != "mask"  # type: ignore[misc]  # what it answers follows from that
        self.adapters = FeatureAdapters(self.reader.channels, self.reader.smaller, width=of.adapters)
        self.pixels = PixelDecoder(
            of.adapters, len(self.adapters.strides), width=of.width, layers=of.encoder_layers, heads=of.heads,
            points=of.encoder_points, inner=of.encoder_inner,
        )  # fmt: skip
        self.queries = MaskDecoder(
            of.width, queries=of.queries, levels=self.pixels.attended, layers=of.query_layers, heads=of.heads,
            inner=of.inner,
        )  # fmt: skip
        self.embedding = MaskEmbedding(of.width, self.lexicon.width)

    @property
    def exclusive(self) -> bool:
        """Whether classes exclude each other, so that the background is one more."""
        return self.traits.labels is None or self.traits.labels.exclusive

    def stages(self) -> Sequence[Stage]:
        """One stage, one player: all but the frozen network."""
        of = self.settings
        optional = [each for each in (self.captioner, self.lexicon.objectness) if each is not None]
        learned = (self.adapters, self.pixels, self.queries, self.embedding, self.lexicon.words, *optional)
        player = Player(
            name="masks", modules=learned, rate=of.rate, optimiser="adamw", weight_decay=of.weight_decay,
            schedule=partial(steps_down, at=DROPS), warmup=of.warmup, clip=of.clip,
        )  # fmt: skip
        stream = Stream(
            name="tiles", reads=("image", "instances" if of.objects_from == "instances" else "mask"), batch=of.batch,
            patch=self.patch, augment=Augmentation(flips=of.flips, turns=of.turns, zoom=of.zoom),
        )  # fmt: skip
        return (
            Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),
        )  # fmt: skip

    @property
    def patch(self) -> tuple[int, int]:
        """The whole image where all have one size, else a square."""
        if self.preprocessing.size is not None:
            return self.preprocessing.size[0], self.preprocessing.size[1]
        return (self.settings.patch or self.preprocessing.longest or max(self.median_shape[-2:]),) * 2

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """Class and masks after every layer, over the segments of the whole step."""
        tiles, of = batch["tiles"], self.settings
        truth = segments_of(tiles, len(self.traits.classes), objects_from=of.objects_from, background=self.exclusive)
        nouns = list[tuple[str, ...]]()
        if self.lexicon.objectness is not None:  # of a segment only that it is one
            truth = [replace(each, classes=torch.zeros_like(each.classes)) for each in truth]
            nouns = [nouns_of(*each) for each in zip(tiles.ids, tiles.captions, strict=True)]
        segments = [len(each.classes) for each in truth]
        labels = sum(
            label_total(count, of.queries, nothing=of.nothing)
            for count, each in zip(segments, truth, strict=True)
            if each.known.any()
        )
        total = yield Total(torch.tensor([sum(segments), labels], dtype=torch.float64, device=tiles.image.device))
        drawn = [
            step.rand(purpose, like=tiles.image.new_empty(len(truth), count, 2))
            for purpose, count in (
                ("matching", of.points),
                ("candidates", OVERSAMPLED * of.points),
                ("others", of.points - round(UNCERTAIN * of.points)),
            )
        ]
        said, features = self.said(tiles)
        sums = dict.fromkeys(("class", "mask", "dice"), torch.zeros((), device=tiles.image.device))
        grounding = list[Tensor]()
        for each in said:
            z = self.embedding(each, features)
            if self.lexicon.objectness is None:
                logits = exact(self.lexicon(z))
            else:
                logits = exact(self.lexicon.objectness(z))
                grounding.append(grounding_loss(self.lexicon.agreements(z, nouns)))
            for row, one in enumerate(truth):
                points = (drawn[0][row], drawn[1][row], drawn[2][row])
                for name, value in self.terms(logits[row], exact(each.logits[row]), one, points).items():
                    sums[name] = sums[name] + value
        weights = {"class": of.label, "mask": of.mask, "dice": of.dice}
        counts = {"class": total[1], "mask": total[0].clamp(min=1), "dice": total[0].clamp(min=1)}
        terms = {name: weights[name] * step.mean(value, counts[name]) for name, value in sums.items()}
        yield "masks", terms | ({"grounding": of.grounding * torch.stack(grounding).sum()} if grounding else {})

    def terms(
        self, labels: Tensor, logits: Tensor, truth: Segments, points: tuple[Tensor, Tensor, Tensor]
    ) -> dict[str, Tensor]:
        """The sums of the terms of one image after one layer; of an image of which nothing is known they are 0.

        Args:
            labels: (Q, K + 1).
            logits: (Q, h, w) of the masks.
            points: of the matching, candidates for the least certain ones, others.
        """
        of = self.settings
        if not truth.known.any():
            return dict.fromkeys(("class", "mask", "dice"), 0 * (labels.sum() + logits.sum()))
        queries, numbers = matched(labels.softmax(1)[:, truth.classes], logits, truth, points[0], weights=of.weights)
        terms = {"class": label_sum(labels, truth.classes[numbers], queries, nothing=of.nothing)}
        found, masks = logits[queries], truth.masks[numbers]
        at = uncertain_points(found, points[1], points[2]) if len(found) else points[0]
        terms["mask"], terms["dice"] = mask_terms(found, masks, truth.known, at)
        return terms

    def said(self, batch: Batch) -> tuple[list[Masks], Tensor]:
        """What the queries say of images after each layer, and the mask features (B, C, h, w)."""
        through = self.captioner is not None and torch.is_grad_enabled()
        maps = [one.to(self.dtype) for one in self.reader.maps(batch, through=through).values()]
        attended, features = self.pixels(self.adapters(maps))
        return self.queries(attended, features), features

    def answered(self, image: Tensor, options: OdiseOptions, captions: tuple[str, ...] = ()) -> tuple[Tensor, Tensor]:
        """The probabilities (B, Q, K + 1) of the classes of each mask, and the logits (B, Q, h, w) of the masks."""
        none = torch.zeros(len(image), dtype=torch.int64, device=image.device)
        said, features = self.said(Batch(none, none, {"image": image}, captions=captions))
        z, logits = self.embedding(said[-1], features), exact(said[-1].logits)
        return self.lexicon.probabilities(z, image, logits.sigmoid(), options), logits

    def labels_of(self, options: SegmentOptions) -> Labels | None:
        """The classes of its training, or those of the vocabulary of the options."""
        chosen = OdiseOptions.of(dict(options))
        return self.lexicon.vocabulary(chosen).labels if chosen.vocabulary else self.traits.labels

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """See `Segmenter.segment_options`; what was learnt on validation cases is not for a vocabulary.

        Raises:
            SettingsError: as there, or the vocabulary cannot be.
        """
        chosen = OdiseOptions.of(dict(options))
        self.lexicon.vocabulary(chosen)
        resolved = super().segment_options(options)
        return resolved.model_copy(update={"postprocess": False}) if chosen.vocabulary else resolved

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """The probabilities of the classes (B, K, H, W), or the objects of each image and their mask."""
        options = OdiseOptions.of(dict(inference.options))
        if not self.finds_objects:
            look = partial(self.probabilities, options=options, captions=batch.captions[:1])  # of one case
            return Segmentation(probabilities=inference.tile(look, batch.image))
        rows, size = range(len(batch.image)), tuple(batch.image.shape[2:])
        found = list[Objects]()
        for row in rows:
            look_for = partial(self.find, options=options, captions=batch.captions[row : row + 1])
            found.append(inference.find(look_for, batch.image[row : row + 1]))
        maps = [painted(each, self._things(options), size) for each in found]
        layers = torch.stack([layer for _, layer in maps])
        decision = (layers.byte().argmax(1, keepdim=True) + 1) * layers.any(1, keepdim=True)
        return Segmentation(
            probabilities=torch.stack([scores for scores, _ in maps]),
            decision=(decision if self.exclusive else layers).to(torch.uint8), instances=found,
        )  # fmt: skip

    def probabilities(self, image: Tensor, *, options: OdiseOptions, captions: tuple[str, ...] = ()) -> Tensor:
        """The probabilities (B, K, H, W) of the classes, the background left out."""
        classes, logits = self.answered(image, options, captions)
        found = semantic(classes[..., :-1], logits, tuple(image.shape[2:]))
        if self.exclusive:
            return (found / found.sum(1, keepdim=True).clamp(min=1e-6))[:, :-1]
        return found.clamp(max=1)

    def find(self, canvas: Tensor, *, options: OdiseOptions, captions: tuple[str, ...] = ()) -> Objects:
        """The objects of one image (1, C, H, W)."""
        classes, logits = self.answered(canvas, options, captions)
        masks, things = likely(logits, tuple(canvas.shape[2:]))[0], self._things(options)
        if options.objects == "overlapping":
            return overlapping(classes[0], masks, things=things, threshold=options.threshold, most=options.most)
        return panoptic(classes[0], masks, things=things, overlap=options.overlap, threshold=options.threshold)

    def _things(self, options: OdiseOptions) -> int:
        """How many classes an answer has."""
        return len(self.lexicon.vocabulary(options).classes)
