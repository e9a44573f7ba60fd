"""Motion of one face on another: against the formula, frame by frame, and against the rig's own eyes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from omote.controls import ARKIT52, FACS102, ControlSpace
from omote.edit.gaze import REACH, SIGHT_UPWARD
from omote.edit.motion import MotionOptions, apply_motion
from omote.edit.regions import REGIONS, region_indices
from omote.errors import InputError, NoFaceError
from omote.geometry.rotations import axis_angle_to_matrix
from omote.performance import Camera, Performance
from omote.rigs.constants import PUPIL_DOWNWARD, PUPIL_OUTWARD
from omote.rigs.facs import load_rig

CAMERA = Camera(900.0, (256.0, 256.0), (512, 512))


def take(count: int, seed: int = 0, space: ControlSpace = FACS102, **changes: Any) -> Performance:
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "controls": space.clamp(rng.uniform(-0.3, 0.9, (count, len(space)))),
        "head_rotation": rng.normal(0, 0.15, (count, 3)),
        "head_translation": np.array([0, 0, -0.6]) + rng.normal(0, 0.02, (count, 3)),
        "confidence": np.ones(count),
        "times": np.arange(count) / 30,
        "camera": CAMERA,
    }
    return Performance(space=space, **{**values, **changes})


def neutral(count: int = 1, **tracks: Any) -> Performance:
    controls = np.zeros((count, len(FACS102)))
    for name, values in tracks.items():
        controls[:, FACS102.index(name)] = values
    return take(count, controls=controls, head_rotation=np.zeros((count, 3)))


def test_every_control_is_in_exactly_one_region() -> None:
    found = np.sort(np.concatenate([region_indices(region) for region in REGIONS]))
    assert (found == np.arange(len(FACS102))).all()
    where = {r: [FACS102.names[i] for i in region_indices(r)] for r in REGIONS}
    assert where["pose"] == ["head_yaw", "head_pitch", "head_roll"]
    assert {"gaze_yaw_L", "lid_close_R", "lid_tighten_L", "lid_lower_raise_L"} <= set(where["eyes"])
    assert {"jaw_open", "tongue_narrow", "mouth_left", "sticky_corner_L", "chin_raise_R"} <= set(
        where["lips"]
    )
    assert {"brow_lower_L", "cheek_raise_R", "cheek_puff_L", "nose_wrinkle_L"} <= set(where["expression"])


def test_relative_motion_is_the_formula_at_each_frame() -> None:
    source, driver = take(1, 1), take(6, 2)
    options = MotionOptions(reference=2, strength=0.7)
    moved = apply_motion(source, driver, options)
    others = np.array([not name.startswith("lid_close") for name in FACS102.names])
    relaxed = 0
    for t in range(6):
        wanted = source.controls[0] + 0.7 * (driver.controls[t] - driver.controls[2])
        got = moved.controls[t]
        inside = others & (wanted >= FACS102.low)  # below rest has a test of its own
        assert np.allclose(got[inside], np.minimum(wanted, FACS102.high)[inside], atol=1e-6)
        below = others & ~inside
        relaxed += below.sum()
        assert (got[below] >= np.maximum(wanted, FACS102.low - 0.25)[below] - 1e-6).all()
        assert (got[below] <= FACS102.low[below] + 1e-6).all()
        place = source.head_translation[0] + 0.7 * (driver.head_translation[t] - driver.head_translation[2])
        assert np.allclose(moved.head_translation[t], place, atol=1e-6)
    turn = axis_angle_to_matrix(driver.head_rotation[5]) @ axis_angle_to_matrix(driver.head_rotation[2]).T
    full = apply_motion(source, driver, MotionOptions(reference=2))
    wanted = turn @ axis_angle_to_matrix(source.head_rotation[0])
    assert np.allclose(axis_angle_to_matrix(full.head_rotation[5]), wanted, atol=1e-6)
    assert relaxed > 20
    assert np.allclose(moved.head_rotation[2], source.head_rotation[0], atol=1e-6)
    assert moved.camera == source.camera
    assert (moved.times == driver.times).all()


def test_what_touches_nothing_may_relax_a_quarter_below_rest() -> None:
    relaxing = {
        "corner_pull_L": [0.5, 0.3, 0.0],
        "brow_lower_R": [0.1, 0.0, 0.05],
        "jaw_open": [0.5, 0.2, 0.0],
    }
    driver = neutral(3, **relaxing, lid_tighten_L=[0.4, 0.2, 0.0], lip_press_upper_R=[0.4, 0.2, 0.0])
    moved = apply_motion(neutral(), driver)
    assert moved.track("corner_pull_L") == pytest.approx([0.0, -0.2, -0.25])
    assert moved.track("brow_lower_R") == pytest.approx([0.0, -0.1, -0.05])
    for touching in (
        "jaw_open",
        "lid_tighten_L",
        "lip_press_upper_R",
    ):  # jaws, lids and lips that are shut stay shut
        assert moved.track(touching) == pytest.approx(0.0)
    same = {"corner_pull_L": -0.1, "gaze_yaw_L": -1.0}
    absolute = apply_motion(neutral(), neutral(1, **same), MotionOptions(mode="absolute"))
    assert absolute.track("corner_pull_L") == pytest.approx(0.0)
    assert absolute.track("gaze_yaw_L") == pytest.approx(-1.0)
    sideways = apply_motion(neutral(gaze_yaw_L=-0.9), neutral(2, gaze_yaw_L=[0.0, -0.9]))
    assert sideways.track("gaze_yaw_L") == pytest.approx(
        [-0.9, -1.0]
    )  # signed controls have no rest at their end


def test_absolute_motion_mixes_with_the_source() -> None:
    source, driver = take(1, 1), take(4, 2)
    whole = apply_motion(source, driver, MotionOptions(mode="absolute"))
    for name in ("controls", "head_rotation", "head_translation"):
        assert np.allclose(getattr(whole, name), getattr(driver, name), atol=1e-6)
    half = apply_motion(source, driver, MotionOptions(mode="absolute", strength=0.5))
    assert np.allclose(half.controls, (source.controls + driver.controls) / 2, atol=1e-6)
    elsewhere = driver.with_(camera=Camera(400.0, (320.0, 240.0), (640, 480)))
    path = apply_motion(source, elsewhere, MotionOptions(mode="absolute")).head_translation
    assert np.allclose(path - path[0], driver.head_translation - driver.head_translation[0], atol=1e-6)
    assert np.allclose(path[0], source.head_translation[0], atol=1e-6)


def test_neutral_reference_keeps_what_a_constant_driver_holds() -> None:
    source = neutral(corner_pull_L=0.1)
    driver = neutral(3, corner_pull_L=0.5)
    assert apply_motion(source, driver).track("corner_pull_L") == pytest.approx(0.1)
    moved = apply_motion(source, driver, MotionOptions(reference="neutral"))
    assert moved.track("corner_pull_L") == pytest.approx(0.6)


def test_closed_eyes_of_the_driver_close_the_eyes() -> None:
    source = neutral(lid_close_L=0.1)
    driver = neutral(3, lid_close_L=[0.3, 1.0, 0.2])
    lids = apply_motion(source, driver).track("lid_close_L")
    assert lids == pytest.approx([0.1, 1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_alone_moves_alone(region: str) -> None:
    source, driver = take(1, 1), take(5, 2)
    moved = apply_motion(source, driver, MotionOptions(regions=frozenset([region])))
    changed = np.flatnonzero(np.abs(moved.controls - source.controls).max(0) > 1e-6)
    assert set(changed) <= set(region_indices(region))
    assert len(changed) > 0
    assert (np.ptp(moved.head_rotation, axis=0).max() > 0.01) == (region == "pose")


def test_controls_the_driver_cannot_express_stay() -> None:
    source, driver = take(1, 1), take(4, 2, ARKIT52)
    moved = apply_motion(source, driver, MotionOptions(mode="absolute"))
    assert (moved.track("tongue_curl") == source.track("tongue_curl")).all()
    assert (moved.track("corner_pull_sharp_L") == source.track("corner_pull_sharp_L")).all()
    assert np.allclose(moved.track("corner_pull_L"), driver.track("mouthSmileLeft"), atol=1e-6)
    assert np.allclose(moved.track("jaw_open"), driver.track("jawOpen"), atol=1e-6)


def test_a_lost_face_holds_and_eases_back() -> None:
    jaw = np.linspace(0, 1, 31)
    confidence = np.ones(31)
    confidence[10:25] = 0
    driver = neutral(31, jaw_open=jaw).with_(confidence=confidence)
    track = apply_motion(neutral(), driver).track("jaw_open")
    assert track[10:16] == pytest.approx(jaw[9], abs=1e-6)
    assert (np.diff(track) > -1e-6).all()
    assert np.diff(track).max() < 0.12  # half a second's change, eased within 0.3 s
    assert track[25:] == pytest.approx(jaw[25:], abs=1e-6)
    first_lost = driver.with_(confidence=(np.arange(31) >= 5).astype(float))
    assert apply_motion(neutral(), first_lost).track("jaw_open")[:6] == pytest.approx(0.0)
    with pytest.raises(NoFaceError, match="no frame"):
        apply_motion(neutral(), driver.with_(confidence=np.zeros(31)))


def test_the_head_stays_ahead_of_the_camera() -> None:
    driver = take(2, head_translation=np.array([[0, 0, -3.0], [0, 0, -0.1]]))
    moved = apply_motion(neutral(), driver)
    assert moved.head_translation[1, 2] < -0.2


def test_offsets_by_either_name() -> None:
    options = MotionOptions(offsets={"mouthSmile*": 0.2, "jaw_open": 2.0, "eyeLookIn*": 0.5})
    moved = apply_motion(neutral(), neutral(), options)
    got = {name: float(moved.track(name)[0]) for name in FACS102.names if moved.track(name)[0]}
    wanted = {
        "corner_pull_L": 0.2,
        "corner_pull_R": 0.2,
        "jaw_open": 1.0,
        "gaze_yaw_L": -0.5,
        "gaze_yaw_R": 0.5,
    }
    assert got == pytest.approx(wanted)
    with pytest.raises(InputError, match="mouthSmileLeft"):
        MotionOptions(offsets={"mouthSmileLeftt": 0.1})


def test_eyes_on_the_camera_whatever_the_head_does() -> None:
    driver = neutral(8, head_yaw=np.linspace(-0.2, 0.2, 8), head_pitch=0.2)
    driver = driver.with_(head_rotation=np.random.default_rng(3).normal(0, 0.1, (8, 3)))
    moved = apply_motion(neutral(), driver, MotionOptions(reference="neutral", gaze="camera"))
    assert np.abs(moved.controls[:, FACS102.match("gaze_*")]).max() < 0.999  # none at its limit
    rig = load_rig()
    identity = torch.zeros(1, len(rig.identity_space))
    head = rig(torch.tensor(moved.controls), identity)
    turn = axis_angle_to_matrix(moved.head_rotation)
    marks = rig.landmarks.apply(head.numpy()) @ np.swapaxes(turn, 1, 2) + moved.head_translation[:, None]
    balls = [getattr(rig, f"_ball_{side}").tolist() for side in "LR"]
    expanded = {int(w): i for i, w in enumerate(rig.expand)}
    whole = turn @ rig.head_rotation(torch.tensor(moved.controls)).numpy()
    for ball, iris, outward in zip(balls, (473, 468), (1, -1), strict=True):
        skin = head[:, [expanded[i] for i in ball]].mean(1).numpy()
        centre = np.einsum("trc,tc->tr", turn, skin) + moved.head_translation
        pupil, towards = (_directions(whole, v) for v in (marks[:, iris] - centre, -centre))
        # The pupil lies angle kappa temporal of where the eye looks, and rests below where it looks at gaze 0.
        away = np.degrees(pupil - np.arcsin(REACH * np.sin(towards)))
        assert away[:, 0] == pytest.approx(outward * np.degrees(PUPIL_OUTWARD), abs=0.9)
        assert away[:, 1] == pytest.approx(-np.degrees(PUPIL_DOWNWARD + SIGHT_UPWARD), abs=0.9)


def _directions(frame: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(T, 2) yaw and pitch, radians, of vectors (T, 3) as seen in turned frames (T, 3, 3)."""
    x, y, z = np.einsum("trc,tr->ct", frame, vectors)
    return np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], 1)


