"""What commands write: no folder holds the work of two, no input is written over, no result is lost or cut short."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from made import images_for
from scantling.cli.main import main
from scantling.core.atomic import replacing, to_json, write_json, write_text
from scantling.core.errors import RunError, SettingsError
from scantling.core.outputs import PREDICTIONS, check_file, check_inputs, check_record, locked, output_folder
from scantling.methods.catalogue import CARDS, added
from toys_registration import CARD as SHIFT

OURS = set(CARDS)
"""The methods that another process knows."""


@pytest.fixture(scope="module", autouse=True)
def _registrar() -> Iterator[None]:
    with added(SHIFT):
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, two runs that differ, and what every command makes of them."""
    place = tmp_path_factory.mktemp("place")
    images_for(CARDS["unet"], place / "data", dimensions=2)
    for seed in ("0", "1"):
        assert main(train(place, seed, place / f"run-{seed}")) == 0
    registrar = ["train", SHIFT.name, "--data", str(place / "data"), "--out", str(place / "registrar")]
    assert main([*registrar, "--steps", "2"]) == 0
    for name, words in commands(place).items():
        assert main([*words, "--out", str(place / "made" / name)]) == 0, name
    return place


def train(place: Path, seed: str, out: Path) -> list[str]:
    words = ["train", "unet", "--data", str(place / "data"), "--preset", "tiny", "--steps", "2", "--seed", seed]
    return [*words, "--out", str(out)]


def commands(place: Path) -> dict[str, list[str]]:
    """Every command that writes a folder, without its --out."""
    run, other, data = str(place / "run-0"), str(place / "run-1"), str(place / "data")
    maps = str(place / "made" / "predicted" / "probabilities")
    return {
        "trained": train(place, "0", place)[:-2],
        "trained otherwise": train(place, "1", place)[:-2],
        "predicted": ["predict", run, data, "--probabilities"],
        "predicted by another": ["predict", other, data, "--probabilities"],
        "predicted without views": ["predict", run, data, "--probabilities", "--no-views"],
        "predicted in part": ["predict", other, data, "--probabilities", "--shard", "1/2"],
        "registered": ["register", str(place / "registrar"), data, "--split", "all"],
        "registered in part": ["register", str(place / "registrar"), data, "--split", "test", "--shard", "1/2"],
        "mended": ["mend", maps, "--rule", "hysteresis"],
        "mended otherwise": ["mend", maps, "--rule", "hysteresis", "--high", "0.6"],
        "made": ["synthesize", "fractal-vessels", "--count", "1", "--size", "64"],
        "made otherwise": ["synthesize", "fractal-vessels", "--count", "1", "--size", "72"],
    }


