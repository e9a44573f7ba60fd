"""Shared by the puppet's tests: heads whose fit is exact because the rig itself drew them, and one real photo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from omote.capture.pipeline import Captured, capture_image
from omote.commands.demo import astronaut
from omote.controls import FACS102
from omote.drive import Portrait, engine_by_name
from omote.drive.puppet.stage import Stage
from omote.errors import InputError, WeightsError
from omote.geometry import cameras
from omote.geometry.rotations import axis_angle_to_matrix
from omote.media import read_image
from omote.performance import Camera, Performance
from omote.render import Albedo, render_mesh
from omote.render.albedo import paint_albedo
from omote.rigs.facs import load_rig
from omote.weights import locate

torch.set_num_threads(1)
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
SIZE = 320


@dataclass(frozen=True)
class Scene:
    """A drawn head: the picture, where the head is in it, and its exact fit.

    Attributes:
        picture: (h, w, 3) uint8.
        mask: (h, w) whether the head is seen.
        face: what a perfect capture would return.
    """

    picture: Image
    mask: Mask
    face: Captured

    @property
    def take(self) -> Performance:
        return self.face.performance


@cache
def paint() -> Albedo:
    return Albedo.from_srgb(paint_albedo(size=512))


def take_of(
    size: tuple[int, int] = (SIZE, SIZE),
    place: tuple[float, float, float] = (0.0, 0.03, -0.62),
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0),
    **controls: float,
) -> Performance:
    """One frame: rotation radians, translation metres, and controls by name; without a side both get the value."""
    values = np.zeros((1, len(FACS102)), np.float32)
    for name, value in controls.items():
        for full in (name,) if name in FACS102.names else (f"{name}_L", f"{name}_R"):
            values[0, FACS102.index(full)] = value
    return Performance(
        space=FACS102,
        controls=values,
        head_rotation=np.array([turn]),
        head_translation=np.array([place]),
        confidence=np.ones(1),
        times=np.zeros(1),
        camera=Camera(1.6 * max(size), (size[0] / 2, size[1] / 2), size),
        identity={"facs": np.zeros(len(load_rig().identity_space), np.float32)},
    )


def backdrop(size: tuple[int, int]) -> Image:
    """A smooth coloured pattern: a warp of it shows."""
    x, y = np.meshgrid(np.arange(size[0]) / size[0], np.arange(size[1]) / size[1])
    waves = [np.sin(9 * x + 4 * y), np.cos(7 * y - 5 * x), np.sin(12 * x * y)]
    return (128 + 40 * np.stack(waves, -1)).astype(np.uint8)


def marks_of(take: Performance) -> NDArray[np.float32]:
    """(T, 478, 2) px of the rig's landmarks."""
    points = posed(take)
    return cameras.project(take.camera, load_rig().landmarks.apply(points)).astype(np.float32)


def fit_of(take: Performance) -> Captured:
    """What a perfect capture of its picture returns."""
    return Captured(take, marks_of(take), np.zeros(len(take), np.float32))


def within(take: Performance, contour: tuple[int, ...], grow: int = 0) -> Mask:
    """(h, w) pixels inside a contour of landmarks, grown by so many pixels."""
    mask = np.zeros(take.camera.size[::-1], np.uint8)
    cv2.fillPoly(mask, [np.round(marks_of(take)[0][list(contour)]).astype(np.int32)], 1)
    kernel = np.ones((2 * abs(grow) + 1,) * 2, np.uint8)
    return (cv2.dilate(mask, kernel) if grow > 0 else cv2.erode(mask, kernel)) > 0


def posed(take: Performance) -> NDArray[np.float32]:
    """(T, V, 3) metres, camera space."""
    with torch.inference_mode():
        heads = load_rig()(
            torch.tensor(np.array(take.controls)), torch.tensor(np.array(take.identity["facs"]))[None]
        )
    turns = axis_angle_to_matrix(take.head_rotation).astype(np.float32)
    return cameras.transform(turns, take.head_translation.astype(np.float32), heads.numpy())


def draw(take: Performance) -> Scene:
    """The rig's own picture of one frame of a performance."""
    rig = load_rig()
    points = posed(take)[0]
    buffers = render_mesh(
        points,
        rig.faces.numpy(),
        take.camera,
        uv=rig.uv.numpy(),
        weld=rig.weld.numpy(),
        albedo=paint(),
        background=backdrop(take.camera.size),
    )
    picture = np.round(np.asarray(buffers.rgb) * 255).astype(np.uint8)
    return Scene(picture, np.asarray(buffers.alpha) > 0.5, fit_of(take))


def stage_of(picture: Image, *faces: Captured) -> Stage:
    return engine_by_name("puppet").prepare(Portrait(picture, faces))


def frames_of(stage: Stage, *motions: Performance | None) -> list[Image]:
    return list(engine_by_name("puppet").drive(stage, motions))


def frame_of(stage: Stage, *motions: Performance | None) -> Image:
    (frame,) = frames_of(stage, *motions)
    return frame


def psnr(one: Image, other: Image, mask: Mask | None = None) -> float:
    """dB over the pixels of a mask."""
    error = (one.astype(np.float64) - other) ** 2
    error = error if mask is None else error[mask]
    return float(10 * np.log10(255**2 / max(error.mean(), 1e-9)))


def joined(*takes: Performance) -> Performance:
    """One performance of several frames, a thirtieth of a second apart."""
    return takes[0].with_(
        **{
            name: np.concatenate([getattr(take, name) for take in takes])
            for name in ("controls", "head_rotation", "head_translation", "confidence")
        },
        times=np.arange(len(takes)) / 30,
    )


@pytest.fixture(scope="package", autouse=True)
def _small_atlas() -> Iterator[None]:
    """Completing what a photo hides costs most of the preparation, and none of these tests looks at its finest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("omote.drive.puppet.head._ATLAS", 256, raising=False)
        yield


@pytest.fixture(scope="package")
def scene() -> Scene:
    """A head that faces the camera, at rest."""
    return draw(take_of())


@pytest.fixture(scope="package")
def stage(scene: Scene, _small_atlas: None) -> Stage:
    return stage_of(scene.picture, scene.face)


@pytest.fixture(scope="package")
def portrait() -> Portrait:
    """The astronaut (NASA, public domain), captured; skips without it or without the landmark model."""
    pytest.importorskip("mediapipe")
    try:
        locate("face_landmarker", download=False)
        photo = read_image(astronaut())
    except (WeightsError, InputError) as missing:
        pytest.skip(str(missing))
    return Portrait(photo, tuple(capture_image(photo)))


@pytest.fixture(scope="package")
def portrait_stage(portrait: Portrait, _small_atlas: None) -> Stage:
    return stage_of(portrait.image, *portrait.faces)
