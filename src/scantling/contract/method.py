"""What a method is.

A method is its paper in one file. It says how its images are prepared (`preprocessing`), how it is trained (`stages`)
and what it answers: it is one or several of `Segmenter`, `Classifier`, `Generator`, `Registrar` and `Encoder`
(`contract.capabilities`). Training and inference drive every method through this room alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from scantling.contract.card import Capability, Card
from scantling.contract.settings import Settings
from scantling.contract.stage import Calibration, Stage
from scantling.contract.step import Inference
from scantling.core.case import Labels
from scantling.core.fields import label_map_of
from scantling.core.randomness import seed_layers
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Stream

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""By their place how many of the last axes they drop together."""


VESSEL = Labels(names=("vessel",), values=((255, 1),))
"""The one class of a method that reads no label, where the data do not name theirs."""


Dropout = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d

M = TypeVar("M", bound="Method")


class Method(nn.Module, ABC):
    """A published system over data with given traits. Subclasses name their card and their settings.

    The constructor builds the networks and reads nothing; `uses` are the models that it is built on, by role, as its
    card says. Their weights are part of its own.
    """

    card: ClassVar[Card]
    Settings: ClassVar[type[Settings]]
    settings: Any
    answering: ClassVar[tuple[str, ...]] = ()
    """The modules and buffers that inference needs, by their names; the rest is state of the training and is not saved
    with the model. All of them if empty."""
    begins_with: ClassVar[tuple[str, ...]] = ()
    """The names of other methods whose models may give its first weights (`train --from`): by the names of their
    tensors, with the settings that shape the networks of both (`Settings.architecture`)."""

    def __init__(self, settings: Any, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__()
        self.settings = settings
        if (chosen := self.card.chosen(settings)) is not self.card:
            self.card = chosen  # type: ignore[misc]  # what a model needs may follow from its settings
        self.traits = traits
        self.uses = nn.ModuleDict(dict(uses or {}))

    @classmethod
    def resolve_traits(cls, settings: Any, traits: Traits) -> Traits:
        """The traits that the model is saved with: what settings and data decide of its channels and classes."""
        del settings
        return traits

    @property
    @abstractmethod
    def preprocessing(self) -> Preprocessing:
        """How its images are prepared."""

    @property
    def median_shape(self) -> tuple[int, ...]:
        """The shape of the median training image, or of a slice of it, on the grid of the method."""
        recipe = self.preprocessing
        traits = self.traits.slices() if recipe.dimensions == 2 else self.traits
        return recipe.grid(traits.shape, traits.spacing)

    @property
    def gives(self) -> tuple[Capability, ...]:
        """What this model can do: of what its card gives, what the data allow."""
        return self.card.gives

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels of the images that inference needs, of those that it was trained on."""
        return self.traits.channels

    @property
    def partial(self) -> bool:
        """Whether images may lack channels, to train it and to be answered: where one of its streams says so."""
        return any(stream.partial for stage in self.stages() for stream in stage.streams)

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights, in which it is given images; float32 if it has none."""
        return next((parameter.dtype for parameter in self.parameters()), torch.float32)

    @property
    def hand_drawn(self) -> int:
        """How many masks or scribbles drawn by people its streams read, or stand behind made ones or first weights."""
        stages = self.stages()
        streams: list[Stream] = [stream for stage in stages for stream in stage.streams]
        streams += [Stream(name=each.name, reads=each.reads) for stage in stages for each in stage.prepares]
        calibration = self.calibration()
        streams += [calibration.stream] if calibration is not None and calibration.split == "train" else []
        reading = [stream for stream in streams if label_map_of(stream.fields) or "instances" in stream.fields]
        of_images = any("image" not in stream.without for stream in reading)
        alone = any("image" not in stream.reads for stream in reading)
        read = of_images * self.traits.hand_drawn + alone * self.traits.hand_drawn_alone
        return max(read, self.traits.hand_drawn_before)

    def stages(self) -> Sequence[Stage]:
        """How it is trained; none for a filter or a rule."""
        return ()

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """What it has decided for data with these traits, in words (`Settings.explain`)."""
        found: tuple[str, ...] = self.settings.explain(traits)
        return found

    def calibration(self) -> Calibration | None:
        """What it learns after its last stage, if anything."""
        return None

    def learned(self) -> Mapping[str, float]:
        """Numbers that it has learned and that say something to people, by name ("reliability of T1"); none by default.

        They are written into `run.json` and shown in the report.
        """
        return {}

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """What it shows of itself in the report on one image, by caption: (3, H, W) in [0, 1]; nothing by default."""
        del batch, inference
        return {}

    def model_state(self) -> dict[str, Tensor]:
        """The part of its state that inference needs (`answering`), the models that it is built on included."""
        models = {role: model for role, model in self.uses.items() if isinstance(model, Method)}
        kept = {f"uses.{role}.{name}" for role, model in models.items() for name in model.model_state()}
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if (name in kept if name.startswith("uses.") else self._answers(name))
        }

    def _answers(self, name: str) -> bool:
        """Whether inference needs the part of its own state that has this name."""
        return not self.answering or name.partition(".")[0] in self.answering

    def load_model_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `model_state` gave; what else the method has stays as it is.

        Raises:
            RuntimeError: the state is not that of such a method.
        """
        missing = self.model_state().keys() - state.keys()
        unknown = state.keys() - self.state_dict().keys()
        if missing or unknown:
            raise RuntimeError(f"missing weights: {sorted(missing)[:3]}; unknown weights: {sorted(unknown)[:3]}")
        self.load_state_dict(dict(state), strict=False)


def dropouts(network: nn.Module) -> list[Dropout]:
    """The layers of a network that drop something at random while they are trained."""
    return [layer for layer in network.modules() if isinstance(layer, DROPOUTS) and layer.p > 0]


def build(
    kind: type[M],
    settings: Settings,
    traits: Traits,
    *,
    seed: int = 0,
    uses: Mapping[str, Method] | None = None,
    resolved: bool = False,
) -> M:
    """A method with freshly drawn weights, a function of the seed.

    Args:
        resolved: the traits are those that a model was saved with (`Method.resolve_traits`).
    """
    with torch.random.fork_rng(devices=[]):
        seed_layers(torch.device("cpu"), seed, "weights")
        return kind(settings, traits if resolved else kind.resolve_traits(settings, traits), uses=uses)
