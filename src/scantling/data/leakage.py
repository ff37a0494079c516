"""What of one split is known in another: images that occur twice, subjects, links and origins that cross."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from scantling.core.case import Case
from scantling.data.contents import Finding, count, some
from scantling.data.duplicates import ALIKE, BITS, NEAR, near_pairs
from scantling.data.examination import Seen
from scantling.data.splits import SPLITS, torn_subjects

MOST_PAIRS = 20
"""So many pairs of images are told one by one; the others are counted."""


def duplicates(found: Sequence[Seen]) -> Iterator[Finding]:
    """Images that occur twice: the same pixels are an error across splits, else a warning; near ones, a warning."""
    seen_by: dict[tuple[str, ...], list[Case]] = defaultdict(list)
    for seen in found:
        if seen.looks and len(seen.looks) == len(seen.case.images):
            seen_by[tuple(seen.looks[name].pixels for name in sorted(seen.looks))].append(seen.case)
    for twins in seen_by.values():
        if len(twins) > 1:
            where = {case.split for case in twins}
            level, across = (
                ("error", f", in {_splits(twins)}; keep the image in one split")
                if len(where) > 1
                else ("warning", "; keep one")
            )
            yield Finding.model_validate(
                {
                    "level": level,
                    "kind": "duplicate",
                    "cases": [case.id for case in twins],
                    "sentence": f"{some(case.id for case in twins)} are the same image, pixel by pixel{across}",
                }
            )
    able = [seen for seen in found if seen.looks]
    pairs = []
    for first, second, apart, alike in near_pairs([next(iter(seen.looks.values())) for seen in able]):
        one, other = able[first].case, able[second].case
        if one.subject != other.subject and other.id not in one.links.values() and one.id not in other.links.values():
            pairs.append((one, other, apart, alike))
    pairs.sort(key=lambda pair: (pair[0].split == pair[1].split, -pair[3]))
    for one, other, apart, alike in pairs[:MOST_PAIRS]:
        across = f", in {_splits([one, other])}" if one.split != other.split else ""
        yield Finding(
            level="warning",
            kind="near duplicate",
            cases=(one.id, other.id),
            sentence=(
                f"{one.id} and {other.id} are nearly the same image{across} ({apart} of {BITS} bits differ, at most "
                f"{NEAR} "
                f"allowed; detail correlates by {alike:.2f}, at least {ALIKE}); look at both"
            ),
        )
    if len(pairs) > MOST_PAIRS:
        rest = tuple(dict.fromkeys(case.id for pair in pairs[MOST_PAIRS:] for case in pair[:2]))
        yield Finding(
            level="warning",
            kind="near duplicate",
            cases=rest,
            sentence=f"{len(pairs) - MOST_PAIRS} more pairs of images are nearly the same ({some(rest)})",
        )


def _splits(cases: Sequence[Case]) -> str:
    return " and ".join(name for name in SPLITS if name in {case.split for case in cases})


def leaks(cases: Sequence[Case]) -> Iterator[Finding]:
    """Subjects, links and origins that cross from one split into another."""
    known = {case.id: case for case in cases}
    for subject, names in torn_subjects(cases).items():
        ids = tuple(case.id for case in cases if case.subject == subject)
        yield Finding(
            level="error",
            kind="subject",
            cases=ids,
            sentence=f"the subject {subject} is in {' and '.join(names)} ({some(ids)}); keep it in one split",
        )
    for case in cases:
        for role, id in case.links.items():
            other = known.get(id)
            if other is None:
                yield Finding(
                    level="error",
                    kind="link",
                    cases=(case.id,),
                    sentence=f"{case.id} links to {id} as {role}, and there is no such case; correct the link",
                )
            elif other.split != case.split:
                yield Finding(
                    level="error",
                    kind="link",
                    cases=(case.id, id),
                    sentence=(
                        f"{case.id} ({case.split}) links to {id} ({other.split}) as {role}; keep both in one split"
                    ),
                )
        parents = [known[id] for id in case.origin.parents if id in known]
        if len({parent.split for parent in parents}) > 1:
            yield Finding(
                level="error",
                kind="parents",
                cases=(case.id, *(parent.id for parent in parents)),
                sentence=(
                    f"the synthetic case {case.id} was made from cases in {_splits(parents)} "
                    f"({some(parent.id for parent in parents)}); leave it out"
                ),
            )
    held = [case for case in cases if case.origin.kind == "synthetic" and case.split != "train"]
    if held:
        yield Finding(
            level="warning",
            kind="parents",
            cases=tuple(case.id for case in held),
            sentence=(
                f"{count(len(held), 'synthetic case')} ({some(case.id for case in held)}) "
                f"{'was' if len(held) == 1 else 'were'} made from {_splits(held)} cases and will not be learnt from"
            ),
        )
    train = [case for case in cases if case.split == "train" and case.images and case.origin.kind != "synthetic"]
    if len(train) > 1 and len({case.subject for case in train}) == 1:
        yield Finding(
            level="warning",
            kind="subjects",
            sentence=(
                f"the {count(len(train), 'training case')} ({some((case.id for case in train), most=3)}) are of one "
                f"subject, {train[0].subject}; add others, or correct the subjects (a manifest, or --subjects file)"
            ),
        )
    orphans = [case.id for case in cases if case.origin.parents and not all(id in known for id in case.origin.parents)]
    if orphans:
        yield Finding(
            level="note",
            kind="parents",
            cases=tuple(orphans),
            sentence=(
                f"{count(len(orphans), 'synthetic case')} ({some(orphans)}) come from cases that are not here; open "
                "their dataset "
                "with it, so that splits can be compared"
            ),
        )
