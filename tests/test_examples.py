"""The examples run by themselves: those in docstrings, the Python blocks of the pages, the notebooks."""

from __future__ import annotations

import doctest
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scantling
from scantling.phantoms import vessel_images
from script import script

ROOT = Path(scantling.__file__).parent
PROJECT = Path(__file__).resolve().parents[1]
PARTS = ("api/mending", "api/scores", "diffusion/*", "fusion", "losses/*", "mending/*", "metrics/*", "networks/*",
         "phantoms/*", "warping")  # fmt: skip
MODULES = [
    ".".join(("scantling", *path.relative_to(ROOT).with_suffix("").parts))
    for part in PARTS
    for path in sorted(ROOT.glob(f"{part}.py"))
    if ">>> " in path.read_text()
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOTEBOOKS: dict[str, dict[str, Any]] = {
    "five-labels.ipynb": {"STEPS": 4},
    "mend-vessels.ipynb": {"SIZE": 128, "ITERATIONS": 10},
}
"""What a test lowers at the top of each."""


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run_from_nothing(name: str) -> None:
    module = import_module(name)
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs={}, globs={}):
        runner.run(example)
    result = runner.summarize(verbose=False)
    assert result.attempted
    assert not result.failed


def test_the_python_blocks_of_every_page_run_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a folder `data/mine`, which the pages name, and a few steps in place of hundreds."""
    pages = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
    blocks = {page: BLOCK.findall(page.read_text()) for page in sorted(pages)}
    assert {"README.md", "python.md", "mending.md"} <= {page.name for page, found in blocks.items() if found}
    for page, found in blocks.items():
        folder = tmp_path / page.stem
        make_vessels(folder / "data" / "mine")
        monkeypatch.chdir(folder)
        names = {"__name__": "__example__"}
        for text in found:
            few = re.sub(r"\bsteps=\d\d+", "steps=2", text)
            exec(compile(few, page.name, "exec"), names)


def make_vessels(folder: Path) -> None:
    """Four images of vessels in `images`, and their masks in `masks`."""
    for number, (image, mask) in enumerate(vessel_images(4, 48, seed=0)):
        for kind, array in (("images", image), ("masks", mask * np.uint8(255))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / f"{number:02}.png")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    outputs = script("scripts/run_notebooks.py").run(PROJECT / "examples" / name, tmp_path, NOTEBOOKS[name])
    shown = [output["data"] for cell in outputs for output in cell if output["output_type"] == "execute_result"]
    assert any("image/jpeg" in data for data in shown)


@pytest.mark.parametrize("path", sorted((PROJECT / "examples").glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_one_of_nbformat_4_small_and_of_no_machine(path: Path) -> None:
    assert path.name in NOTEBOOKS
    assert path.stat().st_size < 250_000
    text = path.read_text()
    assert not re.search(r"/(home|Users|root|tmp|mnt)/", text)
    facts = json.loads(text)
    assert facts.keys() == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (facts["nbformat"], facts["nbformat_minor"]) == (4, 5)
    assert facts["metadata"]["kernelspec"].keys() == {"display_name", "language", "name"}
    ids = [cell["id"] for cell in facts["cells"]]
    assert len({*ids}) == len(ids), "each cell has an id of its own"
    assert all(re.fullmatch(r"[\w-]{1,64}", id) for id in ids)
    for cell in facts["cells"]:
        code = cell["cell_type"] == "code"
        assert code or cell["cell_type"] == "markdown"
        assert cell.keys() == {"cell_type", "id", "metadata", "source"} | (
            {"execution_count", "outputs"} if code else set()
        )
        assert isinstance(cell["source"], list)
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        for output in cell.get("outputs", ()):
            assert output["output_type"] in ("stream", "execute_result"), "no error is kept"


def test_a_link_in_a_notebook_leads_somewhere() -> None:
    for path in (PROJECT / "examples").glob("*.ipynb"):
        for target in re.findall(r"\]\(([^)\s#]+)", path.read_text()):
            assert re.match(r"[a-z]+:", target) or (path.parent / target).exists(), target
