"""Which image is warped onto which: pairs by name, by a table, in turn, each with each, or atlases onto all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scantling.core.case import Case
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.data.contents import some
from scantling.data.files import stem_of
from scantling.data.tables import read_table


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """A fixed image and what is warped onto it: one moving image, or several atlases."""

    id: str
    fixed: Case
    moving: tuple[Case, ...]


def pairings(
    fixed: Sequence[Case],
    moving: Sequence[Case] | None,
    *,
    pairs: str = "",
    atlases: Sequence[str] = (),
    known: Sequence[Case] = (),
) -> list[Pairing]:
    """Choose the pairs.

    - atlases: each of them is warped onto every other fixed image.
    - pairs is a CSV file with the columns fixed and moving, of ids or file names: these.
    - pairs is "all": every ordered pair of two images.
    - moving images are named: a single one with a single one, else those of one name.
    - else each image with the next one by id as its moving image, the last one with the first.

    Args:
        fixed: the fixed images.
        moving: the moving ones; None where they are among the fixed ones.
        known: all cases of the data of the fixed images, where an atlas may come from; a moving image of the name of
            one that is not among the fixed ones, being of another split, is left out.

    Raises:
        SettingsError: the wishes contradict each other, or an atlas is unknown.
        DataError: there is no pair, or an image has no partner.
        FileError: the table cannot be read.
    """
    if atlases:
        if pairs:
            raise SettingsError("--atlas warps atlases onto all other images; leave --pairs out")
        found = _onto_others(fixed, moving if moving is not None else known, atlases)
    elif pairs == "all":
        found = [_pair(one, other) for one in fixed for other in (fixed if moving is None else moving) if one != other]
    elif pairs:
        found = _of_table(Path(pairs), fixed, fixed if moving is None else moving)
    elif moving is None:
        following = [*fixed[1:], *fixed[:1]]
        found = [_pair(one, other) for one, other in zip(fixed, following, strict=True) if one != other]
    elif len(fixed) == len(moving) == 1:
        found = [_pair(fixed[0], moving[0])]
    else:
        found = _by_name(fixed, moving, known)
    if not found:
        raise DataError(
            f"found no pair of two images among {some(case.id for case in fixed)}; name another MOVING or --split"
        )
    if twice := [id for id, times in Counter(one.id for one in found).items() if times > 1]:
        raise DataError(f"several pairs would be called {some(twice, most=3)}; list each once, or rename the images")
    return found


def _pair(fixed: Case, moving: Case) -> Pairing:
    return Pairing(id=name_of_pair(fixed, moving), fixed=fixed, moving=(moving,))


def name_of_pair(fixed: Case, moving: Case) -> str:
    """What the files of a pair are called: the name that both have, or "FIXED_from_MOVING"."""
    return fixed.id if fixed.id == moving.id else f"{fixed.id}_from_{moving.id}"


def _onto_others(fixed: Sequence[Case], known: Sequence[Case], atlases: Sequence[str]) -> list[Pairing]:
    by_id = {case.id: case for case in known if case.images}
    lost = [id for id in dict.fromkeys(atlases) if id not in by_id]
    if lost:
        raise SettingsError(f"--atlas {lost[0]}: there is no such image; expected ids such as {some(by_id, most=3)}")
    chosen = tuple(by_id[id] for id in dict.fromkeys(atlases))
    return [Pairing(id=case.id, fixed=case, moving=chosen) for case in fixed if case not in chosen]


def _by_name(fixed: Sequence[Case], moving: Sequence[Case], known: Sequence[Case]) -> list[Pairing]:
    partners, ids = {case.id: case for case in moving}, {case.id for case in (*fixed, *known)}
    alone = [case.id for case in fixed if case.id not in partners] + [id for id in partners if id not in ids]
    if alone:
        raise DataError(
            f"no image of the other folder is called like {some(alone)}; expected equal names, or --pairs FILE.csv"
        )
    return [_pair(case, partners[case.id]) for case in fixed]


def _of_table(path: Path, fixed: Sequence[Case], moving: Sequence[Case]) -> list[Pairing]:
    if not path.is_file():
        raise SettingsError(f"--pairs {path}: there is no such file; expected all, or a CSV file")
    columns, rows = read_table(path)
    if not rows or not {"fixed", "moving"} <= {*columns}:
        found = f"the columns {some(columns)}" if rows else "no row"
        raise FileError(path, f"the table has {found}", expected="the columns fixed and moving, a pair in each row")
    sides = {"fixed": {case.id: case for case in fixed}, "moving": {case.id: case for case in moving}}
    pairs = []
    for number, row in enumerate(rows, start=2):
        partners = []
        for side, cases in sides.items():
            name = row[side]
            case = cases.get(name) or cases.get(stem_of(name))
            if case is None:
                raise FileError(
                    path,
                    f"line {number} names the {side} image {name!r}, which is not there",
                    expected=f"an id or a file name such as {some(cases, most=3)}",
                )
            partners.append(case)
        pairs.append(_pair(*partners))
    return pairs
