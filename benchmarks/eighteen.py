"""All eighteen published systems on one page: each against its natural control, on public data, at equal minutes.

    python benchmarks/eighteen.py --data data --out eighteen --minutes 5 [--seeds 3] [--only MB-Diff,CDM]
        [--preset quick] [--threads 2] [--shard 1/2] [--write] [--small]

`--data` holds the public sets by their names in docs/data.md. What is trained is the table in
`scantling.experiments.systems`: an arm takes `--minutes` of training in all, which its stages share; making cases and
answering come on top. A seed also draws the labelled subjects where there are few. One arm with one seed is a cell: it
runs in a process of its own, whose peak memory is told, and is never done again; a command that was stopped goes on
where it was, in the middle of a training too, and several commands with different `--shard` share the work.

Prints the systems of which both arms are done, with what each paper claims, on other data than these. Intervals (95 %)
draw test subjects and trainings anew. Below three seeds nothing is judged. `--write` puts the table into the
documentation. `--small` is a try of moments, whose figures say nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scantling.core.atomic import write_text
from scantling.core.errors import DataError, RunError, ScantlingError, SettingsError
from scantling.core.text import with_part
from scantling.experiments.kept_scores import subjects_of, values_of
from scantling.experiments.resampling import Draws, estimate
from scantling.experiments.system_cells import Cell, How, do_cells
from scantling.experiments.systems import SYSTEMS, System, verdict
from scantling.inference.runner import check_shard
from scantling.metrics.catalogue import METRICS
from scantling.records.run import read_run
from scantling.training.callbacks import StoppedError

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = {"results.md": "##", "eighteen.md": "###"}
"""Where the table goes, below a heading of which level."""
ARMS = ("ours", "control")
"""Of a system, by their names in `System`."""


def rows(systems: Sequence[System], how: How, seeds: int, *, whole: bool) -> list[list[str]]:
    """A row for each system of which both arms are done, with the seeds of which both are.

    Args:
        whole: leave out systems that lack a seed.
    """
    found = []
    for system in systems:
        cells = [[Cell(system, arm, seed, how) for arm in ARMS] for seed in range(seeds)]
        both = [pair for pair in cells if all(cell.done() is not None for cell in pair)]
        if len(both) >= (seeds if whole else 1):
            found.append(row(system, both))
    return found


def row(system: System, cells: Sequence[Sequence[Cell]]) -> list[str]:
    """A row; the cells by seed and arm."""
    records = [[record for pair in cells if (record := pair[arm].done()) is not None] for arm in range(len(ARMS))]
    values = [values_of(of_arm, system.metric) for of_arm in records]
    alone = np.isnan(values[0]).any(axis=0) | np.isnan(values[1]).any(axis=0)
    for of_arm in values:
        of_arm[:, alone] = np.nan  # a case counts where it has a score in all trainings
    which = np.unique(subjects_of(records[0][0]), return_inverse=True)[1]
    draws = Draws.of(subjects=len({*which}), label_seeds=1, seeds=len(cells))
    metric = METRICS[system.metric]
    low, high = metric.range

    def with_interval(those: np.ndarray, least: float, most: float, sign: str = "") -> tuple[str, tuple[float, float]]:
        of = estimate(those[None], [int(number) for number in which], draws)
        ends, form = of.interval(low=least, high=most), f"{sign}.3f" if high <= 2 else f"{sign}.1f"
        return f"{of.value:{form}} [{ends[0]:{form}}, {ends[1]:{form}}]", ends

    difference, ends = with_interval(values[0] - values[1], low - high, high - low, "+")
    pair = cells[0]
    taken = [[cost for one in cells for cost in one[arm].taken().values()] for arm in range(len(ARMS))]
    minutes = [sum(cost["seconds"] for cost in of_arm) / 60 / len(cells) for of_arm in taken]
    memory = [max(cost["bytes"] for cost in of_arm) / 1e9 for of_arm in taken]
    labels = pair[0].labels_read()
    return [
        f"[{system.name}](methods/{system.method}.md): {system.ours.says}", system.control.says,
        f"`{system.data}`, {system.budget}", "none" if labels is None else str(labels.all),
        metric.title + {"lower": " (lower is better)"}.get(metric.direction, ""),
        with_interval(values[0], low, high)[0], with_interval(values[1], low, high)[0], difference,
        " and ".join(f"{one:.1f}" for one in minutes), " and ".join(f"{one:.1f}" for one in memory),
        verdict(ends, metric.direction, seeds=len(cells)), f"{system.claim} ({system.on})",
    ]  # fmt: skip


HEAD = (
    "System", "Control", "Data, labels asked for", "Labels read", "Measure", "System's", "Control's", "Difference",
    "Minutes of both", "Peak memory of both, GB", "Verdict", "Its paper claims",
)  # fmt: skip


def table(found: Sequence[Sequence[str]]) -> str:
    """The rows in Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *found]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def circumstances(cells: Sequence[Cell]) -> str:
    """When and on which machines the cells that are done were trained."""
    runs = [read_run(cell.folder / [*cell.of.stages][-1]) for cell in cells if cell.done() is not None]
    days = sorted(run.started[:10] for run in runs if run.started)
    names = sorted({run.device_name or run.device or "" for run in runs})
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return f"{when}, on {', '.join(names)}"


