"""What a method is: settings, traits, stages of a game between players, and answers that carry their doubt.

A method is its paper in one file. It says how it takes its images (`intake`), how it is trained (`stages`) and
what it answers (any of `segment`, `generate`, `classify`, `register`). Training and inference drive every
method through this page alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import ConfigDict, ValidationError
from torch import Tensor, nn

from scantling.data.types import Batch, Frozen, Intake, Labels, Stream, Traits
from scantling.errors import SettingsError
from scantling.methods.catalogue import Capability, Card
from scantling.randomness import seed_of, torch_generator

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""By their place how many of the last axes they drop together."""
VESSEL = Labels(names=("vessel",), values=((255, 1),))
"""The one class of a method that reads no label, where the data do not name theirs."""
Dropout = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d
Losses = Mapping[str, Tensor]
Move = tuple[str | tuple[str, ...], Losses]
"""One or several players and the terms of their loss, by name; their sum is what the players minimise."""
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Total:
    """A sum over the part of a step's batch that an objective sees; yielding it gives that over the whole step.

    For means whose count differs between samples: the pixels that are known, or confident. Ask before the networks are
    passed through, since all parts of a step wait for each other there with what they have computed.
    """

    part: Tensor


Game = Generator[Move | Total, Tensor, None]
"""What objectives are: they yield moves, after which the loop updates the players, and totals, which it answers."""


class Settings(Frozen):
    """What a method can be told before it is trained; subclasses add fields with the paper's values as defaults.

    `presets` holds, by name, what differs from the defaults: `quick` for minutes on a laptop's processor, `tiny`
    for tests. `paper` is the defaults.
    """

    model_config = ConfigDict(allow_inf_nan=False)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def preset(cls, name: str, changes: Mapping[str, Any] | None = None) -> Self:
        """The settings of a preset with `changes` on top.

        Raises:
            SettingsError: an unknown preset or setting, or a value out of range.
        """
        if name != "paper" and name not in cls.presets:
            known = ", ".join(["paper", *cls.presets])
            raise SettingsError(f"there is no preset {name!r}; there are: {known}")
        try:
            return cls.model_validate({**cls.presets.get(name, {}), **(changes or {})})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise SettingsError(
                    f"--settings.{place}: there is no such setting; there are: {', '.join(cls.model_fields)}"
                ) from None
            several = "; write several values as 32,64" if first["type"] == "tuple_type" else ""
            raise SettingsError(f"--settings.{place}: found {first['input']!r}; {first['msg']}{several}") from None

    def resolve(self, traits: Traits) -> Self:
        """The settings with everything that depends on the data decided, as they are saved with the model.

        Raises:
            SettingsError: the settings do not suit the data.
        """
        del traits
        return self


class Asked(Frozen):
    """What may change from one answer of a model to the next; None is the method's own choice.

    Attributes:
        samples: masks that are drawn for each image.
        steps: of the chain that each of them ends, for methods that run one.
        fuse: how they become one mask: a name of `fusion.RULES`.
        votes: for the rules "vote" and "sum", how many samples have to agree; None: half of them, rounded up.
    """

    samples: int | None = None
    steps: int | None = None
    fuse: str | None = None
    votes: int | None = None


AS_IT_IS = Asked()


