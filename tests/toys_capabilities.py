"""Small methods that use what no published system here uses yet; tests add their cards to the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, cast

import torch
from pydantic import Field
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.capabilities import Classifier, Encoder, Segmenter
from scantling.contract.card import Capability, Card
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Classification, Encoding, Objects, Segmentation
from scantling.contract.settings import Settings
from scantling.contract.stage import Calibration, Game, Player, Prepared, Stage
from scantling.contract.step import Inference, Step, Total
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream, View


def card(name: str, kind: str, **facts: object) -> Card:
    """The card of a toy in this file."""
    default = {"title": "A toy", "authors": "nobody", "year": 2026, "dimensions": (2,)}
    return Card.model_validate({**default, **facts, "name": name, "implementation": f"toys_capabilities:{kind}"})


IMAGE_AND_CLASS = (("image", "image_class"),)
BOTH: tuple[Capability, ...] = ("segment", "classify")
TOYS = {
    each.name: each
    for each in (
        card("toy-classifier", "Shade", needs=IMAGE_AND_CLASS, gives=("classify",), fits="cross_entropy"),
        card("toy-both", "Both", needs=(("image", "mask"), ("image", "image_class")), gives=BOTH, fits="both"),
        card("toy-objects", "Blobs", needs=(("image", "mask"),), gives=("segment",)),
        card("toy-encoder", "Coder", needs=(("image",),), gives=("encode",), fits="l2"),
        card("toy-head", "Head", needs=(("image", "mask"),), gives=("segment",), uses={"code": "encode"}, fits="bce"),
        card("toy-pseudo", "Pseudo", needs=(("image", "mask"),), gives=("segment",), fits="bce"),
        card("toy-frames", "Frames", needs=(("image", "mask"),), gives=("segment",), fits="bce"),
    )
}


class ToySettings(Settings):
    """Steps and rate of the one stage; batch: images a step."""

    presets = {"tiny": {"steps": 4}}
    steps: int = 60
    rate: float = 0.05
    batch: int = 2
    dropout: float = 0.0


class Toy(Method):
    """Whole images on a small grid, one player with everything."""

    Settings = ToySettings

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(dimensions=2, normalise="dataset", size=(24, 24))

    def streams(self) -> tuple[Stream, ...]:
        return (Stream(name="all", reads=type(self).card.needs[0], batch=self.settings.batch),)

    def stages(self) -> Sequence[Stage]:
        player = Player(name="all", modules=(self,), rate=self.settings.rate)
        return (
            Stage(
                name="train",
                players=(player,),
                streams=self.streams(),
                steps=self.settings.steps,
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        raise NotImplementedError


def summary(image: Tensor) -> Tensor:
    """(B, 2): mean and deviation of each image over all channels."""
    flat = image.flatten(1)
    return torch.stack([flat.mean(1), flat.std(1)], 1)


class Shade(Toy, Classifier):
    """Bright images and dark ones: a logistic regression on mean and deviation."""

    card = TOYS["toy-classifier"]

    def __init__(self, settings: ToySettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.drop = nn.Dropout(settings.dropout)
        self.layer = nn.Linear(2, len(traits.image_classes))

    def logits(self, image: Tensor) -> Tensor:
        found: Tensor = self.layer(self.drop(summary(image)))
        return found

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        of = batch["all"]
        yield "all", {"cross_entropy": F.cross_entropy(self.logits(of.image), of.image_class)}

    def classify(self, batch: Batch, inference: Inference) -> Classification:
        probabilities = self.logits(batch.image).softmax(1)
        return Classification(probabilities=probabilities, uncertainty={"margin": 1 - probabilities.amax(1)})


class Both(Shade, Segmenter):
    """A classifier that also cuts images at a threshold, which it learns after training and which is its decision."""

    card = TOYS["toy-both"]
    threshold: Tensor

    def __init__(self, settings: ToySettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.register_buffer("threshold", torch.tensor(float("nan")))

    def streams(self) -> tuple[Stream, ...]:
        return (Stream(name="all", reads=("image", "image_class"), batch=self.settings.batch),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        of = batch["all"]
        yield "all", {"both": F.cross_entropy(self.logits(of.image), of.image_class)}

    def calibration(self) -> Calibration:
        stream = Stream(name="cut", reads=("image", "mask"))
        return Calibration(stream=stream, split="validation", fit=self.fit, optional=False)

    def fit(self, batches: Iterable[Batch], step: Step) -> None:
        inside, outside = [], []
        for batch in batches:
            inside.append(batch.image[batch.mask == 1].mean())
            outside.append(batch.image[batch.mask == 0].mean())
        self.threshold.fill_((torch.stack(inside).mean() + torch.stack(outside).mean()) / 2)

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        image = batch.image[:, :1]
        decision = (image > self.threshold).to(torch.uint8)
        return Segmentation(probabilities=image.sigmoid(), decision=decision)


class BlobOptions(SegmentOptions):
    """Smallest: pixels that an object has at least."""

    smallest: Annotated[int, Field(ge=1)] = 1
    vocabulary: tuple[str, ...] = ()


class Blobs(Segmenter):
    """Bright connected pieces as objects, looked for window by window where the image is large; nothing is trained."""

    card = TOYS["toy-objects"]
    Settings = ToySettings
    segment_with = BlobOptions

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(dimensions=2, normalise="none")

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """Refuses a smallest object that is larger than any image."""
        of = cast(BlobOptions, options)
        if of.smallest > 10**6:
            raise SettingsError(f"--options.smallest {of.smallest}: expected at most 1,000,000 pixels")
        return super().segment_options(options)

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        smallest = cast(BlobOptions, inference.options).smallest

        def finder(canvas: Tensor) -> Objects:
            numbers, count = ndimage.label((canvas[0, 0] > 90).numpy())
            masks = [torch.from_numpy(numbers == number) for number in range(1, count + 1)]
            masks = [mask for mask in masks if int(mask.sum()) >= smallest]
            scores = torch.tensor([1 - 1 / (1 + float(mask.sum())) for mask in masks])
            return Objects.of_masks(masks, classes=torch.zeros(len(masks), dtype=torch.long), scores=scores)

        found = [inference.find(finder, batch.image[row : row + 1]) for row in range(len(batch.image))]
        return Segmentation(probabilities=(batch.image[:, :1] > 90).float(), instances=found)


class Coder(Toy, Encoder):
    """An autoencoder of one layer."""

    card = TOYS["toy-encoder"]

    def __init__(self, settings: ToySettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        channels = len(traits.channels)
        self.down, self.up = nn.Conv2d(channels, 4, 3, padding=1), nn.Conv2d(4, channels, 3, padding=1)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        image = batch["all"].image
        yield "all", {"l2": F.mse_loss(self.up(self.down(image)), image)}

    def encode(self, batch: Batch, inference: Inference) -> Encoding:
        latent = self.down(batch.image)
        return Encoding(features={"level 0": latent}, latent=latent)

    def decode(self, latent: Tensor, inference: Inference) -> Tensor:
        decoded: Tensor = self.up(latent)
        return decoded


class Head(Toy, Segmenter):
    """A linear head on the frozen features of an encoder."""

    card = TOYS["toy-head"]
    answering = ("head",)

    def __init__(self, settings: ToySettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.head, self.unused = nn.Conv2d(4, 1, 1), nn.Linear(1, 1)

    def stages(self) -> Sequence[Stage]:
        (stage,) = super().stages()
        player = Player(name="all", modules=(self.head,), rate=self.settings.rate)
        return (Stage(**{**vars(stage), "players": (player,)}),)

    def logits(self, batch: Batch, inference: Inference) -> Tensor:
        coder = cast(Encoder, self.uses["code"])
        with torch.no_grad():
            features = coder.encode(batch, inference).features["level 0"]
        found: Tensor = self.head(features)
        return found

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        of = batch["all"]
        logits = self.logits(of, Inference(seed=0))
        yield "all", {"bce": F.binary_cross_entropy_with_logits(logits, (of.mask == 1).to(logits.dtype))}

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        return Segmentation(probabilities=self.logits(batch, inference).sigmoid())


class Frames(Toy, Segmenter):
    """Trained on two frames, of which only the first is looked at to answer."""

    card = TOYS["toy-frames"]

    def __init__(self, settings: ToySettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    @property
    def channels(self) -> tuple[str, ...]:
        return self.traits.channels[:1]

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        of = batch["all"]
        logits, wanted = self.layer(of.image[:, :1]), (of.mask == 1).to(of.image.dtype)
        late = of.image[:, -1:]
        consistency = (of.image[:, :1] - late).square().mean() * self.layer.weight.square().mean()
        yield "all", {"bce": F.binary_cross_entropy_with_logits(logits, wanted), "consistency": 1e-3 * consistency}

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        assert batch.image.shape[1] == 1, "only what `channels` names is given"
        return Segmentation(probabilities=self.layer(batch.image).sigmoid())


class Pseudo(Toy, Segmenter):
    """A network on masks, then another on what the first one makes of all images, which is prepared once."""

    card = TOYS["toy-pseudo"]
    answering = ("student",)

    def __init__(self, settings: ToySettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.first, self.student = (nn.Conv2d(len(traits.channels), 1, 3, padding=1) for _ in range(2))

    def stages(self) -> Sequence[Stage]:
        of = self.settings
        labelled = Stream(name="labelled", batch=of.batch, patch=(16, 16), augment=Augmentation())
        every = Stream(
            name="every",
            reads=("image", "pseudo"),
            batch=of.batch,
            patch=(16, 16),
            augment=Augmentation(rotation=20, zoom=0.1),
            companions=(View(name="strong", augment=Augmentation.strong()),),
        )
        return (
            Stage(
                name="first",
                players=(Player(name="first", modules=(self.first,), rate=of.rate),),
                streams=(labelled,),
                steps=of.steps,
                objectives=self.on_masks,
            ),
            Stage(
                name="student",
                players=(Player(name="student", modules=(self.student,), rate=of.rate),),
                streams=(every,),
                steps=of.steps,
                objectives=self.on_pseudo,
                prepares=(Prepared(name="pseudo", kind="probabilities", make=self.make),),
            ),
        )

    def make(self, batch: Batch, step: Step) -> Tensor:
        return self.first(batch.image).sigmoid()

    def on_masks(self, batch: Mapping[str, Batch], step: Step) -> Game:
        of = batch["labelled"]
        known = (of.mask != 255).to(of.image.dtype)
        losses = F.binary_cross_entropy_with_logits(
            self.first(of.image), (of.mask == 1).to(of.image.dtype), reduction="none"
        )
        total = yield Total(known.sum())
        yield "first", {"bce": step.mean((losses * known).sum(), total)}

    def on_pseudo(self, batch: Mapping[str, Batch], step: Step) -> Game:
        of = batch["every"]
        strong = of.companions["strong"].image
        wanted = of.fields["pseudo"].to(strong.dtype)
        losses = F.binary_cross_entropy_with_logits(self.student(strong), wanted, reduction="none")
        inside = of.region.to(strong.dtype)
        total = yield Total(inside.sum())
        yield "student", {"agreement": step.mean((losses * inside).sum(), total)}

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        return Segmentation(probabilities=self.student(batch.image).sigmoid())
