"""The rig bound to one face of a photo: which photo pixel each vertex shows, and which vertices the photo shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from omote.controls import FACS102
from omote.geometry import cameras
from omote.geometry.meshes import vertex_normals
from omote.geometry.rotations import axis_angle_to_matrix
from omote.performance import Camera, Performance
from omote.render.attributes import draw_attributes
from omote.rigs.contours import EYE, LIPS_OUTER, OVAL
from omote.rigs.facs import FacsRig, load_rig

if TYPE_CHECKING:
    from omote.capture.pipeline import Captured

Array = NDArray[np.float32]

_SPREAD = 0.05
"""Metres from the nearest landmark over which its correction fades."""
_STIFFNESS = 0.05
"""Smoothing of the correction spline; larger follows single landmarks less."""
_BROAD, _BROAD_COUNT = 0.02, 96
"""Metres, and nearest landmarks, over which the correction without detail is a mean."""
_EYE_REACH = 0.006
"""Metres around the lid margins within which closing lids leave the detail of the correction behind."""
_BEHIND = 0.004
"""Metres that a vertex may lie behind the surface that the photo shows and still count as shown."""
_FACING = (0.05, 0.25)
"""Cosine between normal and line of sight at which a vertex begins to be, and is, well seen."""
INTERIOR = ("mouth", "teeth_upper", "teeth_lower", "tongue")
_SETTLE = {"teeth_upper": (0.0, -0.0025, 0.0)}
_SETTLE_OPEN = {"teeth_lower": (0.0, -0.003, -0.001), "tongue": (0.0, -0.005, -0.003)}
"""Metres by which these lie elsewhere than in the rig, always and with an open jaw: people show more of the
upper and less of the lower teeth."""
_JAW_OPEN = (0.05, 0.4)
_BLEND = 0.015
"""Metres inside the face's outline over which the head's surface hands over to the surroundings."""


@dataclass(frozen=True)
class Layout:
    """What the puppet needs of the rig besides its shape.

    Attributes:
        faces: (F, 3) triangles that are drawn: all but the lashes, which the photo has painted on.
        part: (F,) their part.
        vertex_part: (V,) part of each vertex; of those that share parts, the last one.
        interior: (V,) 1 inside the face's outline, falling to 0 outside.
        on_head: (V,) 1 on the head, 0 low on the neck.
        uv: (V, 2) texture coordinates, origin upper left.
        settle, settle_open: (V, 3) metres, head space: corrections of the teeth and the tongue, always and with an open
            jaw.
        near_eye: side -> (V,) 1 at the lids of that eye, falling to 0 around them.
    """

    faces: NDArray[np.int64]
    part: NDArray[np.int64]
    vertex_part: NDArray[np.int64]
    interior: Array
    on_head: Array
    uv: Array
    settle: Array
    settle_open: Array
    near_eye: dict[str, Array]

    @property
    def inside_mouth(self) -> NDArray[np.bool_]:
        """(V,) whether a vertex is inside the mouth."""
        names = load_rig().part_names
        return np.isin(self.vertex_part, [names.index(name) for name in INTERIOR])

    def is_part(self, name: str) -> NDArray[np.bool_]:
        """(V,) whether a vertex belongs to a part."""
        return self.vertex_part == load_rig().part_names.index(name)


@cache
def layout() -> Layout:
    """Of the embedded rig."""
    rig = load_rig()
    names = rig.part_names
    part = rig.face_part.numpy()
    drawn = part != names.index("lashes")
    faces, part = rig.faces.numpy()[drawn], part[drawn]
    vertex_part = np.zeros(len(rig.expand), np.int64)
    for number in range(len(names)):
        vertex_part[faces[part == number]] = number
    rest = _vertices(
        rig, np.zeros((1, len(FACS102.controls)), np.float32), np.zeros((1, len(rig.identity_space)))
    )[0]
    outline = np.ascontiguousarray(rig.landmarks.apply(rest)[list(OVAL), :2] * 1000, np.float32)
    inside = np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), True) for x, y, _ in rest * 1000])
    in_front = ramp(rest[:, 2], -0.07, -0.03)
    settle = np.zeros((2, *rest.shape), np.float32)
    for k, shifts in enumerate((_SETTLE, _SETTLE_OPEN)):
        for name, shift in shifts.items():
            settle[k, vertex_part == names.index(name)] = shift
    return Layout(
        faces=faces,
        part=part,
        vertex_part=vertex_part,
        interior=(ramp(inside / 1000, 0.0, _BLEND) * in_front).astype(np.float32),
        on_head=ramp(rig._head_weight.numpy()[rig.expand.numpy()], 0.5, 1.0),
        uv=rig.uv.numpy(),
        settle=settle[0],
        settle_open=settle[1],
        near_eye={side: _near(rest, rig.landmarks.apply(rest)[list(EYE[side])]) for side in EYE},
    )


def _near(rest: Array, margin: Array) -> Array:
    """(V,) 1 within a contour (K, 3) and next to it, falling to 0 around."""
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(margin).query(rest)
    out: Array = np.exp(-((distance / _EYE_REACH) ** 2)).astype(np.float32)
    return out


@dataclass(frozen=True)
class Laid:
    """The rig on the landmarks of one face of a photo.

    Attributes:
        source: its fit, one frame.
        identity: (1, I).
        offset: (V, 3) metres, head space: what the fitted rig lacks to lie on the detected landmarks.
        smooth: (V, 3) the same without its detail: what closed lids get, which must meet.
        landmarks: (478, 2) as detected, photo pixels.
    """

    source: Performance
    identity: torch.Tensor
    offset: Array
    smooth: Array
    landmarks: Array

    @property
    def camera(self) -> Camera:
        """The photo's."""
        return self.source.camera

    def poses(self, motion: Performance) -> Array:
        """(T, V, 3) metres, camera space: the head in each frame of a motion."""
        heads = _vertices(load_rig(), motion.controls, self.identity) + self.offset
        for side, near in layout().near_eye.items():
            column = FACS102.index(f"lid_close_{side}")
            rest = min(float(self.source.controls[0, column]), 0.9)
            closed = np.clip((motion.controls[:, column] - rest) / (1 - rest), 0, 1)
            heads += closed[:, None, None] * (near[:, None] * (self.smooth - self.offset))
        jaw = ramp(motion.controls[:, FACS102.index("jaw_open")], *_JAW_OPEN)
        heads += jaw[:, None, None] * layout().settle_open
        turns = axis_angle_to_matrix(motion.head_rotation).astype(np.float32)
        moved = np.einsum("tvc,tdc->tvd", heads, turns) + motion.head_translation[:, None]
        return moved.astype(np.float32)

    def forward(self, motion: Performance) -> Array:
        """(T, 3) unit, camera space: where the face looks."""
        table = load_rig()
        own = table.head_rotation(torch.from_numpy(np.array(motion.controls, np.float32))).numpy()[..., 2]
        turns = axis_angle_to_matrix(motion.head_rotation)
        return np.einsum("tdc,tc->td", turns, own).astype(np.float32)

    def to_screen(self, points: Array) -> Array:
        """(..., 3) camera space to x px, y px, 1/depth."""
        return np.concatenate([cameras.project(self.camera, points), -1 / points[..., 2:]], -1).astype(
            np.float32
        )


