"""The commands of a page are those that made it: the parser reads the same options, and they give the same scores."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from made import images_for, write
from reported import page_of
from scantling.cli.main import main, parse
from scantling.methods.catalogue import CARDS
from scantling.records.evaluation import EvaluationRecord
from scantling.report.commands import repeating, shell
from scantling.report.targets import EvaluationFile, open_run
from scantling.training import Options, train

MANIFEST = """
classes = {{ blob = 255 }}
[[group]]
pattern = "{split}/images/{{id}}.png"
images = "{split}/images/{{id}}.png"
masks = "{split}/masks/{{id}}.png"
split = "{split}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data with a manifest elsewhere, regions, and two runs; names that a shell would take apart."""
    place = tmp_path_factory.mktemp("it's a place")
    data = images_for(CARDS["unet"], place / "data set", dimensions=2)
    parts = [MANIFEST.format(split=split) for split in ("train", "test")]
    classes, *rest = parts[0].split("[[group]]")
    text = f"{classes}[[group]]{rest[0]}[[group]]{parts[1].split('[[group]]')[1]}"
    (place / "the manifest.toml").write_text(text)
    for path in (data / "test" / "images").iterdir():
        shape = np.asarray(Image.open(path)).shape
        region = np.zeros(shape, np.uint8)
        region[:, : shape[1] // 2] = 255
        write(place / "regions", path.stem, region)
    for seed in (0, 1):
        options = Options(
            preset="tiny", steps=2, seed=seed, validation=0.3, settings={"dropout": 0.2},
            manifest=place / "the manifest.toml", root=data,
        )  # fmt: skip
        train("unet", [data], place / f"run {seed}", options, console=Console(quiet=True))
    return place


def data_words(place: Path) -> list[str]:
    return ["--manifest", str(place / "the manifest.toml"), "--root", str(place / "data set")]


CASES: dict[str, tuple[list[str], list[list[str]], list[str]]] = {
    "plain": ([], [], []),
    "views": (["--views", "--precision", "float32"], [], ["--metrics", "hd95", "dice", "--split", "test"]),
    "samples": (
        ["--samples", "3", "--fuse", "staple", "--probabilities", "--memory", "0.25"],
        [],
        ["--region", "{place}/regions"],
    ),
    "ensemble": (["--ensemble", "{place}/run 1", "--split", "all"], [], ["--split", "all"]),
    "mended": (
        ["--probabilities"],
        [["--rule", "both", "--iterations", "3", "--high", "0.45", "--low", "0.4", "--smallest", "2",
          "--carry", "1.5", "--coherence", "2"]],
        ["--probabilities", "{place}/masks-1/probabilities"],
    ),
    "mended twice": (
        ["--probabilities", "--samples", "2"],
        [["--rule", "anisotropic", "--iterations", "2"], ["--rule", "threshold", "--high", "0.4"]],
        [],
    ),
    "mending chosen": (
        ["--probabilities"],
        [["--rule", "threshold", "--iterations", "auto", "--validation", "{place}/data set",
          "--manifest", "{place}/the manifest.toml", "--root", "{place}/data set"]],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_commands_of_a_page_give_its_scores_again(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    for left in (*place.glob("masks*"), place / "run 0" / "evaluations"):
        shutil.rmtree(left, ignore_errors=True)
    predicted, mended, scored = CASES[name]
    run, data = place / "run 0", place / "data set"
    lines = [["predict", str(run), str(data), "--out", str(place / "masks"), *data_words(place), *predicted]]
    folder = place / "masks"
    for number, words in enumerate(mended, start=1):
        out = place / f"masks-{number}"
        lines.append(["mend", str(folder / "probabilities"), "--out", str(out), *words])
        folder = out
    lines.append(["evaluate", str(folder), str(data), *data_words(place), *scored])
    typed = [[word.replace("{place}", str(place)) for word in line] for line in lines]
    for words in typed:
        assert main(words) == 0
    (kept,) = (run / "evaluations").iterdir()
    first = json.loads(kept.read_text())

    found = open_run(run)
    printed = [shlex.split(line) for line in repeating(found, found.evaluations)[1:]]
    assert [words[:2] for words in printed] == [["scantling", words[0]] for words in typed]
    for words, again in zip(typed, printed, strict=True):
        assert options(words) == options(again[1:])
    assert all(shlex.join(words) in page_of(run).text for words in printed)

    for left in (*place.glob("masks*"), kept):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    monkeypatch.chdir("/")
    for words in printed:
        assert main(words[1:]) == 0
    second = json.loads(kept.read_text())
    capsys.readouterr()
    assert {key: second[key] for key in first if key != "made"} == {key: first[key] for key in first if key != "made"}


def options(words: list[str]) -> dict[str, Any]:
    """What the parser makes of a command line; what is only decided later counts as it is decided."""
    command = parse(words)
    found = {field.name: getattr(command, field.name) for field in fields(command)}
    if words[0] in ("predict", "evaluate") and found["split"] is None:
        found["split"] = "test"
    if words[0] == "mend":
        found["validation"] = found["validation"] and str(found["validation"])
    return found


def test_a_run_whose_data_have_a_manifest_says_so_in_the_commands_that_are_missing(place: Path) -> None:
    shutil.rmtree(place / "run 1" / "evaluations", ignore_errors=True)
    text = page_of(place / "run 1").text
    said = shlex.join(data_words(place))
    assert text.count(said) >= 2, "to predict, and to score"


def test_a_chain_and_its_way_of_counting_votes_are_repeated(tmp_path: Path) -> None:
    record = EvaluationRecord.model_validate(
        {
            "cases": [], "mean": {}, "prediction": "/m", "truth": "/t",
            "made": {
                "run": "/r", "input": "/new/*.png", "split": "all",
                "asked": {"samples": 4, "steps": 7, "fuse": "vote", "votes": None},
                "options": {"samples": 4, "steps": 7, "fuse": "sum", "votes": 2, "precision": "bf16"},
            },
        }
    )  # fmt: skip
    predict, scored = repeating(None, (EvaluationFile(tmp_path, "a", record),))
    assert "'/new/*.png'" in predict
    command = parse(shlex.split(predict)[1:])
    assert (command.samples, command.sampling_steps, command.fuse, command.precision) == (4, 7, "vote", "bf16")
    assert shlex.split(scored) == ["scantling", "evaluate", "/m", "/t"]


@pytest.mark.parametrize("made", [{"run": 3, "input": []}, {"mended": [], "mending": 1}, {"mended": {}},
                                  {"run": "/r", "input": "/i", "options": {"ensemble": [1, {"run": None}]}},
                                  {"run": "/r", "input": "/i", "options": {"ensemble": 1}}])  # fmt: skip
def test_records_that_make_no_sense_break_no_page(made: dict[str, Any], tmp_path: Path) -> None:
    record = EvaluationRecord.model_validate({"cases": [], "mean": {}, "prediction": "/m", "truth": "/t", "made": made})
    assert repeating(None, (EvaluationFile(tmp_path, "a", record),))[-1] == "scantling evaluate /m /t"


@pytest.mark.parametrize("name", ["plain", "it's", "a $(b) c", os.fsdecode(b"caf\xe9 'x\\")])
def test_any_name_of_a_file_goes_through_a_shell(name: str) -> None:
    line = shell("printf", "%s\\0", name, "end").encode()  # as the page writes it: no bytes but UTF-8
    printed = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert printed.split(b"\0")[:2] == [os.fsencode(name), b"end"]


def test_paths_that_are_no_utf_8_and_odd_ids_go_into_records_and_pages_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / os.fsdecode(b'caf\xe9 <b>"x"&\'y')
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    ids = ["am&per", "apo'strophe", "ünï 漢", "50% #1", "a{{7-7}}b", "-dash", "x;y$(z)"]
    for number, id in enumerate(ids):
        mask = np.zeros((20, 20), np.uint8)
        mask[3:9, number : number + 8] = 255
        write(odd / "truth", id, mask)
        write(odd / "masks", id, mask)
    scores = tmp_path / "scores.json"
    assert main(["evaluate", str(odd / "masks"), str(odd / "truth"), "--json", str(scores)]) == 0
    assert json.loads(scores.read_text(encoding="utf-8"))["prediction"] == str(odd / "masks")
    found = page_of(scores)
    assert not found.all("b"), "a name is no markup"
    assert all(id in found.text for id in ids)
    assert len(found.all("img")) > 6, "and its files are found again"
    capsys.readouterr()


def test_validation_is_scored_again_when_its_masks_are_of_other_weights(place: Path) -> None:
    run = place / "run 1"
    page_of(run)
    scores = run / "validation" / "scores.json"
    first = scores.read_bytes()
    assert (
        json.loads(first)["made"]["model"] == json.loads((run / "validation" / "predictions.json").read_text())["model"]
    )
    for stale in ({"made": {"model": "0123456789abcdef"}}, {"labels": None}):
        facts = {**json.loads(first), **stale, "notes": ["stale"]}
        scores.write_text(json.dumps({key: value for key, value in facts.items() if value is not None}))
        page_of(run)
        assert scores.read_bytes() == first
    facts = {**json.loads(first), "notes": ["of these weights"]}
    scores.write_text(json.dumps(facts))
    page_of(run)
    assert json.loads(scores.read_text())["notes"] == ["of these weights"], "once is enough"
