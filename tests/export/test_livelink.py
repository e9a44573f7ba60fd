"""Live Link Face CSV: the exact dialect, read back by csv and by our reader."""

from __future__ import annotations

import contextlib
import csv
import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from omote.controls import ARKIT52, FACS102
from omote.errors import FormatError, InputError, OmoteError
from omote.export import livelink, read, write

HEADER = (
    "Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,EyeLookUpLeft,EyeSquintLeft,"
    "EyeWideLeft,EyeBlinkRight,EyeLookDownRight,EyeLookInRight,EyeLookOutRight,EyeLookUpRight,EyeSquintRight,"
    "EyeWideRight,JawForward,JawRight,JawLeft,JawOpen,MouthClose,MouthFunnel,MouthPucker,MouthRight,MouthLeft,"
    "MouthSmileLeft,MouthSmileRight,MouthFrownLeft,MouthFrownRight,MouthDimpleLeft,MouthDimpleRight,MouthStretchLeft,"
    "MouthStretchRight,MouthRollLower,MouthRollUpper,MouthShrugLower,MouthShrugUpper,MouthPressLeft,MouthPressRight,"
    "MouthLowerDownLeft,MouthLowerDownRight,MouthUpperUpLeft,MouthUpperUpRight,BrowDownLeft,BrowDownRight,BrowInnerUp,"
    "BrowOuterUpLeft,BrowOuterUpRight,CheekPuff,CheekSquintLeft,CheekSquintRight,NoseSneerLeft,NoseSneerRight,"
    "TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll"
)


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_header_and_dialect(take, tmp_path):
    paths = write(take(5), tmp_path / "take.livelink.csv")
    assert [p.name for p in paths] == ["take.livelink.csv", "take.livelink.json"]
    lines = paths[0].read_bytes().decode("ascii").split("\n")
    assert lines[0] == HEADER
    assert lines[-1] == ""
    assert len(lines) == 7
    for line in lines[1:-1]:
        fields = line.split(",")
        assert len(fields) == 63
        assert fields[1] == "61"
        assert all(len(f.partition(".")[2]) == 10 for f in fields[2:])
    assert json.loads(paths[1].read_text())["angle_unit"] == "radians"


def test_round_trip_equals_to_nine_digits(take, tmp_path):
    performance = take(20, space=ARKIT52)
    write(performance, tmp_path / "take.csv", to=None)
    again = livelink.read(tmp_path / "take.csv")
    assert again.space == ARKIT52
    np.testing.assert_allclose(again.controls, performance.controls, atol=1e-9)
    np.testing.assert_allclose(again.times, performance.times, atol=1 / 60000)
    turned = Rotation.from_rotvec(again.head_rotation) * Rotation.from_rotvec(performance.head_rotation).inv()
    assert turned.magnitude().max() < 1e-5
    np.testing.assert_allclose(
        again.head_translation[0], np.median(performance.head_translation, axis=0), atol=1e-7
    )
    assert again.camera == performance.camera


def test_values_are_those_of_the_named_shapes(take, tmp_path):
    """jawLeft = 1 lands in JawLeft, whatever the column order of other products."""
    values = np.zeros((2, 52), np.float32)
    values[0, ARKIT52.index("jawLeft")] = 1
    values[1, ARKIT52.index("mouthRight")] = 0.25
    write(take(2).with_(space=ARKIT52, controls=values), tmp_path / "a.csv")
    first, second = rows_of(tmp_path / "a.csv")
    assert {k: v for k, v in first.items() if k in ARKIT52_PASCAL and float(v)} == {"JawLeft": "1.0000000000"}
    assert {k: v for k, v in second.items() if k in ARKIT52_PASCAL and float(v)} == {
        "MouthRight": "0.2500000000"
    }


ARKIT52_PASCAL = {n[0].upper() + n[1:] for n in ARKIT52.names}


def test_angles_have_the_stated_signs(take, tmp_path):
    values = np.zeros((1, 102), np.float32)
    values[0, FACS102.index("gaze_yaw_L")] = 0.5
    values[0, FACS102.index("gaze_pitch_R")] = -0.4
    performance = take(1).with_(controls=values, head_rotation=np.array([[0.0, 0.3, 0.0]]))
    write(performance, tmp_path / "a.csv")
    (row,) = rows_of(tmp_path / "a.csv")
    angles = {k: float(row[k]) for k in livelink.ANGLES}
    assert angles["HeadYaw"] == pytest.approx(0.3)  # the nose turns to +x, the subject's left
    assert angles["LeftEyeYaw"] == pytest.approx(np.radians(15))
    assert angles["RightEyePitch"] == pytest.approx(np.radians(10))  # positive is down
    assert [angles[k] for k in ("HeadPitch", "HeadRoll", "LeftEyePitch", "RightEyeYaw")] == pytest.approx(
        [0] * 4
    )
    performance = performance.with_(head_rotation=np.array([[0.2, 0.0, 0.0]]))
    write(performance, tmp_path / "b.csv")
    assert float(rows_of(tmp_path / "b.csv")[0]["HeadPitch"]) == pytest.approx(0.2)  # the nose goes down