@dataclass(frozen=True)
class Bound(Laid):
    """What of it the photo shows.

    Attributes:
        screen: (V, 2) photo pixels of each vertex.
        facing: (V,) cosine between normal and line of sight in the photo.
        seen: (V,) 0..1, how well the photo shows each vertex.
    """

    screen: Array
    facing: Array
    seen: Array


def bind(face: Captured) -> Bound:
    """Lay the fitted rig onto the detected landmarks of a photo."""
    source = face.performance
    identity = torch.from_numpy(np.array(source.identity["facs"], np.float32))[None]
    head = _vertices(load_rig(), source.controls[:1], identity)[0]
    turn = axis_angle_to_matrix(source.head_rotation[0]).astype(np.float32)
    landmarks = np.asarray(face.landmarks[0], np.float32)
    fitted = cameras.transform(turn, source.head_translation[0], head)
    exact, smooth = _correction(fitted, landmarks, source.camera)
    settle = layout().settle
    laid = Laid(source, identity, exact @ turn + settle, smooth @ turn + settle, landmarks)
    points = laid.poses(source)[0]
    screen = laid.to_screen(points)
    towards = -points / np.linalg.norm(points, axis=1, keepdims=True)
    facing = (surface_normals(points) * towards).sum(1).astype(np.float32)
    seen = _visibility(points, screen, facing, source.camera.size)
    return Bound(source, identity, laid.offset, laid.smooth, landmarks, screen[:, :2].copy(), facing, seen)


def _vertices(rig: FacsRig, controls: Any, identity: Any) -> Array:
    with torch.inference_mode():
        values = torch.as_tensor(np.array(controls, np.float32))
        who = torch.as_tensor(identity, dtype=torch.float32)
        vertices: Array = rig(values, who).numpy()
    return vertices


