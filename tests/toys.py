"""Toy methods that the contract must hold, and what is asked of several real ones alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.capabilities import Segmenter
from scantling.contract.card import Card
from scantling.contract.method import Method, build
from scantling.contract.results import Segmentation
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage, Visit, frozen
from scantling.contract.step import Inference, Step
from scantling.core.case import Address, Case, Labels
from scantling.core.samples import Batch, Intensity, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.data.case_cache import CaseCache
from scantling.data.preprocessing import Preprocessed
from scantling.data.reader import Reader
from scantling.methods.mask_diffusion.berdiff import BerDiff, BerDiffSettings
from scantling.methods.mask_diffusion.chains import MaskDiffusion
from scantling.training.processes import Processes
from scantling.training.trainer import Trainer

TRAITS = Traits(
    dimensions=2,
    channels=("grey",),
    labels=Labels(names=("thing",), values=((255,),)),
    spacing=(1.0, 1.0),
    shape=(12, 12),
    smallest=(12, 12),
    intensity=(Intensity(mean=0, std=1, low=-2, high=2, minimum=-3, maximum=3),),
)
CARD = Card(
    name="toy",
    title="A toy",
    authors="nobody",
    year=2026,
    needs=(("image", "mask"),),
    gives=("segment",),
    dimensions=(2,),
    fits="",
    implementation="",
)


class ToySettings(Settings):
    steps: int = 6
    batch: int = 4


class Toy(Segmenter):
    """What both have in common."""

    card = CARD
    Settings = ToySettings

    def __init__(self, settings: ToySettings | None = None) -> None:
        super().__init__(settings or ToySettings(), TRAITS)

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(dimensions=2)

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        raise AssertionError("this toy is only trained")

    def stream(self, name: str, **changes: Any) -> Stream:
        augment = Augmentation(brightness=0.1)
        return Stream(**{"name": name, "batch": self.settings.batch, "patch": (8, 8), "augment": augment} | changes)


class Pair(Toy):
    """A painter that must please a judge; the judge sees a pool of older paintings and is clipped after each step.

    Like DARL, it draws unpaired streams, shares one forward pass between the players and keeps a replay pool.
    """

    def __init__(self, settings: ToySettings | None = None) -> None:
        super().__init__(settings)
        self.painter = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 1, 3, padding=1))
        self.judge = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Conv2d(6, 1, 3))
        self.register_buffer("pool", torch.zeros(4, 1, 8, 8))

    def stages(self) -> Sequence[Stage]:
        players = (
            Player(name="painter", modules=(self.painter,), rate=1e-2, schedule="cosine", average=0.9),
            Player(name="judge", modules=(self.judge,), rate=1e-2, betas=(0.5, 0.999), clip=1.0),
        )
        streams = (self.stream("masks", reads=("mask",)), self.stream("images", reads=("image",)))
        stage = Stage(
            name="duel",
            players=players,
            streams=streams,
            steps=self.settings.steps,
            objectives=self.objectives,
            stepped=self.clip_judge,
        )
        return (stage,)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        image, mask = batch["images"].image, batch["masks"].mask
        drawn = (mask == 1).to(image.dtype)
        noise = step.randn("noise", like=image)
        painted = self.painter(torch.cat([noise, drawn], 1))
        with frozen(self.judge):
            score = self.judge(painted)
        yield "painter", {"fooled": (score - 1).square().mean(), "drawn": F.mse_loss(painted, drawn)}
        seen = self.remembered(painted.detach(), step)
        yield "judge", {"real": (self.judge(image) - 1).square().mean(), "made": self.judge(seen).square().mean()}

    def remembered(self, painted: Tensor, step: Step) -> Tensor:
        """Each painting is exchanged for one of the pool or kept, one after the other over all processes."""
        rows, coins = step.gather(painted), step.gather(step.rand("pool", like=painted[:, 0, 0, 0]))
        shown = []
        with torch.no_grad():
            for row, coin in zip(rows, coins.tolist(), strict=True):
                place = int(coin * 2 * len(self.pool))
                shown.append(self.pool[place].clone() if place < len(self.pool) else row)
                if place < len(self.pool):
                    self.pool[place] = row
        first = (step.slot * len(painted)) % len(rows)
        return torch.stack(shown)[first : first + len(painted)]

    def clip_judge(self, step: Step, returned: Sequence[Any]) -> None:
        for parameter in self.judge.parameters():
            parameter.clamp_(-0.5, 0.5)

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        noise = inference.randn("noise", like=batch.image)
        return Segmentation(probabilities=self.painter(torch.cat([noise, batch.image], 1)).sigmoid())


class Featured(Toy):
    """Features learned without masks first; then a head on features that were prepared once, whole case by case.

    Like the diffusion features of FEDD and the cached latents of Medical Diffusion.
    """

    def __init__(self, settings: ToySettings | None = None) -> None:
        super().__init__(settings)
        self.encoder = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Tanh())
        self.decoder = nn.Conv2d(5, 1, 3, padding=1)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Conv2d(5, 1, 1))
        self.prepared = 0

    def stages(self) -> Sequence[Stage]:
        return (
            Stage(
                name="features",
                players=(Player(name="code", modules=(self.encoder, self.decoder), rate=1e-2),),
                streams=(self.stream("images", reads=("image",)),),
                steps=self.settings.steps,
                objectives=self.reconstruct,
            ),
            Stage(
                name="head",
                players=(Player(name="head", modules=(self.head,), rate=1e-2, optimiser="sgd"),),
                streams=(self.stream("whole", patch=None, augment=None),),
                steps=self.settings.steps,
                objectives=self.classify_pixels,
                prepare=self.prepare,
            ),
        )

    def reconstruct(self, batch: Mapping[str, Batch], step: Step) -> Game:
        image = batch["images"].image
        yield "code", {"l2": F.mse_loss(self.decoder(self.encoder(image)), image)}

    def prepare(self, visit: Visit, step: Step) -> Mapping[str, Tensor]:
        self.prepared += 1
        return {"features": torch.cat([self.encoder(batch.image) for batch in visit("whole")])}

    def classify_pixels(self, batch: Mapping[str, Batch], step: Step) -> Game:
        whole = batch["whole"]
        features = step.prepared["features"][whole.case].to(whole.image.dtype)
        wanted = (whole.mask == 1).to(features.dtype)
        yield "head", {"bce": F.binary_cross_entropy_with_logits(self.head(features), wanted)}

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        return Segmentation(probabilities=self.head(self.encoder(batch.image)).sigmoid())


def cases(count: int = 5) -> dict[str, Case]:
    """Cases that only claim to have files."""
    nowhere = Address(Path("nowhere"))
    names = [f"case{number}" for number in range(count)]
    return {
        name: Case(id=name, subject=name, images={"image": nowhere}, masks=(nowhere,), split="train") for name in names
    }


def taken(case: Case, size: tuple[int, ...] = (12, 12)) -> Preprocessed:
    """An image that is its mask plus noise, a function of the case's id."""
    generator = torch.Generator().manual_seed(int(case.id.removeprefix("case")) + 1)
    mask = (torch.rand((1, *size), generator=generator) < 0.3).to(torch.uint8)
    image = mask.float() * 2 - 1 + 0.3 * torch.randn((1, *size), generator=generator)
    return Preprocessed(image, {}, (mask,))


