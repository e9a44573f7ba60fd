"""Mouth movements of speech without sound: syllables by chance or from a text, and how neighbours blend.

Plausible, not phonetics: spelling is mapped to visemes by a table of English letter groups. Good enough to see a face
talk; for speech that is to match a recording use a lip-sync tool's visemes in a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.controls import FACS102
from omote.edit.poses import VISEMES
from omote.edit.stage import Stage
from omote.errors import InputError

Array = NDArray[Any]

_VOWELS = ("aa", "E", "I", "O", "U")
_ONSETS = ("PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR")
_ONSET_SHARES = np.array([0.17, 0.09, 0.06, 0.18, 0.12, 0.06, 0.13, 0.13, 0.06])
_VOWEL_SHARES = np.array([0.26, 0.22, 0.24, 0.16, 0.12])
_SECONDS = {"vowel": 0.15, "consonant": 0.085, "word": 0.03, "comma": 0.22, "stop": 0.45}
# How much a viseme prevails over its neighbours: lips that must meet do.
_DOMINANCE = {
    "PP": 7.0,
    "FF": 3.5,
    "U": 1.6,
    "CH": 1.5,
    "SS": 1.3,
    "sil": 1.2,
    "kk": 0.5,
    "nn": 0.6,
    "DD": 0.6,
}
_DECAY = 17.0  # of the dominance, per second
_MOST_LETTERS = 20_000
# Longest first. "" is silent.
_SPELLING = {
    "igh": ("aa", "I"),
    "tch": ("CH",),
    **dict.fromkeys(("sh", "ch"), ("CH",)),
    **dict.fromkeys(("th",), ("TH",)),
    **dict.fromkeys(("ph",), ("FF",)),
    **dict.fromkeys(("ck", "qu", "ng"), ("kk",)),
    **dict.fromkeys(("ee", "ea", "ie", "ey"), ("I",)),
    **dict.fromkeys(("ai", "ay", "ei"), ("E", "I")),
    **dict.fromkeys(("oo", "ew"), ("U",)),
    **dict.fromkeys(("ou", "ow"), ("aa", "U")),
    **dict.fromkeys(("oa", "au", "aw"), ("O",)),
    **dict.fromkeys(("oi", "oy"), ("O", "I")),
    "wh": ("U",),
    **dict.fromkeys("aà", ("aa",)),
    **dict.fromkeys("eéè", ("E",)),
    **dict.fromkeys("iy", ("I",)),
    **dict.fromkeys("oö", ("O",)),
    **dict.fromkeys("uüw", ("U",)),
    **dict.fromkeys("bpm", ("PP",)),
    **dict.fromkeys("fv", ("FF",)),
    **dict.fromkeys("dtl", ("DD",)),
    **dict.fromkeys("gkqcx", ("kk",)),
    **dict.fromkeys("sz", ("SS",)),
    **dict.fromkeys("jñ", ("CH",)),
    "n": ("nn",),
    "r": ("RR",),
    "h": (),
}
_LONGEST_GROUP = max(len(group) for group in _SPELLING)


@dataclass(frozen=True)
class Segment:
    """A viseme that lasts from ``start`` for ``seconds``; ``stress`` scales how far the mouth goes."""

    viseme: str
    start: float
    seconds: float
    stress: float = 1.0


def spell(text: str) -> list[tuple[str, float]]:
    """Visemes of a text and their seconds, pauses as "sil".

    Raises:
        InputError: nothing in it can be spoken, or it is very long.
    """
    if len(text) > _MOST_LETTERS:
        raise InputError(f"longer than {_MOST_LETTERS} letters", where="text")
    spoken: list[tuple[str, float]] = []
    text = text.lower()
    i = 0
    while i < len(text):
        for size in range(_LONGEST_GROUP, 0, -1):
            group = text[i : i + size]
            if group in _SPELLING:
                if size == 1 and i and text[i - 1] == group:  # a doubled letter is one sound
                    break
                last_e = (
                    group == "e" and not text[i + 1 : i + 2].isalpha() and len(text[:i].split(" ")[-1]) > 2
                )
                if not last_e:  # "take": the last e is silent
                    spoken += [
                        (v, _SECONDS["vowel" if v in _VOWELS else "consonant"]) for v in _SPELLING[group]
                    ]
                break
        else:
            size = 1
            pause = "comma" if text[i] in ",;:-–—\n" else "stop" if text[i] in ".!?…" else "word"
            if not text[i].isalnum():
                spoken.append(("sil", _SECONDS[pause]))
        i += size
    if all(viseme == "sil" for viseme, _ in spoken):
        raise InputError("there is nothing in it that can be spoken", where="text")
    return spoken


def babble(duration: float, rng: np.random.Generator) -> list[tuple[str, float]]:
    """Visemes of made-up speech that fills ``duration`` seconds: words of one to three syllables, in phrases."""
    spoken: list[tuple[str, float]] = []
    passed, words = 0.0, int(rng.integers(3, 7))
    while passed < duration:
        word: list[tuple[str, float]] = []
        for _ in range(int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))):
            onset = _ONSETS[int(rng.choice(len(_ONSETS), p=_ONSET_SHARES))]
            vowel = _VOWELS[int(rng.choice(len(_VOWELS), p=_VOWEL_SHARES))]
            word += [
                (onset, _SECONDS["consonant"] * rng.uniform(0.8, 1.25)),
                (vowel, _SECONDS["vowel"] * rng.uniform(0.7, 1.35)),
            ]
        words -= 1
        pause = rng.uniform(0.25, 0.55) if words == 0 else _SECONDS["word"]
        words = words or int(rng.integers(4, 8))
        spoken += [*word, ("sil", float(pause))]
        passed = sum(seconds for _, seconds in spoken)
    return spoken


def timed(
    spoken: list[tuple[str, float]], start: float, end: float | None, rng: np.random.Generator
) -> list[Segment]:
    """Visemes laid one after the other from ``start``, stretched to end at ``end`` unless that is None."""
    total = sum(seconds for _, seconds in spoken)
    scale = 1.0 if end is None else (end - start) / total
    segments, now = [], start
    stress = 1.0
    for viseme, seconds in spoken:
        if viseme in _VOWELS:
            stress = float(rng.uniform(0.7, 1.15))
        segments.append(Segment(viseme, now, seconds * scale, 1.0 if viseme == "PP" else stress))
        now += seconds * scale
    return segments


def articulate(stage: Stage, segments: list[Segment]) -> None:
    """Add the mouth's movements to a stage.

    Each viseme dominates around its middle and fades exponentially, and the mouth is the mean of all targets weighted
    so (Cohen and Massaro 1993, "Modeling coarticulation in synthetic visual speech"); rest has a small share always.
    """
    times = stage.times
    total = np.full(len(times), 0.05)
    wanted = np.zeros_like(stage.controls)
    for segment in segments:
        middle, half = segment.start + segment.seconds / 2, segment.seconds / 2
        first, last = np.searchsorted(times, [middle - half - 0.35, middle + half + 0.35])
        # Flat within a long segment, so that a pause is a pause; and rounded, so that the mouth does not jerk.
        away = np.maximum(np.abs(times[first:last] - middle) - 0.6 * half, 0)
        share = _DOMINANCE.get(segment.viseme, 1.0) * np.exp(-_DECAY * away - (_DECAY * away / 2.5) ** 2)
        total[first:last] += share
        for name, value in VISEMES[segment.viseme].items():
            wanted[first:last, FACS102.index(name)] += share * value * segment.stress
    stage.controls += wanted / total[:, None]
