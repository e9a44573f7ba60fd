"""Slices written as text, such as ``[:, ::4, 3, 8:24]``: read by a small grammar, never evaluated."""

from __future__ import annotations

import re
from types import EllipsisType

from omote.errors import FormatError

Index = int | slice | EllipsisType | None

_LONGEST = 1000
_NUMBER = r"\s*([+-]?[0-9]{1,12})?\s*"
_RANGE = re.compile(f"{_NUMBER}:{_NUMBER}(?::{_NUMBER})?")
_ONE = re.compile(r"\s*([+-]?[0-9]{1,12})\s*")


def parse_slice(text: str) -> tuple[Index, ...]:
    """The index that the text stands for, as NumPy takes it.

    Args:
        text: comma-separated parts in brackets: a whole number, ``start:stop:step`` with any of the three left out,
            ``...`` or ``None``.

    Raises:
        FormatError: anything else.
    """
    stripped = text.strip()
    if len(text) > _LONGEST or not (stripped.startswith("[") and stripped.endswith("]")):
        raise FormatError(f"'{text[:80]}' is not a slice such as [:, ::4, 3, 8:24]")
    parts = stripped[1:-1].split(",")
    if len(parts) > 1 and not parts[-1].strip():  # as in [0,]
        parts.pop()
    return tuple(_part(part, text) for part in parts)


def _part(part: str, text: str) -> Index:
    word = part.strip()
    if word == "...":
        return ...
    if word == "None":
        return None
    if one := _ONE.fullmatch(part):
        return int(one[1])
    found = _RANGE.fullmatch(part)
    if not found:
        raise FormatError(f"'{word[:40]}' in the slice '{text[:80]}' is not an index")
    start, stop, step = (None if number is None else int(number) for number in found.groups())
    if step == 0:
        raise FormatError(f"the slice '{text[:80]}' has a step of 0")
    return slice(start, stop, step)
