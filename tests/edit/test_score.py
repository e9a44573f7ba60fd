"""Text scores: what is played is what is written, smoothly; what cannot be read says where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omote.controls import FACS102
from omote.edit.curves import monotone_cubic
from omote.edit.score import parse_score, perform_score
from omote.errors import InputError
from omote.geometry.rotations import axis_angle_to_matrix, matrix_to_yaw_pitch_roll

ISSUE = "0.0 neutral, 0.4 smileLeft 0.8 smileRight 0.8, 1.2 happy 0.7 headYaw 10, 2.0 neutral"


def test_keyframes_are_passed_through_exactly() -> None:
    take = perform_score(ISSUE, fps=30)
    assert len(take) == 61
    assert take.duration == pytest.approx(2.0)
    assert take.track("corner_pull_L")[12] == pytest.approx(0.8, abs=1e-6)
    assert take.track("corner_pull_L")[36] == pytest.approx(0.7 * 0.8, abs=1e-6)  # AU12D
    assert take.track("cheek_raise_R")[36] == pytest.approx(0.7 * 0.8, abs=1e-6)
    angles = np.degrees(matrix_to_yaw_pitch_roll(axis_angle_to_matrix(take.head_rotation)))
    assert angles[36] == pytest.approx([10, 0, 0], abs=1e-3)
    assert np.abs(take.controls[[0, -1]]).max() == 0
    assert take.source["method"] == "score"
    assert take.identity["facs"].shape == (90,)


def test_the_head_turns_about_the_neck() -> None:
    take = perform_score("0 neutral, 1 headYaw 20")
    nose = np.array([0.0, -0.02, 0.04])
    neck = np.array([0.0, -0.06, -0.092])
    moved = axis_angle_to_matrix(take.head_rotation)
    path = {
        name: np.ptp(moved @ point + take.head_translation, axis=0).max()
        for name, point in (("nose", nose), ("neck", neck))
    }
    assert path["neck"] < 0.002
    assert path["nose"] > 0.04


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.integers(0, 99))
def test_nothing_overshoots(values: list[float], seed: int) -> None:
    keys = np.cumsum(np.random.default_rng(seed).uniform(0.05, 1, len(values)))
    times = np.linspace(keys[0], keys[-1], 400)
    curve = monotone_cubic(keys, np.array(values)[:, None], times)[:, 0]
    index = np.clip(np.searchsorted(keys, times, side="right") - 1, 0, len(keys) - 2)
    ends = np.array(values)[index], np.array(values)[index + 1]
    assert (curve >= np.minimum(*ends) - 1e-9).all()
    assert (curve <= np.maximum(*ends) + 1e-9).all()


def test_rest_at_both_ends_and_no_stop_in_between() -> None:
    keys = np.array([0.0, 1.0, 2.0])
    times = np.linspace(0, 2, 201)
    speed = np.gradient(monotone_cubic(keys, np.array([[0.0], [10.0], [20.0]]), times)[:, 0], times)
    assert abs(speed[0]) < 0.5
    assert abs(speed[-1]) < 0.5
    assert speed[100] == pytest.approx(10, rel=0.05)


def test_a_keyframe_is_a_whole_pose_and_hold_keeps_one() -> None:
    keys = parse_score("0 smile 0.5 open 0.2; 1 hold smileLeft 1, 2 browsUp\n+0.5 hold")
    assert keys[0].controls["corner_pull_L"] == 0.5
    assert keys[1].controls["corner_pull_L"] == 1.0  # named anew: replaced
    assert keys[1].controls["corner_pull_R"] == 0.5
    assert keys[1].controls["jaw_open"] == 0.2
    assert "jaw_open" not in keys[2].controls
    assert keys[3].time == 2.5
    assert keys[3].controls == keys[2].controls


def test_names_of_all_kinds() -> None:
    text = "0 mouthSmileLeft 0.5 jaw_open 0.2 brow_* 0.1 PP 0.5 gazeYaw -15 eyeLookUpLeft 0.3 tongue_yaw -0.4"
    pose = parse_score(text)[0].controls
    wanted = {"corner_pull_L": 0.5, "brow_lower_R": 0.1, "tongue_yaw": -0.4, "gaze_yaw_R": -0.5}
    for name, value in wanted.items():
        assert pose[name] == pytest.approx(value)
    assert pose["gaze_pitch_L"] == pytest.approx(0.3)
    assert pose["jaw_open"] == pytest.approx(0.2 + 0.5 * 0.06)


def test_a_late_first_keyframe_starts_from_neutral_and_one_is_a_still() -> None:
    take = perform_score("1 smile")
    assert np.abs(take.controls[0]).max() == 0
    assert take.track("corner_pull_R")[-1] == pytest.approx(1.0)
    assert perform_score("0 PP, 0.1 aa, 0.3 sil").controls[-1].max() == 0
    still = perform_score("0 surprise")
    assert len(still) == 1
    assert still.track("brow_outer_up_L")[0] == pytest.approx(0.8)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "笑顔.txt"
    path.write_text("# a smile\n0 neutral\n0.5 smile 0.8  # warm\n1 neutral\n", encoding="utf-8")
    assert perform_score(path) == perform_score("# a smile\n0 neutral\n0.5 smile 0.8  # warm\n1 neutral")
    assert perform_score(str(path)) == perform_score(path)
    with pytest.raises(InputError, match="cannot be read"):
        perform_score(str(tmp_path / "missing.txt"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        perform_score(tmp_path / "binary.txt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 neutral, 0.5 smlie", "line 1 column 16.*Did you mean smile"),
        ("0 hapy", "column 3.*happy"),
        ("0 neutral\n0.5 smile 2", "line 2 column 5.*outside 0..1"),
        ("0 jaw_open -1", "outside 0..1"),
        ("smile", "not a time"),
        ("0.5", "needs a pose"),
        ("1 smile, 0.5 neutral", "after 1 s"),
        ("0 headYaw", "needs degrees"),
        ("0 gazeYaw 50", "at most 30"),
        ("0 neutral 3", "takes no value"),
        ("-1 smile", "0 or later"),
        ("0 neutral, 1e9 smile", "within an hour"),
        ("  # nothing", "no keyframe"),
        ("nan smile", "not a time"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        perform_score(text)


def test_the_sum_of_names_stays_within_a_controls_range() -> None:
    take = perform_score("0 smile 1 happy 1")
    assert take.controls.max() <= 1.0
    assert FACS102.clamp(take.controls) == pytest.approx(take.controls)
