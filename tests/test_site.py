"""The site of the documentation and the container: what they are made of is there, and every link of the site holds."""

from __future__ import annotations

import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from script import ROOT, script
from test_house import FENCE

SITE = script("scripts/make_site.py")


@pytest.fixture(scope="module", name="settings")
def the_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = SITE.gather(tmp_path_factory.mktemp("site"))
    return path


def test_every_link_of_the_site_leads_to_a_page_of_it(settings: Path) -> None:
    pages = settings.parent / "pages"
    for page in pages.rglob("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
            if not re.match(r"[a-z]+:|#", target):
                path = (page.parent / target.partition("#")[0]).resolve()
                assert path.is_relative_to(pages.resolve()), target
                assert path.is_file(), f"{page.relative_to(pages)}: {target}"


def test_every_page_of_the_site_stands_in_its_list(settings: Path) -> None:
    listed = set[str]()

    def collect(entries: list[dict[str, object]]) -> None:
        for value in (value for entry in entries for value in entry.values()):
            if isinstance(value, list):
                collect(value)
            else:
                listed.add(str(value))

    collect(tomllib.loads(settings.read_text())["project"]["nav"])
    pages = settings.parent / "pages"
    assert listed == {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")}


def test_links_are_moved_with_their_pages_and_those_to_code_become_words() -> None:
    text = (
        "[a](docs/data.md#left) [b](benchmarks/run.py) ![c](docs/pictures/x.jpg) <x>\n```text\n[d](docs/data.md)\n```\n"
    )
    moved = SITE.moved(text, "README.md")
    assert moved == "[a](data.md#left) b ![c](pictures/x.jpg) <x>\n```text\n[d](docs/data.md)\n```\n"
    assert SITE.moved("[m](../../README.md#methods) [n](README.md)", "docs/methods/unet.md") == (
        "[m](../index.md#methods) [n](index.md)"
    )


def test_the_site_is_built_without_a_warning(settings: Path) -> None:
    zensical = shutil.which("zensical", path=str(Path(sys.executable).parent))
    if zensical is None:
        pytest.skip("zensical is not installed (pip install 'scantling[docs]')")
    command = [zensical, "build", "--strict", "--config-file", str(settings)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (settings.parent / "site" / "index.html").read_text()
    assert not re.search(r'<(script|img)[^>]*src="https?:|<link[^>]*rel="stylesheet"[^>]*href="https?:', page), (
        "offline"
    )


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(word, rest) for word, _, rest in lines]


def test_the_container_copies_what_there_is_pins_versions_and_is_not_root() -> None:
    found = instructions()
    assert found[0][0] == "FROM"
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [name for word, rest in found if word == "COPY" for name in shlex.split(rest)[:-1]]
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(fnmatch.fnmatch(name, pattern) for pattern in kept), f"{name}: .dockerignore leaves it out"
    assert {"pyproject.toml", "README.md", "LICENSE", "src"} <= {*copied}, "what the package is built from"
    installs = [rest for word, rest in found if word == "RUN" and "pip install" in rest]
    assert installs
    assert all("--constraint constraints.txt" in rest for rest in installs)
    assert [rest for word, rest in found if word == "USER"][-1] not in ("root", "0")
    assert ("ENTRYPOINT", '["scantling"]') in found


def test_the_command_that_checks_the_container_exists() -> None:
    from scantling.cli.main import parse

    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if "docker run --rm" in line]
    words = shlex.split(lines[0].lstrip("# "))
    assert parse(words[words.index("scantling") + 1 :]) is not None