@dataclass(frozen=True, kw_only=True)
class Now:
    """The moment in which an objective or an answer is asked for, and all the randomness that it may use.

    Every draw is a function of the seed, the stage, what it is for, the step and the position of the sample in
    the batch of the whole step; `slot` says which part of that batch this is, of `slots` (processes times
    micro-batches), so that one big batch and many small ones draw the same numbers.
    """

    seed: int
    stage: str = ""
    step: int = 0
    steps: int = 1
    slot: int = 0
    slots: int = 1
    device: torch.device = torch.device("cpu")
    prepared: Mapping[str, Tensor] = field(default_factory=dict)
    """What the stage's `prepare` returned."""
    tile: Callable[[Network, Tensor], Tensor] = lambda network, canvas: network(canvas)
    """Applies a network (B, C, *S) to (B, K, *S) over a whole canvas, in blended tiles where it is too large."""
    asked: Asked = AS_IT_IS
    """What an answer is asked to be, resolved by the method's `asked`."""
    gather: Callable[[Tensor], Tensor] = lambda tensor: tensor
    """The rows of all processes in the order of the samples; every process receives the same."""

    @property
    def progress(self) -> float:
        """The share of the stage that is done, 0 to 1."""
        return self.step / max(self.steps, 1)

    def mean(self, part: Tensor, total: Tensor) -> Tensor:
        """The term of a loss that is one ratio over the whole step: `part`, summed over what this part of the batch
        holds, over the `total` of the step, which yielding a `Total` has given; the loop averages over the parts.
        """
        return part * self.slots / total.clamp(min=1e-6)

    def generator(self, purpose: str) -> torch.Generator:
        """A processor generator for one draw that all samples of the step share."""
        return torch_generator(self.seed, self.stage, purpose, self.step)

    def randn(self, purpose: str, *, like: Tensor) -> Tensor:
        """Standard normal numbers (B, ...) in the shape, type and place of `like`, row by row."""
        return self._rows(torch.randn, purpose, like)

    def rand(self, purpose: str, *, like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) in the shape, type and place of `like`, row by row."""
        return self._rows(torch.rand, purpose, like)

    def randint(self, purpose: str, low: int, high: int, *, count: int) -> Tensor:
        """`count` whole numbers in [low, high), one for each sample: (B,) int64 on the device."""
        uniform = self._rows(torch.rand, purpose, torch.empty(count, dtype=torch.float64))
        return (low + (uniform * (high - low)).long().clamp(max=high - low - 1)).to(self.device)

    def _rows(self, draw: Callable[..., Tensor], purpose: str, like: Tensor) -> Tensor:
        first = self.slot * len(like)
        dtype = like.dtype if like.dtype == torch.float64 else torch.float32
        rows = [
            draw(
                like.shape[1:],
                generator=torch_generator(self.seed, self.stage, purpose, self.step, first + row),
                dtype=dtype,
            )
            for row in range(len(like))
        ]
        return torch.stack(rows).to(like.device, like.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Player:
    """Whoever is updated together: parameters, their optimiser and its schedule.

    Attributes:
        modules: what it owns; players of one stage share no parameter.
        rate: the learning rate, at its highest.
        betas: of Adam; "sgd" takes the first as its Nesterov momentum.
        schedule: of the rate over the steps of the stage: constant; a half cosine or a polynomial (0.9) to 0;
            one-cycle, a cosine up from rate/25 over the first 30 % and down to 0 (Smith and Topin, 2018).
        warmup: steps over which the rate rises from 0, before the schedule.
        clip: the greatest norm of the gradient.
        average: decay of an exponential average of the weights, which then is what answers; 0 for none. It
            grows to this value: min(average, (1 + updates) / (10 + updates)).
    """

    name: str
    modules: tuple[nn.Module, ...]
    rate: float
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "polynomial", "one-cycle"] = "constant"
    warmup: int = 0
    clip: float | None = None
    average: float = 0.0

    def parameters(self) -> list[nn.Parameter]:
        """Its parameters, each once, in a fixed order."""
        return list({id(p): p for module in self.modules for p in module.parameters()}.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """A module that follows a player's and learns nothing itself: its weights are averages (Tarvainen, Valpola, 2017).

    In a stage it is frozen and in evaluation mode; objectives use it without gradient. It is part of the method, and
    so saved and resumed like everything else.

    Attributes:
        module: begins the stage with the weights of `of`, whose architecture it has.
        of: what it follows.
        decay: the share of itself that it keeps after a step, in [0, 1]: a number, or a function of the step from 0.
            It holds for floating weights and buffers; others, such as counters, are copied.
    """

    module: nn.Module
    of: nn.Module
    decay: float | Callable[[int], float] = 0.99

    @torch.no_grad()
    def begin(self) -> None:
        """Take over what it follows."""
        self.module.load_state_dict(self.of.state_dict())

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Follow by one step, which has been taken."""
        decay = self.decay(step) if callable(self.decay) else self.decay
        followed = self.of.state_dict()
        for name, own in self.module.state_dict().items():
            if own.is_floating_point():
                own.lerp_(followed[name].to(own.dtype), 1 - decay)
            else:
                own.copy_(followed[name])


