"""Fit the embedded rig to 478 landmarks: one photo, several key frames at once, or one frame of a known head.

Each solves for the maximum of a posterior: robust landmark residuals, a Gaussian prior on identity, a sparse prior on
controls around MediaPipe's scores where those are alive, and symmetry. Derivatives are analytic (`LandmarkModel`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri

from omote.capture.landmark_model import Head, LandmarkModel, landmark_model
from omote.capture.observation import FOCAL_OVER_SIDE, IRISES, Observation, Pose, initial_pose
from omote.capture.priors import score_spread, symmetry_matrix, variables
from omote.capture.solver import System, boxed_step, minimise
from omote.controls import FACS102

Array = NDArray[np.float64]

_USUAL_IDENTITY = 8.0
"""Length of the identity vector that fits of people hardly reach (4 to 7 are usual)."""
_SKULL_POINTS = 12.0
"""The skull's many vertices move together and count as so many."""
_FAR = 0.018
"""A frame whose landmarks move by more than this share of the eye distance gets a second Jacobian."""


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
        skull: standard deviation of the skull around the average one, metres; no landmark sees it, and without this the
            fit would bend it to explain the face. 0 leaves it to the identity prior.
    """

    noise: float = 0.006
    effective: float = 160.0
    robust: float = 4.0
    scores: float = 1.0
    sparsity: float = 1.5
    identity: float = 1.0
    focal_spread: float = 0.2
    skull: float = 0.004


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
        surprise: how improbable this is as a human face: cost per effective observation, plus the squared length of the
            identity relative to the longest that people in photographs reach; below 2 for people, above for animals.
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


@dataclass(frozen=True)
class Terms:
    """One frame's landmark terms; their cost is sum(weight * residual^2) / 2.

    Attributes:
        residual: (2, K) in standard deviations.
        weight: (K,).
        slope: (n, 2, K) derivatives: by the identity (I) if asked for, the pose (6) and the variables.
    """

    residual: Array
    weight: Array
    slope: NDArray[np.float32]

    def normal_equations(self) -> tuple[float, Array, Array]:
        """Cost, gradient (n,) and Gauss-Newton matrix (n, n)."""
        root = np.tile(np.sqrt(self.weight), 2).astype(np.float32)
        flat = self.slope.reshape(len(self.slope), -1) * root
        error = self.residual.ravel() * root
        matrix = (flat @ flat.T).astype(np.float64)
        return 0.5 * float(error @ error), (flat @ error.astype(np.float32)).astype(np.float64), matrix

    def gradient(self, residual: Array) -> Array:
        """(n,) of other residuals (2, K) with the same weights and derivatives."""
        weighted = (residual * self.weight).ravel().astype(np.float32)
        return (self.slope.reshape(len(self.slope), -1) @ weighted).astype(np.float64)


@dataclass
class FrameSystem(System[State]):
    """A frame's system, its landmark terms, and the matrix of the landmarks alone."""

    terms: Terms
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
        self.identity_matrix = self._identity_matrix()
        self._lid = {
            s: int(np.flatnonzero(self.table.positive == FACS102.index(f"lid_close_{s}"))[0]) for s in "LR"
        }
        self._pose_low, self._pose_high = np.full(6, -np.inf), np.full(6, np.inf)

    def _identity_matrix(self) -> Array:
        """(I, I) precision of the identity: standard normal, and a skull near the average one."""
        matrix = self.options.identity * np.eye(self.model.identities)
        if self.options.skull > 0:
            columns = (
                self.model.skull.transpose(0, 2, 1).reshape(-1, self.model.identities).astype(np.float64)
            )
            matrix += columns.T @ columns * (_SKULL_POINTS / len(self.model.skull) / self.options.skull**2)
        return matrix

    # --- entry points ---------------------------------------------------------------------------------------------

    def fit_photo(self, observation: Observation, *, iterations: int = 40, tolerance: float = 4e-3) -> Fit:
        """Pose, focal length, identity and controls of a single image.

        Args:
            observation: the landmarks.
            iterations: most steps.
            tolerance: stop when a step lowers the cost by less than this share.
        """
        (fit,) = self.fit_key_frames([observation], iterations=iterations, tolerance=tolerance)
        return fit

    def fit_key_frames(
        self,
        observations: list[Observation],
        *,
        held: list[Array] | None = None,
        iterations: int = 6,
        tolerance: float = 1e-3,
    ) -> list[Fit]:
        """One identity and focal length for all observations, and a pose and controls for each; see `fit_photo`.

        With ``held``, the variables (n,) of each observation are given and stay; the rest is solved around them.
        """
        focal = FOCAL_OVER_SIDE * max(observations[0].size)
        neutral = self.model.prepare(np.zeros(self.model.identities))
        states = []
        for i, observation in enumerate(observations):
            values = np.zeros(len(self.table.positive)) if held is None else held[i]
            start = State(initial_pose(self.model, observation, focal), neutral, values)
            states.append(self._settle_pose(start, observation))
        joint = _Joint(self, observations, focal, held)
        found = minimise(
            joint.build, joint.move, states, joint.low, joint.high, iterations=iterations, tolerance=tolerance
        )
        return [self.describe(s, o) for s, o in zip(found.state, observations, strict=True)]

    def fit_frame(self, observation: Observation, head: Head, pose: Pose, values: Array) -> Fit:
        """Pose and controls of a known head, from anywhere near: Levenberg-Marquardt until it settles."""
        found = minimise(
            lambda s: self._frame_system(s, observation),
            _moved,
            State(pose, head, values),
            np.concatenate([self._pose_low, self.table.low]),
            np.concatenate([self._pose_high, self.table.high]),
            iterations=12,
            tolerance=2e-3,
        )
        return self.describe(found.state, observation, found)

    def follow_frame(
        self, observation: Observation, head: Head, pose: Pose, values: Array, *, steps: int = 1
    ) -> Fit:
        """Pose and controls from the frame before: Gauss-Newton steps that share one Jacobian, so that it is fast."""
        low = np.concatenate([self._pose_low, self.table.low])
        high = np.concatenate([self._pose_high, self.table.high])
        state = State(pose, head, values)
        for linearisation in range(2):
            start = self._frame_system(state, observation)
            system, residual = start, start.terms.residual
            for _ in range(steps):
                state = _moved(system.state, boxed_step(system, low, high, 1e-4))
                system, residual = self._shifted(start, system, state, observation)
            moved = np.linalg.norm(residual - start.terms.residual, axis=0).mean() * self.options.noise
            if linearisation == 0 and moved < _FAR:
                break
        system = replace(system, terms=replace(start.terms, residual=residual))
        return self.describe(system.state, observation, system)

    def _shifted(
        self, start: FrameSystem, system: FrameSystem, state: State, observation: Observation
    ) -> tuple[FrameSystem, Array]:
        """The system at a new state with the Jacobian and weights of ``start``, and the true residual there."""
        points = self.model.points(state.head, self.table.controls(state.values))
        residual, _ = self.residual(state.pose, points, observation)
        prior_cost, prior_gradient, _ = self._prior_gradient(state.values, observation)
        gradient = start.terms.gradient(residual)
        gradient[6:] += prior_gradient
        cost = prior_cost + 0.5 * float((start.terms.weight * residual**2).sum())
        values = np.concatenate([np.zeros(6), state.values])
        return replace(system, state=state, cost=cost, gradient=gradient, values=values), residual

    def fit_pose(
        self, observation: Observation, head: Head, pose: Pose | None, values: Array, focal: float
    ) -> Fit:
        """Only the pose, of a known head with known variables (n,); from nothing where ``pose`` is None."""
        start = pose or initial_pose(self.model, observation, focal)
        return self.describe(self._settle_pose(State(start, head, values), observation), observation)

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
            np.linalg.norm(system.terms.residual, axis=0) * self.options.noise,
            self._evidence(system.seen),
            float(
                system.cost / self.options.effective
                + (np.linalg.norm(state.head.identity) / _USUAL_IDENTITY) ** 2
            ),
        )

    # --- the pieces of the cost ------------------------------------------------------------------------------

    def residual(self, pose: Pose, points: Array, observation: Observation) -> tuple[Array, Array]:
        """Landmark residuals (2, K) in standard deviations, and the points (K, 3) in camera space."""
        camera = pose.to_camera(points)
        image = observation.principal + pose.focal * camera[:, :2] * (1.0, -1.0) / -camera[:, 2:]
        return ((image - observation.landmarks) / (self.options.noise * observation.eye_distance)).T, camera

    def terms(self, state: State, observation: Observation, *, identity: bool = False) -> Terms:
        """Residuals and derivatives of one frame's landmarks."""
        controls = self.table.controls(state.values)
        points, slope = self.model.evaluate(state.head, controls)
        residual, camera = self.residual(state.pose, points, observation)
        weight = self._weights(state, observation, residual, camera)
        # u = f x / d, v = -f y / d, d = -z, so d(u, v) / d(x, y, z) has these four entries that are not zero.
        depth = np.maximum(-camera[:, 2], 1e-3)
        scale = state.pose.focal / depth / (self.options.noise * observation.eye_distance)
        to_image = np.zeros((2, 3, len(points)))
        to_image[0, 0], to_image[0, 2] = scale, scale * camera[:, 0] / depth
        to_image[1, 1], to_image[1, 2] = -scale, -scale * camera[:, 1] / depth
        from_head = np.einsum("jck,cd->jdk", to_image, state.pose.rotation).astype(np.float32)
        offset = camera - state.pose.translation
        # A turn w moves a point by w x offset; its image moves by w . (offset x row of the projection).
        turned = np.cross(offset[None], to_image.transpose(0, 2, 1)).transpose(2, 0, 1)
        by_pose = np.concatenate([turned, to_image.swapaxes(0, 1)])
        slopes = [by_pose.astype(np.float32), _chain(self.table.pull_back(slope, state.values), from_head)]
        if identity:
            slopes.insert(0, _chain(self.model.identity_slope(controls), from_head))
        return Terms(residual, weight, np.concatenate(slopes))

    def _weights(self, state: State, observation: Observation, residual: Array, camera: Array) -> Array:
        """(K,) trust: steady place, within the image, facing the camera, open eyes for irises, no outlier."""
        options = self.options
        normal = self.model.normals @ state.pose.rotation.T
        facing = -np.einsum("kc,kc->k", normal, camera) / np.linalg.norm(camera, axis=1)
        weight = self.model.weight * _smoothstep(facing, -0.3, 0.3)
        outside = ((observation.landmarks < 0) | (observation.landmarks > observation.size)).any(1)
        weight[outside] *= 0.1  # beyond the image's border the detector guesses
        weight[IRISES] *= 2.0
        for side, iris in (("R", slice(468, 473)), ("L", slice(473, 478))):
            closed = state.values[self._lid[side]]
            weight[iris] *= 1 - 0.95 * float(_smoothstep(np.array(closed), 0.35, 0.75))
        weight /= 1 + (residual**2).sum(0) / options.robust**2
        return np.maximum(weight, 1e-4) * (options.effective / len(weight))

    def control_prior(self, values: Array, observation: Observation) -> tuple[float, Array, Array]:
        """Cost, gradient (n,) and matrix (n, n) of what is believed about the variables."""
        cost, gradient, diagonal = self._prior_gradient(values, observation)
        matrix = symmetry_matrix().copy()
        matrix.flat[:: len(values) + 1] += diagonal
        return cost, gradient, matrix

    def _prior_gradient(self, values: Array, observation: Observation) -> tuple[float, Array, Array]:
        """Cost, gradient (n,), and what the prior adds to the matrix's diagonal (n,) besides symmetry."""
        options = self.options
        gradient = symmetry_matrix() @ values
        cost = 0.5 * float(values @ gradient)
        diagonal = np.zeros(len(values))
        pulls = [(values / self.table.spread, self.table.spread, options.sparsity)]
        if observation.expected is not None and options.scores > 0:
            spread = score_spread() / np.sqrt(options.scores)
            pulls.append(((values - observation.expected) / spread, spread, 3.0))
        for (
            away,
            spread,
            sparse,
        ) in pulls:  # Charbonnier: quadratic near the expected value, linear far from it
            slack = np.sqrt(1 + (away / sparse) ** 2)
            gradient += away / (spread * slack)
            diagonal += 1 / (spread**2 * slack)
            cost += float((sparse**2 * (slack - 1)).sum())
        return cost, gradient, diagonal

    def _frame_system(self, state: State, observation: Observation) -> FrameSystem:
        terms = self.terms(state, observation)
        cost, gradient, matrix = terms.normal_equations()
        prior_cost, prior_gradient, prior_matrix = self.control_prior(state.values, observation)
        seen = matrix.copy()
        gradient[6:] += prior_gradient
        matrix[6:, 6:] += prior_matrix
        values = np.concatenate([np.zeros(6), state.values])
        return FrameSystem(state, cost + prior_cost, gradient, matrix, values, terms, seen)

    def _settle_pose(self, state: State, observation: Observation) -> State:
        def build(s: State) -> System[State]:
            terms = self.terms(s, observation)
            return System(s, *replace(terms, slope=terms.slope[:6]).normal_equations(), np.zeros(6))

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
        diagonal = matrix.diagonal().copy()
        diagonal[:6] *= 1 + 1e-6
        diagonal[6:] += 1 / table.spread**2
        matrix.flat[:: len(matrix) + 1] = diagonal
        factor, _ = dpotrf(matrix, lower=1)
        inverse, _ = dpotri(factor, lower=1)
        variance = inverse.diagonal()[6:]
        gain = np.clip(1 - variance / table.spread**2, 0, 1)
        evidence = np.zeros(len(FACS102))
        evidence[table.positive] = gain
        two_sided = table.negative >= 0
        evidence[table.negative[two_sided]] = gain[two_sided]
        return evidence


