"""The pictures that training left in `samples/`, with their captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scantling.core.errors import FileError
from scantling.data.files import read
from scantling.records.record import read_json
from scantling.report.pictures import jpeg_uri, shrink

MOST = 12


def samples_of(run: Path, *, longest: int) -> tuple[tuple[str, str], ...]:
    """Caption and data URI of each picture; what cannot be read is left out."""
    folder = run / "samples"
    try:
        captions = read_json(folder / "captions.json") if (folder / "captions.json").is_file() else {}
    except FileError:
        return ()
    found = []
    for name, caption in list(captions.items() if isinstance(captions, dict) else [])[:MOST]:
        if Path(name).name != name:
            continue
        try:
            picture = read(folder / name).array
        except FileError:
            continue
        if picture.dtype == np.uint8 and len(picture) == 3:
            found.append((str(caption), jpeg_uri(shrink(np.moveaxis(picture, 0, -1), longest))))
    return tuple(found)
