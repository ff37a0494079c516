"""Where commands write: a folder belongs to one record and one process at a time, and no input is written over."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from scantling.core.errors import RunError, SettingsError
from scantling.core.system_files import is_hidden

RUN, PREDICTIONS, REGISTRATIONS, MADE = "run.json", "predictions.json", "registrations.json", "scantling.json"
"""The record of a training, of predictions (mended or not), of registrations and of made cases."""
EXPORT, CURVE, WORTH, FIGURES = "export.json", "curve.json", "worth.json", "figures.json"
"""The record of an exported network, of a learning curve, of what made cases are worth, and of figures."""
CORRECTIONS = "corrections.json"
"""The record of masks that people have corrected."""
_RECORDS = {
    RUN: "a run",
    PREDICTIONS: "predictions",
    REGISTRATIONS: "registrations",
    MADE: "a data set",
    "scantling.toml": "a data set",
    EXPORT: "an exported network",
    CURVE: "a learning curve",
    WORTH: "what made cases are worth",
    FIGURES: "figures",
    CORRECTIONS: "corrections",
}
_SHARD = re.compile(r"(predictions|registrations)\.\d+-of-\d+\.json")
_RESULTS: Mapping[str, tuple[bytes, str]] = {
    ".json": (rb'\s*(\{\s*"made_by": "scantling|\[\s*\{\s*"name": "[^"]+",\s*"title":)', "a result of Scantling"),
    ".csv": (
        rb"id,subject,(class|true,predicted)|id,class,volume|case,class,branch|method,labels,label_seed,seed|page,case,source,id"
        rb"|rank,id,subject,image,",
        "a table of `scantling evaluate`, `report`, `curve`, `assess`, `vessels` or `next`",
    ),
    ".html": (rb"(?s).*Scantling</title>", "a page of Scantling"),
    ".png": (rb"(?s)\x89PNG.*Software\x00Scantling", "a contact sheet of Scantling"),
}
"""By suffix, how a result begins that a command may replace, and what it is."""
_SNIFFED = 4096
PATIENCE = 2.0
"""Seconds that a shard waits for one that ends."""


@contextmanager
def output_folder(out: Path, *, record: str, inputs: Iterable[Path], shard: str = "") -> Iterator[None]:
    """Hold `out` for one command until it ends: no other writes there meanwhile.

    Args:
        record: the file name of the record that the folder belongs to.
        inputs: every file that the command reads.
        shard: which part of one job this is; parts with different names may write at the same time.

    Raises:
        SettingsError: the folder holds an input or something that no such record lists, or it cannot be written.
        RunError: another process writes there.
    """
    check_inputs(out, inputs)
    check_record(out, record)
    with locked(out, shard=shard):
        check_record(out, record)
        yield


def check_inputs(out: Path, inputs: Iterable[Path]) -> None:
    """Make sure that nothing that is read lies in the folder that is written, behind links either.

    Raises:
        SettingsError: a file does.
    """
    folders = {Path(os.path.abspath(out)), _resolved(out)}
    for path in inputs:
        for place in (Path(os.path.abspath(path)), _resolved(path)):
            if any(place.is_relative_to(folder) for folder in folders):
                raise SettingsError(f"--out {out}: holds {path}, which is read; choose another folder")


def check_record(out: Path, record: str, *, option: str = "--out") -> None:
    """Make sure that a folder is new, empty or belongs to a record of this kind; hidden files do not count.

    Args:
        option: that names the folder.

    Raises:
        SettingsError: it holds something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise SettingsError(f"{option} {out}: is a file; expected a folder")
    try:
        there = [path for path in out.iterdir() if not is_hidden(path.name)]
        folders = [path for path in there if path.is_dir()]
        deeper = [path for folder in folders if not folder.is_symlink() for path in folder.iterdir() if path.is_dir()]
        linked = [path for path in (*folders, *deeper) if path.is_symlink()]
    except OSError as error:
        raise _unwritable(out, error) from None
    if linked:
        raise SettingsError(f"{option} {out}: {linked[0]} is a link that leads elsewhere; choose another folder")
    names = {path.name for path in there}
    found = {name for name in names if name == record or (_SHARD.fullmatch(name) and _of_shard(name) == record)}
    others = sorted(names & _RECORDS.keys() - {record})
    if others:
        raise SettingsError(f"{option} {out}: holds {_RECORDS[others[0]]} ({others[0]}); choose another folder")
    if names and not found:
        raise SettingsError(
            f"{option} {out}: holds {min(names)} but no {record}; choose a folder that is new or empty, so that "
            "nothing is written over"
        )


