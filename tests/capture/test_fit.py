"""The fit on landmarks whose truth is known, and on the same face seen differently."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.capture.fit import Fit, FitOptions, LandmarkFitter, State
from omote.capture.landmark_model import LandmarkModel, landmark_model
from omote.capture.landmarker import SCORE_NAMES, mirror
from omote.capture.observation import Observation, Pose, initial_pose, observe, rotation_matrix
from omote.capture.priors import variables
from omote.controls import FACS102

Array = NDArray[np.float64]
SIZE = (512, 512)
EXACT = FitOptions(noise=2e-5, scores=0.0, focal_spread=0.0, effective=478.0, identity=1.0, robust=1e3)
"""Landmarks without noise."""


def controls_of(**values: float) -> Array:
    controls = np.zeros(len(FACS102))
    for name, value in values.items():
        controls[FACS102.index(name)] = value
    return controls


def seen(
    model: LandmarkModel,
    controls: Array,
    *,
    identity: Array | None = None,
    turn: tuple[float, float, float] = (0.05, -0.1, 0.03),
    place: tuple[float, float, float] = (0.01, -0.02, -0.55),
    focal: float = 1.8 * 512,
    size: tuple[int, int] = SIZE,
) -> tuple[Array, Pose]:
    """(478, 2) pixels of a face, and the pose it has."""
    head = model.prepare(np.zeros(model.identities) if identity is None else identity)
    pose = Pose(rotation_matrix(np.array(turn)), np.array(place), focal)
    return pose.project(model.points(head, controls), np.array(size) / 2), pose


def degrees_between(a: Array, b: Array) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1))))


@pytest.fixture(scope="module")
def model() -> LandmarkModel:
    return landmark_model()


@pytest.fixture(scope="module")
def smile(model: LandmarkModel) -> tuple[Array, Array, Array, Pose]:
    """A lopsided smile: its landmarks, controls, identity and pose."""
    identity = np.random.default_rng(4).normal(0, 0.5, model.identities)
    controls = controls_of(
        corner_pull_L=0.7,
        corner_pull_R=0.4,
        jaw_open=0.35,
        brow_outer_up_L=0.5,
        gaze_yaw_L=0.3,
        gaze_yaw_R=0.3,
    )
    points, pose = seen(model, controls, identity=identity)
    return points, controls, identity, pose


@pytest.fixture(scope="module")
def smile_fit(smile: tuple[Array, Array, Array, Pose]) -> Fit:
    """What the default options make of it."""
    return LandmarkFitter().fit_photo(observe(smile[0].astype(np.float32), SIZE, None))


# --- exact landmarks ----------------------------------------------------------------------------------------------


def test_exact_landmarks_give_the_controls_back(model: LandmarkModel) -> None:
    rng, table = np.random.default_rng(12), variables()
    jaw = int(np.flatnonzero(table.positive == FACS102.index("jaw_open"))[0])
    fitter, truth, found = LandmarkFitter(EXACT), [], []
    for _ in range(6):
        values = np.zeros(len(table.positive))
        chosen = rng.choice(len(values), 5, replace=False)
        values[chosen] = np.clip(
            rng.uniform(0.2, 0.9, 5) * rng.choice([1, -1], 5), table.low[chosen], table.high[chosen]
        )
        values[jaw] = max(values[jaw], 0.3)  # lips that meet act only while the jaw is open
        x, y = rng.normal(0, 0.02, 2)
        points, pose = seen(
            model,
            table.controls(values),
            identity=rng.normal(0, 0.7, model.identities),
            turn=tuple(rng.normal(0, 0.25, 3)),
            place=(x, y, -0.55),
        )
        eyes = float(np.linalg.norm(points[33] - points[263]))
        fit = fitter.fit_photo(Observation(points, eyes, SIZE, None), iterations=200, tolerance=3e-4)
        assert fit.error < 1e-4
        assert degrees_between(fit.pose.rotation, pose.rotation) < 0.5
        assert fit.pose.translation == pytest.approx(pose.translation, abs=2e-3)
        truth.append(values)
        found.append(fit.values)
    assert np.corrcoef(np.ravel(truth), np.ravel(found))[0, 1] > 0.99


def test_pose_and_place(smile: tuple[Array, Array, Array, Pose], smile_fit: Fit) -> None:
    """With the default options, which expect noise, on a face whose camera is the expected one."""
    pose = smile[3]
    assert smile_fit.error < 0.004
    assert degrees_between(smile_fit.pose.rotation, pose.rotation) < 3
    away = smile_fit.pose.translation / -smile_fit.pose.translation[2] - pose.translation / 0.55
    assert np.abs(away[:2]).max() < 0.005
    assert smile_fit.pose.focal / -smile_fit.pose.translation[2] == pytest.approx(pose.focal / 0.55, rel=0.03)


def test_the_expression_comes_through(smile_fit: Fit) -> None:
    found = dict(zip(FACS102.names, smile_fit.controls, strict=True))
    assert found["corner_pull_L"] > found["corner_pull_R"] > 0.2
    assert found["jaw_open"] == pytest.approx(0.35, abs=0.1)
    assert found["gaze_yaw_L"] == pytest.approx(0.3, abs=0.15)
    assert found["brow_outer_up_L"] > 0.2 > found["brow_outer_up_R"]


def test_perspective_tells_the_focal_length(model: LandmarkModel) -> None:
    """Close to the camera, a wide lens shows; the expected focal length is 922 pixels."""
    options = replace(EXACT, focal_spread=0.5)
    points, _ = seen(model, controls_of(), focal=500.0, place=(0.0, 0.0, -0.3))
    eyes = float(np.linalg.norm(points[33] - points[263]))
    fit = LandmarkFitter(options).fit_photo(
        Observation(points, eyes, SIZE, None), iterations=200, tolerance=3e-4
    )
    assert fit.pose.focal == pytest.approx(500, rel=0.03)
    assert fit.pose.translation[2] == pytest.approx(-0.3, rel=0.03)


def test_key_frames_share_identity_and_camera(model: LandmarkModel) -> None:
    identity = np.random.default_rng(8).normal(0, 0.5, model.identities)
    turns = [(0.0, 0.0, 0.0), (0.0, 0.5, 0.0), (-0.2, -0.4, 0.1)]
    smiles = [0.0, 0.6, 0.2]
    observations = [
        observe(
            seen(model, controls_of(corner_pull_L=s, corner_pull_R=s), identity=identity, turn=t)[0].astype(
                np.float32
            ),
            SIZE,
            None,
        )
        for t, s in zip(turns, smiles, strict=True)
    ]
    fits = LandmarkFitter().fit_key_frames(observations, iterations=20)
    for fit, turn in zip(fits, turns, strict=True):
        np.testing.assert_array_equal(fit.identity, fits[0].identity)
        assert fit.pose.focal == fits[0].pose.focal
        assert fit.error < 0.006
        assert degrees_between(fit.pose.rotation, rotation_matrix(np.array(turn))) < 3
    pulls = [fit.controls[FACS102.match("corner_pull_?")].mean() for fit in fits]
    assert pulls[0] < pulls[2] < pulls[1]
    assert np.dot(fits[0].identity, identity) > 0.3 * np.dot(identity, identity)


# --- the same face seen differently -------------------------------------------------------------------------------


def some_scores() -> NDArray[np.float32]:
    scores = np.zeros(len(SCORE_NAMES), np.float32)
    for name, value in {
        "mouthSmileLeft": 0.8,
        "mouthSmileRight": 0.5,
        "jawOpen": 0.3,
        "eyeBlinkLeft": 0.2,
    }.items():
        scores[SCORE_NAMES.index(name)] = value
    return scores


def test_a_mirrored_image_gives_a_mirrored_face(
    model: LandmarkModel, smile: tuple[Array, Array, Array, Pose]
) -> None:
    points, scores = smile[0].astype(np.float32), some_scores()
    in_depth = np.column_stack([points, np.zeros(len(points), np.float32)])
    other, other_scores, _ = mirror(in_depth, scores, np.eye(4), SIZE[0])
    fitter = LandmarkFitter()
    one = fitter.fit_photo(observe(points, SIZE, scores))
    two = fitter.fit_photo(observe(other, SIZE, other_scores))
    assert two.controls == pytest.approx(FACS102.mirror(one.controls), abs=0.02)
    assert two.identity == pytest.approx(one.identity * model.identity_mirror, abs=0.05)
    flip = np.diag([-1.0, 1.0, 1.0])
    assert degrees_between(two.pose.rotation, flip @ one.pose.rotation @ flip) < 0.5
    assert two.pose.translation == pytest.approx(flip @ one.pose.translation, rel=0.02, abs=5e-4)


def test_the_resolution_does_not_matter(smile: tuple[Array, Array, Array, Pose], smile_fit: Fit) -> None:
    fit = LandmarkFitter().fit_photo(observe((2 * smile[0]).astype(np.float32), (1024, 1024), None))
    assert fit.controls == pytest.approx(smile_fit.controls, abs=1e-3)
    assert fit.identity == pytest.approx(smile_fit.identity, abs=1e-2)
    assert fit.pose.translation == pytest.approx(smile_fit.pose.translation, abs=1e-4)
    assert fit.pose.focal == pytest.approx(2 * smile_fit.pose.focal, rel=1e-3)


def test_the_place_in_the_image_does_not_matter(model: LandmarkModel) -> None:
    controls = controls_of(corner_pull_L=0.5, corner_pull_R=0.5, brow_lower_L=0.4, brow_lower_R=0.4)
    fitter = LandmarkFitter()
    fits = []
    for x, y in ((0.0, 0.0), (0.06, 0.05), (-0.08, 0.0)):
        points, _ = seen(model, controls, place=(x, y, -0.6), turn=(0, 0, 0))
        fits.append(fitter.fit_photo(observe(points.astype(np.float32), SIZE, None)))
        ray = fits[-1].pose.translation / -fits[-1].pose.translation[2] * fits[-1].pose.focal
        assert ray[:2] == pytest.approx(np.array([x, y]) / 0.6 * 1.8 * 512, abs=3)
    for fit in fits[1:]:
        assert fit.controls == pytest.approx(fits[0].controls, abs=0.05)


def test_a_frame_is_found_cold_and_followed_warm(
    smile: tuple[Array, Array, Array, Pose], model: LandmarkModel
) -> None:
    _, controls, identity, pose = smile
    head, fitter = model.prepare(identity), LandmarkFitter()
    later = controls.copy()
    later[FACS102.index("jaw_open")] += 0.15
    first, second = (
        observe(seen(model, c, identity=identity)[0].astype(np.float32), SIZE, None)
        for c in (controls, later)
    )
    start = fitter.settled_pose(first, head, pose.focal)
    cold = fitter.fit_frame(first, head, start, np.zeros(len(fitter.table.positive)))
    warm = fitter.follow_frame(second, head, cold.pose, cold.values)
    settled = fitter.fit_frame(second, head, cold.pose, cold.values)
    assert cold.error < 0.003
    assert warm.error < 0.003
    opened = FACS102.index("jaw_open")
    assert warm.controls[opened] - cold.controls[opened] == pytest.approx(0.15, abs=0.04)
    assert warm.controls == pytest.approx(settled.controls, abs=0.05)
    assert degrees_between(warm.pose.rotation, pose.rotation) < 1


# --- what counts as evidence --------------------------------------------------------------------------------------


def weights_of(model: LandmarkModel, turn: tuple[float, float, float], controls: Array) -> Array:
    points, pose = seen(model, controls, turn=turn)
    observation = observe(points.astype(np.float32), SIZE, None)
    fitter = LandmarkFitter()
    state = State(pose, model.prepare(np.zeros(model.identities)), fitter.table.from_controls(controls))
    return fitter.terms(state, observation).weight


def test_the_hidden_side_of_a_profile_counts_less(model: LandmarkModel) -> None:
    left, right = model.rest[:, 0] > 0.03, model.rest[:, 0] < -0.03
    front = weights_of(model, (0, 0, 0), controls_of())
    profile = weights_of(model, (0, np.radians(60), 0), controls_of())  # faces the image's right
    assert profile[left].sum() < 0.5 * front[left].sum()
    assert profile[right].sum() > 0.85 * front[right].sum()
    assert front[left].sum() == pytest.approx(front[right].sum(), rel=0.05)


def test_irises_behind_lids_do_not_count(model: LandmarkModel) -> None:
    opened = weights_of(model, (0, 0, 0), controls_of())
    closed = weights_of(model, (0, 0, 0), controls_of(lid_close_L=1.0))
    assert closed[473:478] == pytest.approx(0.05 * opened[473:478], rel=0.05)
    assert closed[468:473] == pytest.approx(opened[468:473], rel=0.05)


def test_landmarks_beyond_the_border_count_less(model: LandmarkModel) -> None:
    """There the detector guesses."""
    controls = controls_of()
    points, pose = seen(model, controls, turn=(0, 0, 0), place=(0, 0, -0.6))
    state = State(pose, model.prepare(np.zeros(model.identities)), np.zeros(len(variables().positive)))
    whole = Observation(points, 100.0, SIZE, None)
    fitter = LandmarkFitter()
    # Cropped alike on both sides, so that the pinhole's axis stays where it is.
    cut = Observation(points - (212, 0), 100.0, (88, 512), None)
    inside = fitter.terms(state, whole).weight
    weight = fitter.terms(state, cut).weight
    outside = (cut.landmarks < 0).any(1) | (cut.landmarks > cut.size).any(1)
    assert outside.sum() > 100
    assert weight[outside] == pytest.approx(0.1 * inside[outside], rel=0.05, abs=1e-4)
    assert weight[~outside] == pytest.approx(inside[~outside], rel=0.05)


def test_an_outlier_counts_little(model: LandmarkModel) -> None:
    points, pose = seen(model, controls_of())
    points[10] += 60.0
    fitter = LandmarkFitter()
    observation = observe(points.astype(np.float32), SIZE, None)
    state = State(pose, model.prepare(np.zeros(model.identities)), np.zeros(len(fitter.table.positive)))
    usual = weights_of(model, (0.05, -0.1, 0.03), controls_of())
    assert fitter.terms(state, observation).weight[10] < 0.02 * usual[10]


def test_what_landmarks_cannot_show_stays_at_rest(smile_fit: Fit) -> None:
    for pattern in ("tongue_*", "ear_raise_*", "head_*"):
        assert np.all(smile_fit.evidence[FACS102.match(pattern)] == 0), pattern
        assert np.all(smile_fit.controls[FACS102.match(pattern)] == 0), pattern
    assert smile_fit.evidence.min() >= 0
    assert smile_fit.evidence.max() <= 1
    assert smile_fit.evidence[FACS102.index("jaw_open")] > 0.8
    assert smile_fit.evidence[FACS102.index("gaze_yaw_L")] > 0.8
    assert smile_fit.evidence[FACS102.index("cheek_suck_L")] < 0.5


def test_evidence_for_gaze_goes_with_the_eye(model: LandmarkModel) -> None:
    points, pose = seen(model, controls_of(lid_close_L=1.0))
    fitter = LandmarkFitter()
    head = model.prepare(np.zeros(model.identities))
    fit = fitter.fit_frame(
        observe(points.astype(np.float32), SIZE, None), head, pose, np.zeros(len(fitter.table.positive))
    )
    assert fit.controls[FACS102.index("lid_close_L")] > 0.8
    assert fit.controls[FACS102.index("lid_close_R")] < 0.2
    left, right = (fit.evidence[FACS102.index(f"gaze_pitch_{s}")] for s in "LR")
    assert left < right


@pytest.mark.parametrize(("side", "other"), [("left", "right"), ("right", "left")])
def test_the_jaw_goes_one_way(model: LandmarkModel, side: str, other: str) -> None:
    points, _ = seen(model, controls_of(**{f"jaw_{side}": 0.7, "jaw_open": 0.2}))
    fit = LandmarkFitter().fit_photo(observe(points.astype(np.float32), SIZE, None))
    assert fit.controls[FACS102.index(f"jaw_{side}")] > 0.15
    assert fit.controls[FACS102.index(f"jaw_{other}")] == 0
    both = [fit.controls[FACS102.index(f"mouth_{s}")] for s in ("left", "right")]
    assert min(both) == 0


def test_controls_stay_in_range(model: LandmarkModel) -> None:
    rng = np.random.default_rng(2)
    points, _ = seen(model, controls_of(corner_pull_L=1, corner_pull_R=1, jaw_open=1, lid_close_L=1))
    fit = LandmarkFitter().fit_photo(
        observe((points + rng.normal(0, 3, points.shape)).astype(np.float32), SIZE, None)
    )
    assert np.all(fit.controls >= FACS102.low)
    assert np.all(fit.controls <= FACS102.high)


# --- derivatives, starts and degenerate input ---------------------------------------------------------------------


def test_derivatives_of_the_landmark_terms(model: LandmarkModel) -> None:
    """Identity, pose and controls, against central differences of the residual."""
    rng = np.random.default_rng(6)
    controls = controls_of(corner_pull_L=0.4, jaw_open=0.3, lid_close_R=0.4, gaze_yaw_L=0.3, gaze_pitch_L=0.2)
    identity = rng.normal(0, 0.5, model.identities)
    points, pose = seen(model, controls, identity=identity, turn=(0.1, 0.3, -0.1))
    fitter = LandmarkFitter()
    observation = observe((points + rng.normal(0, 1, points.shape)).astype(np.float32), SIZE, None)
    values = np.maximum(fitter.table.from_controls(controls), 0.05)
    state = State(pose, model.prepare(identity), values)
    slope = fitter.terms(state, observation, identity=True).slope

    def residual(step: Array) -> Array:
        count = model.identities
        moved = pose.moved(step[count : count + 6])
        head = model.prepare(identity + step[:count])
        found = fitter.table.controls(values + step[count + 6 :])
        return fitter.residual(moved, model.points(head, found), observation)[0]

    count = slope.shape[0]
    checked = [
        0,
        7,
        31,
        *range(model.identities, model.identities + 6),
        *range(model.identities + 6, count, 9),
    ]
    for variable in checked:
        size = 1e-4 if variable < model.identities + 6 and variable >= model.identities else 2e-3
        step = np.zeros(count)
        step[variable] = size
        difference = (residual(step) - residual(-step)) / (2 * size)
        assert (
            np.quantile(np.abs(difference - slope[variable]), 0.99)
            < 1e-2 * np.abs(slope[variable]).max() + 1e-2
        )


@pytest.mark.parametrize(
    "turn", [(0, 0, 0), (0.4, 0, 0), (0, 0.9, 0), (0, -0.9, 0), (0, 0, 1.2), (0.3, -0.5, 2.8)]
)
def test_the_first_pose(model: LandmarkModel, turn: tuple[float, float, float]) -> None:
    points, pose = seen(model, controls_of(), turn=turn)
    start = initial_pose(model, observe(points.astype(np.float32), SIZE, None), pose.focal)
    # Orthography without the perspective of a near camera; good enough to start from.
    assert degrees_between(start.rotation, pose.rotation) < 10
    assert start.translation == pytest.approx(pose.translation, abs=0.05)


@pytest.mark.parametrize("kind", ["one point", "a line", "far away"])
def test_degenerate_landmarks_give_a_finite_answer(model: LandmarkModel, kind: str) -> None:
    if kind == "one point":
        points = np.full((478, 2), 100.0)
    elif kind == "a line":
        points = np.column_stack([np.linspace(0, 500, 478), np.full(478, 50.0)])
    else:
        points = seen(model, controls_of(), place=(0, 0, -500.0))[0]
    fit = LandmarkFitter().fit_photo(observe(points.astype(np.float32), SIZE, None))
    assert np.isfinite(fit.controls).all()
    assert np.isfinite(fit.pose.translation).all()
    assert np.isfinite(fit.evidence).all()
    if kind == "a line":
        assert fit.surprise > 2.2  # not a face


def test_noise_makes_no_drama(smile: tuple[Array, Array, Array, Pose], smile_fit: Fit) -> None:
    noise = np.random.default_rng(3).normal(0, 0.5, smile[0].shape)
    fit = LandmarkFitter().fit_photo(observe((smile[0] + noise).astype(np.float32), SIZE, None))
    assert np.abs(fit.controls - smile_fit.controls).mean() < 0.02
    assert fit.surprise < 2


def test_scores_pull_where_they_are_alive(smile: tuple[Array, Array, Array, Pose]) -> None:
    points = smile[0].astype(np.float32)
    fitter = LandmarkFitter()
    without = fitter.fit_photo(observe(points, SIZE, None))
    scores = some_scores()
    scores[SCORE_NAMES.index("mouthPucker")] = 0.9
    with_scores = fitter.fit_photo(observe(points, SIZE, scores))
    ignoring = LandmarkFitter(FitOptions(scores=0.0)).fit_photo(observe(points, SIZE, scores))
    pucker = FACS102.match("lip_pucker_*")
    assert with_scores.controls[pucker].mean() > without.controls[pucker].mean() + 0.02
    assert ignoring.controls == pytest.approx(without.controls, abs=1e-9)


def test_rotation_matrix() -> None:
    assert rotation_matrix(np.array([0, np.pi / 2, 0])) @ [0, 0, 1] == pytest.approx([1, 0, 0], abs=1e-12)
    assert rotation_matrix(np.zeros(3)) == pytest.approx(np.eye(3))
    small = np.array([1e-9, 2e-9, -1e-9])
    assert rotation_matrix(small) @ [1, 0, 0] == pytest.approx([1, -1e-9, -2e-9], abs=1e-15)


def test_far_faces(model: LandmarkModel) -> None:
    """Depth and focal length of a far face are almost one variable."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        points, _ = seen(
            model,
            controls_of(corner_pull_L=0.5, corner_pull_R=0.5),
            turn=(0, 0.2, 0),
            place=(0.9, 0.3, -4.2),
            size=(1100, 440),
            focal=1980,
        )
        points += rng.normal(0, 0.1, points.shape)
        fit = LandmarkFitter().fit_photo(observe(points.astype(np.float32), (1100, 440), some_scores()))
        assert fit.error < 0.01
        assert fit.controls[FACS102.match("corner_pull_?")].min() > 0.3
