"""One door to performances made without a camera."""

from __future__ import annotations

from pathlib import Path

from omote.edit.presets import emotion_take, preset
from omote.edit.score import perform_score
from omote.errors import InputError
from omote.performance import Performance


def perform(
    name: str | None = None,
    *,
    score: str | Path | None = None,
    emotion: str | None = None,
    text: str | None = None,
    duration: float | None = None,
    fps: float = 30.0,
    strength: float = 1.0,
    seed: int = 0,
) -> Performance:
    """A performance from a preset, a score, emotions or a text to say; exactly one of them.

    Args:
        name: a preset, see `omote.edit.presets.PRESETS`.
        score: keyframes such as ``"0 neutral, 0.4 smile 0.8, 1.2 happy headYaw 10, 2 neutral"``, or the path to a
            ``.txt`` file of them; the grammar stands in `omote.edit.score`.
        emotion: such as ``"happy:0.8"`` or ``"happy:0.5,surprise:0.4"``.
        text: spoken by the preset talk.
        duration: seconds, by default what suits; a score has its own.
        fps: frames a second.
        strength: factor of everything that moves.
        seed: of chance.

    Returns:
        A take in FACS102 of the rig's mean head before a 512-pixel camera.

    Raises:
        InputError: none or several of the four, an unknown name, a value out of range, or a score that cannot be read.
    """
    name = "talk" if name is None and text is not None and score is None and emotion is None else name
    if [name, score, emotion].count(None) != 2:
        raise InputError(
            "say one of preset, score, emotion and text", remedy="`omote perform --list` shows what there is."
        )
    if text is not None and name is None:
        raise InputError("a text goes with the preset talk", where="text")
    if score is not None:
        if duration is not None:
            raise InputError("a score has its own duration", where="duration")
        return perform_score(score, fps, strength)
    if emotion is not None:
        return emotion_take(emotion, duration, fps, strength, seed)
    return preset(str(name), duration, fps, strength, seed, text)