def test_a_gaze_direction_is_followed_and_limited() -> None:
    moved = apply_motion(neutral(), neutral(2), MotionOptions(gaze=(15.0, 0.0)))
    turn = np.degrees(np.arcsin(REACH * np.sin(np.radians(15)))) / 30
    assert moved.track("gaze_yaw_L") == pytest.approx(turn, abs=1e-5)
    assert moved.track("gaze_yaw_R") == pytest.approx(turn, abs=1e-5)
    assert moved.track("gaze_pitch_L") == pytest.approx(-np.degrees(SIGHT_UPWARD) / 25, abs=1e-5)
    far = apply_motion(neutral(), neutral(2), MotionOptions(gaze=(80.0, -60.0)))
    assert far.track("gaze_yaw_L") == pytest.approx(1.0)
    assert far.track("gaze_pitch_R") == pytest.approx(-1.0)


def test_near_targets_are_converged_on() -> None:
    near = apply_motion(
        neutral().with_(head_translation=[[0, 0, -0.3]]), neutral(), MotionOptions(gaze="camera")
    )
    inward = np.degrees(np.arcsin(REACH * np.sin(np.arctan2(0.0312, 0.3)))) / 30
    assert near.track("gaze_yaw_L")[0] == pytest.approx(-inward, abs=0.002)
    assert near.track("gaze_yaw_R")[0] == pytest.approx(-near.track("gaze_yaw_L")[0], abs=1e-5)


def test_bad_options_are_one_line() -> None:
    with pytest.raises(InputError, match="no region 'mouth'"):
        MotionOptions(regions=frozenset(["mouth"]))
    with pytest.raises(InputError, match="mode"):
        MotionOptions(mode="other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="gaze"):
        MotionOptions(gaze=(100.0, 0.0))
    with pytest.raises(InputError, match="no frame 9"):
        apply_motion(neutral(), neutral(3), MotionOptions(reference=9))
    with pytest.raises(InputError, match="one frame"):
        apply_motion(neutral(2), neutral(3))
