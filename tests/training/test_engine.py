"""The training loop on a small regression whose every number is known or reproducible."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from omote.errors import FormatError, InputError, OutputError
from omote.training.curves import Log
from omote.training.engine import Engine, EngineOptions
from omote.training.numerics import pick_precision
from omote.training.schedule import Budget, LearningRate

PASS = 5  # batches of a pass


class Line(nn.Module):
    """A noisy line: its dropout draws from torch's random numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.inner, self.outer = nn.Linear(4, 16), nn.Linear(16, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.outer(self.drop(self.inner(x).tanh()))
        return made


class Regression:
    """A task. ``at`` maps steps to what happens in their loss; ``validations`` are the losses to report."""

    def __init__(self, validations: list[float] | None = None, at: Mapping[int, Any] | None = None) -> None:
        self.net = Line()
        self.planned, self.at = list(validations or []), dict(at or {})
        self.saved: list[tuple[int, float]] = []
        self.seen: list[float] = []

    def to(self, device: torch.device) -> None:
        pass

    def batches(self, epoch: int, skip: int, rank: int, ranks: int) -> Iterator[dict[str, Tensor]]:
        chance = torch.Generator().manual_seed(epoch)
        for number in range(PASS):
            x = torch.randn(8, 4, generator=chance)
            if number >= skip:
                yield {"x": x, "y": x.sum(1, keepdim=True)}

    def validation(self) -> Iterator[dict[str, Tensor]]:
        x = torch.ones(2, 4)
        yield {"x": x, "y": 4 * x[:, :1]}

    def loss(self, net: nn.Module, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        event = self.at.get(step)
        if event is not None:
            event()
        self.seen.append(float(batch["x"][0, 0]))
        loss = (net(batch["x"]) - batch["y"]).square().mean()
        return {"loss": loss * (float("nan") if self.at.get(-1) == step else 1)}

    def measure(self, net: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.planned:
            return {"loss": torch.tensor(self.planned.pop(0))}
        return {"loss": (net(batch["x"]) - batch["y"]).square().mean()}

    def summary(self, means: Mapping[str, float]) -> dict[str, float]:
        return dict(means)

    def save(self, net: nn.Module, path: Path, notes: Mapping[str, Any]) -> None:
        self.saved.append((int(notes["step"]), float(sum(p.sum() for p in net.parameters()))))
        path.write_text(json.dumps(dict(notes)))


def options(steps: int = 12, **changes: Any) -> EngineOptions:
    made = EngineOptions(Budget(steps=steps), LearningRate(0.01, warmup=2, cosine=True), precision="float32")
    return replace(made, **{"report_every": 4, "ema": 0.9, **changes})


def run(
    folder: Path, task: Regression | None = None, decisive: Mapping[str, Any] | None = None, **changes: Any
) -> Engine:
    engine = Engine(task or Regression(), options(**changes), folder, decisive or {"lr": 0.01})
    engine.run()
    return engine


def state(engine: Engine) -> list[Tensor]:
    moments = [v["exp_avg"] for v in engine.optimizer.state_dict()["state"].values()]
    return [*engine.net.state_dict().values(), *engine.ema.net.state_dict().values(), *moments]


def log(folder: Path) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().split("\n") if line]
    return [{k: v for k, v in e.items() if k not in ("seconds", "images_per_second")} for e in entries]


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def fail() -> None:
    raise RuntimeError("power cut")


@pytest.fixture(autouse=True)
def draw(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The picture takes longer than these trainings: it is drawn in the one test that looks at it."""
    whole = Log.draw
    monkeypatch.setattr(Log, "draw", lambda self: None)
    return whole


@pytest.mark.parametrize("stop", [4, 7])
def test_a_stopped_run_goes_on_as_if_it_had_not(tmp_path: Path, stop: int) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "two", Regression(at={stop: interrupt}))
    torch.manual_seed(99)
    again = Regression()
    second = run(tmp_path / "two", again)
    assert len(again.seen) == 12 - stop - 1
    assert all(torch.equal(a, b) for a, b in zip(state(whole), state(second), strict=True))
    theirs, ours = log(tmp_path / "whole"), log(tmp_path / "two")
    kinds = [(e["kind"], e["step"]) for e in theirs]
    assert [(e["kind"], e["step"]) for e in ours] == kinds
    assert [e["loss"] for e in ours if e["kind"] == "validation"] == [
        e["loss"] for e in theirs if e["kind"] == "validation"
    ]


def test_a_kill_costs_what_came_after_the_last_state(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "two", Regression(at={8: fail}), checkpoint_s=0.0)
    assert torch.load(tmp_path / "two" / "last.pt", weights_only=True)["position"]["step"] == 8
    second = run(tmp_path / "two")
    assert all(torch.equal(a, b) for a, b in zip(state(whole), state(second), strict=True))


def test_sigterm_saves_too(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        run(tmp_path, Regression(at={2: lambda: os.kill(os.getpid(), signal.SIGTERM)}))
    assert raised.value.code == 143
    assert torch.load(tmp_path / "last.pt", weights_only=True)["position"]["step"] == 3


def test_a_finished_run_is_left_alone_and_a_larger_budget_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path).position.done == "budget"
    task = Regression()
    assert run(tmp_path, task).position.step == 12
    assert task.seen == []
    assert run(tmp_path, task, steps=14).position.step == 14
    assert len(task.seen) == 2


def test_overwrite_starts_again(tmp_path: Path) -> None:
    run(tmp_path)
    task = Regression()
    engine = Engine(task, options(steps=3), tmp_path, {"lr": 5.0}, overwrite=True)
    assert engine.run().step == 3
    assert {e["step"] for e in log(tmp_path)} == {3}


def test_other_options_are_refused_by_name(tmp_path: Path) -> None:
    run(tmp_path, decisive={"lr": 0.01, "batch": 32})
    with pytest.raises(InputError, match=r"other options: batch 32 -> 16, loss none -> mesh\. "):
        run(tmp_path, decisive={"lr": 0.01, "batch": 16, "loss": "mesh"})


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FormatError, match="cannot be read"):
        run(tmp_path)
    torch.save({"version": 1, "code": Line()}, path)  # a pickled object is never loaded
    with pytest.raises(FormatError, match="cannot be read"):
        run(tmp_path)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos")]
)
def test_a_full_disk_is_one_clear_line_and_keeps_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run(tmp_path, steps=3)
    before = (tmp_path / "last.pt").read_bytes()

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"disk is full|disk full|space"):
        run(tmp_path, steps=9, checkpoint_s=0.0)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "last.pt",
        "log.jsonl",
        "model.safetensors",
    ]


def test_early_stop_keeps_the_best(tmp_path: Path) -> None:
    task = Regression(validations=[3.0, 2.0, 2.5, 2.0, 1.0])
    engine = run(tmp_path, task, steps=50, validate_every=2, patience=2)
    assert (engine.position.step, engine.position.done, engine.position.best) == (8, "early stop", 2.0)
    assert [step for step, _ in task.saved] == [2, 4]
    assert json.loads((tmp_path / "model.safetensors").read_text())["validation"] == {"loss": 2.0}
    assert run(tmp_path, task, steps=50, validate_every=2, patience=2).position.step == 8
    patient = run(tmp_path, Regression(validations=[1.0] * 99), steps=12, validate_every=2, patience=9)
    assert (patient.position.step, patient.position.done) == (12, "budget")


@pytest.mark.parametrize("checkpoint_s", [0.0, 60.0])
def test_killed_in_the_last_validation_it_is_not_finished(tmp_path: Path, checkpoint_s: float) -> None:
    task = Regression()
    task.measure = lambda *_: fail()  # type: ignore[method-assign,assignment,func-returns-value]
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, task, steps=4, checkpoint_s=checkpoint_s)
    again = Regression()
    engine = run(tmp_path, again, steps=4, checkpoint_s=checkpoint_s)
    assert (engine.position.step, engine.position.done) == (4, "budget")
    assert again.saved[-1][0] == 4


def test_a_loss_that_is_no_number_ends_it_and_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no longer a number at step 8.*smaller --lr"):
        run(tmp_path, Regression(at={-1: 6}))
    assert not (tmp_path / "last.pt").exists()


def test_no_data_is_refused(tmp_path: Path) -> None:
    task = Regression()
    task.batches = lambda *_: iter(())  # type: ignore[method-assign,assignment]
    with pytest.raises(InputError, match="not even one batch"):
        run(tmp_path, task)


def test_the_average_is_what_is_validated_and_saved(tmp_path: Path) -> None:
    """By hand: with decay 0.9 the n-th update moves by 1 - min(0.9, (1 + n) / (10 + n))."""
    from omote.training.ema import Ema

    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, 0.0)
    ema = Ema(net, 0.9)
    nn.init.constant_(net.weight, 11.0)
    ema.update(net)
    assert float(ema.net.weight) == pytest.approx(11 * (1 - 2 / 11))
    ema.update(net)
    assert float(ema.net.weight) == pytest.approx(11 - 2 * 3 / 12)
    ema.updates = 1000
    before = float(ema.net.weight)
    ema.update(net)
    assert float(ema.net.weight) == pytest.approx(before + 0.1 * (11 - before))
    task = Regression()
    engine = run(tmp_path, task, steps=4)
    average = float(sum(p.sum() for p in engine.ema.net.parameters()))
    assert task.saved[-1][1] == pytest.approx(average)
    assert average != pytest.approx(sum(p.sum().item() for p in engine.net.parameters()))


def test_without_an_average_the_newest_weights_are_saved(tmp_path: Path) -> None:
    engine = run(tmp_path, ema=0.0)
    assert all(
        torch.equal(a, b) for a, b in zip(engine.net.parameters(), engine.ema.net.parameters(), strict=True)
    )


def test_the_learning_rate_by_hand() -> None:
    rate = LearningRate(0.2, warmup=4, cosine=True)
    assert [rate.at(step, 0.0) for step in range(5)] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2])
    assert rate.at(100, 0.5) == pytest.approx(0.1)
    assert rate.at(100, 1.0) == pytest.approx(0.0)
    assert LearningRate(0.2).at(0, 0.7) == 0.2


def test_a_budget_ends_with_its_first_limit() -> None:
    budget = Budget(steps=100, epochs=10, minutes=2)
    assert budget.progress(10, 0.5, 6.0) == pytest.approx(0.1)
    assert budget.progress(10, 2.5, 6.0) == pytest.approx(0.25)
    assert budget.progress(10, 0.5, 60.0) == pytest.approx(0.5)
    assert budget.progress(500, 0.5, 6.0) == 1.0
    with pytest.raises(InputError, match="needs --steps"):
        Budget()
    with pytest.raises(InputError, match=r"--minutes: must be above 0"):
        Budget(minutes=0)


def test_passes_and_minutes_end_a_run(tmp_path: Path) -> None:
    passes = run(tmp_path / "passes", budget=Budget(epochs=2))
    assert (passes.position.step, passes.position.epoch) == (2 * PASS, 2)
    quick = run(tmp_path / "minutes", budget=Budget(minutes=1e-6))
    assert (quick.position.step, quick.position.done) == (1, "budget")


def test_the_picture_and_the_log_are_there(tmp_path: Path, draw: Any) -> None:
    from PIL import Image

    draw(run(tmp_path).log)
    with Image.open(tmp_path / "loss.png") as picture:
        assert picture.size == (770, 440)
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 20
    kinds = [(e["kind"], e["step"]) for e in log(tmp_path)]
    assert kinds == [
        ("train", 4),
        ("validation", 5),
        ("train", 8),
        ("validation", 10),
        ("train", 12),
        ("validation", 12),
    ]


def test_precision_follows_the_processor() -> None:
    cpu = torch.device("cpu")
    assert pick_precision("float32", cpu) == torch.float32
    assert pick_precision("bfloat16", cpu) == torch.bfloat16
    assert pick_precision("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(InputError, match="CUDA devices only"):
        pick_precision("float16", cpu)
