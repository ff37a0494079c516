"""The commands around a person who looks and corrects: `view` and `next`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, counting, talk, tell, width
from scantling.cli.commands.common import Computed, Opened
from scantling.core.errors import SettingsError
from scantling.core.outputs import check_file

if TYPE_CHECKING:
    from scantling.viewing.server import CaseServer


@dataclass(kw_only=True)
class View(Opened, Computed):
    """Look at cases in the browser, from a server that only this machine can reach; with --correct, correct masks."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling view runs/unet",
        "scantling view scans --split train",
        "scantling view masks --data scans",
        "scantling view runs/unet --correct --data scans --out corrections",
        "scantling view masks --correct --data scans --out corrections --cases next.csv",
    )

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|DATA|MASKS")]
    """A run with scores, an evaluation, a data set, or a folder of masks."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DATA")] = None
    """The images of a folder of masks; those to correct."""
    split: Literal["train", "validation", "test", "all"] | None = None
    """The cases to show; by default all, of a run the test cases if they were scored, else the validation cases."""
    correct: bool = False
    """Correct the masks of training images: those of the folder, or what the run says of images that it has no label
    of."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="CORRECTIONS")] = None
    """Where corrected masks go; `scantling train --data DATA --data CORRECTIONS` learns from them."""
    cases: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Correct these cases, in their order: the CSV of `scantling next`."""
    author: str | None = None
    """Who corrects; by default the name of the user."""
    port: int = 0
    """0 takes any that is free."""
    no_browser: bool = False
    """Print the address, and open no browser."""

    def run(self) -> Outcome:
        """Open what there is, and serve it until Ctrl+C."""
        from scantling.viewing.opened import open_shown
        from scantling.viewing.server import CaseServer, serve

        if not 0 <= self.port < 65536:
            raise SettingsError(f"--port {self.port}: expected 0 to 65535")
        if not self.correct:
            if wrong := [f"--{name}" for name in ("out", "cases", "author") if getattr(self, name) is not None]:
                raise SettingsError(f"{wrong[0]}: goes with --correct; add it, or leave {wrong[0]} out")
            shown = open_shown(self.path, data=self.data, split=self.split, opening=self.opening())
            server = CaseServer(shown, port=self.port)
        else:
            server = self._correcting()
        for remark in server.shown.remarks:
            talk().print(remark)

        def then() -> None:
            talk().print("open in this browser only; Ctrl+C ends it")
            serve(server, browser=not self.no_browser, told=tell)

        return Outcome({"address": server.address, "port": server.port, "cases": len(server.shown.entries)}, then=then)

    def _correcting(self) -> CaseServer:
        """What takes corrections."""
        from scantling.experiments.next_cases import ids_in
        from scantling.viewing.opened import open_correctable
        from scantling.viewing.server import CaseServer

        if self.out is None:
            raise SettingsError("--correct: name the folder for corrected masks with --out")
        if self.split is not None:
            raise SettingsError("--split: training images alone are corrected; leave it out")
        with counting("predicting") as progress:
            found = open_correctable(
                self.path, data=self.data, out=self.out, author=_user() if self.author is None else self.author,
                only=() if self.cases is None else ids_in(self.cases), opening=self.opening(), compute=self.compute(),
                progress=progress,
            )  # fmt: skip
        return CaseServer(found.shown, save=found.save, state=found.corrections.state, port=self.port)


def _user() -> str:
    """The name of the user; empty where the system has none, as in a container."""
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError, ImportError):
        return ""


@dataclass(kw_only=True)
class Next(Opened, Computed):
    """List which unlabelled images to label next, by what a model is unsure of or has not seen, or by chance."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling next runs/unet scans --count 10 --csv next.csv",
        "scantling next runs/unet scans corrections --by uncertainty --json next.json",
        "scantling next runs/unet scans --by foreground --seed 1",
    )

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A trained segmenter."""
    data: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """The data set of the run, and folders of corrections that were made since."""
    count: Annotated[int, tyro.conf.arg(metavar="N")] = 10
    """How many."""
    by: Literal["uncertainty", "diversity", "both", "random", "foreground"] = "both"
    """uncertainty: the lowest expected Dice first; diversity: what the network has not seen (core-set); both: the most
    diverse of the twice as many most uncertain ones; the controls: random, and foreground, random among cases in which
    the model finds anything."""
    seed: int = 0
    """Of chance."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write a line for each case with the paths of its image and of the model's mask, for labelling tools."""

    def run(self) -> Outcome:
        """Choose and list."""
        from scantling.experiments.next_cases import next_cases

        if self.csv is not None:
            check_file(self.csv, suffix=".csv")
        with counting("looking") as progress:
            found = next_cases(
                self.model, self.data, count=self.count, by=self.by, seed=self.seed, opening=self.opening(),
                compute=self.compute(), progress=progress,
            )  # fmt: skip
        tell(found.table(width=width()))
        if self.csv is not None:
            found.write_csv(self.csv)
            tell(str(self.csv))
        return Outcome(found.facts(), list(found.failed))
