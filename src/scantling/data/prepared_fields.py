"""Fields that a method makes for its training cases once: files in the run folder, read where they are needed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scantling.core.atomic import write_bytes
from scantling.core.errors import RunError
from scantling.core.fields import IGNORE, Field, Kind
from scantling.data.files import safe_id

FOLDER = "prepared"
_OUTSIDE: Mapping[str, float | None] = {"labels": IGNORE, "binary": 0, "objects": 0, "image": None, "probabilities": 0}


@dataclass(frozen=True)
class PreparedField:
    """One field of all training cases, (C, *S) each, or (C, *s) on a coarser grid; of a volume read as slices by slice.

    Attributes:
        folder: of its files.
        field: what it is.
    """

    folder: Path
    field: Field

    @classmethod
    def of(cls, run: Path, name: str, kind: Kind) -> PreparedField:
        """The field `name` of a run."""
        outside = _OUTSIDE.get(kind, 0)
        return cls(run / FOLDER / safe_id(name), Field(name, kind, name, outside=outside, absent=outside or 0))

    def save(self, id: str, slice: int | None, tensor: Tensor) -> None:
        """Write the field (C, *S) of a case, or of one of its slices, the channels of a pixel side by side."""
        file = io.BytesIO()
        array = tensor.detach().cpu()
        np.save(file, np.asfortranarray((array.float() if array.dtype == torch.bfloat16 else array).numpy()))
        write_bytes(self._path(id, slice), file.getvalue())

    def has(self, id: str, slice: int | None) -> bool:
        """Whether it has been made for a case."""
        return self._path(id, slice).is_file()

    def load(self, id: str, slice: int | None) -> Tensor | None:
        """The field (C, *S) of a case, mapped into memory: only what is looked at is read. None if it has none.

        Raises:
            RunError: its file is damaged.
        """
        path = self._path(id, slice)
        if not path.is_file():
            return None
        try:
            array: np.ndarray[Any, Any] = np.load(path, mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise RunError(f"{path}: cannot be read ({error}); delete it and run the same command again") from None
        return torch.from_numpy(array)

    @property
    def channels(self) -> int:
        """How many channels it has: those of the first case that has it."""
        first = next(self.folder.rglob("*.npy"), None)
        return 1 if first is None else len(np.load(first, mmap_mode="r", allow_pickle=False))

    def _path(self, id: str, slice: int | None) -> Path:
        return self.folder / (f"{safe_id(id)}.npy" if slice is None else f"{safe_id(id)}/{slice:05d}.npy")
