"""The gates that `synthesize --accept` names, with the data that the run was trained on and the segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scantling.core.checks import check_choice
from scantling.core.errors import SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.core.outputs import RUN
from scantling.inference.acceptance import CopyGate, Gate, Gates, LabelGate, copy_gate
from scantling.inference.marking import SEGMENTER, Marker
from scantling.inference.synthesis import generator_of
from scantling.records.run_data import dataset_of
from scantling.records.run_folder import load_model

NEW, LABELS, BOTH = "new", "labels", "both"
"""Images that copy no training image; images in which a segmenter finds their labels; both."""
LEAST = 0.7
"""The Dice from which on a label is found; ours."""


def gate_of(
    source: Path | str,
    accept: str | None,
    *,
    uses: Mapping[str, Path] | None = None,
    least: float | None = None,
    settings: Mapping[str, Any] | None = None,
    compute: Compute = COMPUTE,
) -> tuple[Gate | None, dict[str, Path]]:
    """What the cases of a source have to pass, None where nothing is asked; and the runs by role that are left.

    Args:
        uses: runs by role; the segmenter is taken by the gate of labels.
        least: the Dice from which on that gate accepts; None: `LEAST`.
        settings: of a source that needs no training.

    Raises:
        SettingsError: there is no such gate, or it does not suit the source.
        ScantlingError: the training data of the run are not where they were.
    """
    left = dict(uses or {})
    if least is not None and accept not in (LABELS, BOTH):
        raise SettingsError(f"--accept-dice {least:g}: goes with --accept labels; leave it out")
    if accept is None:
        return None, left
    check_choice(accept, (NEW, LABELS, BOTH), argument="--accept")
    gates: list[Gate] = [_copies(source, accept)] if accept in (NEW, BOTH) else []
    if accept in (LABELS, BOTH):
        if SEGMENTER not in left:
            raise SettingsError(
                f"--accept {accept}: asks a segmenter that was trained on real data; name it with --use segmenter=RUN"
            )
        method, _ = generator_of(source, settings or {})
        device = compute.prepare()
        autocast = compute.autocast(device, training=False)
        marker = Marker.of({SEGMENTER: left.pop(SEGMENTER)}, method, device=device, autocast=autocast, seed=0)
        if marker is None or method.traits.labels is None:
            raise SettingsError(f"--accept {accept}: {method.card.name} makes no masks; leave it out")
        gates.append(LabelGate(marker, method.traits.labels, LEAST if least is None else least))
    return (gates[0] if len(gates) == 1 else Gates(tuple(gates))), left


def _copies(source: Path | str, accept: str) -> CopyGate:
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
