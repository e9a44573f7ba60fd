"""How a capture sits on the face, for people to look at: picture | landmarks | fitted head | overlay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from omote.errors import InputError
from omote.geometry.rotations import axis_angle_to_matrix
from omote.performance import Camera, Performance

if TYPE_CHECKING:
    from omote.rigs.facs import FacsRig

Picture = NDArray[np.uint8]

BACKGROUND = (0.86, 0.87, 0.88)
"""Behind the fitted head, sRGB."""
CLAY = (0.30, 0.72, 0.86)
"""Colour of the overlaid head, sRGB."""
DOT, IRIS_DOT = (255, 214, 92), (92, 220, 255)
IRIS = 468
"""Landmarks from this one on are the irises'."""
MARGIN = 0.48
"""Room around the landmarks, as a share of the larger side of their box."""
_FADE = (-0.035, 0.02)
"""Head-space z in metres over which the overlaid head fades in from the back."""
_OVERLAID = 0.62
_CLAY_LIGHT = np.array([-0.36, 0.48, 0.80], np.float32)
_DIMMED = 0.55


@dataclass(frozen=True)
class _Placed:
    """A head in camera space, metres: vertices (V, 3), rotation (3, 3), translation (3,), and what sees it."""

    vertices: NDArray[np.float32]
    rotation: NDArray[np.float64]
    translation: NDArray[np.float32]
    camera: Camera


class Preview:
    """Draws the four panels for each frame of a take, always of the same part of the picture.

    Args:
        performances: one for each face, frame by frame alike, in the controls of the embedded rig.
        landmarks: for each face (T, N, 2) pixels of the picture, NaN where no face was found.
        size: (w, h) of the picture, pixels.
        height: of the result, pixels; the result is four panels wide. Rounded to an even number.

    Raises:
        InputError: no face, or lengths that do not fit.
    """

    def __init__(
        self,
        performances: Sequence[Performance],
        landmarks: Sequence[NDArray[np.floating[Any]]],
        size: tuple[int, int],
        height: int = 512,
    ) -> None:
        from omote.rigs.facs import load_rig

        if not performances or len(performances) != len(landmarks):
            raise InputError(
                f"{len(performances)} performances and {len(landmarks)} sets of landmarks do not fit"
            )
        self._takes, self._landmarks = performances, landmarks
        self._rig: FacsRig = load_rig()
        self._faces, self._uv = self._rig.faces.numpy(), self._rig.uv.numpy()
        self._weld = self._rig.weld.numpy()
        self._albedo: Any = None
        self._box = _crop(landmarks, size)
        x0, y0, x1, y1 = self._box
        self._scale = height / (y1 - y0)
        self.panel = (2 * max(8, round((x1 - x0) * self._scale / 2)), 2 * max(8, round(height / 2)))

    @property
    def size(self) -> tuple[int, int]:
        """(w, h) of the result, pixels; both even."""
        return 4 * self.panel[0], self.panel[1]

    def draw(self, picture: Picture, frame: int = 0) -> Picture:
        """The panels of one frame.

        Args:
            picture: (h, w, 3) uint8 RGB, or a smaller or larger version of it.
            frame: which frame of the take.

        Returns:
            (height, 4 * width, 3) uint8 RGB.
        """
        photo = self._cut(picture)
        dots = self._draw_landmarks(photo, frame)
        head: NDArray[np.float32] = np.full(photo.shape, BACKGROUND, np.float32)
        overlay = np.asarray(photo / np.float32(255), np.float32)
        order = sorted(
            range(len(self._takes)), key=lambda k: float(self._takes[k].head_translation[frame, 2])
        )
        for number in order:  # the farthest face first
            if self._takes[number].confidence[frame] > 0:
                seen, front = self._render(self._place(number, frame))
                head = _blend(head, seen.rgb, seen.alpha)
                overlay = _blend(overlay, _clay(seen.normal_camera), _OVERLAID * front * seen.alpha)
        drawn = np.round(np.clip(np.concatenate([head, overlay], axis=1), 0, 1) * 255).astype(np.uint8)
        return np.concatenate([photo, dots, drawn], axis=1)

    def _cut(self, picture: Picture) -> Picture:
        x0, y0, x1, y1 = self._box
        width = self._takes[0].camera.size[0]
        own = picture.shape[1] / width
        box = (x0 * own, y0 * own, x1 * own, y1 * own)
        image = Image.fromarray(picture)
        return np.asarray(image.resize(self.panel, Image.Resampling.LANCZOS, box=box, reducing_gap=2.0))

    def _draw_landmarks(self, photo: Picture, frame: int) -> Picture:
        double = Image.fromarray((photo * _DIMMED).astype(np.uint8)).resize(
            (2 * self.panel[0], 2 * self.panel[1]), Image.Resampling.BILINEAR
        )
        draw = ImageDraw.Draw(double)
        for points in self._landmarks:
            if not np.isfinite(points[frame]).all():
                continue
            spots = 2 * self._scale * (points[frame] - self._box[:2])
            radius = float(np.clip(np.ptp(spots[:, 1]) / 260, 1.0, 4.0))
            for index, (x, y) in enumerate(spots.tolist()):
                colour = IRIS_DOT if index >= IRIS else DOT
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        return np.asarray(double.resize(self.panel, Image.Resampling.BOX))

    def _painted(self) -> Any:
        from omote.render.albedo import paint_albedo
        from omote.render.texture_sampling import Albedo

        if self._albedo is None:
            self._albedo = Albedo.from_srgb(paint_albedo())
        return self._albedo

    def _place(self, number: int, frame: int) -> _Placed:
        """One face's head in camera space."""
        import torch

        take = self._takes[number]
        identity = take.identity.get("facs", np.zeros(len(self._rig.identity_space), np.float32))
        with torch.no_grad():
            head = self._rig(torch.tensor(take.controls[frame : frame + 1]), torch.tensor(identity)[None])[
                0
            ].numpy()
        turn = np.asarray(axis_angle_to_matrix(take.head_rotation[frame].astype(np.float64)))
        vertices = (head @ turn.T + take.head_translation[frame]).astype(np.float32)
        return _Placed(vertices, turn, take.head_translation[frame], take.camera)

    def _render(self, placed: _Placed) -> tuple[Any, NDArray[np.float32]]:
        """The painted head over nothing, and (H, W) how far each pixel belongs to the front of the head, 0..1."""
        from omote.render.scene import render_mesh

        own, (x0, y0), (cx, cy) = placed.camera, self._box[:2], placed.camera.principal
        principal = ((cx - x0) * self._scale, (cy - y0) * self._scale)
        camera = Camera(own.focal * self._scale, principal, self.panel)
        drawn = render_mesh(
            placed.vertices, self._faces, camera, uv=self._uv, albedo=self._painted(), weld=self._weld
        )
        rows, columns = np.indices(drawn.alpha.shape, np.float32) + np.float32(0.5)
        rays = np.stack([columns - principal[0], principal[1] - rows, np.full_like(rows, -camera.focal)], -1)
        points = rays * (drawn.depth / camera.focal)[..., None] - placed.translation
        share = np.clip((points @ placed.rotation[:, 2] - _FADE[0]) / (_FADE[1] - _FADE[0]), 0, 1)
        return drawn, np.asarray(share * share * (3 - 2 * share), np.float32)


