"""Rooms load on demand: their names are complete, functions win over files of the same name, nothing heavy comes."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import scantling

ROOMS = ("diffusion", "evidence", "losses", "mending", "metrics", "networks", "phantoms")
ROOT = Path(scantling.__file__).parent


@pytest.mark.parametrize("room", ROOMS)
def test_the_names_of_a_room_stand_in_the_files_that_it_says(room: str) -> None:
    package = import_module(f"scantling.{room}")
    tree = ast.parse((ROOT / room / "__init__.py").read_text())
    typed = {
        name.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert set(typed) == set(package.__all__) <= set(dir(package))
    for name, file in typed.items():
        value = getattr(package, name)
        assert value is getattr(import_module(str(file)), name)
        assert not name.isupper() or room == "metrics" or isinstance(value, type)
    with pytest.raises(AttributeError, match=f"'scantling.{room}' has no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize("first", ["tool", "tool.same", "tool.other"])
def test_a_function_wins_over_the_file_of_its_name_whichever_comes_first(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tool"
    folder.mkdir()
    (folder / "same.py").write_text("def same(): return 'function'\nbeside = 1\n")
    (folder / "other.py").write_text("def other(): return 'wrong'\n")
    table = {"same": ("same",), "third": ("other",)}
    (folder / "third.py").write_text("def other(): return 'function'\n")
    (folder / "__init__.py").write_text(
        f"from scantling.core.rooms import load_on_demand\nload_on_demand(__name__, {table})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tool"]:
        monkeypatch.delitem(sys.modules, name)
    import_module(first)
    tool = import_module("tool")
    import_module("tool.same")
    import_module("tool.other")
    assert tool.same() == tool.other() == "function"
    assert import_module("tool.same").beside == 1


def test_rooms_import_neither_torch_nor_compiled_kernels_before_they_are_used() -> None:
    program = f"""
import sys, scantling
for room in {ROOMS}:
    getattr(scantling, room)
heavy = {{"torch", "monai", "numba", "scipy", "skimage", "nibabel"}} & set(sys.modules)
assert not heavy, heavy
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
