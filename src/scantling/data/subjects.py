"""Who was imaged, by the names of files: `pat00_slice3` and `pat00_slice4` are one subject, `case12_L` and `_R` too."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from scantling.core.errors import SettingsError
from scantling.data.contents import Contents, Finding, count, some
from scantling.data.naming import SPLITS, says_image, says_mask
from scantling.data.tile_names import slides_of

Subjects = Literal["name", "file"]
"""Whether files whose names share the number of a subject are of one subject, or each file is a subject."""

_PEOPLE = {
    *("patient", "patientid", "pat", "pt", "case", "subject", "subj", "sub", "person", "participant", "volunteer"),
    *("proband", "id", "mrn", "donor", "animal", "mouse", "rat", "specimen"),
}
_SLICES = {
    *("slice", "slices", "sl", "s", "z", "frame", "frames", "fr", "f", "section", "plane", "layer", "cut", "page"),
    *("patch", "tile", "crop", "roi", "region", "view", "v", "time", "timepoint", "tp", "phase", "visit", "ses"),
    *("session", "img", "image", "photo", "exam", "series", "acq", "run", "rep", "part", "window"),
}
_GROUPS = {
    *("class", "grade", "stage", "level", "label", "type", "cat", "category", "score", "birads", "site", "center"),
    *("centre", "hospital", "clinic", "institution", "vendor", "scanner", "device", "cohort", "group", "dataset"),
    *("data", "set", "fold", "batch", "version", "ver", "study", "challenge"),
}
"""Words before a number that many subjects share."""
_WHOLES = {"slide", "wsi", "volume", "vol", "stack"}
"""Words before the first number of a name that is the subject's, whatever follows."""
_MARKS = {
    *("l", "r", "left", "right", "lt", "rt", "od", "os", "ou", "cc", "mlo", "lcc", "rcc", "lmlo", "rmlo", "ap", "pa"),
    *("lat", "lateral", "frontal", "ax", "axial", "sag", "sagittal", "cor", "coronal"),
    *("pre", "post", "before", "after", "baseline", "followup"),
}
"""Sides, views and times of one subject."""
_SEQUENCE = re.compile(r"t1(c|ce|gd|w)?|t2w?|[234]d", re.IGNORECASE)
_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_IDENTIFIER = re.compile(r"\d+(\.\d+){4,}")
_TOKEN = re.compile(r"[^_\-. ()\[\]]+")
_RUN = re.compile(r"\d+|[^\W\d_]+")
_MOST_RUNS = 4
"""A part of a name that changes between letters and digits more often is a code, whose digits count nothing."""
_SIZES = {2**power for power in range(5, 15)} | {3 * 2**power for power in range(5, 12)} | {224, 320, 448, 640}


@dataclass(frozen=True)
class _Part:
    """A run of letters or digits of a name, or a code of both, and where it ends; `word` stands before a number."""

    kind: Literal["word", "number", "code", "other"]
    text: str
    start: int
    end: int
    word: str = ""


@dataclass(frozen=True)
class _Stem:
    """The part of a name that tells the subject, its number, and whether the words leave no doubt."""

    text: str
    number: str
    certain: bool


def by_name(contents: Contents) -> Contents:
    """`contents` with one subject for all files whose names share the number of a subject, and a remark that says so.

    A stem is shared where a second number (of a slice, a frame, a patch) or a mark of a side, view or time follows the
    subject's own number. Dates, sizes, magnifications and the numbers of classes or sites are nobody's own number.
    The subject counts as named (`Case.named`). The subjects of a manifest stay; a warning tells what names suggest.
    """
    described = contents.described
    alone = [case for case in contents.cases if case.origin.kind != "synthetic" and not (described and case.named)]
    shared = shared_stems({case.subject for case in alone})
    if not shared:
        return contents
    of = {name: stem for stem, names in shared.items() for name in (stem, *names)}
    found = [case for case in alone if case.subject in of]
    longest = sorted(shared.items(), key=lambda item: -min(len(item[1]), 2))[:2]
    examples = "; ".join(f"{stem}: {some(listed, most=2)}" for stem, listed in longest)
    sentence = f"{count(len(found), 'case')} of {count(len(shared), 'subject')} by their names ({examples})"
    if described:
        sentence += "; the manifest takes each for a subject; set 'subject', so that no split divides one"
    else:
        sentence += "; --subjects file takes each file for a subject"
    remark = Finding(level="warning" if described else "note", kind="subjects", sentence=sentence)
    cases = contents.cases
    if not described:
        ids = {case.id for case in found}
        cases = tuple(replace(case, subject=of[case.subject], named=True) if case.id in ids else case for case in cases)
    return replace(contents, cases=cases, remarks=(*contents.remarks, remark))


def checked(subjects: str) -> Subjects:
    """What `--subjects` says.

    Raises:
        SettingsError: it is neither "name" nor "file".
    """
    for known in get_args(Subjects):
        if subjects == known:
            return subjects  # type: ignore[return-value]
    raise SettingsError(f"--subjects {subjects}: expected name or file")


