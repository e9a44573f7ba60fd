"""Control spaces: the published names and ranges, mirroring, and conversion by name."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from omote.controls import ARKIT52, FACS102, MEDIAPIPE_NAMES, Control, ControlSpace, space_by_name
from omote.errors import InputError

OPPOSITE = [("eyeLookIn", "eyeLookOut"), ("eyeLookUp", "eyeLookDown")]


def facs(**values: float) -> np.ndarray:
    array = FACS102.neutral.astype(np.float64)
    for name, value in values.items():
        array[FACS102.index(name)] = value
    return array


def arkit(**values: float) -> np.ndarray:
    array = np.zeros(52)
    for name, value in values.items():
        array[ARKIT52.index(name)] = value
    return array


def named(space: ControlSpace, values: np.ndarray) -> dict[str, float]:
    return {n: round(float(v), 6) for n, v in zip(space.names, values, strict=True) if abs(v) > 1e-9}


def test_facs102_is_the_specification_table(shared_dir: Path) -> None:
    text = (shared_dir / "spec" / "embedded_rig.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in re.findall(r"^\| \d+ \| `.*$", text, re.M)]
    assert len(rows) == len(FACS102) == 102
    for (_, number, name, units, side, span, *_), (i, control) in zip(
        rows, enumerate(FACS102.controls), strict=True
    ):
        low, high = span.split("=")[0].split("..")
        assert (int(number), name.strip("`")) == (i + 1, control.name)
        assert (float(low), float(high), side) == (control.low, control.high, control.side), control.name
        assert (control.unit != "") == ("°" in span), control.name
        written = [] if units == "—" else re.findall(r"\d+(?: inverse)?", units)
        assert written == list(control.action_units), control.name


def test_each_control_says_what_it_does_in_one_sentence() -> None:
    for control in (*FACS102.controls, *ARKIT52.controls):
        assert control.doc.endswith(".")
        assert control.doc[0].isupper()
        assert "{" not in control.doc
        assert ("left" in control.doc) >= (control.side == "L"), control.name
        assert ("right" in control.doc) >= (control.side == "R"), control.name
    assert len({c.doc for c in FACS102.controls}) == 102


def test_ranges_units_and_sides() -> None:
    assert FACS102["jaw_forward"].low == np.float64(-0.3)
    assert FACS102["gaze_yaw_L"].unit == "±30°"
    assert FACS102["jaw_right"].side == "R"
    assert FACS102.low.dtype == FACS102.high.dtype == FACS102.neutral.dtype == np.float32
    assert np.count_nonzero(FACS102.low < 0) == 12
    assert (ARKIT52.low == 0).all()
    assert (ARKIT52.high == 1).all()


def test_arkit52_is_the_csv_order() -> None:
    assert ARKIT52.names[:3] == ("eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft")
    assert ARKIT52.names[14:19] == ("jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose")
    assert ARKIT52.names[21:23] == ("mouthRight", "mouthLeft")
    assert ARKIT52.names[43] == "browInnerUp"
    assert ARKIT52.names[-1] == "tongueOut"
    assert len(ARKIT52) == 52


def test_both_orders_are_the_specification(shared_dir: Path) -> None:
    text = (shared_dir / "spec" / "ecosystem_formats.md").read_text(encoding="utf-8")
    header = next(line for line in text.splitlines() if line.startswith("Timecode,BlendShapeCount,"))
    assert [n[0].lower() + n[1:] for n in header.split(",")[2:54]] == list(ARKIT52.names)
    line = next(line for line in text.splitlines() if line.startswith("`_neutral "))
    assert tuple(line.strip("`").split()) == MEDIAPIPE_NAMES


def test_mirror_swaps_sides_and_negates_yaw_and_roll() -> None:
    values = facs(
        corner_pull_L=0.7, jaw_left=0.2, gaze_yaw_L=0.5, gaze_pitch_R=0.3, head_roll=-0.4, head_pitch=0.1
    )
    assert named(FACS102, FACS102.mirror(values)) == {
        "corner_pull_R": 0.7,
        "jaw_right": 0.2,
        "gaze_yaw_R": -0.5,
        "gaze_pitch_L": 0.3,
        "head_roll": 0.4,
        "head_pitch": 0.1,
    }
    mirrored = ARKIT52.mirror(arkit(mouthLeft=1, jawRight=0.5, eyeLookInLeft=0.25, browInnerUp=0.1))
    assert named(ARKIT52, mirrored) == {
        "mouthRight": 1.0,
        "jawLeft": 0.5,
        "eyeLookInRight": 0.25,
        "browInnerUp": 0.1,
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"browInnerUp": 0.5}, {"brow_inner_up_L": 0.5, "brow_inner_up_R": 0.5}),
        ({"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.4}, {"gaze_yaw_L": 0.5, "gaze_yaw_R": 0.4}),
        ({"eyeLookInLeft": 0.5, "eyeLookOutRight": 0.4}, {"gaze_yaw_L": -0.5, "gaze_yaw_R": -0.4}),
        ({"eyeLookUpLeft": 0.5, "eyeLookDownRight": 0.4}, {"gaze_pitch_L": 0.5, "gaze_pitch_R": -0.4}),
        ({"mouthPressLeft": 0.3}, {"lip_press_upper_L": 0.3, "lip_press_lower_L": 0.3}),
        ({"mouthClose": 0.5}, {}),
        ({"jawOpen": 2.0}, {"jaw_open": 1.0}),
        (
            {"jawOpen": 0.4, "mouthClose": 0.1},
            {"jaw_open": 0.4}
            | {f"lips_together_{p}": 0.25 for p in ("upper_L", "upper_R", "lower_L", "lower_R")},
        ),
    ],
)
def test_arkit_to_facs_values(source: dict[str, float], expected: dict[str, float]) -> None:
    assert named(FACS102, ARKIT52.convert(arkit(**source), FACS102)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"brow_inner_up_L": 1.0}, {"browInnerUp": 0.5}),
        ({"gaze_yaw_L": -0.5, "gaze_yaw_R": -0.25}, {"eyeLookInLeft": 0.5, "eyeLookOutRight": 0.25}),
        ({"jaw_forward": -0.3}, {}),
        ({"brow_squeeze_R": 1.0}, {"browDownRight": 0.5}),
        ({"brow_lower_R": 1.0, "brow_squeeze_R": 1.0}, {"browDownRight": 1.0}),
        ({"jaw_open": 0.8, "lips_together_upper_L": 1.0}, {"jawOpen": 0.8, "mouthClose": 0.2}),
        ({"lips_together_upper_L": 1.0}, {}),
        ({"lip_funnel_upper_L": 1.0, "lip_funnel_lower_R": 0.5}, {"mouthFunnel": 0.375}),
        ({"nostril_dilate_L": 1.0, "head_yaw": 1.0}, {}),
    ],
)
def test_facs_to_arkit_values(source: dict[str, float], expected: dict[str, float]) -> None:
    assert named(ARKIT52, FACS102.convert(facs(**source), ARKIT52)) == expected


@given(hnp.arrays(np.float64, (3, 52), elements=st.floats(0, 1)))
def test_arkit_to_facs_and_back_is_the_identity(values: np.ndarray) -> None:
    jaw, close = ARKIT52.index("jawOpen"), ARKIT52.index("mouthClose")
    values[:, close] = np.minimum(values[:, close], values[:, jaw])
    for one, other in OPPOSITE:
        for side in ("Left", "Right"):
            i, j = ARKIT52.index(one + side), ARKIT52.index(other + side)
            values[:, j] = np.where(values[:, i] >= values[:, j], 0, values[:, j])
            values[:, i] = np.where(values[:, j] > 0, 0, values[:, i])
    for array in (values, values.astype(np.float32)):
        back = FACS102.convert(ARKIT52.convert(array, FACS102), ARKIT52)
        assert back.dtype == array.dtype
        np.testing.assert_allclose(back, array, atol=1e-6)


@given(hnp.arrays(np.float64, (2, 102), elements=st.floats(-1.5, 1.5)))
def test_mirror_commutes_with_conversion_from_facs(values: np.ndarray) -> None:
    one = ARKIT52.mirror(FACS102.convert(values, ARKIT52))
    other = FACS102.convert(FACS102.mirror(values), ARKIT52)
    np.testing.assert_allclose(one, other, atol=1e-12)
    assert (one >= 0).all()
    assert (one <= 1).all()


@given(hnp.arrays(np.float64, (2, 52), elements=st.floats(-0.5, 1.5)))
def test_mirror_commutes_with_conversion_from_arkit(values: np.ndarray) -> None:
    one = FACS102.mirror(ARKIT52.convert(values, FACS102))
    np.testing.assert_allclose(one, ARKIT52.convert(ARKIT52.mirror(values), FACS102), atol=1e-12)
    assert (one >= FACS102.low - 1e-7).all()
    assert (one <= FACS102.high).all()


def test_report_sorts_all_controls_into_exact_merged_and_lost() -> None:
    report = FACS102.conversion_report(ARKIT52)
    assert sorted((*report.exact, *report.merged, *report.lost)) == sorted(FACS102.names)
    assert {"jaw_open", "gaze_yaw_L", "corner_pull_R"} <= set(report.exact)
    assert {"brow_inner_up_L", "brow_squeeze_L", "lips_together_lower_R"} <= set(report.merged)
    assert {"sticky_corner_L", "head_yaw", "tongue_curl", "ear_raise_R"} <= set(report.lost)
    assert report.targets["gaze_yaw_L"] == ("eyeLookInLeft", "eyeLookOutLeft")
    assert report.unreached == ()
    back = ARKIT52.conversion_report(FACS102)
    assert back.exact == ARKIT52.names
    assert not back.merged
    assert not back.lost
    assert "brow_squeeze_L" in back.unreached
    assert "jaw_open" not in back.unreached


def test_lost_controls_have_no_effect_and_the_others_have() -> None:
    lost = set(FACS102.conversion_report(ARKIT52).lost)
    for i, name in enumerate(FACS102.names):
        values = facs(jaw_open=0.0 if name == "jaw_open" else 0.5)
        before = FACS102.convert(values, ARKIT52)
        values[i] = 1.0
        assert np.array_equal(before, FACS102.convert(values, ARKIT52)) == (name in lost), name


def test_evidence_converts_as_a_weighted_mean() -> None:
    seen = np.zeros(102, np.float32)
    seen[[FACS102.index("brow_inner_up_L"), FACS102.index("jaw_open")]] = 1
    there = FACS102.convert_confidence(seen, ARKIT52)
    assert named(ARKIT52, there) == {"browInnerUp": 0.5, "jawOpen": 1.0}
    assert FACS102.convert_confidence(np.ones(102), ARKIT52).min() == pytest.approx(1.0)


def test_clamp_match_index_and_spellings() -> None:
    assert FACS102.clamp(np.full(102, -9.0))[FACS102.index("jaw_forward")] == pytest.approx(-0.3)
    assert [FACS102.names[i] for i in FACS102.match("corner_pull_?")] == ["corner_pull_L", "corner_pull_R"]
    with pytest.raises(InputError, match=r"has no control 'jawopen'. Did you mean jaw_open"):
        FACS102.index("jawopen")
    with pytest.raises(InputError, match="no control of arkit52 fits"):
        ARKIT52.match("gaze_*")
    with pytest.raises(InputError, match="expected"):
        FACS102.clamp(np.zeros(52))
    with pytest.raises(InputError, match="expected numbers"):
        FACS102.clamp(np.array(["a"] * 102))


def test_other_spaces_convert_by_name_or_refuse() -> None:
    small = ControlSpace("small", (Control("jaw_open", 0, 1), Control("wiggle", 0, 1)))
    assert named(ARKIT52, small.convert([0.5, 1.0], ARKIT52)) == {"jawOpen": 0.5}
    assert named(FACS102, small.convert([0.5, 1.0], FACS102)) == {"jaw_open": 0.5}
    other = ControlSpace("other", (Control("wobble", 0, 1),))
    with pytest.raises(InputError, match="no way from control space small to other"):
        small.convert([0.5, 1.0], other)


def test_bad_spaces_are_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        ControlSpace("x", (Control("a", 0, 1), Control("a", 0, 1)))
    with pytest.raises(InputError, match="do not agree"):
        ControlSpace("x", (Control("a_L", 0, 1, mirror="a_R"),))
    with pytest.raises(InputError, match="bad range"):
        Control("a", 1, 0)
    with pytest.raises(InputError, match="at least one"):
        ControlSpace("x", ())
    with pytest.raises(InputError, match="Known are facs102, arkit52"):
        space_by_name("vrm")


def test_spaces_are_values() -> None:
    FACS102.convert(np.zeros(102), ARKIT52)
    copy = pickle.loads(pickle.dumps(FACS102))
    assert copy == FACS102
    assert hash(copy) == hash(FACS102)
    assert space_by_name("FACS102") is FACS102
    with pytest.raises(ValueError):
        FACS102.low[0] = 1
