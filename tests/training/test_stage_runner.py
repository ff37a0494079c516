"""The rules of the game between players, on toys."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from commands import started
from scantling.contract.stage import Criterion, Game, Player, Stage, Teacher, Visit, frozen
from scantling.contract.step import Step, Total
from scantling.core.case import Case
from scantling.core.errors import RunError
from scantling.core.samples import Batch
from scantling.core.streams import Augmentation
from scantling.training.callbacks import StoppedError
from scantling.training.optimisers import rate_at
from scantling.training.processes import Processes, processes
from scantling.training.signals import Stopping
from scantling.training.stage_runner import StageError, StageRunner
from scantling.training.state import capture, load_prepared, load_state, restore, save_prepared, save_state
from scantling.training.trainer import Trainer
from toys import Featured, Pair, Toy, course, fresh, readers, taken


class Two(Toy):
    """Two linear players with whatever objectives a test wants."""

    def __init__(self, objectives: Any = None) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
        self.objectives = objectives

    def stages(self) -> list[Stage]:
        players = tuple(
            Player(name=n, modules=(getattr(self, n),), rate=0.1, optimiser="sgd") for n in ("first", "second")
        )
        return [
            Stage(name="two", players=players, streams=(self.stream("images"),), steps=3, objectives=self.objectives)
        ]


def played(method: Toy, *, accumulation: int = 1, steps: int = 1) -> StageRunner:
    (stage,) = method.stages()
    play = StageRunner(method, stage, seed=3, device=torch.device("cpu"), accumulation=accumulation)
    reader = readers(stage, seed=3)
    for step in range(steps):
        batches = [
            {name: r.batch(step, slot=slot, slots=play.slots) for name, r in reader.items()} for slot in play.own_slots
        ]
        play.step(step, batches)
    return play


def mean(network: nn.Module, batch: Mapping[str, Batch]) -> Tensor:
    return network(batch["images"].image).square().mean()


def test_a_player_is_updated_before_the_next_one_moves() -> None:
    seen: list[float] = []

    def objectives(batch: Mapping[str, Batch], step: Step) -> Game:
        seen.append(method.first.weight.item())
        yield "first", {"a": mean(method.first, batch)}
        seen.append(method.first.weight.item())
        yield "second", {"b": mean(method.second, batch)}

    method = Two(objectives)
    played(method)
    assert seen[0] != seen[1]


def test_micro_batches_advance_in_step() -> None:
    trace: list[str] = []

    def objectives(batch: Mapping[str, Batch], step: Step) -> Game:
        trace.append(f"first {step.slot} {method.first.weight.item():+.6f}")
        yield "first", {"a": mean(method.first, batch)}
        trace.append(f"second {step.slot} {method.first.weight.item():+.6f}")
        yield "second", {"b": mean(method.second, batch)}

    method = Two(objectives)
    played(method, accumulation=2)
    assert [line[:-10] for line in trace] == ["first 0", "first 1", "second 0", "second 1"]
    assert trace[0][-9:] == trace[1][-9:] != trace[2][-9:] == trace[3][-9:]


@pytest.mark.parametrize("kind", [Pair, Featured])
def test_accumulation_equals_the_whole_batch_in_float64(kind: type[Toy]) -> None:
    number = 1 if kind is Featured else 0  # batch norm sees the batch, so its stage is left out
    weights = []
    for accumulation in (1, 2, 4):
        method = fresh(kind).double()
        stage = method.stages()[number]
        if number:
            method.head[0].p = 0.0  # dropout is a function of the step and the process, not of the sample
        reader = readers(stage)
        prepared: dict[str, Tensor] = {}
        if number:
            prepared = {"features": torch.linspace(-1, 1, 5 * 5 * 144, dtype=torch.float64).view(5, 5, 12, 12)}
        play = StageRunner(
            method, stage, seed=1, device=torch.device("cpu"), accumulation=accumulation, prepared=prepared
        )
        for step in range(5):
            play.step(
                step,
                [
                    {name: r.batch(step, slot=s, slots=accumulation) for name, r in reader.items()}
                    for s in play.own_slots
                ],
            )
        weights.append(torch.cat([p.flatten() for p in method.parameters()]))
    assert torch.allclose(weights[0], weights[1], rtol=0, atol=1e-12)
    assert torch.allclose(weights[0], weights[2], rtol=0, atol=1e-12)


def test_one_loss_may_move_several_players() -> None:
    def objectives(batch: Mapping[str, Batch], step: Step) -> Game:
        yield ("first", "second"), {"both": mean(nn.Sequential(method.first, method.second), batch)}

    method = Two(objectives)
    before = [p.clone() for p in method.parameters()]
    played(method)
    assert all(not torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))


def test_the_order_of_players_may_not_depend_on_the_batch() -> None:
    def objectives(batch: Mapping[str, Batch], step: Step) -> Game:
        name = "first" if step.slot == 0 else "second"
        yield name, {"a": mean(getattr(method, name), batch)}

    method = Two(objectives)
    with pytest.raises(StageError, match="may depend on the step but not on the batch"):
        played(method, accumulation=2)


def test_the_order_of_players_may_depend_on_the_step() -> None:
    def objectives(batch: Mapping[str, Batch], step: Step) -> Game:
        name = "first" if step.number % 2 else "second"
        yield name, {"a": mean(getattr(method, name), batch)}

    method = Two(objectives)
    assert played(method, steps=3).updates == {"first": 1, "second": 2}


@pytest.mark.parametrize(
    "context", [torch.no_grad, lambda: frozen(nn.Conv2d(1, 1, 1)), lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_nothing_is_yielded_inside_a_context_manager(context: Any) -> None:
    def objectives(batch: Mapping[str, Batch], step: Step) -> Game:
        loss = mean(method.first, batch)
        with context():
            yield "first", {"a": loss}

    method = Two(objectives)
    with pytest.raises(StageError, match="inside a context manager"):
        played(method)
    torch.set_grad_enabled(True)


def test_a_second_loss_for_an_updated_player_needs_a_new_forward_pass() -> None:
    def objectives(batch: Mapping[str, Batch], step: Step) -> Game:
        inner = method.first(batch["images"].image)
        out = method.first(inner)
        yield "first", {"a": out.square().mean()}
        yield "first", {"b": (out - 1).square().mean()}

    method = Two(objectives)
    with pytest.raises(StageError, match="needs a new forward pass"):
        played(method)


def test_players_share_no_parameter() -> None:
    method = Two()
    (stage,) = method.stages()
    shared = Stage(
        name="shared",
        players=(*stage.players, Player(name="third", modules=(method.first,), rate=1.0)),
        streams=stage.streams,
        steps=1,
        objectives=stage.objectives,
    )
    with pytest.raises(StageError, match="share a parameter"):
        StageRunner(method, shared, seed=0, device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("move", "complaint"),
    [
        (lambda m, b: ("third", {"a": mean(m.first, b)}), "no player of this stage"),
        (lambda m, b: ("first", {}), "without a loss"),
        (lambda m, b: ("first", {"a": m.first(b["images"].image)}), "expected a number"),
        (lambda m, b: ("first", {"a": b["images"].image.mean()}), "does not depend on any player"),
    ],
)
def test_a_move_that_makes_no_sense_is_refused(move: Any, complaint: str) -> None:
    def objectives(batch: Mapping[str, Batch], step: Step) -> Iterator[Any]:
        yield move(method, batch)

    method = Two(objectives)
    with pytest.raises(StageError, match=complaint):
        played(method)


def test_what_is_no_player_is_in_evaluation_mode_and_without_gradient() -> None:
    method = fresh(Featured)
    _, head = method.stages()
    StageRunner(method, head, seed=0, device=torch.device("cpu"))
    assert not any(module.training for module in method.encoder.modules())
    assert not any(p.requires_grad for p in method.encoder.parameters())
    assert all(module.training for module in method.head.modules())
    assert all(p.requires_grad for p in method.head.parameters())


def test_gradients_flow_through_a_frozen_partner_but_not_into_it() -> None:
    body, partner = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
    with frozen(partner):
        assert not partner.training
        out = partner(body(torch.randn(2, 1, 3, 3)))
    out.square().sum().backward()
    assert body.weight.grad is not None
    assert partner.weight.grad is None
    assert partner.training
    assert partner.weight.requires_grad
    assert float(partner.num_batches_tracked) == 0


def test_averaged_weights_follow_their_formula() -> None:
    method = fresh(Pair)
    (stage,) = method.stages()
    reader = readers(stage)
    play = StageRunner(method, stage, seed=0, device=torch.device("cpu"))
    expected = [p.detach().clone().double() for p in method.painter.parameters()]
    for step in range(4):
        play.step(step, [{name: r.batch(step) for name, r in reader.items()}])
        decay = min(0.9, (1 + step) / (10 + step))
        expected = [
            decay * e + (1 - decay) * p.double() for e, p in zip(expected, method.painter.parameters(), strict=True)
        ]
    for average, value in zip(play.averages["painter"], expected, strict=True):
        assert torch.allclose(average.double(), value, atol=1e-6)
    raw = [p.detach().clone() for p in method.painter.parameters()]
    with play.averaged():
        pairs = zip(method.painter.parameters(), expected, strict=True)
        assert all(torch.allclose(p.double(), e, atol=1e-6) for p, e in pairs)
    assert all(torch.equal(p, r) for p, r in zip(method.painter.parameters(), raw, strict=True))


def test_averaged_weights_answer_with_averaged_statistics_of_batch_norm() -> None:
    method = Taught()
    (stage,) = method.stages()
    player = replace(stage.players[0], average=0.9)
    stage = replace(stage, players=(player,))
    play = StageRunner(method, stage, seed=0, device=torch.device("cpu"))
    reader, norm = readers(stage), method.student[1]
    expected, seen = norm.running_mean.clone(), list[Tensor]()
    for step in range(4):
        play.step(step, [{name: r.batch(step) for name, r in reader.items()}])
        decay = min(0.9, (2 + step) / (11 + step))
        expected = expected.lerp(norm.running_mean, 1 - decay)
        seen.append(norm.running_mean.clone())
    assert not torch.allclose(expected, seen[-1])
    with play.averaged():
        assert torch.allclose(norm.running_mean, expected, atol=1e-6)
    assert torch.equal(norm.running_mean, seen[-1])
    kept = {name: tensor.clone() for name, tensor in capture(play).items()}
    older = {name: kept[name] for name in kept if not name.startswith("average/student/") or int(name[16:]) < 6}
    assert len(older) == len(kept) - 2, "a state of a version that did not average them"
    play.step(4, [{name: r.batch(4) for name, r in reader.items()}])
    restore(play, older, play.updates)
    assert torch.equal(play.averages["student"][-2], seen[-1])
    restore(play, kept, play.updates)
    assert torch.equal(play.averages["student"][-2], kept["average/student/6"])


def test_schedules_start_rise_and_end_where_they_should() -> None:
    def rates(**how: Any) -> list[float]:
        player = Player(name="p", modules=(), rate=2.0, **how)
        return [rate_at(player, step, 100) for step in range(100)]

    assert rates() == [2.0] * 100
    assert rates(schedule="cosine")[50] == pytest.approx(1.0)
    assert rates(schedule="polynomial")[50] == pytest.approx(2 * 0.5**0.9)
    cycle = rates(schedule="one-cycle")
    assert cycle[0] == pytest.approx(2 / 25)
    assert max(cycle) == pytest.approx(2.0)
    assert cycle.index(max(cycle)) == 30
    assert cycle[99] == pytest.approx(1 + math.cos(math.pi * 69 / 70), rel=1e-6)
    warm = rates(schedule="cosine", warmup=10)
    assert warm[:10] == pytest.approx([2 * (i + 1) / 11 for i in range(10)])
    assert warm[10] == pytest.approx(2.0)


def test_random_rows_do_not_depend_on_how_a_batch_is_divided() -> None:
    whole = Step(seed=5, stage="s", number=7).randn("noise", like=torch.empty(6, 2, 3))
    parts = [
        Step(seed=5, stage="s", number=7, slot=slot).randn("noise", like=torch.empty(2, 2, 3)) for slot in range(3)
    ]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, Step(seed=5, stage="s", number=8).randn("noise", like=torch.empty(6, 2, 3)))
    assert not torch.equal(whole, Step(seed=5, stage="s", number=7).randn("other", like=torch.empty(6, 2, 3)))
    numbers = Step(seed=5).randint("t", 3, 7, count=4000)
    assert sorted(set(numbers.tolist())) == [3, 4, 5, 6]


def weights(course: Trainer) -> Tensor:
    return torch.cat([t.double().flatten() for t in course.method.state_dict().values()])


@pytest.mark.parametrize("kind", [Pair, Featured])
def test_an_interrupted_training_ends_with_the_same_weights_bit_for_bit(
    kind: type[Toy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = course(fresh(kind), tmp_path / "whole")
    whole.go()
    total = (6 + 1) * len(whole.method.stages())  # one step of each stage is a rehearsal
    monkeypatch.setattr("scantling.training.trainer.REHEARSED", 1)
    original = StageRunner.step
    for stop_at in range(1, total + 1):
        run = tmp_path / f"stopped-{stop_at}"
        left = iter(range(stop_at - 1))

        def step(self: StageRunner, *args: Any, left: Iterator[int] = left) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return original(self, *args)

        monkeypatch.setattr(StageRunner, "step", step)
        stopped = course(fresh(kind), run, saved_every=0.0)
        with pytest.raises(KeyboardInterrupt):
            stopped.go()
        monkeypatch.setattr(StageRunner, "step", original)
        again = course(fresh(kind), run)
        again.go()
        assert torch.equal(weights(whole), weights(again)), f"stopped at step {stop_at}"


def test_a_stage_is_prepared_once_and_not_again_on_resuming(tmp_path: Path) -> None:
    first = fresh(Featured)
    stopper = course(first, tmp_path, saved_every=0.0)
    stages = list(first.stages())
    calls = 0

    def objectives(batch: Mapping[str, Batch], step: Step) -> Game:
        nonlocal calls
        calls += 1
        if calls > 6:  # three of them are a rehearsal
            raise KeyboardInterrupt
        yield from first.classify_pixels(batch, step)

    interrupted = Stage(**{**vars(stages[1]), "objectives": objectives})
    first.stages = lambda: (stages[0], interrupted)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stopper.go()
    assert first.prepared == 1
    second = fresh(Featured)
    course(second, tmp_path).go()
    assert second.prepared == 0


def test_a_rehearsal_leaves_no_trace(tmp_path: Path) -> None:
    method = fresh(Pair)
    (stage,) = method.stages()
    play = StageRunner(method, stage, seed=3, device=torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in capture(play).items()}
    from scantling.training.state import Position
    from scantling.training.trainer import StageTraining

    position = Position(updates=dict(play.updates))
    save_state(tmp_path, capture(play), position, {})
    StageTraining(course(method, tmp_path), [stage], 0, None, Stopping())._tell_time(play, position)
    after = capture(play)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert play.updates == {"painter": 0, "judge": 0}


def test_restored_optimisers_lie_in_memory_as_their_parameters_do() -> None:
    method = Two(lambda batch, step: iter([("first", {"a": mean(method.first, batch)})]))
    method.first = nn.Conv2d(1, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    (stage,) = method.stages()
    stage = replace(stage, players=(replace(stage.players[0], optimiser="adam"),))
    play = StageRunner(method, stage, seed=0, device=torch.device("cpu"))
    play.step(0, [{name: reader.batch(0) for name, reader in readers(stage).items()}])
    kept = {name: tensor.contiguous().clone() for name, tensor in capture(play).items()}  # as a file holds them
    before = {name: tensor.clone() for name, tensor in capture(play).items()}
    restore(play, kept, play.updates)
    for name, tensor in capture(play).items():
        assert torch.equal(tensor, before[name])
        assert tensor.stride() == before[name].stride(), name


class Judged(Two):
    """One player, and a criterion that looks at what it is shown."""

    direction = "min"

    def __init__(self, values: list[float] | None = None) -> None:
        super().__init__(lambda batch, step: iter([("first", {"a": mean(self.first, batch)})]))
        self.values, self.shown, self.seen = values, [], []

    def stages(self) -> list[Stage]:
        (stage,) = super().stages()
        criterion = Criterion(name="look", direction="min", value=self.look, visits=("images",))
        stream = replace(stage.streams[0], augment=Augmentation(brightness=5.0))
        return [replace(stage, players=stage.players[:1], steps=6, streams=(stream,), criterion=criterion)]

    def look(self, visit: Visit, step: Step) -> float:
        self.shown = [batch.image for batch in visit("images")]
        self.seen.append(self.first.weight.item())
        return self.values[step.number - 1] if self.values else 0.0


def test_a_criterion_sees_validation_cases_whole_and_unchanged(tmp_path: Path) -> None:
    held = taken(Case(id="case77", subject="s"))
    method = Judged()
    course(method, tmp_path, held_out=lambda stage: readers(stage, make=lambda case: held)).go()
    assert len(method.shown) == 5
    assert all(torch.equal(image[0], held.image) for image in method.shown)


def test_a_criterion_chooses_the_weights_and_nan_is_never_the_best(tmp_path: Path) -> None:
    nan = math.nan
    for values, best in (([3, nan, 1, 2, 1, 4], 3), ([nan, nan, 5, 6, nan, nan], 3), ([nan] * 6, 6)):
        method = Judged([float(value) for value in values])
        run = tmp_path / str(len(list(tmp_path.iterdir())))
        position = course(method, run, held_out=readers, select="best").go()
        assert position.finished[0][1] == best
        assert method.first.weight.item() == method.seen[best - 1]


def test_without_validation_cases_a_criterion_is_not_asked(tmp_path: Path) -> None:
    method = Judged()
    course(method, tmp_path).go()
    assert method.seen == []


def test_what_is_prepared_and_judged_comes_in_the_precision_of_the_weights(tmp_path: Path) -> None:
    method = fresh(Featured).double()
    course(method, tmp_path / "prepared").go()
    assert method.prepared == 1
    judged = Judged().double()
    course(judged, tmp_path / "judged", held_out=readers).go()
    assert {image.dtype for image in judged.shown} == {torch.float64}


def test_what_was_prepared_for_one_stage_is_not_taken_for_another(tmp_path: Path) -> None:
    save_prepared(tmp_path, "first", {"features": torch.ones(2)})
    assert load_prepared(tmp_path, "first")["features"].tolist() == [1, 1]
    with pytest.raises(RunError, match="prepared for stage 'first', not 'second'"):
        load_prepared(tmp_path, "second")
    (tmp_path / "prepared.safetensors").write_bytes(b"torn")
    with pytest.raises(RunError, match="cannot be read"):
        load_prepared(tmp_path, "first")


def test_processes_that_see_different_checkpoints_do_not_start(tmp_path: Path) -> None:
    class Torn(Processes):
        def all(self, value: Any) -> list[Any]:
            return [value, {**value, "step": 7}]

    with pytest.raises(RunError, match="not all processes see the same checkpoint"):
        course(fresh(Pair), tmp_path, group=Torn()).go()


def one_of_two(rank: int, port: int, run: Path) -> None:
    """A training in the process `rank` of two; the first leaves early, and the other has to say so."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        with processes(torch.device("cpu")) as group:
            method = fresh(Featured)
            course(method, run, group=group).go()
            norm = method.encoder[1].running_mean.tolist()
            assert group.all(norm) == [norm] * 2
            if group.first:
                os._exit(0)
            group.all(1)
    except RunError as error:
        told = "another process of this training stopped" in str(error)
        os._exit(0 if told else 3)  # torch may abort while it takes a torn group apart
    sys.exit(4)


