"""Performance: its checks, its operations, and what it says about itself."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omote.controls import ARKIT52, FACS102, Control, ControlSpace
from omote.errors import InputError
from omote.performance import Camera, Performance
from omote.performance.interpolation import (
    axis_angle_to_quaternion,
    quaternion_to_axis_angle,
    slerp_axis_angle,
)

CAMERA = Camera(900.0, (310.25, 250.5), (640, 480))


def make(count: int = 12, seed: int = 0, space: ControlSpace = FACS102, **changes: Any) -> Performance:
    random = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "space": space,
        "controls": random.uniform(space.low, space.high, (count, len(space))),
        "head_rotation": random.normal(0, 0.3, (count, 3)),
        "head_translation": random.normal(0, 0.05, (count, 3)) - [0, 0, 0.6],
        "confidence": random.uniform(0.5, 1, count),
        "times": np.arange(count) / 30,
        "camera": CAMERA,
        "identity": {"facs": random.normal(size=80)},
        "source": {"file": "me.mp4", "size": [640, 480], "method": "landmarks"},
        "control_confidence": random.uniform(0, 1, (count, len(space))),
    }
    return Performance(**fields | changes)


def still(**changes: Any) -> Performance:
    return make(1, **changes)


# ---- what goes in ----------------------------------------------------------


def test_arrays_become_read_only_copies_of_the_stated_type() -> None:
    controls = np.zeros((2, 102))
    take = make(2, controls=controls)
    controls[:] = 1
    assert take.controls.dtype == np.float32
    assert take.times.dtype == np.float64
    assert not take.controls.any()
    for array in (take.controls, take.times, take.identity["facs"], take.confidence):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(TypeError):
        take.source["file"] = "you.mp4"  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"controls": np.zeros((3, 101))}, r"controls: got shape \(3, 101\), expected \(3, 102\)"),
        ({"head_rotation": np.zeros((2, 3))}, r"head_rotation: got shape \(2, 3\), expected \(3, 3\)"),
        ({"head_translation": np.full((3, 3), np.nan)}, "head_translation: 9 values are not finite"),
        ({"controls": np.full((3, 102), 1e300)}, "controls: 306 values are not finite"),
        ({"controls": [["a"] * 102] * 3}, "controls: expected numbers, got <U1"),
        ({"controls": [[1.0], [1.0, 2.0]]}, "controls: not an array"),
        ({"confidence": [0.1, 1.2, 0]}, r"confidence: must be 0..1, is 0..1.2"),
        ({"control_confidence": np.full((3, 102), -1)}, "control_confidence: must be 0..1"),
        ({"times": [0, 1, 1]}, "times: must be strictly increasing, frame 2 is not"),
        ({"times": []}, "times: a performance has at least one frame"),
        ({"times": [0, 1, np.inf]}, "times: 1 values are not finite"),
        ({"identity": {"facs": [[1.0]]}}, r"identity facs: got shape \(1, 1\), expected \(\*\)"),
        ({"identity": [1.0]}, "identity: expected a mapping"),
        ({"source": {"a": object()}}, "source: not JSON-able"),
        ({"source": {"a": float("nan")}}, "source: not JSON-able"),
        ({"camera": None}, "camera a Camera"),
    ],
)
def test_bad_fields_are_one_clear_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make(3, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        (0, (1, 1), (2, 2)),
        (np.nan, (1, 1), (2, 2)),
        (1, (1, 1), (2.5, 2)),
        (1, (1,), (2, 2)),
        (1, 1, 2),
        ("x", (1, 1), (1, 1)),
    ],
)
def test_bad_cameras_are_refused(values: tuple[Any, Any, Any]) -> None:
    with pytest.raises(InputError, match="camera"):
        Camera(*values)


def test_field_of_view() -> None:
    assert Camera(320.0, (320, 240), (640, 480)).field_of_view == pytest.approx(np.pi / 2)


# ---- values ----------------------------------------------------------------


def test_equality_copies_and_pickles() -> None:
    take = make()
    assert take == make()
    assert take != make(seed=1)
    assert take != make(control_confidence=None)
    assert make(control_confidence=None) != take
    assert take != "take"
    assert pickle.loads(pickle.dumps(take)) == take == copy.deepcopy(take)
    assert take.with_(source={}) != take
    with pytest.raises(InputError, match="a performance has no speed"):
        take.with_(speed=2)


def test_fps_duration_and_track() -> None:
    take = make(31)
    assert take.fps == pytest.approx(30)
    assert take.duration == pytest.approx(1)
    assert still().fps == 0
    np.testing.assert_array_equal(take.track("jaw_open"), take.controls[:, 35])
    with pytest.raises(InputError, match="Did you mean jaw_open"):
        take.track("jaw_opn")


# ---- cutting and joining ---------------------------------------------------


def test_some_frames() -> None:
    take = make(8)
    some = take[[2, 4, 7]]
    assert some.times.tolist() == take.times[[2, 4, 7]].tolist()
    assert (some.controls == take.controls[[2, 4, 7]]).all()
    assert (some.head_rotation == take.head_rotation[[2, 4, 7]]).all()
    with pytest.raises(InputError):
        take[[4, 2]]  # times have to increase


def test_slices() -> None:
    take = make(10)
    assert take[:] == take
    part = take[2:5]
    assert len(part) == 3
    np.testing.assert_array_equal(part.times, take.times[2:5])
    np.testing.assert_array_equal(part.controls, take.controls[2:5])
    assert take[-1].times[0] == take.times[9]
    assert [frame.times[0] for frame in take] == list(take.times)
    assert take[::3].fps == pytest.approx(10)
    with pytest.raises(IndexError):
        take[10]
    with pytest.raises(InputError, match="no frames in 5:5 of 10"):
        take[5:5]
    with pytest.raises(InputError, match="backwards"):
        take[::-1]


def test_between_is_half_open() -> None:
    take = make(10)
    assert take.between() == take
    part = take.between(take.times[3], take.times[6])
    np.testing.assert_array_equal(part.times, take.times[3:6])
    with pytest.raises(InputError, match="no frames between 5 and 6 s"):
        take.between(5, 6)


@given(st.integers(3, 40), st.data())
def test_slice_and_concatenate_is_the_identity(count: int, data: st.DataObject) -> None:
    take = make(count, times=np.arange(count) / 29.97 + 3.3)
    cut = data.draw(st.integers(1, count - 1))
    assert take[:cut].concatenate(take[cut:]) == take


def test_concatenate_gap_and_missing_evidence() -> None:
    one, two = make(3), make(2, seed=1, control_confidence=None, times=[7.0, 7.5])
    joined = one.concatenate(two, two, gap=0.25)
    end = one.times[-1]
    np.testing.assert_allclose(joined.times[3:], [end + 0.25, end + 0.75, end + 1.0, end + 1.5])
    assert joined.control_confidence is not None
    assert (joined.control_confidence[3:] == 1).all()
    assert one.concatenate(two).times[3] == pytest.approx(end + 1 / 30)
    assert still().concatenate(still()).times[1] == pytest.approx(1 / 30)
    assert two.concatenate(two).control_confidence is None
    with pytest.raises(InputError, match=r"do not mix\. Convert one first"):
        one.concatenate(make(2, space=ARKIT52))
    with pytest.raises(InputError, match="gap"):
        one.concatenate(two, gap=0)


# ---- time ------------------------------------------------------------------


@given(st.integers(1, 200), st.sampled_from([24, 23.976, 29.97, 30, 59.94, 60, 120]), st.floats(-10, 1e5))
def test_resample_at_the_same_rate_is_the_identity(count: int, fps: float, start: float) -> None:
    take = make(count, times=start + np.arange(count) / fps)
    assert take.resample(fps) == take


def test_resample_values() -> None:
    take = make(3, controls=np.outer([0, 1, 0], np.ones(102)), times=[0, 0.1, 0.3], confidence=np.ones(3))
    fast = take.resample(20)
    np.testing.assert_allclose(fast.times, np.arange(7) * 0.05, atol=1e-12)
    np.testing.assert_allclose(fast.controls[:, 0], [0, 0.5, 1, 0.75, 0.5, 0.25, 0], atol=1e-6)
    turned = make(2, head_rotation=[[0, 0.2, 0], [0, 1.0, 0]], times=[0, 1]).resample(4)
    np.testing.assert_allclose(turned.head_rotation[:, 1], [0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-6)
    for bad in (0, -1, np.nan, np.inf, 1e300):
        with pytest.raises(InputError, match="fps"):
            take.resample(bad)


def test_frames_without_a_face_do_not_leak() -> None:
    controls = np.outer([0.2, 1.0, 0.6], np.ones(102))
    lost = make(3, controls=controls, confidence=[1, 0, 1], times=[0, 1, 2]).resample(4)
    np.testing.assert_allclose(lost.controls[:, 0], [0.2, 0.2, 0.2, 0.2, 1.0, 0.6, 0.6, 0.6, 0.6], atol=1e-6)
    np.testing.assert_allclose(lost.confidence, [1, 0.75, 0.5, 0.25, 0, 0.25, 0.5, 0.75, 1], atol=1e-6)


def test_retime_and_resample_keep_the_path() -> None:
    take = make(5, times=[1, 2, 3, 5, 8])
    np.testing.assert_allclose(take.retime(2).times, [1, 3, 5, 9, 15])
    np.testing.assert_array_equal(take.retime(0.5).controls, take.controls)
    for bad in (0, -2, np.nan):
        with pytest.raises(InputError, match="factor"):
            take.retime(bad)


def test_blend() -> None:
    one, two = make(6), make(6, seed=1, times=np.arange(6) / 30 + 5)
    assert one.blend(two, 0) == one
    full = one.blend(two, 1)
    np.testing.assert_array_equal(full.controls, two.controls)
    np.testing.assert_array_equal(full.times, one.times)
    np.testing.assert_allclose(
        one.blend(two, 0.25).controls, 0.75 * one.controls + 0.25 * two.controls, atol=1e-6
    )
    ramp = one.blend(two, np.linspace(0, 1, 6))
    np.testing.assert_array_equal(ramp.controls[[0, 5]], [one.controls[0], two.controls[5]])
    held = one.blend(two[:1], 1.0)
    np.testing.assert_array_equal(held.controls, np.repeat(two.controls[:1], 6, 0))
    unseen = one.blend(two.with_(confidence=np.zeros(6)), 0.5)
    np.testing.assert_array_equal(unseen.controls, one.controls)
    np.testing.assert_allclose(unseen.confidence, one.confidence / 2)
    for bad in (1.5, np.nan, [0, 1]):
        with pytest.raises(InputError, match="weight"):
            one.blend(two, bad)


# ---- controls --------------------------------------------------------------


@given(st.integers(0, 1000), st.sampled_from([FACS102, ARKIT52]))
def test_mirror_twice_is_the_identity(seed: int, space: ControlSpace) -> None:
    take = make(4, seed=seed, space=space)
    assert take.mirror() != take
    assert take.mirror().mirror() == take


def test_mirror_reflects_the_image() -> None:
    take = make(5)
    flipped = take.mirror()
    assert flipped.camera.principal == (640 - 310.25, 250.5)
    np.testing.assert_array_equal(flipped.track("corner_pull_L"), take.track("corner_pull_R"))
    # A point of the head and its mirror image project to image columns that add up to the width.
    point = np.array([0.03, 0.01, 0.08])
    for i in range(5):
        columns = []
        for p, at in ((take, point), (flipped, point * [-1, 1, 1])):
            w = p.head_rotation[i].astype(float)
            angle = np.linalg.norm(w)
            k = w / angle
            turned = at * np.cos(angle) + np.cross(k, at) * np.sin(angle) + k * (k @ at) * (1 - np.cos(angle))
            x, _, z = turned + p.head_translation[i]
            columns.append(p.camera.principal[0] - p.camera.focal * x / z)
        assert sum(columns) == pytest.approx(640, abs=1e-3)


@given(st.integers(0, 1000))
def test_mirror_commutes_with_conversion(seed: int) -> None:
    take = make(3, seed=seed)
    one, other = take.mirror().with_space(ARKIT52), take.with_space("arkit52").mirror()
    np.testing.assert_allclose(one.controls, other.controls, atol=1e-6)
    assert one.control_confidence is not None
    assert other.control_confidence is not None
    np.testing.assert_allclose(one.control_confidence, other.control_confidence, atol=1e-6)


def test_rename_keeps_mirror_pairs() -> None:
    take = make(3)
    renamed = take.rename({"corner_pull_L": "smileL", "corner_pull_R": "smileR"}, space_name="studio")
    assert renamed.space.name == "studio"
    np.testing.assert_array_equal(renamed.mirror().track("smileL"), take.track("corner_pull_R"))
    assert (
        renamed.rename({"smileL": "corner_pull_L", "smileR": "corner_pull_R"}, space_name="facs102") == take
    )
    with pytest.raises(InputError, match="no control 'smile'"):
        take.rename({"smile": "grin"})
    with pytest.raises(InputError, match="twice"):
        take.rename({"corner_pull_L": "jaw_open"})


def test_with_space_needs_something_in_common() -> None:
    take = make(2)
    assert take.with_space(FACS102) is take
    with pytest.raises(InputError, match="no way"):
        take.with_space(ControlSpace("other", (Control("wobble", 0, 1),)))


# ---- info ------------------------------------------------------------------


def test_info_counts_only_frames_with_a_face() -> None:
    controls = np.zeros((4, 102))
    controls[:, 35] = [0, 0.5, 0.25, 9]
    controls[:, 36] = 0.1
    take = make(4, controls=controls, confidence=[1, 1, 0.5, 0])
    info = take.info()
    assert json.loads(json.dumps(info)) == info
    assert info["most_active"] == [
        {"control": "jaw_open", "low": 0.0, "high": 0.5},
        {"control": "jaw_left", "low": 0.1, "high": 0.1},
    ]
    assert info["faces_found"] == 0.75
    assert (info["frames"], info["fps"], info["seconds"]) == (4, 30.0, 0.1)
    assert info["identity"] == {"facs": 80}
    assert info["method"] == "landmarks"
    assert info["camera"]["size_px"] == [640, 480]
    assert make(2, confidence=[0, 0]).info()["faces_found"] == 0


# ---- rotations -------------------------------------------------------------


def test_slerp_is_exact_at_tiny_and_large_angles() -> None:
    tiny = slerp_axis_angle([1e-9, 0, 0], [3e-9, 0, 0], 0.5)
    np.testing.assert_allclose(tiny, [2e-9, 0, 0], rtol=1e-6)
    over = slerp_axis_angle([0, 3.0, 0], [0, -3.0, 0], 0.5)  # the short way round is through pi
    assert np.abs(over) == pytest.approx([0, np.pi, 0], abs=1e-9)
    rotations = np.random.default_rng(0).normal(size=(100, 3))
    rotations *= (np.linspace(0, 3.1, 100) / np.linalg.norm(rotations, axis=1))[:, None]
    np.testing.assert_allclose(
        quaternion_to_axis_angle(axis_angle_to_quaternion(rotations)), rotations, atol=1e-9
    )
    np.testing.assert_array_equal(quaternion_to_axis_angle([0, 0, 0, -2.0]), [0, 0, 0])
