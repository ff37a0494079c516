"""Cases that no file holds: arrays in memory, or what a transform makes of a case, behind addresses like all others.

An address in memory is made anew whenever it is read, and the last few items are kept, so that the images and the mask
of a case come from one evaluation. It is known by the hash of what it gives.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scantling.core.case import Address, Case
from scantling.core.errors import FileError, ScantlingError, SettingsError
from scantling.data.formats.common import Header, Picture

MEMORY = Path("/(in memory)")
"""Below it lie the addresses of what no file holds: `(in memory)/DATASET/CASE#KEY`."""
KEPT = 2
"""Evaluated items that a data set keeps."""
TRIED = 3
"""Cases of which one has to be made before anything else is done with a data set."""


def in_memory(path: Path | str) -> bool:
    """Whether a path is that of a data set that no file holds."""
    return MEMORY.name in Path(path).parts[:2]


@dataclass(frozen=True, slots=True)
class MemoryAddress(Address):
    """An address that no file stands behind.

    Attributes:
        items: evaluates it.
        number: of its item.
        files: the files that the item is made from, as far as they are known.
    """

    items: Items = field(kw_only=True, compare=False, repr=False)
    number: int = field(kw_only=True, compare=False)
    files: tuple[Path, ...] = field(default=(), kw_only=True, compare=False, repr=False)

    def picture(self) -> Picture:
        """The array (C, *S), axes right, anterior and superior where it has an affine.

        Raises:
            FileError: it cannot be made.
        """
        return self.items.picture(self)

    def header(self) -> Header:
        """What is known of the array; raises as `picture` does."""
        return self.items.header(self)

    def digest(self) -> str:
        """The SHA-256 of the numbers, their type, shape and place; raises as `picture` does."""
        return self.items.digest(self)


class Items:
    """Items of a data set that are evaluated one at a time, whichever thread asks.

    Args:
        evaluate: gives the images and masks of an item by key.
    """

    def __init__(self, evaluate: Callable[[int], Mapping[str, Picture]]) -> None:
        self._evaluate = evaluate
        self._recent: OrderedDict[int, Mapping[str, Picture]] = OrderedDict()
        self._headers: dict[tuple[int, str], Header] = {}
        self._digests: dict[tuple[int, str], str] = {}
        self._lock = threading.RLock()

    def picture(self, address: MemoryAddress) -> Picture:
        """See `MemoryAddress.picture`."""
        with self._lock:
            if address.number not in self._recent:
                self._recent[address.number] = self._evaluated(address)
                while len(self._recent) > KEPT:
                    self._recent.popitem(last=False)
            self._recent.move_to_end(address.number)
            found = self._recent[address.number].get(address.member)
        if found is None:
            known = ", ".join(self._recent[address.number])
            raise FileError(str(address), f"the item holds no {address.member!r}, only {known}", remedy="correct it")
        return found

    def header(self, address: MemoryAddress) -> Header:
        """See `MemoryAddress.header`."""
        key = (address.number, address.member)
        if key not in self._headers:
            one = self.picture(address)
            self._headers[key] = Header("memory", one.geometry.shape, one.channels, one.array.dtype, one.geometry)
        return self._headers[key]

    def digest(self, address: MemoryAddress) -> str:
        """See `MemoryAddress.digest`."""
        key = (address.number, address.member)
        if key not in self._digests:
            self._digests[key] = digest_of(self.picture(address))
        return self._digests[key]

    def check(self, cases: Sequence[Case]) -> None:
        """Make sure that the first of `cases` that can be made is the same whenever it is.

        Raises:
            FileError: the first cases cannot be made.
            SettingsError: a case differs from itself.
        """
        errors = list[FileError]()
        for case in cases[:TRIED]:
            address = next(a for _, a in case.addresses() if isinstance(a, MemoryAddress))
            try:
                found = [{key: digest_of(one) for key, one in self._evaluated(address).items()} for _ in range(2)]
            except FileError as error:
                errors.append(error)
                continue
            if found[0] != found[1]:
                raise SettingsError(
                    f"{address.path}: was read twice and differs; a case has to be the same whenever it is read; leave "
                    "out what is random: augmentation is a setting of the method"
                )
            return
        raise errors[0]

    def _evaluated(self, address: MemoryAddress) -> Mapping[str, Picture]:
        try:
            return self._evaluate(address.number)
        except FileError:
            raise
        except ScantlingError as error:
            raise FileError(str(address), str(error)) from error
        except Exception as error:  # a transform of the user's, or a reader of another package
            cause = error.__cause__ or error
            reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200].rstrip(".")
            raise FileError(
                str(address), f"cannot be made ({reason})", remedy="mend the item or the transform"
            ) from error


def digest_of(picture: Picture) -> str:
    """The SHA-256 of an image: of its numbers, their type, shape, channels and place."""
    array, geometry = np.ascontiguousarray(picture.array), picture.geometry
    affine = None if geometry.affine is None else np.asarray(geometry.affine, np.float64).tolist()
    facts = (array.dtype.str, array.shape, picture.channels, geometry.spacing, geometry.unit, affine)
    digest = hashlib.sha256(repr(facts).encode())
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
