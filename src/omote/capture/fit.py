"""Fit the embedded rig to 478 landmarks: one photo, several key frames at once, or one frame of a known head.

Each solves for the maximum of a posterior: robust landmark residuals, a Gaussian prior on identity, a sparse prior on
controls around MediaPipe's scores where those are alive, and symmetry. Derivatives are analytic (`LandmarkModel`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from omote.capture.landmark_model import Head, LandmarkModel, landmark_model
from omote.capture.observation import FOCAL_OVER_SIDE, IRISES, Observation, Pose, initial_pose
from omote.capture.priors import score_prior, variables
from omote.capture.solver import System, minimise
from omote.controls import FACS102

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FitOptions:
    """How much each kind of evidence counts.

    Attributes:
        noise: standard deviation of a landmark, as a share of the outer-eye-corner distance.
        effective: landmarks move together (one network draws them all), so 478 of them count as this many.
        robust: residuals beyond this many standard deviations lose influence (Cauchy).
        scores: strength of MediaPipe's scores as a prior on the controls; 0 ignores them.
        sparsity: controls far from their expected value cost as an L1 norm beyond this many spreads.
        identity: strength of the Gaussian prior on identity.
        focal_spread: standard deviation of log focal length; 0 keeps the expected one.
    """

    noise: float = 0.008
    effective: float = 160.0
    robust: float = 4.0
    scores: float = 1.0
    sparsity: float = 1.5
    identity: float = 1.0
    focal_spread: float = 0.2


@dataclass(frozen=True)
class State:
    """A pose, an identity made ready, and the solver's variables (n,)."""

    pose: Pose
    head: Head
    values: Array


@dataclass(frozen=True)
class Fit:
    """What was found for one frame.

    Attributes:
        pose: head in camera space and focal length.
        identity: (I,) coefficients.
        values: (n,) solver variables (see `priors.variables`).
        controls: (102,) FACS controls.
        distance: (478,) of each fitted landmark from the detected one, as a share of the outer-eye-corner distance.
        evidence: (102,) 0..1, share of each control's prior variance that the landmarks removed.
        surprise: cost per effective observation: how improbable this face is under the model.
    """

    pose: Pose
    identity: Array
    values: Array
    controls: Array
    distance: Array
    evidence: Array
    surprise: float

    @property
    def error(self) -> float:
        """Mean of ``distance``."""
        return float(self.distance.mean())


@dataclass
class FrameSystem(System[State]):
    """A frame's system, with what the landmarks alone say: residuals (K, 2) in standard deviations and their matrix."""

    residual: Array
    seen: Array


