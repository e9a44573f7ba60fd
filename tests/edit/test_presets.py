"""Presets and speech: they loop, stay in range, depend on the seed alone, and do what they are called after."""

from __future__ import annotations

import numpy as np
import pytest

from omote.controls import FACS102
from omote.edit.perform import perform
from omote.edit.presets import PRESETS, preset
from omote.edit.talk import spell
from omote.errors import InputError
from omote.geometry.rotations import axis_angle_to_matrix, matrix_to_yaw_pitch_roll
from omote.performance import Performance


def angles(take: Performance) -> np.ndarray:
    return np.degrees(matrix_to_yaw_pitch_roll(axis_angle_to_matrix(take.head_rotation)))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_loops_and_stays_in_range(name: str) -> None:
    for duration in (None, 0.6, 13.0):
        take = preset(name, duration, fps=25, seed=4)
        for frame in (0, -1):
            assert np.abs(take.controls[frame]).max() < 1e-6
            assert np.abs(take.head_rotation[frame]).max() < 1e-6
            assert np.abs(take.head_translation[frame] - take.head_translation[0]).max() < 1e-6
        assert take.duration == pytest.approx(
            PRESETS[name].seconds if duration is None else duration, abs=0.021
        )
        assert FACS102.clamp(take.controls) == pytest.approx(take.controls)
        assert np.ptp(take.controls, axis=0).max() > 0.05 or np.ptp(angles(take), axis=0).max() > 3
        lids = FACS102.match("lid_close_*")
        other = np.delete(take.controls, [*lids, *FACS102.match("gaze_*")], axis=1)
        assert np.abs(np.diff(other, axis=0)).max() < (0.35 if duration != 0.6 else 1.0)  # nothing jumps
    assert take.source["preset"] == name
    assert preset(name, seed=1) == preset(name, seed=1)


@pytest.mark.parametrize("name", ["talk", "idle", "look-around", "smile"])
def test_another_seed_is_another_take(name: str) -> None:
    assert preset(name, seed=1) != preset(name, seed=2)


def test_strength_scales_and_zero_is_still() -> None:
    one, half = preset("surprise"), preset("surprise", strength=0.5)
    assert half.controls == pytest.approx(one.controls / 2, abs=1e-6)
    assert angles(half)[:, 1].max() == pytest.approx(angles(one)[:, 1].max() / 2, rel=0.01)
    assert np.abs(preset("nod", strength=0).controls).max() == 0


def test_each_does_what_it_is_called_after() -> None:
    nod, shake, tilt = (angles(preset(name)) for name in ("nod", "shake", "tilt"))
    assert nod[:, 1].min() < -7
    assert nod[:, 1].max() < 1
    assert np.abs(nod[:, [0, 2]]).max() < 0.1
    assert shake[:, 0].min() < -7
    assert shake[:, 0].max() > 7
    assert tilt[:, 2].max() > 9
    lids = preset("wink").controls[:, FACS102.match("lid_close_*")]
    assert lids.max(0) == pytest.approx([1.0, 0.0], abs=0.02)
    blinked = preset("blink").track("lid_close_R")
    assert blinked.max() > 0.99
    assert 3 <= (blinked > 0.5).sum() <= 8  # 0.1 to 0.27 s at 30 fps
    looked = preset("look-around")
    assert looked.track("gaze_yaw_L").max() > 0.4
    assert looked.track("gaze_yaw_L").min() < -0.4


def test_eyes_stay_on_the_viewer_while_the_head_shakes() -> None:
    take = preset("shake")
    eyes = take.track("gaze_yaw_L") * 30 + angles(take)[:, 0]
    assert np.abs(eyes).max() < 0.25 * np.abs(angles(take)[:, 0]).max()


def test_text_becomes_visemes() -> None:
    assert [v for v, _ in spell("fish")] == ["FF", "I", "CH"]
    assert [v for v, _ in spell("Mama")] == ["PP", "aa", "PP", "aa"]
    assert [v for v, _ in spell("take this")] == ["DD", "aa", "kk", "sil", "TH", "I", "SS"]
    assert [v for v, _ in spell("butter")] == ["PP", "U", "DD", "E", "RR"]
    for text in ("", " ... ", "日本"):
        with pytest.raises(InputError, match="spoken"):
            spell(text)


def test_speech_closes_the_lips_where_the_text_does() -> None:
    take = perform(text="mama mama", seed=2)
    closing = take.controls[:, FACS102.match("lips_together_*")].mean(1)
    opening = take.track("jaw_open")
    closures = (np.diff((closing > 0.6).astype(int)) == 1).sum()
    assert closures == 4
    assert opening[closing > 0.6].mean() < 0.6 * opening.max()
    assert opening.max() > 0.25
    longer = perform(text="mama mama " * 4)
    assert longer.duration > 2.5 * take.duration
    assert perform("talk", text="mama mama", duration=5.0).duration == pytest.approx(5.0)


def test_one_thing_at_a_time() -> None:
    for arguments in ({}, {"name": "smile", "score": "0 smile"}, {"emotion": "happy", "text": "hi"}):
        with pytest.raises(InputError):
            perform(**arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no preset is called 'smlie'"):
        perform("smlie")
    for name, value in (("duration", 0.0), ("fps", 0.0), ("strength", -1.0), ("duration", 1e9)):
        with pytest.raises(InputError, match=name):
            perform("smile", **{name: value})  # type: ignore[arg-type]


def test_an_emotion_rises_and_falls() -> None:
    take = perform(emotion="happy:0.8", duration=2.0)
    smile = take.track("corner_pull_L")
    assert smile.max() == pytest.approx(0.8 * 0.8, abs=1e-6)
    assert smile[[0, -1]] == pytest.approx([0, 0])
    assert (np.diff(smile[: int(smile.argmax())]) >= -1e-7).all()
