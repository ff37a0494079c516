"""`--minutes`: steps chosen by timing real ones, kept by a resume, and repeated by a command with `--steps`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from made import images_for
from scantling.contract.method import build
from scantling.core.case import Labels
from scantling.core.errors import RunError, SettingsError
from scantling.core.samples import Batch, Intensity, Thickness, Traits
from scantling.inference import unlike
from scantling.methods.catalogue import CARDS, added
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.records.run import run_facts
from scantling.testing.data import make_data
from scantling.training import Options, minutes, train
from scantling.training.minutes import repeated
from scantling.training.stage_runner import StageRunner
from scantling.training.trainer import StageTraining
from scantling.training.validation import Validation
from toys_capabilities import TOYS

TINY = Options(preset="tiny", seed=2, validation=0.0, augment="none")  # so that an answer is one pass


@dataclass
class Machine:
    """A machine on which steps and validation cases take as long as it is said, and nothing else takes any time.

    Attributes:
        computes: whether there is anything to them beside that time.
        step: seconds of a step with a batch of this size.
        ends: the number of the step, counted over all, that is interrupted.
    """

    computes: bool = False
    step: Callable[[int], float] = lambda batch: 1.0
    case: float = 0.0
    now: float = 1000.0
    taken: int = 0
    ends: int = -1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    step, one = StageRunner.step, Validation._one_or_none

    def stepped(self: StageRunner, number: int, batches: Sequence[Mapping[str, Batch]]) -> Any:
        made.taken += 1
        if made.taken == made.ends:
            raise KeyboardInterrupt
        made.now += made.step(next(len(batch.index) for batch in batches[0].values()))
        return (
            step(self, number, batches) if made.computes else {name: {"none": torch.zeros(())} for name in self.players}
        )

    def answered(self: Validation, case: Any) -> Any:
        made.now += made.case
        return one(self, case) if made.computes else 0.5

    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    monkeypatch.setattr(StageRunner, "step", stepped)
    monkeypatch.setattr(Validation, "_one_or_none", answered)
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["unet"], tmp_path_factory.mktemp("data"), dimensions=2)


def trained(data: Path, out: Path, options: Options = TINY, method: str = "unet", **changes: Any) -> dict[str, Any]:
    return train(method, [data], out, replace(options, **changes), console=Console(quiet=True))


@pytest.mark.parametrize("case", [0.0, 1.0])
def test_the_steps_fill_the_minutes_and_no_more(data: Path, tmp_path: Path, machine: Machine, case: float) -> None:
    machine.case, begun = case, machine.now
    facts = trained(data, tmp_path / "run", minutes=1, validation=0.25 if case else 0.0)
    assert (0.7 if case else 0.85) * 60 < machine.now - begun <= 60, "with validation the steps are whole tens"
    assert facts["timed"]["step"] == {"train": 1.0}
    assert (facts["timed"]["look"], facts["timed"]["looks"]) == (case, 10)
    assert facts["steps"] == facts["settings"]["steps"]
    assert not case or facts["steps"] % 10 == 0
    assert not (tmp_path / "run" / ".timing").exists()


def test_looks_at_the_validation_cases_take_a_fifth_of_the_time_unless_they_choose_the_weights(
    data: Path, tmp_path: Path, machine: Machine
) -> None:
    machine.case = 4.0
    for select, looks in (("last", 4), ("best", 10)):
        begun = machine.now
        facts = trained(data, tmp_path / select, minutes=1.5, validation=0.25, select=select)
        assert machine.now - begun <= 90
        assert facts["timed"]["looks"] == looks
        lines = [json.loads(line) for line in (tmp_path / select / "log.jsonl").read_text().splitlines()]
        assert sum("validation" in line for line in lines) == looks


def test_what_passed_before_the_training_counts(data: Path, tmp_path: Path, machine: Machine) -> None:
    options = replace(TINY, minutes=0.5)
    console = Console(quiet=True)
    early = train("unet", [data], tmp_path / "early", options, console=console, begun=machine.now)
    late = train("unet", [data], tmp_path / "late", options, console=console, begun=machine.now - 10)
    assert early["steps"] - late["steps"] == pytest.approx(0.93 * 10, abs=1)


def test_the_same_number_of_steps_gives_the_same_weights(data: Path, tmp_path: Path, machine: Machine) -> None:
    machine.computes = True
    facts = trained(data, tmp_path / "run", minutes=0.2)
    again = trained(data, tmp_path / "again", steps=facts["settings"]["steps"])
    assert facts["settings"] == again["settings"]
    assert "minutes" not in again
    first, second = (tmp_path / name / "model" / "weights.safetensors" for name in ("run", "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(("done", "built_on"), [(0, False), (3, False), (3, True)])
def test_a_resume_keeps_the_steps_and_times_none(
    data: Path, tmp_path: Path, machine: Machine, done: int, built_on: bool
) -> None:
    machine.computes = True
    base = tmp_path / "base" if built_on else None
    if base is not None:
        trained(data, base, steps=1)
    options, machine.taken = replace(TINY, base=base, pretrained_rate=0.5 if built_on else None), 0
    whole = trained(data, tmp_path / "whole", options, minutes=0.2)
    timing = machine.taken - whole["steps"]
    machine.taken, machine.ends = 0, timing + done + 1
    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path / "run", options, minutes=0.2, saved_every=0.0)
    machine.step, machine.taken, machine.ends = lambda batch: 5.0, 0, -1
    facts = trained(data, tmp_path / "run", options, minutes=0.2, saved_every=0.0)
    assert facts["steps"] == whole["steps"]
    assert facts["timed"] == whole["timed"]
    assert machine.taken <= whole["steps"] - done + 3, "no more than the steps that are left and a rehearsal"
    weights = [(tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
    named = trained(data, tmp_path / "run", options, steps=whole["steps"])
    assert named["finished"] == facts["finished"], "its steps name it as well"
    with pytest.raises(RunError, match=r"begun with --minutes 0.2, not with --minutes 0.3"):
        trained(data, tmp_path / "run", options, minutes=0.3)


def test_other_settings_before_the_first_step_are_timed_anew(data: Path, tmp_path: Path, machine: Machine) -> None:
    machine.ends = 9
    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path / "run", minutes=0.2)
    machine.ends, machine.step = -1, lambda batch: 2.0
    facts = trained(data, tmp_path / "run", minutes=0.2, settings={"rate": 1e-3})
    assert facts["timed"]["step"] == {"train": 2.0}


def test_another_command_before_the_first_step_is_timed_anew(
    data: Path, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may name another device, or no validation."""
    machine.ends = 9
    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path / "run", minutes=0.2)
    machine.ends, machine.step = -1, lambda batch: 0.5
    monkeypatch.setattr("sys.argv", ["scantling", "train", "unet", "--device", "cuda"])
    assert trained(data, tmp_path / "run", minutes=0.2)["timed"]["step"] == {"train": 0.5}


