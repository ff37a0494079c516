"""Untrusted files: the same answer from another process, and an end to what takes too long or too much."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scantling.data import files, guard
from scantling.data.files import Limits
from scantling.data.types import Geometry
from scantling.errors import FileError

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module", autouse=True)
def _ended():
    yield
    guard.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of 400 MB of zeros."""
    path = tmp_path_factory.mktemp("large") / "large.npz"
    np.savez_compressed(path, np.zeros((20000, 20000), np.uint8))
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume with an affine and an axis of length 1."""
    geometry = Geometry((5, 4), (1.0, 2.0), np.diag([1.0, 2.0, 3.0, 1.0]), "volume", 0, (5, 4, 1))
    return files.write_map(tmp_path, "a", np.random.default_rng(0).random((2, 5, 4), np.float32), geometry)


def test_another_process_reads_the_same(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = files.read(volume), files.read(volume, untrusted=True)
    np.testing.assert_array_equal(there.array, here.array)
    assert there.array.flags.writeable
    assert there.channels == here.channels
    np.testing.assert_array_equal(there.geometry.affine, here.geometry.affine)
    for name in ("shape", "spacing", "container", "slice_axis", "stored"):
        assert getattr(there.geometry, name) == getattr(here.geometry, name)
    monkeypatch.chdir(volume.parent)
    np.testing.assert_array_equal(files.read(volume.name, untrusted=True).array, here.array)


def test_labels_and_members_are_read_there_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", a=np.eye(4), b=np.eye(3))
    labels, geometry = files.read_labels(tmp_path / "f.npz#b", untrusted=True)
    np.testing.assert_array_equal(labels, np.eye(3))
    assert geometry.shape == (3, 3)


def test_its_errors_are_the_same_sentences(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(FileError) as here:
        files.read(tmp_path / "a.png")
    with pytest.raises(FileError) as there:
        files.read(tmp_path / "a.png", untrusted=True)
    assert str(here.value) == str(there.value)
    assert (here.value.path, here.value.found) == (there.value.path, there.value.found)


def test_one_worker_serves_many_files(volume: Path) -> None:
    files.read(volume, untrusted=True)
    start = time.perf_counter()
    for _ in range(50):
        files.read(volume, untrusted=True)
    assert time.perf_counter() - start < 1.0  # a new interpreter each time would take over 5 s


def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_read(volume: Path, large: Path) -> None:
    with pytest.raises(FileError, match=r"large.npz: took over 0.1 s to decode"):
        files.read(large, untrusted=True, limits=Limits(seconds=0.1))
    assert files.read(volume, untrusted=True).array.shape == (2, 5, 4)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="memory can only be limited on Linux")
def test_a_file_that_takes_too_much_memory_is_given_up_and_the_next_is_read(volume: Path, large: Path) -> None:
    limits = Limits(memory=600 << 20)
    with pytest.raises(FileError, match=r"large.npz: does not fit into memory"):
        files.read(large, untrusted=True, limits=limits)
    assert files.read(volume, untrusted=True, limits=limits).array.shape == (2, 5, 4)


def test_a_decoder_that_dies_is_one_sentence_and_the_next_file_is_read(volume: Path) -> None:
    files.read(volume, untrusted=True)
    os.kill(guard._WORKERS[0].process.pid, signal.SIGSTOP if sys.platform != "win32" else signal.SIGTERM)
    with pytest.raises(FileError, match=r"took over 0.2 s to decode|ended its decoder"):
        files.read(volume, untrusted=True, limits=Limits(seconds=0.2))
    assert files.read(volume, untrusted=True).array.shape == (2, 5, 4)


@pytest.mark.parametrize(
    "answer",
    [
        {"dtype": "O8", "shape": [2, 2]},
        {"dtype": "f8", "shape": [1 << 20, 1 << 20]},
        {"dtype": "f8", "shape": [-1, -1]},
        {"dtype": "f8"},
        {"error": {}},
        [],
    ],
)
def test_an_answer_that_cannot_be_is_refused(volume: Path, monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    monkeypatch.setattr(guard, "_receive", lambda stream: json.loads(json.dumps(answer)))
    with pytest.raises(FileError, match="ended its decoder"):
        files.read(volume, untrusted=True)
