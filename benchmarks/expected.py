"""How often the 90 % intervals of expected scores hold, over splits of subjects into calibration and test.

Of evaluations that are named (`scantling evaluate --json`, of predictions that list what was expected), or of made
scores whose estimates are too high, by subjects that differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from scantling.inference.expected import calibrated, expected
from scantling.records.evaluation import EvaluationRecord
from scantling.records.record import read_record

SPLITS = 200
CALIBRATION = (10, 14, 20)
"""Subjects that the calibration has."""
LEAST = 0.88
"""Made scores that are held less often miss the target: 0.9 less three binomial deviations of the fewest subjects."""
Score = tuple[str, float, float]


def made() -> list[Score]:
    """Subjects, estimates and Dice: 60 subjects of one to six cases; a subject's estimates are too high alike."""
    random, scores = np.random.default_rng(0), list[Score]()
    for subject in range(60):
        too_high = random.gamma(2, 0.04)
        for _ in range(random.integers(1, 7)):
            dice = float(np.clip(random.beta(12, 3), 0, 1))
            scores.append((str(subject), float(np.clip(dice + too_high + random.normal(0, 0.02), 0, 1)), dice))
    return scores


def saved(path: Path) -> list[Score]:
    """Those of an evaluation, of the cases with a mask and a Dice."""
    cases = read_record(EvaluationRecord, path).cases
    found = [(case.subject or case.id, case.expected, case.values.get("dice")) for case in cases]
    return [
        (subject, said.estimate, dice)
        for subject, said, dice in found
        if said is not None and said.estimate is not None and dice is not None
    ]


def coverage(scores: list[Score], subjects: int) -> tuple[float, float]:
    """The share of the test cases that is held, each subject counted alike, and the mean width of the interval."""
    random, names = np.random.default_rng(1), sorted({subject for subject, _, _ in scores})
    held, widths = list[float](), list[float]()
    for _ in range(SPLITS):
        chosen = set(random.permutation(names)[:subjects].tolist())
        known = calibrated([score for score in scores if score[0] in chosen], options={})
        inside = dict[str, list[bool]]()
        for subject, estimate, dice in (score for score in scores if score[0] not in chosen):
            found = expected(estimate, known)
            inside.setdefault(subject, []).append(found["low"] - 1e-4 <= dice <= found["high"] + 1e-4)
            widths.append(found["high"] - found["low"])
        held.append(float(np.mean([np.mean(cases) for cases in inside.values()])))
    return float(np.mean(held)), float(np.mean(widths))


def main() -> int:
    """Print the table; 1 where made scores are held too rarely."""
    sets = {path: saved(Path(path)) for path in sys.argv[1:]} or {"made scores": made()}
    missed = False
    print(f"{'scores':32} {'calibration':>11} {'held':>6} {'width':>6}")
    for name, scores in sets.items():
        several = len({subject for subject, _, _ in scores})
        for subjects in (number for number in CALIBRATION if number < several):
            held, width = coverage(scores, subjects)
            print(f"{name[-32:]:32} {subjects:>11} {held:>6.3f} {width:>6.3f}")
            missed |= not sys.argv[1:] and held < LEAST
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