def test_a_timing_that_was_killed_is_begun_anew(
    data: Path, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "run" / minutes.SCRATCH
    (scratch / "prepared").mkdir(parents=True)
    rehearse = StageTraining.rehearse

    def rehearsed(self: StageTraining, *args: Any, **how: Any) -> list[float]:
        assert not (tmp_path / "run" / minutes.SCRATCH / "prepared").exists()
        return rehearse(self, *args, **how)

    monkeypatch.setattr(StageTraining, "rehearse", rehearsed)
    assert trained(data, tmp_path / "run", minutes=0.2)["finished"]
    assert not scratch.exists()


def test_the_scores_of_a_starting_model_are_counted(data: Path, tmp_path: Path, machine: Machine) -> None:
    machine.computes = True
    trained(data, tmp_path / "base", steps=1)
    machine.step, machine.case, begun = (lambda batch: 4.0), 3.0, machine.now
    facts = trained(data, tmp_path / "run", minutes=2, validation=0.25, base=tmp_path / "base")
    assert facts["starting_model"]["before"] is not None
    assert (facts["timed"]["look"], facts["timed"]["starting_model"]) == (3.0, 6.0)
    assert machine.now - begun <= 120
    weights = (tmp_path / "run" / "model" / "weights.safetensors").read_bytes()
    again = trained(data, tmp_path / "again", steps=facts["steps"], validation=0.25, base=tmp_path / "base")
    assert (tmp_path / "again" / "model" / "weights.safetensors").read_bytes() == weights
    assert again["starting_model"] == facts["starting_model"]


def test_the_answers_from_which_postprocessing_is_learnt_are_counted(tmp_path: Path, machine: Machine) -> None:
    machine.case = 1.0
    each = {}
    for subjects in (4, 5):  # postprocessing needs 5
        folder = images_for(CARDS["unet"], tmp_path / f"data{subjects}", dimensions=2, count=4 * subjects + 2)
        facts = trained(folder, tmp_path / f"run{subjects}", minutes=2, validation=0.25)
        assert facts["timed"]["look"] == subjects
        each[subjects] = facts["timed"]["answers"] / subjects
    assert each[5] == 2 * each[4]


def test_telling_what_the_training_images_look_like_is_counted(
    data: Path, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = unlike.appearance

    def slowly(*args: Any) -> dict[str, float]:
        machine.now += 5.0
        return look(*args)

    monkeypatch.setattr(unlike, "appearance", slowly)
    begun = machine.now
    facts = trained(data, tmp_path / "run", minutes=2)
    assert facts["timed"]["appearance"] == 20, "of four images"
    assert 100 < machine.now - begun <= 120


def test_a_run_of_named_steps_is_not_gone_on_with_by_minutes(data: Path, tmp_path: Path) -> None:
    trained(data, tmp_path / "run", steps=2)
    with pytest.raises(RunError, match="begun with 2 steps, not with --minutes 1"):
        trained(data, tmp_path / "run", minutes=1)


def test_a_slow_machine_takes_smaller_batches_but_neither_the_papers_nor_the_users(
    data: Path, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    presets = {**UNetSettings.presets, "tiny": {**UNetSettings.presets["tiny"], "batch": 8, "steps": 60}}
    monkeypatch.setattr(UNetSettings, "presets", presets)
    machine.step = lambda batch: 0.5 * batch
    facts = trained(data, tmp_path / "run", minutes=2)
    assert facts["settings"]["batch"] == facts["timed"]["batch"] == 4, "half of 60 steps takes 2 minutes with 8"
    assert facts["steps"] > 30
    again = trained(data, tmp_path / "again", steps=facts["steps"], settings={"batch": 4})
    assert again["settings"] == facts["settings"]
    users = trained(data, tmp_path / "users", minutes=1, settings={"batch": 8})
    assert (users["settings"]["batch"], users["timed"]["batch"]) == (8, None)
    machine.step = lambda batch: 0.5
    plain = trained(data, tmp_path / "plain", minutes=0.2)
    assert plain["settings"]["batch"] == 8, "a smaller batch is no faster"
    tiny = {key: value for key, value in presets["tiny"].items() if key not in ("batch", "steps")}
    machine.step = lambda batch: 4.0 * batch
    paper = trained(data, tmp_path / "paper", minutes=1, preset="paper", settings=tiny)
    assert paper["settings"]["batch"] == 8


@pytest.mark.parametrize(("method", "stages"), [("vessel-controlnet", 2), ("nuclei-diffusion", 3), ("toy-pseudo", 2)])
def test_stages_share_the_steps_as_their_preset_says(
    tmp_path: Path, machine: Machine, method: str, stages: int
) -> None:
    with added(*TOYS.values()):
        card = CARDS[method] if method in CARDS else TOYS[method]
        folder, begun = make_data(card, tmp_path / "data", dimensions=2), machine.now
        facts = trained(folder, tmp_path / "run", minutes=0.5, method=method)
    assert 0.75 * 30 < machine.now - begun <= 30
    assert len(facts["timed"]["step"]) == stages
    each = facts["settings"]["steps"]
    assert facts["steps"] == (2 * each if method == "toy-pseudo" else each)


def test_few_steps_and_minutes_that_cannot_be_kept_are_said(data: Path, tmp_path: Path, machine: Machine) -> None:
    machine.step, machine.case = (lambda batch: 30.0), 60.0
    said = StringIO()
    options = replace(TINY, minutes=2, validation=0.25)
    facts = train("unet", [data], tmp_path / "run", options, console=Console(file=said, width=300))
    assert facts["steps"] == 1
    assert any("not one step fits" in sentence for sentence in facts["warnings"])
    assert any("validation takes about" in sentence for sentence in facts["warnings"])
    assert all(sentence in said.getvalue() for sentence in facts["warnings"])
    machine.step = lambda batch: 0.5
    settings = {**UNetSettings.presets["tiny"]}
    del settings["steps"]
    facts = trained(data, tmp_path / "paper", preset="paper", settings=settings, minutes=0.2)
    assert facts["warnings"][-1] == (
        f"--minutes 0.2 gives {facts['steps']} of the 20,000 steps that paper takes: expect less; --preset quick is "
        "made for minutes"
    )


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("unet", {"minutes": 0.0}, "--minutes 0: expected more than 0"),
        ("unet", {"minutes": float("nan")}, "--minutes nan: expected more than 0"),
        ("unet", {"minutes": 1.0, "steps": 3}, "--minutes 1: chooses the steps; leave out --steps"),
        ("unet", {"minutes": 1.0, "settings": {"steps": 3}}, "leave out --steps"),
        ("vesselness", {"minutes": 1.0, "preset": "paper"}, "--minutes: vesselness is not trained"),
    ],
)
def test_minutes_that_cannot_be_are_a_sentence(
    data: Path, tmp_path: Path, method: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        trained(data, tmp_path / "run", method=method, **changes)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("words", [["--minutes", "10"], ["--minutes=10"]])
def test_the_command_that_repeats_a_run_names_its_steps(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from scantling.cli.main import parse

    command = ["scantling", "train", "unet", "--data", "a b", *words, "--out", "runs/x", "--settings.rate", "0.1"]
    found = repeated(command, steps=210, batch=4)
    assert found is not None
    named = parse(found[1:])
    assert (named.steps, named.minutes, named.settings) == (210, None, {"batch": 4, "rate": 0.1})
    assert parse(command[1:]).minutes == 10
    assert repeated(["scantling", "train", "unet"], steps=210, batch=None) is None


def test_run_json_has_that_command(
    data: Path, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scantling.report.targets import open_run

    words = ["train", "unet", "--data", str(data), "--out", "the run", "--minutes", "0.2"]
    monkeypatch.setattr("sys.argv", ["/opt/bin/scantling", *words])
    facts = trained(data, tmp_path / "run", minutes=0.2)
    expected = ["scantling", *words[:-2], "--steps", str(facts["steps"])]
    assert facts["repeats"] == " ".join(f"'{word}'" if " " in word else word for word in expected)
    assert run_facts(tmp_path / "run")["repeats"] == facts["repeats"]
    assert list(open_run(tmp_path / "run").command) == expected, "reports quote it"


@pytest.mark.parametrize(("present", "batches"), [(None, [4, 2]), (1.0, [4, 2]), (0.3, [4]), (0.2, [])])
def test_a_batch_is_not_halved_below_an_image_with_the_class_on_average(
    present: float | None, batches: list[int]
) -> None:
    grey, thick = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=1), Thickness(low=4, median=5, high=6)
    facts = Traits(
        dimensions=2, channels=("grey",), labels=Labels(names=("a",), values=((1,),)), spacing=(1.0, 1.0),
        shape=(64, 64), smallest=(64, 64), intensity=(grey,),
        thickness=(thick.model_copy(update={"present": present}),),
    )  # fmt: skip
    options, found = Options(preset="tiny", settings={"batch": 8}), []
    for _ in range(3):
        settings = UNetSettings.preset("tiny", options.settings).resolve(facts)
        smaller = minutes._halved(options, build(UNetSegmenter, settings, facts), slots=1)
        if smaller is None:
            break
        options = smaller
        found.append(smaller.settings["batch"])
    assert found == batches
