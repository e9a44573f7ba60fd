"""The parts of an overlay: which piece of the picture, contours, the fitted head on it, captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError
from omote.geometry.rotations import axis_angle_to_matrix
from omote.performance import Camera, Performance
from omote.rigs.contours import BROW, EYE, LIPS_INNER, LIPS_OUTER, NOSE_BASE, NOSE_BRIDGE, OVAL

if TYPE_CHECKING:
    import torch

    from omote.rigs.landmarks import LandmarkEmbedding
    from omote.rigs.protocol import Rig

Picture = NDArray[np.uint8]
Points = NDArray[np.floating[Any]]
Box = tuple[float, float, float, float]

NEUTRAL = (0.855, 0.865, 0.875)
"""Behind the fitted head, sRGB."""
DOT, IRIS, LINE, FITTED = (255, 222, 120), (110, 228, 255), (255, 255, 255), (255, 236, 160)
_ROOM = 0.48
"""Room around the landmarks, as a share of the larger side of their box."""
_SHIFT = 4
"""OpenCV's sub-pixel bits for line ends."""
_CLAY = (0.72, 0.53, 0.44)
"""Of a rig without colours, sRGB."""

_CLOSED = (OVAL, LIPS_OUTER, LIPS_INNER, *EYE.values(), *BROW.values())
_OPEN = (NOSE_BRIDGE, NOSE_BASE)


@cache
def _segments() -> NDArray[np.int64]:
    """(S, 2) landmark numbers of every contour segment."""
    lines = [*((*numbers, numbers[0]) for numbers in _CLOSED), *_OPEN]
    return np.array([pair for line in lines for pair in pairwise(line)])


@dataclass(frozen=True)
class Crop:
    """A piece of the picture, ``box`` (x0, y0, x1, y1) pixels, shown ``size`` (w, h) pixels large."""

    box: Box
    size: tuple[int, int]

    @property
    def scale(self) -> float:
        """Shown pixels for each pixel of the picture."""
        return self.size[1] / (self.box[3] - self.box[1])

    @classmethod
    def around(cls, points: Sequence[Points], size: tuple[int, int], longest: int) -> Crop:
        """The faces with room around them, or the whole picture if there are no points or the faces fill it.

        Args:
            points: for each face (T, K, 2) pixels, NaN where there is none; the box holds 90 % of the frames.
            size: (w, h) of the picture, pixels.
            longest: longer side of the crop as shown, pixels.
        """
        boxes = []
        for track in points:
            seen = track[np.isfinite(track).all(axis=(1, 2))]
            if len(seen):
                low, high = seen.min(1), seen.max(1)
                boxes.append([*np.percentile(low, 5, axis=0), *np.percentile(high, 95, axis=0)])
        width, height = size
        box = (0.0, 0.0, float(width), float(height))
        if boxes:
            (x0, y0), (x1, y1) = np.min(boxes, axis=0)[:2], np.max(boxes, axis=0)[2:]
            half = (0.5 + _ROOM) * max(float(x1 - x0), float(y1 - y0), 4.0)
            cx, cy = (
                (x0 + x1) / 2,
                (y0 + y1) / 2 - 0.08 * (y1 - y0),
            )  # hair and forehead are above the landmarks
            left, top = max(0.0, float(cx) - half), max(0.0, float(cy) - half)
            right, bottom = min(float(width), float(cx) + half), min(float(height), float(cy) + half)
            if right - left > 4 and bottom - top > 4:
                box = (left, top, right, bottom)
        wide, high_ = box[2] - box[0], box[3] - box[1]
        scale = longest / max(wide, high_)
        return cls(box, (2 * max(8, round(wide * scale / 2)), 2 * max(8, round(high_ * scale / 2))))

    def cut(self, picture: Picture, width: int) -> Picture:
        """This piece of a picture; ``width`` is that of the picture the box speaks of, whatever size it comes in."""
        import cv2

        own = picture.shape[1] / width / self.scale  # pixels of ``picture`` for each shown one
        if own > 1.0:  # average first, so that a warp of at most the same size does not alias
            height, wide = picture.shape[:2]
            smaller = (max(1, round(wide / own)), max(1, round(height / own)))
            picture = np.asarray(cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA), np.uint8)
            own = picture.shape[1] / width / self.scale
        corner = np.array(self.box[:2]) * picture.shape[1] / width
        shift = corner + own * 0.5 - 0.5  # OpenCV counts from pixel centres
        matrix = np.array([[own, 0, shift[0]], [0, own, shift[1]]])
        flags = (cv2.INTER_CUBIC if own < 0.7 else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(picture, matrix, self.size, None, flags, cv2.BORDER_REPLICATE), np.uint8
        )

    def place(self, points: Points) -> NDArray[np.float64]:
        """(..., 2) pixels of the picture to pixels of the piece as shown."""
        return (np.asarray(points, np.float64) - self.box[:2]) * self.scale

    def camera(self, camera: Camera) -> Camera:
        """What the take's camera is for this piece as shown."""
        cx, cy = self.place(np.array(camera.principal))
        return Camera(camera.focal * self.scale, (float(cx), float(cy)), self.size)


