"""Emotions and FACS codes: the action units they are made of."""

from __future__ import annotations

import pytest

from omote.controls import FACS102
from omote.edit.emotions import EMOTIONS, emotion_pose, facs_pose, mixed_emotions
from omote.errors import InputError

# EMFACS prototypes (Friesen and Ekman 1983): the units that make the emotion, besides which others may occur.
CORE = {
    "happy": {"6", "12"},
    "sad": {"1", "4", "15"},
    "surprise": {"1", "2", "5", "26"},
    "fear": {"1", "2", "4", "5", "7", "20", "26"},
    "anger": {"4", "5", "7", "23"},
    "disgust": {"9", "15", "16"},
    "contempt": {"12", "14"},
}


def units_of(pose: dict[str, float]) -> set[str]:
    return {unit for name, value in pose.items() if value > 0 for unit in FACS102[name].action_units}


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_an_emotion_has_its_units_and_fits_the_rig(emotion: str) -> None:
    pose = emotion_pose(emotion)
    assert CORE[emotion] <= units_of(pose)
    for name, value in pose.items():
        assert FACS102[name].low <= value <= FACS102[name].high
    both = {FACS102[name].mirror: value for name, value in pose.items()}
    assert (both == pose) == (emotion != "contempt")  # only contempt is one-sided
    half = emotion_pose(emotion, 0.5)
    assert {name: value / 2 for name, value in pose.items()} == pytest.approx(half)


def test_contempt_is_stronger_on_the_right() -> None:
    pose = emotion_pose("contempt")
    assert pose["dimple_R"] > pose["dimple_L"] > 0
    assert "corner_pull_L" not in pose


def test_codes_with_sides_letters_and_numbers() -> None:
    assert facs_pose("R12A+L14:0.35") == {"corner_pull_R": 0.2, "dimple_L": 0.35}
    assert facs_pose("45E") == {"lid_close_L": 1.0, "lid_close_R": 1.0}
    assert facs_pose("27E") == {"jaw_open": 1.0}
    assert facs_pose("26E")["jaw_open"] < facs_pose("27E")["jaw_open"]
    assert facs_pose("4")["brow_lower_L"] == 0.8  # without a letter: D
    assert set(facs_pose("17E")) == {"chin_raise_L", "chin_raise_R", "upper_lip_shrug"}


@pytest.mark.parametrize("code", ["99", "12F", "X12", "", "12:2", "61", "12:1.2.3"])
def test_codes_that_are_none(code: str) -> None:
    with pytest.raises(InputError, match="FACS code"):
        facs_pose(code)


def test_mixtures() -> None:
    pose = mixed_emotions("happy:0.5, surprised:1")
    assert pose["corner_pull_L"] == pytest.approx(0.4)
    assert pose["brow_inner_up_R"] == pytest.approx(0.8)
    for text, words in (("hapy", "happy"), ("happy:2", "0..1"), ("happy:x", "not a number")):
        with pytest.raises(InputError, match=words):
            mixed_emotions(text)