def readers(stage: Stage, *, seed: int = 0, make: Callable[[Case], Preprocessed] = taken) -> dict[str, Reader]:
    """Readers of made cases."""
    known = cases()

    def prepare(stream: Stream) -> Callable[[Case], Preprocessed]:
        def only(case: Case) -> Preprocessed:
            whole = make(case)
            return Preprocessed(
                whole.image if "image" in stream.reads else None,
                whole.fields,
                whole.masks if "mask" in stream.reads else (),
            )

        return only

    return {
        stream.name: Reader(
            stream,
            [*known.values()],
            CaseCache(prepare(stream), budget=1 << 30),
            seed=seed,
            stage=stage.name,
            others=known,
        )
        for stream in stage.streams
    }


def course(method: Method, run: Path, *, group: Processes = Processes(), **changes: Any) -> Trainer:
    """A training of a toy without files of data."""
    return Trainer(
        run=run,
        method=method,
        seed=3,
        device=torch.device("cpu"),
        group=group,
        readers=readers,
        validation=None,
        console=Console(quiet=True),
        **changes,
    )


def fresh(kind: type[Toy], **settings: Any) -> Toy:
    """A toy with the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(ToySettings(**settings))


def looked_at_once_and_at_every_step(
    method: MaskDiffusion, batch: Batch, inference: Inference
) -> tuple[Tensor, Tensor]:
    """Samples (N, B, K, *S) of images that are looked at once, and of the same ones looked at anew at every step."""
    look, denoise = method.condition, method.denoise
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        once = method.segment(batch, inference).samples
        patch.setattr(method, "condition", lambda image: (image,))
        patch.setattr(method, "denoise", lambda noisy, given, t: denoise(noisy, look(given[0]), t))
        anew = method.segment(batch, inference).samples
    assert once is not None
    assert anew is not None
    torch.testing.assert_close(once, anew)
    assert not torch.allclose(once[:, 0], once[:, 1]), "two images are answered alike"
    return once, anew


def small_berdiff(*, size: int = 32, **settings: Any) -> BerDiff:
    """A BerDiff of its tiny preset for square pictures of `size` pixels."""
    traits = TRAITS.model_copy(update={"shape": (size, size), "smallest": (size, size)})
    method = build(BerDiff, BerDiffSettings.preset("tiny", settings).resolve(traits), traits, seed=3)
    if not isinstance(method, BerDiff):
        raise TypeError("build gives the kind that it is asked for")
    return method.eval()
