"""Pages and pictures from runs, evaluations and masks."""

from __future__ import annotations

from scantling.report.mask_quality import holds_masks, report_masks
from scantling.report.masks_page import report_unscored
from scantling.report.page import report
from scantling.report.unscored import holds_unscored

__all__ = ["holds_masks", "holds_unscored", "report", "report_masks", "report_unscored"]
