"""The embedded rig at its 478 landmarks, in numpy, with analytic derivatives: what the fit evaluates hundreds of times.

It repeats ``FacsRig.forward`` for the few vertices that carry landmarks (tests hold the two together). Head,
tongue and ear controls have no landmark evidence and are left out: they stay at their neutral value.

Names: M vertices that matter, K = 478 landmarks, S shapes, C = 102 controls, I identity coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from omote.controls import FACS102
from omote.rigs.asset import SIDES, HeadAsset, load_head_asset, triangles
from omote.rigs.constants import GAZE_PITCH, GAZE_YAW, LID_THICKNESS
from omote.rigs.landmarks import IRIS_LEFT, IRIS_RIGHT, LandmarkEmbedding, load_landmarks

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]
_IRIS = {"L": IRIS_LEFT, "R": IRIS_RIGHT}


@dataclass(frozen=True)
class _Lid:
    """One eye's lid vertices Q (those that carry landmarks) among the M, and the closure acting on them."""

    vertices: NDArray[np.int64]  # (Q,)
    closing: csr_matrix  # (Q, M) rows of the closure operator
    partner: NDArray[np.int64]  # (Q,) among M: the rim vertex a rim vertex meets, or the vertex itself
    pushed: NDArray[np.bool_]  # (Q,) kept outside the eyeball
    landmarks: NDArray[np.int64]  # (P,)
    weights: Array  # (P, Q)
    close: int  # index of lid_close


@dataclass(frozen=True)
class _HeadLid:
    """A lid on one identity: all that stays while controls move."""

    rest: Array  # (Q, 3)
    gap: Array  # (Q, 3) closure of the neutral head
    shapes: Array32  # (S, 3 * Q)
    closing: Array32  # (S, 3 * Q) closure of each shape
    least: Array  # (Q,) smallest distance to the eye's centre
    centre: Array  # (3,)
    radius: float


@dataclass(frozen=True)
class Head:
    """An identity made ready: points (K, 3) metres, shapes (S, 3 * K) at the landmarks, and the two lids."""

    identity: Array
    points: Array
    shapes: Array32
    lids: dict[str, _HeadLid]