def _moved(state: State, step: Array) -> State:
    return State(state.pose.moved(step[:6]), state.head, state.values + step[6:])


class _Joint:
    """The system of several frames that share identity and focal length.

    Variables: identity (I), log focal (1), then pose (6) and variables (n) of each frame.
    """

    def __init__(
        self,
        fitter: LandmarkFitter,
        observations: list[Observation],
        focal: float,
        held: list[Array] | None,
    ) -> None:
        self.fitter, self.observations, self.focal = fitter, observations, focal
        table, shared = fitter.table, fitter.model.identities + 1
        frames = len(observations)
        lows = [table.low] * frames if held is None else held
        highs = [table.high] * frames if held is None else held
        low = [part for values in lows for part in (fitter._pose_low, values)]
        high = [part for values in highs for part in (fitter._pose_high, values)]
        self.low = np.concatenate([np.full(shared - 1, -4.0), [-1.5], *low])
        self.high = np.concatenate([np.full(shared - 1, 4.0), [1.5], *high])
        self.shared, self.per_frame = shared, 6 + len(table.positive)

    def build(self, states: list[State]) -> System[list[State]]:
        options, shared = self.fitter.options, self.shared
        # What the model cannot express repeats in every frame, so frames are not independent evidence on identity.
        precision = self.fitter.identity_matrix * (1 + 0.43 * (len(states) - 1))
        total = shared + len(states) * self.per_frame
        gradient, matrix = np.zeros(total), np.zeros((total, total))
        identity = states[0].head.identity
        log_focal = np.log(states[0].pose.focal / self.focal)
        gradient[: shared - 1] = precision @ identity
        matrix[: shared - 1, : shared - 1] = precision
        focal_strength = 1 / max(options.focal_spread, 1e-6) ** 2
        gradient[shared - 1], matrix[shared - 1, shared - 1] = focal_strength * log_focal, focal_strength
        cost = 0.5 * (float(identity @ gradient[: shared - 1]) + focal_strength * log_focal**2)
        values: list[Array] = [identity, np.array([log_focal])]
        for i, (state, observation) in enumerate(zip(states, self.observations, strict=True)):
            terms = self.fitter.terms(state, observation, identity=True)
            unit = self.fitter.options.noise * observation.eye_distance
            by_focal = terms.residual + (observation.landmarks - observation.principal).T / unit
            slope = np.insert(terms.slope, shared - 1, by_focal, axis=0)
            frame_cost, frame_gradient, frame_matrix = replace(terms, slope=slope).normal_equations()
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


def _chain(slope: NDArray[np.float32], from_head: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 2, K) image derivatives from head-space ones (n, 3, K) and the projection's (2, 3, K)."""
    image = np.empty((len(slope), 2, slope.shape[2]), np.float32)
    for j in range(2):
        np.multiply(slope[:, 0], from_head[j, 0], out=image[:, j])
        image[:, j] += slope[:, 1] * from_head[j, 1]
        image[:, j] += slope[:, 2] * from_head[j, 2]
    return image


def _smoothstep(x: Array, low: float, high: float) -> Array:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
