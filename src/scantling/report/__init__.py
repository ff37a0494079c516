"""Pages and pictures from runs, evaluations and masks."""

from __future__ import annotations

from scantling.report.mask_quality import holds_masks, report_masks
from scantling.report.page import report

__all__ = ["holds_masks", "report", "report_masks"]
