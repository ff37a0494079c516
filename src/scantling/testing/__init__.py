"""Checks that every method has to pass, of this package or of another, as a function: `check_method`."""

from scantling.testing.checks import ConformanceError, check_method, checks_of

__all__ = ["ConformanceError", "check_method", "checks_of"]
