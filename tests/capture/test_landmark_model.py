"""The rig at its landmarks is the rig: same points, and slopes that finite differences confirm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from omote.capture.landmark_model import LandmarkModel, gaze_rotation, landmark_model
from omote.capture.landmarker import mirror_permutation
from omote.controls import FACS102
from omote.rigs.constants import GAZE_PITCH, GAZE_YAW
from omote.rigs.facs import load_rig

Array = NDArray[np.float64]
CASES = {
    "a few controls": {},
    "lids half closed": {"lid_close_L": 0.6, "lid_close_R": 0.3},
    "eyes shut, looking aside": {"lid_close_L": 1.0, "lid_close_R": 1.0, "gaze_yaw_L": 0.7},
    "gaze": {"gaze_yaw_L": -0.5, "gaze_pitch_L": 0.8, "gaze_yaw_R": 0.9, "gaze_pitch_R": -0.6},
    "jaw open, lips closed": {
        "jaw_open": 0.8,
        "lips_together_upper_L": 0.7,
        "lips_together_lower_L": 0.7,
        "sticky_corner_R": 0.5,
    },
    "signed": {"jaw_forward": -0.2, "mouth_shift_vertical": -0.6, "jaw_left": 0.5},
}


@pytest.fixture(scope="module")
def model() -> LandmarkModel:
    return landmark_model()


def some_face(model: LandmarkModel, name: str) -> tuple[Array, Array]:
    """A random identity (I,), and random controls (102,) with those of the case."""
    rng = np.random.default_rng(list(CASES).index(name))
    controls = rng.uniform(0.1, 0.9, len(FACS102)) * (rng.random(len(FACS102)) < 0.2)
    for control, value in CASES[name].items():
        controls[FACS102.index(control)] = value
    controls[FACS102.match("head_*")] = 0.0  # the neck moves the head, not the landmarks on it
    return rng.normal(0, 0.7, model.identities), controls


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_rig(model: LandmarkModel, name: str) -> None:
    torch.set_num_threads(1)
    rig = load_rig()
    identity, controls = some_face(model, name)
    with torch.no_grad():
        vertices = rig(
            torch.tensor(controls[None], dtype=torch.float32),
            torch.tensor(identity[None], dtype=torch.float32),
        )[0].numpy()
    assert model.points(model.prepare(identity), controls) == pytest.approx(
        rig.landmarks.apply(vertices), abs=1e-6
    )


def test_the_neutral_head(model: LandmarkModel) -> None:
    head = model.prepare(np.zeros(model.identities))
    neutral = np.asarray(FACS102.neutral, np.float64)
    assert model.points(head, neutral) == pytest.approx(model.rest, abs=1e-6)
    assert np.linalg.norm(model.normals, axis=1) == pytest.approx(1, abs=1e-6)
    assert model.normals[1] @ [0, 0, 1] > 0.8  # the tip of the nose points forward
    assert model.rest[263, 0] > 0.03  # the subject's left eye corner is at +x
    assert model.rest[33, 0] < -0.03


@pytest.mark.parametrize("name", CASES)
def test_points_are_those_of_evaluate(model: LandmarkModel, name: str) -> None:
    identity, controls = some_face(model, name)
    head = model.prepare(identity)
    np.testing.assert_array_equal(model.points(head, controls), model.evaluate(head, controls)[0])


@pytest.mark.parametrize("name", CASES)
def test_slope_by_controls(model: LandmarkModel, name: str) -> None:
    identity, controls = some_face(model, name)
    head = model.prepare(identity)
    controls = np.where(controls == 0, 0.05, controls)  # off the kink of one-sided controls
    controls[FACS102.match("head_*")] = 0.0
    _, slope = model.evaluate(head, controls)
    scale = np.abs(slope).max()
    step = 1e-3
    for control in range(len(FACS102)):
        up, down = controls.copy(), controls.copy()
        up[control] += step
        down[control] -= step
        difference = (model.points(head, up) - model.points(head, down)).T / (2 * step)
        away = np.abs(difference - slope[control])
        assert np.quantile(away, 0.995) < 1e-3 * scale, FACS102.names[control]
        # A lid vertex may touch the eyeball within the step.
        assert away.max() < 1e-2 * scale, FACS102.names[control]


def test_a_control_at_zero_has_the_slope_of_its_positive_side(model: LandmarkModel) -> None:
    head = model.prepare(np.zeros(model.identities))
    neutral = np.zeros(len(FACS102))
    rest, slope = model.evaluate(head, neutral)
    for name in ("corner_pull_L", "jaw_open", "brow_inner_up_R", "lid_close_L"):
        raised = neutral.copy()
        raised[FACS102.index(name)] = 1e-3
        forward = (model.points(head, raised) - rest).T / 1e-3
        assert forward == pytest.approx(slope[FACS102.index(name)], abs=2e-2 * np.abs(forward).max())


@pytest.mark.parametrize("name", ["a few controls", "lids half closed", "gaze"])
def test_slope_by_identity(model: LandmarkModel, name: str) -> None:
    identity, controls = some_face(model, name)
    slope = model.identity_slope(controls)
    scale, step = np.abs(slope).max(), 1e-2
    # The push of the eyeball on the lids is left out of this slope on purpose: see `identity_slope`.
    lids = np.unique(np.concatenate([lid.landmarks for lid in model._lids.values()]))
    others = np.setdiff1d(np.arange(len(model.weight)), lids)
    for component in range(0, model.identities, 6):
        up, down = identity.copy(), identity.copy()
        up[component] += step
        down[component] -= step
        higher, lower = (model.points(model.prepare(i), controls) for i in (up, down))
        away = np.abs((higher - lower).T / (2 * step) - slope[component])
        assert away[:, others].max() < 1e-2 * scale
        assert away.max() < 0.3 * scale


def test_a_mirrored_face_has_mirrored_landmarks(model: LandmarkModel) -> None:
    identity, controls = some_face(model, "gaze")
    points = model.points(model.prepare(identity), controls)
    mirrored = model.points(model.prepare(identity * model.identity_mirror), FACS102.mirror(controls))
    there = mirror_permutation()
    # Landmarks of the middle line are as MediaPipe places them, up to 0.4 mm beside it.
    beside = model.rest - model.rest[there] * (-1, 1, 1)
    assert np.abs(beside).max() < 4e-4
    assert mirrored == pytest.approx(points[there] * (-1, 1, 1) + beside, abs=2e-4)


def test_controls_without_landmarks_move_none(model: LandmarkModel) -> None:
    head = model.prepare(np.zeros(model.identities))
    _, slope = model.evaluate(head, np.zeros(len(FACS102)))
    for pattern in ("tongue_*", "head_*"):
        assert np.abs(slope[FACS102.match(pattern)]).max() == 0
    seen = np.abs(slope).max((1, 2)) > 1e-4
    assert seen[FACS102.index("jaw_open")]
    assert seen.sum() > 80


def test_gaze_turns_the_eye() -> None:
    forward = np.array([0.0, 0.0, 1.0])
    turn, _, _ = gaze_rotation(1.0, 0.0)
    assert turn @ forward == pytest.approx([np.sin(GAZE_YAW), 0, np.cos(GAZE_YAW)])  # to the subject's left
    turn, _, _ = gaze_rotation(0.0, 1.0)
    assert turn @ forward == pytest.approx([0, np.sin(GAZE_PITCH), np.cos(GAZE_PITCH)])  # up
    turn, by_yaw, by_pitch = gaze_rotation(0.3, -0.4)
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12)
    step = 1e-6
    assert (gaze_rotation(0.3 + step, -0.4)[0] - turn) / step == pytest.approx(by_yaw, abs=1e-5)
    assert (gaze_rotation(0.3, -0.4 + step)[0] - turn) / step == pytest.approx(by_pitch, abs=1e-5)
