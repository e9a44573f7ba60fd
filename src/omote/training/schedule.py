"""How long a training lasts, and the learning rate on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omote.errors import InputError


@dataclass(frozen=True)
class Budget:
    """The end of a training: whichever given limit is reached first.

    Args:
        steps: optimiser steps.
        epochs: passes over the data.
        minutes: of training, over all resumptions.

    Raises:
        InputError: no limit, or one that is not above zero.
    """

    steps: int | None = None
    epochs: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = {"--steps": self.steps, "--epochs": self.epochs, "--minutes": self.minutes}
        if all(limit is None for limit in given.values()):
            raise InputError("a training needs --steps, --epochs or --minutes")
        for name, limit in given.items():
            if limit is not None and not limit > 0:
                raise InputError(f"must be above 0, got {limit}", where=name)

    def progress(self, step: int, epochs: float, seconds: float) -> float:
        """The share that is used, 0..1: the largest over the limits. ``epochs`` may have a fraction."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(step / self.steps)
        if self.epochs is not None:
            shares.append(epochs / self.epochs)
        if self.minutes is not None:
            shares.append(seconds / (60 * self.minutes))
        return min(1.0, max(shares))


@dataclass(frozen=True)
class LearningRate:
    """Rises linearly over the first steps; then stays, or falls to zero along half a cosine.

    Args:
        peak: the rate after warming up.
        warmup: steps.
        cosine: whether it falls.

    Raises:
        InputError: a rate that is not above zero, or negative warm-up.
    """

    peak: float
    warmup: int = 0
    cosine: bool = False

    def __post_init__(self) -> None:
        if not (self.peak > 0 and math.isfinite(self.peak)):
            raise InputError(f"must be above 0, got {self.peak}", where="--lr")
        if self.warmup < 0:
            raise InputError(f"must not be negative, got {self.warmup}", where="--warmup")

    def at(self, step: int, progress: float) -> float:
        """The rate of step ``step`` (from 0), when the share ``progress`` of the budget is used."""
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        falling = 0.5 * (1 + math.cos(math.pi * progress)) if self.cosine else 1.0
        return self.peak * rising * falling
