"""The commands of `scantling`, one dataclass each; what a field says below it is its help."""

from __future__ import annotations

from scantling.cli.commands.answering import Mend, Predict, Register
from scantling.cli.commands.assessing import Assess, Vessels
from scantling.cli.commands.common import Command
from scantling.cli.commands.curve import Curve
from scantling.cli.commands.judging import Compare, Evaluate, Report
from scantling.cli.commands.looking import Advise, Check, Methods
from scantling.cli.commands.making import Demo, Export, Synthesize
from scantling.cli.commands.training import Train
from scantling.cli.commands.viewing import Next, View
from scantling.cli.commands.worth import Worth

__all__ = [
    "ALL",
    "Advise",
    "Assess",
    "Check",
    "Command",
    "Compare",
    "Curve",
    "Demo",
    "Evaluate",
    "Export",
    "Mend",
    "Methods",
    "Next",
    "Predict",
    "Register",
    "Report",
    "Synthesize",
    "Train",
    "Vessels",
    "View",
    "Worth",
]

ALL: tuple[type[Command], ...] = (
    Check,
    Advise,
    Methods,
    Train,
    Predict,
    Register,
    Mend,
    Evaluate,
    Compare,
    Curve,
    Synthesize,
    Assess,
    Worth,
    Vessels,
    Export,
    Report,
    View,
    Next,
    Demo,
)
