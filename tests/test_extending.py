"""Methods outside the package: the one that `docs/extending.md` builds, and ones that are broken."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commands import command
from made import images_for
from scantling.methods import catalogue
from scantling.methods.catalogue import CARDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages: the one of the page, and three that announce what cannot be used."""
    site = tmp_path_factory.mktemp("site")
    text = PAGE.read_text()
    for name, code in re.findall(r"```py\n# (\S+)\n(.*?)```", text, re.S):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(code)
    points = dict(re.findall(r'^([\w-]+) = "(pixelwise\.card:\w+)"$', text, re.M))
    (site / "broken.py").write_text("raise ValueError('no licence')\nCARD = 1\n")
    (site / "strange.py").write_text("CARD = {'name': 'strange'}\n")
    (site / "taken.py").write_text("from scantling.methods.catalogue import CARDS\nCARD = CARDS['unet']\n")
    points |= {name: f"{name}:CARD" for name in ("broken", "strange", "taken")}
    info = site / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[scantling.methods]\n{lines}\n")
    return site


@contextmanager
def installed(site: Path) -> Iterator[None]:
    """The packages of the folder, found by this process for the length of the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        catalogue._outside.cache_clear()
        yield
    catalogue._outside.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in {"pixelwise", "strange", "taken"}]:
        del sys.modules[name]


def test_the_method_of_the_page_is_listed_trained_and_used(site: Path, tmp_path: Path) -> None:
    data = images_for(CARDS["unet"], tmp_path / "data", dimensions=2)
    run, out = tmp_path / "run", tmp_path / "masks"
    with installed(site):
        listed = command("methods", "--json", "-")
        assert "pixelwise" in {card["name"] for card in json.loads(listed.stdout)}
        done = command("train", "pixelwise", "--data", data, "--out", run, "--preset", "tiny", "--steps", "60")
        assert done.returncode == 0, done.stderr
        done = command("predict", run, data, "--out", out)
        assert done.returncode == 0, done.stderr
        assert len(list(out.glob("*.png"))) == 2
        done = command("check", data)
        assert "method pixelwise: can run" in done.stdout


def test_the_semi_supervised_method_of_the_page_learns_from_images_without_masks(site: Path, tmp_path: Path) -> None:
    data = images_for(CARDS["unet"], tmp_path / "data", dimensions=2, count=8)
    with installed(site):
        for labels, streams in (("2", {"cross_entropy", "agreement"}), ("9", {"cross_entropy"})):
            run = tmp_path / f"run-{labels}"
            words = ("--data", data, "--out", run, "--preset", "tiny", "--validation", "0", "--labels", labels)
            done = command("train", "pixelwise-teacher", *words)
            if labels == "9":  # there are six
                assert "found 6" in done.stderr
                done = command("train", "pixelwise-teacher", *words[:-2])
            assert done.returncode == 0, done.stderr
            lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
            assert {term for line in lines for term in line.get("losses", {}).get("network", {})} == streams
        assert command("predict", run, data, "--out", tmp_path / "masks").returncode == 0


def test_both_methods_of_the_page_keep_the_contract(site: Path) -> None:
    with installed(site):
        tests = [one for name, one in runpy.run_path(f"{site}/test_pixelwise.py").items() if name.startswith("test_")]
        assert tests
        for test in tests:
            test()


def test_methods_that_cannot_be_used_are_named_and_left_out(site: Path) -> None:
    """In a process of its own, as a user has it."""
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); from scantling.cli.main import main; "
        "sys.exit(main(['methods']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert "unet" in done.stdout
    assert "pixelwise-teacher" in done.stdout
    assert "broken (broken:CARD): cannot be loaded (ValueError: no licence); it is left out" in done.stderr
    assert "strange (strange:CARD): is a dict; expected a Card; it is left out" in done.stderr
    assert "taken (taken:CARD): its name unet is taken; it is left out" in done.stderr


def test_a_run_of_a_method_that_is_not_installed_says_so(site: Path, tmp_path: Path) -> None:
    data = images_for(CARDS["unet"], tmp_path / "data", dimensions=2)
    words = ("--data", data, "--out", tmp_path / "run", "--preset", "tiny", "--steps", "1")
    with installed(site):
        done = command("train", "pixelwise", *words)
        assert done.returncode == 0, done.stderr
    done = command("predict", tmp_path / "run", data, "--out", tmp_path / "masks")
    assert done.returncode == 2
    assert "no method is called 'pixelwise'" in done.stderr
    assert "Traceback" not in done.stderr
