"""`data.files` with arrays in the order of their files: undoes the turn to right, anterior, superior."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.case import Address, Geometry
from scantling.data import files
from scantling.data.orientation import as_stored, stored_geometry


def read(address: Address | Path | str, **options: Any) -> files.Picture:
    found = files.read(address, **options)
    return files.Picture(as_stored(found.array, found.geometry), stored_geometry(found.geometry), found.channels)


def read_labels(address: Address | Path | str, **options: Any) -> tuple[np.ndarray, Geometry]:
    array, geometry = files.read_labels(address, **options)
    return as_stored(array[None], geometry)[0], stored_geometry(geometry)


def probe(address: Address | Path | str, **options: Any) -> files.Header:
    header = files.probe(address, **options)
    geometry = stored_geometry(header.geometry)
    return replace(header, shape=geometry.shape, geometry=geometry)