class LandmarkModel:
    """The rig's landmarks as a function of identity and controls.

    Attributes:
        weight: (K,) trust in each landmark's place on the surface.
        rest, normals: (K, 3) metres and unit outward normals, on the neutral template.
        skull: (N, I, 3) metres, how each identity coefficient moves points of the skull, which no landmark sees.
        identity_mirror: (I,) +1 or -1, what a coefficient is multiplied by when the head is mirrored.
    """

    def __init__(self, asset: HeadAsset, embedding: LandmarkEmbedding) -> None:
        expand = asset["expand"]
        corners = expand[embedding.vertices]
        rims = [asset[f"rim_{s}"].ravel() for s in SIDES]
        kept = np.unique(np.concatenate([corners.ravel(), *rims]))
        place = np.full(len(asset["template"]), -1)
        place[kept] = np.arange(len(kept))
        self.corners = place[corners]
        self.barycentric = embedding.barycentric.astype(np.float64)
        self.weight = embedding.weight.astype(np.float64)
        self.identity_mirror = asset["identity_mirror"].astype(np.float64)
        self.identities = len(asset["identity"])
        self.template = asset["template"][kept].astype(np.float64)
        self._basis = _vertex_first(asset["identity"][:, kept])  # (M, I * 3)
        self._shape = asset["shape"][:, kept].transpose(1, 2, 0).astype(np.float32)  # (M, 3, S)
        nodes = asset["gradient"].astype(np.float64)
        blend = asset["node_weight"][kept].astype(np.float64)
        index = asset["node_index"][kept]
        gradient = sum(
            blend[:, j, None, None, None] * nodes[:, index[:, j]].swapaxes(0, 1)
            for j in range(blend.shape[1])
        )
        self._gradient = np.ascontiguousarray(  # (3, M, I * 3): by the component of the displacement
            np.moveaxis(np.asarray(gradient, np.float32), 3, 0).reshape(3, len(kept), -1)
        )
        self._balls = {s: asset["template"][asset[f"ball_{s}"]].astype(np.float64) for s in SIDES}
        self._ball_basis = {s: asset["identity"][:, asset[f"ball_{s}"]].astype(np.float64) for s in SIDES}
        self._iris_basis = {
            s: np.einsum("ikjc,kj->ikc", asset["identity"][:, corners[_IRIS[s]]], self.barycentric[_IRIS[s]])
            for s in SIDES
        }
        self._set_activations(asset)
        self._lids = {s: self._make_lid(s, asset, kept, place) for s in SIDES}
        skull = _skull(asset["template"])
        self.skull = _vertex_first(asset["identity"][:, skull]).reshape(len(skull), -1, 3)
        self.rest = self._at_landmarks(self.template)
        self.normals = _landmark_normals(asset, corners, self.barycentric)

    # --- construction ---------------------------------------------------------------------------------------------

    def _set_activations(self, asset: HeadAsset) -> None:
        one = len(FACS102)
        first, second, sign = [], [], []
        for shape in asset.header["shapes"]:
            factors = [(FACS102.index(name), float(s)) for name, s in shape["activation"]]
            first.append(factors[0][0])
            second.append(factors[1][0] if len(factors) == 2 else one)
            sign.append([factors[0][1], factors[1][1] if len(factors) == 2 else 1.0])
        self._first, self._second, self._sign = np.array(first), np.array(second), np.array(sign)
        self._combined = np.flatnonzero(self._second < one)
        rows = np.concatenate([self._first, self._second[self._combined]])
        columns = np.concatenate([np.arange(len(first)), self._combined])
        self._order = np.lexsort((columns, rows))
        counted = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (one, len(first)))
        counted.sort_indices()
        self._pattern = counted

    def _make_lid(
        self, side: str, asset: HeadAsset, kept: NDArray[np.int64], place: NDArray[np.int64]
    ) -> _Lid:
        row, column = place[asset[f"closure_{side}_row"]], place[asset[f"closure_{side}_column"]]
        carrying = np.unique(self.corners)
        used = np.isin(row, carrying)
        vertices = np.unique(row[used])
        at = np.searchsorted(vertices, row[used])
        closing = csr_matrix(
            (asset[f"closure_{side}_value"][used].astype(np.float64), (at, column[used])),
            (len(vertices), len(kept)),
        )
        partner = np.arange(len(kept))
        for upper, lower in place[asset[f"rim_{side}"].reshape(-1, 2)]:
            partner[upper], partner[lower] = lower, upper
        sockets = asset["quads"][asset["quad_part"] == asset.header["parts"].index("eye_socket")]
        hidden = np.setdiff1d(asset["expand"][sockets], asset[f"rim_{side}"].ravel())
        touched = np.isin(self.corners, vertices)
        carried = np.flatnonzero(touched.any(1))
        weights = np.zeros((len(carried), len(vertices)))
        for p, k in enumerate(carried):
            for j in np.flatnonzero(touched[k]):
                weights[p, np.searchsorted(vertices, self.corners[k, j])] += self.barycentric[k, j]
        pushed = ~np.isin(kept[vertices], hidden)
        close = FACS102.index(f"lid_close_{side}")
        return _Lid(vertices, closing, partner[vertices], pushed, carried, weights, close)

    def _at_landmarks(self, field: NDArray[Any]) -> NDArray[Any]:
        """(K, ...) barycentric mean of a field (M, ...)."""
        weight = self.barycentric.astype(field.dtype).reshape(-1, 3, *[1] * (field.ndim - 1))
        return sum(weight[:, j] * field[self.corners[:, j]] for j in range(3))

    # --- evaluation -----------------------------------------------------------------------------------------------

    def prepare(self, identity: Array) -> Head:
        """Everything that depends on the identity (I,) alone."""
        weights = np.asarray(identity, np.float32)
        vertices = self.template + _contract(self._basis, weights)
        by_component = self._gradient.reshape(3, len(self.template), -1, 3)  # column, vertex, identity, row
        stretch = np.tensordot(by_component, weights, (2, 0)).transpose(1, 2, 0) + np.eye(3, dtype=np.float32)
        shapes = stretch @ self._shape  # (M, 3, S)
        at_landmarks = _shape_first(self._at_landmarks(shapes))
        lids = {side: self._prepare_lid(side, identity, vertices, shapes) for side in SIDES}
        return Head(identity, self._at_landmarks(vertices), at_landmarks, lids)

    def _prepare_lid(self, side: str, identity: Array, vertices: Array, shapes: Array32) -> _HeadLid:
        lid = self._lids[side]
        ball = self._balls[side] + np.tensordot(identity, self._ball_basis[side], 1)
        centre = ball.mean(0)
        radius = float(np.linalg.norm(ball - centre, axis=1).mean())
        floor = np.minimum(np.linalg.norm(vertices - centre, axis=1), radius + LID_THICKNESS)
        least = np.where(lid.pushed, np.minimum(floor[lid.vertices], floor[lid.partner]), 0.0)
        count = shapes.shape[2]
        closing = (lid.closing @ shapes.reshape(len(vertices), -1)).reshape(-1, 3, count)
        own = _shape_first(shapes[lid.vertices])
        gap = lid.closing @ vertices
        return _HeadLid(vertices[lid.vertices], gap, own, _shape_first(closing), least, centre, radius)

    def activate(self, controls: Array) -> Array32:
        """(S,) activation of each shape, the product of its factors."""
        values = np.append(controls, 1.0)
        one = np.maximum(self._sign[:, 0] * values[self._first], 0)
        two = np.maximum(self._sign[:, 1] * values[self._second], 0)
        return (one * two).astype(np.float32)

    def activation_slope(self, controls: Array) -> csr_matrix:
        """(C, S) sparse derivative of `activate`; valid until the next call.

        A one-sided control at zero gets the slope of its positive side, so that a fit can leave zero.
        """
        values = np.append(controls, 1.0)
        x, y = values[self._first], values[self._second]
        one = np.maximum(self._sign[:, 0] * x, 0)
        two = np.maximum(self._sign[:, 1] * y, 0)
        rising = np.where(self._sign[:, 0] > 0, x >= 0, x < 0)
        c = self._combined
        slope = np.concatenate([self._sign[:, 0] * two * rising, self._sign[c, 1] * one[c] * (y[c] >= 0)])
        self._pattern.data[:] = slope[self._order]
        return self._pattern

    def points(self, head: Head, controls: Array) -> Array:
        """(K, 3) landmarks in head space, metres; cheaper than `evaluate`."""
        return self._evaluate(head, controls, None)

    def evaluate(self, head: Head, controls: Array) -> tuple[Array, Array32]:
        """Landmarks and their derivative by the controls.

        Args:
            head: from `prepare`.
            controls: (C,).

        Returns:
            points (K, 3) metres in head space, slope (C, 3, K).
        """
        slope = np.empty((len(FACS102), 3, len(head.points)), np.float32)
        return self._evaluate(head, controls, slope), slope

    def _evaluate(self, head: Head, controls: Array, slope: Array32 | None) -> Array:
        activation = self.activate(controls)
        by_control = None if slope is None else self.activation_slope(controls)
        points = head.points + (activation @ head.shapes).reshape(3, -1).T
        if slope is not None and by_control is not None:
            slope[:] = (by_control @ head.shapes).reshape(slope.shape)
        for side, lid in self._lids.items():
            on_head = head.lids[side]
            moved, moved_slope = self._close(lid, on_head, controls, activation, by_control)
            points[lid.landmarks] += lid.weights @ moved
            if slope is not None and moved_slope is not None:
                slope[:, :, lid.landmarks] += moved_slope @ lid.weights.T.astype(np.float32)
            self._turn_eye(side, on_head, head.points[_IRIS[side]] - on_head.centre, controls, points, slope)
        return points

    @staticmethod
    def _close(
        lid: _Lid,
        on_head: _HeadLid,
        controls: Array,
        activation: Array32,
        by_control: csr_matrix | None,
    ) -> tuple[Array, Array32 | None]:
        """What closure and the eyeball add to the lid vertices: (Q, 3) and its slope (C, 3, Q)."""
        amount = controls[lid.close]
        closing = on_head.gap + (activation @ on_head.closing).reshape(3, -1).T
        offset = (
            on_head.rest + (activation @ on_head.shapes).reshape(3, -1).T + amount * closing - on_head.centre
        )
        distance = np.linalg.norm(offset, axis=1)
        (inside,) = np.nonzero(distance < on_head.least)
        added = amount * closing
        scale = on_head.least[inside] / distance[inside]
        added[inside] += (scale[:, None] - 1) * offset[inside]
        if by_control is None:
            return added, None
        if amount:
            slope = (by_control @ on_head.closing).reshape(len(FACS102), 3, -1) * np.float32(amount)
        else:
            slope = np.zeros((len(FACS102), 3, len(lid.vertices)), np.float32)
        slope[lid.close] += closing.T
        if len(inside):
            direction = (offset[inside] / distance[inside, None]).T.astype(np.float32)
            own = on_head.shapes.reshape(len(activation), 3, -1)[:, :, inside].reshape(len(activation), -1)
            full = slope[:, :, inside] + (by_control @ own).reshape(len(FACS102), 3, -1)
            along = np.einsum("cq,xcq->xq", direction, full)
            slope[:, :, inside] += scale.astype(np.float32) * (full - along[:, None] * direction) - full
        return added, slope

    @staticmethod
    def _turn_eye(
        side: str, on_head: _HeadLid, rest: Array, controls: Array, points: Array, slope: Array32 | None
    ) -> None:
        """Rotate one iris in place (Fick: yaw about +y, then pitch)."""
        yaw, pitch = (FACS102.index(f"gaze_{n}_{side}") for n in ("yaw", "pitch"))
        turn, by_yaw, by_pitch = gaze_rotation(controls[yaw], controls[pitch])
        points[_IRIS[side]] = on_head.centre + rest @ turn.T
        if slope is not None:
            slope[:, :, _IRIS[side]] = 0.0
            slope[yaw, :, _IRIS[side]] = by_yaw @ rest.T
            slope[pitch, :, _IRIS[side]] = by_pitch @ rest.T

    def identity_slope(self, controls: Array) -> Array32:
        """(I, 3, K) derivative of the landmarks by the identity.

        The eyeballs' push on the lids is taken as constant here; it moves lids by fractions of a millimetre.
        """
        moved = self._shape @ self.activate(controls)  # (M, 3) on the template
        slope = self._basis.copy()  # (M, I * 3)
        for component in range(3):
            slope += self._gradient[component] * moved[:, component, None]
        at_landmarks = self._at_landmarks(slope)
        for lid in self._lids.values():
            if controls[lid.close]:
                at_landmarks[lid.landmarks] += controls[lid.close] * (lid.weights @ (lid.closing @ slope))
        by_identity = at_landmarks.reshape(len(at_landmarks), -1, 3).transpose(1, 2, 0).astype(np.float32)
        for side in SIDES:
            turn, _, _ = gaze_rotation(
                *(controls[FACS102.index(f"gaze_{n}_{side}")] for n in ("yaw", "pitch"))
            )
            centre = self._ball_basis[side].mean(1)[:, None]
            iris = centre + (self._iris_basis[side] - centre) @ turn.T
            by_identity[:, :, _IRIS[side]] = iris.transpose(0, 2, 1)
        return by_identity