Visit = Callable[[str], Iterable[Batch]]
"""Visits each case of a stream once, whole and unchanged, one case a batch; `batch.case` is its position."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """A value by which weights may be chosen where masks may not choose them; it sees validation cases only."""

    name: str
    direction: Literal["min", "max"]
    value: Callable[[Visit, Now], float]
    """Given a `Visit` of the validation cases of each stream; NaN where it cannot tell."""
    visits: tuple[str, ...]
    """The streams that it cannot do without."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A part of the training with its own players, streams and length.

    Attributes:
        objectives: `objectives(batch, now)` with the batches by stream yields (player, terms) moves; the loop
            updates the player, then resumes the generator.
        teachers: what follows the players' modules, after every step and before `stepped`.
        prepare: called once before the first step, without gradients, in evaluation mode; it may set the
            state of the method, and what it returns is kept for the whole stage as `now.prepared`.
        draws: the names of the streams that a step reads, a function of the step alone; all if None.
        stepped: called once after each optimiser step has been taken by all players of that step.
        criterion: see `Criterion`.
    """

    name: str
    players: tuple[Player, ...]
    streams: tuple[Stream, ...]
    steps: int
    objectives: Callable[[Mapping[str, Batch], Now], Game]
    teachers: tuple[Teacher, ...] = ()
    prepare: Callable[[Visit, Now], Mapping[str, Tensor]] | None = None
    draws: Callable[[int], Sequence[str]] | None = None
    stepped: Callable[[Now], None] | None = None
    criterion: Criterion | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a method says of a batch of images, with its doubt.

    Attributes:
        probabilities: (B, K, *S), one channel for each foreground class; of exclusive classes, what remains to
            1 is background.
        samples: (N, B, K, *S), on any device, where a method draws; then `fusion` makes them one, on the grid of the
            file, and probabilities are not read.
        uncertainty: (B, 1, *S) by name.
        instances: (B, 1, *S) int32, 0 background, with `extras` for scores, classes and boxes.
        image_class: (B, classes) probabilities.
        deformation: (B, D, *S) displacements in voxels.
        images: (B, C, *S) in [0, 1], that were made; `probabilities` are then their masks.
        extras: anything else by name.
    """

    probabilities: Tensor | None = None
    samples: Tensor | None = None
    uncertainty: Mapping[str, Tensor] = field(default_factory=dict)
    instances: Tensor | None = None
    image_class: Tensor | None = None
    deformation: Tensor | None = None
    images: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


