"""The command `synthesize`: labelled images or masks from a rule or a trained run, as a dataset folder with origins."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from operator import index
from pathlib import Path
from typing import Any

import torch

from scantling.contract.capabilities import Annotator, Generator
from scantling.contract.method import Method, build
from scantling.contract.options import GenerateOptions
from scantling.contract.results import Generation
from scantling.contract.step import Inference
from scantling.core.atomic import to_json
from scantling.core.case import Geometry
from scantling.core.errors import RunError, SettingsError
from scantling.core.machine import COMPUTE, Compute
from scantling.core.outputs import MADE, output_folder
from scantling.inference.acceptance import COPY, TRIES, Gate
from scantling.inference.annotating import annotate
from scantling.inference.conditions import NOTHING, Conditions, Given, open_conditions
from scantling.inference.made_cases import arrays_of, split_rows, write_case
from scantling.inference.made_set import Cases, MadeSet, rejected
from scantling.inference.marking import Marker
from scantling.inference.models import given_options
from scantling.inference.runner import Progress, check_shard
from scantling.inference.tiles import Tiler
from scantling.methods.catalogue import cards, implementation_of
from scantling.records.run_folder import identity_of, load_model

AT_ONCE = 8
"""How many pictures are made together, of volumes one; the number of a case in its eight is part of its seed. What is
conditioned on something is made one by one."""
APART = 1 << 40
"""By so much the numbers lie apart of what is made first and of what is made in its place: chance is a function of
them."""


def synthesize(
    source: Path | str,
    *,
    count: int | None = None,
    out: Path,
    options: Mapping[str, Any] | GenerateOptions | None = None,
    settings: Mapping[str, Any] | None = None,
    conditions: Conditions = NOTHING,
    accept: Gate | None = None,
    uses: Mapping[str, Path] | None = None,
    shard: tuple[int, int] = (1, 1),
    compute: Compute = COMPUTE,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make `count` cases, or label the images of a data set, into `out`: a data set for training.

    What is there is not made again.

    Args:
        source: a method of the catalogue that needs no training, or a run whose method generates.
        options: of the method, by name (`contract.options`): seed, steps, ...; case number n of a seed is the same
            however many are made.
        settings: of a method that needs no training.
        count: how many; needed but where the images of a data set are labelled, all unless said.
        conditions: what a method is given that asks for something.
        accept: what images have to pass; others are made anew, and counted in the origin of the case.
        uses: runs by role: a "segmenter" marks the images of a method that makes no masks.
        shard: (i, n) makes every n-th group of those that are made together, the i-th of n jobs, counted from 1.
        progress: called with (done, total, id) after each group.

    Returns:
        The contents of the manifest that was written, and how many were "rejected", by reason.

    Raises:
        ScantlingError: nothing can be made, or the folder holds something else.
    """
    check_shard(shard)
    if (annotator := _annotator(source)) is not None:
        if uses:
            raise SettingsError(f"--use {next(iter(uses))}: {source} labels images that are there; leave it out")
        return annotate(
            annotator, out=out, count=count, options=given_options(options), settings=settings or {},
            conditions=conditions, shard=shard, progress=progress,
        )  # fmt: skip
    if count is None:
        raise SettingsError("--count: found none; expected how many cases to make, such as --count 100")
    device = compute.prepare()
    autocast = compute.autocast(device, training=False)
    method, made_by = generator_of(source, settings or {})
    maker = maker_of(
        method, made_by, source=source, options=options, conditions=conditions, device=device,
        autocast=autocast, accept=accept,
    )  # fmt: skip
    marker = Marker.of(uses or {}, method, device=device, autocast=autocast, seed=maker.options.seed)
    maker = maker if marker is None else maker.marked_by(marker)
    labels = method.traits.labels if marker is None else marker.labels
    ids = maker.ids(count)
    part, parts = shard
    made = MadeSet(out=out, labels=labels, made_by=maker.made_by, seed=maker.options.seed, ids=ids, shared=parts > 1)
    inputs = maker.given.files() if maker.given is not None else ()
    with output_folder(out, record=MADE, inputs=inputs, shard=f"{part}-of-{parts}" if parts > 1 else ""):
        done, cases, groups = made.resume(), Cases(), range(0, count, maker.at_once)[part - 1 :: parts]
        try:
            for number, first in enumerate(groups, start=1):
                some = ids[first : first + maker.at_once]
                if done.keys() >= {*some}:
                    cases |= {id: done[id] for id in some}
                else:
                    for id, (one, facts, parent) in zip(some, maker(first, len(some)), strict=True):
                        cases[id] = write_case(
                            out, id, one, method, facts=facts, parent=parent, mark=marker, labels=labels
                        )
                if progress is not None:
                    progress(min(number * maker.at_once, count), min(len(groups) * maker.at_once, count), some[-1])
                if number % 16 == 0:
                    made.save(done | cases)
        except (KeyboardInterrupt, RunError):  # what is made is not made again
            made.save(done | cases)
            raise
        contents = made.save(cases)
    return {**contents, "rejected": rejected(contents["case"])}


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes cases, some at once: case number n of a seed is the same however many are made.

    Attributes:
        made_by: what stands as the model in the origin of each case.
        options: resolved by the method.
    """

    method: Generator
    made_by: str
    options: GenerateOptions
    given: Given | None
    device: torch.device
    autocast: torch.dtype | None
    accept: Gate | None = None
    hand_drawn: int = 0
    """How many masks drawn by people a model has learned from that marks what is made."""

    def marked_by(self, marker: Marker) -> Maker:
        """The same, with what marks the images in the origin of each case."""
        return replace(self, made_by=f"{self.made_by}; masks by {marker.made_by}", hand_drawn=marker.model.hand_drawn)

    @property
    def at_once(self) -> int:
        """How many are made together; number n times this is the first of its group."""
        return 1 if self.method.traits.dimensions == 3 or self.given is not None else AT_ONCE

    def ids(self, count: int) -> tuple[str, ...]:
        """The ids of the first `count` cases.

        Raises:
            SettingsError: there is none.
        """
        try:
            whole = index(count)
        except TypeError:  # a caller in Python may pass anything
            whole = 0
        if whole < 1:
            raise SettingsError(f"--count {count}: expected a whole number of 1 or more")
        return tuple(f"{self.method.card.name}-{self.options.seed}-{number:06d}" for number in range(count))

    def __call__(self, first: int, count: int) -> Iterator[tuple[Generation, dict[str, Any], Geometry | None]]:
        """The cases from number `first` on, made together: each with what a manifest says of it whatever was made
        (split, subject, origin), and the geometry of the case that it was conditioned on.
        """
        answer, geometry = self._answer(first, count)
        rows = list(split_rows(answer, count))
        counts = [Counter[str]() for _ in rows]
        counts[0].update({reason: number for reason, number in answer.rejected.items() if number})
        left = list(range(count))
        for attempt in range(1, TRIES + 1):
            reasons = {row: reason for row in left if (reason := self._refused(rows[row], geometry))}
            if not (left := list(reasons)):
                break
            if attempt == TRIES:
                remedy = "the run shows its labels too little: lower --accept-dice, or train it longer"
                if reasons[left[0]] == COPY:
                    remedy = "the run has memorised its training images: train it on more of them or for less long"
                raise RunError(
                    f"--accept: case {first + left[0]} was refused {TRIES} times, since it {reasons[left[0]]}; "
                    f"{remedy}, or leave --accept out; what is made so far is kept"
                )
            again, _ = self._answer(first, count, again=attempt)
            new = list(split_rows(again, count))
            for row in left:
                counts[row][reasons[row]] += 1
                rows[row] = new[row]
        for number, made in enumerate(rows):
            yield made, self._facts(first + number, counts[number], *made.parents), geometry

    def _refused(self, made: Generation, parent: Geometry | None) -> str:
        """Why a case is not accepted; empty where it is."""
        if self.accept is None:
            return ""
        return self.accept.refuses(arrays_of("made", made, self.method, parent=parent))

    def _answer(self, first: int, count: int, again: int = 0) -> tuple[Generation, Geometry | None]:
        memory = None if self.options.memory is None else int(self.options.memory * 2**30)
        inference = Inference(
            seed=self.options.seed, stage="synthesis", number=first + again * APART, device=self.device,
            tile=Tiler(memory=memory),
            options=self.options,
        )  # fmt: skip
        batch, geometry = self.given.batch(first) if self.given is not None else (None, None)
        if batch is not None:
            batch = batch.to(self.device, self.method.dtype)
        with torch.no_grad(), torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            answer = self.method.generate(count, inference, batch)
        return answer, geometry

    def _facts(self, number: int, counts: Mapping[str, int], own: tuple[str, ...] = ()) -> dict[str, Any]:
        """What the manifest says of a case whatever was made: its split, subject and origin.

        Args:
            own: the training cases that the method itself took something from.
        """
        origin: dict[str, Any] = {"kind": "synthetic", "model": self.made_by, "seed": self.options.seed}
        behind = self.given.hand_drawn if self.given is not None else self.method.hand_drawn
        behind = max(behind, self.hand_drawn)
        if behind:
            origin["hand_drawn"] = behind
        if counts:
            origin["rejected"] = dict(counts)
        parent = self.given.parent(number) if self.given is not None else None
        if parent is None:
            return {"split": "train", "origin": origin | ({"parents": [*own]} if own else {})}
        subject = {"subject": parent.subject} if parent.named else {}
        return {
            "split": parent.split or "train",
            **subject,
            "origin": origin | {"parents": [*dict.fromkeys((parent.id, *own))]},
        }


def maker_of(
    method: Generator,
    made_by: str,
    *,
    source: Path | str,
    options: Mapping[str, Any] | GenerateOptions | None,
    conditions: Conditions,
    device: torch.device,
    autocast: torch.dtype | None,
    accept: Gate | None = None,
) -> Maker:
    """What makes cases with a method (`generator_of`); arguments as in `synthesize`.

    Raises:
        ScantlingError: an option or what it is given does not fit the method.
    """
    chosen = given_options(options)
    resolved = method.generate_options(method.generate_with.of(chosen))
    if own := resolved.model_dump(mode="json", include={*chosen} - {"seed", "memory"}):
        made_by += f" {to_json(own, indent=None)}"
    given = open_conditions(method, conditions, source=source)
    made_by += f" {given.identity}" if given is not None else ""
    made_by += f" {accept.name}" if accept is not None else ""
    return Maker(
        method=method.to(device).eval(), made_by=made_by, options=resolved, given=given, device=device,
        autocast=autocast, accept=accept,
    )  # fmt: skip


def _annotator(source: Path | str) -> type[Annotator] | None:
    """The class of a rule that labels images, by its name."""
    card = cards().get(str(source))
    if card is None or "annotate" not in card.gives:
        return None
    kind = implementation_of(card)
    return kind if issubclass(kind, Annotator) else None


def generator_of(source: Path | str, settings: Mapping[str, Any]) -> tuple[Generator, str]:
    """The method behind a name or a run, and what is written as the model of each origin."""
    if str(source) in cards():
        card = cards()[str(source)]
        kind = implementation_of(card)
        if not issubclass(kind, Generator):
            able = ", ".join(each.name for each in cards().values() if "generate" in each.gives)
            raise SettingsError(f"{card.name} makes no images; those that do are: {able}")
        chosen = kind.Settings.preset("paper", dict(settings))
        method = build(kind, chosen, kind.blank(chosen))
        return method, f"{card.name} {chosen.model_dump_json()}{_weights(method)}"
    if settings:
        raise SettingsError("--settings belong to a method; those of a run were decided when it was trained")
    if not Path(source).exists():
        able = ", ".join(each.name for each in cards().values() if each.gives == ("generate",) and not each.needs)
        raise SettingsError(f"{source}: there is no such method and no such run; rules to make masks by are: {able}")
    model = load_model(Path(source))
    if not isinstance(model, Generator) or "generate" not in model.gives:
        raise RunError(f"{source}: {model.card.name} cannot generate; it can {', '.join(model.gives)}")
    return model, f"{model.card.name} {identity_of(Path(source))}"


def _weights(method: Method) -> str:
    """A short name for weights that a method has read from files of the user; nothing for a rule, which has none."""
    tensors = method.state_dict()
    if not tensors:
        return ""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return f" {digest.hexdigest()[:16]}"
