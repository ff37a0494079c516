"""The commands that look: at a data set before anything is trained, and at the methods."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from scantling.cli.command import Outcome, counting, talk, tell, width
from scantling.cli.commands.common import Command, Opened
from scantling.core.errors import SettingsError
from scantling.core.outputs import check_file


@dataclass(kw_only=True)
class Check(Opened):
    """Look at a data set before anything is trained: integrity, leakage, fingerprint, and which methods can run."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling check scans",
        "scantling check scans --contact-sheet sheet.png --json check.json",
        "scantling check scans --suspects runs/unet",
        "scantling check scans --write-manifest scans.toml",
        "scantling check scans --write-manifest classes.toml --classes-of-masks",
    )

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A folder, a file or a manifest."""
    contact_sheet: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw all cases with their masks into this PNG."""
    write_manifest: Annotated[str | None, tyro.conf.arg(metavar="[FILE]")] = None
    """Write what was understood as a manifest (TOML), a start for editing; by default scantling.toml in the folder."""
    classes_of_masks: bool = False
    """In that manifest, give each image the class that its mask tells: with an object or without; not test images."""
    store_split: bool = False
    """Write the split into the data folder, so that it stays when cases are added."""
    suspects: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """List the masks that models which have not seen them agree with least; takes up to three trainings like RUN's."""
    untrusted: bool = False
    """Decode in a process of its own with limits on time and memory."""

    def run(self) -> Outcome:
        """Check, and say what was found."""
        from scantling.contract.card import lacking
        from scantling.data.division import store_split
        from scantling.data.integrity import check
        from scantling.data.manifest_file import place_of, write_manifest
        from scantling.data.mask_classes import classes_of_masks
        from scantling.methods.catalogue import card_of, cards, implementation_of

        if self.classes_of_masks and self.write_manifest is None:
            raise SettingsError("--classes-of-masks: they go into a manifest; name it with --write-manifest FILE")
        dataset = self.opening().open(self.data)
        if self.contact_sheet is not None:
            check_file(self.contact_sheet, suffix=".png", inputs=dataset.files())
        manifest = None if self.write_manifest is None else place_of(dataset, self.write_manifest)
        with counting("checking") as progress:
            found = check(dataset, untrusted=self.untrusted, progress=progress)
        training = dataset.with_instances(found.labels).split("train")
        methods = {name: lacking(card, training) for name, card in cards().items() if card.needs}
        tell(found.text())
        for name, missing in methods.items():
            tell(f"method {name}: " + (f"cannot run: {'; '.join(missing)}" if missing else "can run"))
        plan: tuple[str, ...] = ()
        if found.traits is not None and not methods["unet"]:
            settings = implementation_of(card_of("unet")).Settings.preset("quick").resolve(found.traits)
            plan = settings.explain(found.traits)
        for sentence in plan:
            tell(f"unet --preset quick: {sentence} (train --plan says more)")
        if self.contact_sheet is not None:
            from scantling.data.contact_sheet import contact_sheet

            contact_sheet(dataset, self.contact_sheet, untrusted=self.untrusted)
            tell(f"contact sheet: {self.contact_sheet}")
        if manifest is not None:
            derived = classes_of_masks(dataset, found.labels) if self.classes_of_masks else dataset
            write_manifest(derived, manifest, found.labels, derived=self.classes_of_masks)
            tell(f"manifest: {manifest}")
        if self.store_split:
            tell(f"split: {store_split(dataset)}")
        errors = [finding.sentence for finding in found.findings if finding.level == "error"]
        facts = {**found.facts(), "methods": methods, "plan": plan}
        if self.suspects is not None:
            from scantling.experiments.suspects import suspects

            with counting("judging masks") as progress:
                judged = suspects(dataset, self.suspects, opening=self.opening(), progress=progress)
            tell("\n".join(judged.lines()))
            facts["suspects"] = judged.facts()
            errors += judged.failed
        return Outcome(facts, errors)


@dataclass(kw_only=True)
class Advise(Opened):
    """Say which methods can learn from a data set, which have helped on data like it, and the commands to paste."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling advise scans",
        "scantling advise angiograms --structure vessels",
        "scantling advise scans --all --json advice.json",
    )

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A folder, a file or a manifest; of its test cases no file is opened."""
    structure: Literal["vessels", "objects", "regions"] | None = None
    """What is to be segmented; by default vessels where a class is called so, objects where there are instance maps,
    else regions."""
    all: bool = False
    """Also list the command of each method of which nothing was measured on such data."""

    def run(self) -> Outcome:
        """Advise."""
        from scantling.experiments.advice import advise

        found = advise(self.opening().open(self.data), structure=self.structure, place=str(self.data))
        tell(found.text(every=self.all))
        return Outcome(found.facts())


@dataclass(kw_only=True)
class Methods(Command):
    """List the methods, or show one with its settings."""

    examples: ClassVar[tuple[str, ...]] = (
        "scantling methods",
        "scantling methods unet",
    )

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")] = None
    """A method, to see its settings and presets."""

    def run(self) -> Outcome:
        """List cards."""
        from scantling.contract.options import FLAGS
        from scantling.methods.catalogue import card_of, cards, implementation_of, left_out

        if self.name is None:
            rows = [
                (card.name, "/".join(f"{d}-D" for d in card.dimensions), ", ".join(card.gives))
                for card in cards().values()
            ]
            widths = [max(len(row[column]) for row in rows) for column in range(3)]
            for row, card in zip(rows, cards().values(), strict=True):
                line = "  ".join(cell.ljust(room) for cell, room in zip(row, widths, strict=True))
                title = f"{card.title} ({card.year})"
                narrow = (columns := width()) is not None and len(line) + 2 + len(title) > columns
                tell(f"{'  '.join(row)}\n  {title}" if narrow else f"{line}  {title}")
            for sentence in left_out():
                talk().print(sentence, style="yellow", markup=False, soft_wrap=True)
            return Outcome([card.summary() for card in cards().values()])
        card = card_of(self.name)
        method = implementation_of(card)
        kind = method.Settings
        fields: dict[str, dict[str, Any]] = {}
        tell(f"{card.name}: {card.title} ({card.authors}, {card.year})")
        tell(textwrap.indent(textwrap.dedent("    " + (kind.__doc__ or "")).strip(), "  "))
        for name in kind.model_fields:
            values = {preset: getattr(kind.preset(preset), name) for preset in ("paper", *kind.presets)}
            fields[name] = values
            shown = f"{values['paper']}" + "".join(
                f", {preset}: {value}" for preset, value in values.items() if value != values["paper"]
            )
            tell(f"  --settings.{name:<14} {shown}")
        for role, capability in (card.uses | card.may_use).items():
            needed = "" if role in card.uses else ", if you like"
            tell(f"  --use {role}=RUN{'':<{max(1, 12 - len(role))}} a model that can {capability}{needed}")
        options = {
            name: field.default
            for gives in card.gives
            for name, field in getattr(method, f"{gives}_with").model_fields.items()
            if name not in FLAGS
        }
        for name, value in options.items():
            tell(f"  --options.{name:<15} {value} (at inference)")
        return Outcome({**card.summary(), "settings": fields, "options": options})
