"""Masks for made images by a segmenter that is named: `synthesize --use segmenter=RUN`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch

from scantling.contract.capabilities import Generator, Segmenter
from scantling.core.case import Case, Labels, Sample
from scantling.core.errors import RunError, SettingsError
from scantling.inference.answering import segment
from scantling.inference.bands import answer_in_bands
from scantling.inference.made_cases import MadeArrays
from scantling.inference.tiles import Tiler
from scantling.inference.writing import mask_values
from scantling.records.run_folder import identity_of, load_model

SEGMENTER = "segmenter"


@dataclass(frozen=True, kw_only=True)
class Marker:
    """Marks the images of made cases, as `predict` would mark their files.

    Attributes:
        made_by: what stands of it in the origin of each case.
        labels: of its masks.
    """

    model: Segmenter
    made_by: str
    labels: Labels
    device: torch.device
    autocast: torch.dtype | None = None
    seed: int = 0
    tiler: Tiler = field(default_factory=Tiler)

    @classmethod
    def of(
        cls,
        uses: Mapping[str, Path],
        method: Generator,
        *,
        device: torch.device,
        autocast: torch.dtype | None,
        seed: int,
    ) -> Self | None:
        """That of the runs that are named by role; None where none is.

        Raises:
            SettingsError: another role, or a model that does not suit what `method` makes.
        """
        if unknown := [role for role in uses if role != SEGMENTER]:
            raise SettingsError(f"--use {unknown[0]}: synthesize uses a segmenter alone, --use segmenter=RUN")
        if SEGMENTER not in uses:
            return None
        run = uses[SEGMENTER]
        model = load_model(run)
        flag = f"--use segmenter={run}"
        if not isinstance(model, Segmenter) or "segment" not in model.gives:
            raise SettingsError(f"{flag}: {model.card.name} can {', '.join(model.gives)}; expected one that segments")
        if missing := [name for name in model.channels if name not in method.channels_out]:
            made = ", ".join(method.channels_out) or "no image"
            raise SettingsError(f"{flag}: reads the channel {missing[0]!r}; {method.card.name} makes {made}")
        if model.traits.dimensions != method.traits.dimensions:
            raise SettingsError(
                f"{flag}: was trained on {model.traits.dimensions}-D data; {method.card.name} makes "
                f"{method.traits.dimensions}-D images"
            )
        labels = model.traits.labels
        if labels is None:
            raise SettingsError(f"{flag}: knows no classes")
        identity = identity_of(run)
        return cls(
            model=model.to(device).eval(), made_by=f"{model.card.name} {identity}", labels=labels, device=device,
            autocast=autocast, seed=seed,
        )  # fmt: skip

    def __call__(self, id: str, made: MadeArrays) -> MadeArrays:
        """The same case with masks.

        Raises:
            RunError: it has masks already.
        """
        if made.mask is not None:
            raise RunError(f"{id}: the model makes masks itself; leave out --use segmenter")
        channels = {
            name: values
            for file, array in made.images
            for name, values in zip(file.channels, array, strict=True)
            if name in self.model.channels
        }
        image = np.stack([channels[name].astype(np.float32) for name in self.model.channels])
        sample = Sample(Case(id=id, subject=id), image, made.geometry)
        options = self.model.segment_with.of({"seed": self.seed})
        answer = partial(
            segment, self.model, device=self.device, tiler=self.tiler, options=options, autocast=self.autocast
        )
        decided = answer_in_bands(answer, sample, [self.model], exclusive=self.labels.exclusive, maps=False)
        return replace(made, mask=mask_values(decided.decision, self.labels))
