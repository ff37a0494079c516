"""What all commands share: `--json`, how data are opened, where numbers are computed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, tell
from scantling.core.errors import SettingsError
from scantling.core.outputs import check_file

if TYPE_CHECKING:
    from scantling.core.engines import Cluster, Share
    from scantling.core.machine import Compute
    from scantling.data.opening import Opening
    from scantling.experiments.curve import Ready
    from scantling.training.options import Options


@dataclass(kw_only=True)
class Command:
    examples: ClassVar[tuple[str, ...]] = ()

    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the result as JSON to this file; - for standard output."""


@dataclass(kw_only=True)
class Opened(Command):
    manifest: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A manifest (TOML) that says what the files are; folders with a layout that is recognised need none."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder that the manifest's paths start from."""
    subjects: Literal["name", "file"] = "name"
    """name: files whose names share a subject's number (p01_slice3, case12_L) are one subject, which no split divides;
    file: each file is a subject."""

    def opening(self) -> Opening:
        """The typed form of these options."""
        from scantling.data.opening import Opening

        return Opening(
            manifest=self.manifest, root=self.root, subjects=self.subjects, untrusted=getattr(self, "untrusted", False)
        )


@dataclass(kw_only=True)
class Computed(Command):
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Processor threads; numbers repeat bit for bit only with the same count."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """auto is bf16 on a GPU that has it and, to train, on a processor that has it; float32 elsewhere."""

    def compute(self) -> Compute:
        """The typed form of these options."""
        from scantling.core.machine import Compute

        return Compute(device=self.device, threads=self.threads, precision=self.precision)


@dataclass(kw_only=True)
class Trainings(Opened, Computed):
    """What commands that do many trainings share."""

    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write a line for each training as a table."""
    shard: Annotated[str, tyro.conf.arg(metavar="I/N")] = "1/1"
    """i/n does every n-th training: for array jobs; the command without it then makes the table."""
    engine: Literal["local", "ray", "slurm"] = "local"
    """local trains one after the other; ray spreads trainings over this machine, or over the cluster that RAY_ADDRESS
    names, whose nodes see the same folders; slurm writes a job script into OUT."""
    cpus_per_cell: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Processor cores of each training, with ray (1) or slurm."""
    gpus_per_cell: Annotated[float | None, tyro.conf.arg(metavar="N")] = None
    """GPUs of each training, with ray or slurm; with ray several may share one (0.5)."""
    submit: bool = False
    """With slurm: also submit the script."""
    settings: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict)

    def checked(self, page: Path, **trainings: Any) -> tuple[Options, Share]:
        """The options of all trainings and what each takes of a machine, when all that is written may be.

        Args:
            page: that will be written.
            trainings: the preset, steps and minutes of the trainings.
        """
        from scantling.core.engines import Share
        from scantling.training.options import Options

        check_file(page, suffix=".html")
        if self.csv is not None:
            check_file(self.csv, suffix=".csv")
        options = Options(
            settings=self.settings, device=self.device, threads=self.threads, precision=self.precision,
            manifest=self.manifest, root=self.root, subjects=self.subjects, **trainings,
        )  # fmt: skip
        share = Share(cpus=self.cpus_per_cell, gpus=self.gpus_per_cell)
        share.check()
        if self.submit and self.engine != "slurm":
            raise SettingsError("--submit: goes with --engine slurm; leave it out")
        return options, share


@dataclass(kw_only=True)
class Spread(Command):
    engine: Literal["local", "ray"] = "local"
    """ray shares the cases out over this machine, or over the cluster that RAY_ADDRESS names, whose nodes see the same
    folders."""

    @contextmanager
    def cluster(self) -> Iterator[Cluster | None]:
        """The cluster that is asked for; None for this process."""
        from scantling.core.engines import Share, ray_cluster

        if self.engine == "local":
            yield None
            return
        if getattr(self, "shard", "1/1") != "1/1":
            raise SettingsError(
                f"--shard {getattr(self, 'shard', '')}: --engine ray makes shards itself; leave one out"
            )
        with ray_cluster(Share()) as cluster:
            yield cluster


def array_job(ready: Ready, words: Sequence[str], share: Share, *, submit: bool) -> Outcome:
    """Write, and submit if asked, an array job for Slurm that does the trainings that are not yet done.

    Args:
        words: the command of a job, without its shard.
    """
    from scantling.experiments.slurm import submitted, write_script

    out, script = ready.recipe.out, write_script(ready, words, share)
    if script is None:
        tell(f"{out}: all trainings are done; the same command without --engine slurm makes the table")
        return Outcome({"script": None, "submitted": None})
    tell(f"{script}: {'submitting' if submit else 'submit it with `sbatch ' + shlex.quote(str(script)) + '`'}")
    told = submitted(script) if submit else None
    if told is not None:
        tell(told)
    return Outcome({"script": str(script), "submitted": told})


def shard_of(text: str) -> tuple[int, int]:
    """Which of how many jobs `--shard` names.

    Raises:
        SettingsError: it names none.
    """
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and text.isascii()):
        raise SettingsError(f"--shard {text}: expected i/n, e.g. 1/4")
    return int(part), int(parts)


def tell_figures(folder: Path | None) -> dict[str, str]:
    """Say where figures were written, and what is not among them; for the JSON of a command."""
    from scantling.report.vector_files import NO_PDF, can_write_pdf

    if folder is None:
        return {}
    tell(f"figures: {folder}" + ("" if can_write_pdf() else f" ({NO_PDF})"))
    return {"figures": str(folder)}


def roles_of(words: Iterable[str]) -> dict[str, Path]:
    """The runs that `--use` names, by role.

    Raises:
        SettingsError: a word is not ROLE=RUN, or names a role again.
    """
    uses = dict[str, Path]()
    for word in words:
        role, equals, run = word.partition("=")
        if not (role and equals and run) or role in uses:
            raise SettingsError(f"--use {word}: expected ROLE=RUN, each role once")
        uses[role] = Path(run)
    return uses
