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
    from scantling.api.answering import predict, register, synthesize
    from scantling.api.assessing import assess, score_readings, write_reading
    from scantling.api.bridges import dataset_from, export
    from scantling.api.curve import curve
    from scantling.api.judging import compare, evaluate, evaluate_boxes, write_report
    from scantling.api.looking import advise, check, open_dataset
    from scantling.api.mending import mend
    from scantling.api.models import load_model
    from scantling.api.runs import Run
    from scantling.api.scores import score
    from scantling.api.training import plan, train
    from scantling.api.vessels import vessels
    from scantling.api.viewing import next_cases, view
    from scantling.api.worth import worth
    from scantling.training.callbacks import LoggedStep, StopTraining

__version__ = "0.1.0"
__all__ = [
    "LoggedStep",
    "Run",
    "StopTraining",
    "advise",
    "assess",
    "check",
    "compare",
    "curve",
    "dataset_from",
    "evaluate",
    "evaluate_boxes",
    "export",
    "load_model",
    "mend",
    "next_cases",
    "open_dataset",
    "plan",
    "predict",
    "register",
    "score",
    "score_readings",
    "synthesize",
    "train",
    "vessels",
    "view",
    "worth",
    "write_reading",
    "write_report",
]

# `scantling report` is `write_report` here, because `scantling.report` is the room that it lives in.
_HOMES = {
    "LoggedStep": ("scantling.training.callbacks", "LoggedStep"),
    "Run": ("scantling.api.runs", "Run"),
    "StopTraining": ("scantling.training.callbacks", "StopTraining"),
    "advise": ("scantling.api.looking", "advise"),
    "assess": ("scantling.api.assessing", "assess"),
    "check": ("scantling.api.looking", "check"),
    "compare": ("scantling.api.judging", "compare"),
    "curve": ("scantling.api.curve", "curve"),
    "dataset_from": ("scantling.api.bridges", "dataset_from"),
    "evaluate": ("scantling.api.judging", "evaluate"),
    "evaluate_boxes": ("scantling.api.judging", "evaluate_boxes"),
    "export": ("scantling.api.bridges", "export"),
    "load_model": ("scantling.api.models", "load_model"),
    "mend": ("scantling.api.mending", "mend"),
    "next_cases": ("scantling.api.viewing", "next_cases"),
    "open_dataset": ("scantling.api.looking", "open_dataset"),
    "plan": ("scantling.api.training", "plan"),
    "predict": ("scantling.api.answering", "predict"),
    "register": ("scantling.api.answering", "register"),
    "score": ("scantling.api.scores", "score"),
    "score_readings": ("scantling.api.assessing", "score_readings"),
    "synthesize": ("scantling.api.answering", "synthesize"),
    "train": ("scantling.api.training", "train"),
    "vessels": ("scantling.api.vessels", "vessels"),
    "view": ("scantling.api.viewing", "view"),
    "worth": ("scantling.api.worth", "worth"),
    "write_reading": ("scantling.api.assessing", "write_reading"),
    "write_report": ("scantling.api.judging", "write_report"),
}
_ROOMS = (
    "diffusion", "evidence", "fusion", "losses", "mending", "metrics", "mixing", "networks", "phantoms", "warping",
)  # fmt: skip
"""Packages of parts for a loop of one's own, which `import scantling` alone does not load either."""


def __getattr__(name: str) -> Any:
    """Load a name, or a room, when it is first asked for."""
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room, attribute = _HOMES[name]
    return getattr(import_module(room), attribute)


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_HOMES, *_ROOMS})
