"""Run folders of models with random weights, which answer as trained ones do and take no time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scantling.contract.method import build
from scantling.data.dataset import open_dataset
from scantling.data.traits import measure_traits
from scantling.methods.catalogue import cards, implementation_of
from scantling.records.run_folder import save_model


def untrained(
    method: str, data: Path, out: Path, *, seed: int = 0, traits: Mapping[str, Any] | None = None, **settings: Any
) -> Path:
    """A run folder with a model of the preset "tiny" for the data, or for other traits."""
    kind = implementation_of(cards()[method])
    measured = measure_traits(open_dataset(data)).model_copy(update=traits)
    chosen = kind.Settings.preset("tiny", settings).resolve(measured)
    save_model(build(kind, chosen, measured, seed=seed), out / "model")
    return out
