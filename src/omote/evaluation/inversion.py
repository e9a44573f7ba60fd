"""Rig inversion on held-out samples: every method on the same pictures, and how far its controls are from the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError
from omote.evaluation.inversion_methods import LANDMARKS, LandmarkFit, Method, Sample
from omote.evaluation.inversion_metrics import Scores, measure

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

Floats = NDArray[np.float32]
Progress = Callable[[int], None]
"""Called with the number of samples done."""

EXAMPLES = 6
_BLOCK, _KEPT = 16, 2


@dataclass
class Report:
    """What was measured on one set of held-out samples.

    Attributes:
        recipe: how the samples were made: "paper", "wild", or what the data set calls it.
        rig: whose controls they are.
        true: (N, C) controls; identity: (N, I).
        predicted: method -> (N, C), in the order of the tables; the first is the one that is measured.
        scores: method -> its numbers.
        missed: pictures in which the landmark fit found no face (they count as neutral).
        examples: a few of the samples, evenly spread, and where they are among the N.
    """

    recipe: str
    rig: Rig
    true: Floats
    identity: Floats
    predicted: dict[str, Floats]
    scores: dict[str, Scores]
    missed: int = 0
    examples: list[tuple[int, Sample]] = field(default_factory=list)

    @property
    def first(self) -> str:
        """Name of the method that is measured."""
        return next(iter(self.scores))

    def ratios(self) -> dict[str, float]:
        """How many times larger than the first method's error the landmark fit's is: over all controls, the hard ones.

        Empty without a landmark fit.
        """
        if LANDMARKS not in self.scores or self.first == LANDMARKS:
            return {}
        ours, theirs = self.scores[self.first], self.scores[LANDMARKS]
        pairs = {
            "control_mae": (theirs.control_mae, ours.control_mae),
            "hard_mae": (theirs.hard_mae, ours.hard_mae),
        }
        return {name: float(other / max(own, 1e-9)) for name, (other, own) in pairs.items()}


def evaluate(
    samples: Iterable[Sample],
    methods: Sequence[Method],
    rig: Rig,
    *,
    recipe: str = "wild",
    limit: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure methods side by side; the samples pass once and are not kept.

    Args:
        samples: held-out ones: no method may have been trained on them or their identities.
        methods: with different names; the first is the one that the report is about.
        rig: whose controls are predicted; they turn into vertices for the errors in millimetres.
        recipe: what the samples are called in the report.
        limit: at most so many samples.
        progress: called as samples are done.

    Raises:
        InputError: no samples, no methods, or two of one name.
    """
    names = [method.name for method in methods]
    if not names or len(set(names)) != len(names):
        raise InputError("methods need names of their own", where=", ".join(names) or "no method")
    predicted: dict[str, list[Floats]] = {name: [] for name in names}
    true: list[Floats] = []
    identity: list[Floats] = []
    kept: list[tuple[int, Sample]] = []
    for block in _blocks(islice(samples, limit), _BLOCK):
        for method in methods:
            predicted[method.name].append(np.asarray(method.predict(block), np.float32))
        start = sum(len(rows) for rows in true)
        kept += [(start + i, sample) for i, sample in enumerate(block)][:_KEPT]
        true.append(np.stack([sample.controls for sample in block]))
        identity.append(np.stack([sample.identity for sample in block]))
        if progress is not None:
            progress(start + len(block))
    if not true:
        raise InputError("no held-out samples", where=recipe)
    truth, who = np.concatenate(true), np.concatenate(identity)
    answers = {name: np.concatenate(rows) for name, rows in predicted.items()}
    chosen = np.unique(np.linspace(0, len(kept) - 1, min(EXAMPLES, len(kept))).round().astype(int))
    return Report(
        recipe=recipe,
        rig=rig,
        true=truth,
        identity=who,
        predicted=answers,
        scores={name: measure(rows, truth, who, rig) for name, rows in answers.items()},
        missed=sum(method.missed for method in methods if isinstance(method, LandmarkFit)),
        examples=[kept[i] for i in chosen],
    )


def _blocks(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    while block := list(islice(samples, size)):
        yield block
