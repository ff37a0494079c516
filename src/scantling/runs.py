"""The run folder: what is written into it and what is read back, safely.

run.json            command, settings, traits, data, split, versions, device, seed, times
log.jsonl           one line a logged step
model/              weights.safetensors, settings.json, card.json: all that inference needs, safe to share
state.safetensors   what resuming needs
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scantling.atomic import replacing, write_json
from scantling.data.types import Traits
from scantling.errors import FileError, RunError, ScantlingError
from scantling.methods.catalogue import card_of, implementation_of
from scantling.methods.contract import Method, build

MODEL = "model"
GREATEST_JSON = 256 << 20
"""Bytes; a JSON file of a run that is larger is refused."""


def read_json(path: Path) -> Any:
    """A JSON file of a run.

    Raises:
        FileError: it is missing, too large or not JSON.
    """
    try:
        if path.stat().st_size > GREATEST_JSON:
            raise FileError(path, f"is larger than {GREATEST_JSON >> 20} MiB", expected="a JSON file of a run")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", expected="a JSON file of a run") from None
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"is not JSON ({error})", remedy="restore it or train again") from None


def read_run(run: Path) -> dict[str, Any]:
    """`run.json` of a run folder.

    Raises:
        RunError: the folder is no run.
    """
    if not (run / "run.json").is_file():
        what = "does not exist" if not run.exists() else "holds no run.json"
        raise RunError(f"{run}: found no run: the folder {what}; expected a folder that `scantling train` has written")
    facts = read_json(run / "run.json")
    if not isinstance(facts, dict):
        raise FileError(run / "run.json", "is not a JSON object", remedy="train again")
    return facts


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run folder for this process alone.

    Raises:
        RunError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    path = run / ".lock"
    with path.open("a+") as file:
        if not _lock(file.fileno()):
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            raise RunError(f"{run}: is in use by {holder}; wait for it or choose another --out")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename if hasattr(os, 'uname') else 'this machine'}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _lock(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def save_model(method: Method, folder: Path) -> None:
    """Write a model: weights, settings with traits, and card. A model that it is built on goes along."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in method.state_dict().items()}
    with replacing(folder / "weights.safetensors") as aside:
        save_file(weights, aside, metadata={"method": method.card.name})
    write_json(folder / "card.json", method.card.model_dump())
    write_json(folder / "settings.json", described(method))


def described(method: Method) -> dict[str, Any]:
    """All that builds the method again, but for its weights."""
    return {
        "method": method.card.name,
        "settings": method.settings.model_dump(),
        "traits": method.traits.model_dump(),
        "base": described(method.base) if method.base is not None else None,
    }


def load_model(run: Path) -> Method:
    """The model of a run folder, or of a model folder by itself, in evaluation mode on the processor.

    Raises:
        RunError: there is no model, or its weights do not fit its settings.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = run / MODEL if (run / MODEL).is_dir() else run
    if not (folder / "weights.safetensors").is_file():
        if (run / "run.json").is_file():
            raise RunError(f"{run}: found no model: its training is not finished; the same train command resumes it")
        raise RunError(f"{run}: found no model; expected a folder that `scantling train` has written")
    try:
        method = _built(read_json(folder / "settings.json"))
        method.load_state_dict(load_file(folder / "weights.safetensors"))
    except ScantlingError:
        raise
    except (SafetensorError, OSError) as error:
        path = folder / "weights.safetensors"
        raise FileError(path, f"cannot be read ({error})", remedy="copy the model again") from None
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{folder}: the weights and the settings do not belong together ({reason})") from None
    return method.eval().requires_grad_(False)


def _built(facts: Mapping[str, Any]) -> Method:
    kind = implementation_of(card_of(facts["method"]))
    base = _built(facts["base"]) if facts.get("base") else None
    settings = kind.Settings.model_validate(facts["settings"])
    return build(kind, settings, Traits.model_validate(facts["traits"]), base=base)
