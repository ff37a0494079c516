"""Made data beside real ones: what `worth` takes of them, and what their origins say of whom they were made from."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median

from scantling.core.case import Case
from scantling.core.errors import DataError, SettingsError
from scantling.core.fields import title_of
from scantling.core.outputs import RUN
from scantling.core.randomness import seed_of
from scantling.data.contents import count, some
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.division import within_budget
from scantling.data.files import probe
from scantling.data.label_budget import written_labels
from scantling.methods.catalogue import cards
from scantling.records.run import RunRecord
from scantling.records.run_folder import identity_of
from scantling.training.leakage import learned_from, record_of

FAR = 1.5
"""Where nothing says how large a pixel is, images whose median side differs by more than this factor are told of."""
_OF_BUDGET = re.compile(r"([^@=]+)@(\d{1,9}|\d{1,3}(?:\.\d{1,6})?%|all)=(.+)")


@dataclass(frozen=True)
class Source:
    """Made data that arms take.

    Attributes:
        name: after its folder or run, or as it was given.
        places: the folder or run of each budget, or of all budgets with the key "".
        folders: where the made cases lie, in the same way; of a run in the folder of the experiment.
    """

    name: str
    places: Mapping[str, Path]
    folders: Mapping[str, Path]

    def folder(self, budget: str) -> Path | None:
        """The made cases for a budget; None where there are none for it."""
        return self.folders.get(budget, self.folders.get(""))

    def place(self, budget: str) -> Path | None:
        """The folder or run for a budget."""
        return self.places.get(budget, self.places.get(""))


def sources_of(words: Sequence[str | Path], out: Path) -> list[Source]:
    """The made data that a command names: PATH for all budgets, NAME@BUDGET=PATH for one.

    Args:
        out: the folder of the experiment, where the cases of runs are made.

    Raises:
        SettingsError: there are none, one is not there, or two are of the same name and budget.
    """
    if not words:
        raise SettingsError("--made: found none; name a folder of made cases, or a run that makes them")
    found = dict[str, dict[str, Path]]()
    for word in words:
        match = _OF_BUDGET.fullmatch(str(word)) if not Path(word).exists() else None
        place = Path(match[3] if match else word)
        if not place.exists():
            raise SettingsError(
                f"--made {word}: there is no {place}; expected a folder of made cases, a run that makes them, or "
                "NAME@BUDGET=PATH for one budget alone"
            )
        name, budget = (match[1], match[2]) if match else (place.resolve().name, "")
        budget = budget if budget in ("", "all") else str(written_labels(budget))
        places = found.setdefault(name, {})
        if budget in places:
            raise SettingsError(f"--made {word}: {name} is named twice; rename one of the folders")
        places[budget] = place

    def folder(name: str, budget: str, place: Path) -> Path:
        return out / "made" / f"{name}{budget and f'@{budget}'}" if is_run(place) else place

    return [
        Source(name, places, {budget: folder(name, budget, place) for budget, place in places.items()})
        for name, places in found.items()
    ]


def is_run(place: Path) -> bool:
    """Whether a place is a run that makes cases, and no folder of made cases."""
    return (place / RUN).is_file()


@lru_cache(maxsize=16)
def opened(folder: Path) -> Dataset:
    """The made cases of a folder, opened once in a process."""
    return open_dataset(folder)


def check_made(name: str, made: Dataset, real: Dataset, *, label: str = "mask") -> list[str]:
    """Make sure that made cases can be learnt from beside real ones; sentences on what cannot be known.

    Args:
        label: what is learnt from: "mask", "instances" or "image_class".

    Raises:
        DataError: nothing says that they are made, they have no images or masks, other channels, axes or classes, or
            were made from test subjects.
    """
    cases = [case for case in made.cases if case.origin.kind == "synthetic"]
    where = f"--made {name}: {made.root}"
    if not cases:
        raise DataError(
            f"{where}: nothing says that its {count(len(made.cases), 'case')} are made, and from what; expected what "
            '`scantling synthesize` writes, or a manifest with origin = {kind = "synthetic", parents = [...]}'
        )
    if not any(case.images for case in cases):
        raise DataError(f"{where}: holds masks without images; expected images with masks")
    if not any(case.has(label) and case.images for case in cases):
        way = "with `scantling synthesize RUN --use segmenter=RUN`, or with a generator that makes masks"
        way = "with a generator that makes them, such as nuclei-diffusion" if label == "instances" else way
        way = "with `scantling synthesize RUN --class NAME`" if label == "image_class" else way
        raise DataError(f"{where}: its images have no {title_of(label)} to learn from; make them {way}")
    remarks = [] if any(case.split == "train" for case in cases) else [f"{where}: no case is for training"]
    if label != "image_class":
        _check_classes(where, made, real)
    elif strange := {c.image_class for c in cases} - {c.image_class for c in real.cases if c.split != "test"} - {None}:
        raise DataError(f"{where}: has the image classes {some(sorted(map(str, strange)))}, which no real case has")
    remarks += _check_images(where, cases, real)
    return remarks + _check_parents(where, cases, real)


def _check_classes(where: str, made: Dataset, real: Dataset) -> None:
    found, expected = made.label_source.resolved, within_budget(real).labels  # no test mask is opened
    if found is None or expected is None or found.names == expected.names:
        return
    if max(len(found.names), len(expected.names)) > 1:
        raise DataError(
            f"{where}: has the classes {some(found.names, most=9)}; expected those of {real.root}: "
            f"{some(expected.names, most=9)}; name and order them alike in a manifest"
        )


def _check_images(where: str, cases: Sequence[Case], real: Dataset) -> list[str]:
    """Channels and axes of some images of both, from their headers."""
    shapes = []
    for those in (cases, [case for case in real.cases if case.split != "test"]):
        imaged = [case for case in those if case.images]
        names = tuple(dict.fromkeys(name for case in imaged for name in case.images))
        headers = [probe(address) for case in imaged[:20] for address in list(case.images.values())[:1]]
        number = sum(len(probe(address).channels) for address in imaged[0].images.values())
        shapes.append((names, number, headers))
    (own, channels, made), (expected, number, there) = shapes
    if {*own} != {*expected} and max(len(own), len(expected)) > 1:
        raise DataError(f"{where}: has the images {some(own)}; expected those of {real.root}: {some(expected)}")
    if channels != number and 1 not in (channels, number):
        raise DataError(f"{where}: its images have {count(channels, 'channel')}; expected {number}")
    axes = [len(headers[0].shape) for headers in (made, there)]
    if axes[0] != axes[1]:
        raise DataError(f"{where}: its images have {axes[0]} axes; expected {axes[1]}, as those of {real.root}")
    sides = [median(max(header.shape) for header in headers) for headers in (made, there)]
    told = all(header.geometry.unit == "mm" for header in (*made, *there))
    if told or max(sides) <= FAR * min(sides):
        return []
    return [
        f"{where}: its images are about {sides[0]:.0f} pixels long, the real ones {sides[1]:.0f}, and nothing says how "
        "large a pixel is: unless they are pieces of the same scale, what they show has another size."
    ]


def _check_parents(where: str, cases: Sequence[Case], real: Dataset) -> list[str]:
    held = {case.id for case in real.split("test")}
    subjects = {case.subject for case in real.split("test") if case.named}
    ids = {case.id for case in real.cases}
    learnt = [case for case in cases if case.split == "train"]
    of_subjects = [case.id for case in learnt if case.named and case.subject in subjects]
    leaked = [case.id for case in learnt if not held.isdisjoint(case.origin.parents)] or of_subjects
    if leaked:
        raise DataError(
            f"{where}: {some(leaked)} were made from test subjects of {real.root}; make them from the training cases "
            "alone (`scantling synthesize … --split train`), or give both the same split"
        )
    strange = [case.id for case in cases if case.origin.parents and ids.isdisjoint(case.origin.parents)]
    return [] if not strange else [
        f"{where}: {count(len(strange), 'case')} ({some(strange)}) have parents that are not in {real.root}; whether "
        "they show test subjects is not known."
    ]  # fmt: skip


def drawn_cases(
    made: Dataset, allowed: Collection[str], real: Dataset, *, draw: int | None, label: str = "mask"
) -> list[Case]:
    """The made cases that a budget may learn from, in the order in which arms take them: fewer lie in more.

    They have images and labels, are for training, and their parents and subjects, where the real data know them, are
    among the training subjects of the budget.

    Args:
        allowed: these subjects.
        draw: the seed of the order; None: by id, in which cases of a run are counted.
        label: what is learnt from.
    """
    subject = {case.id: case.subject for case in real.cases}
    known = {*subject.values()}

    def fits(case: Case) -> bool:
        of = {subject[parent] for parent in case.origin.parents if parent in subject}
        of |= {case.subject} if case.named and case.subject in known else set()
        return of <= {*allowed}

    own = [case for case in made.cases if case.origin.kind == "synthetic" and case.split == "train"]
    able = [case for case in own if case.images and case.has(label)]

    def place(case: Case) -> tuple[int, str]:
        return (0 if draw is None else seed_of("worth", draw, case.id)), case.id

    return sorted((case for case in able if fits(case)), key=place)


def _models(words: str) -> list[str]:
    """Each model that an origin names: what has made the case, what has marked it, what a gate has judged it by."""
    found = list[str]()
    for part in words.split("; masks by"):
        own, *gates = part.split("accepted: ")
        found += [own.strip(), *(gate.partition(" by ")[2].strip(" ,") for gate in gates if " by " in gate)]
    return found


def learned_subjects(
    name: str, made: Dataset, generators: Sequence[Path], real: Dataset
) -> tuple[frozenset[str] | None, list[str]]:
    """The real subjects that the generator of made cases has learned from, by the records of runs; and sentences.

    Args:
        generators: runs, which the origins name by their identity.

    Returns:
        None where no record says it.

    Raises:
        DataError: it has learned from test subjects.
    """
    runs = {identity_of(run): record_of(run) for run in generators}
    models = {model for case in made.cases for model in _models(case.origin.model)}
    records, unknown = list[RunRecord](), list[str]()
    for model in sorted(models):
        record = next((one for identity, one in runs.items() if identity in model and one is not None), None)
        card = cards().get(model.partition(" ")[0])
        if record is not None:
            records.append(record)
        elif card is None or card.needs:
            unknown.append(model.partition(" ")[0] or "what made them")
    if unknown:
        return None, [
            f"--made {name}: no record says from whom {some(dict.fromkeys(unknown))} has learned; test subjects may be "
            "among them; name the run with --generator RUN."
        ]
    ids = learned_from(records, real, among={case.id for case in real.cases})
    seen = {case.subject for case in real.cases if case.id in ids}
    if tested := sorted(seen & {case.subject for case in real.split("test")}):
        raise DataError(
            f"--made {name}: its generator has learned from {count(len(tested), 'test subject')} of {real.root} "
            f"({some(tested)}), so that scores there would say nothing; train it on the same split: write the split "
            "into a manifest (scantling check DATA --write-manifest) and train both on it"
        )
    return frozenset(seen), []
