"""One small helper that checks array shapes at public entry points (off under ``python -O``)."""

from __future__ import annotations

from typing import Any

from omote.errors import InputError


def check_shape(name: str, array: Any, *shape: int | str | None) -> None:
    """Raise unless ``array.shape`` fits ``shape``.

    Args:
        name: how the message calls the array.
        array: anything with a ``shape``.
        shape: one entry per axis: an int must match; a str or None matches any size (the str is shown in the message).
            A first entry ``"..."`` matches any number of leading axes.

    Raises:
        InputError: got / expected, in one line.
    """
    if not __debug__:
        return
    got = tuple(int(n) for n in array.shape)
    tail = shape[1:] if shape and shape[0] == "..." else shape
    compared = got[len(got) - len(tail) :] if shape and shape[0] == "..." else got
    fits = len(compared) == len(tail) and all(
        not isinstance(want, int) or want == have for want, have in zip(tail, compared, strict=False)
    )
    if not fits:
        wanted = "(" + ", ".join("*" if n is None else str(n) for n in shape) + ")"
        raise InputError(f"got shape {got}, expected {wanted}", where=name)
