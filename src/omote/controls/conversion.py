"""Conversion between two sets of controls by name: made ready once, then applied to arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.controls.arkit52 import CONVERSIONS, LIPS_TOGETHER

Array = npt.NDArray[Any]

_SHUT = 1e-7  # a jaw opened less than this counts as shut


@dataclass(frozen=True)
class ConversionReport:
    """What becomes of each source control, and which target controls nothing reaches.

    ``exact`` controls arrive at full weight; ``merged`` ones are averaged with others or add a share to the
    nearest; ``lost`` ones have no effect. ``targets`` names where each goes; ``unreached`` ones stay neutral.
    """

    exact: tuple[str, ...]
    merged: tuple[str, ...]
    lost: tuple[str, ...]
    targets: Mapping[str, tuple[str, ...]]
    unreached: tuple[str, ...]


@dataclass(frozen=True)
class Conversion:
    """A conversion of (..., C) to (..., C') made ready.

    ``positive`` and ``negative`` (C, C') weigh the positive and the negative part of the source. ``closing``
    (jawOpen, mouthClose, the target's lips_together_*) and ``opening`` (jaw_open, lips_together_*, the
    target's mouthClose) hold positions for the one pair that is not linear.
    """

    positive: Array
    negative: Array
    closing: tuple[int, int, Array] | None
    opening: tuple[int, Array, int] | None

    @classmethod
    def between(cls, names: Sequence[str], targets: Sequence[str], signed: Sequence[bool]) -> Conversion:
        """Prepare a conversion; ``signed`` says which targets can be negative.

        Controls of the same name are copied; the others follow ``CONVERSIONS``. A target that cannot be
        negative takes only contributions that are not: this is how one signed gaze becomes a look-in or
        a look-out.
        """
        source, target = ({name: i for i, name in enumerate(some)} for some in (names, targets))
        positive, negative = np.zeros((2, len(names), len(targets)))
        for name in source.keys() & target.keys():
            positive[source[name], target[name]], negative[source[name], target[name]] = 1, -1
        for name, to, weight in CONVERSIONS:
            if name in source and to in target and to not in source:
                i, j = source[name], target[to]
                positive[i, j] = weight if signed[j] else max(weight, 0.0)
                negative[i, j] = -weight if signed[j] else max(-weight, 0.0)
        closing = opening = None
        lips = [target[name] for name in LIPS_TOGETHER if name in target and name not in source]
        if lips and "jawOpen" in source and "mouthClose" in source:
            closing = source["jawOpen"], source["mouthClose"], np.array(lips)
        lips = [source[name] for name in LIPS_TOGETHER if name in source]
        if lips and "jaw_open" in source and "mouthClose" in target and "mouthClose" not in source:
            opening = source["jaw_open"], np.array(lips), target["mouthClose"]
        return cls(positive, negative, closing, opening)

    def apply(self, values: Array, neutral: Array, to_neutral: Array) -> Array:
        """(..., C) values, clamped to their ranges, to (..., C')."""
        dtype = values.dtype
        rest = values - neutral.astype(dtype)
        result = np.maximum(rest, 0) @ self.positive.astype(dtype)
        result += np.maximum(-rest, 0) @ self.negative.astype(dtype) + to_neutral.astype(dtype)
        if self.closing is not None:
            jaw, close, lips = self.closing
            opened = values[..., jaw]
            ratio = np.where(opened > _SHUT, values[..., close] / np.maximum(opened, _SHUT), 0)
            result[..., lips] = np.clip(ratio, 0, 1)[..., None]
        if self.opening is not None:
            jaw, lips, close = self.opening
            result[..., close] = values[..., jaw] * values[..., lips].mean(-1)
        return np.asarray(result)

    def weights(self) -> Array:
        """(C, C') how strongly each source control shows in each target, whatever the sign."""
        total = np.maximum(np.abs(self.positive), np.abs(self.negative))
        if self.closing is not None:
            total[self.closing[1], self.closing[2]] = 1.0
        if self.opening is not None:
            total[self.opening[1], self.opening[2]] = 1.0 / len(self.opening[1])
        return np.asarray(total)

    def report(self, names: Sequence[str], targets: Sequence[str]) -> ConversionReport:
        """The same in words."""
        weights = self.weights()
        reached = {n: tuple(targets[int(j)] for j in np.flatnonzero(weights[i])) for i, n in enumerate(names)}
        whole = {n: bool((weights[i][weights[i] > 0] == 1).all()) for i, n in enumerate(names)}
        return ConversionReport(
            exact=tuple(n for n in names if reached[n] and whole[n]),
            merged=tuple(n for n in names if reached[n] and not whole[n]),
            lost=tuple(n for n in names if not reached[n]),
            targets={n: t for n, t in reached.items() if t},
            unreached=tuple(t for t, w in zip(targets, weights.sum(0), strict=True) if w == 0),
        )