def _skull(template: NDArray[np.float32]) -> NDArray[np.int64]:
    """Every fifth vertex of the crown and the back of the head."""
    crown = (template[:, 1] > 0.055) | ((template[:, 2] < -0.07) & (template[:, 1] > -0.05))
    return np.flatnonzero(crown)[::5]


def gaze_rotation(yaw: float, pitch: float) -> tuple[Array, Array, Array]:
    """Eyeball rotation (3, 3) of gaze controls -1..1, and its derivatives by yaw and pitch."""
    cy, sy = np.cos(yaw * GAZE_YAW), np.sin(yaw * GAZE_YAW)
    cp, sp = np.cos(pitch * GAZE_PITCH), np.sin(pitch * GAZE_PITCH)
    turn_yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    by_yaw = GAZE_YAW * np.array([[-sy, 0, cy], [0, 0, 0], [-cy, 0, -sy]]) @ turn_pitch
    by_pitch = GAZE_PITCH * turn_yaw @ np.array([[0, 0, 0], [0, -sp, cp], [0, -cp, -sp]])
    return turn_yaw @ turn_pitch, by_yaw, by_pitch


def _vertex_first(field: NDArray[np.float32]) -> Array32:
    """(M, N * 3) from (N, M, 3)."""
    return np.ascontiguousarray(field.transpose(1, 0, 2).reshape(field.shape[1], -1), np.float32)