def check_file(path: Path, *, suffix: str, inputs: Iterable[Path] = ()) -> None:
    """Make sure, before anything is computed, that a result can be written to a file that the user names.

    An older result of the same kind is replaced; nothing else is.

    Args:
        suffix: of the kind of result, a key of `.json`, `.csv`, `.html` and `.png`, whatever the file is called.
        inputs: what the command reads.

    Raises:
        SettingsError: it cannot be written, or something else stands there.
    """
    if path.is_dir():
        raise SettingsError(f"{path}: is a folder; expected the name of a file to write")
    if path.exists() and not path.is_file():
        return  # a device or a pipe
    if path.is_file():
        begin, kind = _RESULTS[suffix]
        reserved = is_record(path.name)
        with suppress(OSError), path.open("rb") as file:
            if reserved or ((start := file.read(_SNIFFED)) and not re.match(begin, start)):
                what = "is a record of Scantling" if reserved else f"holds something else than {kind}"
                raise SettingsError(f"{path}: {what}; choose another file, so that nothing is written over")
        if any(_resolved(path) == _resolved(other) for other in inputs):
            raise SettingsError(f"{path}: is read by this command; choose another file for its result")
    target = _resolved(path)
    parent = next(parent for parent in target.parents if parent.exists())
    if not os.access(target if target.is_file() else parent, os.W_OK) or not parent.is_dir():
        raise SettingsError(f"{path}: cannot be written; choose another file")


def is_record(name: str) -> bool:
    """Whether a record of Scantling has this file name."""
    return name in _RECORDS or bool(_SHARD.fullmatch(name))


@contextmanager
def locked(folder: Path, *, shard: str = "", wait: bool = False) -> Iterator[None]:
    """Hold a folder for this process alone, or for one shard beside others; the folder is made if it is not there, and
    goes again where what holds it ends in an error, has left nothing in it, and nobody may wait for it.

    Args:
        shard: a name; shards of different names share the folder.
        wait: for another process to end, instead of refusing.

    Raises:
        SettingsError: the folder cannot be written.
        RunError: another process holds it, or its file system cannot lock files.
    """
    try:
        new = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(folder, error) from None
    if shard:
        with _locked_file(folder / ".lock", shared=True), _locked_file(folder / f".lock.{shard}", wait=wait):
            yield
        return
    try:
        with _locked_file(folder / ".lock", wait=wait):
            yield
    except BaseException:
        if new and not wait:  # others may wait for it
            with suppress(OSError):  # something is in it
                folder.rmdir()
        raise


@contextmanager
def _locked_file(path: Path, *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold a lock file, and remove it at the end unless others share it."""
    patience = time.monotonic() + PATIENCE
    while True:
        with _opened(path) as file:
            try:
                held = _lock(file.fileno(), shared=shared, wait=wait)
            except OSError as error:
                raise RunError(
                    f"{path.parent}: its file system cannot lock files ({error.strerror}), so that two commands could "
                    "write there; choose an --out elsewhere"
                ) from None
            if not held and shared and time.monotonic() < patience:
                time.sleep(0.02)  # a shard that ends asks for a moment whether it is the last
                continue
            if not held:
                file.seek(0)
                holder = file.read(200).decode(errors="replace").strip() or "another process"
                raise RunError(f"{path.parent}: is in use by {holder}; wait for it or choose another --out")
            if not _is_at(path, file):  # another process has removed it meanwhile
                continue
            if file.writable():
                name = os.uname().nodename if hasattr(os, "uname") else "this machine"
                file.truncate(0)
                file.write(f"process {os.getpid()} on {name}".encode())
            try:
                yield
            finally:
                if not shared or _lock(file.fileno(), shared=False, wait=False):
                    with suppress(OSError):  # it is another user's, or Windows keeps what is open
                        path.unlink()
            return


def _opened(path: Path) -> IO[bytes]:
    """A lock file, made if it is not there; that of another user can be locked though not written.

    Raises:
        SettingsError: it can be neither, or is no ordinary file.
    """

    def plain(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)

    try:
        try:
            file = open(path, "ab+", buffering=0, opener=plain)  # noqa: SIM115
        except PermissionError:
            file = open(path, "rb", buffering=0, opener=plain)  # noqa: SIM115
    except OSError as error:
        raise _unwritable(path.parent, error) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise SettingsError(f"{path}: is no ordinary file; choose another folder")
    return file


def _is_at(path: Path, file: IO[bytes]) -> bool:
    """Whether `path` is the file that is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _lock(handle: int, *, shared: bool, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows, where a shard holds its own file alone
        import msvcrt

        if shared:
            return True
        try:
            mode = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK  # type: ignore[attr-defined,unused-ignore]
            msvcrt.locking(handle, mode, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _of_shard(name: str) -> str:
    """The record that the list of a shard is a part of."""
    return f"{name.partition('.')[0]}.json"


def _resolved(path: Path) -> Path:
    """Where a path leads; a loop of links leads nowhere but to itself."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return Path(os.path.abspath(path))


def _unwritable(folder: Path, error: OSError) -> SettingsError:
    return SettingsError(f"--out {folder}: cannot be written ({error.strerror}); choose another folder")
