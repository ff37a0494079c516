"""The table of the eighteen systems: what it names can be trained, is done once, judged late, and said in the docs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scantling.data.dataset import open_dataset
from scantling.data.division import divide
from scantling.data.label_budget import few_labelled
from scantling.experiments import system_cells
from scantling.experiments.advice import labelled_for, unfit
from scantling.experiments.advice_rules import RULES
from scantling.experiments.system_cells import Cell, How, do_cell, do_cells, options_of
from scantling.experiments.systems import DATA, SYSTEMS, Arm, Making, System, Training, verdict
from scantling.methods.catalogue import CARDS, card_of, implementation_of
from scantling.metrics.catalogue import METRICS
from scantling.testing.data import make_data
from scantling.testing.trainings import quickly
from scantling.training import Options
from script import script

eighteen = script("benchmarks/eighteen.py")
BY_METHOD = {system.method: system for system in SYSTEMS}


def how(out: Path, **more: object) -> How:
    facts = {"data": out / "sets", "out": out, "minutes": 6.0, "preset": "quick", "split": "test", "threads": 1}
    return How(**{**facts, **more})


def test_there_are_eighteen_systems_each_with_a_claim_and_a_measure() -> None:
    assert len(SYSTEMS) == len(BY_METHOD) == len({system.name for system in SYSTEMS}) == 18
    for system in SYSTEMS:
        assert any(character.isdigit() for character in system.claim), system.name
        assert system.on
        assert METRICS[system.metric].direction in ("higher", "lower"), "a difference has a sign that is better"
        assert system.ours.last.data[0] == system.control.last.data[0] == DATA
        named = {stage.method for stage in system.ours.stages.values() if isinstance(stage, Training)}
        assert system.method in named, "its method is trained"


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.method)
@pytest.mark.parametrize("which", ["ours", "control"])
def test_stages_share_the_minutes_name_earlier_ones_and_have_settings_that_their_methods_know(
    system: System, which: str
) -> None:
    arm: Arm = getattr(system, which)
    earlier = [DATA]
    for name, stage in arm.stages.items():
        if isinstance(stage, Making):
            rule = stage.of not in earlier
            card = card_of(stage.of if rule else arm.stages[stage.of].method)  # type: ignore[union-attr]
            assert "generate" in card.gives
            assert not (rule and card.needs), "a rule needs no data"
            settings, method = stage.settings, implementation_of(card)
        else:
            card = card_of(stage.method)
            assert {*stage.data, *stage.uses.values(), stage.base or DATA} <= {*earlier}
            assert stage.uses.keys() <= {**card.uses, **card.may_use}.keys()
            assert bool(card.fits) == (stage.share > 0), "what is not trained takes no minutes"
            Options(**stage.options).check()
            settings, method = stage.settings, implementation_of(card)
        for preset in ("tiny", "quick" if card.needs else "paper"):
            found = method.Settings.preset(preset, settings)
            assert all(getattr(found, key) == value for key, value in settings.items())
        earlier.append(name)
    shares = [stage.share for stage in arm.stages.values() if isinstance(stage, Training)]
    assert sum(shares) in (pytest.approx(1.0), 0), "a control that is not trained takes none"


def test_options_divide_the_minutes_and_give_the_budget_to_those_that_read_labels(tmp_path: Path) -> None:
    cell = Cell(BY_METHOD["fedd"], "ours", 2, how(tmp_path))
    encoder, head = (options_of(cell, stage) for stage in cell.of.stages.values() if isinstance(stage, Training))
    assert encoder.minutes == pytest.approx(3.6)
    assert head.minutes == pytest.approx(2.4)
    assert encoder.labels is None, "it reads no label"
    assert (head.labels, head.label_seed, head.seed) == (20, 2, 2)
    assert head.uses == {"encoder": cell.folder / "encoder"}
    alone = Cell(BY_METHOD["nuclei-diffusion"], "ours", 0, how(tmp_path))
    assert options_of(alone, alone.of.last).labels is None, "no other images are there"
    small = options_of(cell, cell.of.last), options_of(replace(cell, how=how(tmp_path, minutes=None)), cell.of.last)
    assert [options.steps for options in small] == [None, system_cells.SMALL_STEPS]


def test_the_same_training_of_two_systems_is_one_folder_and_nothing_else_is(tmp_path: Path) -> None:
    plain = [Cell(BY_METHOD[name], "control", 0, how(tmp_path)) for name in ("medsegdiff", "medsegdiff-v2", "ei-ddpm")]
    assert len({cell.scores for cell in plain}) == 1
    one, other = (Cell(BY_METHOD[name], "control", 0, how(tmp_path)) for name in ("dtu-net", "mb-diff"))
    assert one.folder == other.folder != plain[0].folder
    assert one.scores != other.scores, "they are measured by Dice and by IoU"
    changed = (replace(one, seed=1), replace(one, arm="ours"), replace(one, how=how(tmp_path, minutes=5.0)))
    assert len({cell.folder for cell in (one, *changed)}) == 4


def test_a_verdict_needs_three_seeds_and_an_interval_on_one_side() -> None:
    assert verdict((0.1, 0.2), "higher", seeds=2) == "not judged yet"
    assert verdict((0.1, 0.2), "higher", seeds=3) == "helps"
    assert verdict((0.1, 0.2), "lower", seeds=3) == "does not help"
    assert verdict((-0.2, -0.1), "lower", seeds=3) == "helps"
    assert (
        verdict((-0.2, 0.1), "higher", seeds=3) == verdict((np.nan, np.nan), "lower", seeds=3) == "could not be shown"
    )


def test_a_row_is_trained_stage_by_stage_once_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_data(CARDS["unet"], tmp_path / "sets" / "drive", dimensions=2)
    monkeypatch.setattr(eighteen, "do_cells", lambda cells, say: [do_cell(cell) for cell in cells] and [])
    words = ["--data", str(tmp_path / "sets"), "--out", str(tmp_path / "out"), "--only", "direction", "--small"]
    with quickly():
        assert eighteen.main(words) == 0, capsys.readouterr().err
    first = capsys.readouterr().out
    (line,) = [line for line in first.splitlines() if "direction" in line]
    cells = [word.strip() for word in line.strip("|").split("|")]
    assert cells[0] == "[Continuity by anisotropic diffusion](methods/direction.md): `direction` on `fr-unet`"
    assert cells[4] == "Betti-0 error (lower is better)"
    assert cells[-2] == "not judged yet"
    assert cells[-1].startswith("VCA 33.11, not mended 36.64")
    assert float(cells[8].split(" and ")[0]) >= 0
    assert all(float(memory) > 0.05 for memory in cells[9].split(" and ")), "gigabytes of a process with torch"

    def never(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr(system_cells, "train", never)
    assert eighteen.main(words) == 0
    assert capsys.readouterr().out == first
    of = eighteen.parsed(words)
    done = [Cell(BY_METHOD["direction"], arm, 0, eighteen.how_of(of)[0]) for arm in ("ours", "control")]
    trained = eighteen.circumstances(done)
    assert trained.startswith("20")
    page = eighteen.written([cells], eighteen.parsed([*words[:-1], "--minutes", "5"]), "##", trained)
    assert f"no case held out; {trained}; " in page
    assert page.startswith("## 1 of 18 systems against their controls\n")
    assert "--minutes 5 --seeds 1 --only direction\n" in page


def test_a_cell_that_fails_is_named_and_the_others_are_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = list[str]()
    cells = [Cell(BY_METHOD["darl"], arm, 0, how(tmp_path)) for arm in ("ours", "control")]
    monkeypatch.setattr(system_cells, "_apart", do_cell)
    failed = do_cells(cells, said.append)
    assert len(failed) == len(said) == 2
    assert failed[0].startswith("DARL, `darl`, seed 0: ")
    assert "drive" in failed[0], "which data are not there"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--minutes", "5"], "found no folder stare, on which BerDiff is trained, and 7 more are not there"),
        (["--minutes", "5", "--only", "darl"], "found no folder drive, on which DARL is trained; expected"),
        (["--minutes", "5", "--only", "dalr"], "--only: found 'dalr'; expected names of systems or methods"),
        (["--minutes", "0"], "--minutes: found 0.0; expected a number above 0"),
        (["--small", "--write"], "--write: the figures of --small say nothing"),
        (["--small", "--shard", "3/2"], "--shard 3/2: expected i/n"),
        (["--small", "--seeds", "0"], "--seeds 0: expected 1 or more"),
    ],
)
def test_what_cannot_be_started_is_said_in_a_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert eighteen.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), *words]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_page_says_what_the_rules_of_advise_say() -> None:
    docs = script("scripts/make_docs.py")
    lines = docs.decisions_table().splitlines()[2:]
    assert len(lines) == len(docs.SITUATIONS)
    for line, situation in zip(lines, docs.SITUATIONS.values(), strict=True):
        for rule in RULES:
            card = CARDS[rule.method]
            able = not unfit(card, situation) and labelled_for(card, situation)
            there = rule.when(situation) and (able or rule.data != "DATA")
            assert (rule.why in line) == (there and rule.verdict == "helps"), (rule.method, line)
            if there and rule.verdict != "helps":
                assert f"[`{rule.method}`](results.md#{rule.cites})" in line


def test_few_labelled_subjects_alone_are_those_that_keep_their_masks_among_all(tmp_path: Path) -> None:
    whole = divide(open_dataset(make_data(CARDS["unet"], tmp_path / "data", dimensions=2)), validation=0.0)
    alone, beside = few_labelled(whole, 2, seed=1)
    kept = {case.id for case in alone.split("train")}
    assert len({case.subject for case in alone.split("train")}) == 2
    assert kept == {case.id for case in beside.split("train") if case.masks}
    assert [case.id for case in beside.split("train")] == [case.id for case in whole.split("train")]
    assert alone.split("test") == beside.split("test") == whole.split("test")