class Method(nn.Module, ABC):
    """A published system over data with given traits. Subclasses name their card and their settings.

    The constructor builds the networks and reads nothing; `base` is the model that it is built on, where its
    card says so. Subclasses define the capabilities that their card gives.
    """

    card: ClassVar[Card]
    Settings: ClassVar[type[Settings]]
    settings: Any
    draws: ClassVar[bool] = False
    """Whether `segment` answers with as many samples as are asked for."""

    def __init__(self, settings: Any, traits: Traits, *, base: Method | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.traits = traits
        self.base = base

    @property
    @abstractmethod
    def intake(self) -> Intake:
        """How it takes its images."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights, in which it is given images; float32 if it has none."""
        return next((parameter.dtype for parameter in self.parameters()), torch.float32)

    @property
    def hand_drawn(self) -> int:
        """How many masks drawn by people its streams read, or stand behind synthetic ones or its first weights."""
        reading = [stream for stage in self.stages() for stream in stage.streams if {"mask", "masks"} & {*stream.reads}]
        of_images = any("image" not in stream.without for stream in reading)
        alone = any("image" not in stream.reads for stream in reading)
        read = of_images * self.traits.hand_drawn + alone * self.traits.hand_drawn_alone
        return max(read, self.traits.hand_drawn_before)

    @classmethod
    def blank(cls, settings: Any) -> Traits:
        """The traits of what a rule makes, for a method that needs no data and is not trained.

        Raises:
            SettingsError: the method has to be trained first.
        """
        del settings
        raise SettingsError(f"{cls.card.name} has to be trained first; name its run")

    def stages(self) -> Sequence[Stage]:
        """How it is trained; none for a filter or a rule."""
        return ()

    def asked(self, asked: Asked) -> Asked:
        """What is asked, with all that the method decides filled in; a method that draws no samples answers once.

        Such a method can still be asked for samples: those of its dropout, left on (Gal and Ghahramani, 2016).

        Raises:
            SettingsError: the method cannot do it.
        """
        if asked.steps is not None:
            raise SettingsError(f"--sampling-steps: {self.card.name} runs no chain that could have steps; leave it out")
        if (asked.samples or 1) > 1 and not dropouts(self):
            way = "train it with --settings.dropout 0.1, or " if "dropout" in type(self.settings).model_fields else ""
            raise SettingsError(
                f"--samples {asked.samples}: this {self.card.name} has no dropout, so that all its answers to an image "
                f"are one; {way}name runs with other seeds with --ensemble"
            )
        return asked.model_copy(update={"samples": asked.samples or 1, "fuse": asked.fuse or "mean"})

    def calls(self, asked: Asked) -> int:
        """Passes through the network that an answer takes, for what `asked` returned; all tiles of a canvas are one."""
        return (asked.samples or 1) * (asked.steps or 1)

    def segment(self, batch: Batch, now: Now) -> Answer:
        """The probabilities of the classes for the images of a batch, or samples of them, which `fusion` makes one."""
        raise self._cannot("segment")

    def generate(self, count: int, now: Now) -> Answer:
        """`count` new masks in `probabilities`, with `images` where it makes any; `now.step` is the first one's number.

        What `extras` holds under "region" and "centre line", (B, 1, *S) of 0 and 1, goes into folders of its own.
        """
        raise self._cannot("generate")

    def classify(self, batch: Batch, now: Now) -> Answer:
        """The class of each whole image of a batch."""
        raise self._cannot("classify")

    def register(self, fixed: Batch, moving: Batch, now: Now) -> Answer:
        """The deformation that brings `moving` onto `fixed`."""
        raise self._cannot("register")

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What a method that is built on this one reads, in one pass over an image or a tile (B, C, *S).

        Returns:
            The last feature map (B, F, *S) and the probabilities (B, K, *S) that are read from it.

        Raises:
            SettingsError: the method hands out no features.
        """
        raise SettingsError(f"{self.card.name} hands out no features that another method could be built on")

    def pictures(self, batch: Batch, now: Now) -> Mapping[str, Tensor]:
        """What it shows of itself in the report on one image, by caption: (3, H, W) in [0, 1]; nothing by default."""
        del batch, now
        return {}

    def _cannot(self, capability: Capability) -> SettingsError:
        gives = ", ".join(self.card.gives)
        return SettingsError(f"{self.card.name} cannot {capability}; it can {gives}")


def dropouts(network: nn.Module) -> list[Dropout]:
    """The layers of a network that drop something at random while they are trained."""
    return [layer for layer in network.modules() if isinstance(layer, DROPOUTS) and layer.p > 0]


_frozen_depth = 0


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Let gradients flow through `networks` but not into them, in evaluation mode, for the length of the block.

    Nothing may be yielded from inside it.
    """
    global _frozen_depth
    before = [(p, p.requires_grad) for network in networks for p in network.parameters()]
    modes = [(m, m.training) for network in networks for m in network.modules()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    for network in networks:
        network.eval()
    _frozen_depth += 1
    try:
        yield
    finally:
        _frozen_depth -= 1
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)
        for module, training in modes:
            module.training = training


def frozen_depth() -> int:
    """How many `frozen` blocks are open; the loop refuses a move made inside one."""
    return _frozen_depth


def build(
    kind: type[Method], settings: Settings, traits: Traits, *, seed: int = 0, base: Method | None = None
) -> Method:
    """A method with freshly drawn weights, a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "weights"))
        return kind(settings, traits, base=base)
