"""DeepAtlas: a segmenter and a registrar take turns, and each teaches the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.capabilities import Registrar
from scantling.contract.method import Method
from scantling.contract.options import RegisterOptions
from scantling.contract.results import Registration
from scantling.contract.stage import Game, Player, Stage, frozen
from scantling.contract.step import Inference, Step
from scantling.core.case import IGNORE
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Partner, Stream
from scantling.losses.overlap import class_channels
from scantling.losses.registration import soft_overlap_loss
from scantling.methods.catalogue import CARDS
from scantling.methods.registration.network import registered
from scantling.methods.registration.pairs import PairOptions, PairSettings, Positive
from scantling.methods.registration.whole import WholeImageSegmenter, WholeImageSettings
from scantling.warping import warp

Share = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]

PAIRS: Mapping[str, tuple[bool, bool]] = {
    "both labelled": (True, True),
    "moving labelled": (True, False),
    "fixed labelled": (False, True),
    "none labelled": (False, False),
}
"""The streams of pairs: whether the moving and the fixed image have a mask."""
GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, modulo 1, fill [0, 1) evenly, however many there are."""


class DeepAtlasSettings(WholeImageSettings, PairSettings):
    """Settings of `deep-atlas`; the defaults are those of MONAI's tutorial, the one public repetition.

    Attributes:
        steps: of both stages.
        pretraining: the share of the steps in which the segmenter alone learns from masks: 60 of 60 + 120 x 45.
        pretraining_batch: images with masks of such a step; None: `batch`.
        schedule: of the rest: "turns" of a few steps, "rounds", few and long, or "joint", both in every step.
        registration_turn, segmentation_turn: steps of a turn; of a round, in this proportion.
        rounds: how many.
        registration_rate: the learning rate of the registrar; that of the segmenter is `rate`.
        anatomy: λ_a, the weight of the overlap of warped and fixed labels.
        supervision: λ_sp, the weight of the loss on masks in the second stage.
        network: "paper" takes the levels of the tutorial's U-Net, "planned" those of `unet`.
    """

    steps: Positive = 5460
    batch: Positive | None = 2
    rate: Annotated[float, Field(gt=0)] = 1e-3
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    voxels: Positive = 96 * 96 * 96
    flips: bool | tuple[bool, ...] | None = False
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = 0.2
    rotation: Weight | None = 0.0
    zoom: Weight | None = 0.0
    jitter: Weight | None = 0.0
    degraded: Annotated[float, Field(ge=0, le=1)] | None = 0.0
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.0
    pretraining: Share = 60 / 5460
    pretraining_batch: Positive | None = 8
    schedule: Literal["turns", "rounds", "joint"] = "turns"
    registration_turn: Positive = 40
    segmentation_turn: Positive = 5
    rounds: Positive = 3
    registration_rate: Annotated[float, Field(gt=0)] = 5e-4
    anatomy: Weight = 2.0
    supervision: Weight = 3.0
    network: Literal["paper", "planned"] = "paper"

    architecture: ClassVar[tuple[str, ...]] = (
        *WholeImageSettings.architecture, "patch", "registration_widths", "shrink", "diffeomorphic",
    )  # fmt: skip
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            **WholeImageSettings.presets["quick"],
            "network": "planned",
            **dict.fromkeys(
                ("batch", "pretraining_batch", "flips", "dropout", "rotation", "zoom", "jitter", "degraded")
            ),
            "window": 5,
            "smoothness": 50.0,
            "refine": 50,
            "registration_widths": (8, 16, 32, 32),
            "registration_rate": 4e-3,
            "shrink": 2,
            "pair_rotation": 10.0,
            "pair_zoom": 0.1,
            "pair_shift": 0.05,
            "pretraining": 0.4,
            "registration_turn": 2,
            "segmentation_turn": 2,
        },
        "tiny": {
            **WholeImageSettings.presets["tiny"],
            "steps": 8,
            "network": "planned",
            "affine": False,
            "similarity": "squares",
            "smoothness": 0.01,
            "registration_widths": (4, 8),
            "registration_rate": 2e-2,
            "pretraining": 0.5,
            "pretraining_batch": None,
            "pair_shift": 0.02,
            "registration_turn": 1,
            "segmentation_turn": 1,
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Plan what is None; the network of the paper has levels of its own."""
        if self.network == "planned" or self.widths is not None:
            return super().resolve(traits)
        levels = {"widths": (8, 16, 16, 32, 32, 64, 64), "strides": tuple((n,) * traits.dimensions for n in TUTORIAL)}
        return super(DeepAtlasSettings, self.model_copy(update=levels)).resolve(traits)

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """On which grid images are seen, and whose turn is how long."""
        turns = {
            "turns": f"turns of {self.registration_turn} steps of the registrar and {self.segmentation_turn} of the "
            "segmenter",
            "rounds": f"{self.rounds} rounds, the registrar first",
            "joint": "registrar and segmenter learn in every step",
        }
        masks = f"pairs of {traits.labelled} images with masks and {traits.unlabelled} without"
        return (*super().explain(traits), f"{masks}; {turns[self.schedule]}")


TUTORIAL = (1, 2, 1, 2, 1, 2)
"""The strides of the tutorial's segmenter."""


class DeepAtlas(WholeImageSegmenter, Registrar):
    r"""DeepAtlas (Xu and Niethammer, 2019) in the reading of MONAI's tutorial; the authors' joint code is not public.

    First the segmenter S learns from masks. Then S and the registrar R take turns, each with the other frozen:

    .. math:: L_R = L_{sim}(m \circ \phi, f) + \lambda_r B(\phi) + \lambda_a A(s_m \circ \phi, s_f), \quad
              L_S = \lambda_{sp} L_{sup} + \lambda_a A(s_m \circ \phi, s_f)

    where s is the mask of an image, or what S says of it, A one minus soft Dice and B the bending energy. Labels are
    warped linearly for R, which needs the gradient of φ, and with the nearest value for S.

    Departures: A leaves out the background; L_sup is the loss of `unet` on a stream of its own, changed as those
    of `unet` where the settings say so (in the tutorial it is Dice of the labelled images of the pair), so that S reads
    no pair of which both have masks, which would teach it nothing more.
    """

    card = CARDS["deep-atlas"]
    Settings = DeepAtlasSettings
    register_with = PairOptions
    settings: DeepAtlasSettings

    def __init__(
        self, settings: DeepAtlasSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        self.registrar = settings.pair_network(traits, settings.whole(traits))

    def stages(self) -> Sequence[Stage]:
        """The segmenter alone, if `pretraining` is not 0; then both."""
        of = self.settings
        alone = min(of.steps - 1, max(1, round(of.pretraining * of.steps))) if of.pretraining else 0
        segmenter = self.player(self.network, name="segmenter")
        if of.network == "paper":
            segmenter = replace(segmenter, optimiser="adam", weight_decay=0.0, schedule="constant")
        registrar = Player(
            name="registrar", modules=(self.registrar,), rate=of.registration_rate,
            schedule="constant" if of.network == "paper" else "cosine",
        )  # fmt: skip
        labelled = replace(self.labelled, batch=of.batch or 1)
        together = Stage(
            name="together",
            players=(segmenter, registrar),
            streams=(labelled, *(self._pairs(name) for name in self.kinds(segmenter=False))),
            steps=of.steps - alone,
            objectives=self.take_turns,
            draws=self.draws_of,
        )
        if not alone:
            return (together,)
        first = Stage(
            name="segmenter alone", players=(segmenter,), steps=alone, objectives=self.supervise,
            streams=(replace(labelled, batch=of.pretraining_batch or labelled.batch),),
        )  # fmt: skip
        return (first, together)

    def _pairs(self, name: str) -> Stream:
        """The stream of one kind of pairs: a sample is the fixed image, its companion the moving one."""
        moving, fixed = PAIRS[name]
        grid = self.settings.whole(self.traits)
        return Stream(
            name=name,
            reads=("image", "mask") if fixed else ("image",),
            wants=() if fixed else ("mask",),
            without=() if fixed else ("mask",),
            batch=self.settings.pairs,
            patch=grid.shape,
            companions=(Partner("moving", labelled=moving, other_subject=False),),
            augment=self.settings.pair_changes(grid.spacing),
        )

    def kinds(self, *, segmenter: bool) -> dict[str, int]:
        """How many ordered pairs of each kind there are that teach the segmenter, or the registrar."""
        have, have_not = self.traits.labelled, self.traits.unlabelled
        numbers = dict(
            zip(PAIRS, (have * (have - 1), have * have_not, have_not * have, have_not * (have_not - 1)), strict=True)
        )
        wanted = ("moving labelled", "fixed labelled") if segmenter else PAIRS
        return {name: numbers[name] for name in wanted if numbers[name]}

    def kind_of(self, step: int, *, segmenter: bool) -> str:
        """The kind of pairs of a step, as often as there are such pairs; empty where there is none."""
        kinds = self.kinds(segmenter=segmenter)
        place = (step + 1) * GOLDEN % 1 * sum(kinds.values())
        for name, number in kinds.items():
            place -= number
            if place < 0:
                return name
        return next(reversed(kinds), "")

    def movers(self, step: Step) -> tuple[bool, bool]:
        """Whether the registrar and the segmenter are updated in a step."""
        of = self.settings
        if of.schedule == "joint":
            return True, True
        turn = of.registration_turn + of.segmentation_turn
        place = step.number % turn
        if of.schedule == "rounds":
            place = int(step.number * of.rounds / max(step.count, 1) % 1 * turn)
        return place < of.registration_turn, place >= of.registration_turn

    def draws_of(self, step: Step) -> Sequence[str]:
        """The streams of a step."""
        registrar, segmenter = self.movers(step)
        kinds = [self.kind_of(step.number, segmenter=False)] if registrar else []
        if segmenter:
            kinds += ["labelled", self.kind_of(step.number, segmenter=True)]
        return tuple(dict.fromkeys(kind for kind in kinds if kind))

    def supervise(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The loss of `unet`."""
        image, mask = batch["labelled"].image, batch["labelled"].mask
        yield "segmenter", (yield from self.loss_terms(self.network(image), mask, step))

    def take_turns(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The move of whose turn it is; in "joint" first that of the registrar."""
        registrar, segmenter = self.movers(step)
        if registrar and (kind := self.kind_of(step.number, segmenter=False)) in batch:
            moving = self.settings.shifted(batch[kind].companions["moving"], step)
            yield "registrar", self.registration_terms(batch[kind], moving)
        if segmenter:
            image, mask = batch["labelled"].image, batch["labelled"].mask
            found = yield from self.loss_terms(self.network(image), mask, step)
            terms = {name: self.settings.supervision * term for name, term in found.items()}
            if (kind := self.kind_of(step.number, segmenter=True)) in batch and self.settings.anatomy:
                terms["anatomy"] = self.lesson(batch[kind], batch[kind].companions["moving"])
            yield "segmenter", terms

    def registration_terms(self, fixed: Batch, moving: Batch) -> dict[str, Tensor]:
        """The loss of the registrar on a pair."""
        vectors = self.registrar.vectors(fixed.image, moving.image)
        displacement = self.registrar.displacement(vectors)
        terms = self.settings.pair_terms(
            fixed.image, moving.image, vectors=vectors, displacement=displacement,
            spacing=self.settings.whole(self.traits).spacing,
        )  # fmt: skip
        if self.settings.anatomy:
            with frozen(self.network), torch.no_grad():
                target, source = (self.anatomy_of(one) for one in (fixed, moving))
            terms["anatomy"] = self.agreement(target, source, displacement, linear=True)
        return terms

    def lesson(self, fixed: Batch, moving: Batch) -> Tensor:
        """What a pair of which one has a mask teaches the segmenter about the other."""
        with frozen(self.registrar), torch.no_grad():
            displacement = self.registrar(fixed.image, moving.image)
        target, source = (self.anatomy_of(one) for one in (fixed, moving))
        return self.agreement(target, source, displacement, linear=False)

    def anatomy_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The labels (B, K, *S) of images, of their masks or of the segmenter, and where they are known, (B, 1, *S)."""
        if not bool(batch.present["mask"].all()):
            return self.probabilities(self.network(batch.image)), batch.region
        known = (batch.mask != IGNORE).all(1, keepdim=True) & batch.region
        return class_channels(batch.mask, len(self.traits.classes)).to(batch.image.dtype), known

    def agreement(
        self, target: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor], displacement: Tensor, *, linear: bool
    ) -> Tensor:
        """λ_a A: how little the labels of the fixed image and the warped ones of the moving image overlap."""
        warped = warp(source[0].to(displacement.dtype), displacement, linear=linear, outside="edge")
        known = warp(source[1].to(displacement.dtype), displacement.detach(), linear=False, outside="edge") > 0
        return self.settings.anatomy * soft_overlap_loss(warped, target[0].to(warped.dtype), known=known & target[1])

    def register_options(self, options: RegisterOptions) -> RegisterOptions:
        """As those of `registration`."""
        return self.settings.filled_in(options)

    def register(self, fixed: Batch, moving: Batch, inference: Inference) -> Registration:
        """The registrar's pass, as that of `registration`."""
        spacing = self.settings.whole(self.traits).spacing
        return registered(
            self.registrar, fixed, moving, settings=self.settings, spacing=spacing, options=inference.options
        )
