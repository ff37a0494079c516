"""The gate that `synthesize --accept` names, with the data that the run was trained on."""

from __future__ import annotations

from pathlib import Path

from scantling.core.checks import check_choice
from scantling.core.errors import SettingsError
from scantling.core.outputs import RUN
from scantling.inference.acceptance import CopyGate, copy_gate
from scantling.records.run_folder import load_model
from scantling.training.material import dataset_of

NEW = "new"
"""Images that copy no training image."""


def gate_of(source: Path | str, accept: str | None) -> CopyGate | None:
    """What the images of a run have to pass; None where nothing is asked.

    Raises:
        SettingsError: there is no such gate, the source was trained on nothing, or it changes images that it is given.
        ScantlingError: its training data are not where they were.
    """
    if accept is None:
        return None
    check_choice(accept, (NEW,), argument="--accept")
    run = Path(source)
    if not (run / RUN).is_file():
        raise SettingsError(f"--accept {accept}: {source} is no run, and has no training images to copy; leave it out")
    method = load_model(run)
    if any("image" in asked.split() for asked in method.card.asks):
        raise SettingsError(
            f"--accept {accept}: {method.card.name} changes images that it is given, to which the made ones are near "
            "by intention; leave it out"
        )
    return copy_gate([case for case in dataset_of(run).cases if case.split == "train"])