def written(found: Sequence[Sequence[str]], of: argparse.Namespace, heading: str, trained: str) -> str:
    """The part of the documentation: the table, and how, when and where it was made."""
    command = f"python benchmarks/eighteen.py --data data --out eighteen --minutes {of.minutes:g} --seeds {of.seeds}"
    command += "".join(f" --{name} {getattr(of, name)}" for name in ("only", "threads") if getattr(of, name))
    command += f" --preset {of.preset}" if of.preset != "quick" else ""
    seeds = f"{of.seeds} seed{'s'[: of.seeds != 1]}"
    return (
        f"{heading} {len(found)} of {len(SYSTEMS)} systems against their controls\n\n"
        f"{of.minutes:g} minutes of training for each arm, {seeds}, preset `{of.preset}`, no case held out; {trained}; "
        "95 % intervals draw subjects and trainings anew. Minutes are those of training and of making cases. What a "
        "paper claims is of other data and other sizes: it says what the system did there, and no score here can be "
        f"held against it.\n\n```bash\n{command}\n```\n\n{table(found)}"
    )


def chosen(words: str) -> list[System]:
    """The systems that are asked for.

    Raises:
        SettingsError: one is none.
    """
    wanted, found = [word.strip().lower() for word in words.split(",") if word.strip()], list[System]()
    for word in wanted:
        those = [system for system in SYSTEMS if word in (system.name.lower(), system.method)]
        if not those:
            known = ", ".join(system.method for system in SYSTEMS)
            raise SettingsError(f"--only: found {word!r}; expected names of systems or methods, of {known}")
        found += those
    return [system for system in SYSTEMS if system in found or not wanted]


def check_data(systems: Sequence[System], data: Path) -> None:
    """Make sure that the sets are there.

    Raises:
        DataError: one is not.
    """
    lacking = [system for system in systems if not (data / system.data).is_dir()]
    if lacking:
        first, others = lacking[0], len({system.data for system in lacking}) - 1
        more = f", and {others} more {'is' if others == 1 else 'are'} not there" if others else ""
        raise DataError(
            f"--data {data}: found no folder {first.data}, on which {first.name} is trained{more}; expected the public "
            "sets by their names in docs/data.md, or name the systems to train with --only"
        )


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the public sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, help="of training, for each arm with each seed")
    parser.add_argument("--seeds", type=int, default=1, help="(default 1)")
    parser.add_argument("--only", default="", help="systems, by name or method, divided by commas; all unless said")
    parser.add_argument("--preset", choices=("quick", "paper", "tiny"), default="quick")
    parser.add_argument("--threads", type=int, help="processor threads")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="every n-th cell, the i-th of n commands")
    parser.add_argument("--write", action="store_true", help="the table into docs/")
    parser.add_argument("--small", action="store_true")
    return parser.parse_args(words)


def how_of(of: argparse.Namespace) -> tuple[How, tuple[int, int]]:
    """What all cells share, and which of them are done here.

    Raises:
        SettingsError: an argument is out of range, or two do not go together.
    """
    first, _, last = of.shard.partition("/")
    shard = int(first) if first.isdecimal() else 0, int(last) if last.isdecimal() else 0
    check_shard(shard)
    if of.seeds < 1:
        raise SettingsError(f"--seeds {of.seeds}: expected 1 or more")
    if of.small and of.write:
        raise SettingsError("--write: the figures of --small say nothing; leave one of them out")
    if not of.small and (of.minutes is None or not 0 < of.minutes < float("inf")):
        raise SettingsError(f"--minutes: found {of.minutes}; expected a number above 0, such as --minutes 5")
    small = {"preset": "tiny", "minutes": None} if of.small else {"preset": of.preset, "minutes": of.minutes}
    return How(data=of.data, out=of.out, split="test", threads=of.threads, **small), shard


def say(sentence: str) -> None:
    """On the side."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def main(words: Sequence[str] | None = None) -> int:
    """Do what is left to do and print the table; 1 where a cell failed, 2 where nothing could be started."""
    of = parsed(words)
    try:
        how, (first, last) = how_of(of)
        systems = chosen(of.only)
        check_data(systems, of.data)
        every = [Cell(one, arm, seed, how) for seed in range(of.seeds) for one in systems for arm in ARMS]
        each = list({cell.scores: cell for cell in every}.values())
        failed = do_cells(each[first - 1 :: last], say)
        found = rows(systems, how, of.seeds, whole=of.write)
        if of.write and not found:
            raise RunError("--write: found no system of which both arms are done with every seed; nothing was written")
    except KeyboardInterrupt:
        say("stopped; the same command goes on")
        return 130
    except StoppedError as error:
        say(str(error))
        return 130
    except ScantlingError as error:
        say(str(error))
        return 2
    sys.stdout.write(f"{table(found)}\n")
    if of.write:
        for page, heading in PAGES.items():
            text = (DOCS / page).read_text(encoding="utf-8")
            write_text(DOCS / page, with_part(text, "eighteen", written(found, of, heading, circumstances(each))))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
