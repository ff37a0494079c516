"""Untrusted files are decoded in another process, which gets so much time and so much memory and no more.

The worker is an interpreter of its own that serves one request after the other and is replaced when it fails. What
comes back is JSON and plain numbers, never a pickle, and is judged again on this side. Memory is limited where the
system can (not on Windows and macOS); time always is. The worker loads no module and no setting from the current
folder, which may be a stranger's, and ends with its parent, however that ends.
"""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from scantling.core.case import Address, Geometry
from scantling.core.errors import FileError
from scantling.data.formats.common import Array, Header, Limits, Picture

START = "import sys; sys.path += sys.argv[2:]; from scantling.data import guard; guard.serve()"
STARTING = 60.0
"""Seconds that a new worker gets to start, before the clock of the file runs."""
GRACE = 5.0
"""Seconds after which a worker ends a file that its parent should have ended."""
PACKAGE = Path(__file__).resolve().parents[1]
LONGEST_ANSWER = 1 << 20
T = TypeVar("T")
TYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


def read(address: Address, limits: Limits, *, labels: bool) -> Picture:
    """Decode `address` in the worker.

    Raises:
        FileError: what the worker found wrong, or that it took too long, too much memory, or died.
    """
    return _asked(address, limits, "labels" if labels else "image", lambda worker, reply: worker.picture(reply, limits))


def probe(address: Address, limits: Limits) -> Header:
    """Judge the header of `address` in the worker; raises as `read` does."""
    return _asked(address, limits, "header", lambda worker, reply: _header(reply))


def _asked(address: Address, limits: Limits, what: str, judged: Callable[[Worker, dict[str, Any]], T]) -> T:
    """What the worker answers, `judged` on this side."""
    with _LOCK:
        worker = _worker(limits.memory)
        request = {
            "path": os.path.abspath(address.path),
            "named": str(address.path),
            "member": address.member,
            "limits": [limits.bytes, limits.pixels, limits.ratio, limits.seconds],
            "what": what,
        }
        expired = threading.Event()
        timer = threading.Timer(limits.seconds, worker.kill, [expired])
        timer.start()
        try:
            return judged(worker, worker.ask(request))
        except FileError:
            raise
        except Exception as error:  # whatever the other side says, only the one typed error leaves here
            worker.end()
            code = worker.process.returncode
            raise FileError(
                str(address),
                f"took over {limits.seconds:g} s to decode" if expired.is_set() else f"ended its decoder ({code})",
                remedy="it is damaged; if not, raise the limits, or read it without the guard",
            ) from error
        except BaseException:  # interrupted: the answer that is still to come is no other file's
            worker.end()
            raise
        finally:
            timer.cancel()
            if expired.is_set():  # perhaps just after the answer came
                worker.end()


class Worker:
    """A process that decodes files, within `memory` bytes of address space."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.owner = os.getpid()
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", START, str(memory), *_module_folders()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=PACKAGE,
            env={**os.environ, **threads},
        )
        timer = threading.Timer(STARTING, self.process.kill)
        timer.start()
        try:
            started = self.process.stdout is not None and self.process.stdout.read(1) == b"+"
        finally:
            timer.cancel()
        if not started:
            self.end()
            raise FileError("--untrusted", "the process that decodes files did not start", remedy="raise its memory")

    def usable(self, memory: int) -> bool:
        """Whether it lives, belongs to this process (and not to one that forked) and has that limit."""
        return self.owner == os.getpid() and self.memory == memory and self.process.poll() is None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request; the answer, which is not yet judged, or the error that it tells of."""
        if self.process.stdin is None or self.process.stdout is None:
            raise EOFError
        _send(self.process.stdin, request)
        answer = _receive(self.process.stdout)
        if "error" in answer:
            raise _revived(answer["error"])
        return answer

    def picture(self, answer: dict[str, Any], limits: Limits) -> Picture:
        """The image that an answer announces, whose numbers follow it."""
        header = _header(answer)
        shape = (len(header.channels), *header.shape)
        if prod(shape) * header.dtype.itemsize > limits.bytes or self.process.stdout is None:
            raise ValueError("an answer that cannot be")
        array: Array = np.empty(shape, header.dtype)
        _fill(self.process.stdout, memoryview(array.data).cast("B"))
        return Picture(array, header.geometry, header.channels)

    def kill(self, expired: threading.Event) -> None:
        """End it because its time is over."""
        expired.set()
        self.process.kill()

    def end(self) -> None:
        """End it and close its pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                continue  # what could not be sent any more


def _module_folders() -> list[str]:
    """Where a worker finds what the isolated interpreter would not: this process's folders without the current one."""
    here = os.path.realpath(os.curdir)
    folders = [folder for folder in sys.path if os.path.isabs(folder) and os.path.realpath(folder) != here]
    return [*folders, str(PACKAGE.parent)]


