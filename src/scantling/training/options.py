"""How to train: the options of every method, as the command and the Python API take them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from scantling.core.errors import SettingsError
from scantling.core.machine import Precision
from scantling.data.label_budget import SlicesFrom, parsed_labels
from scantling.data.subjects import Subjects
from scantling.training.readers import Ordering, Sampling


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to train, beside what the method's settings say.

    Attributes:
        preset: of the settings: paper, quick or tiny.
        steps: of the optimiser, instead of the preset's.
        minutes: that the training may take: as many steps as fit, after timing some on this machine.
        settings: what differs from the preset, by name.
        seed: all randomness is a function of it.
        labels: keep the labels of so many subjects, or of a percentage of the labelled ones ("10%"), those for
            validation included; the others count as unlabelled. None: all.
        label_seed: decides which subjects these are, whatever `seed` is.
        label_instances: keep so many drawn objects, or a percentage of them, those for validation included, in place of
            `labels`; see `data.object_budget`. None: all.
        label_slices: keep so many slices of each labelled volume; the others are unknown. None: all.
        label_slices_from: which: spread evenly, or those around the middle.
        validation: the share of the labelled training subjects that is held out; of few labels (`labels`) rounded down.
        select: which weights are kept: the last, or the best on validation.
        base: a run that gives the first weights; see `training.pretrained`.
        pretrained_rate: the factor on the learning rate of the weights that it gives; None: 1 where it gives all of
            them, else `pretrained.REDUCED`.
        uses: runs that the method is built on, by role.
        accumulation: micro-batches a step, in each process.
        share, order, augment, augment_share: see `Sampling`.
        manifest, root, subjects: see `open_dataset`.
        saved_every: seconds between two checkpoints.
    """

    preset: str = "paper"
    steps: int | None = None
    minutes: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    labels: int | str | None = None
    label_seed: int = 0
    label_instances: int | str | None = None
    label_slices: int | None = None
    label_slices_from: SlicesFrom = "even"
    validation: float = 0.2
    select: Literal["last", "best"] = "last"
    base: Path | None = None
    pretrained_rate: float | None = None
    uses: Mapping[str, Path] = field(default_factory=dict)
    device: str = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    accumulation: int = 1
    share: Mapping[str, float] = field(default_factory=dict)
    order: Ordering = "shuffled"
    augment: Literal["own", "none", "strong"] = "own"
    augment_share: float = 1.0
    manifest: Path | None = None
    root: Path | None = None
    subjects: Subjects = "name"
    saved_every: float = 60.0

    def __post_init__(self) -> None:
        """Make every value one of its type.

        Raises:
            SettingsError: it cannot be.
        """
        for name, kind in _TYPES.items():
            try:
                object.__setattr__(self, name, kind.validate_python(_paths_in(getattr(self, name))))
            except ValidationError as error:
                flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
                message = f"{flag}: found {getattr(self, name)!r}; {error.errors()[0]['msg']}"
                raise SettingsError(message) from None

    @property
    def sampling(self) -> Sampling:
        """How the samples of every stream are drawn."""
        return Sampling(share=self.share, order=self.order, augment=self.augment, augment_share=self.augment_share)

    def check(self) -> None:
        """Make sure that every value can be.

        Raises:
            SettingsError: one is out of range.
        """
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                known = " or ".join(get_args(kind))
                raise SettingsError(f"--{name} {getattr(self, name)}: expected {known}")
        if not 0 <= self.validation < 1:
            raise SettingsError(f"--validation {self.validation}: expected a share of at least 0 and below 1")
        if self.labels is not None:
            parsed_labels(self.labels)
            if self.label_instances is not None:
                raise SettingsError("--labels and --label-instances are two budgets; leave one out")
        elif self.label_instances is not None:
            parsed_labels(self.label_instances, flag="--label-instances", what="objects")
        elif self.label_seed:
            raise SettingsError(
                f"--label-seed {self.label_seed}: chooses among the subjects of --labels; add --labels N"
            )
        if self.label_slices is not None and self.label_slices < 1:
            raise SettingsError(f"--label-slices {self.label_slices}: expected 1 or more")
        if self.label_slices is None and self.label_slices_from != "even":
            raise SettingsError(f"--label-slices-from {self.label_slices_from}: add --label-slices N")
        if self.steps is not None and self.steps < 1:
            raise SettingsError(f"--steps {self.steps}: expected 1 or more")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise SettingsError(f"--minutes {self.minutes:g}: expected more than 0")
        if self.minutes is not None and (self.steps is not None or "steps" in self.settings):
            raise SettingsError(f"--minutes {self.minutes:g}: chooses the steps; leave out --steps")
        if self.pretrained_rate is not None and self.base is None:
            raise SettingsError("--pretrained-rate is of the weights of --from; name a run with --from RUN")
        if self.pretrained_rate is not None and not 0 < self.pretrained_rate <= 1:
            raise SettingsError(f"--pretrained-rate {self.pretrained_rate}: expected a share above 0, and 1 at most")
        if self.accumulation < 1:
            raise SettingsError(f"--accumulation {self.accumulation}: expected 1 or more")


def _paths_in(value: Any) -> Any:
    """A value with objects that are paths, such as a run, as `Path`."""
    if isinstance(value, Mapping):
        return {key: _paths_in(one) for key, one in value.items()}
    return Path(value) if isinstance(value, os.PathLike) else value


FLAGS: Mapping[str, str] = {"base": "--from", "uses": "--use"}
"""Flags of options that have another name on the command line; of the others underscores become dashes."""
_TYPES: Mapping[str, TypeAdapter[Any]] = {
    name: TypeAdapter(kind) for name, kind in get_type_hints(Options).items() if get_origin(kind) is not Literal
}
DEFAULTS = Options()
