"""The run folder: what is written into it and what is read back, safely.

run.json            command, settings, traits, data, split, versions, device, seed, times
log.jsonl           one line a logged step
model/              weights.safetensors, settings.json, card.json: all that inference needs, safe to share;
                    postprocessing.json, views.json, appearance.json, expected.json: what it learnt on validation of
                    masks and mirroring, what images it fits, how far its expected scores hold
state.safetensors   what resuming needs
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method, build
from scantling.contract.views import Views
from scantling.core.atomic import replacing, to_json, write_json
from scantling.core.errors import FileError, RunError, ScantlingError
from scantling.core.postprocessing import AS_ANSWERED, Postprocessing
from scantling.core.samples import Traits
from scantling.methods.catalogue import card_of, cards, implementation_of, import_path
from scantling.records.record import read_json

MODEL, WEIGHTS, VIEWS, POSTPROCESSING = "model", "weights.safetensors", "views.json", "postprocessing.json"


def save_model(method: Method, folder: Path) -> None:
    """Write a model: weights, settings with traits, card, and its postprocessing if it was learnt.

    A model that it is built on goes along.
    """
    with replacing(folder / WEIGHTS) as aside:
        # the settings are in it so that two models without weights differ, too (`identity_of`); as one entry, since
        # safetensors writes several in random order
        facts = {"method": method.card.name, "settings": method.settings.model_dump(mode="json")}
        save_tensors(aside, method.model_state(), metadata={"model": to_json(facts, indent=None)})
    where = {"implementation": method.card.implementation or import_path(type(method))}
    write_json(folder / "card.json", method.card.model_dump() | where)
    write_json(folder / "settings.json", described(method))
    if isinstance(method, Segmenter) and method.views is not None:
        write_json(folder / VIEWS, method.views.model_dump())
    if isinstance(method, Segmenter) and method.postprocessing != AS_ANSWERED:
        write_json(folder / POSTPROCESSING, method.postprocessing.model_dump())
    else:
        (folder / POSTPROCESSING).unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str]) -> None:
    """Write tensors as one safetensors file.

    Raises:
        OSError: the system does not take it.
        FileError: safetensors does not.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, path, metadata=dict(metadata))
    except SafetensorError as error:
        if number := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        raise FileError(path.parent, f"takes no file ({error})", remedy="run the command again") from None


def described(method: Method) -> dict[str, Any]:
    """All that builds the method again, but for its weights."""
    return {
        "method": method.card.name,
        "settings": method.settings.model_dump(),
        "traits": method.traits.model_dump(),
        "gives": list(method.gives),
        "uses": {role: described(model) for role, model in method.uses.items() if isinstance(model, Method)},
    }


def load_model(run: Path) -> Method:
    """The model of a run folder, or of a model folder by itself, in evaluation mode on the processor.

    Raises:
        RunError: there is no model, or its weights do not fit its settings.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = model_folder(run)
    if not (folder / WEIGHTS).is_file():
        if (run / "run.json").is_file():
            raise RunError(f"{run}: found no model: its training is not finished; the same train command resumes it")
        raise RunError(f"{run}: found no model; expected a folder that `scantling train` has written")
    try:
        facts = read_json(folder / "settings.json")
        _check_known(facts, folder)
        method = _built(facts)
        method.load_model_state(_renamed(load_file(folder / WEIGHTS), facts))
        if isinstance(method, Segmenter) and (folder / VIEWS).is_file():
            method.views = _views(folder / VIEWS, method.preprocessing.dimensions)
    except ScantlingError:
        raise
    except (SafetensorError, OSError) as error:
        raise FileError(folder / WEIGHTS, f"cannot be read ({error})", remedy="copy the model again") from None
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        first, *rest = (line.strip(" \t.") for line in (str(error).splitlines() or [type(error).__name__]))
        reason = rest[0] if rest and first.startswith("Error(s)") else first  # torch's first line names no tensor
        raise RunError(
            f"{folder}: the weights and the settings do not belong together ({reason}); copy the model again"
        ) from None
    if isinstance(method, Segmenter):
        method.postprocessing = read_postprocessing(run)
        if not method.postprocessing.fits(len(method.traits.classes)):
            raise RunError(
                f"{folder / POSTPROCESSING}: is not about the {len(method.traits.classes)} classes of the model; copy "
                "the model again, or delete the file to leave answers as they are"
            )
    return method.eval().requires_grad_(False)


def _views(path: Path, dimensions: int) -> Views:
    """The views of a model whose networks see so many axes.

    Raises:
        FileError: the file holds something else.
    """
    try:
        views = Views.model_validate(read_json(path))
        if len(views.mirrored) == dimensions:
            return views
        reason = f"mirrored: found {len(views.mirrored)} axes, expected {dimensions}"
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    raise FileError(path, f"does not say the views of the model ({reason})", remedy="copy the model again")


def read_postprocessing(run: Path) -> Postprocessing:
    """What is done to the answers of a model of a run or model folder; nothing where its training learnt nothing.

    Raises:
        FileError: the file cannot be read or holds something else.
    """
    path = model_folder(run) / POSTPROCESSING
    if not path.is_file():
        return AS_ANSWERED
    try:
        return Postprocessing.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FileError(
            path, f"is no postprocessing ({where}: {first['msg']})",
            remedy="copy the model again, or delete the file to leave answers as they are",
        ) from None  # fmt: skip


def identity_of(run: Path) -> str:
    """A short name for the weights of a run or model folder and its postprocessing: all that an answer is made by.

    Two trainings into one folder differ in it.
    """
    folder = model_folder(run)
    with (folder / WEIGHTS).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if (folder / POSTPROCESSING).is_file():
        digest.update((folder / POSTPROCESSING).read_bytes())
    return digest.hexdigest()[:16]


def model_folder(run: Path) -> Path:
    """The model folder of a run, or `run` where it is one itself."""
    return run / MODEL if (run / MODEL).is_dir() else run


def _check_known(facts: Mapping[str, Any], folder: Path) -> None:
    """Make sure that the method of a model, and those that it is built on, can be found here.

    Raises:
        RunError: one cannot.
    """
    if facts["method"] not in cards():
        card = read_json(folder / "card.json") if (folder / "card.json").is_file() else None
        where = card.get("implementation") if isinstance(card, dict) else None
        raise RunError(
            f"{folder}: no method is called {facts['method']!r} here, which the model is of "
            f"({where or 'an unknown class'}); install the package that announces it, or name its class in Python: "
            f"scantling.load_model({str(folder)!r}, method=CLASS)"
        )
    for part in parts_of(facts).values():
        _check_known(part, folder)


def _built(facts: Mapping[str, Any]) -> Method:
    kind = implementation_of(card_of(facts["method"]))
    uses = {role: _built(part) for role, part in parts_of(facts).items()}
    settings = kind.Settings.model_validate(facts["settings"])
    return build(kind, settings, Traits.model_validate(facts["traits"]), uses=uses, resolved=True)


def parts_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The models that a model is built on, by role; earlier versions knew one, the `base`."""
    if facts.get("base"):
        return dict.fromkeys(card_of(facts["method"]).uses, facts["base"])
    return dict(facts.get("uses", {}))


def _renamed(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights by today's names: those of an earlier version's `base` lie under its role, and one layer was `told`."""
    role = next(iter(card_of(facts["method"]).uses), "") if facts.get("base") else ""

    def today(name: str) -> str:
        name = f"uses.{role}.{name.removeprefix('base.')}" if role and name.startswith("base.") else name
        return name.replace(".told.", ".modulation.")

    return {today(name): tensor for name, tensor in tensors.items()}
