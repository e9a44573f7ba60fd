"""The .omote file: round trips, repeatable bytes, versions, and hostile input."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from omote.controls import ARKIT52, FACS102, Control, ControlSpace
from omote.errors import FormatError, InputError, OutputError
from omote.performance import Camera, Performance

QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def make(count: int = 3, space: ControlSpace = FACS102, **changes: Any) -> Performance:
    random = np.random.default_rng(count)
    fields: dict[str, Any] = {
        "space": space,
        "controls": random.uniform(-1, 2, (count, len(space))),
        "head_rotation": random.normal(size=(count, 3)),
        "head_translation": random.normal(size=(count, 3)),
        "confidence": random.uniform(size=count),
        "times": random.uniform(0.001, 1, count).cumsum(),
        "camera": Camera(1234.5678, (319.7, 241.3), (640, 480)),
        "identity": {"facs": random.normal(size=80), "flame": random.normal(size=5)},
        "source": {"file": "面 face.mp4", "takes": (1, 2), "nested": {"a": None}},
    }
    return Performance(**fields | changes)


def rewritten(path: Path, change: Any, drop: str = "", **tensors: np.ndarray) -> Path:
    """Save a take with its JSON header changed by a function, and some tensors replaced or dropped."""
    take = make()
    take.save(path)
    data = path.read_bytes()
    outer = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    header = json.loads(outer["__metadata__"]["omote"])
    result = change(header)
    arrays = {
        k: np.array(v) for k, v in (take._frames() | {"times": take.times} | tensors).items() if k != drop
    }
    path.write_bytes(save(arrays, {"omote": json.dumps(header if result is None else result)}))
    return path


@given(
    count=st.integers(1, 30),
    space=st.sampled_from([FACS102, ARKIT52]),
    evidence=st.booleans(),
    source=st.dictionaries(
        st.text(max_size=5),
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    ),
)
@QUIET
def test_save_and_load_round_trip(
    tmp_path: Path, count: int, space: ControlSpace, evidence: bool, source: dict[str, Any]
) -> None:
    take = make(count, space, source=source)
    if evidence:
        take = take.with_(control_confidence=np.random.default_rng(0).uniform(size=take.controls.shape))
    assert Performance.load(take.save(tmp_path / "take.omote")) == take


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = make(), make(identity=dict(reversed(list(make().identity.items()))))
    assert one.save(tmp_path / "a").read_bytes() == two.save(tmp_path / "b").read_bytes()


def test_own_spaces_travel_with_the_file(tmp_path: Path) -> None:
    space = ControlSpace(
        "robot",
        (
            Control("ear_L", -1, 2, 0.5, "ear_R", -1.0, ("99",), "L", "±10°", "Turns the left ear."),
            Control("ear_R", -1, 2, 0.5, "ear_L", -1.0, ("99",), "R", "±10°", "Turns the right ear."),
        ),
    )
    take = make(4, space)
    assert Performance.load(take.save(tmp_path / "take.omote")) == take
    renamed = make().rename({"jaw_open": "mandible"}, space_name="facs102")  # not the built-in of that name
    assert Performance.load(renamed.save(tmp_path / "two.omote")) == renamed


def test_controls_in_another_order_are_put_in_ours(tmp_path: Path) -> None:
    def backwards(header: dict[str, Any]) -> None:
        header["space"]["controls"].reverse()

    path = rewritten(tmp_path / "x.omote", backwards, controls=make().controls[:, ::-1])
    np.testing.assert_array_equal(Performance.load(path).controls, make().controls)


def test_a_newer_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "new.omote", lambda header: header.update(version=7))
    message = (
        r"new\.omote: written in version 7 .* up to version 1\. Upgrade it: pip install --upgrade omote$"
    )
    with pytest.raises(FormatError, match=message):
        Performance.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(format="other"), "not an Omote performance"),
        (lambda h: h.update(version="1"), "not an Omote performance"),
        (lambda h: h.update(version=True), "not an Omote performance"),
        (lambda h: h.update(version=0), "not an Omote performance"),
        (lambda h: [], "not an Omote performance"),
        (lambda h: "x", "not an Omote performance"),
        (lambda h: h.update(space=None), "names no control space"),
        (lambda h: h["space"].update(name="martian"), "not the one this version knows"),
        (lambda h: h["space"].update(controls=["a"] * 102), "not the one this version knows"),
        (lambda h: h["space"].update(controls=["a"]), "expected"),
        (lambda h: h["space"].update(controls=[1] * 102), "lists no control names"),
        (lambda h: h["space"].update(definitions=5), "must be a list"),
        (lambda h: h["space"].update(definitions=[{}] * 102), "definition is malformed"),
        (lambda h: h["camera"].update(focal=-1), "camera"),
        (lambda h: h["camera"].update(focal="wide"), "camera"),
        (lambda h: h["camera"].update(focal=10**400), "camera"),
        (lambda h: h["camera"].update(size=[1e400, 1]), "not an Omote performance"),
        (lambda h: h["camera"].update(zoom=2), "camera must have"),
        (lambda h: h.update(camera=None), "camera must have"),
        (lambda h: h.update(source=[1]), "source: expected a mapping"),
        (lambda h: h.update(source="\ud800"), "not an Omote performance"),
    ],
)
def test_bad_headers_are_one_clear_line(tmp_path: Path, change: Any, message: str) -> None:
    path = rewritten(tmp_path / "bad.omote", change)
    with pytest.raises(FormatError, match=message) as caught:
        Performance.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"times": np.array([0.0, 2.0, 1.0])}, "strictly increasing"),
        ({"times": np.zeros(0)}, "at least one frame"),
        ({"times": np.arange(3, dtype=np.float32)}, "times is float32, expected F64"),
        ({"times": np.arange(4.0)}, "expected"),
        ({"controls": np.full((3, 102), np.nan, np.float32)}, "not finite"),
        ({"controls": np.zeros((3, 102), np.int32)}, "of type I32, expected F32 or F64"),
        ({"controls": np.zeros((3, 102))}, "controls is float64, expected F32"),
        ({"controls": np.zeros(306, np.float32)}, "expected"),
        ({"confidence": np.full(3, 2, np.float32)}, "must be 0..1"),
        ({"head_rotation": np.zeros((3, 4), np.float32)}, "head_rotation"),
        ({"control_confidence": np.zeros((1, 1), np.float32)}, "control_confidence"),
        ({"identity/x": np.zeros((1, 1), np.float32)}, "identity x"),
        ({"drop": "confidence"}, "has no confidence"),
    ],
)
def test_bad_tensors_are_one_clear_line(tmp_path: Path, tensors: Any, message: str) -> None:
    path = rewritten(tmp_path / "bad.omote", lambda header: None, **tensors)
    with pytest.raises(FormatError, match=message):
        Performance.load(path)


@given(st.binary(max_size=400))
@QUIET
def test_random_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "noise.omote"
    path.write_bytes(data)
    with pytest.raises(FormatError):
        Performance.load(path)


@given(st.binary(max_size=200), st.integers(0, 1 << 64))
@QUIET
def test_random_headers_are_refused(tmp_path: Path, data: bytes, length: int) -> None:
    path = tmp_path / "noise.omote"
    path.write_bytes(min(length, 2**64 - 1).to_bytes(8, "little") + b'{"__metadata__":{"omote":' + data)
    with pytest.raises(FormatError):
        Performance.load(path)


def test_deep_and_huge_headers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.omote"
    for header in (b"[" * 200_000, b'{"__metadata__":' + b'{"a":' * 100_000, b"1" * 100_000):
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(FormatError):
            Performance.load(path)
    nested = "[" * 100_000 + "]" * 100_000
    path.write_bytes(
        save({"times": np.zeros(1)}, {"omote": f'{{"format":"omote","version":1,"source":{nested}}}'})
    )
    with pytest.raises(FormatError):
        Performance.load(path)
    with path.open("wb") as file:  # sparse: claims more than any take may have
        file.truncate(5 << 30)
    with pytest.raises(FormatError, match="is more than"):
        Performance.load(path)


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bits_load_or_are_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(make().save(tmp_path / "take.omote").read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        end = header if data.draw(st.booleans()) else len(content)
        content[data.draw(st.integers(0, end - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped.omote"
    path.write_bytes(content)
    with contextlib.suppress(FormatError):
        assert np.isfinite(Performance.load(path).controls).all()


@given(st.integers(0, 10**6))
@QUIET
def test_cut_files_are_refused(tmp_path: Path, cut: int) -> None:
    content = make().save(tmp_path / "take.omote").read_bytes()
    path = tmp_path / "cut.omote"
    path.write_bytes(content[: cut % len(content)])
    with pytest.raises(FormatError):
        Performance.load(path)


def test_what_is_not_a_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Performance.load(tmp_path / "absent.omote")
    with pytest.raises(InputError, match="not a file"):
        Performance.load(tmp_path)
    with pytest.raises(InputError):
        Performance.load("nul\0byte.omote")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a file"):
        Performance.load(tmp_path / "pipe")


def test_failed_saves_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        make().save(tmp_path / "absent" / "take.omote")
    target = tmp_path / "take.omote"
    make(3).save(target)
    before = target.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        make(5).save(target)
    assert [p.name for p in tmp_path.iterdir()] == ["take.omote"]
    assert target.read_bytes() == before


def test_saved_files_follow_the_umask_and_odd_names(tmp_path: Path) -> None:
    folder = tmp_path / "面 と space"
    folder.mkdir()
    old = os.umask(0o022)
    try:
        path = make().save(folder / "テイク 1.omote")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert Performance.load(str(path)) == make()
