"""Textures of captured photos and videos: pose the head as it was, choose frames, unproject, merge, complete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omote.controls import FACS102
from omote.errors import InputError
from omote.geometry.rotations import axis_angle_to_matrix
from omote.performance import Performance
from omote.render.texture import PhotoTexture, complete, delight, merge, unproject

Floats = NDArray[np.float32]

FRAMES = 4
"""Frames of a video that are merged unless said otherwise."""
_TURN = np.radians(25.0)
"""Difference in head direction that is worth as much as an open against a closed eye."""


def posed_head(performance: Performance, frame: int = 0) -> Floats:
    """(V, 3) metres, camera space: the embedded head as it was in a frame of a take."""
    import torch

    from omote.rigs.facs import load_rig

    rig = load_rig()
    controls = performance.controls[frame][None]
    if performance.space != FACS102:
        controls = performance.space.convert(controls, to=FACS102)
    identity = performance.identity.get("facs", np.zeros(len(rig.identity_space), np.float32))
    with torch.no_grad():
        head = rig(
            torch.tensor(controls, dtype=torch.float32), torch.tensor(identity, dtype=torch.float32)[None]
        )
    turn = axis_angle_to_matrix(performance.head_rotation[frame].astype(np.float64))
    return np.asarray(head[0].numpy() @ turn.T + performance.head_translation[frame], np.float32)


def take_texture(
    views: Iterable[tuple[np.ndarray, Performance, int]], *, size: int = 1024, keep_light: bool = False
) -> PhotoTexture:
    """One completed texture from one or several views of a person.

    Args:
        views: (image (H, W, 3) uint8, take, frame of the take) each; takes may differ (several photos).
        size: width and height of the atlas, texels.
        keep_light: leave the photos' shading in.

    Raises:
        InputError: no views, or an image whose size is not the take's camera's.
    """
    textures = []
    for image, performance, frame in views:
        height, width = image.shape[:2]
        if (width, height) != tuple(performance.camera.size):
            image = _resized(image, performance.camera.size)
        vertices = posed_head(performance, frame)
        texture = unproject(image, vertices, performance.camera, size=size)
        textures.append(texture if keep_light else delight(texture, vertices))
    if not textures:
        raise InputError("there is no view to take a texture from")
    return complete(textures[0] if len(textures) == 1 else merge(textures))


def photo_texture(
    image: np.ndarray,
    performance: Performance,
    frame: int = 0,
    *,
    size: int = 1024,
    keep_light: bool = False,
) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 albedo of a captured photo, for `render_mesh` and ``export.write(..., albedo=...)``.

    Args:
        image: (H, W, 3) uint8 RGB, what was captured.
        performance: its capture.
        frame: which frame of the performance the image is.
        size: width and height of the atlas, texels.
        keep_light: leave the photo's shading in.
    """
    return take_texture([(image, performance, frame)], size=size, keep_light=keep_light).to_uint8()


def video_texture(
    video: str | Path,
    performance: Performance,
    *,
    count: int = FRAMES,
    size: int = 1024,
    keep_light: bool = False,
) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 albedo of a captured video, from its best frames (see `choose_frames`).

    Args:
        video: the file that was captured.
        performance: its capture, a row for each frame.
        count: frames to merge.
        size: width and height of the atlas, texels.
        keep_light: leave the shading in.

    Raises:
        InputError: the video cannot be read or has fewer frames than the performance.
    """
    from omote.media import open_video

    wanted = choose_frames(performance, count)
    views = []
    with open_video(video) as reader:
        for number, (_, picture) in enumerate(reader):
            if number in wanted:
                views.append((picture, performance, number))
            if len(views) == len(wanted):
                break
    if not views:
        raise InputError("has fewer frames than the performance", where=str(video))
    return take_texture(views, size=size, keep_light=keep_light).to_uint8()


def choose_frames(performance: Performance, count: int = FRAMES) -> list[int]:
    """At most ``count`` frames for a texture: eyes open, mouth closed, a calm face, and different head directions.

    The best one comes first; each next one is the best by its own merit and by how far its head direction is from
    those chosen. A view that adds no direction is not added.
    """
    if count < 1:
        raise InputError(f"count is {count}, expected at least 1")
    controls = performance.controls
    if performance.space != FACS102:
        controls = performance.space.convert(controls, to=FACS102)
    merit = _merit(controls, performance.confidence)
    facing = np.asarray(axis_angle_to_matrix(performance.head_rotation.astype(np.float64)))[:, :, 2]
    merit -= 0.8 * np.maximum(1 - facing[:, 2], 0)
    chosen = [int(np.argmax(merit))]
    nearest = np.full(len(merit), np.inf)
    while len(chosen) < count:
        cosine = np.clip(facing @ facing[chosen[-1]], -1, 1)
        nearest = np.minimum(nearest, np.arccos(cosine) / _TURN)
        gain = np.where(
            (nearest > 0.3) & (performance.confidence > 0), merit + np.minimum(nearest, 2.0), -np.inf
        )
        best = int(np.argmax(gain))
        if not np.isfinite(gain[best]):
            break
        chosen.append(best)
    return chosen


def _merit(controls: Floats, confidence: Floats) -> NDArray[np.float64]:
    """(T,) how well frames serve, about -4..1."""

    def value(*names: str) -> NDArray[np.float64]:
        columns: Sequence[int] = [FACS102.index(name) for name in names]
        return np.asarray(controls[:, columns].mean(1), np.float64)

    closed = np.clip(value("lid_close_L", "lid_close_R"), 0, 1)
    mouth = np.clip(value("jaw_open"), 0, 1) + 0.5 * np.clip(value("lips_part"), 0, 1)
    face = [i for i, name in enumerate(FACS102.names) if not name.startswith(("gaze", "head", "lid_close"))]
    effort = np.minimum(np.linalg.norm(controls[:, face], axis=1) / 3.0, 1.0)
    return np.asarray(confidence - 1.5 * closed - 1.5 * mouth - 0.5 * effort, np.float64)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image in the size that the take's camera speaks of; a video may have been decoded smaller.

    Raises:
        InputError: of another shape.
    """
    import cv2

    height, width = image.shape[:2]
    if abs(width / height / (size[0] / size[1]) - 1) > 0.02:
        what = f"the image is {width} x {height}, the take's camera {size[0]} x {size[1]}"
        raise InputError(what, remedy="Pass the picture that was captured.")
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
