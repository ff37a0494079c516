"""How the files of the training cases are stored, and so those that are made like them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scantling.core.samples import Storage, StoredImage, StoredType
from scantling.data.orientation import AXES

if TYPE_CHECKING:
    from scantling.data.traits import Measured


def storage_of(found: Sequence[Measured], channels: Sequence[str]) -> Storage:
    """How the files of the measured cases are stored: each in a type that holds all of them."""
    left, files = list(channels), []
    for name in dict.fromkeys(name for one in found for name in one.names):
        count = max(len(one.names[name]) for one in found if name in one.names)
        dtype = stored_type(np.result_type(*{one.dtypes[name] for one in found if name in one.names}))
        files.append(StoredImage(name=name, channels=tuple(left[:count]), dtype=dtype))
        left = left[count:]
    affines = [one.geometry.affine for one in found]
    keys = [
        None if a is None else tuple((a[:3, :3] / np.linalg.norm(a[:3, :3], axis=0)).round(2).ravel().tolist())
        for a in affines
    ]
    usual = Counter(keys).most_common(1)[0][0]
    alike = [one.geometry for one, key in zip(found, keys, strict=True) if key == usual and key is not None]
    stored = Counter(None if (way := each.orientation) is None else (way.axes, way.flips) for each in alike)
    axes, flips = (stored.most_common(1)[0][0] if stored else None) or (AXES, (False, False, False))
    return Storage(
        files=tuple(files),
        container=Counter(one.geometry.container for one in found).most_common(1)[0][0],
        affine=tuple(tuple(row) for row in np.median([each.affine for each in alike], axis=0).tolist())
        if alike
        else None,
        axes=axes,
        flips=flips,
    )


def stored_type(dtype: np.dtype[Any]) -> StoredType:
    """The type that images like those of `dtype` are written in: float32 where no other holds all its numbers."""
    able: tuple[StoredType, ...] = ("uint8", "uint16", "int16", "int32")
    return next((name for name in able if np.can_cast(dtype, name)), "float32")
