"""The machine: devices by name and place, and the memory that a process may take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from scantling.core.errors import SettingsError
from scantling.core.machine import cores, device_of, memory_free, steady


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which torch sees two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["auto", "cuda"])
@pytest.mark.parametrize("variable", ["LOCAL_RANK", "SLURM_LOCALID"])
@pytest.mark.usefixtures("gpus")
def test_each_process_of_a_machine_takes_a_gpu_of_its_own(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device_of(name) == torch.device("cuda:0")
    monkeypatch.setenv(variable, "1")
    assert device_of(name) == torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # a scheduler shows each process its own GPU alone
    assert device_of(name) == torch.device("cuda:0")


@pytest.mark.usefixtures("gpus")
def test_a_gpu_that_is_not_there_is_a_sentence() -> None:
    assert device_of("cuda:1") == torch.device("cuda:1")
    with pytest.raises(SettingsError, match="torch sees 2 GPUs here"):
        device_of("cuda:2")


def test_threads_are_counted_from_one() -> None:
    with pytest.raises(SettingsError, match="--threads 0: expected 1 or more"):
        steady(threads=0)


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A made `/proc` and `/sys` with 64 GiB free."""
    facts = {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable: {64 << 20} kB\n", "proc/self/cgroup": groups} | files
    for name, text in facts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_process_takes_no_more_memory_than_its_container_or_scheduler_allows(tmp_path: Path) -> None:
    assert memory_free(root=machine(tmp_path / "free", "", {})) == 64 << 30
    job = "sys/fs/cgroup/job"
    files = {f"{job}/memory.max": str(8 << 30), f"{job}/memory.current": str(5 << 30)}
    files |= {f"{job}/memory.stat": f"anon 1\ninactive_file {2 << 30}\n", f"{job}/step/memory.max": "max\n"}
    assert memory_free(root=machine(tmp_path / "second", "0::/job/step\n", files)) == 5 << 30
    old = "sys/fs/cgroup/memory/job"
    files = {f"{old}/memory.limit_in_bytes": str(3 << 30), f"{old}/memory.usage_in_bytes": str(1 << 30)}
    files |= {f"{old}/memory.stat": "total_inactive_file 0\n"}
    assert memory_free(root=machine(tmp_path / "first", "4:cpu:/\n3:memory:/job\n0::/\n", files)) == 2 << 30


def test_a_process_uses_no_more_cores_than_it_is_bound_to_and_its_container_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    assert cores(root=machine(tmp_path / "free", "", {})) == 16
    second = {"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/job/cpu.max": "200000 100000\n"}
    assert cores(root=machine(tmp_path / "second", "0::/job/step\n", second)) == 2
    assert cores(root=machine(tmp_path / "none", "0::/\n", second)) == 16
    old = {
        f"sys/fs/cgroup/cpu/job/cpu.cfs_{name}_us": text
        for name, text in {"quota": "150000", "period": "100000"}.items()
    }
    old |= {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}
    groups = "5:memory:/\n4:cpu,cpuacct:/job\n"
    assert cores(root=machine(tmp_path / "first", groups, old)) == 2, "one and a half, rounded up"


def test_threads_are_no_more_than_the_cores_unless_somebody_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr("scantling.core.machine.cores", lambda: 2)
    try:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        for there, found in ((8, 2), (1, 1)):
            torch.set_num_threads(there)
            steady()
            assert torch.get_num_threads() == found
        steady(threads=3)
        assert torch.get_num_threads() == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        steady()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
