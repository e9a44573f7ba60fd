"""The options that every training has: how long it goes on, what it runs on, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.commands.train_progress import Progress, span

if TYPE_CHECKING:
    from omote.training.engine import EngineOptions
    from omote.training.schedule import Budget
    from omote.training.state import Position


def option(metavar: str) -> Any:
    """An option whose help says its default itself."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=QUIET)


@dataclass(frozen=True)
class TrainingArgs:
    """The same for every network."""

    steps: Annotated[int | None, option("N")] = None
    """Stop after so many steps."""
    epochs: Annotated[int | None, option("N")] = None
    """Stop after so many passes over the data; without any limit after 200, for liveportrait after 100."""
    minutes: Annotated[float | None, option("M")] = None
    """Stop after so many minutes of training."""
    validate_every: Annotated[int | None, option("STEPS")] = None
    """Validate after so many steps instead of after each pass."""
    patience: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Stop early after so many validations without a new best; 0: never."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format; auto: bfloat16 on CPUs that are faster in it (AMX; AMD's since Zen 4) and on GPUs that have it."""
    threads: Annotated[int | None, option("N")] = None
    """Threads of the CPU (all cores)."""
    checkpoint_seconds: Annotated[float, tyro.conf.arg(metavar="S")] = 60.0
    """How often the state is written; what a kill can cost."""
    seed: int = 0
    """Of everything random."""
    overwrite: Flag = False
    """Start again, whatever is in the folder."""
    json: Flag = False
    """Print a JSON object in place of text."""

    def budget(self) -> Budget | None:
        """The limits that are given; None where there is none.

        Raises:
            InputError: one is not above 0.
        """
        from omote.training.schedule import Budget

        limits = (self.steps, self.epochs, self.minutes)
        return None if all(limit is None for limit in limits) else Budget(*limits)

    def applied_to(self, recipe: EngineOptions) -> EngineOptions:
        """A recipe with these options in it."""
        import os

        return replace(
            recipe,
            precision=self.precision,
            seed=self.seed,
            threads=self.threads or os.cpu_count() or 1,
            validate_every=self.validate_every,
            patience=self.patience,
            checkpoint_s=self.checkpoint_seconds,
        )

    def tell_end(self, model: Path, place: Position, progress: Progress) -> None:
        """Print where a training ended."""
        if self.json:
            facts = {"model": model, "steps": place.step, "epochs": place.epoch, "ended_by": place.done}
            seconds = round(place.seconds, 1)
            console.say_json({**facts, "seconds": seconds, "validation": progress.validation})
            return
        ending = "stopped early" if place.done == "early stop" else "trained"
        console.say(f"{ending}: {place.step} steps in {span(place.seconds)}, {place.epoch} whole passes")
        console.say(str(model))
