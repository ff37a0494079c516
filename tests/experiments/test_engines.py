"""A real Ray on this machine: the same files come out, also where a worker is killed; and sentences where it is not."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_curve import TINY, WORDS, made

from commands import command
from scantling.core.engines import Cluster, Share, ray_cluster
from scantling.core.errors import RunError, SettingsError
from scantling.experiments.curve import curve
from scantling.records.run_folder import identity_of
from scantling.testing.trainings import quiet
from scantling.training import train


@pytest.fixture(scope="module", name="cluster")
def a_ray_of_two_workers() -> Iterator[Cluster]:
    """Started once for the tests of this file; commands join it."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'scantling[ray]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves its processes to the garbage collector
        with ray_cluster(Share(cpus=1)) as cluster:
            yield cluster
        gc.collect()


STEPS = 150
"""Enough to be killed in the middle of."""


@pytest.fixture(scope="module", name="data")
def the_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("engines") / "data")


def kill_the_first(out: Path, killed: list[int], ended: threading.Event) -> None:
    """Kill the first process that is in the middle of a training below `out`."""
    while not ended.wait(0.02):
        for log in out.rglob("log.jsonl"):
            lock = log.parent.parent / f".lock.{log.parent.name}"
            if log.stat().st_size and lock.is_file() and (found := re.match(r"process (\d+) on", lock.read_text())):
                killed.append(int(found[1]))
                os.kill(killed[0], signal.SIGKILL)
                return


def test_a_curve_on_two_workers_is_whole_although_one_of_them_is_killed(
    data: Path, cluster: Cluster, tmp_path: Path
) -> None:
    killed: list[int] = []
    ended = threading.Event()
    killer = threading.Thread(target=kill_the_first, args=(tmp_path / "out", killed, ended))
    killer.start()
    options = replace(TINY, steps=STEPS, threads=1, saved_every=0.1)
    found = curve(
        ["unet"], data, tmp_path / "out", labels=[2], label_seeds=2, options=options, engine="ray", share=Share(cpus=1)
    )
    ended.set()
    killer.join()
    assert killed, "the worker was to be killed in the middle"
    assert killed[0] != os.getpid()
    assert found.failed == ()
    assert found.points[0].cells == 2
    alone = curve(["unet"], data, tmp_path / "alone", labels=[2], options=options)
    cell = Path("runs/unet/labels-2/draw-0/seed-0")
    assert alone.failed == ()
    assert identity_of(tmp_path / "alone" / cell) == identity_of(tmp_path / "out" / cell)


def files_in(folder: Path) -> dict[str, bytes]:
    """The masks or images below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def test_cases_that_are_shared_out_are_answered_scored_and_made_as_in_one_process(
    data: Path, cluster: Cluster, tmp_path: Path
) -> None:
    train("unet", [data], tmp_path / "run", TINY, console=quiet())
    for engine in ("local", "ray"):
        of, how = tmp_path / engine, ("--engine", engine, "--json", tmp_path / f"{engine}.json")
        done = command("predict", tmp_path / "run", data, "--out", of / "masks", "--split", "all", *how)
        assert done.returncode == 0, done.stderr
        assert f"{of / 'masks'}: 9 masks" in done.stdout
        assert len(json.loads((of / "masks" / "predictions.json").read_text())["cases"]) == 9
        assert command("evaluate", of / "masks", data, "--split", "all", *how).returncode == 0
        words = ("fractal-vessels", "--count", "5", "--size", "64", "--out", of / "made")
        assert "5 cases" in command("synthesize", *words, "--engine", engine).stdout
    assert files_in(tmp_path / "ray") == files_in(tmp_path / "local")
    tables = [json.loads((tmp_path / f"{engine}.json").read_text()) for engine in ("local", "ray")]
    assert tables[0]["mean"] == tables[1]["mean"]
    assert [case["id"] for case in tables[0]["cases"]] == [case["id"] for case in tables[1]["cases"]]


def test_without_ray_a_sentence_says_how_to_install_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ("curve", "unet", "--data", data, "--labels", "2", "--label-seeds", "1", "--out", tmp_path / "o")
    done = command(*words, *WORDS, "--engine", "ray")
    assert done.returncode == 2
    assert "Ray is not installed; install it with `pip install 'scantling[ray]'`" in done.stderr


def test_a_ray_that_does_not_answer_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'scantling[ray]'")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with (
        pytest.raises(RunError, match=r"no Ray answers RAY_ADDRESS=127.0.0.1:1 .*unset RAY_ADDRESS"),
        ray_cluster(Share()),
    ):
        pass


@pytest.mark.parametrize(
    ("share", "sentence"), [(Share(cpus=0), "--cpus-per-cell 0"), (Share(gpus=1.5), "--gpus-per-cell 1.5")]
)
def test_shares_that_cannot_be_are_refused(share: Share, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        share.check()


def test_a_slurm_script_does_the_cells_that_are_missing_by_the_plain_command(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the script has Python run is run in this process."""
    out, python = tmp_path / "out", tmp_path / "python"
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path / 'given'}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    words = ("curve", "unet", "--data", data, "--labels", "2", "--label-seeds", "2", "--out", out, *WORDS)
    assert command(*words, "--shard", "1/2").returncode == 0
    found = command(*words, "--engine", "slurm", "--cpus-per-cell", "1")
    assert found.returncode == 0, found.stderr
    text = (out / "curve.sbatch").read_text()
    assert "#SBATCH --array=2\n" in text
    assert "#SBATCH --cpus-per-task=1\n" in text
    done = subprocess.run(
        ["bash", str(out / "curve.sbatch")], env={**os.environ, "SLURM_ARRAY_TASK_ID": "2"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    python_given = (tmp_path / "given").read_text().splitlines()
    assert python_given[:2] == ["-m", "scantling"]
    assert command(*python_given[2:]).returncode == 0
    assert "2 of 2 trainings" in command(*words).stdout
    assert "all trainings are done" in command(*words, "--engine", "slurm").stdout


def test_slurm_that_is_not_there_and_parts_of_its_gpus_are_sentences(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ("curve", "unet", "--data", data, "--labels", "2", "--out", tmp_path / "out", *WORDS, "--engine", "slurm")
    assert "Slurm gives whole GPUs" in command(*words, "--gpus-per-cell", "0.5").stderr
    found = command(*words, "--submit")
    assert (found.returncode, "found no `sbatch` on this machine" in found.stderr) == (2, True)
