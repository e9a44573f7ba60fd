"""Ready-made performances. Each begins and ends with the neutral face, so that it loops; chance is seeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from omote.controls import FACS102
from omote.edit import emotions
from omote.edit.blinks import CLOSE, HOLD, OPEN, blink_profile, insert_blinks
from omote.edit.curves import Array, ease, fitted, gate, pulse
from omote.edit.poses import WORDS
from omote.edit.stage import Stage
from omote.edit.talk import articulate, babble, spell, timed
from omote.errors import InputError
from omote.performance import Performance

Chance = np.random.Generator


@dataclass(frozen=True)
class Preset:
    """What a preset is for, how long it lasts unless told otherwise, and what makes it."""

    doc: str
    seconds: float
    make: Callable[[Stage, Chance], None]
    blinks: float = 0.0
    """Blinks a minute that come on top, whatever the strength."""


def preset(
    name: str,
    duration: float | None = None,
    fps: float = 30.0,
    strength: float = 1.0,
    seed: int = 0,
    text: str | None = None,
) -> Performance:
    """A ready-made performance.

    Args:
        name: a key of `PRESETS`, in any case.
        duration: seconds; None is the preset's own, or what the text needs. A longer gesture is held or repeated.
        fps: frames a second.
        strength: factor of everything that moves but inserted blinks; 1 is a clear, natural size.
        seed: of chance (asymmetry, timing, babble).
        text: what "talk" says.

    Returns:
        The take, from 0 to ``duration``: first and last frame neutral, mean identity, method "preset".

    Raises:
        InputError: unknown preset (names the nearest), a value out of range, a text for another preset than talk.
    """
    key = name.lower().replace("_", "-")
    if key not in PRESETS and emotions.is_emotion(key):
        key = emotions.SPELLINGS.get(key, key).replace("anger", "angry")
    if key not in PRESETS:
        raise InputError(f"no preset is called '{name}'", remedy=f"There are: {', '.join(PRESETS)}.")
    if text is not None and key != "talk":
        raise InputError("a text goes with the preset talk", where=name)
    made = PRESETS[key]
    rng = np.random.default_rng([seed, *key.encode()])
    spoken = None if text is None else spell(text)
    if duration is None:
        duration = made.seconds if spoken is None else sum(s for _, s in spoken) + 0.7
    stage = Stage.lasting(duration, fps)
    if key == "talk":
        _talk(stage, rng, spoken)
    else:
        made.make(stage, rng)
    source = {"method": "preset", "preset": key, "seed": seed, **({} if text is None else {"text": text})}
    return _finished(stage, source, strength, made.blinks, seed)


def emotion_take(
    mixture: str, duration: float | None = None, fps: float = 30.0, strength: float = 1.0, seed: int = 0
) -> Performance:
    """A performance that goes from neutral into emotions such as ``"happy:0.8"`` and back; see `preset`.

    Raises:
        InputError: an unknown emotion, or a value out of range.
    """
    pose = emotions.mixed_emotions(mixture)
    stage = Stage.lasting(3.0 if duration is None else duration, fps)
    stage.add(pose, pulse(stage.times, *fitted(stage.duration, 0.5, 0.7)))
    source = {"method": "preset", "preset": "emotion", "emotion": mixture, "seed": seed}
    return _finished(stage, source, strength, 0.0, seed)


def _finished(
    stage: Stage, source: dict[str, object], strength: float, blinks: float, seed: int
) -> Performance:
    take = stage.performance(source, strength)
    if not blinks:
        return take
    return take.with_(controls=insert_blinks(take.controls, take.times, blinks, seed))


# ---- one face's movements ---------------------------------------------------------------------------------


def _blink(stage: Stage, rng: Chance) -> None:
    every = 2.2
    count = max(1, int(stage.duration / every))
    length = CLOSE + HOLD + OPEN
    for k in range(count):
        wander = rng.uniform(-0.3, 0.3) if count > 1 else 0.0
        middle = (k + 0.5) * stage.duration / count + wander
        start = min(max(middle - length / 2, 0.02), max(stage.duration - length - 0.02, 0.0))
        hold = max(HOLD, 1.05 * float(stage.times[1]))
        lids = blink_profile(stage.times - start, hold) * (stage.times < stage.duration)
        stage.add({"lid_close_L": 1, "lid_close_R": 1, "brow_lower_L": 0.05, "brow_lower_R": 0.05}, lids)


def _wink(stage: Stage, rng: Chance) -> None:
    up = pulse(stage.times, *fitted(stage.duration, 0.16, 0.26, 0.2))
    stage.add({"lid_close_L": 1.0, "cheek_raise_L": 0.55, "corner_pull_L": 0.35, "brow_lower_L": 0.15}, up)
    stage.add({"lid_tighten_R": 0.15, "corner_pull_R": 0.1}, up)
    stage.angles[:, 2] += 3.0 * pulse(stage.times, *fitted(stage.duration, 0.3, 0.4, 0.1))


def _smile(stage: Stage, rng: Chance) -> None:
    up = pulse(stage.times, *fitted(stage.duration, 0.55, 0.8))
    for side in "LR":
        size = rng.uniform(0.94, 1.06)
        stage.add({f"corner_pull_{side}": 0.8 * size, f"upper_lip_raise_{side}": 0.15 * size}, up)
        stage.add(
            {f"cheek_raise_{side}": 0.5 * size, f"lid_tighten_{side}": 0.12}, up**1.3
        )  # eyes a little later
    stage.add({"lips_part": 0.8, "jaw_open": 0.06}, up)
    stage.angles[:, 2] += rng.choice([-1.5, 1.5]) * up
    stage.angles[:, 1] += 1.5 * up


def _laugh(stage: Stage, rng: Chance) -> None:
    t = stage.times
    up = pulse(t, *fitted(stage.duration, 0.4, 0.8))
    shaking = pulse(t, *fitted(stage.duration, 0.25, 0.9, 0.35))
    beat = 0.5 - 0.5 * np.cos(2 * np.pi * 4.6 * t + 0.8 * np.sin(2 * np.pi * 0.7 * t))
    both = {
        "corner_pull": 0.95,
        "cheek_raise": 0.8,
        "lid_tighten": 0.35,
        "upper_lip_raise": 0.25,
        "lid_close": 0.15,
    }
    stage.add({f"{name}_{side}": value for name, value in both.items() for side in "LR"}, up)
    stage.add({"jaw_open": 0.38, "lower_lip_depress_L": 0.15, "lower_lip_depress_R": 0.15}, up)
    stage.add({"jaw_open": 0.14}, shaking * (beat - 0.5))
    stage.add({"nostril_dilate_L": 0.4, "nostril_dilate_R": 0.4}, shaking * beat)
    stage.angles[:, 1] += 7.0 * up + 1.2 * shaking * beat
    stage.angles[:, 2] += rng.choice([-1, 1]) * 2.5 * up
    stage.shift[:, 1] += 0.003 * shaking * beat


def _talk(stage: Stage, rng: Chance, spoken: list[tuple[str, float]] | None = None) -> None:
    lead = min(0.3, 0.12 * stage.duration)
    spoken = spoken or babble(stage.duration - 2 * lead, rng)
    segments = timed(spoken, lead, stage.duration - lead, rng)
    articulate(stage, segments)
    stage.controls *= gate(stage.times, lead)[:, None]
    t = stage.times
    for segment in segments:  # stressed vowels: the head dips and the brows rise
        if segment.stress > 1.02 and segment.viseme in ("aa", "E", "I", "O", "U"):
            middle = segment.start + segment.seconds / 2
            beat = np.exp(-(((t - middle) / 0.13) ** 2)) * gate(t, lead)
            stage.angles[:, 1] -= rng.uniform(0.8, 2.2) * beat
            stage.add({f"brow_{part}_up_{side}": 0.22 for part in ("inner", "outer") for side in "LR"}, beat)
    _sway(stage, rng, np.array([2.2, 1.2, 1.2]))
    stage.steady_gaze()


# ---- the head and the eyes --------------------------------------------------------------------------------


def _nod(stage: Stage, rng: Chance) -> None:
    _swing(stage, 1, 5.5, 1.55, rng, centre=-3.0)


def _shake(stage: Stage, rng: Chance) -> None:
    _swing(stage, 0, 11.0, 1.3, rng)


def _tilt(stage: Stage, rng: Chance) -> None:
    up = pulse(stage.times, *fitted(stage.duration, 0.5, 0.6))
    stage.angles += np.outer(up, [2.0, 0.5, 11.0])
    stage.add({"brow_inner_up_L": 0.2, "brow_inner_up_R": 0.15}, up)
    stage.steady_gaze()


def _swing(stage: Stage, axis: int, degrees: float, rate: float, rng: Chance, centre: float = 0.0) -> None:
    """Turn back and forth about ``centre`` in whole cycles, the last ones smaller; the eyes stay where they look."""
    t, span = stage.times, stage.duration
    cycles = max(1, round((span - 0.3) * rate))
    phase = 2 * np.pi * cycles * np.clip((t - 0.15) / max(span - 0.3, 1e-6), 0, 1)
    size = gate(t, 0.35) * (1 - 0.35 * ease(t / span)) * rng.uniform(0.95, 1.05)
    if centre:  # a nod goes down from where the head is
        stage.angles[:, axis] += size * np.sign(centre) * degrees * (1 - np.cos(phase))
    else:
        stage.angles[:, axis] += size * degrees * np.sin(phase)
    stage.steady_gaze()


def _look_around(stage: Stage, rng: Chance) -> None:
    """Glances of the eyes, each in one quick saccade, that the head follows by a part after them."""
    t, span = stage.times, stage.duration
    count = max(2, round(span / 0.9))
    marks = np.linspace(0.06, 0.92, count + 1) * span
    targets = np.zeros((count + 1, 2))
    side = rng.choice([-1, 1])
    for k in range(count):
        targets[k] = side * rng.uniform(14, 26), rng.uniform(-8, 8)
        side = -side if rng.uniform() < 0.75 else side
    targets[count] = 0.0
    eyes, head = np.zeros((2, len(t), 2))
    before = np.zeros(2)
    for mark, target in zip(marks, targets, strict=True):
        step = target - before
        quick = 0.025 + 0.0022 * float(
            np.abs(step).max()
        )  # the main sequence of saccades (Bahill et al. 1975)
        eyes += np.outer(ease((t - mark) / quick), step)
        head += np.outer(ease((t - mark - 0.05) / min(0.38, 0.06 * span)), 0.42 * step)
        if np.abs(step).max() > 24:
            lids = blink_profile(t - mark)
            stage.controls[:, _LIDS] = np.maximum(stage.controls[:, _LIDS], lids[:, None])
        before = target
    end = gate(t, 0.08)[:, None]
    eyes, head = eyes * end, head * end
    stage.angles[:, :2] += head
    stage.angles[:, 2] += 0.12 * head[:, 0]
    for column, (name, limit) in enumerate((("yaw", 30.0), ("pitch", 25.0))):
        for letter in "LR":
            index = FACS102.index(f"gaze_{name}_{letter}")
            stage.controls[:, index] += (eyes[:, column] - head[:, column]) / limit


_LIDS = [FACS102.index("lid_close_L"), FACS102.index("lid_close_R")]


def _idle(stage: Stage, rng: Chance) -> None:
    """Breath, a wandering head and the small saccades of a gaze at rest."""
    t = stage.times
    window = gate(t, 0.6)
    breaths = max(1, round(stage.duration / 4.0))
    breath = (0.5 - 0.5 * np.cos(2 * np.pi * breaths * t / stage.duration)) * window
    stage.shift[:, 1] += 0.0022 * breath
    stage.angles[:, 1] += 0.7 * breath
    stage.add({"nostril_dilate_L": 0.2, "nostril_dilate_R": 0.2}, breath)
    _sway(stage, rng, np.array([1.6, 0.8, 0.9]))
    stage.steady_gaze()
    eyes = np.zeros((len(t), 2))
    moment, before = 0.4, np.zeros(2)
    while moment < stage.duration - 0.3:
        target = rng.normal(0, [1.3, 0.8])
        eyes += np.outer(ease((t - moment) / 0.03), target - before)
        moment, before = moment + rng.uniform(0.35, 1.4), target
    eyes *= window[:, None]
    for letter in "LR":
        stage.controls[:, FACS102.index(f"gaze_yaw_{letter}")] += eyes[:, 0] / 30.0
        stage.controls[:, FACS102.index(f"gaze_pitch_{letter}")] += eyes[:, 1] / 25.0
    mouth = window * (
        0.5 + 0.5 * np.sin(2 * np.pi * max(1, round(stage.duration / 5)) * t / stage.duration + 1.0)
    )
    stage.add({"corner_pull_L": 0.05, "corner_pull_R": 0.06, "lips_part": 0.06}, mouth)


def _sway(stage: Stage, rng: Chance, degrees: Array) -> None:
    """A slow aimless turning of the head: three sines of chance phase an axis, 0 at both ends."""
    t = stage.times
    window = gate(t, 0.6)
    for axis in range(3):
        for rate in rng.uniform(0.12, 0.55, 3):
            wave = np.sin(2 * np.pi * rate * t + rng.uniform(0, 2 * np.pi))
            stage.angles[:, axis] += window * degrees[axis] * wave / 2


# ---- emotions ---------------------------------------------------------------------------------------------


def _felt(
    name: str,
    onset: float,
    offset: float,
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    back: float = 0.0,
) -> Callable[[Stage, Chance], None]:
    """An emotion with the head's part in it: ``turn`` degrees of yaw, pitch and roll, ``back`` metres away."""

    def make(stage: Stage, rng: Chance) -> None:
        start, up, apex, down = fitted(stage.duration, onset, offset)
        rise = pulse(stage.times, start, up, apex, down)
        pose = emotions.emotion_pose(name)
        sizes = {side: rng.uniform(0.95, 1.05) for side in "LR"}
        stage.add({c: v * sizes.get(c[-1:] if c[-2:-1] == "_" else "", 1.0) for c, v in pose.items()}, rise)
        slower = pulse(stage.times, start, 1.4 * up, max(apex - 0.4 * up, 0.0), down)
        stage.angles += np.outer(slower, turn)
        stage.shift[:, 2] -= back * slower

    return make


