"""The benchmark of corrections goes its whole way: trains, corrects through the server, trains again, and tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from scantling.records.run import read_run
from script import script
from served import pictures


def test_what_is_proposed_is_corrected_through_the_server_and_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = pictures(tmp_path / "data", labelled=5, unlabelled=0), tmp_path / "out"
    script("benchmarks/corrections.py").main(
        [
            *(str(data), "--out", str(out), "--by", "random", "--count", "2", "--labels", "2"),
            *("--preset", "tiny", "--steps", "2", "--seconds-a-case", "90"),
        ]
    )
    told = capsys.readouterr().out
    assert "2 corrected by random (3.0 min, a guess)" in told
    assert "gain" in told.splitlines()[-1]
    before, after = (read_run(out / "seed-0" / name) for name in ("first", "then-random"))
    assert before.corrections is None
    assert after.corrections is not None
    assert (after.corrections.cases, after.corrections.minutes) == (2, 3.0)
    assert before.labels_read is not None
    assert after.labels_read is not None
    assert after.labels_read.training.cases == before.labels_read.training.cases + 2
