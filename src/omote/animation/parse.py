"""What is written on a command line -> the values of `AnimateOptions`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from omote.animation.options import FaceChoice
from omote.errors import InputError


def parse_faces(text: str) -> FaceChoice | tuple[int, ...]:
    """The value of --face: "largest", "all", a number, or several such as "0,2".

    Raises:
        InputError: none of these.
    """
    parts = [part.strip() for part in text.split(",")]
    if all(part.isdecimal() for part in parts):
        numbers = tuple(int(part) for part in parts)
        return numbers if len(numbers) > 1 else numbers[0]
    if text == "largest":
        return "largest"
    if text == "all":
        return "all"
    raise InputError(
        f"'{text}' is no choice of faces", where="--face", remedy=_nearest(text, ("largest", "all"), "0,2")
    )


def parse_driver_face(text: str) -> Literal["largest"] | int:
    """The value of --driver-face: "largest" or a number.

    Raises:
        InputError: neither.
    """
    if text.isdecimal():
        return int(text)
    if text == "largest":
        return "largest"
    remedy = _nearest(text, ("largest",), "a number from 0")
    raise InputError(f"'{text}' is no choice of a face", where="--driver-face", remedy=remedy)


def parse_reference(text: str | None) -> Literal["first", "neutral"] | int | None:
    """The value of --reference: "first", "neutral", or a frame's number.

    Raises:
        InputError: none of these.
    """
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    if text == "first":
        return "first"
    if text == "neutral":
        return "neutral"
    remedy = _nearest(text, ("first", "neutral"), "a frame's number")
    raise InputError(f"'{text}' is no reference", where="--reference", remedy=remedy)


def parse_gaze(text: str | None) -> Literal["camera"] | tuple[float, float] | None:
    """The value of --gaze: "camera", or "YAW,PITCH" in degrees.

    Raises:
        InputError: neither.
    """
    if text is None:
        return None
    if text == "camera":
        return "camera"
    try:
        yaw, pitch = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"'{text}' is no direction",
            where="--gaze",
            remedy="Use camera, or degrees to the subject's left and up such as --gaze=-10,5.",
        ) from None
    return yaw, pitch


def parse_changes(texts: Sequence[str]) -> tuple[dict[str, float], tuple[str, ...]]:
    """The values of --set, which are those of `omote edit --set`.

    Returns:
        What "NAME=+0.2" and "NAME=-0.1" add, by name; and all others ("NAME=0.3", "NAME=x1.5") as they are. The first
        come before gaze and blinks, so that eyes still find the camera; the second change the very result.
    """
    offsets: dict[str, float] = {}
    others = []
    for text in texts:
        name, _, value = text.replace(" ", "").partition("=")
        try:
            if value[:1] not in ("+", "-"):
                raise ValueError(value)
            offsets[name] = offsets.get(name, 0.0) + float(value)
        except ValueError:
            others.append(text)
    return offsets, tuple(others)


def parse_sliders(texts: Sequence[str]) -> Any:
    """The values of --slider, "NAME=VALUE", as `omote.drive.liveportrait.sliders.Sliders`; None where there are none.

    Raises:
        InputError: a slider that does not exist, or a value outside its range.
    """
    from dataclasses import fields

    from omote.drive.liveportrait.sliders import Sliders

    if not texts:
        return None
    known = [one.name for one in fields(Sliders)]
    values = {}
    for text in texts:
        name, _, value = (
            text.replace(" ", "").replace("-", "_", text.partition("=")[0].count("-")).partition("=")
        )
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            remedy = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise InputError(f"there is no slider '{name}'", where="--slider", remedy=remedy)
        try:
            values[name] = float(value)
        except ValueError:
            raise InputError(f"'{text}' is no NAME=VALUE", where="--slider") from None
    return Sliders(**values)


def parse_regions(text: str | None) -> frozenset[str] | None:
    """The value of --regions: names separated by commas."""
    return None if text is None else frozenset(part.strip() for part in text.split(",") if part.strip())


def _nearest(text: str, words: Iterable[str], otherwise: str) -> str:
    words = list(words)
    near = difflib.get_close_matches(text.lower(), words, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Use {', '.join(words)} or {otherwise}."
