"""What a training is a function of, and whether a run that exists was made by the same plan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from scantling.contract.card import Card
from scantling.contract.method import Method
from scantling.core.errors import RunError
from scantling.core.fields import label_map_of, reads_labels
from scantling.core.machine import record
from scantling.core.outputs import RUN, check_record
from scantling.core.samples import Traits
from scantling.data.dataset import Dataset, file_hashes, fingerprint
from scantling.data.label_budget import written_labels
from scantling.data.object_budget import FLAG
from scantling.data.traits import spacing_remarks
from scantling.methods.catalogue import import_path
from scantling.records.differences import changed_files, differences
from scantling.records.record import FileRecord, read_record
from scantling.records.run import RunRecord, read_run
from scantling.training.finishing import clock, fields_read
from scantling.training.material import Material, undrawn
from scantling.training.options import Options
from scantling.training.pretrained import Pretrained
from scantling.training.state import PREPARED, PREVIOUS, STATE, has_progress

DATA_FILES = "data.json"
"""In a run folder: what was read of the data, so that what has changed can be named."""
FIXED = ("method", "settings", "base", "pretrained", "uses", "data", "split", "labelled", "seed", "options")
"""What must not change between the parts of one training."""
_DRAWN = ("drawn_slices", "drawn_axis", "drawn_objects", "drawn_rim", "drawn_classes")
IN_TABLES = {
    "mask": _DRAWN,
    "masks": _DRAWN,
    "instances": ("drawn_objects",),
    "image_class": ("image_class",),
    "boxes": ("boxes", "box_classes"),
    "points": ("points", "point_classes"),
}
"""The attributes of a case that hold fields which no file of their own holds."""


Hashes = list[dict[str, str]]
"""Of each data set the hashes of what is read, by path or by case and field."""


def hashes_of(model: Method, material: Material) -> Hashes:
    """What a training reads of its data."""
    return [_hashes(part, material.reads | fields_read(model) | {"region"}) for part in material.opened]


class DataFiles(FileRecord):
    """The contents of `data.json`: of each data set the hashes of what is read."""

    what: ClassVar[str] = "list of the files of a training"
    writer: ClassVar[str] = "scantling train"

    files: tuple[dict[str, str], ...] = ()


def plan_of(
    card: Card,
    model: Method,
    material: Material,
    options: Options,
    *,
    hashes: Hashes,
    pretrained: Pretrained | None = None,
) -> dict[str, Any]:
    """What a training is a function of."""
    budgeted = options.labels is not None or options.label_instances is not None
    return {
        "method": card.name,
        "settings": model.settings.model_dump(mode="json"),
        "base": str(options.base) if options.base else None,
        "pretrained": pretrained.plan if pretrained is not None else None,
        "uses": {role: str(run.resolve()) for role, run in options.uses.items()},
        "data": [
            {
                "path": str(part.root.resolve()),
                "name": part.name,
                "sha256": fingerprint(one),
                "cases": {name: len(part.split(name)) for name in ("train", "validation", "test")},
            }
            for part, one in zip(material.opened, hashes, strict=True)
        ],
        "split": {name: [case.id for case in material.dataset.split(name)] for name in ("train", "validation", "test")},
        "labelled": material.labelled if budgeted else None,
        **({} if options.label_instances is None else {"drawn_objects": _drawn_objects(material)}),
        "seed": options.seed,
        "manifest": str(options.manifest.resolve()) if options.manifest else None,
        "root": str(options.root.resolve()) if options.root else None,
        "subjects": options.subjects,
        "options": {
            "labels": None if options.labels is None else written_labels(options.labels),
            "validation": options.validation,
            "select": options.select,
            **options.sampling.model_dump(mode="json", exclude={"augment_share"}),
            **({} if options.augment_share == 1 else {"augment_share": options.augment_share}),
            "precision": options.precision,
            "accumulation": options.accumulation,
            **({"label_seed": options.label_seed} if budgeted else {}),
            **(
                {}
                if options.label_instances is None
                else {"label_instances": written_labels(options.label_instances, flag=FLAG)}
            ),
            **(
                {}
                if options.label_slices is None
                else {"label_slices": options.label_slices, "label_slices_from": options.label_slices_from}
            ),
            **({} if options.pretrained_rate is None else {"pretrained_rate": options.pretrained_rate}),
        },
    }


def _drawn_objects(material: Material) -> dict[str, Any]:
    """The objects that a budget leaves of images that are not read as a whole, as `RunRecord` has them."""
    return {
        case.id: {"numbers": list(case.drawn_objects), "rim": case.drawn_rim}
        for case in material.dataset.cases
        if case.split != "test" and isinstance(case.drawn_objects, tuple)
    }


def _hashes(part: Dataset, reads: frozenset[str]) -> dict[str, str]:
    """What the numbers of a training come from: hashes of files, and labels that stand in a manifest or a table."""
    listed = {
        f"{case.id} {name}": repr(getattr(case, name))
        for case in part.cases
        for field, names in IN_TABLES.items()
        if field in reads and case.has(field)
        for name in names
        if getattr(case, name) not in (None, 0.0)
    }
    return listed | file_hashes(part, reads=reads)


def check_same(out: Path, facts: Mapping[str, Any], *, plan: Mapping[str, Any], hashes: Hashes | None) -> None:
    """Make sure that a run was begun by the same plan.

    Args:
        hashes: what is read now; None in processes that do not know it.

    Raises:
        RunError: it was not; what differs is shown, of the data by their files.
    """
    before = facts.get("options", {})
    if before.get("labels") is not None and facts.get("labelled") is None:
        raise RunError(
            f"{out}: was begun with --labels {before['labels']} by an earlier version, which kept the labels of cases "
            "and not of subjects; choose another --out"
        )
    changed = [line for key in FIXED for line in differences(key, facts.get(key), plan[key])]
    if changed and hashes is not None and (out / DATA_FILES).is_file():
        before = read_record(DataFiles, out / DATA_FILES).files
        pairs = zip(plan["data"], before, hashes, strict=False)
        files = [f"{part['path']}: {found}" for part, one, now in pairs if (found := changed_files(one, now))]
        # what follows from other files is left out: hashes, numbers of cases, the split
        follows = re.compile(r"data\[\d+\]\.(sha256|cases)|split\.")
        changed = files + [line for line in changed if not files or not follows.match(line)]
    if changed:
        shown = "; ".join(changed[:6]) + (f"; and {len(changed) - 6} more" if len(changed) > 6 else "")
        raise RunError(
            f"{out}: was begun with other settings: {shown}; repeat the first command or choose another --out"
        )


def earlier_facts(out: Path) -> dict[str, Any] | None:
    """The facts of a run that is to go on; one that has not done a step binds nobody and is begun anew."""
    if (out / "run.json").exists():
        facts = read_run(out).facts()
        if facts.get("finished") or has_progress(out):
            return facts
        for name in (STATE, PREVIOUS, PREPARED):
            (out / name).unlink(missing_ok=True)
        return None
    check_record(out, RUN)
    return None


def elsewhere(facts: Mapping[str, Any], machine: Mapping[str, Any]) -> list[str]:
    """Sentences on what changed under a resumed run, which then is no longer bit-identical."""
    changed = [
        f"{key} was {facts.get(key)}, is {value}"
        for key, value in machine.items()
        if key in ("device", "device_name", "threads", "versions") and facts.get(key) != value
    ]
    return [f"resumed on {clock()} where {'; '.join(changed)}: numbers may differ in the last bits"] if changed else []


def taught(model: Method) -> list[str]:
    """A sentence on labels that reach a method which needs none."""
    if any(label_map_of(words) for words in model.card.needs):
        return []
    if not model.hand_drawn:
        return [] if any(map(reads_labels, model.card.needs)) else _taught_otherwise(model)
    return [
        f"the run is not free of labels: behind the masks that it learns from stand {model.hand_drawn} that people "
        "drew (or of which nothing says that they are synthetic), read as they are or by the model that made them"
    ]


def _taught_otherwise(model: Method) -> list[str]:
    """Sentences on the models that it is built on which learned from labels that are no masks."""
    found = list[str]()
    for role, one in model.uses.items():
        if not isinstance(one, Method):
            continue
        words = [word.replace("_", " ") for word in sorted(fields_read(one)) if reads_labels([word])]
        if words:
            by = f"{one.card.name}, its {role}, has learned from {' and '.join(words)}"
            found.append(f"the run is not free of labels: {by}")
        found += _taught_otherwise(one)
    return found


def unsteady(card: Card, device: torch.device) -> list[str]:
    """A sentence where a training does not repeat bit for bit on this device."""
    if card.repeats or device.type == "cpu":
        return []
    return [
        f"{card.name} uses operations that have no deterministic form on a GPU: repetition is exact on the processor "
        "only"
    ]


def recorded(
    facts: dict[str, Any] | None,
    plan: dict[str, Any],
    model: Method,
    traits: Traits,
    material: Material,
    options: Options,
    device: torch.device,
    starting: dict[str, Any] | None,
    command: list[str],
) -> tuple[dict[str, Any], bool]:
    """The contents of `run.json` as the training begins or goes on, and whether it has ended already."""
    if facts is not None:
        warnings = [*facts["warnings"], *elsewhere(facts, record(device))]
        return (facts, True) if facts.get("finished") else (facts | {"warnings": warnings}, False)
    warnings = [
        *material.remarks,
        *material.dataset.label_source.remarks,
        *spacing_remarks(traits),
        *undrawn(material, traits, options.labels),
        *taught(model),
        *unsteady(model.card, device),
    ]
    traits = traits.model_copy(update={"hand_drawn_before": model.traits.hand_drawn_before})
    begun = {
        "version": RunRecord.newest, "command": command, **plan, "implementation": import_path(type(model)),
        "preset": options.preset, "given": dict(options.settings),
        "plan": [*material.budget, *model.explain(traits)],
        "traits": traits.model_dump(),
        "started": clock(), "finished": None, "seconds": None,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": sum(stage.steps for stage in model.stages()), "selected": None, "starting_model": starting,
        "warnings": warnings, "left_out": dict(material.left_out), **record(device),
    }  # fmt: skip
    return begun, False
