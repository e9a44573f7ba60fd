"""A take: key frames, following, lost faces, shots, smoothing. Landmarks are projected from the rig, no detector."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.capture.fit import LandmarkFitter
from omote.capture.landmark_model import landmark_model
from omote.capture.landmarker import SCORE_NAMES
from omote.capture.observation import Pose, rotation_matrix
from omote.capture.take import (
    KEY_FRAMES,
    Solved,
    choose_key_frames,
    frame_confidence,
    smooth_take,
    solve_take,
    to_performance,
)
from omote.capture.tracks import Track
from omote.controls import FACS102
from omote.geometry.rotations import axis_angle_to_matrix

Array = NDArray[np.float64]
SIZE = (640, 480)
FOCAL = 1.8 * 640
JAW, PULL = FACS102.index("jaw_open"), FACS102.match("corner_pull_?")


def made_track(
    controls: Array, turns: Array, places: Array, identity: Array, *, noise: float = 0.0, seed: int = 0
) -> Track:
    """The track of a rig under controls (T, 102), rotations (T, 3) and translations (T, 3)."""
    rng = np.random.default_rng(seed)
    model = landmark_model()
    head, count = model.prepare(identity), len(controls)
    landmarks = np.zeros((count, 478, 3), np.float32)
    scores = np.zeros((count, len(SCORE_NAMES)), np.float32)
    scores[:, SCORE_NAMES.index("jawOpen")] = controls[:, JAW]
    for side, name in (("L", "mouthSmileLeft"), ("R", "mouthSmileRight")):
        scores[:, SCORE_NAMES.index(name)] = controls[:, FACS102.index(f"corner_pull_{side}")]
    matrices = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    for t in range(count):
        pose = Pose(rotation_matrix(turns[t]), places[t], FOCAL)
        landmarks[t, :, :2] = pose.project(model.points(head, controls[t]), np.array(SIZE) / 2)
        matrices[t, :3, :3] = pose.rotation
    landmarks[..., :2] += rng.normal(0, noise, (count, 478, 2)).astype(np.float32)
    boxes = np.concatenate([landmarks[..., :2].min(1), landmarks[..., :2].max(1)], axis=1)
    return Track(0, np.ones(count, bool), landmarks, scores, matrices, boxes)


def lose(track: Track, frames: slice) -> Track:
    """The same without a face in some frames."""
    found = track.found.copy()
    found[frames] = False
    arrays = [getattr(track, name).copy() for name in ("landmarks", "scores", "matrices", "boxes")]
    for array in arrays:
        array[frames] = np.nan
    return Track(track.id, found, *arrays)


@pytest.fixture(scope="module")
def person() -> Array:
    return np.random.default_rng(9).normal(0, 0.4, landmark_model().identities)


@pytest.fixture(scope="module")
def motion() -> tuple[Array, Array, Array]:
    """40 frames: the jaw opens and closes, a smile comes, the head turns and drifts."""
    phase = np.linspace(0, 1, 40)
    controls = np.zeros((40, len(FACS102)))
    controls[:, JAW] = 0.3 - 0.3 * np.cos(2 * np.pi * phase)
    controls[:, PULL] = 0.6 * phase[:, None]
    turns = np.column_stack([0 * phase, 0.4 * np.sin(2 * np.pi * phase), 0.1 * phase])
    places = np.column_stack([0.05 * phase, 0 * phase, -0.6 - 0.1 * phase])
    return controls, turns, places


@pytest.fixture(scope="module")
def track(motion: tuple[Array, Array, Array], person: Array) -> Track:
    return made_track(*motion, person)


@pytest.fixture(scope="module")
def solved(track: Track) -> Solved:
    return solve_take(track, SIZE, [(0, 40)], LandmarkFitter())


def test_a_take_is_followed(solved: Solved, motion: tuple[Array, Array, Array]) -> None:
    controls, turns, places = motion
    assert np.corrcoef(solved.controls[:, JAW], controls[:, JAW])[0, 1] > 0.98
    assert np.corrcoef(solved.controls[:, PULL].mean(1), controls[:, PULL].mean(1))[0, 1] > 0.98
    assert np.abs(solved.rotations - turns).max() < np.radians(4)
    assert np.corrcoef(solved.rotations[:, 1], turns[:, 1])[0, 1] > 0.999
    image = solved.translations[:, :2] / solved.translations[:, 2:] * solved.focal
    assert image == pytest.approx(places[:, :2] / places[:, 2:] * FOCAL, abs=6)
    depth = solved.translations[:, 2] / solved.focal
    assert depth / depth[0] == pytest.approx(places[:, 2] / places[0, 2], rel=0.02)
    assert solved.error.max() < 0.006
    assert solved.confidence.min() > 0.99


def test_progress_counts_frames(person: Array) -> None:
    still = made_track(
        np.zeros((4, len(FACS102))), np.zeros((4, 3)), np.tile([0.0, 0.0, -0.6], (4, 1)), person
    )
    steps: list[int] = []
    solve_take(still, SIZE, [(0, 4)], LandmarkFitter(), steps.append)
    assert steps == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def gaps(track: Track) -> Solved:
    """Frames 0-4 and 15-19 without a face."""
    lost = lose(lose(track, slice(0, 5)), slice(15, 20))
    return solve_take(lost, SIZE, [(0, 40)], LandmarkFitter())


def test_lost_frames_hold(gaps: Solved) -> None:
    seen = np.ones(40, bool)
    seen[:5] = seen[15:20] = False
    assert np.all(gaps.confidence[~seen] == 0)
    assert gaps.confidence[seen].min() > 0.99
    assert np.all(gaps.evidence[~seen] == 0)
    assert gaps.evidence[seen].max(1).min() > 0.8
    assert np.isnan(gaps.error[~seen]).all()
    assert np.isfinite(gaps.error[seen]).all()
    for name in ("controls", "rotations", "translations"):
        values = getattr(gaps, name)
        np.testing.assert_array_equal(values[:5], np.tile(values[5], (5, 1)))  # late: the first one
        np.testing.assert_array_equal(values[15:20], np.tile(values[14], (5, 1)))  # gone: the last one


def test_a_face_that_returns_is_found_again(gaps: Solved, solved: Solved) -> None:
    assert gaps.controls[20:, JAW] == pytest.approx(solved.controls[20:, JAW], abs=0.08)
    assert gaps.rotations[20:] == pytest.approx(solved.rotations[20:], abs=np.radians(3))


def test_smoothing_keeps_lost_frames_and_shots_apart(track: Track, gaps: Solved) -> None:
    before = Solved(**{k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in vars(gaps).items()})
    seen = np.ones(40, bool)
    seen[:5] = seen[15:20] = False
    smooth_take(gaps, np.arange(40) / 30, seen, [(0, 30), (30, 40)], 0.8)
    assert np.isfinite(gaps.controls).all()
    assert np.abs(gaps.controls[seen] - before.controls[seen]).max() < 0.1
    assert gaps.controls.max() <= 1
    assert gaps.confidence == pytest.approx(before.confidence)


def test_smoothing_calms_pose_and_controls(person: Array) -> None:
    count = 60
    noisy = made_track(
        np.zeros((count, len(FACS102))),
        np.tile([0.0, 0.3, 0.0], (count, 1)),
        np.tile([0.02, 0.0, -0.6], (count, 1)),
        person,
        noise=0.3,
    )
    raw = solve_take(noisy, SIZE, [(0, count)], LandmarkFitter())
    calm = Solved(**{k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in vars(raw).items()})
    times = np.arange(count) / 30
    smooth_take(calm, times, noisy.found, [(0, count)], 0.0)
    for name in ("controls", "rotations", "translations"):
        assert getattr(calm, name) == pytest.approx(getattr(raw, name), abs=1e-9)  # strength 0 is off
    smooth_take(calm, times, noisy.found, [(0, count)], 0.5)
    assert calm.controls.std(0).mean() < 0.6 * raw.controls.std(0).mean()
    assert calm.rotations.std(0).mean() < 0.7 * raw.rotations.std(0).mean()
    assert calm.translations.mean(0) == pytest.approx(raw.translations.mean(0), abs=1e-4)
    assert calm.rotations.mean(0) == pytest.approx(raw.rotations.mean(0), abs=1e-3)


def test_smoothing_does_not_mind_a_turn_past_pi() -> None:
    """q and -q are one rotation: the filter must not average them away."""
    count = 20
    solved = Solved.empty(count, np.zeros(1), FOCAL, SIZE)
    angles = np.linspace(np.pi - 0.2, np.pi + 0.2, count)
    solved.rotations[:] = np.column_stack(
        [0 * angles, 0 * angles, np.where(angles > np.pi, angles - 2 * np.pi, angles)]
    )
    solved.translations[:] = (0, 0, -0.6)
    before = axis_angle_to_matrix(solved.rotations)
    smooth_take(solved, np.arange(count) / 30, np.ones(count, bool), [(0, count)], 0.5)
    assert axis_angle_to_matrix(solved.rotations) == pytest.approx(before, abs=0.02)


def test_a_cut_starts_cold(person: Array) -> None:
    """On one side of the cut the head looks left, on the other right, with the mouth open."""
    controls = np.zeros((12, len(FACS102)))
    controls[6:, JAW] = 0.7
    turns = np.zeros((12, 3))
    turns[:, 1] = np.where(np.arange(12) < 6, 0.5, -0.5)
    places = np.tile([0.0, 0.0, -0.6], (12, 1))
    places[6:, 0] = 0.1
    cut = solve_take(made_track(controls, turns, places, person), SIZE, [(0, 6), (6, 12)], LandmarkFitter())
    assert cut.controls[:6, JAW].max() < 0.1
    assert cut.controls[6:, JAW].min() > 0.5
    assert cut.error.max() < 0.006
    smooth_take(cut, np.arange(12) / 30, np.ones(12, bool), [(0, 6), (6, 12)], 1.0)
    assert cut.controls[5, JAW] < 0.1 < 0.5 < cut.controls[6, JAW]
    assert cut.rotations[5, 1] - cut.rotations[6, 1] == pytest.approx(1.0, abs=0.1)


# --- key frames and confidence ------------------------------------------------------------------------------------


def test_key_frames_show_the_most(motion: tuple[Array, Array, Array], track: Track) -> None:
    keys = choose_key_frames(track)
    assert np.all(np.diff(keys) > 0)
    assert 3 <= len(keys) <= KEY_FRAMES
    yaw = motion[1][keys, 1]
    assert np.abs(yaw).min() < 0.1  # a frontal one
    assert yaw.max() - yaw.min() > 0.5  # and turned ones


def test_key_frames_of_short_and_gappy_takes(track: Track) -> None:
    assert list(choose_key_frames(lose(lose(track, slice(0, 7)), slice(9, 40)))) == [7, 8]
    gappy = lose(track, slice(0, 30))
    assert set(choose_key_frames(gappy)) <= set(range(30, 40))
    (only,) = choose_key_frames(lose(lose(track, slice(0, 39)), slice(40, 40)))
    assert only == 39


def test_a_glitch_is_no_key_frame(motion: tuple[Array, Array, Array], person: Array) -> None:
    controls, turns, places = (a.copy() for a in motion)
    turns[20] = (0.5, -1.0, 1.0)
    assert 20 not in choose_key_frames(made_track(controls, turns, places, person))


def test_confidence_falls_with_the_error() -> None:
    error = np.array([0.0, 0.008, 0.01, 0.03, 0.08, 0.5])
    confidence = frame_confidence(error)
    assert confidence[:2] == pytest.approx(1)
    assert confidence[2] > 0.99
    assert confidence[3] == pytest.approx(0.5)
    assert confidence[4] < 0.01
    assert np.all(np.diff(confidence) <= 0)


def test_the_performance_carries_it_all(solved: Solved, person: Array) -> None:
    times = np.arange(40) / 30
    take = to_performance(solved, times, {"file": "made up"})
    assert take.space is FACS102
    assert take.controls == pytest.approx(solved.controls, abs=1e-6)
    assert take.control_confidence is not None
    assert take.control_confidence.shape == (40, 102)
    assert take.camera.size == SIZE
    assert take.camera.principal == pytest.approx((320, 240))
    assert take.camera.focal == pytest.approx(solved.focal)
    assert take.identity["facs"].shape == (landmark_model().identities,)
    np.testing.assert_allclose(take.times, times)
    assert take.source["file"] == "made up"
