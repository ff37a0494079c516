"""A full disk is one sentence that names the file, whatever writes it, and nothing half-written is left."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scantling.core.atomic import write_bytes, write_json, write_text
from scantling.core.case import Case, Geometry
from scantling.core.errors import DiskFullError
from scantling.data.contact_sheet import contact_sheet
from scantling.data.dataset import open_dataset
from scantling.data.displacements import write_displacement
from scantling.data.files import write_image, write_labels, write_map
from scantling.inference.runner import Job, work_through
from scantling.training.log import Log
from scantling.training.state import Position, save_prepared, save_state

FLAT, DEEP = Geometry((4, 5), (1.0, 1.0)), Geometry((4, 5, 6), (1.0, 1.0, 1.0), np.eye(4), "volume", 2, unit="mm")
PROBABILITY = np.zeros((1, 4, 5), np.float32)


def sheet(out: Path) -> None:
    write_labels(out.parent / "data" / "images", "a", np.arange(20).reshape(4, 5), FLAT)
    write_labels(out.parent / "data" / "masks", "a", np.eye(4, 5, dtype=np.int32), FLAT)
    contact_sheet(open_dataset(out.parent / "data"), out / "sheet.png")


WRITERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "bytes": ("a.bin", lambda out: write_bytes(out / "a.bin", b"1")),
    "text": ("page.html", lambda out: write_text(out / "page.html", "text")),
    "JSON": ("a.json", lambda out: write_json(out / "a.json", {})),
    "a mask in PNG": ("a.png", lambda out: write_labels(out, "a", np.zeros((4, 5), np.int32), FLAT)),
    "a mask in NIfTI": ("a.nii.gz", lambda out: write_labels(out, "a", np.zeros((4, 5, 6), np.int32), DEEP)),
    "probabilities in TIFF": ("a.tif", lambda out: write_map(out, "a", PROBABILITY, FLAT)),
    "an image": ("a.png", lambda out: write_image(out, "a", np.zeros((1, 4, 5), np.uint8), FLAT)),
    "a displacement": ("a.nii.gz", lambda out: write_displacement(out, "a", np.zeros((2, 4, 5), np.float32), FLAT)),
    "a contact sheet": ("sheet.png", sheet),
    "weights": ("state.safetensors", lambda out: save_state(out, {"a": torch.zeros(2)}, Position(), {})),
    "prepared tensors": ("prepared.safetensors", lambda out: save_prepared(out, "a", {"a": torch.zeros(2)})),
}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_a_sentence_with_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, number: int
) -> None:
    name, write = WRITERS[writer]
    (out := tmp_path / "out").mkdir()
    real = os.fsync

    def full(handle: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{handle}")).is_relative_to(out):
            raise OSError(number, os.strerror(number))
        real(handle)

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not tell the path of an open file")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFullError) as error:
        write(out)
    sentence = f"{out / name}: cannot be written ({os.strerror(number)}); free some space and run the command again"
    assert str(error.value) == sentence
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_a_log_on_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path, ["train"], stage=0, step=0)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log.line({"stage": "train", "step": 1})
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFullError, match=r"log.jsonl: cannot be written \(No space left"):
        log.close()
    log._file.close()


def test_a_job_ends_at_the_first_file_that_the_disk_does_not_take(tmp_path: Path) -> None:
    done: list[str] = []

    def work(case: Case) -> dict[str, Any]:
        done.append(case.id)
        raise DiskFullError(tmp_path / f"{case.id}.png", "cannot be written (No space left on device)")

    with pytest.raises(DiskFullError, match=r"a\.png"):
        work_through(Job(out=tmp_path, header={}), [Case(id=id, subject=id) for id in "abc"], work)
    assert done == ["a"]
