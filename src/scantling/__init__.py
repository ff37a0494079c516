"""Medical image segmentation from few labels, weak labels or none.

The commands of the command line are functions here; each loads what it needs when it is first asked for, so that
importing the package is cheap and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scantling import diffusion as diffusion
    from scantling import fusion as fusion
    from scantling import losses as losses
    from scantling import mending as mending
    from scantling import metrics as metrics
    from scantling import mixing as mixing
    from scantling import networks as networks
    from scantling import phantoms as phantoms
    from scantling import warping as warping
    from scantling.api.mending import mend
    from scantling.api.models import load_model
    from scantling.api.scores import score
    from scantling.data.dataset import open_dataset
    from scantling.data.integrity import check
    from scantling.evaluation import evaluate
    from scantling.experiments.compare import compare
    from scantling.inference import predict, register, synthesize
    from scantling.report import report as write_report
    from scantling.training import train

__version__ = "0.1.0"
__all__ = [
    "check",
    "compare",
    "evaluate",
    "load_model",
    "mend",
    "open_dataset",
    "predict",
    "register",
    "score",
    "synthesize",
    "train",
    "write_report",
]

# `scantling report` is `write_report` here, because `scantling.report` is the room that it lives in.
_HOMES = {
    "check": ("scantling.data.integrity", "check"),
    "compare": ("scantling.experiments.compare", "compare"),
    "evaluate": ("scantling.evaluation", "evaluate"),
    "load_model": ("scantling.api.models", "load_model"),
    "mend": ("scantling.api.mending", "mend"),
    "open_dataset": ("scantling.data.dataset", "open_dataset"),
    "predict": ("scantling.inference", "predict"),
    "register": ("scantling.inference", "register"),
    "score": ("scantling.api.scores", "score"),
    "synthesize": ("scantling.inference", "synthesize"),
    "train": ("scantling.training", "train"),
    "write_report": ("scantling.report", "report"),
}
_ROOMS = ("diffusion", "fusion", "losses", "mending", "metrics", "mixing", "networks", "phantoms", "warping")
"""Packages of parts for a loop of one's own, which `import scantling` alone does not load either."""


def __getattr__(name: str) -> Any:
    """Load a command from its room, or a room."""
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room, command = _HOMES[name]
    return getattr(import_module(room), command)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS})
