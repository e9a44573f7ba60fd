"""One head of the puppet: posed, drawn with the photo's own pixels, and laid over a frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from omote.drive.puppet.binding import Bound, layout, ramp, smoothed, surface_normals, widened
from omote.drive.puppet.eyes import eye_plate
from omote.drive.puppet.grain import blur_of, grain_of, match
from omote.drive.puppet.mouth import Opening, interior_light, lip_colour, mouth_plate, tint_interior
from omote.drive.puppet.relight import Light
from omote.performance import Performance
from omote.render.attributes import draw_attributes
from omote.rigs.contours import EYE, LIPS_OUTER
from omote.rigs.facs import load_rig

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

_ATLAS = 1024
_STEP, _FINE_STEP = 64, 32
"""Boxes grow in steps of this many pixels, so that the rasteriser's workspaces are used again."""
_FINER = 2
"""Samples a pixel, along each side, around eyes and mouth."""
_SHOWS_INSIDE = (0.004, 0.008)
"""Metres between the lips at which the photo begins to show, and shows, what is inside."""
_LIP_LINE, _LIP_SHARE = 0.004, 0.85
"""Metres behind the lips' middle within which the mouth's wall is lip, and how much of it comes from the photo."""
_ISLANDS, _COVERS = 10, (0.4, 0.9)
"""Rounds of smoothing that remove patches of ear and neck that are seen between hidden ones; and how well what is
around a vertex has to be seen for the head to begin to cover, and to cover, the surroundings there."""
_DEEPER = (0.004, 0.012)
"""Metres by which the lips have to be further apart than in the photo to begin to show, and to show, other things."""
_BRIGHTEST = 1.15


@dataclass(frozen=True)
class Pose:
    """A head in one frame.

    Attributes:
        screen: (V, 3) x px, y px, 1/depth.
        taken: (V,) 0..1 share of the plates against the fill.
        light: (V,) factor of brightness.
        depth: metres of the head's middle.
    """

    screen: Array
    taken: Array
    light: Array
    depth: float


