"""Which classes of predictions and truth are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scantling.core.case import Labels
from scantling.core.errors import DataError
from scantling.data.contents import some


def predictable(truth: Labels, predicted: Labels, *, declared: bool) -> Labels:
    """The truth's labels without the classes that the predictions do not have.

    Classes match as in `matched`; where the truth's are declared, the predictions may have no other. Where none is
    left, the labels are unchanged.
    """
    if not (truth.exclusive and all(truth.values) and truth.others == "error") or len(truth.names) == 1:
        return truth
    common = [name in predicted.names for name in truth.names]
    if not any(common) and not declared:
        common = [values in predicted.values for values in truth.values]
    if all(common) or not any(common) or (declared and sum(common) < len(predicted.names)):
        return truth
    kept = [number for number, there in enumerate(common) if there]
    return truth.model_copy(
        update={
            "names": tuple(truth.names[number] for number in kept),
            "values": tuple(truth.values[number] for number in kept),
        }
    )


def matched(predicted: Labels, truth: Labels, *, declared: bool) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The names of the classes to score, in the truth's order, and for each its number (from 0) in the predictions.

    Classes match by name, a single class matches a single class, and classes whose names nobody declared match by
    their values.

    Args:
        declared: whether the truth's names were declared, not made up from the values of its masks.

    Raises:
        DataError: the classes do not match.
    """
    if set(predicted.names) == set(truth.names):
        return truth.names, tuple(predicted.names.index(name) for name in truth.names)
    if len(predicted.names) == len(truth.names) == 1:
        return (truth if declared else predicted).names, (0,)
    if not declared and all(truth.values) and set(truth.values) <= set(predicted.values):
        order = [predicted.values.index(values) for values in truth.values]
        order += [number for number in range(len(predicted.names)) if number not in order]
        return tuple(predicted.names[number] for number in order), tuple(order)
    raise DataError(
        f"the predictions have the classes {some(predicted.names)}, the truth has {some(truth.names)}; "
        "expected the same; name them alike in a manifest"
    )


def check_predicted(regions: Mapping[str, Sequence[str]], classes: Sequence[str], labels: Labels, folder: Path) -> None:
    """Make sure that predictions have the classes that regions join; what is no class at all is told of elsewhere.

    Raises:
        DataError: they lack one.
    """
    for name, joined in regions.items():
        if lacking := [one for one in joined if one in labels.names and one not in classes]:
            raise DataError(
                f"{folder}: has no class {lacking[0]!r}, which the region {name!r} of the manifest joins; found "
                f"{', '.join(classes)}; predict with a model of all its classes, or leave the region out"
            )


def of_regions(regions: Mapping[str, Sequence[str]]) -> list[str]:
    """What is scored in place of the classes."""
    joined = "; ".join(f"{name} = {' + '.join(classes)}" for name, classes in regions.items())
    return [f"Scored are the regions of the manifest, not the classes: {joined}."] if regions else []