class LandmarkFitter:
    """Solves for pose, identity, camera and controls.

    Args:
        options: strengths of evidence and priors.
        model: the rig at its landmarks; the embedded head's by default.
    """

    def __init__(self, options: FitOptions | None = None, model: LandmarkModel | None = None) -> None:
        self.options = options or FitOptions()
        self.model = model or landmark_model()
        self.table = variables()
        self._lid = {
            s: int(np.flatnonzero(self.table.positive == FACS102.index(f"lid_close_{s}"))[0]) for s in "LR"
        }
        self._pose_low, self._pose_high = np.full(6, -np.inf), np.full(6, np.inf)

    # --- entry points ---------------------------------------------------------------------------------------------

    def fit_photo(self, observation: Observation, *, iterations: int = 40) -> Fit:
        """Pose, focal length, identity and controls of a single image."""
        (fit,) = self.fit_key_frames([observation], iterations=iterations)
        return fit

    def fit_key_frames(self, observations: list[Observation], *, iterations: int = 25) -> list[Fit]:
        """One identity and focal length for all observations, and a pose and controls for each."""
        focal = FOCAL_OVER_SIDE * max(observations[0].size)
        neutral = self.model.prepare(np.zeros(self.model.identities))
        states = []
        for observation in observations:
            start = State(
                initial_pose(self.model, observation, focal), neutral, np.zeros(len(self.table.positive))
            )
            states.append(self._settle_pose(start, observation))
        joint = _Joint(self, observations, focal)
        found = minimise(
            joint.build, joint.move, states, joint.low, joint.high, iterations=iterations, tolerance=3e-4
        )
        return [self.describe(s, o) for s, o in zip(found.state, observations, strict=True)]

    def fit_frame(
        self, observation: Observation, head: Head, pose: Pose, values: Array, *, iterations: int = 3
    ) -> Fit:
        """Pose and controls of a known head, from a warm start."""
        low = np.concatenate([self._pose_low, self.table.low])
        high = np.concatenate([self._pose_high, self.table.high])
        found = minimise(
            lambda s: self._frame_system(s, observation),
            lambda s, step: State(s.pose.moved(step[:6]), s.head, s.values + step[6:]),
            State(pose, head, values),
            low,
            high,
            iterations=iterations,
            tolerance=2e-3,
        )
        return self.describe(found.state, observation, found)

    def settled_pose(self, observation: Observation, head: Head, focal: float) -> Pose:
        """A cold start for `fit_frame`: the pose of the neutral head."""
        start = State(initial_pose(self.model, observation, focal), head, np.zeros(len(self.table.positive)))
        return self._settle_pose(start, observation).pose

    def describe(self, state: State, observation: Observation, system: FrameSystem | None = None) -> Fit:
        """The result at a solved state, with its error and evidence."""
        system = system or self._frame_system(state, observation)
        return Fit(
            state.pose,
            state.head.identity,
            state.values,
            self.table.controls(state.values),
            np.linalg.norm(system.residual, axis=1) * self.options.noise,
            self._evidence(system.seen),
            float(system.cost / self.options.effective),
        )

    # --- the pieces of the cost -----------------------------------------------------------------------------------

    def landmark_terms(self, state: State, observation: Observation) -> tuple[Array, Array, Array, Array]:
        """Residuals and derivatives of the landmarks of one frame.

        Returns:
            residual (K, 2) and weight (K,), both so that cost = sum(weight * residual^2) / 2; slope by pose (6, K, 2) and
            by variables (n, K, 2). Residuals are in standard deviations.
        """
        options, pose = self.options, state.pose
        controls = self.table.controls(state.values)
        points, slope = self.model.evaluate(state.head, controls)
        camera = pose.to_camera(points)
        depth = np.maximum(-camera[:, 2], 1e-3)
        unit = 1.0 / (options.noise * observation.eye_distance)
        image = observation.principal + pose.focal * camera[:, :2] * (1.0, -1.0) / depth[:, None]
        residual = (image - observation.landmarks) * unit
        # d(u, v) / d(x, y, z): u = f x / d, v = -f y / d, d = -z
        scale = unit * pose.focal / depth
        by_x = scale
        by_z_u, by_z_v = scale * camera[:, 0] / depth, -scale * camera[:, 1] / depth
        by_variable = self._to_image(
            self.table.pull_back(slope, state.values), pose.rotation, by_x, by_z_u, by_z_v
        )
        offset = camera - pose.translation
        turned = np.zeros((6, len(points), 3))
        turned[0, :, 1], turned[0, :, 2] = -offset[:, 2], offset[:, 1]
        turned[1, :, 0], turned[1, :, 2] = offset[:, 2], -offset[:, 0]
        turned[2, :, 0], turned[2, :, 1] = -offset[:, 1], offset[:, 0]
        turned[3:6] = np.eye(3)[:, None]
        by_pose = self._to_image(turned, None, by_x, by_z_u, by_z_v)
        weight = self._weights(state, observation, residual, camera)
        return residual, weight, by_pose, by_variable

    @staticmethod
    def _to_image(slope: Array, rotation: Array | None, by_x: Array, by_z_u: Array, by_z_v: Array) -> Array:
        """(n, K, 2) image derivative of head-space (or, without rotation, camera-space) derivatives (n, K, 3)."""
        turned = slope if rotation is None else (slope.reshape(-1, 3) @ rotation.T).reshape(slope.shape)
        image = np.empty((*slope.shape[:2], 2))
        image[..., 0] = by_x * turned[..., 0] + by_z_u * turned[..., 2]
        image[..., 1] = -by_x * turned[..., 1] + by_z_v * turned[..., 2]
        return image

    def identity_terms(self, state: State, observation: Observation) -> Array:
        """(I, K, 2) derivative of the residuals by the identity."""
        controls = self.table.controls(state.values)
        points, _ = self.model.evaluate(state.head, controls)
        camera = state.pose.to_camera(points)
        depth = np.maximum(-camera[:, 2], 1e-3)
        scale = state.pose.focal / depth / (self.options.noise * observation.eye_distance)
        slope = self.model.identity_slope(controls)
        return self._to_image(
            slope, state.pose.rotation, scale, scale * camera[:, 0] / depth, -scale * camera[:, 1] / depth
        )

    def _weights(self, state: State, observation: Observation, residual: Array, camera: Array) -> Array:
        """(K,) trust: place on the surface, side that faces the camera, open eyes for irises, and outliers (Cauchy)."""
        options = self.options
        normal = self.model.normals @ state.pose.rotation.T
        facing = -np.einsum("kc,kc->k", normal, camera) / np.linalg.norm(camera, axis=1)
        weight = self.model.weight * _smoothstep(facing, -0.3, 0.3)
        weight[IRISES] *= 2.0
        for side, iris in (("R", slice(468, 473)), ("L", slice(473, 478))):
            closed = state.values[self._lid[side]]
            weight[iris] *= 1 - 0.95 * float(_smoothstep(np.array(closed), 0.35, 0.75))
        weight /= 1 + (residual**2).sum(1) / options.robust**2
        return np.maximum(weight, 1e-4) * (options.effective / len(weight))

    def control_prior(self, values: Array, observation: Observation) -> tuple[float, Array, Array]:
        """Cost, gradient (n,) and matrix (n, n) of what is believed about the variables."""
        table, options = self.table, self.options
        gradient, matrix = np.zeros(len(values)), np.zeros((len(values), len(values)))
        cost = 0.0

        def pull(target: Array, spread: Array, sparse: float) -> float:
            away = (values - target) / spread
            slack = np.sqrt(1 + (away / sparse) ** 2)
            gradient[:] += away / (spread * slack)
            matrix[np.diag_indices_from(matrix)] += 1 / (spread**2 * slack)
            return float((sparse**2 * (slack - 1)).sum())

        cost += pull(np.zeros(len(values)), table.spread, options.sparsity)
        if observation.scores is not None and options.scores > 0:
            expected, spread = score_prior(observation.scores)
            cost += pull(expected, spread / np.sqrt(options.scores), 3.0)
        left, right = table.pairs.T
        difference = (values[left] - values[right]) / table.pair_spread
        strength = 1 / table.pair_spread
        np.add.at(gradient, left, difference * strength)
        np.add.at(gradient, right, -difference * strength)
        matrix[left, left] += strength**2
        matrix[right, right] += strength**2
        matrix[left, right] -= strength**2
        matrix[right, left] -= strength**2
        return cost + 0.5 * float(difference @ difference), gradient, matrix

    def _frame_system(self, state: State, observation: Observation) -> FrameSystem:
        residual, weight, by_pose, by_variable = self.landmark_terms(state, observation)
        cost, gradient, matrix = normal_equations(residual, weight, np.concatenate([by_pose, by_variable]))
        prior_cost, prior_gradient, prior_matrix = self.control_prior(state.values, observation)
        seen = matrix.copy()
        gradient[6:] += prior_gradient
        matrix[6:, 6:] += prior_matrix
        values = np.concatenate([np.zeros(6), state.values])
        return FrameSystem(state, cost + prior_cost, gradient, matrix, values, residual, seen)

    def _settle_pose(self, state: State, observation: Observation) -> State:
        def build(s: State) -> System[State]:
            residual, weight, by_pose, _ = self.landmark_terms(s, observation)
            return System(s, *normal_equations(residual, weight, by_pose), np.zeros(6))

        return minimise(
            build,
            lambda s, step: replace(s, pose=s.pose.moved(step)),
            state,
            self._pose_low,
            self._pose_high,
            iterations=12,
            tolerance=1e-3,
        ).state

    def _evidence(self, seen: Array) -> Array:
        """(102,) share of prior variance that the landmarks of this frame removed; 0 for controls nothing sees."""
        table = self.table
        matrix = seen.copy()
        matrix[np.arange(6), np.arange(6)] *= 1 + 1e-6
        rest = np.arange(6, len(matrix))
        matrix[rest, rest] += 1 / table.spread**2
        variance = cho_solve(
            cho_factor(matrix, check_finite=False), np.eye(len(matrix)), check_finite=False
        ).diagonal()[6:]
        gain = np.clip(1 - variance / table.spread**2, 0, 1)
        evidence = np.zeros(len(FACS102))
        evidence[table.positive] = gain
        two_sided = table.negative >= 0
        evidence[table.negative[two_sided]] = gain[two_sided]
        return evidence