@dataclass(frozen=True)
class Head:
    """A bound face with everything its pixels come from.

    Attributes:
        bound: the rig on the photo.
        plates: (H', W', 3) the photo, and below it the completed eyes.
        place: (V, 2) px in the plates that each vertex shows.
        fill: (S, S, 3) uint8 atlas for what the photo does not show.
        taken: (V,) 0..1 share of the plates against the fill.
        cover: (V,) 0..1 share of the head against the surroundings.
        light: (V,) factor of brightness inside the mouth in the photo.
        lamp: the photo's light.
        lit: (V,) irradiance in the photo.
        opening: metres between the lips in the photo.
    """

    bound: Bound
    plates: Image
    place: Array
    fill: Image
    taken: Array
    cover: Array
    light: Array
    lamp: Light
    lit: Array
    opening: float

    @classmethod
    def build(cls, bound: Bound, photo: Image) -> Head:
        """Complete what the photo hides of one face."""
        from omote.render.texture import complete, unproject

        table = layout()
        points = bound.poses(bound.source)[0]
        fill = complete(unproject(photo, points, bound.camera, size=_ATLAS)).to_uint8()
        skin_shown = table.is_part("skin") & (bound.seen > 0.9) & (table.interior > 0.9)
        column, row = bound.screen[skin_shown].astype(int).T
        skin = np.median(photo[row, column], axis=0).astype(np.float32)

        place, taken = bound.screen.copy(), bound.seen.copy()
        plates, top, whites = [photo], len(photo), []
        for side in "LR":
            plate = eye_plate(bound, photo, side, skin)
            ball = table.is_part(f"eye_{side}")
            place[ball] += np.array((0, top), np.float32) - plate.corner
            taken[ball] = 1
            plates.append(plate.picture)
            top += len(plate.picture)
            if plate.white is not None:
                whites.append(plate.white)
        opening = Opening.of(points)
        shows_inside = float(ramp(opening.height, *_SHOWS_INSIDE))
        taken[table.inside_mouth] = shows_inside
        if shows_inside > 0:
            plate = mouth_plate(bound.landmarks, photo)
            place[table.inside_mouth] += np.array((0, top), np.float32) - plate.corner
            plates.append(plate.picture)
        wide = max(plate.shape[1] for plate in plates)
        padded = [cv2.copyMakeBorder(p, 0, 0, 0, wide - p.shape[1], cv2.BORDER_REPLICATE) for p in plates]
        white = np.mean(whites, axis=0) if whites else None
        painted = tint_interior(fill, skin, lip_colour(photo, bound.landmarks), white)
        face = np.zeros(photo.shape[:2], np.uint8)
        cv2.fillConvexPoly(face, cv2.convexHull(np.round(bound.landmarks).astype(np.int32)), 1)
        match(fill, painted, _texels_a_pixel(bound), blur_of(photo, face > 0), grain_of(photo, face > 0))
        taken[table.is_part("eye_socket")] = 1  # the photo's lid margins, drawn out
        skin_part = table.is_part("skin")
        # Beside an edge that hides what is behind it, the photo shows what hides it: right as long as nothing moves.
        taken = np.where(skin_part, np.maximum(widened(taken), 1 - table.interior), taken)
        if shows_inside == 0:
            lips = points[:, 2] > opening.centre[2] - _LIP_LINE
            taken = np.where(table.is_part("mouth") & lips, _LIP_SHARE, taken)
        shown_around = np.minimum(bound.seen, smoothed(bound.seen, _ISLANDS))
        cover = np.where(
            skin_part, np.maximum(table.interior, ramp(shown_around, *_COVERS) * table.on_head), 1
        )
        light = interior_light(points, bound.forward(bound.source)[0], opening)
        normals = surface_normals(points)
        shown = np.clip(bound.screen, 0, np.array(photo.shape[1::-1]) - 1).astype(int)
        soft = cv2.GaussianBlur(photo, (0, 0), max(photo.shape) / 256)
        lamp = Light.estimate(
            soft[shown[:, 1], shown[:, 0]].astype(np.float32),
            normals,
            bound.seen * table.interior * table.is_part("skin"),
        )
        return cls(
            bound,
            np.concatenate(padded),
            place,
            fill,
            taken,
            cover.astype(np.float32),
            light,
            lamp,
            lamp.on(normals),
            opening.height,
        )

    def pose(self, motion: Performance) -> list[Pose]:
        """The head in each frame of a motion."""
        poses = []
        for points, forward in zip(self.bound.poses(motion), self.bound.forward(motion), strict=True):
            screen = self.bound.to_screen(points)
            opening = Opening.of(points)
            light = interior_light(points, forward, opening)
            # A mouth that opens wider shows more of its depth than the photo does.
            deeper = float(ramp(opening.height - self.opening, *_DEEPER))
            taken = self.taken * (1 - deeper * (layout().inside_mouth & ~layout().is_part("teeth_upper")))
            # What was taken from the photo has the photo's light in it.
            light = np.minimum(light / (taken * self.light + 1 - taken), _BRIGHTEST)
            turned = self.lamp.change(self.lit, surface_normals(points))
            light = light * np.where(layout().is_part("skin"), turned, 1)
            poses.append(Pose(screen, taken, light, float(-points[:, 2].mean())))
        return poses

    def draw(self, frame: Image, pose: Pose) -> None:
        """Lay the head over a frame (H, W, 3), in place."""
        box = self._box(pose, np.flatnonzero(self.cover > 0), frame.shape, _STEP)
        if box is None:
            return
        table = layout()
        values = np.column_stack([self.place, pose.taken, self.cover, table.uv, pose.light])
        colour, cover = self._pixels(pose.screen, values, box, 1)
        x, y = box[:2]
        for vertices in _fine_parts():
            small = self._box(pose, vertices, frame.shape, _FINE_STEP)
            if small is None:
                continue
            left, top = small[0] - x, small[1] - y
            fine, fine_cover = self._pixels(pose.screen, values, small, _FINER)
            target = (slice(max(top, 0), top + small[3]), slice(max(left, 0), left + small[2]))
            height, width = colour[target].shape[:2]
            colour[target] = fine[:height, :width]
            cover[target] = fine_cover[:height, :width]
        part = frame[y : y + box[3], x : x + box[2]]
        height, width = part.shape[:2]
        cover, colour = (
            np.ascontiguousarray(cover[:height, :width]),
            np.ascontiguousarray(colour[:height, :width]),
        )
        part[:] = cv2.blendLinear(colour, np.ascontiguousarray(part), cover, 1 - cover)

    def _pixels(
        self,
        screen: Array,
        values: Array,
        box: tuple[int, int, int, int],
        finer: int,
    ) -> tuple[Image, Array]:
        """Colour (h, w, 3) and cover (h, w) in a box, from ``finer`` x ``finer`` samples a pixel."""
        x, y, width, height = box
        moved = (screen - np.array((x, y, 0), np.float32)) * np.array((finer, finer, 1), np.float32)
        triangle, planes = draw_attributes(moved, layout().faces, values, (width * finer, height * finer))
        across, down, taken, cover, u, v, light = planes
        photo = cv2.remap(
            self.plates, across - 0.5, down - 0.5, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        fill = cv2.remap(
            self.fill, u * _ATLAS - 0.5, v * _ATLAS - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        colour = cv2.blendLinear(photo, fill, taken, 1 - taken)
        if light.min() < 1 or light.max() > 1:
            colour = cv2.multiply(colour, cv2.merge([light] * 3), dtype=cv2.CV_8U)
        if finer > 1:  # samples beside the head have no colour and must not darken its outline
            share = cv2.resize(
                (triangle >= 0).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
            )
            colour[triangle < 0] = 0
            colour = cv2.resize(colour, (width, height), interpolation=cv2.INTER_AREA)
            if share.min() < 1:
                scale = np.where(share > 0, 1 / np.maximum(share, 1e-3), 0).astype(np.float32)
                colour = cv2.multiply(colour, cv2.merge([scale] * 3), dtype=cv2.CV_8U)
            cover = cv2.resize(cover, (width, height), interpolation=cv2.INTER_AREA)
        return colour, cover

    @staticmethod
    def _box(
        pose: Pose, vertices: NDArray[np.int64], shape: tuple[int, ...], step: int
    ) -> tuple[int, int, int, int] | None:
        """x, y, width and height px around vertices, in steps; None if they lie outside the frame."""
        points = pose.screen[vertices, :2]
        low = np.maximum(np.floor(points.min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(points.max(0)).astype(int) + 1, (shape[1], shape[0]))
        if np.any(high <= low):
            return None
        width, height = (int(np.ceil(n / step) * step) for n in high - low)
        return int(low[0]), int(low[1]), width, height


def _texels_a_pixel(bound: Bound) -> float:
    """Of the atlas, on the part of the face that the photo shows."""
    table = layout()
    shown = table.faces[(bound.seen[table.faces].min(1) > 0.5) & (table.interior[table.faces].min(1) > 0.5)]
    if not len(shown):
        return 1.0
    lengths = [
        np.linalg.norm(places[shown[:, 1]] - places[shown[:, 0]], axis=1)
        for places in (table.uv * _ATLAS, bound.screen)
    ]
    return float(np.median(lengths[0] / np.maximum(lengths[1], 1e-3)))


@cache
def _fine_parts() -> tuple[NDArray[np.int64], ...]:
    """Vertices around each eye and the mouth, where parts meet in thin edges."""
    marks = load_rig().landmarks.vertices
    return tuple(np.unique(marks[list(contour)]) for contour in (EYE["L"], EYE["R"], LIPS_OUTER))
