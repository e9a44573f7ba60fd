"""Which controls act in a training sample: the recipe of the paper, and a wilder one.

Source: "Image-based Facial Rig Inversion" (Yang, Volino, Mustafa, Maguire, Kosk, arXiv 2510.13933): every control
alone, 20 hand-made combinations, then random drop, add and replace of controls, amplitudes from a normal distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from omote.controls import ARKIT52, FACS102, ControlSpace
from omote.edit.emotions import EMOTIONS, emotion_pose
from omote.edit.poses import VISEMES, WORDS
from omote.render.sheets import companions
from omote.rigs.mapping import NameMapping
from omote.rigs.name_matching import shown_with_jaw

COMBINED_WORDS = (
    *("smirkLeft", "winkRight", "squint", "worry", "sneer", "pout", "kiss", "funnel", "teeth", "bite"),
    *("tongue", "press", "stretch"),
)
"""With the seven emotions, the 20 combined expressions."""
RECIPES = ("paper", "wild")

Array = np.ndarray
Chance = np.random.Generator


@dataclass(frozen=True)
class Expression:
    """Controls of one sample and how they came about.

    Attributes:
        controls: (C,) control units, within the ranges.
        kind: "alone", "combined", "varied", "unit" (one ARKit shape), "mixed" or "neutral".
    """

    controls: Array
    kind: str


@cache
def combined(space: ControlSpace) -> Array:
    """(20, C) the combined expressions in the controls of a space; fewer where it does not know them."""
    poses = [emotion_pose(name) for name in EMOTIONS] + [WORDS[word] for word in COMBINED_WORDS]
    return _known(np.stack([_vector(pose) for pose in poses]), FACS102, space)


@cache
def units(space: ControlSpace) -> Array:
    """(N, C) each ARKit shape, and each viseme, in the controls of a space."""
    shapes = _known(np.eye(len(ARKIT52), dtype=np.float32), ARKIT52, space)
    visemes = _known(np.stack([_vector(pose) for pose in VISEMES.values()]), FACS102, space)
    return np.concatenate([shapes, visemes])


def _vector(pose: dict[str, float]) -> Array:
    values = FACS102.neutral.copy()
    for name, value in pose.items():
        values[FACS102.index(name)] = value
    return values


def _known(values: Array, source: ControlSpace, space: ControlSpace) -> Array:
    if space in (FACS102, ARKIT52):
        values = source.convert(values, to=space)
    else:  # by name, as far as names are known
        values = NameMapping.by_name(space, source).to_rig(values)
    values = space.clamp(values).astype(np.float32)
    return values[np.abs(values - space.neutral).max(1) > 0]


@cache
def _alone(space: ControlSpace) -> tuple[tuple[int, float], ...]:
    """(control, end of its range) of every control; signed ones have two."""
    return tuple(
        (index, float(end))
        for index, control in enumerate(space.controls)
        for end in (control.high, control.low)
        if end != control.neutral
    )


def sample_expression(space: ControlSpace, recipe: str, index: int, rng: Chance) -> Expression:
    """The controls of sample ``index``.

    Args:
        space: the rig's controls.
        recipe: "paper" or "wild".
        index: position in the data set; the paper's recipe walks through all controls by it.
        rng: seeded for this sample.
    """
    values, kind = (_paper if recipe == "paper" else _wild)(space, index, rng)
    return Expression(space.clamp(_with_companions(space, values, rng)).astype(np.float32), kind)


def _amplitude(rng: Chance, mean: float = 0.6, spread: float = 0.25) -> float:
    return float(np.clip(rng.normal(mean, spread), 0.08, 1.0))


def _single(space: ControlSpace, rng: Chance, pick: int | None = None) -> tuple[int, float]:
    options = _alone(space)
    index, end = options[int(rng.integers(len(options))) if pick is None else pick % len(options)]
    return index, end * _amplitude(rng)


def _paper(space: ControlSpace, index: int, rng: Chance) -> tuple[Array, str]:
    values = space.neutral.copy()
    ready = combined(space)
    turn, rest = divmod(index, 8)
    if rest == 0:
        control, value = _single(space, rng, turn)
        values[control] = value
        return values, "alone"
    if rest == 1 and len(ready):
        return _scaled(space, ready[turn % len(ready)], rng), "combined"
    if len(ready) and rng.random() < 0.5:
        values = _scaled(space, ready[rng.integers(len(ready))], rng)
    else:
        control, value = _single(space, rng)
        values[control] = value
    for _ in range(1 + rng.poisson(2.0)):
        active = np.flatnonzero(values != space.neutral)
        action = rng.choice(("drop", "add", "replace"), p=(0.2, 0.5, 0.3))
        if action != "add" and len(active):
            values[rng.choice(active)] = 0
        if action != "drop":
            control, value = _single(space, rng)
            values[control] = value
    return values, "varied"


def _scaled(space: ControlSpace, pose: Array, rng: Chance) -> Array:
    """A pose with an amplitude of its own for each control, from a normal distribution."""
    gain = np.clip(rng.normal(0.8, 0.25, len(space)), 0.0, 1.3).astype(np.float32)
    return space.clamp(space.neutral + (pose - space.neutral) * gain)


def _wild(space: ControlSpace, index: int, rng: Chance) -> tuple[Array, str]:
    values = space.neutral.copy()
    ready, shapes = combined(space), units(space)
    kind = rng.choice(("neutral", "alone", "unit", "mixed"), p=(0.04, 0.12, 0.24, 0.60))
    if kind == "unit" and not len(shapes):  # a rig whose names nobody knows has no ready-made ones
        kind = "mixed"
    if kind == "unit":
        amplitude = 1.0 if rng.random() < 0.4 else _amplitude(rng, 0.7)
        values = space.neutral + (shapes[rng.integers(len(shapes))] - space.neutral) * np.float32(amplitude)
        if rng.random() < 0.5:
            values = space.mirror(values)
    elif kind == "alone":
        _activate(space, values, rng, index)
    elif kind == "mixed":
        if len(ready) and rng.random() < 0.6:
            values = _scaled(space, ready[rng.integers(len(ready))], rng) * np.float32(_amplitude(rng, 0.7))
        for _ in range(rng.poisson(3.5)):
            _activate(space, values, rng)
    if kind != "alone":
        _look(space, values, rng)
    return values, str(kind)


def _activate(space: ControlSpace, values: Array, rng: Chance, pick: int | None = None) -> None:
    """Move one control, and six times out of ten its mirror partner alike."""
    control, value = _single(space, rng, pick)
    name = space.names[control]
    if name.startswith("head_") and rng.random() < 0.7:  # in pictures heads turn; their own pose says so
        return
    values[control] = value
    partner = int(space.mirror_indices[control])
    if partner != control and not name.startswith("gaze_") and rng.random() < 0.6:
        values[partner] = value * float(np.clip(rng.normal(1.0, 0.12), 0.5, 1.5))


def _look(space: ControlSpace, values: Array, rng: Chance) -> None:
    """Eyes mostly look somewhere, together, and blink now and then."""
    if "gaze_yaw_L" not in space or rng.random() < 0.25:
        return
    yaw, pitch = rng.normal(0, 0.45), rng.normal(0, 0.40)
    vergence = abs(rng.normal(0, 0.06))
    for side, sign in (("L", -1.0), ("R", 1.0)):  # eyes that look at something near turn inward
        values[space.index(f"gaze_yaw_{side}")] = yaw + sign * vergence
        values[space.index(f"gaze_pitch_{side}")] = pitch + rng.normal(0, 0.02)
    if rng.random() < 0.15:
        closed = 1.0 if rng.random() < 0.5 else rng.uniform(0.1, 0.9)
        for side in "LR":
            values[space.index(f"lid_close_{side}")] = closed
            values[space.index(f"lid_upper_raise_{side}")] = 0.0


def _with_companions(space: ControlSpace, values: Array, rng: Chance) -> Array:
    """Open the jaw where an acting control shows only behind open lips (tongue, lips held together).

    Lips that close by a control of their own (ARKit's ``mouthClose``) close no further than the jaw is open.
    """
    needs = _needs(space)
    for control in np.flatnonzero(np.abs(values - space.neutral) > 0.05):
        for name, least in needs.get(space.names[control], {}).items():
            if name in space and values[space.index(name)] < 0.3:
                values[space.index(name)] = np.clip(rng.normal(least, 0.15), 0.3, 1.0)
    for name, jaw in _closing(space).items():
        values[space.index(name)] = min(values[space.index(name)], values[space.index(jaw)])
    return values


@cache
def _needs(space: ControlSpace) -> dict[str, dict[str, float]]:
    """Control -> the jaw, and how far it has to be open."""
    if space == FACS102:
        return {name: companions(name) for name in space.names}
    return shown_with_jaw(space.names)


@cache
def _closing(space: ControlSpace) -> dict[str, str]:
    """Controls that close the lips of an open jaw -> the jaw."""
    return {
        name: jaw
        for name, needs in (() if space == FACS102 else shown_with_jaw(space.names).items())
        for jaw, least in needs.items()
        if least == 1.0
    }