def _sad(stage: Stage, rng: Chance) -> None:
    _felt("sad", 0.9, 1.1, (0.0, -5.0, 2.0))(stage, rng)
    down = pulse(stage.times, *fitted(stage.duration, 0.7, 0.9))
    stage.add({"gaze_pitch_L": -0.35, "gaze_pitch_R": -0.35, "lid_close_L": 0.12, "lid_close_R": 0.12}, down)


def _one_word(word: str, onset: float, offset: float) -> Callable[[Stage, Chance], None]:
    def make(stage: Stage, rng: Chance) -> None:
        stage.add(WORDS[word], pulse(stage.times, *fitted(stage.duration, onset, offset)))

    return make


PRESETS: dict[str, Preset] = {
    "blink": Preset("both eyes blink once, or every two seconds or so", 1.2, _blink),
    "wink": Preset("the left eye winks, with a little of a smile", 1.4, _wink),
    "smile": Preset("a warm smile that reaches the eyes, held", 3.0, _smile, 10),
    "laugh": Preset("laughter: open mouth, narrowed eyes, the head back", 3.5, _laugh),
    "talk": Preset("speech without sound; made-up syllables or a given text", 5.0, _talk, 16),
    "kiss": Preset("puckered lips, once", 1.6, _one_word("kiss", 0.3, 0.35)),
    "nod": Preset("yes: the head nods while the eyes stay on the viewer", 2.2, _nod),
    "shake": Preset("no: the head shakes while the eyes stay on the viewer", 2.4, _shake),
    "tilt": Preset("the head tilts to its left and comes back", 2.4, _tilt, 8),
    "look-around": Preset("glances to the sides, the head following the eyes", 5.0, _look_around),
    "happy": Preset("EMFACS happiness: cheeks up, corners up", 3.0, _felt("happy", 0.5, 0.8, (0, 2, 1.5))),
    "sad": Preset("EMFACS sadness: inner brows up, corners down, eyes and head down", 4.0, _sad),
    "surprise": Preset(
        "EMFACS surprise: brows up, eyes wide, jaw dropped",
        2.0,
        _felt("surprise", 0.2, 0.6, (0, 3, 0), 0.012),
    ),
    "fear": Preset(
        "EMFACS fear: brows up and together, eyes wide, lips stretched",
        2.4,
        _felt("fear", 0.25, 0.7, (0, 2, 0), 0.025),
    ),
    "angry": Preset(
        "EMFACS anger: brows down, eyes hard, lips tight", 3.0, _felt("anger", 0.4, 0.7, (0, -5, 0), -0.02)
    ),
    "disgust": Preset(
        "EMFACS disgust: nose wrinkled, upper lip up", 2.6, _felt("disgust", 0.4, 0.7, (6, 2, 0), 0.012)
    ),
    "contempt": Preset(
        "EMFACS contempt: one corner tightened and raised", 2.6, _felt("contempt", 0.5, 0.7, (-4, 3, -3))
    ),
    "idle": Preset("nothing much: breath, blinks, small eye movements", 8.0, _idle, 15),
}
"""Name -> preset."""