def _shape_first(field: NDArray[Any]) -> Array32:
    """(S, 3 * N) float32 from (N, 3, S)."""
    return np.ascontiguousarray(field.transpose(2, 1, 0).reshape(field.shape[2], -1), np.float32)


def _contract(field: Array32, coefficients: Array32) -> Array32:
    """(M, 3) sum of a vertex-first field (M, N * 3) over coefficients (N,)."""
    return np.einsum("mnc,n->mc", field.reshape(len(field), -1, 3), coefficients)


def _landmark_normals(asset: HeadAsset, corners: NDArray[np.int64], barycentric: Array) -> Array:
    """(K, 3) unit normals of the neutral template at the landmarks."""
    faces = asset["expand"][triangles(asset["quads"])]
    template = asset["template"].astype(np.float64)
    face_normal = np.cross(
        template[faces[:, 1]] - template[faces[:, 0]], template[faces[:, 2]] - template[faces[:, 0]]
    )
    normals = np.zeros_like(template)
    for j in range(3):
        np.add.at(normals, faces[:, j], face_normal)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    at = np.einsum("kjc,kj->kc", normals[corners], barycentric)
    return at / np.linalg.norm(at, axis=1, keepdims=True)


@cache
def landmark_model() -> LandmarkModel:
    """The embedded rig's model, built once per process (about 0.1 s)."""
    return LandmarkModel(load_head_asset(), load_landmarks())