_LOCK = threading.Lock()
_WORKERS: list[Worker] = []


def _worker(memory: int) -> Worker:
    if not _WORKERS or not _WORKERS[0].usable(memory):
        close()
        _WORKERS.append(Worker(memory))
    return _WORKERS[0]


@atexit.register
def close() -> None:
    """End the worker, if this process has one."""
    while _WORKERS:
        worker = _WORKERS.pop()
        if worker.owner == os.getpid():
            worker.end()


def serve() -> None:
    """Answer requests until the other side is gone: the worker's side of this file."""
    memory = int(sys.argv[1])
    if sys.platform not in ("win32", "darwin"):
        import resource

        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    output = os.fdopen(os.dup(1), "wb")  # what a decoder prints must not become part of an answer
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from scantling.data import files

    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    output.write(b"+")
    output.flush()
    while True:
        request = requests.get()
        address = Address(Path(request["path"]), request["member"])
        most, pixels, ratio, seconds = request["limits"]
        # The parent ends what takes too long; if it cannot any more, this does, even where native code never returns.
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True)
        limits, what = Limits(most, pixels, ratio), request["what"]
        try:
            if what == "header":
                found: Header | Picture = files.inspected(address, limits)
            else:
                found = files.decoded(address, limits, labels=what == "labels")
        except FileError as error:
            facts = {"path": error.path, "found": error.found, "sentence": str(error)}
            named = {key: text.replace(request["path"], request["named"]) for key, text in facts.items()}
            _send(output, {"error": named})
            continue
        finally:
            faulthandler.cancel_dump_traceback_later()
        _send(output, _described(found))
        if isinstance(found, Picture):
            output.write(memoryview(found.array.data).cast("B"))
            output.flush()


def _listen(requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Queue what the other side asks; end this process as soon as that is gone, even in the middle of a file."""
    try:
        while True:
            requests.put(_receive(sys.stdin.buffer))
    finally:
        os._exit(0)


def _revived(facts: dict[str, Any]) -> FileError:
    error = FileError(str(facts["path"]), str(facts["found"]))
    error.args = (str(facts["sentence"]),)
    return error


def _described(found: Header | Picture) -> dict[str, Any]:
    geometry = found.geometry
    dtype = found.dtype if isinstance(found, Header) else found.array.dtype
    return {
        "format": found.format if isinstance(found, Header) else "",
        "dtype": dtype.str[1:],
        "shape": geometry.shape,
        "channels": found.channels,
        "spacing": geometry.spacing,
        "affine": None if geometry.affine is None else geometry.affine.tolist(),
        "container": geometry.container,
        "slice_axis": geometry.slice_axis,
        "stored": geometry.stored,
        "unit": geometry.unit,
        "exif": geometry.exif,
        "remark": geometry.remark,
    }


def _header(answer: dict[str, Any]) -> Header:
    """What an answer says of an image; any exception if that cannot be."""
    kind, shape = str(answer["dtype"]), tuple(int(length) for length in answer["shape"])
    if kind not in TYPES or min(shape) < 1:
        raise ValueError("an answer that cannot be")
    affine, stored = answer["affine"], answer["stored"]
    if stored is not None and (len(stored) != 3 or prod(map(int, stored)) != prod(shape)):
        raise ValueError("an answer that cannot be")
    geometry = Geometry(
        shape=shape,
        spacing=tuple(float(step) for step in answer["spacing"]),
        affine=None if affine is None else np.array(affine, np.float64).reshape(4, 4),
        container="raster" if answer["container"] == "raster" else "volume",
        slice_axis=int(answer["slice_axis"]),
        stored=None if stored is None else tuple(int(length) for length in stored),
        unit="mm" if answer["unit"] == "mm" else "pixel",
        exif=int(answer["exif"]),
        remark=str(answer["remark"]),
    )
    channels = tuple(str(name) for name in answer["channels"])
    return Header(str(answer["format"]), shape, channels, np.dtype(kind), geometry)


def _send(stream: Any, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def _receive(stream: Any) -> dict[str, Any]:
    head = bytearray(8)
    _fill(stream, memoryview(head))
    length = struct.unpack("<Q", head)[0]
    if length > LONGEST_ANSWER:
        raise ValueError("an answer that is too long")
    body = bytearray(length)
    _fill(stream, memoryview(body))
    message: dict[str, Any] = json.loads(body)
    return message


def _fill(stream: Any, view: memoryview) -> None:
    """Fill `view`; `EOFError` if the stream ends before."""
    done = 0
    while done < len(view):
        got = stream.readinto(view[done:])
        if not got:
            raise EOFError
        done += got