def test_mirror(take, tmp_path):
    performance = take(6)
    write(performance, tmp_path / "a.csv")
    write(performance.mirror(), tmp_path / "b.csv")
    for a, b in zip(rows_of(tmp_path / "a.csv"), rows_of(tmp_path / "b.csv"), strict=True):
        for name, value in a.items():
            other = name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")
            if name in ("Timecode", "BlendShapeCount"):
                assert b[name] == value
            else:
                sign = -1 if name.endswith(("Yaw", "Roll")) else 1
                assert float(b[other]) == pytest.approx(sign * float(value), abs=1e-6), name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00:00.000"),
        (1 / 30, "00:00:00:02.000"),
        (3661.5, "01:01:01:30.000"),
        (1.9999999, "00:00:02:00.000"),
    ],
)
def test_timecodes(seconds, text):
    assert livelink.timecode(seconds) == text
    assert livelink.seconds(text) == pytest.approx(seconds, abs=1e-6)


@given(st.floats(0, 86399))
def test_timecode_round_trip(value):
    assert abs(livelink.seconds(livelink.timecode(value)) - value) <= 0.5 / 60000 + 1e-9


def plain(tmp_path, take, edit):
    """A file with other dialect: ``edit`` changes header and rows; no JSON beside it."""
    csv_path, side = write(take(4, space=ARKIT52), tmp_path / "take.csv")
    side.unlink()
    lines = [line.split(",") for line in csv_path.read_text().split()]
    lines = edit(lines)
    csv_path.write_text("\n".join(",".join(line) for line in lines) + "\n\n")
    return csv_path


def test_shuffled_columns_and_camel_case_load_equal(take, tmp_path):
    wanted = take(4, space=ARKIT52).controls
    order = np.random.default_rng(1).permutation(63)
    path = plain(tmp_path, take, lambda lines: [[line[i] for i in order] for line in lines])
    np.testing.assert_allclose(read(path).controls, wanted, atol=1e-9)
    path = plain(tmp_path, take, lambda lines: [[h[0].lower() + h[1:] for h in lines[0]], *lines[1:]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = read(path)
    np.testing.assert_allclose(again.controls, wanted, atol=1e-9)
    assert again.times[0] == 0


def test_missing_columns_are_zero_with_one_warning(take, tmp_path):
    path = plain(tmp_path, take, lambda lines: [line[:53] for line in lines])  # no TongueOut, no angles
    with pytest.warns(UserWarning, match="columns not found, taken as 0: tongueOut$") as caught:
        again = read(path)
    assert len(caught) == 1
    assert (again.controls[:, -1] == 0).all()
    assert (again.head_rotation == 0).all()


def test_degrees_are_suspected_and_understood(take, tmp_path):
    def degrees(lines):
        return [lines[0], *[[*line[:54], "45.0", "0", "0", *line[57:]] for line in lines[1:]]]

    path = plain(tmp_path, take, degrees)
    with pytest.warns(UserWarning, match="angle_unit=degrees"):
        read(path)
    again = read(path, angle_unit="degrees")
    np.testing.assert_allclose(again.head_rotation, np.tile([0, np.pi / 4, 0], (4, 1)), atol=1e-6)
    with pytest.raises(InputError, match="radians or degrees"):
        read(path, angle_unit="turns")


def test_rows_without_a_face_hold_the_last_values(take, tmp_path):
    path = plain(tmp_path, take, lambda lines: [*lines[:2], [lines[2][0], "0"], *lines[3:]])
    again = read(path)
    np.testing.assert_array_equal(again.confidence, [1, 0, 1, 1])
    np.testing.assert_array_equal(again.controls[1], again.controls[0])


def test_lost_frames_survive_through_the_json(take, tmp_path):
    performance = take(5).with_(confidence=np.array([1, 1, 0, 0, 1.0]))
    write(performance, tmp_path / "t.csv")
    np.testing.assert_array_equal(read(tmp_path / "t.csv").confidence, [1, 1, 0, 0, 1])


def test_midnight_and_repeated_timecodes(take, tmp_path):
    codes = ["Timecode", "23:59:59:59.000", "00:00:00:00.000", "00:00:00:00.000", "00:00:00:01.500"]
    path = plain(tmp_path, take, lambda lines: [[c, *line[1:]] for c, line in zip(codes, lines, strict=True)])
    with pytest.warns(UserWarning, match="1 frames whose time does not advance"):
        again = read(path)
    np.testing.assert_allclose(again.times, [0, 1 / 60, 2.5 / 60], atol=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("Timecode,JawOpen\n", "no frames"),
        ("Timecode,JawOpen\nnoon,1\n", "'noon' is not a timecode"),
        ("Timecode,JawOpen\n00:00:00:00.000,wide\n", "frame 0, column jawopen: 'wide' is not a number"),
        ("Timecode,JawOpen\n00:00:00:00.000,inf\n", "not finite"),
        ("Timecode,JawOpen\n00:00:00:00.000,1,2\n", "3 fields, the header 2"),
        ("Timecode,JawOpen,jawOpen\n00:00:00:00.000,1,2\n", "occurs twice"),
        ("Timecode,Something\n00:00:00:00.000,1\n", "no ARKit column"),
    ],
)
def test_malformed_files_are_one_clear_line(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=message) as caught:
        livelink.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300) | st.text(alphabet='Timecode,jawOpn:0123.\n"', max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "x.csv"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(OmoteError):
            read(path)
