"""What is compared: the engines, and two baselines that show what little and what much is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omote.capture.pipeline import Captured
from omote.drive import Driver, Portrait
from omote.edit.motion import MotionOptions, apply_motion
from omote.errors import InputError
from omote.evaluation.reenactment_faces import FaceFitter, FaceReader, Seen, Shown
from omote.evaluation.reenactment_scene import Take
from omote.evaluation.warp_baseline import LandmarkWarp
from omote.performance import Performance

Image = NDArray[np.uint8]

STATIC, WARP = "static", "landmark-warp"
BASELINES = (STATIC, WARP)


@dataclass(frozen=True)
class Scene:
    """A photo that is to move like a take.

    Attributes:
        image: (H, W, 3) uint8, the source.
        face: the source's capture, as a photo.
        take: the driver.
        targets: frame of the take -> (478, 2) px, where the landmarks of the source's face belong: the true ones
            where a video drives itself; else the source's, moved as the driver's are from its reference on, in units
            of the eye distance.
        fitter: fits the rig to what engines make of the source.
        wanted: frame (of those compared in motion) -> the state to be shown.
        shown: frame -> (H, W, 3) uint8 of the take itself.
        is_truth: whether ``shown`` is what engines have to make: a video that drives itself.
    """

    image: Image
    face: Captured
    take: Take
    targets: Mapping[int, NDArray[np.floating]]
    fitter: FaceFitter
    wanted: Mapping[int, Shown]
    shown: Mapping[int, Image]
    is_truth: bool

    @property
    def motion(self) -> Performance:
        """The take's motion on the source's face, all T frames, relative to the take's source frame."""
        options = MotionOptions(mode="relative", reference=self.take.source_frame)
        return apply_motion(self.face.performance, self.take.performance, options)


def self_scene(take: Take, images: Mapping[int, Image]) -> Scene:
    """A video whose first face is the source, and whose other frames are driver and truth."""
    camera = take.performance.camera
    fitter = FaceFitter(take.performance.identity["facs"], camera.focal, camera.size)
    targets = {f: _landmarks(take, f) for f in take.frames}
    wanted = {f: fitter.fit(seen) for f in take.shots if (seen := take.seen[f]) is not None}
    return Scene(images[take.source_frame], take.source, take, targets, fitter, wanted, images, True)


def cross_scene(
    take: Take, images: Mapping[int, Image], image: Image, face: Captured, reader: FaceReader
) -> Scene:
    """Another person's photo (H, W, 3) uint8 with its captured face, driven by a take, whose frames are given too."""
    photo, camera = face.performance, take.performance.camera
    fitter = FaceFitter(photo.identity["facs"], photo.camera.focal, photo.camera.size)
    theirs = FaceFitter(take.performance.identity["facs"], camera.focal, camera.size)
    own = reader.look(image, face.landmarks[0])
    reference = take.seen[take.source_frame]
    wanted = {}
    if own is not None and reference is not None:
        start, before = fitter.fit(own), theirs.fit(reference)
        for f in take.shots:
            if (seen := take.seen[f]) is not None:
                wanted[f] = start.moved_like(before, theirs.fit(seen))
    at_rest = _landmarks(take, take.source_frame)
    scale = Seen(face.landmarks[0], np.zeros(52, np.float32)).eye_distance
    scale /= Seen(at_rest, np.zeros(52, np.float32)).eye_distance
    targets = {f: face.landmarks[0] + scale * (_landmarks(take, f) - at_rest) for f in take.frames}
    return Scene(image, face, take, targets, fitter, wanted, images, False)


def _landmarks(take: Take, frame: int) -> NDArray[np.float32]:
    seen = take.seen.get(frame)
    return take.near[frame] if seen is None else seen.landmarks


@dataclass(frozen=True)
class Made:
    """What a method made of a scene.

    Attributes:
        images: frame -> (H, W, 3) uint8, for all frames that are compared.
        prepare_seconds: what the engine spent on the photo, once; NaN for baselines.
        fps: frames per second of the engine over the take's consecutive run, after one frame to warm up, without
            capture and preparation; NaN for baselines.
    """

    images: Mapping[int, Image]
    prepare_seconds: float = float("nan")
    fps: float = float("nan")


def make(scene: Scene, method: str, engine: Driver | None) -> Made:
    """The frames of a baseline, or of an engine."""
    frames = scene.take.frames
    if method == STATIC:
        return Made(dict.fromkeys(frames, scene.image))
    if method == WARP:
        source = scene.take.seen[scene.take.source_frame] if scene.is_truth else None
        warp = LandmarkWarp(scene.image, scene.face.landmarks[0] if source is None else source.landmarks)
        return Made({f: warp.warp(scene.targets[f]) for f in frames})
    if engine is None:
        raise InputError(f"there is no engine '{method}'")
    return _drive(scene, engine)


def _drive(scene: Scene, engine: Driver) -> Made:
    motion, run = scene.motion, scene.take.run
    began = time.perf_counter()
    state = engine.prepare(Portrait(scene.image, (scene.face,)))
    prepared = time.perf_counter() - began
    # The source frame comes before all others, so it serves to warm up.
    making = _checked(engine, state, motion[sorted((scene.take.source_frame, *run))], scene)
    next(making)
    began = time.perf_counter()
    images = dict(zip(run, making, strict=True))
    seconds = time.perf_counter() - began
    rest = sorted(set(scene.take.shots) - set(run))
    if rest:
        images |= dict(zip(rest, _checked(engine, state, motion[rest], scene), strict=True))
    return Made(images, prepared, len(run) / max(seconds, 1e-9))


def _checked(engine: Driver, state: object, motion: Performance, scene: Scene) -> Iterator[Image]:
    for image in engine.drive(state, [motion]):
        if image.dtype != np.uint8 or image.shape != scene.image.shape:
            what = f"the engine made {image.dtype} {image.shape}, expected uint8 {scene.image.shape}"
            raise InputError(what, where="drive")
        yield image
