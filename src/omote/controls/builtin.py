"""The built-in control spaces, made from their tables."""

from __future__ import annotations

from omote.controls import arkit52, facs102, implicit21
from omote.controls.space import Control, ControlSpace, Side
from omote.errors import InputError

_SIDES: dict[str, Side] = {"L": "L", "R": "R", "left": "L", "right": "R", "Left": "L", "Right": "R"}
_WORDS = {"L": "left", "R": "right", "C": ""}


def _facs102() -> ControlSpace:
    controls = []
    for name, units, (low, high), unit, doc in facs102.ROWS:
        for letter in ("L", "R") if "*" in name else ("",):
            full = name.replace("*", letter)
            side = _SIDES.get(full.rpartition("_")[2], "C")
            sign = -1.0 if full in facs102.MIRROR_NEGATES else 1.0
            text = doc.format(side=_WORDS[side])
            controls.append(Control(full, low, high, 0.0, _other_side(full), sign, units, side, unit, text))
    return ControlSpace("facs102", tuple(controls))


def _arkit52() -> ControlSpace:
    controls = []
    for name in arkit52.ARKIT_NAMES:
        word = next((s for s in ("Left", "Right") if name.endswith(s)), "")
        units, doc = arkit52.DOCS[name.removesuffix(word)]
        side = _SIDES.get(word, "C")
        text = doc.format(side=_WORDS[side])
        controls.append(Control(name, 0.0, 1.0, 0.0, _other_side(name), 1.0, units, side, "", text))
    return ControlSpace("arkit52", tuple(controls))


def _implicit21() -> ControlSpace:
    controls = []
    for name, low, high, neutral, doc in implicit21.ROWS:
        side = _SIDES.get(name.rpartition("_")[2], "C")
        controls.append(Control(name, low, high, neutral, _other_side(name), side=side, doc=doc))
    return ControlSpace("implicit21", tuple(controls), learned=True)


def _other_side(name: str) -> str:
    for one, other in (("_L", "_R"), ("Left", "Right"), ("_left", "_right")):
        if name.endswith(one):
            return name.removesuffix(one) + other
        if name.endswith(other):
            return name.removesuffix(other) + one
    return name


FACS102 = _facs102()
ARKIT52 = _arkit52()
IMPLICIT21 = _implicit21()

_SPACES = {space.name: space for space in (FACS102, ARKIT52, IMPLICIT21)}


def space_by_name(name: str) -> ControlSpace:
    """A built-in control space: "facs102", "arkit52" or "implicit21" (any case).

    Raises:
        InputError: unknown name.
    """
    if name.lower() not in _SPACES:
        raise InputError(f"unknown control space '{name}'", remedy=f"Known are {', '.join(_SPACES)}.")
    return _SPACES[name.lower()]