def surface_normals(points: Array) -> Array:
    """(V, 3) unit vertex normals of a posed head (V, 3)."""
    rig = load_rig()
    normals: Array = vertex_normals(torch.from_numpy(points), rig.faces, rig.weld).numpy()
    return normals


def _correction(fitted: Array, landmarks: Array, camera: Camera) -> tuple[Array, Array]:
    """What moves the fitted landmarks onto the detected ones, parallel to the image; and the same without detail.

    Both (V, 3) metres, camera space.

    A thin-plate spline over the rig with its mouth and eyes open, where upper and lower lips and lids lie apart.
    """
    from scipy.interpolate import RBFInterpolator
    from scipy.spatial import cKDTree

    rig = load_rig()
    marks = rig.landmarks.apply(fitted)
    error = landmarks - cameras.project(camera, marks)
    scale = -marks[:, 2:] / camera.focal
    shift = np.concatenate([error * scale * (1, -1), np.zeros_like(scale)], 1)
    apart = np.zeros((1, len(FACS102.controls)), np.float32)
    apart[0, FACS102.index("jaw_open")] = 0.7
    canonical = _vertices(rig, apart, np.zeros((1, len(rig.identity_space))))[0]
    nodes = rig.landmarks.apply(canonical)[:468]
    weight = np.maximum(rig.landmarks.weight[:468], 0.05)
    spline = RBFInterpolator(
        nodes * 100,
        shift[:468],
        neighbors=48,
        kernel="thin_plate_spline",
        smoothing=_STIFFNESS / weight**2,
        degree=1,
    )
    distance, nearest = cKDTree(nodes).query(canonical, k=_BROAD_COUNT)
    fade = ramp(_SPREAD - distance[:, 0], 0.0, _SPREAD - 0.01)
    share = np.exp(-((distance / _BROAD) ** 2)) + 1e-6
    broad = np.einsum("vk,vkc->vc", share / share.sum(1, keepdims=True), shift[nearest]) * fade[:, None]
    out: Array = (spline(canonical * 100) * fade[:, None]).astype(np.float32)
    inside = layout().inside_mouth
    out[inside] = shift[list(LIPS_OUTER)].mean(0)  # stiff: what lies behind the lips does not bend with them
    return out, broad.astype(np.float32)


def _visibility(points: Array, screen: Array, facing: Array, size: tuple[int, int]) -> Array:
    """(V,) 0..1 how well the photo shows each vertex."""
    triangle, (depth,) = draw_attributes(screen, layout().faces, -points[:, 2:], size)
    depth = np.where(triangle < 0, np.float32(np.inf), depth)
    column = np.clip(screen[:, 0].astype(int), 0, size[0] - 1)
    row = np.clip(screen[:, 1].astype(int), 0, size[1] - 1)
    covered = -points[:, 2] > depth[row, column] + _BEHIND
    inside = np.all((screen[:, :2] > 0) & (screen[:, :2] < size), axis=1)
    out: Array = (ramp(facing, *_FACING) * (~covered & inside)).astype(np.float32)
    return out


@cache
def _neighbours() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both directions of every edge, as welded vertices."""
    weld = load_rig().weld.numpy()
    corners = weld[layout().faces]
    edges = np.unique(
        np.sort(np.concatenate([corners[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]), axis=1), axis=0
    )
    return np.concatenate([edges[:, 0], edges[:, 1]]), np.concatenate([edges[:, 1], edges[:, 0]])


def smoothed(values: Array, rounds: int) -> Array:
    """(V,) values averaged over the mesh's neighbours a number of times."""
    weld = load_rig().weld.numpy()
    here, there = _neighbours()
    count = np.maximum(np.bincount(here, minlength=len(values)), 1)
    out = values[weld].astype(np.float64)
    for _ in range(rounds):
        out = 0.5 * out + 0.5 * np.bincount(here, out[there], minlength=len(values)) / count
        out = out[weld]
    return out.astype(np.float32)


def widened(values: Array) -> Array:
    """(V,) the largest value of each vertex and its neighbours."""
    weld = load_rig().weld.numpy()
    here, there = _neighbours()
    out = values[weld].copy()
    np.maximum.at(out, here, values[weld][there])
    widest: Array = out[weld]
    return widest


def ramp(values: Any, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high``, smooth between."""
    share = np.clip((np.asarray(values) - low) / (high - low), 0, 1)
    out: Array = (share * share * (3 - 2 * share)).astype(np.float32)
    return out
