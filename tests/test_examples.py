"""The examples in the docstrings of parts run by themselves, and print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import scantling

ROOT = Path(scantling.__file__).parent
PARTS = ("api/mending", "api/scores", "diffusion/*", "fusion", "losses/*", "mending/*", "metrics/*", "networks/*",
         "phantoms/*", "warping")  # fmt: skip
MODULES = [
    ".".join(("scantling", *path.relative_to(ROOT).with_suffix("").parts))
    for part in PARTS
    for path in sorted(ROOT.glob(f"{part}.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run_from_nothing(name: str) -> None:
    module = import_module(name)
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs={}, globs={}):
        runner.run(example)
    result = runner.summarize(verbose=False)
    assert result.attempted
    assert not result.failed
