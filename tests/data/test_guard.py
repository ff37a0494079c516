"""Untrusted files: the same answer from another process, and an end to what takes too long or too much."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from made import blobs, write
from scantling.cli.commands import Check
from scantling.core.case import Geometry
from scantling.core.errors import FileError
from scantling.data import files, guard
from scantling.data.dataset import open_dataset
from scantling.data.files import Limits
from scantling.data.integrity import check
from scantling.data.opening import Opening
from scantling.evaluation import evaluate
from scantling.inference import predict
from scantling.training import Options, train

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
    first = guard._WORKERS[0].process.pid
    for _ in range(20):
        files.read(volume, untrusted=True)
    assert [worker.process.pid for worker in guard._WORKERS] == [first]


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


WHOLE = {
    "format": "", "dtype": "f8", "shape": [2, 2], "channels": ["grey"], "spacing": [1, 1], "affine": None,
    "container": "raster", "slice_axis": 0, "stored": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE | {"dtype": "O8"},
        WHOLE | {"shape": [1 << 20, 1 << 20]},
        WHOLE | {"shape": [-1, -1]},
        {"dtype": "f8"},
        {"error": {}},
        [],
    ],
)
def test_an_answer_that_cannot_be_is_refused(volume: Path, monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    monkeypatch.setattr(guard, "_receive", lambda stream: json.loads(json.dumps(answer)))
    with pytest.raises(FileError, match="ended its decoder"):
        files.read(volume, untrusted=True)


DECOY = "open({log!r}, 'a').write(__name__ + '\\n')\nraise ImportError('a decoy')\n"
CHECK = "from scantling.cli.main import main; main(['check', '.', '--untrusted', '--json', 'out.json'])"


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A folder with an image of every kind that needs a library."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    array = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    for suffix in ("png", "jpg", "gif", "bmp", "tif"):
        Image.fromarray(array).save(folder / f"{suffix}.{suffix}")
    np.savez_compressed(folder / "npz.npz", array)
    files.write_labels(folder, "nifti", array[None], Geometry((1, 32, 32), (1.0, 1.0, 1.0), np.eye(4), "volume"))
    return folder


def test_no_module_in_a_strangers_folder_is_run(stranger: Path, tmp_path: Path) -> None:
    decode = (
        "import sys; from pathlib import Path; from scantling.data import files, guard; "
        f"found = [files.read(path) for path in Path({str(stranger)!r}).iterdir()]; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", decode], cwd=tmp_path, check=True, capture_output=True, text=True)
    names = {name.partition(".")[0] for name in loaded.stdout.split()} - {"scantling", "__main__"}
    assert {"json", "numpy", "PIL", "numba", "subprocess"} <= names
    log = tmp_path / "run"
    for name in names | {"sitecustomize", "usercustomize", "imagecodecs", "cv2", "gdcm", "openjpeg"}:
        (stranger / f"{name}.py").write_text(DECOY.format(log=str(log)))
    subprocess.run([sys.executable, "-P", "-c", CHECK], cwd=stranger, check=True, capture_output=True, timeout=120)
    assert not log.exists()
    facts = json.loads((stranger / "out.json").read_text())
    assert sum(part["cases"] for part in facts["summary"]["parts"]) == 7
    assert not [finding for finding in facts["findings"] if finding["kind"] == "unreadable"]


def test_the_module_is_run_from_a_strangers_folder_without_its_modules(stranger: Path, tmp_path: Path) -> None:
    log = tmp_path / "run"
    for name in ("json", "numpy", "PIL", "numba", "tyro", "pydantic"):
        (stranger / f"{name}.py").write_text(DECOY.format(log=str(log)))
    command = [sys.executable, "-m", "scantling", "check", "jpg.jpg", "--untrusted"]
    done = subprocess.run(command, cwd=stranger, check=True, capture_output=True, text=True, timeout=120)
    assert "32 x 32 pixels" in done.stdout
    assert not log.exists()


def test_no_settings_in_the_current_folder_say_where_compiled_code_is_unpickled_from(stranger: Path) -> None:
    pytest.importorskip("yaml")
    (stranger / ".numba_config.yaml").write_text("CACHE_DIR: cache\n")
    code = "from scantling.data import files; [files.read('jpg.jpg', untrusted=each) for each in (False, True)]"
    subprocess.run([sys.executable, "-c", code], cwd=stranger, check=True, timeout=120)
    assert not (stranger / "cache").exists()


ENDLESS = {
    "waiting": "__import__('time').sleep(600)",
    "never letting go of the interpreter": "__import__('re').match('(a+)+$', 'a' * 60 + 'b')",
}
PARENT = """
import threading, time
from scantling.data import files, guard
guard.START = guard.START.replace("guard.serve()", {start!r})
limits = files.Limits(seconds=1)
threading.Thread(target=lambda: files.read({path!r}, untrusted=True, limits=limits), daemon=True).start()
while not guard._WORKERS:
    time.sleep(0.01)
