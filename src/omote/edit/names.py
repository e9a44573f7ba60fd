"""What a user may call a control: its FACS102 name, an ARKit name, a friendly word, or a pattern of them."""

from __future__ import annotations

import difflib
import fnmatch
from functools import cache

from omote.controls import ARKIT52, FACS102
from omote.controls.arkit52 import CONVERSIONS, LIPS_TOGETHER
from omote.edit.poses import WORDS
from omote.errors import InputError


@cache
def weights_of(pattern: str) -> tuple[tuple[int, float], ...]:
    """The FACS102 controls that a name or a pattern such as ``"mouthSmile*"`` stands for.

    Names of FACS102 and of ARKit are both looked at, in any case; the friendly words of `omote.edit.poses.WORDS` where
    neither fits. A control that several names reach counts once, by the first of them.

    Args:
        pattern: a name; ``*``, ``?`` and ``[...]`` as in file names.

    Returns:
        (position in FACS102, weight): the weight is what one unit of the name adds to the control. An ARKit name that
        several controls make up (``mouthPucker``) has them all; ``eyeLookInLeft`` is ``gaze_yaw_L`` at -1.

    Raises:
        InputError: nothing fits; names the nearest spellings.
    """
    wanted = pattern.strip().lower()
    found: dict[str, float] = {
        name: 1.0 for name in FACS102.names if fnmatch.fnmatchcase(name.lower(), wanted)
    }
    for name in ARKIT52.names:
        if fnmatch.fnmatchcase(name.lower(), wanted):
            for control, weight in _arkit(name).items():
                found.setdefault(control, weight)
    if not found:
        for word, pose in WORDS.items():
            if fnmatch.fnmatchcase(word.lower(), wanted):
                for control, weight in pose.items():
                    found.setdefault(control, weight)
    if not found:
        raise InputError(f"no control is called '{pattern}'", remedy=did_you_mean(pattern))
    return tuple(sorted((FACS102.index(name), weight) for name, weight in found.items()))


def did_you_mean(name: str, also: tuple[str, ...] = ()) -> str:
    """A sentence with the nearest spellings of a name among all that are known, and ``also``."""
    known = {n.lower(): n for n in (*FACS102.names, *ARKIT52.names, *WORDS, *also)}
    near = difflib.get_close_matches(name.lower(), list(known), n=3, cutoff=0.55)
    if near:
        return f"Did you mean {', '.join(known[n] for n in near)}?"
    return "`omote rig list` and `omote perform --list` show the names."


@cache
def _arkit(name: str) -> dict[str, float]:
    if name == "mouthClose":  # relative to jawOpen in ARKit, of the lips alone in FACS102
        return dict.fromkeys(LIPS_TOGETHER, 1.0)
    return {to: weight for source, to, weight in CONVERSIONS if source == name and to in FACS102}
