"""Whether uncertainty tells where a mask is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from scantling.core.errors import ArrayError
from scantling.metrics.arrays import foreground
from scantling.metrics.ranking import Ranking, ranking


@dataclass(frozen=True)
class ErrorRanking:
    """The uncertainties of the wrong and of the right pixels."""

    errors: Ranking

    @property
    def uncertainty_auc(self) -> float:
        """The chance that a wrong pixel is more uncertain than a right one, equal values counting one half.

        NaN if no pixel is wrong, or none is right.
        """
        return self.errors.auc


def error_ranking(
    uncertainty: ArrayLike, prediction: ArrayLike, truth: ArrayLike, *, region: ArrayLike | None = None
) -> ErrorRanking:
    """Rank uncertainties `(*S)` (any finite range) against where two masks `(*S)` differ, inside `region` `(*S)`.

    Raises:
        ArrayError: the shapes differ, there is no pixel to compare, or an uncertainty is NaN.
    """
    predicted, true = foreground(prediction), foreground(truth)
    if predicted.shape != true.shape:
        raise ArrayError(f"the masks have shapes {predicted.shape} and {true.shape}; expected one shape")
    return ErrorRanking(ranking(uncertainty, predicted != true, region=region))