def draw_contours(
    picture: Picture,
    points: Points,
    *,
    colour: tuple[int, int, int] = LINE,
    opacity: float = 0.8,
    hidden: NDArray[np.bool_] | None = None,
) -> Picture:
    """Thin anti-aliased eyes, lips, brows, nose and face oval.

    Args:
        picture: (H, W, 3) uint8.
        points: (478, 2) pixels of it.
        colour: sRGB; irises have their own.
        opacity: 0..1.
        hidden: (478,) points whose lines are left out.
    """
    import cv2

    pairs = _segments()
    if hidden is not None:
        pairs = pairs[~hidden[pairs].any(1)]
    layer = np.ascontiguousarray(picture)
    drawn = layer.copy()
    thick = 1 if np.ptp(points[:468, 1]) < 420 else 2
    ends = np.round((points[pairs] - 0.5) * 2**_SHIFT).astype(np.int32)
    cv2.polylines(drawn, list(ends), False, colour, thick, cv2.LINE_AA, _SHIFT)
    for first in (468, 473):
        if hidden is None or not hidden[first]:
            centre = np.round((points[first] - 0.5) * 2**_SHIFT).astype(int).tolist()
            radius = float(np.linalg.norm(points[first + 1 : first + 5] - points[first], axis=1).mean())
            cv2.circle(drawn, centre, round(radius * 2**_SHIFT), IRIS, thick, cv2.LINE_AA, _SHIFT)
    return np.asarray(cv2.addWeighted(drawn, opacity, layer, 1 - opacity, 0), np.uint8)


def draw_dots(picture: Picture, points: Points) -> Picture:
    """The 478 landmarks as small anti-aliased dots."""
    import cv2

    drawn = np.ascontiguousarray(picture).copy()
    radius = float(np.clip(np.ptp(points[:468, 1]) / 330, 0.7, 2.2))
    spots = np.round((points - 0.5) * 2**_SHIFT).astype(int).tolist()
    for index, spot in enumerate(spots):
        colour = IRIS if index >= 468 else DOT
        cv2.circle(drawn, spot, round(radius * 2**_SHIFT), colour, -1, cv2.LINE_AA, _SHIFT)
    return drawn


