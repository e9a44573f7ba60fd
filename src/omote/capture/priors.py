"""What the fit believes before it looks: ranges, spreads, symmetry, and MediaPipe's scores where they are alive.

The solver's variables are the FACS-102 controls with two changes: left/right jaw and mouth are one signed variable
each, and controls that 478 landmarks cannot show (tongue, ears, head on neck) are absent and keep their neutral value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from omote.controls import ARKIT52, FACS102, MEDIAPIPE_NAMES

Array = NDArray[np.float64]

UNSEEN = ("tongue_*", "ear_raise_*", "head_*")
SIGNED = (("jaw_left", "jaw_right"), ("mouth_left", "mouth_right"))
# Spread of each control around its expected value; the first pattern that matches counts. Wide where 2-D landmarks
# tell the control apart, narrow where they hardly do (embedded_rig.md, section 2, column "identifiability").
SPREAD = (
    ("gaze_*", 0.6),
    ("cheek_suck_*", 0.05),
    ("lip_tighten_*", 0.05),
    ("mouth_shift_vertical", 0.05),
    ("nostril_*", 0.10),
    ("jaw_clench_*", 0.08),
    ("neck_tighten_*", 0.10),
    ("jaw_forward", 0.08),
    ("nose_tip_down", 0.10),
    ("nasolabial_deepen_*", 0.12),
    ("lips_together_*", 0.15),
    ("sticky_corner_*", 0.10),
    ("dimple_*", 0.12),
    ("corner_pull_sharp_*", 0.12),
    ("lip_evert_*", 0.12),
    ("lip_press_*", 0.15),
    ("lip_roll_in_*", 0.20),
    ("chin_raise_*", 0.15),
    ("upper_lip_shrug", 0.12),
    ("cheek_*", 0.15),
    ("lid_*", 0.30),
    ("jaw_open", 0.40),
    ("brow_squeeze_*", 0.15),
    ("*", 0.25),
)
# ARKit channels whose MediaPipe score does not move whatever the face does (ecosystem_formats.md, section 4).
DEAD_SCORES = ("cheekPuff", "eyeWideLeft", "eyeWideRight", "noseSneerLeft", "noseSneerRight", "tongueOut")
# mouthClose is small beside a small jawOpen; how far the lips meet is their ratio, which the scores do not carry.
UNUSED_SCORES = (*DEAD_SCORES, "mouthClose")
SCORE_SPREAD = 0.12
"""Spread around a control's value as MediaPipe scores it; half of that for the lids, whose scores are the best."""
SYMMETRY_SPREAD = 0.20
GAZE_YAW_SPREAD, GAZE_PITCH_SPREAD = 0.20, 0.05
"""How far the two eyes' gaze controls may differ (vergence, and almost no vertical difference)."""


@dataclass(frozen=True)
class Variables:
    """The solver's variables (n) and how they make controls (C).

    positive (n,): the control a variable raises; negative (n,): the one its negative side raises, or -1.
    low, high, spread (n,); pairs (P, 2): variables of the left and right side, with pair_spread (P,).
    """

    positive: NDArray[np.int64]
    negative: NDArray[np.int64]
    low: Array
    high: Array
    spread: Array
    pairs: NDArray[np.int64]
    pair_spread: Array

    def controls(self, values: Array) -> Array:
        """(C,) controls of the variables (n,)."""
        controls = np.zeros(len(FACS102))
        controls[self.positive] = np.where(self.negative >= 0, np.maximum(values, 0), values)
        two_sided = self.negative >= 0
        controls[self.negative[two_sided]] = np.maximum(-values[two_sided], 0)
        return controls

    def from_controls(self, controls: Array) -> Array:
        """(..., n) variables of controls (..., C)."""
        values = controls[..., self.positive].copy()
        two_sided = self.negative >= 0
        values[..., two_sided] -= controls[..., self.negative[two_sided]]
        return values

    def pull_back(self, slope: NDArray[np.float32], values: Array) -> NDArray[np.float32]:
        """Derivative by variables (n, ...) from the derivative by controls (C, ...)."""
        own = slope[self.positive]
        for v in np.flatnonzero((self.negative >= 0) & (values < 0)):
            own[v] = -slope[self.negative[v]]
        return own


