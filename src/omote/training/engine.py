"""The training loop: any network, any loss, one process or several; it can be killed at any time and goes on."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from omote.errors import InputError, OutputError
from omote.models.processor import keep_memory
from omote.training.critic import Adversarial, Opponent
from omote.training.curves import Log
from omote.training.ema import Ema
from omote.training.numerics import Precision, pick_precision
from omote.training.schedule import Budget, LearningRate
from omote.training.state import Position, load_state, random_state, restore_random_state, save_state

Batch = dict[str, Tensor]
Tell = Callable[[str, Mapping[str, Any]], None]
"""Called with "preparing", "step", "validation" or "end", and what there is to say: numbers by name."""


class Task(Protocol):
    """What is trained: a network, its data and its losses; against a critic where it is `Adversarial`, too."""

    @property
    def net(self) -> nn.Module:
        """The network."""

    def batches(self, epoch: int, skip: int, rank: int, ranks: int) -> Iterable[Batch]:
        """The batches of one pass, in an order that depends on nothing but the seed, the pass and the rank.

        Args:
            epoch: number of the pass, from 0.
            skip: how many batches to leave out at its beginning.
            rank: of this process, from 0.
            ranks: number of processes.
        """

    def validation(self) -> Iterable[Batch]:
        """The batches to validate on; the same ones each time. May be empty."""

    def loss(self, net: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Scalars by name, among them "loss", which is made small. Random choices depend on ``step`` only."""

    def measure(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Means over the batch by name, among them "loss", of a network in evaluation mode."""

    def summary(self, means: Mapping[str, float]) -> dict[str, float]:
        """What is reported of the means of `measure` over the whole validation, with "loss"."""

    def save(self, net: nn.Module, path: Path, notes: Mapping[str, Any]) -> None:
        """Write the network for use."""

    def to(self, device: torch.device) -> None:
        """Move what the losses need."""


@dataclass(frozen=True)
class EngineOptions:
    """How a task is trained.

    Args:
        budget: how long.
        rate: learning rate over time.
        weight_decay, betas: of AdamW.
        clip: largest norm of the gradient; None for no limit.
        ema: decay of the averaged weights, which are validated and saved; 0 for none.
        precision: see `pick_precision`.
        seed: of everything random.
        threads: of torch on the CPU; None leaves it.
        validate_every: steps; None validates after each pass.
        patience: stop after so many validations without a new best; 0 never does.
        checkpoint_s: seconds between two states on disk.
        report_every: steps between two lines of the log.
    """

    budget: Budget
    rate: LearningRate
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = None
    ema: float = 0.999
    precision: Precision = "auto"
    seed: int = 0
    threads: int | None = None
    validate_every: int | None = None
    patience: int = 0
    checkpoint_s: float = 60.0
    report_every: int = 20


class Engine:
    """One training in one folder.

    Writes ``last.pt`` (to go on from), ``model.safetensors`` (the averaged weights of the best validation so far; see
    ``model``), ``log.jsonl`` and ``loss.png``.

    Args:
        task: what is trained.
        options: how.
        folder: of the run.
        decisive: options that a resumption must share, plain JSON values by name.
        tell: told how it goes.
        overwrite: start again, whatever is in the folder.
        model: how the task's `save` calls what it writes into the folder.

    Raises:
        InputError: the folder holds a training with other options.
        FormatError: its state is damaged.
    """

    def __init__(
        self,
        task: Task,
        options: EngineOptions,
        folder: Path,
        decisive: Mapping[str, Any],
        *,
        tell: Tell | None = None,
        overwrite: bool = False,
        model: str = "model.safetensors",
    ) -> None:
        from accelerate import Accelerator

        keep_memory()
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self.task, self.options, self.folder, self.decisive = task, options, folder, dict(decisive)
        self.tell = tell or (lambda kind, numbers: None)
        self.model_path = folder / model
        self.accelerator = Accelerator(mixed_precision="no", step_scheduler_with_optimizer=False)
        self.device: torch.device = self.accelerator.device
        self.dtype = pick_precision(options.precision, self.device)
        self.net = task.net.to(self.device)
        task.to(self.device)
        self.ema = Ema(self.net, options.ema)
        trained = [p for p in self.net.parameters() if p.requires_grad]
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(
            trained, lr=options.rate.peak, betas=options.betas, weight_decay=options.weight_decay, fused=fused
        )
        self.opponent = self._opponent()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.position = Position()
        self._length: int | None = None  # batches of a pass, once one has ended
        self.state_path = folder / "last.pt"
        torch.manual_seed(options.seed)
        if overwrite:
            if self._leads:
                self.state_path.unlink(missing_ok=True)
        elif self.state_path.exists():
            self._restore()
        self.wrapped: nn.Module = self._wrap(self.net)
        self.log = Log(folder, self.position.step if self.position.step else -1) if self._leads else None
        self._saved_at = self._clock = time.monotonic()
        self._asked_to_stop: int | None = None
        self._sums: dict[str, Tensor] = {}
        self._since, self._images = 0, 0
        self._reported_at = self._clock
        self._validated_at = -1

    def run(self) -> Position:
        """Train to the end of the budget.

        Returns:
            Where it ended; ``done`` says why.

        Raises:
            KeyboardInterrupt: stopped by Ctrl-C, with everything saved; SIGTERM likewise raises SystemExit.
            InputError: there is no data.
            OutputError: the folder cannot be written to, or the loss is no longer a number.
        """
        place, patience = self.position, self.options.patience
        stopped = place.done == "early stop" and 0 < patience <= place.stale
        if stopped or (place.done and self._progress() >= 1.0):
            return place
        self.position.done = ""
        with self._signals():
            while not self.position.done:
                self._epoch()
        if self._validated_at != self.position.step:
            self._validate()
        self._save_state()
        if self._leads:
            if not self.model_path.exists():
                self._save_model({})
            self.tell("end", {"step": self.position.step, "seconds": self.position.seconds})
        return self.position

    def _epoch(self) -> None:
        place, options = self.position, self.options
        ranks, rank = self.accelerator.num_processes, self.accelerator.process_index
        found = False
        for batch in self.task.batches(place.epoch, place.batch, rank, ranks):
            found = True
            self._step({name: value.to(self.device, non_blocking=True) for name, value in batch.items()})
            place.step, place.batch = place.step + 1, place.batch + 1
            self._tick()
            if place.step % options.report_every == 0:
                self._report()
            every = options.validate_every
            if self._progress() >= 1.0:
                place.done = "budget"
            elif every and place.step % every == 0:
                self._validate()
            if place.done:  # which is not said on disk before the last validation
                return
            self._stop_if_asked()
            if time.monotonic() - self._saved_at > options.checkpoint_s:
                self._save_state()
        if not found and place.batch == 0:
            raise InputError(
                "the data hold not even one batch", remedy="Generate more, or use a smaller --batch."
            )
        self._length = max(place.batch, 1)
        place.epoch, place.batch = place.epoch + 1, 0
        if self._progress() >= 1.0:
            place.done = "budget"
        elif not options.validate_every:
            self._validate()

    def _step(self, batch: Batch) -> None:
        place = self.position
        rate = self.options.rate.at(place.step, self._progress(part_of_pass=True))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.wrapped.train()
        with self._autocast():
            losses = self.task.loss(self.wrapped, batch, place.step)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(losses["loss"]).backward()
        if self.options.clip is not None:
            self.scaler.unscale_(self.optimizer)
            norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.options.clip)
            losses["gradient"] = norm
        self.scaler.step(self.optimizer)
        if self.opponent is not None:
            losses |= self.opponent.step(place.step, rate, self.scaler, self._autocast())
        self.scaler.update()
        self.ema.update(self.net)
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
        self._since += 1
        self._images += next(iter(batch.values())).shape[0] * self.accelerator.num_processes
        self.rate = rate

    def _report(self) -> None:
        """One line of the log: means since the last one."""
        means = {name: float(total) / self._since for name, total in self._sums.items()}
        self._check_finite(means.get("loss", 0.0))
        elapsed = max(time.monotonic() - self._reported_at, 1e-9)
        place = self.position
        entry = {
            "kind": "train",
            "step": place.step,
            "epoch": place.epoch,
            "seconds": round(place.seconds, 2),
            "rate": self.rate,
            "images_per_second": round(self._images / elapsed, 2),
            "progress": round(self._progress(part_of_pass=True), 5),
            **means,
        }
        self._sums, self._since, self._images = {}, 0, 0
        self._reported_at = time.monotonic()
        if self.log is not None:
            self.log.add(entry)
            self.tell("step", entry)

    def _validate(self) -> None:
        """Measure the averaged weights; keep the best; count towards the early stop."""
        place, began = self.position, time.monotonic()
        self._validated_at = place.step
        totals: dict[str, float] = {}
        count = 0
        if self._leads:
            with torch.inference_mode(), self._autocast():
                for batch in self.task.validation():
                    moved = {name: value.to(self.device) for name, value in batch.items()}
                    size = next(iter(moved.values())).shape[0]
                    for name, value in self.task.measure(self.ema.net, moved).items():
                        totals[name] = totals.get(name, 0.0) + float(value) * size
                    count += size
        means = self.task.summary({name: total / count for name, total in totals.items()})
        loss = means.get("loss", math.nan)
        if count:
            self._check_finite(loss)
            if loss < place.best:
                place.best, place.stale = loss, 0
                self._save_model(means)
            else:
                place.stale += 1
            if self.options.patience and place.stale >= self.options.patience and not place.done:
                place.done = "early stop"
        elif self._leads:
            self._save_model({})
        if self.log is not None:
            if count:
                entry = {
                    "kind": "validation",
                    "step": place.step,
                    "epoch": place.epoch,
                    "seconds": round(place.seconds, 2),
                    **means,
                    "best": place.best,
                }
                self.log.add(entry)
                self.tell("validation", entry)
            self.log.draw()
        self._agree()
        self._tick()
        self._reported_at += time.monotonic() - began  # the speed that is reported is that of training

    def _save_model(self, means: Mapping[str, float]) -> None:
        place = self.position
        notes = {**self.decisive, "step": place.step, "epoch": place.epoch, "seconds": round(place.seconds)}
        notes["validation"] = dict(means)
        self.task.save(self.ema.net, self.model_path, notes)

    def _save_state(self) -> None:
        if self._leads:
            self._check_finite(float(self._sums.get("loss", 0.0)))
            parts = {
                "net": self.net.state_dict(),
                "average": self.ema.net.state_dict(),
                "updates": self.ema.updates,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "random": random_state(),
                "length": self._length,
            }
            if self.opponent is not None:
                parts["opponent"] = self.opponent.state()
            save_state(self.state_path, self.position, self.decisive, parts)
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        self.position, parts = load_state(self.state_path, self.decisive)
        self.net.load_state_dict(parts["net"])
        self.ema.net.load_state_dict(parts["average"])
        self.ema.updates = parts["updates"]
        self.optimizer.load_state_dict(parts["optimizer"])
        self.scaler.load_state_dict(parts["scaler"])
        restore_random_state(parts["random"])
        self._length = parts["length"]
        if self.opponent is not None:
            self.opponent.restore(parts["opponent"])

    def _opponent(self) -> Opponent | None:
        critic = self.task.critic if isinstance(self.task, Adversarial) else None
        if critic is None or not isinstance(self.task, Adversarial):
            return None
        net = critic.to(self.device)
        return Opponent(self.task, net, self._wrap(net), self.options.betas)

    def _wrap(self, net: nn.Module) -> nn.Module:
        """A network as the losses call it: over several processes its gradients are averaged."""
        if self.accelerator.num_processes == 1:
            return net
        from torch.nn.parallel import DistributedDataParallel

        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(net, device_ids=ids, find_unused_parameters=True)

    @property
    def _leads(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def _progress(self, *, part_of_pass: bool = False) -> float:
        """The share of the budget that is used; with the fraction of the present pass, once its length is known."""
        place = self.position
        fraction = min(1.0, place.batch / self._length) if part_of_pass and self._length else 0.0
        return self.options.budget.progress(place.step, place.epoch + fraction, place.seconds)

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            what = f"the loss is no longer a number at step {self.position.step}"
            raise OutputError(what, where=self.folder, remedy="Start again with a smaller --lr.")

    def _tick(self) -> None:
        """Add the time since the last tick; all processes agree on it, since the learning rate may follow it."""
        now = time.monotonic()
        self.position.seconds += now - self._clock
        self._clock = now
        if self.accelerator.num_processes > 1:
            told = torch.tensor([self.position.seconds, float(self._asked_to_stop or 0)], device=self.device)
            torch.distributed.broadcast(told, 0)
            self.position.seconds, self._asked_to_stop = float(told[0]), int(told[1]) or None

    def _agree(self) -> None:
        """Make every process end when the leading one does."""
        if self.accelerator.num_processes > 1:
            ends = torch.tensor([float(self.position.done == "early stop")], device=self.device)
            torch.distributed.broadcast(ends, 0)
            if ends.item():
                self.position.done = "early stop"

    def _stop_if_asked(self) -> None:
        if self._asked_to_stop is not None:
            self._save_state()
            if self._asked_to_stop == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + self._asked_to_stop)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Within the block the first Ctrl-C or SIGTERM lets the present step end; the second acts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: FrameType | None) -> None:
            self._asked_to_stop = number
            for each, handler in before.items():
                signal.signal(each, handler)

        before = {each: signal.signal(each, ask) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
