"""The house in order: imports stay light, the code keeps its rules, the documentation says what the code does."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from script import script

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks in one of these languages, as (page, text)."""
    for page in PAGES:
        for language, text in FENCE.findall(page.read_text()):
            if language in languages:
                yield str(page.relative_to(ROOT)), text


def commands() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every example that calls `scantling`, as (page, arguments)."""
    for page, text in blocks("bash", "console"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words and Path(words[0]).name == "scantling":
                yield page, tuple(words[1:])


def in_a_fresh_python(code: str) -> str:
    """What `code` prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


def make_docs() -> ModuleType:
    return script("scripts/make_docs.py")


HEAVY = "print(sorted({'torch', 'monai', 'skimage', 'scipy', 'numba'} & set(sys.modules)))"


def test_importing_the_package_imports_nothing_heavy_and_still_lists_its_verbs() -> None:
    code = f"import sys, scantling; assert set(scantling.__all__) <= set(dir(scantling)); {HEAVY}"
    assert in_a_fresh_python(code) == "[]\n"


@pytest.mark.parametrize("arguments", [["--help"], ["methods"], ["train", "--help"], ["methods", "--json", "-"]])
def test_help_and_listings_import_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from scantling.cli.main import main\n"
        f"sys.argv = ['scantling', *{arguments!r}]\n"
        "try:\n    code = main()\nexcept SystemExit as stop:\n    code = stop.code\n"
        "assert not code, code\n"
        "sys.stdout = sys.__stdout__\n"
        "print()\n" + HEAVY
    )
    assert in_a_fresh_python(code).splitlines()[-1] == "[]"


def test_every_verb_of_the_package_is_a_function() -> None:
    import scantling

    for name in scantling.__all__:
        assert callable(getattr(scantling, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        scantling.nothing  # noqa: B018


def name_of(function: ast.expr) -> str:
    """What is called, where it is a name or an attribute of one."""
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "src" / "scantling").as_posix())
def test_library_code_prints_nothing_unpickles_nothing_and_asserts_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body, "a file says its idea first"
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found.append(f"line {node.lineno}: assert")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            unwanted = {"pickle", "cloudpickle", "dill", "joblib", "urllib", "requests", "socket"}
            found += [f"line {node.lineno}: {name}" for name in modules if name.partition(".")[0] in unwanted]
        elif isinstance(node, ast.Call) and (called := name_of(node.func)) in {"print", "torch.load", "eval", "exec"}:
            if called == "torch.load" and "weights_only=True" in ast.unparse(node):
                continue  # tensors alone
            found.append(f"line {node.lineno}: {called}")
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            found.append(f"line {node.lineno}: allow_pickle")
    assert not found


def test_the_parts_of_the_documentation_that_code_writes_are_up_to_date() -> None:
    for path, text in make_docs().texts().items():
        assert path.read_text() == text, f"{path.relative_to(ROOT)} is out of date; run `make docs`"


def test_the_picture_of_the_readme_is_what_the_code_draws() -> None:
    made = make_docs()
    drawn, kept = made.picture().astype(int), np.asarray(Image.open(ROOT / made.PICTURE)).astype(int)
    assert kept.shape == drawn.shape, "run `make docs`"
    assert np.abs(kept - drawn).mean() < 8, "run `make docs`"  # grey levels that JPEG may lose; another seed gives 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}, target


def test_nothing_names_a_path_of_one_machine() -> None:
    # A path from the root of a file system, in text that travels.
    machine = re.compile(r"(?<![\w.\]})~<])/(home|Users|root|mnt|work|scratch|data)/\w")
    travelling = [*PAGES, *SOURCES, *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "scripts").glob("*.py")]
    travelling += [path for path in (ROOT / "examples").rglob("*") if path.is_file() and path.suffix != ".ipynb"]
    travelling += [ROOT / name for name in ("Makefile", "pyproject.toml", "constraints.txt", ".ci/run")]
    for path in travelling:
        assert not machine.search(path.read_text()), path.relative_to(ROOT)


def test_there_are_examples_of_every_command_in_the_readme_story() -> None:
    named = {arguments[0] for _, arguments in commands()}
    assert {"check", "train", "predict", "evaluate", "report"} <= named


@pytest.mark.parametrize(
    ("page", "arguments"), [pytest.param(*each, id=f"{each[0]}: {' '.join(each[1])[:60]}") for each in commands()]
)
def test_every_example_is_a_command_that_exists(page: str, arguments: tuple[str, ...]) -> None:
    from scantling.cli.main import parse

    assert parse(list(arguments)) is not None, page


def test_every_manifest_example_is_a_manifest(tmp_path: Path) -> None:
    from scantling.data.manifest import read_manifest

    for number, (page, text) in enumerate(blocks("toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        manifest = read_manifest(path)
        assert manifest.group or manifest.case or manifest.classes, page


def test_no_page_has_a_section_twice() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        sections = [line for line in page.read_text().splitlines() if line.startswith("## ")]
        assert sorted(sections) == sorted({*sections}), page


def test_what_ci_runs_is_make_test_and_nothing_less() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[-1] == "exec make test"
    recipe = (ROOT / "Makefile").read_text().partition("\ntest:")[2].partition("\n\n")[0]
    for tool in ("ruff format --check", "ruff check", "mypy", "lint-imports", "pytest"):
        assert tool in recipe
