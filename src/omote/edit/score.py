"""A performance written as a line of text: keyframes of named poses.

Grammar::

    score    := keyframe (("," | ";" | newline) keyframe)*        "#" begins a comment
    keyframe := TIME item+                                        seconds, or "+SECONDS" after the one before
    item     := NAME [VALUE] | "neutral" | "hold"

A keyframe is a whole pose: what it does not name is at rest. ``hold`` takes over the pose before it, and what else the
keyframe names replaces that part of it. NAME is a FACS102 or ARKit control, or a pattern of them; a word such as smile,
browsUp or pucker; a viseme (aa, PP, ...; sil is rest); an emotion (happy, ...); or an angle in degrees: gazeYaw,
gazePitch (of the eyes in the head), headYaw, headPitch, headRoll; + is to the subject's left, up, to its left shoulder.
VALUE is 1 where it is left out; angles need one. Several names for one control add up, within its range.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from omote.controls import ARKIT52, FACS102
from omote.edit.curves import monotone_cubic
from omote.edit.emotions import EMOTIONS, emotion_pose, is_emotion
from omote.edit.names import did_you_mean, weights_of
from omote.edit.stage import LONGEST, Stage
from omote.errors import InputError
from omote.performance import Performance

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_ANGLES = {"headyaw": 0, "headpitch": 1, "headroll": 2}
_GAZE = {"gazeyaw": ("yaw", 30.0), "gazepitch": ("pitch", 25.0)}
_SPECIAL = ("neutral", "hold", "headYaw", "headPitch", "headRoll", "gazeYaw", "gazePitch")
_LARGEST_TURN = 80.0
_MOST_LETTERS = 1_000_000


@dataclass
class Keyframe:
    """A pose at a moment: seconds; FACS102 control -> value; (3,) degrees of yaw, pitch and roll."""

    time: float
    controls: dict[str, float] = field(default_factory=dict)
    angles: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])


def perform_score(score: str | Path, fps: float = 30.0, strength: float = 1.0) -> Performance:
    """The performance of a score: a smooth curve through its keyframes that does not overshoot.

    Args:
        score: the text, or a path to a ``.txt`` file of it.
        fps: frames a second.
        strength: factor of everything.

    Returns:
        From 0 s to the last keyframe; neutral at 0 where the first keyframe is later.

    Raises:
        InputError: what is wrong, with line and column and the nearest spelling.
    """
    text = score_text(score)
    keys = parse_score(text)
    if keys[0].time > 0:
        keys.insert(0, Keyframe(0.0))
    duration = keys[-1].time
    stage = Stage.lasting(max(duration, 1e-9), fps)
    if duration == 0:
        stage = Stage(stage.times[:1])
    moments = np.array([key.time for key in keys])
    poses = np.zeros((len(keys), len(FACS102)))
    for row, key in zip(poses, keys, strict=True):
        for name, value in key.controls.items():
            row[FACS102.index(name)] = value
    used = np.flatnonzero(poses.any(0))
    stage.controls[:, used] = monotone_cubic(moments, FACS102.clamp(poses)[:, used], stage.times)
    stage.angles[:] = monotone_cubic(moments, np.array([key.angles for key in keys]), stage.times)
    return stage.performance({"method": "score", "score": text.strip()[:4000]}, strength)


def score_text(score: str | Path) -> str:
    """The text of a score: of the file where it is a path or ends in ``.txt``.

    Raises:
        InputError: no such file, or not text.
    """
    if not isinstance(score, Path) and not score.strip().lower().endswith(".txt"):
        text = score
    else:
        path = Path(str(score).strip())
        try:
            with path.open(encoding="utf-8") as stream:
                text = stream.read(_MOST_LETTERS + 1)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InputError(f"the score cannot be read ({reason})", where=path) from None
    if len(text) > _MOST_LETTERS:
        raise InputError("longer than a million letters", where="score")
    return text


def parse_score(text: str) -> list[Keyframe]:
    """The keyframes of a score, see the module's grammar.

    Raises:
        InputError: what is wrong, with line and column and the nearest spelling.
    """
    keys: list[Keyframe] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0]
        for part in re.finditer(r"[^,;]+", line):
            words = [
                (m[0], f"score, line {number} column {part.start() + m.start() + 1}")
                for m in re.finditer(r"\S+", part[0])
            ]
            if words:
                keys.append(_keyframe(words, keys[-1] if keys else None))
    if not keys:
        raise InputError(
            "there is no keyframe", where="score", remedy="An example: 0 neutral, 0.4 smile 0.8."
        )
    return keys


def _keyframe(words: list[tuple[str, str]], before: Keyframe | None) -> Keyframe:
    (first, where), *items = words
    if not _NUMBER.fullmatch(first):
        raise InputError(
            f"'{first}' is not a time in seconds", where=where, remedy="A keyframe reads: 0.4 smile 0.8."
        )
    start = before.time if before is not None else 0.0
    time = start + float(first) if first.startswith("+") else float(first)
    if not 0 <= time <= LONGEST or (before is not None and time <= before.time):
        last = f"after {before.time:g} s" if before is not None else "0 or later"
        raise InputError(f"time {first} must be {last} and within an hour", where=where)
    if not items:
        raise InputError("a keyframe needs a pose", where=where, remedy="Say neutral, hold, or a name.")
    key = Keyframe(time)
    if any(word.lower() == "hold" for word, _ in items) and before is not None:
        key = Keyframe(time, dict(before.controls), list(before.angles))
    kept = set(key.controls)
    index = 0
    while index < len(items):
        name, where = items[index]
        index += 1
        value = None
        if index < len(items) and _NUMBER.fullmatch(items[index][0]):
            value = float(items[index][0])
            index += 1
        _put(key, kept, name, value, where)
    return key


def _put(key: Keyframe, kept: set[str], name: str, value: float | None, where: str) -> None:
    """Put one item into a keyframe; what ``hold`` kept is replaced, not added to."""
    word = name.lower()
    if word in ("neutral", "hold", "sil"):
        if value is not None:
            raise InputError(f"'{name}' takes no value", where=where)
        return
    if word in _ANGLES or word in _GAZE:
        kind, limit = _GAZE.get(word, ("", _LARGEST_TURN))
        if value is None or abs(value) > limit:
            raise InputError(f"'{name}' needs degrees of at most {limit:.0f}", where=where)
        if word in _ANGLES:
            key.angles[_ANGLES[word]] = value
            return
        pose = {f"gaze_{kind}_{side}": value / limit for side in "LR"}
    elif is_emotion(name):
        amount = 1.0 if value is None else value
        if not 0 <= amount <= 1:
            raise InputError(f"{name} {amount:g} is outside 0..1", where=where)
        pose = emotion_pose(name, amount)
    else:
        try:
            pose = {FACS102.names[i]: weight for i, weight in weights_of(name)}
        except InputError:
            known = (*_SPECIAL, *EMOTIONS)
            raise InputError(
                f"nothing is called '{name}'", where=where, remedy=did_you_mean(name, known)
            ) from None
        amount = 1.0 if value is None else value
        low = (
            min(FACS102[c].low for c in pose) if name not in ARKIT52 and set(pose.values()) == {1.0} else 0.0
        )
        if not low <= amount <= 1:
            raise InputError(f"{name} {amount:g} is outside {low:g}..1", where=where)
        pose = {control: amount * weight for control, weight in pose.items()}
    for control, amount in pose.items():
        if control in kept:
            kept.discard(control)
            key.controls[control] = 0.0
        key.controls[control] = key.controls.get(control, 0.0) + amount