def _blend(below: NDArray[np.float32], above: Any, alpha: Any) -> NDArray[np.float32]:
    return np.asarray(below + (above - below) * alpha[..., None], np.float32)


def _clay(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) colour of clay lit from the upper left, from (H, W, 3) camera-space normals."""
    light = 0.30 + 0.75 * np.clip(normals @ _CLAY_LIGHT, 0, 1)
    return np.asarray(np.clip(light[..., None] * CLAY, 0, 1), np.float32)


def _crop(
    landmarks: Sequence[NDArray[np.floating[Any]]], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """The part of the picture, (x0, y0, x1, y1) pixels, that shows the faces in most frames, with room around."""
    boxes = []
    for points in landmarks:
        seen = points[np.isfinite(points).all(axis=(1, 2))]
        if len(seen):
            low, high = seen.min(1), seen.max(1)
            boxes.append([*np.percentile(low, 5, axis=0), *np.percentile(high, 95, axis=0)])
    if not boxes:
        return 0.0, 0.0, float(size[0]), float(size[1])
    x0, y0 = np.min(boxes, axis=0)[:2]
    x1, y1 = np.max(boxes, axis=0)[2:]
    half = (0.5 + MARGIN) * max(x1 - x0, y1 - y0, 4.0)
    # Hair and forehead are above the landmarks: the middle moves up a little.
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2 - 0.08 * (y1 - y0)
    left, top = max(0.0, cx - half), max(0.0, cy - half)
    right, bottom = min(float(size[0]), cx + half), min(float(size[1]), cy + half)
    return float(left), float(top), float(max(right, left + 4)), float(max(bottom, top + 4))
