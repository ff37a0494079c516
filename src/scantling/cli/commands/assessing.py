"""The commands that measure: `assess` holds made images against real ones, `vessels` measures branches."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, counting, tell
from scantling.cli.commands.common import Computed, Opened, roles_of
from scantling.core.errors import SettingsError


@dataclass(kw_only=True)
class Assess(Opened, Computed):
    """Hold made images against real ones: diversity, distance, copies of training images, anatomy, blind readers."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling assess painted --real scans",
        "scantling assess painted --real scans --features runs/unet --use segmenter=runs/unet --out painted.html",
        "scantling assess painted --real scans --reading reading.html",
        "scantling assess answers-ab.csv answers-cd.csv --key reading-key.csv",
    )

    sources: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="MADE|ANSWERS")]
    """A data set of made images, such as `synthesize` writes; or with --key the answers of readers (CSV)."""
    real: Annotated[Path | None, tyro.conf.arg(metavar="DATA")] = None
    """The data set that the generator was trained on."""
    split: Literal["train", "validation", "test", "all"] = "train"
    """Of the real images."""
    features: Annotated[str | None, tyro.conf.arg(metavar="RUN|MODULE:FACTORY")] = None
    """Whose features FID, KID, precision, recall, density and coverage are of: a run of a segmenter or an encoder, or
    what makes a network of yours. Without one these are left out; there is no default network."""
    use: Annotated[tyro.conf.UseAppendAction[list[str]], tyro.conf.arg(metavar="segmenter=RUN")] = field(
        default_factory=list
    )
    """A segmenter, trained on real images, that marks both sets to compare their anatomy."""
    most: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Images of each set, drawn by a hash of their ids; 200 unless said, on a reading page 20. Copies are looked for
    among all real images."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The page; by default MADE.html beside MADE."""
    reading: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Measure nothing, but write a page on which people grade made and real images without knowing which is which; its
    key goes into NAME-key.csv beside it."""
    key: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The key of a reading page: score the answers that readers have saved."""

    def run(self) -> Outcome:
        """Assess."""
        if self.key is not None:
            return self._answers(self.key)
        if len(self.sources) != 1:
            raise SettingsError(
                f"found {len(self.sources)} data sets of made images; expected one (answers need --key)"
            )
        if self.real is None:
            raise SettingsError("--real: found none; name the real data set that the made images are held against")
        if self.reading is not None:
            return self._reading(self.sources[0], self.real, self.reading)
        from scantling.evaluation.generated import MOST, assess
        from scantling.report.generated import check_page, page_beside, write_generated

        uses = roles_of(self.use)
        if strange := [role for role in uses if role != "segmenter"]:
            raise SettingsError(f"--use {strange[0]}={uses[strange[0]]}: expected segmenter=RUN")
        page = self.out or page_beside(self.sources[0])
        check_page(page)
        with counting("reading") as progress:
            found = assess(
                self.sources[0], self.real, split=self.split, features=self.features, segmenter=uses.get("segmenter"),
                most=MOST if self.most is None else self.most, opening=self.opening(), compute=self.compute(),
                progress=progress,
            )  # fmt: skip
        tell(found.table())
        tell(str(write_generated(found, page, command=("scantling", *sys.argv[1:]))))
        return Outcome({**found.facts(), "page": str(page)}, list(found.failed))

    def _reading(self, made: Path, real: Path, page: Path) -> Outcome:
        from scantling.report.reading import EACH, write_reading

        if wrong := [name for name in ("features", "use", "out") if getattr(self, name)]:
            raise SettingsError(f"--{wrong[0]}: a reading page measures nothing; leave it out with --reading")
        each = EACH if self.most is None else self.most
        with counting("drawing") as progress:
            page, key, failed = write_reading(
                made, real, page, split=self.split, each=each, opening=self.opening(), progress=progress
            )
        tell(f"{page}: for the readers; {key}: the key, not for them")
        return Outcome({"page": str(page), "key": str(key)}, failed)

    def _answers(self, key: Path) -> Outcome:
        from scantling.evaluation.readings import score_readings

        if wrong := [name for name in ("real", "features", "use", "out", "reading", "most") if getattr(self, name)]:
            raise SettingsError(f"--{wrong[0]}: --key scores answers alone; leave one of them out")
        found = score_readings(self.sources, key)
        tell(found.table())
        return Outcome(found.facts())


@dataclass(kw_only=True)
class Vessels(Opened):
    """Measure vessels: the branches of masks with length, radius and tortuosity, forks, ends and density."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling vessels masks --data scans --out branches.csv",
        "scantling vessels scans --split test --out branches.csv --json vessels.json",
        "scantling vessels mended --out branches.csv --classes vessel",
    )

    masks: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MASKS")]
    """What `predict` or `mend` wrote, a folder of masks, or a data set with masks; in 2-D or 3-D."""
    out: Annotated[Path, tyro.conf.arg(metavar="CSV")]
    """A line for each branch goes here."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DATA")] = None
    """The data set that the masks are of: its regions of interest and the size of its pixels count."""
    split: Literal["train", "validation", "test", "all"] = "all"
    """The cases to measure."""
    classes: Annotated[list[str], tyro.conf.arg(metavar="CLASS")] = field(default_factory=list)
    """The classes to measure; all unless said."""
    untrusted: bool = False
    """Decode in a process of its own with limits on time and memory."""

    def run(self) -> Outcome:
        """Measure."""
        from scantling.core.outputs import check_file
        from scantling.evaluation.vessels import vessels

        check_file(self.out, suffix=".csv")
        with counting("measuring") as progress:
            found = vessels(
                self.masks, data=self.data, split=self.split, classes=self.classes, opening=self.opening(),
                progress=progress,
            )  # fmt: skip
        found.write_csv(self.out)
        tell(found.table())
        tell(f"{self.out}: {sum(len(case.found.branches) for case in found.cases)} branches")
        return Outcome({**found.facts(), "csv": str(self.out)}, list(found.failed))
