"""The measures themselves, on performances whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.capture.landmark_model import landmark_model
from omote.capture.landmarker import SCORE_NAMES
from omote.controls import ARKIT52, FACS102
from omote.evaluation.capture import fitted_landmarks, gaze_to_camera, landmark_error, score_correlations
from omote.performance import Camera, Performance

Floats = NDArray[np.float32]


def performance(
    controls: Floats, *, turn: tuple[float, float, float] = (0, 0, 0), z: float = -0.6, x: float = 0.0
) -> Performance:
    count = len(controls)
    return Performance(
        space=FACS102,
        controls=controls,
        head_rotation=np.tile(np.float32(turn), (count, 1)),
        head_translation=np.tile(np.float32([x, 0, z]), (count, 1)),
        confidence=np.ones(count, np.float32),
        times=np.arange(count) / 30,
        identity={"facs": np.zeros(landmark_model().identities, np.float32)},
        camera=Camera(1000.0, (320, 240), (640, 480)),
        source={},
    )


def rest(count: int = 1, **values: float) -> Floats:
    controls = np.zeros((count, len(FACS102)), np.float32)
    for name, value in values.items():
        controls[:, FACS102.index(name)] = value
    return controls


def eyes_at(take: Performance) -> NDArray[np.float64]:
    """(3,) middle of the eyeballs in camera space."""
    model = landmark_model()
    head = model.prepare(np.zeros(model.identities))
    return (head.lids["L"].centre + head.lids["R"].centre) / 2 + take.head_translation[0]


def test_landmarks_land_where_the_pinhole_says() -> None:
    take = performance(rest(2), x=0.1)
    points = fitted_landmarks(take)
    assert points.shape == (2, 478, 2)
    tip = landmark_model().rest[1] + (0.1, 0, -0.6)
    assert points[0, 1] == pytest.approx(
        [320 + 1000 * tip[0] / -tip[2], 240 - 1000 * tip[1] / -tip[2]], abs=0.01
    )
    assert points[0, 263, 0] > points[0, 33, 0]  # the subject's left eye is on the right


def test_no_error_at_the_fitted_landmarks() -> None:
    take = performance(rest(3, jaw_open=0.4), turn=(0.1, 0.4, -0.1))
    assert landmark_error(take, fitted_landmarks(take).astype(np.float32)) == pytest.approx(0, abs=1e-5)


def test_the_error_is_a_share_of_the_eye_distance() -> None:
    take = performance(rest(2))
    marks = fitted_landmarks(take)
    eyes = np.linalg.norm(marks[0, 33] - marks[0, 263])
    moved = (marks + (0.03 * eyes, 0.04 * eyes)).astype(np.float32)
    moved[1] = np.nan
    error = landmark_error(take, moved)
    assert error[0] == pytest.approx(0.05, rel=1e-4)
    assert np.isnan(error[1])


def test_correlations_of_what_moves() -> None:
    wave = (0.5 + 0.5 * np.sin(np.linspace(0, 9, 60))).astype(np.float32)
    controls = rest(60)
    controls[:, FACS102.index("jaw_open")] = wave
    take = performance(controls)
    scores = np.zeros((60, len(SCORE_NAMES)), np.float32)
    scores[:, SCORE_NAMES.index("jawOpen")] = 0.6 * wave
    scores[:, SCORE_NAMES.index("mouthPucker")] = wave[::-1]  # moves, but not in ours
    scores[:, SCORE_NAMES.index("browDownLeft")] = 0.05 * wave  # hardly moves
    found = score_correlations(take, scores)
    assert set(found) == {"jawOpen", "mouthPucker"}
    assert found["jawOpen"] == pytest.approx(1, abs=1e-3)
    assert found["mouthPucker"] == 0


def test_correlations_leave_lost_frames_out() -> None:
    wave = np.linspace(0, 1, 40, dtype=np.float32)
    controls = rest(40)
    controls[:, FACS102.index("jaw_open")] = wave
    scores = np.zeros((40, len(SCORE_NAMES)), np.float32)
    scores[:, SCORE_NAMES.index("jawOpen")] = wave
    scores[10:15] = np.nan
    assert score_correlations(performance(controls), scores)["jawOpen"] == pytest.approx(1, abs=1e-3)


def test_correlations_of_another_space() -> None:
    wave = np.linspace(0, 1, 40, dtype=np.float32)
    controls = np.zeros((40, len(ARKIT52)), np.float32)
    controls[:, ARKIT52.index("jawOpen")] = 1 - wave
    scores = np.zeros((40, len(SCORE_NAMES)), np.float32)
    scores[:, SCORE_NAMES.index("jawOpen")] = wave
    take = performance(rest(40)).with_(space=ARKIT52, controls=controls, control_confidence=None)
    assert score_correlations(take, scores)["jawOpen"] == pytest.approx(-1, abs=1e-3)


def test_gaze_straight_ahead() -> None:
    """Parallel eyes of a head that faces the camera: off by half of the angle between the eyes."""
    take = performance(rest(), z=-2.0)
    left, right = gaze_to_camera(take)
    half = np.degrees(np.arctan(0.031 / 2.0))
    assert (left, right) == pytest.approx((half, half), abs=0.3)


@pytest.mark.parametrize("yaw", [20.0, -12.0])
def test_gaze_and_head_can_cancel(yaw: float) -> None:
    """The head turns away, the eyes stay on the camera."""
    turned = performance(rest(), turn=(0, np.radians(yaw), 0), z=-3.0)
    assert gaze_to_camera(turned)[0] == pytest.approx(abs(yaw), abs=1.5)
    back = rest(gaze_yaw_L=-yaw / 30, gaze_yaw_R=-yaw / 30)
    steady = performance(back, turn=(0, np.radians(yaw), 0), z=-3.0)
    assert max(gaze_to_camera(steady)) < 1.5


def test_gaze_up() -> None:
    take = performance(rest(gaze_pitch_L=0.8, gaze_pitch_R=0.4), z=-3.0)
    left, right = gaze_to_camera(take)
    assert left == pytest.approx(20, abs=1.5)
    assert right == pytest.approx(10, abs=1.5)
    assert eyes_at(take)[2] == pytest.approx(-3, abs=0.1)


def test_gaze_is_of_the_frame_asked_for() -> None:
    controls = np.concatenate([rest(), rest(gaze_yaw_L=0.5, gaze_yaw_R=0.5)])
    take = performance(controls, z=-3.0)
    assert gaze_to_camera(take, 1)[0] > gaze_to_camera(take, 0)[0] + 10