def shared_stems(names: Collection[str]) -> dict[str, list[str]]:
    """The names of each subject by their stem, both in order; none where no stem has several names.

    Tiles of a slide are of the subject of the slide (`tile_names`).
    """
    found: dict[str, list[str]] = {}
    stems: dict[str, _Stem] = {}
    slides = slides_of(names)
    for name in sorted(names):
        stem = _stem(name)
        if (slide := slides.get(name)) is not None:
            stem = whole if (whole := _stem(slide)) is not None and whole.certain else _Stem(slide, "", True)
        if stem is not None:
            found.setdefault(stem.text, []).append(name)
            stems[stem.text] = stem
    doubtful = [stem for stem in stems.values() if not stem.certain]
    numbers = {stem.number for stem in doubtful}
    if len(stems) == 1 or _years(numbers) or (_sizes(numbers) and len(numbers) < 5):
        for stem in doubtful:
            del found[stem.text]
    several = any(len(listed) > 1 or stem in names for stem, listed in found.items())
    return found if several else {}


def _stem(name: str) -> _Stem | None:
    """What a name says of its subject, where something follows the subject's own number."""
    if _IDENTIFIER.search(name):
        return None
    parts = _parts(name)
    counted = [place for place, part in enumerate(parts) if part.kind in ("number", "code")]
    people = [place for place in counted if parts[place].word in _PEOPLE]
    whole = [place for place in counted[:1] if parts[place].word in _WHOLES]
    for place in (people or whole)[:1]:
        part, rest = parts[place], parts[place + 1 :]
        follows = any(one.kind in ("number", "other") and one.text.isdigit() for one in rest)
        return _Stem(name[: part.end], part.text, _says_part(rest)) if follows or _says_part(rest) else None
    kept = _without_marks(parts)
    if len(kept) == len(parts):
        return None
    certain = _says_part(parts[len(kept) :])
    own = [part for part in kept if part.kind in ("number", "code") and part.word not in _GROUPS]
    return _Stem(name[: kept[-1].end], own[-1].text, certain and own[-1].kind == "number") if own else None


def _says_part(parts: Iterable[_Part]) -> bool:
    """Whether a word says that this is a slice, a side, a view or a time of something."""
    return any(part.word in _SLICES or (part.kind == "word" and part.text.lower() in _MARKS) for part in parts)


def _without_marks(parts: Sequence[_Part]) -> list[_Part]:
    """The parts before what marks a slice, a side or a time, all of them where nothing does.

    Several marks may follow each other, but a number without a word for slices is taken for one at most once.
    """
    kept, marked, by_word = list(parts), False, False
    while kept:
        last = kept[-1]
        before = [one for one in kept[:-1] if one.kind in ("number", "code") and one.word not in _GROUPS]
        words = [place for place, one in enumerate(kept) if one.kind == "word" and one.text.lower() in SPLITS]
        before = [one for one in before if not words or one.start > kept[words[-1]].start]
        if last.kind == "other" or (last.kind == "word" and (says_image(last.text) or says_mask(last.text))):
            kept.pop()
        elif last.kind == "word" and last.text.lower() in _MARKS and before:
            kept.pop()
            marked = True
        elif last.kind == "number" and last.word in _SLICES and before:
            kept = kept[:-2]
            marked = by_word = True
        elif last.kind == "number" and before and (not marked or not (by_word or last.word or before[-1].word)):
            kept.pop()
            marked = by_word = True
        else:
            break
    return kept if marked else list(parts)


def _parts(name: str) -> list[_Part]:
    """The parts of a name in order; dates, sizes, magnifications and MR sequences are of the kind "other"."""
    parts: list[_Part] = []
    for token in _TOKEN.finditer(name):
        runs = list(_RUN.finditer(token[0]))
        start = token.start()
        size = re.fullmatch(r"\d+x(\d+)?(x\d+)?", token[0], re.IGNORECASE)
        if size or _SEQUENCE.fullmatch(token[0]) or _DATE.fullmatch(token[0]):
            parts.append(_Part("other", token[0], start, token.end()))
        elif len(runs) > _MOST_RUNS:
            parts.append(_Part("code", token[0], start, token.end(), _word(parts)))
        else:
            for run in runs:
                number = run[0].isdigit()
                word = _word(parts) if number else ""
                parts.append(
                    _Part("number" if number else "word", run[0], start + run.start(), start + run.end(), word)
                )
    return _without_dates(parts)


def _word(parts: Sequence[_Part]) -> str:
    return parts[-1].text.lower() if parts and parts[-1].kind == "word" else ""


def _without_dates(parts: list[_Part]) -> list[_Part]:
    """The parts with dates in three numbers (2021-03-15, 15.03.2021) as one of the kind "other"."""
    for place in range(len(parts) - 2):
        three = parts[place : place + 3]
        if all(part.kind == "number" for part in three):
            texts = [part.text for part in three]
            if any(_DATE.fullmatch("".join(order)) for order in (texts, texts[::-1])):
                date = _Part("other", "".join(texts), three[0].start, three[-1].end)
                return [*parts[:place], date, *_without_dates(parts[place + 3 :])]
    return parts


def _years(numbers: Iterable[str]) -> bool:
    return all(number.isdigit() and len(number) == 4 and 1900 <= int(number) < 2100 for number in numbers)


def _sizes(numbers: Iterable[str]) -> bool:
    return all(number.isdigit() and int(number) in _SIZES for number in numbers)
