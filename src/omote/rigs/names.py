"""Which side of the face a shape's name means, and what its partner on the other side is called."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from omote.controls.space import Side

# (pattern, left, right): group 1 is what comes before the side, group 2 what comes after.
_SIDES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern.replace("@", f"(?:{left}|{right})")), left, right)
    for pattern, left, right in (
        (r"^(.*?)@(?![a-z])()(.*)$", "Left", "Right"),  # browDownLeft, LeftBrowDown, mouth_Left_up
        (r"^(.*?)(?<![A-Za-z])@(?![a-z])()(.*)$", "left", "right"),  # brow_down_left, left_brow, leftBrow
        (r"^(.*?)(?<![A-Z])@(?![A-Za-z])()(.*)$", "LEFT", "RIGHT"),
        (r"^(.*[_.\- :])@()($)", "L", "R"),  # browDown_L, browDown.L
        (r"^(.*[_.\- :])@()($)", "l", "r"),
        (r"^(.*[_.\- :])@()([_.\- :].*)$", "L", "R"),  # CTRL_L_brow_down, brow_L_up
        (r"^(.*[_.\- :])@()([_.\- :].*)$", "l", "r"),
        (r"^()@()([_.\- :].*)$", "L", "R"),  # L_brow_down
        (r"^()@()([_.\- :].*)$", "l", "r"),
        (r"^(.*[a-z][UD]?)@()([A-Z0-9_].*)?$", "L", "R"),  # browRaiseInL, mouthFunnelUL, browLateralL_01
    )
)
_BOTH = re.compile(r"^(.*)(Left|Right)_?([LR])$")  # eyeLookLeftR: the right eye looks left
_SWAP = {"Left": "Right", "Right": "Left", "L": "R", "R": "L"}


@lru_cache(4096)
def split_side(name: str) -> tuple[str, Side, str] | None:
    """(before, "L" or "R", after) of a name that says its side, or None.

    Left and right are taken as the subject's own, as rigs use them.
    """
    both = _BOTH.match(name)
    if both:
        return name[:-1], "L" if both.group(3) == "L" else "R", ""
    for pattern, left, right in _SIDES:
        match = pattern.match(name)
        if match is None:
            continue
        before, after = match.group(1), match.group(3) or ""
        middle = name[len(before) : len(name) - len(after)]
        if middle in (left, right):
            return before, "L" if middle == left else "R", after
    return None


def side_of(name: str) -> Side:
    """The side a name says: "L", "R", or "C" where it says none."""
    found = split_side(name)
    return found[1] if found else "C"


def other_side(name: str, names: Collection[str]) -> str | None:
    """The partner of ``name`` among ``names``, or None where there is none."""
    both = _BOTH.match(name)
    if both:
        partner = name[: both.start(2)] + _SWAP[both.group(2)] + name[both.end(2) : -1] + _SWAP[both.group(3)]
        if partner in names:
            return partner
    for pattern, left, right in _SIDES:
        match = pattern.match(name)
        if match is None:
            continue
        before, after = match.group(1), match.group(3) or ""
        middle = name[len(before) : len(name) - len(after)]
        partner = before + {left: right, right: left}.get(middle, middle) + after
        if partner != name and partner in names:
            return partner
    return None
