"""Evidence: tensors in, tensors out; what several sources say of each pixel, and how far each is to be believed.

`dempster` combines mass functions on single classes and on the whole frame in closed form; `EvidentialLayer` makes them
of features; `fused_contours` and `scalar_fusion` combine what is discounted by reliabilities, which
`learn_reliabilities` finds on images with a truth. `scantling.fusion.fuse("dempster", ...)` is the way for masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scantling.core.rooms import load_on_demand

if TYPE_CHECKING:
    from scantling.evidence.discounting import discounted_contour, fused_contours, scalar_fusion
    from scantling.evidence.masses import contour, dempster, pignistic, vacuous
    from scantling.evidence.prototypes import EvidentialLayer
    from scantling.evidence.reliabilities import contours_of, learn_reliabilities, reliability_intervals

__all__ = [
    "EvidentialLayer",
    "contour",
    "contours_of",
    "dempster",
    "discounted_contour",
    "fused_contours",
    "learn_reliabilities",
    "pignistic",
    "reliability_intervals",
    "scalar_fusion",
    "vacuous",
]

load_on_demand(
    __name__,
    {
        "discounting": ("discounted_contour", "fused_contours", "scalar_fusion"),
        "masses": ("contour", "dempster", "pignistic", "vacuous"),
        "prototypes": ("EvidentialLayer",),
        "reliabilities": ("contours_of", "learn_reliabilities", "reliability_intervals"),
    },
)