def test_processes_keep_the_same_buffers_and_say_so_when_one_stops(tmp_path: Path) -> None:
    """Batch norm has seen other samples in each process; what is validated and resumed is the first one's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [started(one_of_two, rank, port, tmp_path) for rank in range(2)]
    for process in both:
        process.join(timeout=120)
    assert [process.exitcode for process in both] == [0, 0]


def test_the_newest_state_that_can_be_read_is_used(tmp_path: Path) -> None:
    course(fresh(Pair), tmp_path, saved_every=0.0).go()
    assert (tmp_path / "state-previous.safetensors").exists()
    (tmp_path / "state.safetensors").write_bytes(b"torn")
    found = load_state(tmp_path)
    assert found is not None
    assert found[0].step == 6
    (tmp_path / "state-previous.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="no checkpoint can be read"):
        load_state(tmp_path)


def test_the_log_has_no_line_twice_after_resuming(tmp_path: Path) -> None:
    method = fresh(Pair, steps=20)
    original = StageRunner.step
    seen = 0

    def step(self: StageRunner, *args: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageRunner, "step", step)
        with pytest.raises(StoppedError, match="the same command goes on"):
            course(method, tmp_path).go()
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"stage": "duel", "step": 19, "losses": {}}\n{"torn')
    course(fresh(Pair, steps=20), tmp_path).go()
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 21))


class Taught(Toy):
    """A student with batch norm that must agree with its teacher."""

    def __init__(self, settings: Any = None, *, decay: Any = 0.9) -> None:
        super().__init__(settings)
        layers = [nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1)) for _ in range(2)]
        self.student, self.teacher, self.decay = *layers, decay

    def stages(self) -> list[Stage]:
        return [
            Stage(
                name="agree",
                players=(Player(name="student", modules=(self.student,), rate=1e-2),),
                teachers=(Teacher(module=self.teacher, of=self.student, decay=self.decay),),
                streams=(self.stream("images"),),
                steps=self.settings.steps,
                objectives=self.objectives,
            )
        ]

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        image = batch["images"].image
        aim = self.teacher(image)
        assert not aim.requires_grad
        yield "student", {"agree": (self.student(image) - aim - image[..., 1:-1, 1:-1]).square().mean()}


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("decay", [0.9, lambda step: min(0.9, step / (step + 1))], ids=["constant", "ramp"])
def test_a_teacher_is_the_running_average_of_its_student(decay: Any) -> None:
    method = Taught(decay=decay)
    (stage,) = method.stages()
    play = StageRunner(method, stage, seed=0, device=torch.device("cpu"))
    expected = state_of(method.student)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in method.teacher.state_dict().items())
    for step in range(4):
        play.step(step, [{"images": readers(stage)["images"].batch(step)}])
        share = decay if isinstance(decay, float) else decay(step)
        for name, tensor in method.student.state_dict().items():
            own = expected[name]
            expected[name] = share * own + (1 - share) * tensor if own.is_floating_point() else tensor.clone()
    assert int(method.teacher[1].num_batches_tracked) == 4
    for name, tensor in method.teacher.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())


def test_a_teacher_is_resumed_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = fresh(Taught, steps=6), fresh(Taught, steps=6)
    course(whole, tmp_path / "whole").go()
    original, played = StageRunner.step, 0

    def step(self: StageRunner, *args: Any) -> Any:
        nonlocal played
        played += 1
        if played == 6:
            raise KeyboardInterrupt
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(StageRunner, "step", step)
        with pytest.raises(KeyboardInterrupt):
            course(broken, tmp_path / "broken", saved_every=0.0).go()
    again = fresh(Taught, steps=6)
    course(again, tmp_path / "broken").go()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_teacher_is_no_player() -> None:
    method = Taught()
    method.teacher = method.student
    (stage,) = method.stages()
    with pytest.raises(StageError, match="a teacher follows and is not trained"):
        StageRunner(method, stage, seed=0, device=torch.device("cpu"))


def test_a_total_is_the_sum_over_the_whole_step() -> None:
    def objectives(batch: Mapping[str, Batch], step: Step) -> Game:
        image = batch["images"].image
        count = yield Total((image > 0).sum().to(image.dtype))
        yield "first", {"a": step.mean((method.first(image) * (image > 0)).sum(), count)}

    weights = []
    for parts in (1, 2):
        torch.manual_seed(0)
        method = Two(objectives)
        played(method, accumulation=parts, steps=3)
        weights.append(method.first.weight.detach().clone())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-6)


def test_a_total_that_not_all_parts_ask_for_is_refused() -> None:
    def objectives(batch: Mapping[str, Batch], step: Step) -> Game:
        if step.slot:
            yield Total(torch.ones(()))
        yield "first", {"a": method.first(batch["images"].image).mean()}

    method = Two(objectives)
    with pytest.raises(StageError, match="may depend on the step but not on the batch"):
        played(method, accumulation=2)
