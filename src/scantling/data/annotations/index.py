"""Which file is meant by the name of an image in a file of annotations, wherever it lay when that was written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

from scantling.core.errors import DataError
from scantling.data.files import stem_of


class ImageIndex:
    """The image files below a folder by their names and stems, in any capitals and any Unicode form."""

    def __init__(self, root: Path, images: Iterable[Path]) -> None:
        self.root = root
        self.by_name: dict[str, list[Path]] = {}
        self.by_stem: dict[str, list[Path]] = {}
        for path in images:
            self.by_name.setdefault(_plain(path.name), []).append(path)
            self.by_stem.setdefault(_plain(stem_of(path)), []).append(path)

    def find(self, names: Sequence[str], *, near: Path) -> Path | None:
        """The file that the first of `names` means that is there; None if there is none.

        Args:
            names: paths or names, of which the last parts count; a suffix may differ.
            near: the file of annotations; of several files of the name the one whose path is most alike counts.

        Raises:
            DataError: several files of the name are as good.
        """
        for name in names:
            parts = [_plain(part) for part in re.split(r"[/\\]", name) if part]
            if not parts:
                continue
            found = self.by_name.get(parts[-1]) or self.by_stem.get(parts[-1])
            found = found or self.by_stem.get(_plain(stem_of(parts[-1])))
            if found:
                return self._nearest(found, parts, near)
        return None

    def _nearest(self, found: Sequence[Path], parts: Sequence[str], near: Path) -> Path:
        def likeness(path: Path) -> tuple[int, int]:
            own = [_plain(part) for part in path.relative_to(self.root).parts]
            same_end = zip(reversed(own[:-1]), reversed(parts[:-1]), strict=False)
            same_start = zip(path.parent.parts, near.parent.parts, strict=False)
            ends = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], same_end))
            return ends, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], same_start))

        ranked = sorted(found, key=likeness, reverse=True)
        if len(ranked) > 1 and likeness(ranked[0]) == likeness(ranked[1]):
            raise DataError(
                f"{near}: its image {'/'.join(parts)!r} may be {ranked[0]} or {ranked[1]}; rename one, or move the "
                "annotations beside their images"
            )
        return ranked[0]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
