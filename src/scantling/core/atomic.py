"""Files appear whole or not at all: written aside, flushed, renamed."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scantling.core.errors import DiskFullError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Name the file that is being written where the disk is full, which the system does not.

    Raises:
        DiskFullError: no space, or no quota, is left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(
            path, f"cannot be written ({error.strerror})", remedy="free some space and run the command again"
        ) from None


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path of the same format beside `path`; rename it onto `path` if the block succeeds.

    The temporary file is removed if the block fails, so a half-written file is never seen under its name. A link is
    replaced by the file, and what it leads to is left alone; a device or a pipe is written to.

    Raises:
        DiskFullError: no space is left.
    """
    with writing(path), _replacing(Path(path)) as aside:
        yield aside


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    if _is_special(path):
        with tempfile.TemporaryDirectory() as folder:
            yield (aside := Path(folder) / f"0{_suffix(path)}")
            with aside.open("rb") as file, path.open("wb") as special:
                shutil.copyfileobj(file, special)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=_suffix(path))
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.chmod(0o666 & ~_umask())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def named(path: Path | str) -> Path:
    """Where a file that a user names is to be written: what a link leads to, a device or pipe as it is called."""
    path = Path(path)
    try:
        return path.resolve() if path.is_symlink() and not _is_special(path) else path
    except (OSError, RuntimeError):  # a loop of links
        return path


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replacing(path) as aside:
        aside.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    r"""Write `text` to `path` atomically, as UTF-8; bytes of paths that are none as `\udcff`, which JSON reads back."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` to `path` atomically as JSON; NaN and infinities become null."""
    write_text(path, to_json(value) + "\n")


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON text of `value`; NaN and infinities become null, paths and arrays become strings and lists."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """`value` as JSON has it: NaN and infinities None, tuples and arrays lists, paths and keys strings."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    listed: Callable[[], Any] | None = getattr(value, "tolist", None)  # numpy scalars and arrays, torch tensors
    return plain(listed()) if listed is not None else value


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _suffix(path: Path) -> str:
    """What tells libraries the format; short, so that the temporary name is no longer than a file system allows."""
    suffix = "".join(path.suffixes[-2:])
    return suffix if len(suffix.encode()) <= 20 else path.suffix if len(path.suffix.encode()) <= 20 else ""


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