def contents(folder: Path) -> Mapping[str, str]:
    """Every file with its hash."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


NAMES = sorted(commands(Path()))
TOGETHER = {("predicted by another", "predicted in part"), ("predicted in part", "predicted by another")}
"""A part of the very same job."""


@pytest.mark.parametrize("there", NAMES)
def test_no_command_writes_into_the_folder_of_another(
    place: Path, tmp_path: Path, there: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(place / "made" / there, out)
    before = contents(out)
    for name, words in commands(place).items():
        if name == there or (name, there) in TOGETHER:
            continue
        assert main([*words, "--out", str(out)]) == 2, name
        assert "choose a" in capsys.readouterr().err
        assert contents(out) == before, name


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"predicted in part", "registered in part"}))
def test_the_same_command_again_leaves_the_same_files(place: Path, name: str) -> None:
    out = place / "made" / name
    before = contents(out)
    assert main([*commands(place)[name], "--out", str(out)]) == 0
    after = contents(out)
    timed = {"run.json", "predictions.json", "registrations.json"}  # seconds
    assert {file: hash_ for file, hash_ in after.items() if file not in timed} == {
        file: hash_ for file, hash_ in before.items() if file not in timed
    }


FOLDERS = ("data", "data/test", "data/test/masks", "data/test/images")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        (name, folder)
        for name in NAMES
        for folder in FOLDERS
        if name in ("trained", "predicted") or folder in FOLDERS[::3]
    ],
)
def test_data_are_never_written_into(
    place: Path, tmp_path: Path, name: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(place / "data")
    link = tmp_path / "link"
    link.symlink_to(place / folder)
    for out in (place / folder, link):
        assert main([*commands(place)[name], "--out", str(out)]) == 2
        assert "choose a" in capsys.readouterr().err
        assert contents(place / "data") == before


def test_a_folder_is_held_while_it_is_written(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in commands(place).items():
        out = tmp_path / name
        with locked(out):
            assert main([*words, "--out", str(out)]) == 2
            assert "is in use by process" in capsys.readouterr().err
        assert not list(out.iterdir()), "no lock is left"


def test_a_new_folder_in_which_a_refusal_has_left_nothing_goes_again(tmp_path: Path) -> None:
    def refused(folder: Path, *, written: bool) -> None:
        with locked(folder):
            if written:
                (folder / "log.jsonl").touch()
            raise RunError("no")

    (tmp_path / "yours").mkdir()
    for name, written in (("new", False), ("begun", True), ("yours", False)):
        with pytest.raises(RunError, match="no"):
            refused(tmp_path / name, written=written)
    assert {path.name for path in tmp_path.iterdir()} == {"begun", "yours"}


def test_shards_share_a_folder_and_nothing_else_does(tmp_path: Path) -> None:
    def hold(shard: str) -> None:
        with output_folder(tmp_path, record=PREDICTIONS, inputs=(), shard=shard):
            pass

    with locked(tmp_path, shard="1-of-2"):
        with locked(tmp_path, shard="2-of-2"):
            pass
        for shard in ("1-of-2", ""):
            with pytest.raises(RunError, match="in use"):
                hold(shard)
    with locked(tmp_path), pytest.raises(RunError, match="in use"):
        hold("1-of-2")
    hold("")
    assert not list(tmp_path.iterdir())


def test_shards_that_come_and_go_do_not_refuse_each_other(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def come_and_go(shard: str) -> None:
        try:
            for _ in range(200):
                with locked(tmp_path, shard=shard):
                    pass
        except RunError as error:
            failed.append(error)

    threads = [threading.Thread(target=come_and_go, args=(f"{number}-of-3",)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failed
    assert not list(tmp_path.iterdir())


def test_a_lock_of_another_user_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".lock").touch()
    opened = os.open

    def refused(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *rest)

    monkeypatch.setattr(os, "open", refused)
    with locked(tmp_path), pytest.raises(RunError, match="in use"), locked(tmp_path):
        pass


def test_a_waiting_lock_gets_its_turn(tmp_path: Path) -> None:
    begun, order = threading.Event(), []

    def second() -> None:
        begun.set()
        with locked(tmp_path, shard="merge", wait=True):
            order.append("second")

    with locked(tmp_path, shard="merge", wait=True):
        thread = threading.Thread(target=second)
        thread.start()
        begun.wait()
        order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"]


def shards(place: Path, out: Path, part: int) -> int:
    run, data = str(place / "run-0"), str(place / "data")
    return main(["predict", run, data, "--split", "all", "--out", str(out), "--shard", f"{part}/2"])


def test_shards_are_merged_when_all_are_through_and_hold_every_case(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert shards(place, out, 2) == 0
    second = out / "predictions.2-of-2.json"
    facts = json.loads(second.read_text())
    assert facts["total"] == len(facts["cases"]) == 3
    write_json(second, {**facts, "cases": facts["cases"][:1]})  # as while it is at work
    assert shards(place, out, 1) == 0
    assert not (out / PREDICTIONS).exists()
    assert shards(place, out, 2) == 0
    merged = json.loads((out / PREDICTIONS).read_text())
    assert merged["total"] == 6
    assert [case["id"] for case in merged["cases"]] == [f"case{number}" for number in range(6)]


def test_a_shard_of_another_run_joins_no_list(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert [shards(place, out, part) for part in (1, 2)] == [0, 0]
    (out / "predictions.1-of-2.json").unlink()
    (out / "predictions.2-of-2.json").unlink()
    before = contents(out)
    words = ["predict", str(place / "run-1"), str(place / "data"), "--split", "all", "--out", str(out)]
    assert main([*words, "--shard", "1/2"]) == 2
    assert "made otherwise: run was" in capsys.readouterr().err
    assert contents(out) == before


@pytest.mark.parametrize("shard", ["1/²", "²/2", "0/2", "3/2", "-1/2", "1", "/", "1/2/3"])
def test_a_shard_that_is_none_is_a_sentence(
    place: Path, tmp_path: Path, shard: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(place / "run-0"), str(place / "data"), "--out", str(tmp_path / "out"), f"--shard={shard}"]
    assert main(words) == 2
    assert f"--shard {shard}: expected i/n" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_found_before_anything_is_computed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "out")
    monkeypatch.setattr("scantling.inference.prediction.Predictor.__call__", lambda *_, **__: pytest.fail("computed"))
    monkeypatch.setattr("scantling.inference.mending._mended", lambda *_: pytest.fail("computed"))
    monkeypatch.setattr("scantling.training.trainer.Trainer.go", lambda _: pytest.fail("computed"))
    for words in commands(place).values():
        assert main([*words, "--out", out]) == 2
        assert "cannot be written" in capsys.readouterr().err
    for words in commands(place).values():
        assert main([*words, "--out", str(tmp_path / "new"), "--json", f"{out}.json"]) == 2
        assert "cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_inputs_behind_links_count_as_inputs(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "store" / "a.png").touch()
    (tmp_path / "data" / "a.png").symlink_to(tmp_path / "store" / "a.png")
    for out in ("store", "data", "data/../store", "."):
        with pytest.raises(SettingsError, match="which is read"):
            check_inputs(tmp_path / out, [tmp_path / "data" / "a.png"])
    check_inputs(tmp_path / "masks", [tmp_path / "data" / "a.png"])
    check_record(tmp_path / "nowhere", PREDICTIONS)


def test_results_go_where_a_link_leads_and_into_devices_and_pipes(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "target.json", tmp_path / "link.json", tmp_path / "pipe"
    link.symlink_to(target)
    assert main(["methods", "--json", str(link)]) == 0
    assert link.is_symlink()
    assert json.loads(target.read_text())
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert main(["methods", "--json", str(pipe)]) == 0
    reader.join(timeout=30)
    assert read == [target.read_text()]
    assert pipe.is_fifo()
    assert main(["methods", "--json", os.devnull]) == 0
    assert not Path(os.devnull).is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_device_is_a_sentence_and_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json", "/dev/full"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize(
    ("name", "text", "suffix", "told"),
    [
        ("a.json", "id,dice\n", ".json", "holds something else than a result"),
        ("a.json", '{"images": []}', ".json", "holds something else than a result"),
        ("run.json", "{}", ".json", "is a record"),
        ("predictions.1-of-2.json", "{}", ".json", "is a record"),
        ("scantling.toml", "", ".json", "is a record"),
        ("a.csv", "name,age\n", ".csv", "holds something else than a table"),
        ("a.html", "<html><title>Home</title>", ".html", "holds something else than a page"),
        ("a.png", "\x89PNG", ".png", "holds something else than a contact sheet"),
    ],
)
def test_a_result_replaces_nothing_but_an_older_one(
    tmp_path: Path, name: str, text: str, suffix: str, told: str
) -> None:
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError, match=told):
        check_file(tmp_path / name, suffix=suffix)
    with pytest.raises(SettingsError, match="is a folder"):
        check_file(tmp_path, suffix=suffix)
    check_file(tmp_path / f"new{suffix}", suffix=suffix)
    (tmp_path / f"empty{suffix}").touch()
    check_file(tmp_path / f"empty{suffix}", suffix=suffix)


def test_what_a_command_reads_is_not_where_its_result_goes(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks, truth = str(place / "made" / "predicted"), str(place / "data")
    scores = [tmp_path / "one.json", tmp_path / "two.json"]
    for path in scores:
        assert main(["evaluate", masks, truth, "--json", str(path), "--csv", str(tmp_path / "t.csv")]) == 0
    before = contents(tmp_path)
    words = ["compare", *map(str, scores), "--data", truth]
    assert main([*words, "--json", str(scores[1])]) == 2
    assert "is read by this command" in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert main([*words, "--json", str(tmp_path / "table.json")]) == 0
    assert main([*words, "--json", str(tmp_path / "table.json")]) == 0, "its own result and page are replaced"


def test_a_result_of_the_same_kind_is_replaced(place: Path, tmp_path: Path) -> None:
    data, masks, out = str(place / "data"), str(place / "made" / "predicted"), str(tmp_path / "out")
    for _ in range(2):
        assert main(["check", data, "--contact-sheet", f"{out}.png", "--json", f"{out}.json"]) == 0
        assert main(["evaluate", masks, data, "--csv", f"{out}.csv", "--json", f"{out}-scores.json"]) == 0
        assert main(["report", f"{out}-scores.json", "--out", f"{out}.html"]) == 0
    image = next((place / "data").rglob("*.png"))
    before = image.read_bytes()
    assert main(["check", data, "--contact-sheet", str(image)]) == 2
    assert main(["report", f"{out}-scores.json", "--out", f"{out}.json"]) == 2
    assert image.read_bytes() == before


@pytest.mark.parametrize("kind", ["file", "nothing", "folder", "pipe"])
def test_a_lock_that_is_no_file_is_left_alone(tmp_path: Path, kind: str) -> None:
    victim, out = tmp_path / "victim", tmp_path / "out"
    out.mkdir()
    if kind == "pipe":
        os.mkfifo(out / ".lock")
    elif kind == "folder":
        (out / ".lock").mkdir()
    else:
        if kind == "file":
            victim.write_text("precious")
        (out / ".lock").symlink_to(victim)
    with pytest.raises(SettingsError, match=r"cannot be written|is no ordinary file"), locked(out):
        pass
    assert victim.exists() == (kind == "file")
    assert kind != "file" or victim.read_text() == "precious"


def test_a_folder_of_the_output_that_leads_to_the_inputs_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(place / "made" / "predicted", out)
    shutil.rmtree(out / "probabilities")
    (out / "probabilities").symlink_to(place / "data" / "test" / "images")
    before = contents(place / "data")
    assert main([*commands(place)["predicted"], "--out", str(out)]) == 2
    assert "probabilities is a link that leads elsewhere" in capsys.readouterr().err
    assert contents(place / "data") == before


@pytest.mark.parametrize(
    "target",
    [
        "made/predicted by another/predictions.json",
        "made/predicted/predictions.json",
        "run-1/model/settings.json",
        "data/classes.json",
        "new/predictions.json",
        "new/case4.png",
        "new",
    ],
)
def test_json_never_stands_where_something_else_does_or_will(
    place: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "data" / "classes.json").write_text('{"1": "blob"}')
    before = contents(place)
    words = ["predict", str(place / "run-0"), str(place / "data"), "--out", str(place / "new")]
    assert main([*words, "--json", str(place / target)]) == 2
    assert "choose another" in capsys.readouterr().err
    (place / "data" / "classes.json").unlink()
    before.pop("data/classes.json")
    assert contents(place) == before


def test_shards_of_data_that_changed_are_not_one_list(place: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(place / "data" / "train" / "images", data)

    def shard(part: int) -> int:
        words = ["predict", str(place / "run-0"), str(data), "--out", str(out), "--shard", f"{part}/2"]
        return main(words)

    assert shard(1) == 0
    for number in range(3):
        shutil.copy(data / "case0.png", data / f"more{number}.png")
    assert shard(2) == 0
    assert not (out / PREDICTIONS).exists()
    assert shard(1) == 0
    listed = [case["id"] for case in json.loads((out / PREDICTIONS).read_text())["cases"]]
    assert listed == sorted({path.stem for path in data.iterdir()})


def test_made_cases_stay_listed_while_a_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scantling.inference.synthesis.AT_ONCE", 1)
    words = ["synthesize", "fractal-vessels", "--size", "64", "--count", "20", "--out", str(tmp_path / "made")]
    assert main(words) == 0
    (tmp_path / "made" / "masks" / "fractal-vessels-0-000000.png").unlink()

    def stop(path: Path, facts: dict[str, list[object]]) -> None:
        write_json(path, facts)
        assert len(facts["case"]) == 20
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("scantling.inference.made_set.write_json", stop)
        assert main(words) == 1
    assert len(json.loads((tmp_path / "made" / "scantling.json").read_text())["case"]) == 20
    assert main(words) == 0


@pytest.mark.parametrize(
    "manifest",
    [
        {"name": "mine", "classes": {"tumour": 7}, "case": []},
        {"name": "made", "classes": {"vessel": 255}, "case": [], "ignore": 3},
        {"name": "made", "classes": {"vessel": 255}, "case": [{"id": 7, "origin": {"model": "x"}}]},
        {"case": 3},
    ],
)
def test_a_manifest_of_the_user_is_no_record_of_ours(tmp_path: Path, manifest: dict[str, object]) -> None:
    (tmp_path / "made").mkdir()
    write_json(tmp_path / "made" / "scantling.json", manifest)
    before = contents(tmp_path)
    assert main(["synthesize", "fractal-vessels", "--count", "1", "--size", "64", "--out", str(tmp_path / "made")]) == 2
    assert contents(tmp_path) == before


def test_a_loop_of_links_is_a_sentence(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for words in commands(place).values():
        assert main([*words, "--out", str(tmp_path / "loop")]) == 2
    assert main(["methods", "--json", str(tmp_path / "loop")]) == 0, "it leads nowhere, and is replaced"
    assert "Traceback" not in capsys.readouterr().err


def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from scantling.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = ["bash", "-c", script, "bash", sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_standard_output_holds_the_json_and_nothing_else() -> None:
    done = run('"$@"', "methods", "--json", "-")
    assert done.returncode == 0
    assert {card["name"] for card in json.loads(done.stdout)} == OURS
    assert "unet" in done.stderr


def test_a_reader_that_goes_away_does_not_cost_the_json(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    done = run('"$@" | true; exit "${PIPESTATUS[0]}"', "methods", "--json", str(path))
    assert done.returncode == 0
    assert len(json.loads(path.read_text())) == len(OURS)
    done = run('"$@" | true; exit "${PIPESTATUS[0]}"', "methods", "--json", "-")
    assert done.returncode in (0, 1)  # what was not read is no result
    assert "Traceback" not in done.stderr


def test_a_closed_standard_output_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    assert run('"$@" >&-', "methods", "--json", str(path)).returncode == 0
    assert json.loads(path.read_text())
    done = run('"$@" >&-', "methods", "--json", "-")
    assert done.returncode == 2
    assert "standard output is closed" in done.stderr
    assert run('"$@" >&- 2>&-', "methods").returncode == 0


def test_names_as_long_as_a_file_system_allows_can_be_written(tmp_path: Path) -> None:
    for name in (
        "a" * 251 + ".png",
        "ä" * 125 + ".json",
        f"{'b' * 20}.{'c' * 230}",
        "d" * 255,
        f"e.{'f' * 240}.nii.gz",
    ):
        with replacing(tmp_path / name) as aside:
            aside.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 5


def test_paths_that_are_not_utf8_survive_in_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"im\xff.png")
    assert json.loads(to_json({"path": name}).encode("utf-8", "backslashreplace")) == {"path": name}
    write_json(tmp_path / "a.json", {"path": name})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"path": name}
    write_text(tmp_path / "a.txt", name)


def test_one_broken_map_fails_alone_also_where_it_is_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    generator = np.random.default_rng(0)
    for name in "abc":
        np.savez(maps / f"{name}.npz", probabilities=generator.random((3, 1, 8, 9)).astype(np.float32))
    whole = (maps / "b.npz").read_bytes()
    for name, damaged in (("a", whole[:90]), ("b", whole[:-30])):
        (maps / f"{name}.npz").write_bytes(damaged)
    assert main(["mend", str(maps), "--rule", "hysteresis", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "failed: a: " in told
    assert "failed: b: " in told
    facts = json.loads((tmp_path / "out" / PREDICTIONS).read_text())
    assert [case["id"] for case in facts["cases"]] == ["c"]
    assert facts["classes"] == ["class-1", "class-2"]
    shutil.rmtree(tmp_path / "out")
    (maps / "c.npz").unlink()
    assert main(["mend", str(maps), "--rule", "hysteresis", "--out", str(tmp_path / "out")]) == 2
    assert "a.npz: is no whole archive" in capsys.readouterr().err
