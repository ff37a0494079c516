"""The errors that a user can cause: one sentence each, never a traceback."""

from __future__ import annotations

from pathlib import Path


class ScantlingError(Exception):
    """Something that the user can mend; the message says what was found, what was expected and what to do."""


class FileError(ScantlingError):
    """A file that cannot be read or written as what it should be.

    Args:
        path: the file, or an address inside it (`file.npz#label`).
        found: what is wrong, as a clause ("the file ends after 120 of 4,096 bytes").
        expected: what would have been right, as a clause, if it helps.
        remedy: what to do, as an imperative, if it helps.
    """

    def __init__(self, path: Path | str, found: str, *, expected: str = "", remedy: str = "") -> None:
        self.path = str(path)
        self.found = found
        sentence = f"{path}: {found}"
        if expected:
            sentence += f"; expected {expected}"
        if remedy:
            sentence += f"; {remedy}"
        super().__init__(sentence)

    def __reduce__(self) -> tuple[object, ...]:
        """Errors travel between processes whole (`--untrusted` decodes in another one)."""
        return _revive, (type(self), self.path, self.found, str(self))


class DiskFullError(FileError):
    """A file for which no space is left; no other file can be written either."""


def _revive(kind: type[FileError], path: str, found: str, sentence: str) -> FileError:
    error = kind.__new__(kind)
    Exception.__init__(error, sentence)
    error.path, error.found = path, found
    return error


class DataError(ScantlingError):
    """A dataset that does not hold together or does not hold what is needed."""


class ArrayError(DataError, ValueError):
    """An array that is not what a function takes: its axes, its values, or its size beside another."""


class SettingsError(ScantlingError):
    """A setting out of its range, or one that contradicts another."""


class RunError(ScantlingError):
    """A run folder that cannot be used: locked, changed, unfinished or not a run."""


def out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, in the words of Python or of torch, on the processor or on a GPU."""
    names = {"MemoryError", "OutOfMemoryError"}
    return type(error).__name__ in names or "DefaultCPUAllocator" in str(error)