@cache
def variables() -> Variables:
    """The variables of the landmark fit."""
    unseen = {int(i) for pattern in UNSEEN for i in FACS102.match(pattern)}
    signed = {FACS102.index(a): FACS102.index(b) for a, b in SIGNED}
    skipped = unseen | set(signed.values())
    positive = np.array([i for i in range(len(FACS102)) if i not in skipped])
    negative = np.array([signed.get(int(i), -1) for i in positive])
    low = np.where(negative >= 0, -1.0, FACS102.low[positive])
    spread = np.zeros(len(FACS102))
    for pattern, value in reversed(SPREAD):
        spread[FACS102.match(pattern)] = value
    position = {int(c): v for v, c in enumerate(positive)}
    pairs, pair_spread = [], []
    for v, c in enumerate(positive):
        control = FACS102.controls[c]
        if (
            control.side == "L"
            and control.mirror is not None
            and (partner := position.get(FACS102.index(control.mirror)))
        ):
            pairs.append((v, partner))
            gaze = {"gaze_yaw_L": GAZE_YAW_SPREAD, "gaze_pitch_L": GAZE_PITCH_SPREAD}
            pair_spread.append(gaze.get(control.name, SYMMETRY_SPREAD))
    return Variables(
        positive,
        negative,
        low.astype(np.float64),
        FACS102.high[positive].astype(np.float64),
        spread[positive],
        np.array(pairs),
        np.array(pair_spread),
    )


@cache
def _score_columns() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """ARKit column of each live MediaPipe score, the scores' rows, and which variables some live score speaks of."""
    live = [(i, n) for i, n in enumerate(MEDIAPIPE_NAMES) if n in ARKIT52 and n not in UNUSED_SCORES]
    columns = np.array([ARKIT52.index(n) for _, n in live])
    rows = np.array([i for i, _ in live])
    spoken = np.zeros(len(FACS102), bool)
    for column in columns:
        probe = np.zeros(len(ARKIT52), np.float32)
        probe[column] = 0.5
        probe[ARKIT52.index("jawOpen")] = max(probe[ARKIT52.index("jawOpen")], 0.5)
        without = probe.copy()
        without[column] = 0
        spoken |= np.abs(ARKIT52.convert(probe, FACS102) - ARKIT52.convert(without, FACS102)) > 1e-3
    return columns, rows, spoken


def score_expectation(scores: NDArray[np.float32]) -> Array:
    """(..., n) variables as MediaPipe's scores (..., 52) have them; dead scores are left out (see `score_spread`)."""
    columns, rows, _ = _score_columns()
    arkit = np.zeros((*scores.shape[:-1], len(ARKIT52)), np.float32)
    arkit[..., columns] = scores[..., rows]
    return variables().from_controls(FACS102.clamp(ARKIT52.convert(arkit, FACS102)).astype(np.float64))


@cache
def score_spread() -> Array:
    """(n,) how far a variable may be from its `score_expectation`; infinite where no live score speaks of it."""
    table = variables()
    factor = {"lid_close": 0.5, "gaze": 2.0}
    names = [FACS102.names[i] for i in table.positive]
    scale = [next((f for start, f in factor.items() if n.startswith(start)), 1.0) for n in names]
    return np.where(_score_columns()[2][table.positive], SCORE_SPREAD * np.array(scale), np.inf)


@cache
def symmetry_matrix() -> Array:
    """(n, n) Gauss-Newton matrix of the symmetry prior: sum over pairs of ((left - right) / spread)^2 / 2."""
    table = variables()
    rows = np.zeros((len(table.pairs), len(table.positive)))
    index = np.arange(len(table.pairs))
    rows[index, table.pairs[:, 0]], rows[index, table.pairs[:, 1]] = (
        1 / table.pair_spread,
        -1 / table.pair_spread,
    )
    return rows.T @ rows
