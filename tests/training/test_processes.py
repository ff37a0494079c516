"""Which process this is among those that a launcher started, and what is said where none did."""

from __future__ import annotations

import pytest

from scantling.core.errors import RunError
from scantling.training.processes import _place

MET = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
STEP = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, (0, 1, 1)),
        ({**MET, "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}, (1, 2, 1)),
        ({**MET, **STEP, "SLURM_NTASKS_PER_NODE": "2"}, (3, 4, 2)),
        # one task of a step, in an allocation of several
        ({**MET, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, (0, 1, 1)),
        # a batch script that does not ask for several processes
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, (0, 1, 1)),
    ],
)
def test_a_process_knows_its_place(environment: dict[str, str], place: tuple[int, int, int]) -> None:
    assert _place(environment) == place


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({**MET, "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, "srun has not started this process"),
        ({**MET, "WORLD_SIZE": "2"}, "RANK is not set"),
        ({**MET, "WORLD_SIZE": "2", "RANK": "2"}, "process 2 of 2, counted from 0"),
        ({**MET, "WORLD_SIZE": "two", "RANK": "0"}, "expected a whole number"),
        (STEP, "MASTER_ADDR does not say where they meet"),
    ],
)
def test_variables_without_their_launcher_are_a_sentence_and_no_wait(
    environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(RunError, match=sentence):
        _place(environment)
