"""Names of rigs are matched to ARKit and FACS controls; values go both ways; the JSON can be edited and read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rigs.rig_files import little_head, little_shapes, write_obj

from omote.controls import ARKIT52, FACS102, MEDIAPIPE_NAMES, ControlSpace
from omote.errors import FormatError, InputError, OmoteError
from omote.performance import Camera, Performance
from omote.rigs.blendshapes import space_of
from omote.rigs.mapping import NameMapping, load_mapping
from omote.rigs.open import open_blendshapes

ICT = """browDown_L browDown_R browInnerUp_L browInnerUp_R browOuterUp_L browOuterUp_R cheekPuff_L cheekPuff_R
cheekSquint_L cheekSquint_R eyeBlink_L eyeBlink_R eyeLookDown_L eyeLookDown_R eyeLookIn_L eyeLookIn_R eyeLookOut_L
eyeLookOut_R eyeLookUp_L eyeLookUp_R eyeSquint_L eyeSquint_R eyeWide_L eyeWide_R jawForward jawLeft jawOpen jawRight
mouthClose mouthDimple_L mouthDimple_R mouthFrown_L mouthFrown_R mouthFunnel mouthLeft mouthLowerDown_L
mouthLowerDown_R mouthPress_L mouthPress_R mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower
mouthShrugUpper mouthSmile_L mouthSmile_R mouthStretch_L mouthStretch_R mouthUpperUp_L mouthUpperUp_R noseSneer_L
noseSneer_R""".split()


def _mapping(names: list[str], to: ControlSpace = ARKIT52) -> NameMapping:
    return NameMapping.by_name(space_of("rig", names), to)


def _values(space: ControlSpace, **values: float) -> np.ndarray:
    row = np.zeros(len(space), np.float32)
    for name, value in values.items():
        row[space.index(name)] = value
    return row


def test_arkit_names_in_any_spelling_are_the_same_controls() -> None:
    spelt = {
        "EyeBlinkLeft": "eyeBlinkLeft",
        "head:jaw_open": "jawOpen",
        "mouth-smile.R": "mouthSmileRight",
        "L_browDown": "browDownLeft",
        "cheek puff": "cheekPuff",
        "jawL": "jawLeft",
        "mouth_right": "mouthRight",
        "eyelookinleft": "eyeLookInLeft",
        "NOSESNEERRIGHT": "noseSneerRight",
        "mouth.close": "mouthClose",
        "tongueOut.001": "tongueOut",
    }
    mapping = _mapping(list(spelt))
    assert mapping.rows == {name: {target: 1.0} for name, target in spelt.items()}
    assert mapping.matching is not None
    assert set(mapping.matching.how.values()) == {"name"}


def test_a_copy_beside_its_original_is_another_shape() -> None:
    mapping = _mapping(["jawOpen", "jawOpen.001", "tongueOut.001", "tongueOut.002"])
    assert mapping.rows == {"jawOpen": {"jawOpen": 1.0}}


def test_ict_names_cover_all_of_arkit_but_the_tongue_and_halves_share_their_whole() -> None:
    mapping = _mapping(ICT)
    assert set(mapping.rows) == set(ICT)
    assert mapping.unreached == ("tongueOut",)
    assert mapping.rows["browInnerUp_L"] == mapping.rows["browInnerUp_R"] == {"browInnerUp": 0.5}
    assert mapping.rows["mouthSmile_R"] == {"mouthSmileRight": 1.0}


def test_a_prefix_that_all_names_have_is_left_out() -> None:
    plain = _mapping(ICT)
    mapping = _mapping([f"head_cm0_bl_{name}" for name in ICT] + ["Basis"])
    assert mapping.rows == {f"head_cm0_bl_{name}": row for name, row in plain.rows.items()}
    assert mapping.matching is not None
    assert mapping.matching.rest == ("Basis",)


def test_mediapipe_names_match_but_its_neutral_is_rest() -> None:
    mapping = _mapping(list(MEDIAPIPE_NAMES))
    assert mapping.rows == {name: {name: 1.0} for name in MEDIAPIPE_NAMES if name != "_neutral"}


def test_metahuman_quarters_and_words_match() -> None:
    names = [f"CTRL_expressions_mouthFunnel{q}" for q in ("UL", "UR", "DL", "DR")]
    names += [
        "CTRL_expressions_eyeLookLeftL",
        "CTRL_expressions_eyeLookLeftR",
        "CTRL_expressions_mouthCornerPullR",
    ]
    mapping = _mapping(names)
    assert [mapping.rows[name] for name in names[:4]] == [{"mouthFunnel": 0.25}] * 4
    assert [mapping.rows[name] for name in names[4:]] == [
        {"eyeLookOutLeft": 1.0},
        {"eyeLookInRight": 1.0},
        {"mouthSmileRight": 1.0},
    ]
    assert _mapping(names, FACS102).rows[names[2]] == {"lip_funnel_lower_L": 1.0}


def test_vrm_expressions_match_and_the_word_for_both_eyes_gives_way() -> None:
    mapping = _mapping(["aa", "blink", "blinkLeft", "blinkRight", "lookLeft", "happy", "neutral"])
    assert mapping.rows["blinkLeft"] == {"eyeBlinkLeft": 1.0}
    assert mapping.rows["lookLeft"] == {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}
    assert mapping.rows["aa"] == {"jawOpen": 0.7}
    assert mapping.matching is not None
    assert mapping.matching.how["happy"] == "mixture"
    assert mapping.matching.ambiguous == {"blink": ("eyeBlinkLeft", "eyeBlinkRight")}


def test_visemes_stand_back_where_the_rig_has_the_controls_themselves() -> None:
    mapping = _mapping([*ARKIT52.names, "viseme_aa", "viseme_O"])
    assert mapping.rows == {name: {name: 1.0} for name in ARKIT52.names}


def test_shapes_for_the_low_end_of_a_facs_control_weigh_below_zero() -> None:
    names = ["gaze_yaw_L", "gaze_yaw_L_neg", "jaw_forward", "jaw_forward_neg"]
    facs = _mapping(names, FACS102)
    assert facs.rows["gaze_yaw_L_neg"] == {"gaze_yaw_L": -1.0}
    assert facs.rows["jaw_forward_neg"] == {"jaw_forward": -0.3}
    np.testing.assert_allclose(
        facs.to_rig(_values(FACS102, gaze_yaw_L=-0.5, jaw_forward=0.2)), [0, 0.5, 0.2, 0]
    )
    arkit = _mapping(names)
    assert arkit.rows["gaze_yaw_L"] == {"eyeLookOutLeft": 1.0}
    assert arkit.rows["gaze_yaw_L_neg"] == {"eyeLookInLeft": 1.0}


def test_unknown_names_get_suggestions() -> None:
    mapping = _mapping(["mouthSmyleLeft", "bulge"])
    assert mapping.matching is not None
    assert mapping.matching.unmatched["mouthSmyleLeft"][0] == "mouthSmileLeft"
    assert mapping.matching.unmatched["bulge"] == ()


@settings(max_examples=15)
@given(st.lists(st.text(min_size=1, max_size=16), min_size=1, max_size=12, unique=True))
def test_any_names_are_matched_or_left_out_each_once(names: list[str]) -> None:
    for to in (ARKIT52, FACS102):
        mapping = _mapping(names, to)
        found = mapping.matching
        assert found is not None
        groups = (mapping.rows, found.unmatched, found.ambiguous, found.rest)
        assert sorted(name for group in groups for name in group) == sorted(names)


@settings(max_examples=8)
@given(st.permutations(ICT))
def test_values_go_to_the_rig_and_come_back_whatever_the_order(names: list[str]) -> None:
    mapping = _mapping(list(names))
    values = np.random.default_rng(len(names)).random((3, 52)).astype(np.float32)
    values[:, ARKIT52.index("tongueOut")] = 0
    np.testing.assert_allclose(mapping.from_rig(mapping.to_rig(values)), values, atol=1e-6)


def test_halves_mean_and_one_for_both_splits() -> None:
    mapping = _mapping(["browInnerUp_L", "browInnerUp_R", "mouthSmile", "jawOpen"])
    got = mapping.from_rig([1.0, 0.5, 0.25, 0.0])
    assert got[ARKIT52.index("browInnerUp")] == pytest.approx(0.75)
    assert got[ARKIT52.index("mouthSmileRight")] == pytest.approx(0.25)
    back = mapping.to_rig(_values(ARKIT52, browInnerUp=0.6, mouthSmileLeft=1.0))
    np.testing.assert_allclose(back, [0.6, 0.6, 0.5, 0.0], atol=1e-6)


def test_facs_gaze_keeps_its_signs_and_lips_together_divide_by_the_jaw() -> None:
    mapping = _mapping(ICT, FACS102)
    rig = mapping.rig
    facs = mapping.from_rig(_values(rig, eyeLookIn_L=0.5, eyeLookOut_R=0.25, jawOpen=0.8, mouthClose=0.4))
    expected = ARKIT52.convert(
        _values(ARKIT52, eyeLookInLeft=0.5, eyeLookOutRight=0.25, jawOpen=0.8, mouthClose=0.4), FACS102
    )
    np.testing.assert_allclose(facs, expected, atol=1e-6)
    np.testing.assert_allclose(
        mapping.to_rig(facs),
        _values(rig, eyeLookIn_L=0.5, eyeLookOut_R=0.25, jawOpen=0.8, mouthClose=0.4),
        atol=1e-6,
    )


def test_an_empty_object_says_that_there_are_no_combinations(tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    folder.mkdir()
    vertices, quads = little_head()
    for name, delta in {"neutral": 0 * vertices, **little_shapes(vertices)}.items():
        write_obj(folder / f"{name}.obj", vertices + delta, quads)
    write_obj(folder / "jawOpen_mouthSmileLeft.obj", vertices + 0.01, quads)
    by_name = open_blendshapes(folder)
    assert list(by_name.combinations) == ["jawOpen_mouthSmileLeft"]
    document = NameMapping.by_name(by_name.space, ARKIT52, by_name.combinations).document()
    for kept, wanted in ((document["combinations"], 1), ({}, 0)):
        (tmp_path / "map.json").write_text(json.dumps({**document, "combinations": kept}))
        rig = open_blendshapes(folder, mapping=tmp_path / "map.json")
        assert len(rig.combinations) == wanted
        assert ("jawOpen_mouthSmileLeft" in rig.space) == (not wanted)


def test_edited_json_is_read_back_and_used(tmp_path: Path) -> None:
    mapping = _mapping(["jawOpen", "grin", "jaw_grin"])
    document = mapping.document()
    assert document["controls"] == {"jawOpen": {"jawOpen": 1.0}}
    assert set(document["unmatched"]) == {"grin", "jaw_grin"}
    document["controls"]["grin"] = {"mouthSmileLeft": 2.0, "mouthSmileRight": 2.0}
    document["controls"]["jawOpen"] = "jawOpen"
    document["combinations"] = {"jaw_grin": ["jawOpen", "grin"]}
    (tmp_path / "map.json").write_text(json.dumps(document))
    edited = load_mapping(tmp_path / "map.json", mapping.rig)
    np.testing.assert_allclose(
        edited.to_rig(_values(ARKIT52, mouthSmileLeft=1, mouthSmileRight=1)), [0, 0.5, 0]
    )
    assert edited.combinations == {"jaw_grin": ("jawOpen", "grin")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "this is no rig mapping"),
        ({"version": 2}, "written in version 2"),
        ({"to": "arkit53"}, "unknown control space 'arkit53'"),
        ({"controls": {"jawOpn": {"jawOpen": 1}}}, "has no control 'jawOpn'"),
        ({"controls": {"jawOpen": {"jawOpne": 1}}}, "arkit52 does not have. Did you mean jawOpen"),
        ({"controls": {"jawOpen": {"jawOpen": "much"}}}, "needs an object of target names and weights"),
        ({"controls": []}, "'controls' is no object"),
        ({"combinations": {"a": ["b"]}}, "needs a list of two other names"),
    ],
)
def test_broken_mapping_files_are_refused_in_one_line(tmp_path: Path, change: dict, said: str) -> None:
    mapping = _mapping(["jawOpen"])
    path = tmp_path / "map.json"
    path.write_text(json.dumps({**mapping.document(), **change}))
    with pytest.raises(FormatError, match=said) as caught:
        load_mapping(path, mapping.rig)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "not json", '{"format": '])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(OmoteError, match=r"map\.json"):
        load_mapping(tmp_path / "map.json", ARKIT52)
    with pytest.raises(InputError):
        load_mapping(tmp_path / "missing.json", ARKIT52)


def test_takes_go_to_the_rig_and_back() -> None:
    mapping = _mapping(ICT)
    controls = np.random.default_rng(0).random((4, 52)).astype(np.float32)
    controls[:, ARKIT52.index("tongueOut")] = 0
    take = Performance(
        space=ARKIT52,
        controls=controls,
        head_rotation=np.zeros((4, 3), np.float32),
        head_translation=np.zeros((4, 3), np.float32),
        confidence=np.ones(4, np.float32),
        times=np.arange(4) / 30,
        identity={},
        camera=Camera(focal=900.0, principal=(256, 256), size=(512, 512)),
        source={},
    )
    there = mapping.take_to_rig(take)
    assert there.space == mapping.rig
    np.testing.assert_allclose(mapping.take_from_rig(there).controls, controls, atol=1e-6)
    with pytest.raises(InputError, match="not in the controls of rig"):
        mapping.take_from_rig(take)