time.sleep(0.3)
print(guard._WORKERS[0].process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by a signal")
@pytest.mark.parametrize("how", ENDLESS)
def test_a_worker_ends_with_its_parent_however_that_ends(volume: Path, how: str) -> None:
    endless = f"files.decoded = lambda *_, **__: {ENDLESS[how]}"
    start = f"guard.GRACE = 1; from scantling.data import files; {endless}; guard.serve()"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(start=start, path=str(volume))], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert _runs(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 10
    while _runs(worker) and time.monotonic() < until:
        time.sleep(0.05)
    left = _runs(worker)
    if left:
        os.kill(worker, signal.SIGKILL)
    assert not left


def _runs(process: int) -> bool:
    """Whether a process is there and no zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


def test_a_header_is_judged_in_the_other_process_too(stranger: Path) -> None:
    for path in sorted(stranger.iterdir()):
        here, there = files.probe(path), files.probe(path, untrusted=True)
        assert (there.format, there.shape, there.channels, there.dtype) == (
            here.format,
            here.shape,
            here.channels,
            here.dtype,
        )
    (stranger / "bad.png").write_text("hello")
    with pytest.raises(FileError, match="of no format"):
        files.probe(stranger / "bad.png", untrusted=True)


def test_untrusted_decodes_nothing_in_the_process_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, generator = tmp_path / "data", np.random.default_rng(0)
    for name in "abcdef":
        mask = blobs((32, 32), generator, 1)
        write(data / "images", name, (60 + 90 * mask + generator.integers(0, 40, (32, 32))).astype(np.uint8))
        write(data / "masks", name, mask * 255)
        write(data / "fov", name, np.full((32, 32), 255, np.uint8))
    train("unet", [data], tmp_path / "run", Options(preset="tiny", steps=1, validation=0.0))
    trusted = check(open_dataset(data))
    predict(tmp_path / "run", data, out=tmp_path / "here", split="all", probabilities=True)
    scores = evaluate(tmp_path / "here", data, region="dataset").facts()

    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("decoded here")

    monkeypatch.setattr(files, "_planned", refused)
    outcome = Check(data=data, untrusted=True, contact_sheet=tmp_path / "untrusted.png").run()
    done = predict(
        tmp_path / "run", data, out=tmp_path / "there", split="all", probabilities=True, opening=Opening(untrusted=True)
    )
    assert outcome.failed == []
    assert outcome.facts["summary"] == trusted.facts()["summary"]
    assert done.failed == []
    assert evaluate(tmp_path / "here", data, region="dataset", untrusted=True).facts() == scores
    monkeypatch.undo()
    Check(data=data, contact_sheet=tmp_path / "trusted.png").run()
    assert (tmp_path / "untrusted.png").read_bytes() == (tmp_path / "trusted.png").read_bytes()
    for file in (tmp_path / "here").glob("*.png"):
        assert file.read_bytes() == (tmp_path / "there" / file.name).read_bytes()


def test_an_interrupted_read_leaves_no_answer_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, side in (("one", 9), ("two", 5)):
        Image.fromarray(np.full((side, side), side, np.uint8)).save(tmp_path / f"{name}.png")
    ask = guard.Worker.ask

    def interrupted(worker: guard.Worker, request: dict[str, object]) -> dict[str, object]:
        guard._send(worker.process.stdin, request)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(guard.Worker, "ask", interrupted)
        with pytest.raises(KeyboardInterrupt):
            files.read(tmp_path / "one.png", untrusted=True)
    assert guard.Worker.ask is ask
    assert files.read(tmp_path / "two.png", untrusted=True).array.shape == (1, 5, 5)
