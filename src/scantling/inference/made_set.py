"""The manifest of made cases: what an interrupted command has made, what is added, what several shards share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scantling.core.atomic import write_json
from scantling.core.case import Labels
from scantling.core.errors import RunError, SettingsError
from scantling.core.outputs import MADE, locked
from scantling.inference.listing import strings_in
from scantling.inference.made_cases import unlabelled_value
from scantling.inference.writing import written_values
from scantling.records.record import read_json

FILES = ("masks", "images", "region", "scribbles", "instances")
"""The keys of a case in the manifest that name files."""

Cases = dict[str, dict[str, Any]]
"""Entries of the manifest by id."""


@dataclass(frozen=True, kw_only=True)
class MadeSet:
    """The manifest in a folder of made cases.

    Attributes:
        out: the folder, which the caller holds.
        labels: the classes of the masks.
        made_by: what stands as the model in the origin of each case.
        seed: what its chance comes from.
        ids: of all cases that the folder is to hold.
        shared: whether other shards add cases at the same time.
        partly: whether the masks may have unknown pixels, for which the manifest names a value.
    """

    out: Path
    labels: Labels | None
    made_by: str
    seed: int
    ids: tuple[str, ...]
    shared: bool = False
    partly: bool = False

    def resume(self) -> Cases:
        """The cases that earlier commands have made and whose files are there; begins the manifest where there is none.

        Raises:
            RunError: the folder lists cases that were made otherwise.
            SettingsError: it holds more cases than are asked for.
        """
        with self._alone():
            cases = self._listed()
            if not (self.out / MADE).exists():
                self._write({})  # from now on the folder is known to be ours
        return {
            id: case
            for id, case in cases.items()
            if all((self.out / name).is_file() for key in FILES for name in strings_in(case.get(key)))
        }

    def save(self, cases: Cases) -> dict[str, Any]:
        """Write the manifest with these cases, and with what other shards have made; returns its contents."""
        with self._alone():
            others = self._listed() if self.shared else {}
            return self._write(others | cases)

    def _ignoring(self, cases: Cases) -> bool:
        """Whether a value stands for pixels of which nothing is known."""
        return self.partly or any("scribbles" in case for case in cases.values())

    def _alone(self) -> AbstractContextManager[None]:
        """Other shards wait."""
        return locked(self.out, shard="merge", wait=True) if self.shared else nullcontext()

    def _write(self, cases: Cases) -> dict[str, Any]:
        labels, facts = self.labels, dict[str, Any](name=self.out.resolve().name)
        if labels is not None:
            facts["classes"] = _classes(labels)
            if self._ignoring(cases):
                facts["ignore"] = unlabelled_value(labels)
        facts["case"] = [cases[id] for id in self.ids if id in cases]
        write_json(self.out / MADE, facts)
        return facts

    def _listed(self) -> Cases:
        """The cases in the manifest, none where there is no manifest yet."""
        path, ids = self.out / MADE, self.ids
        if not path.exists():
            return {}
        facts = read_json(path)
        try:
            cases: Cases = {str(case["id"]): case for case in facts["case"]}
            strange = any(case["origin"]["model"] != self.made_by for case in cases.values())
            strange |= facts.get("classes") != (None if self.labels is None else _classes(self.labels))
            strange |= any(case["origin"].get("seed") != self.seed for case in cases.values())
            strange |= not facts.keys() <= {"name", "classes", "case", *(["ignore"] if self._ignoring(cases) else [])}
        except (KeyError, TypeError, AttributeError):
            strange, cases = True, {}
        if strange:
            raise RunError(f"{path}: lists cases that were made otherwise; choose another --out")
        if set(cases) - set(ids):
            raise SettingsError(
                f"--count {len(ids)}: {self.out} holds {len(cases)} cases already; ask for {len(cases)} or more, or "
                "choose another --out"
            )
        return cases


def rejected(cases: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many were made and thrown away until these were left, by reason, the most frequent first."""
    total: Counter[str] = Counter()
    for case in cases:
        total.update(case["origin"].get("rejected", {}))
    return dict(total.most_common())


def _classes(labels: Labels) -> dict[str, Any]:
    """The value of each class, none where classes overlap and lie in files of their own."""
    values = written_values(labels)
    return {name: value[0] if labels.exclusive else [] for name, value in zip(labels.names, values, strict=True)}