def caption(picture: Picture, text: str) -> Picture:
    """The picture with a small caption in its lower left corner."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    size = max(11, round(max(image.size) / 44))
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image, "RGBA")
    left, top, right, bottom = draw.textbbox(
        (size * 0.9, image.height - size * 0.75), text, font, anchor="ls"
    )
    pad = size * 0.4
    draw.rounded_rectangle((left - pad, top - pad, right + pad, bottom + pad), pad, fill=(16, 18, 22, 150))
    draw.text((size * 0.9, image.height - size * 0.75), text, (245, 245, 245, 255), font, anchor="ls")
    return np.array(image)


class HeadPainter:
    """Draws the head of takes: on a neutral ground, and over the picture.

    Args:
        rig: of takes in the controls of another rig, with landmarks; None draws the embedded one.

    Raises:
        InputError: the rig has no landmarks.
    """

    rig: Rig
    landmarks: LandmarkEmbedding
    _lashes: torch.Tensor | None

    FADE = (-0.042, 0.012)
    """Head-space z in metres over which the overlaid head fades in from the back."""
    OPACITY, WIRES = 0.62, 0.22

    def __init__(self, rig: Rig | None = None) -> None:
        if rig is None:
            self._paint_embedded()
        else:
            self._paint(rig)

    def _paint(self, rig: Rig) -> None:
        """Make ready to draw any rig: in its own colours or in clay, over the picture the face alone."""
        from omote.render.texture_sampling import Albedo
        from omote.rigs.regions import face_region

        if rig.landmarks is None:
            raise InputError(
                "its landmarks were not looked for", where=rig.name, remedy="Call rig_landmarks."
            )
        colours = getattr(rig, "colours", None)
        self.rig, self.landmarks = rig, rig.landmarks
        self.albedo = Albedo.from_srgb(np.asarray(_CLAY if colours is None else colours))
        faces, shown = rig.faces.numpy(), face_region(rig)
        kept = shown[faces].all(1)
        self._share = np.append(kept, False).astype(np.float32)
        edges = np.sort(np.concatenate([faces[kept][:, [k, (k + 1) % 3]] for k in range(3)]), 1)
        self._edges = np.unique(edges, axis=0)
        self._shown = np.flatnonzero(shown)
        self._lashes = None

    def _paint_embedded(self) -> None:
        """Make ready to draw the embedded rig: its skin painted, over the picture fading in from the back."""
        import torch

        from omote.render.albedo import paint_albedo
        from omote.render.texture_sampling import Albedo
        from omote.rigs.facs import load_rig

        rig = load_rig()
        self.rig, self.landmarks = rig, rig.landmarks
        self.albedo = Albedo.from_srgb(paint_albedo(size=1024))
        rest = rig.template[rig.expand].numpy()
        faces = rig.faces.numpy()
        centre = rest[faces].mean(1)
        crown = float(rig.landmarks.apply(rest)[10, 1])
        depth = _smoothstep(centre[:, 2], *self.FADE)
        self._share = np.append(depth * (1 - _smoothstep(centre[:, 1], crown + 0.005, crown + 0.055)), 0)
        self._share = self._share.astype(np.float32)  # the last entry is for empty pixels (triangle -1)
        skin = rig.face_part.numpy() == rig.part_names.index("skin")
        kept = (skin & (self._share[:-1] > 0.5)).reshape(-1, 2).any(1)
        quads = rig.quads.numpy()[kept]
        edges = np.sort(np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)]), 1)
        weld = rig.weld.numpy()[edges]
        self._edges = edges[np.unique(np.sort(weld, 1), axis=0, return_index=True)[1]]
        self._shown = np.unique(faces[self._share[:-1] > 0])
        lashes = np.where(rig.face_part.numpy() == rig.part_names.index("lashes"), 0.75, 1.0).astype(
            np.float32
        )
        self._lashes = torch.from_numpy(lashes)

    def vertices(self, take: Performance, frames: Sequence[int]) -> NDArray[np.float32]:
        """(N, V, 3) metres, camera space, of some frames of a take."""
        import torch

        index, space = list(frames), self.rig.space
        controls = take.controls[index]
        if take.space.names != space.names:
            controls = take.space.convert(controls, to=space)
        identity = take.identity.get(self.rig.name, np.zeros(len(self.rig.identity_space), np.float32))
        with torch.no_grad():
            head = self.rig(torch.tensor(controls), torch.tensor(identity)[None]).numpy()
        turn = np.asarray(axis_angle_to_matrix(take.head_rotation[index].astype(np.float64)))
        moved = np.einsum("tvj,tij->tvi", head, turn) + take.head_translation[index][:, None]
        return np.asarray(moved, np.float32)

    def render(self, vertices: NDArray[np.float32], camera: Camera, supersample: int) -> Any:
        """`Buffers` of a head (V, 3) in camera space, painted, over nothing."""
        from omote.render.scene import render_mesh

        rig = self.rig
        return render_mesh(
            vertices,
            rig.faces,
            camera,
            uv=rig.uv,
            weld=rig.weld,
            albedo=self.albedo,
            face_alpha=self._lashes if supersample > 1 else None,  # a second layer takes half as long again
            supersample=supersample,
        )

    def window(self, vertices: NDArray[np.float32], camera: Camera) -> tuple[int, int, int, int] | None:
        """(x0, y0, x1, y1) pixels that hold what `over_picture` shows of a head (V, 3); None if that is nothing."""
        spots = _project(vertices[self._shown], camera)
        x0, y0 = np.maximum(np.floor(spots.min(0)).astype(int) - 8, 0).tolist()
        x1, y1 = np.minimum(np.ceil(spots.max(0)).astype(int) + 8, camera.size).tolist()
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def over_picture(
        self, picture: Picture, drawn: Any, vertices: NDArray[np.float32], camera: Camera
    ) -> Picture:
        """The head half transparent over the picture, with fine wires and the contours of the fit."""
        import cv2

        share = cv2.GaussianBlur(self._share[drawn.triangle_id] * drawn.alpha, (0, 0), 2.0)
        share = np.minimum(share, drawn.alpha)
        marks = self.landmarks.apply(vertices)
        spots = _project(marks, camera)
        size = float(np.clip(np.ptp(spots[:468, 1]) / 400, 0.35, 1.0))  # fainter lines on small faces
        wires = self._wires(drawn, vertices, camera) * share * (self.WIRES * size)
        below = picture.astype(np.float32)
        mixed = below + (drawn.rgb * 255 - below) * (share * self.OPACITY)[..., None]
        mixed += (255 - mixed) * wires[..., None]
        result = np.asarray(cv2.convertScaleAbs(mixed), np.uint8)
        hidden = self._hidden(drawn.depth, marks, camera, 0.02)
        return draw_contours(result, spots, colour=FITTED, opacity=0.35 + 0.4 * size, hidden=hidden)

    def _wires(self, drawn: Any, vertices: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
        import cv2

        seen = ~self._hidden(drawn.depth, vertices, camera, 0.003)
        edges = self._edges[seen[self._edges].all(1)]
        spots = np.round((_project(vertices, camera) - 0.5) * 2**_SHIFT).astype(np.int32)
        mask = np.zeros(drawn.alpha.shape, np.uint8)
        cv2.polylines(mask, list(spots[edges]), False, 255, 1, cv2.LINE_AA, _SHIFT)
        return np.asarray(mask / np.float32(255), np.float32)

    @staticmethod
    def _hidden(
        depth: NDArray[np.float32], points: NDArray[np.float32], camera: Camera, slack: float
    ) -> NDArray[np.bool_]:
        """(K,) whether points (K, 3) lie more than ``slack`` metres behind what is drawn, or outside the picture."""
        x, y = np.floor(_project(points, camera)).astype(np.int64).T
        inside = (x >= 0) & (y >= 0) & (x < depth.shape[1]) & (y < depth.shape[0])
        front = depth[y.clip(0, depth.shape[0] - 1), x.clip(0, depth.shape[1] - 1)]
        return np.asarray(~inside | ((front > 0) & (-points[:, 2] > front + slack)))


def _project(points: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    scale = camera.focal / np.maximum(-points[:, 2:], 1e-3)
    return np.asarray(points[:, :2] * scale * (1.0, -1.0) + camera.principal, np.float32)


def _smoothstep(values: Points, low: float, high: float) -> NDArray[np.float64]:
    share = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float64)
