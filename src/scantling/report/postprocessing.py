"""What was learnt on validation cases to be done to answers, what it gained there, and what was not kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scantling.core.postprocessing import AS_ANSWERED, Postprocessing, Rule, Trial
from scantling.report.words import metric, plural


@dataclass(frozen=True)
class PostprocessingBlock:
    """What the page shows of it.

    Attributes:
        sentences: what was kept and from how much it was learnt.
        rows: what was tried: part, class, the best value, before, after, standard error of the gain, and "kept" or not.
    """

    sentences: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def postprocessing_block(found: Postprocessing, traits: Mapping[str, Any] | None) -> PostprocessingBlock | None:
    """The block of a run; None where nothing was tried.

    Args:
        traits: of its data as `run.json` has them, for the unit of sizes.
    """
    if found == AS_ANSWERED:
        return None
    known = traits or {}
    unit = f" mm{'³' if known.get('dimensions') == 3 else '²'}" if known.get("unit") == "mm" else " pixels"
    return PostprocessingBlock(tuple(_sentences(found)), tuple(_row(trial, unit) for trial in found.trials))


def _sentences(found: Postprocessing) -> Iterator[str]:
    if not found.subjects:
        yield (
            f"Nothing was learnt for answers (temperature, thresholds, components): there "
            f"{'is' if found.of == 1 else 'are'} {plural(found.of, 'validation subject')} with a mask, and that is too "
            "few to tell a gain from noise."
        )
        return
    kept = sum(trial.kept for trial in found.trials)
    of = f" of {found.of:,}" if found.of > found.subjects else ""
    yield (
        f"{kept} of {plural(len(found.trials), 'part')} tried {'is' if kept == 1 else 'are'} kept, as the gain on "
        f"{found.subjects:,}{of} validation subjects ({plural(found.cases, 'case')}) is beyond noise. Each subject's "
        "score is with what the others would choose. Scores of these validation cases are with what was learnt on them "
        "and flatter; trust scores on other cases."
    )
    if found.ece is not None:
        before, after = (metric("ece").write(value) for value in found.ece)
        yield (
            f"Expected calibration error of the probabilities: {before} before and {after} after the temperature."
            if found.temperature != 1
            else f"Expected calibration error of the probabilities: {before}; no temperature is applied."
        )


def _row(trial: Trial, unit: str) -> tuple[str, ...]:
    digits = 4 if trial.part == "temperature" else 3
    score = "log-loss" if trial.part == "temperature" else "Dice"
    return (
        trial.part.capitalize(),
        trial.name or "all",
        _value(trial.value, unit) if trial.part == "components" else _number(trial.value),
        f"{score} {trial.before:.{digits}f}",
        f"{trial.after:.{digits}f}",
        f"± {trial.error:.{digits}f}",
        "kept" if trial.kept else "not kept",
    )


def _number(value: Rule) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "as it is"


def _value(rule: Rule, unit: str) -> str:
    if rule is None:
        return "all stay"
    return "the largest" if rule == "largest" else f"of {rule:,.4g}{unit} or more"
