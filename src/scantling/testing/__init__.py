"""Checks that every method has to pass, of this package or of another, as a function: `check_method`."""

from scantling.testing.checks import check_method, checks_of
from scantling.testing.subject import ConformanceError

__all__ = ["ConformanceError", "check_method", "checks_of"]
