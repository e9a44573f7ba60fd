"""Combination (corrective) shapes found by their names: shapes that act when several others act together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from omote.rigs.names import split_side

_PREFIX = re.compile(
    r"^(?:corrective|correctives|corr|combo|combination|comb|cor|fix|mix)[_.\- :]+", re.IGNORECASE
)
_JOINTS = ("__", "_X_", "_x_", "+", "&", "*", "_and_", "_AND_", ".", "-", "_")
_SIDES = ("l", "r", "left", "right")
MOST = 4
"""Factors of one combination at most."""


def combination_factors(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Combination shape -> its factors, each a name in ``names`` that is no combination itself.

    ``jawOpen_mouthSmile_L``, ``corrective_jawOpen__mouthSmile_L`` and ``jawOpen+mouthSmile_L`` are combinations if
    "jawOpen" and "mouthSmile_L" are shapes of the rig. A name that cannot be split into 2 to 4 names of the rig
    without a rest is an ordinary shape.
    """
    known = {name for name in names if name.lower() not in _SIDES}  # "L" of "Blink_L" is no viseme
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        bare = _PREFIX.sub("", name)
        factors = _split(bare, known - {name}, _tail(bare), MOST)
        if factors is not None and len(factors) > 1 and len(set(factors)) == len(factors):
            found[name] = factors
    return {name: _flattened(factors, found) for name, factors in found.items()}


def _tail(text: str) -> str:
    """The suffix that says the side, "_L" of "browDown_mouthSmile_L": it may count for every factor."""
    side = split_side(text)
    return text[len(side[0].rstrip("_.- :")) :] if side and not side[2] else ""


def _split(text: str, known: set[str], tail: str, most: int) -> tuple[str, ...] | None:
    """Names of ``known`` that make up ``text``, joined by a separator; the longest first name wins."""
    if text in known:
        return (text,)
    if most < 2:
        return None
    cuts = sorted(
        {(match.start(), match.end()) for joint in _JOINTS for match in re.finditer(re.escape(joint), text)},
        reverse=True,
    )
    for start, end in cuts:
        first = next((name for name in (text[:start], text[:start] + tail) if name in known), None)
        rest = _split(text[end:], known, tail, most - 1) if first else None
        if first and rest is not None:
            return (first, *rest)
    return None


def _flattened(factors: tuple[str, ...], found: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Factors that are combinations themselves, replaced by theirs; each name once, in order."""
    flat: list[str] = []
    for factor in factors:
        flat += _flattened(found[factor], found) if factor in found else [factor]
    return tuple(dict.fromkeys(flat))