class _Joint:
    """The system of several frames that share identity and focal length.

    Variables: identity (I), log focal (1), then pose (6) and variables (n) of each frame.
    """

    def __init__(self, fitter: LandmarkFitter, observations: list[Observation], focal: float) -> None:
        self.fitter, self.observations, self.focal = fitter, observations, focal
        table, shared = fitter.table, fitter.model.identities + 1
        frames = len(observations)
        self.low = np.concatenate(
            [np.full(shared - 1, -4.0), [-1.5], *[fitter._pose_low, table.low] * frames]
        )
        self.high = np.concatenate(
            [np.full(shared - 1, 4.0), [1.5], *[fitter._pose_high, table.high] * frames]
        )
        self.shared, self.per_frame = shared, 6 + len(table.positive)

    def build(self, states: list[State]) -> System[list[State]]:
        options, shared = self.fitter.options, self.shared
        total = shared + len(states) * self.per_frame
        gradient, matrix = np.zeros(total), np.zeros((total, total))
        identity = states[0].head.identity
        log_focal = np.log(states[0].pose.focal / self.focal)
        gradient[: shared - 1] = options.identity * identity
        matrix[np.arange(shared - 1), np.arange(shared - 1)] = options.identity
        focal_strength = 1 / max(options.focal_spread, 1e-6) ** 2
        gradient[shared - 1], matrix[shared - 1, shared - 1] = focal_strength * log_focal, focal_strength
        cost = 0.5 * (options.identity * float(identity @ identity) + focal_strength * log_focal**2)
        values = [identity, [log_focal]]
        for i, (state, observation) in enumerate(zip(states, self.observations, strict=True)):
            residual, weight, by_pose, by_variable = self.fitter.landmark_terms(state, observation)
            by_identity = self.fitter.identity_terms(state, observation)
            unit = self.fitter.options.noise * observation.eye_distance
            by_focal = residual + (observation.landmarks - observation.principal) / unit
            slope = np.concatenate([by_identity, by_focal[None], by_pose, by_variable])
            frame_cost, frame_gradient, frame_matrix = normal_equations(residual, weight, slope)
            prior_cost, prior_gradient, prior_matrix = self.fitter.control_prior(state.values, observation)
            own = np.arange(shared + i * self.per_frame, shared + (i + 1) * self.per_frame)
            index = np.concatenate([np.arange(shared), own])
            gradient[index] += frame_gradient
            matrix[np.ix_(index, index)] += frame_matrix
            gradient[own[6:]] += prior_gradient
            matrix[np.ix_(own[6:], own[6:])] += prior_matrix
            cost += frame_cost + prior_cost
            values += [np.zeros(6), state.values]
        return System(states, cost, gradient, matrix, np.concatenate(values))

    def move(self, states: list[State], step: Array) -> list[State]:
        shared = self.shared
        head = self.fitter.model.prepare(states[0].head.identity + step[: shared - 1])
        focal = states[0].pose.focal * float(np.exp(step[shared - 1]))
        moved = []
        for i, state in enumerate(states):
            own = step[shared + i * self.per_frame : shared + (i + 1) * self.per_frame]
            pose = replace(state.pose.moved(own[:6]), focal=focal)
            moved.append(State(pose, head, state.values + own[6:]))
        return moved


def normal_equations(residual: Array, weight: Array, slope: Array) -> tuple[float, Array, Array]:
    """Cost, gradient (n,) and matrix (n, n) of residuals (K, 2) with weights (K,) and derivative (n, K, 2)."""
    root = np.repeat(np.sqrt(weight), 2)
    flat = slope.reshape(len(slope), -1) * root
    error = residual.ravel() * root
    return 0.5 * float(error @ error), flat @ error, flat @ flat.T


def _smoothstep(x: Array, low: float, high: float) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
