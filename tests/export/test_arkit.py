"""ARKit CSV and JSON: read back to the same float32, by csv/json and by our readers."""

from __future__ import annotations

import contextlib
import csv
import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omote.controls import ARKIT52
from omote.errors import FormatError, OmoteError
from omote.export import read, write


def equal(again, performance):
    for name in ("controls", "head_rotation", "head_translation", "confidence", "times"):
        np.testing.assert_array_equal(getattr(again, name), getattr(performance, name), err_msg=name)


def test_csv_round_trip(take, tmp_path):
    performance = take(15, space=ARKIT52)
    (path,) = write(performance, tmp_path / "take.arkit.csv")
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:3] == ["time", "confidence", "eyeBlinkLeft"]
    assert [float(r["jawOpen"]) for r in rows] == pytest.approx(performance.track("jawOpen"), abs=1e-9)
    equal(read(path), performance)


def test_json_round_trip(take, tmp_path):
    performance = take(15, space=ARKIT52)
    (path,) = write(performance, tmp_path / "take.json")
    data = json.loads(path.read_text())
    assert data["facsNames"] == list(ARKIT52.names)
    assert (data["numPoses"], data["numFrames"]) == (52, 15)
    np.testing.assert_array_equal(np.array(data["weightMat"], np.float32), performance.controls)
    again = read(path)
    equal(again, performance)
    assert again.camera == performance.camera


def test_single_frame(take, tmp_path):
    performance = take(1)
    for name in ("a.arkit.csv", "a.arkit.json"):
        (path,) = write(performance, tmp_path / name)
        assert len(read(path)) == 1


@pytest.mark.parametrize("name", ["t.arkit.csv", "t.arkit.json"])
def test_mirror(take, tmp_path, name):
    performance = take(6)
    (path,) = write(performance, tmp_path / name)
    (other,) = write(performance.mirror(), tmp_path / f"m{name}")
    one, two = read(path).mirror(), read(other)
    np.testing.assert_allclose(two.controls, one.controls, atol=1e-6)
    np.testing.assert_allclose(two.head_rotation, one.head_rotation, atol=1e-6)
    np.testing.assert_allclose(two.head_translation, one.head_translation, atol=1e-6)


def test_audio2face_json(tmp_path):
    path = tmp_path / "a2f.json"
    path.write_text(
        json.dumps(
            {"exportFps": 60, "facsNames": ["JawOpen", "EyeBlinkLeft"], "weightMat": [[0.5, 0], [0.25, 1.0]]}
        )
    )
    with pytest.warns(UserWarning, match="taken as 0"):
        take = read(path)
    np.testing.assert_allclose(take.times, [0, 1 / 60])
    np.testing.assert_allclose(take.track("jawOpen"), [0.5, 0.25])
    np.testing.assert_allclose(take.track("eyeBlinkLeft"), [0, 1])


def test_csv_without_times_needs_a_rate(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(",".join(ARKIT52.names) + "\n" + "\n".join([",".join(["0.5"] * 52)] * 3) + "\n")
    with pytest.warns(UserWarning, match="30 frames per second"):
        assert read(path).times[1] == pytest.approx(1 / 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path, fps=25).times[2] == pytest.approx(0.08)


def test_raw_values_are_kept_on_import_and_clamped_on_export(take, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("time," + ",".join(ARKIT52.names) + "\n0," + ",".join(["1.25"] * 52) + "\n")
    raw = read(path)
    assert (raw.controls == 1.25).all()
    (again,) = write(raw, tmp_path / "y.arkit.csv")
    assert read(again).controls.max() == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2", "not valid JSON"),
        ("{}", "no facsNames"),
        ('{"facsNames": ["jawOpen"], "weightMat": []}', "weightMat has shape"),
        ('{"facsNames": ["jawOpen"], "weightMat": [[1], [2, 3]]}', "regular array"),
        ('{"facsNames": ["jawOpen"], "weightMat": [["a"]]}', "regular array"),
        ('{"facsNames": 3, "weightMat": [[1]]}', "not a list"),
        ('{"facsNames": ["jawOpen"], "weightMat": [[NaN]]}', "not finite"),
        (
            '{"format": "omote-arkit", "version": 99, "facsNames": ["jawOpen"], "weightMat": [[1]]}',
            "newer Omote",
        ),
        ('{"facsNames": ["jawOpen"], "weightMat": [[1]], "exportFps": 30, "camera": {}}', "camera needs"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*taken as 0")
def test_malformed_json_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        read(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda children: st.lists(children, max_size=3),
        max_leaves=8,
    ).flatmap(
        lambda value: st.fixed_dictionaries(
            {
                "facsNames": st.just(["jawOpen"]) | st.just(value),
                "weightMat": st.just([[0.5]]) | st.just(value),
            },
            optional={
                k: st.just(value)
                for k in ("times", "exportFps", "headRotation", "camera", "version", "format")
            },
        )
    )
)
def test_any_json_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "x.json"
    path.write_text(json.dumps(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(OmoteError):
            read(path)
