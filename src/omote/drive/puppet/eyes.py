"""Eyeballs without lids: what the photo shows of each eye, completed to all of its front, in the photo's own view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from omote.drive.puppet.binding import Bound
from omote.drive.puppet.plates import Plate, colourfulness, crop, diffuse, opening_mask
from omote.rigs.contours import EYE
from omote.rigs.facs import load_rig
from omote.rigs.landmarks import IRIS_LEFT, IRIS_RIGHT

Array = NDArray[np.float32]

_ROOM = 1.25
"""Half the plate's side, in radii of the eyeball."""
_OPEN = 0.10
"""Height over width of the lid opening below which an eye counts as closed."""
_RIM = 0.06
"""Of the opening's width: what lies nearer to the lids is shadow and lashes, not eyeball."""
_IRIS_ANGLE = 0.49
"""Radians between the gaze and the edge of an average iris (11.7 mm across on a 12.2 mm ball)."""
_PUPIL = 0.42
"""Average pupil, of the iris' radius."""
_EYE_COLOURS = {"pupil": (18, 14, 13), "iris": (84, 60, 44), "sclera": (196, 186, 180)}
"""sRGB of an eye that the photo does not show, for skin of average brightness."""
_SKIN_LEVEL = 165.0
"""That average brightness, sRGB."""


def eye_plate(head: Bound, photo: NDArray[np.uint8], side: str, skin: Array) -> Plate:
    """Complete one eye.

    Args:
        head: the bound face.
        photo: (H, W, 3) uint8.
        side: "L" or "R", the subject's own.
        skin: (3,) sRGB 0..255 of the face, for an eye that is closed in the photo.
    """
    rig = load_rig()
    ball = np.unique(rig.faces.numpy()[rig.face_part.numpy() == rig.part_names.index(f"eye_{side}")])
    points = head.poses(head.source)[0][ball]
    centre = points.mean(0)
    radius = float(np.linalg.norm(points - centre, axis=1).mean())
    half = _ROOM * radius * head.camera.focal / -centre[2]
    middle = head.to_screen(centre[None])[0, :2]
    x0, y0 = (int(np.floor(m - half)) for m in middle)
    width = height = int(np.ceil(2 * half)) + 1
    x, y = np.meshgrid(x0 + np.arange(width) + 0.5, y0 + np.arange(height) + 0.5)
    pixels = np.stack([x, y], -1).astype(np.float32)
    direction = _on_ball(pixels, head, centre, radius)

    opening = head.landmarks[list(EYE[side])]
    iris = head.landmarks[IRIS_LEFT if side == "L" else IRIS_RIGHT]
    gaze = _on_ball(iris[:1], head, centre, radius)[0]
    seen = opening_mask(opening, (x0, y0), (width, height), _RIM)
    edges = np.arccos(np.clip(_on_ball(iris[1:], head, centre, radius) @ gaze, -1, 1))
    iris_angle = float(np.clip(np.median(edges), 0.7 * _IRIS_ANGLE, 1.35 * _IRIS_ANGLE))
    angle = np.arccos(np.clip(direction @ gaze, -1, 1)).astype(np.float32)

    picture = crop(photo, (x0, y0), (width, height)).astype(np.float32)
    closed = np.ptp(opening[:, 1]) < _OPEN * np.ptp(opening[:, 0]) or seen.max() < 0.9
    if closed:
        return Plate(_generic(angle, iris_angle, skin).astype(np.uint8), (x0, y0), None)
    whites = picture[(seen > 0.9) & (angle > 1.2 * iris_angle)]
    white = np.percentile(whites, 70, axis=0).astype(np.float32) if len(whites) > 3 else None
    complete = _completed(picture, seen, angle, iris_angle)
    # Under the lids' edge the photo itself still shows: lashes and the lid's shadow belong to the picture there.
    shown = opening_mask(opening, (x0, y0), (width, height))[..., None]
    return Plate(np.clip(shown * picture + (1 - shown) * complete, 0, 255).astype(np.uint8), (x0, y0), white)


def _on_ball(pixels: Array, head: Bound, centre: Array, radius: float) -> Array:
    """(..., 3) unit directions from the eyeball's centre to where the pixels' rays meet it; its outline beyond."""
    (cx, cy), focal = head.camera.principal, head.camera.focal
    ray = np.stack(
        [(pixels[..., 0] - cx) / focal, (cy - pixels[..., 1]) / focal, -np.ones(pixels.shape[:-1])], -1
    )
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    along = ray @ centre
    short = along**2 - centre @ centre + radius**2
    near = ray * (along - np.sqrt(np.maximum(short, 0)))[..., None] - centre
    out: Array = (near / np.linalg.norm(near, axis=-1, keepdims=True)).astype(np.float32)
    return out


def _completed(picture: Array, seen: Array, angle: Array, iris_angle: float) -> Array:
    """(h, w, 3): iris and pupil from their rings, the white from what is seen of it nearby."""
    rings = np.minimum((angle / iris_angle * 16).astype(int), 19)
    profile = np.zeros((20, 3), np.float32)
    known = np.zeros(20, bool)
    for ring in range(20):
        inside = (rings == ring) & (seen > 0.5)
        if inside.sum() >= 3:
            profile[ring], known[ring] = np.median(picture[inside], axis=0), True
    if known.any():
        profile = np.stack(
            [np.interp(np.arange(20), np.flatnonzero(known), profile[known, c]) for c in range(3)], 1
        ).astype(np.float32)
    ring = np.clip(angle / iris_angle * 16 - 0.5, 0, 18.999)
    low = ring.astype(int)
    share = (ring - low)[..., None]
    iris = profile[low] * (1 - share) + profile[low + 1] * share
    white_seen = seen * (angle > 1.15 * iris_angle)
    white = (
        diffuse(picture, white_seen)
        if (white_seen > 0.5).sum() >= 6
        else np.broadcast_to(profile[-1], picture.shape)
    )
    outside = np.clip((angle / iris_angle - 1.0) / 0.15, 0, 1)[..., None]
    filled = iris * (1 - outside) + white * outside
    blended: Array = (seen[..., None] * picture + (1 - seen[..., None]) * filled).astype(np.float32)
    return blended


def _generic(angle: Array, iris_angle: float, skin: Array) -> Array:
    """(h, w, 3) an ordinary brown eye in the light of the face."""
    light = np.clip(skin / _SKIN_LEVEL, 0.25, 1.15).mean()
    share = angle / iris_angle
    edge = 2.5 / 16
    pupil = np.clip((_PUPIL - share) / edge + 0.5, 0, 1)[..., None]
    white = np.clip((share - 1) / edge + 0.5, 0, 1)[..., None]
    own = colourfulness(skin)
    colours = {}
    for name, colour in _EYE_COLOURS.items():
        grey = float(np.mean(colour))
        colours[name] = (grey + own * (np.array(colour, np.float32) - grey)) * light
    limbus = 1 - 0.35 * np.exp(-(((share - 0.95) / 0.12) ** 2))[..., None]
    iris = colours["iris"] * limbus * (1 - pupil) + colours["pupil"] * pupil
    out: Array = (iris * (1 - white) + colours["sclera"] * white).astype(np.float32)
    return out
