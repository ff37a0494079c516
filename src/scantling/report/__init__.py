"""Pages and pictures from runs and evaluations."""

from __future__ import annotations

from scantling.report.page import report

__all__ = ["report"]
