"""What is measured on faces, where the truth is known because the rig itself made the landmarks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.capture.landmark_model import landmark_model
from omote.controls import FACS102
from omote.evaluation.capture import fitted_landmarks
from omote.evaluation.reenactment_faces import (
    FaceFitter,
    Seen,
    Shown,
    identity_distance,
    jitter,
    landmark_distance,
    motion_errors,
)
from omote.geometry.rotations import axis_angle_to_matrix, geodesic_angle
from omote.performance import Camera, Performance

SIZE, FOCAL = (480, 480), 864.0


def controls(**values: float) -> NDArray[np.float64]:
    made = np.zeros(len(FACS102))
    for name, value in values.items():
        made[FACS102.index(name)] = value
    return made


def shown(turn: tuple[float, float, float] = (0, 0, 0), **values: float) -> Shown:
    return Shown(axis_angle_to_matrix(np.radians(turn)), controls(**values))


def face(
    identity: NDArray[np.floating] | None = None,
    turn: tuple[float, float, float] = (0, 0, 0),
    x: float = 0.0,
    **values: float,
) -> Seen:
    """The rig's own landmarks under a pinhole camera, without scores."""
    take = Performance(
        space=FACS102,
        controls=controls(**values)[None],
        head_rotation=np.radians([turn]),
        head_translation=[[x, 0.0, -0.6]],
        confidence=[1.0],
        times=[0.0],
        identity={"facs": np.zeros(landmark_model().identities) if identity is None else identity},
        camera=Camera(FOCAL, (240, 240), SIZE),
    )
    return Seen(fitted_landmarks(take)[0].astype(np.float32), np.zeros(52, np.float32))


def moved(seen: Seen, shift: tuple[float, float], scale: float = 1.0) -> Seen:
    return Seen((seen.landmarks * scale + np.float32(shift)).astype(np.float32), seen.scores)


def test_a_face_is_no_distance_from_itself() -> None:
    assert landmark_distance(face(), face()) == 0
    assert set(motion_errors(shown((0, 9, 0), jaw_open=0.3), shown((0, 9, 0), jaw_open=0.3)).values()) == {
        0.0
    }


def test_akd_is_percent_of_the_eye_distance_at_any_scale() -> None:
    here = face()
    step = 0.05 * here.eye_distance
    assert landmark_distance(moved(here, (0.6 * step, 0.8 * step)), here) == pytest.approx(5, rel=1e-4)
    large, large_off = moved(here, (0, 0), 3.0), moved(moved(here, (0, step)), (0, 0), 3.0)
    assert landmark_distance(large_off, large) == pytest.approx(5, rel=1e-4)


def test_a_turned_head() -> None:
    errors = motion_errors(shown((0, 10, 0)), shown())
    assert errors["apd_degrees"] == pytest.approx(10, abs=1e-4)
    assert errors["gaze_degrees"] == pytest.approx(10, abs=1e-4)  # the eyes turn with the head
    assert errors["aed"] == 0
    steady = motion_errors(shown((0, 10, 0), gaze_yaw_L=-1 / 3, gaze_yaw_R=-1 / 3), shown())
    assert steady["gaze_degrees"] == pytest.approx(0, abs=1e-4)  # gaze 1 is 30 degrees


def test_gaze_is_of_the_eyes_that_are_to_be_open() -> None:
    looks = shown(gaze_yaw_L=0.5, gaze_yaw_R=0.1)
    assert motion_errors(looks, shown())["gaze_degrees"] == pytest.approx(9, abs=1e-3)
    assert motion_errors(looks, shown(lid_close_L=1))["gaze_degrees"] == pytest.approx(3, abs=1e-3)
    assert np.isnan(motion_errors(looks, shown(lid_close_L=1, lid_close_R=0.8))["gaze_degrees"])


def test_aed_leaves_out_what_landmarks_cannot_see() -> None:
    one = motion_errors(shown(jaw_open=0.5), shown())["aed"]
    assert one == pytest.approx(2 * motion_errors(shown(jaw_open=0.25), shown())["aed"])
    assert 0.5 / len(FACS102) <= one < 0.5 / 50
    assert motion_errors(shown(tongue_out=1), shown())["aed"] == 0


def test_relative_motion() -> None:
    """From one pose to another: the same change of another face, within the controls' ranges."""
    start, before = shown((0, 20, 0), jaw_open=0.8), shown((0, 5, 0), jaw_open=0.1)
    after = shown((0, 15, 0), jaw_open=0.6, corner_pull_L=0.4)
    there = start.moved_like(before, after)
    assert np.degrees(geodesic_angle(there.rotation, start.rotation)) == pytest.approx(10, abs=1e-4)
    assert there.controls[FACS102.index("jaw_open")] == 1  # 1.3 is out of range
    assert there.controls[FACS102.index("corner_pull_L")] == pytest.approx(0.4)
    same = start.moved_like(before, before)
    assert same.controls == pytest.approx(start.controls)
    assert same.rotation == pytest.approx(start.rotation)


def test_steady_motion_does_not_jitter() -> None:
    run = [moved(face(), (3.0 * t, -2.0 * t)) for t in range(6)]
    assert jitter(run) == pytest.approx(0, abs=1e-3)
    step = 0.01 * face().eye_distance
    zigzag = [moved(face(), (step * (t % 2), 0)) for t in range(6)]
    assert jitter(zigzag) == pytest.approx(2, rel=1e-3)  # there and back: twice the step
    assert jitter([zigzag[0], zigzag[1], None, zigzag[3], zigzag[4]]) != jitter(zigzag)
    assert np.isnan(jitter([zigzag[0], None, zigzag[2], None]))


def test_the_fit_finds_what_made_the_landmarks() -> None:
    fitter = FaceFitter(np.zeros(landmark_model().identities), FOCAL, SIZE)
    plain = fitter.fit(face())
    turned = fitter.fit(face(turn=(0, 12, 0), x=0.01))
    assert motion_errors(plain, shown())["apd_degrees"] < 0.3
    assert motion_errors(turned, plain)["apd_degrees"] == pytest.approx(12, abs=0.5)
    looking = fitter.fit(face(gaze_yaw_L=0.4, gaze_yaw_R=0.4))
    assert motion_errors(looking, plain)["gaze_degrees"] == pytest.approx(12, abs=2)
    assert motion_errors(fitter.fit(face(jaw_open=0.7)), plain)["aed"] > motion_errors(turned, plain)["aed"]


def test_identity_tells_heads_apart() -> None:
    rng = np.random.default_rng(3)
    one, two = rng.normal(0, 1, (2, landmark_model().identities))
    frames = [face(one, turn=(0, yaw, 0)) for yaw in (-20, 0, 20)]
    own, other = (identity_distance(frames, SIZE, who) for who in (one, two))
    assert own < 0.6 * other
    assert np.isnan(identity_distance([], SIZE, one))
