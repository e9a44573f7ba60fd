"""Capture by image-based rig inversion (arXiv 2510.13933): a network reads the controls off the picture.

Where the face is, who it is and how the head is turned still come from landmarks: identity, pose and camera are fitted
to them around the network's controls, which stay as they are. The head's movement is the pose; the rig's own ``head_*``
controls stay at 0, as in the landmark method. A rig of one's own, with a network that was trained for it, is placed as
a rigid body at its landmarks (`omote.capture.rig_pose`). What the network sees of a control it does not say, so that
performances have no ``control_confidence``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.capture import pipeline
from omote.capture.fit import Fit, FitOptions, LandmarkFitter
from omote.capture.inverter import BATCH, Inverter, load_inverter
from omote.capture.landmarker import Face
from omote.capture.normal_map import check_normals
from omote.capture.observation import observe
from omote.capture.pipeline import Captured, FaceChoice, Progress
from omote.capture.rig_pose import RigPose
from omote.capture.scan_files import is_scan
from omote.capture.scans import describe_view, scan_options, view_scan
from omote.capture.smooth import smooth
from omote.capture.take import (
    Solved,
    choose_key_frames,
    frame_confidence,
    smooth_pose,
    stretches,
    to_performance,
)
from omote.capture.tracks import Track, TrackSet, detect_video
from omote.controls import ControlSpace
from omote.errors import InputError, WeightsError
from omote.media import is_video, open_video, read_image
from omote.rigs.constants import EMBEDDED

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

NOT_HUMAN = 2.7
"""`Fit.surprise` beyond which nothing is captured: wider than for the landmark method, whose controls need the fit.

Heads of the recipes paper and wild reached 1.9 and 2.5, other rigs' expressions in grey clay 1.8; a dog had 2.9.
"""
CONTROL_NOISE, GAZE_NOISE = 0.02, 0.02
"""Usual jitter of a predicted control between frames when nothing moves."""

_log = logging.getLogger("omote.capture")


def invert_file(
    path: Path,
    face: FaceChoice,
    smoothing: float,
    weights: str | Path | None,
    normals: str | Path | None,
    options: FitOptions | None,
    progress: Progress | None,
    source: dict[str, Any],
    rig: str = EMBEDDED,
) -> list[Captured]:
    """Capture a photo (with ``normals``, if given), a video or a scan; see `omote.capture.pipeline.capture_file`."""
    network = None if weights is None else Path(weights)
    source = {**source, "weights": "shipped" if network is None else network.name}
    if rig != EMBEDDED:
        source["rig"] = Path(rig).name
    if is_scan(path):
        return invert_scan(path, face=face, weights=network, options=options, source=source, rig=rig)
    if is_video(path):
        return invert_video(
            path,
            face=face,
            smoothing=smoothing,
            weights=network,
            options=options,
            progress=progress,
            source=source,
            rig=rig,
        )
    image, beside = read_image(path), None
    if normals is not None:
        beside, source = read_image(normals, colours=False), {**source, "normals": Path(normals).name}
    try:
        return invert_image(
            image, beside, face=face, weights=network, options=options, source=source, rig=rig
        )
    except InputError as error:
        where = normals if error.where == "normals" else error.where
        raise InputError(error.what, where=where, remedy=error.remedy) from error


def invert_image(
    image: Pixels,
    normals: Pixels | None = None,
    *,
    face: FaceChoice = "largest",
    weights: Path | None = None,
    options: FitOptions | None = None,
    source: dict[str, Any] | None = None,
    rig: str = EMBEDDED,
) -> list[Captured]:
    """Capture the faces of one image (H, W, 3) uint8 RGB.

    Args:
        image: the picture.
        normals: (H, W, 3) uint8 encoded camera-space normals of the same view, or None.
        face: "largest", "all", or an index, largest first.
        weights: a checkpoint; None is the network that ships.
        options: the landmark fit's.
        source: kept in the performances.
        rig: "facs", or the file or folder of the rig that ``weights`` is for: performances are in its controls.

    Raises:
        NoFaceError: no face, not the face asked for, or nothing that looks like a human face.
        WeightsError: no network, or one for another rig or other pictures.
        InputError: a normal map of another size, or one that is none.
    """
    if normals is not None and normals.shape != image.shape:
        what = (
            f"{normals.shape[1]} x {normals.shape[0]} px, the photo has {image.shape[1]} x {image.shape[0]}"
        )
        raise InputError(what, where="normals", remedy="Render both from the same camera at the same size.")
    inverter, detector = load_inverter(weights, rig), pipeline.image_detector()
    inverter.check(["rgb"] if normals is None else ["rgb", "normal"])
    fitter = LandmarkFitter(options)
    results = []
    for candidate in pipeline.choose_faces(detector.find(image), face):
        seen = detector.refine(image, candidate)
        if normals is not None and inverter.config.normals == "camera":
            check_normals(normals, seen.landmarks)
        results.append(_captured(seen, image, normals, inverter, fitter, source or {}))
    human = [captured for captured in results if captured is not None]
    if not human:
        raise pipeline.not_human()
    if len(human) < len(results):
        _log.warning(
            "%d of %d faces do not look human and were left out", len(results) - len(human), len(results)
        )
    return human


def invert_scan(
    path: str | Path,
    *,
    face: FaceChoice = "largest",
    weights: Path | None = None,
    options: FitOptions | None = None,
    source: dict[str, Any] | None = None,
    rig: str = EMBEDDED,
) -> list[Captured]:
    """Capture a scan, which has one face: rendered from the front to a picture and normals.

    Raises:
        NoFaceError: no face on it.
        InputError: the file cannot be read.
        WeightsError: no network, or one for another rig.
    """
    inverter = load_inverter(weights, rig)
    if "normal" in inverter.modalities and inverter.config.normals != "camera":
        what = "reads normals in tangent frames, which a scan does not have"
        raise WeightsError(
            what, where=weights, remedy="Train on the camera's normals, as omote synth makes them."
        )
    view = view_scan(path, pipeline.image_detector())
    pipeline.choose_faces([view.face], face)
    about = {**(source or {}), **describe_view(view)}
    fitter = LandmarkFitter(scan_options(options))
    found = _captured(view.face, view.rgb, view.normals, inverter, fitter, about, human=np.inf)
    if found is None:
        raise pipeline.not_human()
    return [replace(found, picture=view.rgb)]


def _captured(
    seen: Face,
    image: Pixels,
    normals: Pixels | None,
    inverter: Inverter,
    fitter: LandmarkFitter,
    source: dict[str, Any],
    human: float = NOT_HUMAN,
) -> Captured | None:
    """One face of a picture; None where it does not look human."""
    size = (image.shape[1], image.shape[0])
    observation = observe(seen.landmarks, size, seen.scores)
    found = fitter.fit_photo(observation)
    if inverter.pose is None and found.surprise > human:  # a rig of one's own may be a caricature
        return None
    pipeline.warn_of_border(seen.landmarks, size)
    sample = inverter.sample(image, normals, seen.landmarks)
    controls = inverter.controls([sample])[0]
    solved = Solved.empty(1, found.identity, found.pose.focal, size, len(controls))
    if inverter.pose is None:
        (fit,) = fitter.fit_key_frames(
            [observation], held=[_held(fitter, controls)], iterations=40, tolerance=4e-3
        )
        solved.identity, solved.focal = fit.identity, fit.pose.focal
        _put(solved, 0, fit, controls)
    else:
        pose, error = inverter.pose.fit(observation, controls, found.pose.focal)
        solved.place(0, pose, controls, error)
        solved.confidence[0] = frame_confidence(np.array(found.error))
    inputs = [name for name in ("rgb", "normal") if name in sample]
    performance = to_performance(solved, np.zeros(1), {**source, "inputs": inputs}, inverter.space)
    performance = performance.with_(control_confidence=None)
    return Captured(performance, seen.landmarks[None, :, :2].copy(), solved.error.astype(np.float32))


def _held(fitter: LandmarkFitter, controls: Array) -> Array:
    """(n,) solver variables of controls (102,)."""
    held: Array = np.clip(fitter.table.from_controls(controls), fitter.table.low, fitter.table.high)
    return held


def _put(solved: Solved, frame: int, fit: Fit, controls: Array) -> None:
    solved.put(frame, fit)
    solved.controls[frame] = controls


# ---- videos ----------------------------------------------------------------------------------------------------------


def invert_video(
    path: Path,
    *,
    face: FaceChoice = "largest",
    smoothing: float = 0.5,
    weights: Path | None = None,
    options: FitOptions | None = None,
    progress: Progress | None = None,
    source: dict[str, Any] | None = None,
    rig: str = EMBEDDED,
) -> list[Captured]:
    """Capture the faces of a video: detection, the network, then the fit; frames are decoded twice and not kept.

    Args:
        path: the video.
        face: "largest", "all", or an index, largest first.
        smoothing: strength of temporal smoothing, 0 (off) to 1.
        weights: a checkpoint; None is the network that ships.
        options: the landmark fit's.
        progress: called as work goes on.
        source: kept in the performances.
        rig: see `invert_image`.

    Raises:
        As `invert_image`.
    """
    inverter = load_inverter(weights, rig)
    inverter.check(["rgb"])
    reader = open_video(path, prefetch=True, max_side=pipeline.VIDEO_SIDE)
    expected = None if reader.frame_count is None else 3 * reader.frame_count
    tell = progress or (lambda done, total: None)
    tracks = detect_video(reader, face, lambda done: tell(done, expected))
    if not tracks.chosen:
        raise pipeline.no_face("frame")
    total = 3 * len(tracks)
    chosen = tracks.tracks
    predicted = _predict(path, chosen, inverter, lambda done: tell(len(tracks) + done, total))
    results = []
    middle = np.zeros(3) if inverter.pose is None else inverter.pose.middle
    for track, controls in zip(chosen, predicted, strict=True):
        pipeline.warn_of_lost(track, len(tracks))
        pipeline.warn_of_border(track.landmarks, tracks.size)
        calm = _smoothed(controls, tracks, track, smoothing, inverter.space)
        fitter = LandmarkFitter(options)
        solved = _solve(
            track, tracks, calm, fitter, inverter.pose, lambda done: tell(2 * len(tracks) + done, total)
        )
        if inverter.pose is None and solved.surprise > pipeline.NOT_HUMAN_VIDEO:
            _log.warning("a face that does not look human was left out")
            continue
        for first, last in tracks.shots:
            for start, stop in stretches(track.found, first, last):
                smooth_pose(solved, slice(start, stop), tracks.times[start:stop], smoothing, middle)
        solved.hold_lost(track.found)
        pipeline.to_own_size(solved, reader.scale)
        about = {"smooth": smoothing, "cuts": [int(cut) for cut in tracks.cuts], "inputs": ["rgb"]}
        performance = to_performance(solved, tracks.times, {**(source or {}), **about}, inverter.space)
        landmarks = track.landmarks[:, :, :2] / np.float32(reader.scale)
        performance = performance.with_(control_confidence=None)
        results.append(Captured(performance, landmarks, solved.error.astype(np.float32)))
    if not results:
        raise pipeline.not_human()
    return results


def _predict(
    path: Path, tracks: Sequence[Track], inverter: Inverter, progress: Callable[[int], None]
) -> list[Array]:
    """(T, C) controls of each track, zeros where it has no face; the video is decoded once more."""
    predicted = [np.zeros((len(track.found), len(inverter.space))) for track in tracks]
    places: list[tuple[int, int]] = []
    samples: list[dict[str, NDArray[Any]]] = []

    def flush() -> None:
        if samples:
            for (index, frame), row in zip(places, inverter.controls(samples), strict=True):
                predicted[index][frame] = row
        places.clear()
        samples.clear()

    reader = open_video(path, prefetch=True, max_side=pipeline.VIDEO_SIDE)
    for frame, (_, image) in enumerate(reader):
        for index, track in enumerate(tracks):
            if frame < len(track.found) and track.found[frame]:
                samples.append(inverter.sample(image, None, track.landmarks[frame]))
                places.append((index, frame))
        if len(samples) >= BATCH:
            flush()
        progress(frame + 1)
    flush()
    return predicted


def _smoothed(controls: Array, tracks: TrackSet, track: Track, strength: float, space: ControlSpace) -> Array:
    """Predicted controls without their jitter, each shot by itself; see `omote.capture.smooth`."""
    noise = np.array([GAZE_NOISE if name.startswith("gaze") else CONTROL_NOISE for name in space.names])
    calm = controls.copy()
    for first, last in tracks.shots:
        for start, stop in stretches(track.found, first, last):
            part = slice(start, stop)
            calm[part] = smooth(controls[part], tracks.times[part], strength, noise=noise)
    limited: Array = space.clamp(calm).astype(np.float64)
    return limited


def _solve(
    track: Track,
    tracks: TrackSet,
    controls: Array,
    fitter: LandmarkFitter,
    own: RigPose | None,
    progress: Callable[[int], None],
) -> Solved:
    """Identity and camera from key frames, then the pose of every frame, all with the controls held.

    ``own`` places another rig than the embedded one, which then only finds the camera.
    """
    keys = choose_key_frames(track)
    seen = [observe(track.landmarks[f], tracks.size, track.scores[f]) for f in keys]
    fits = fitter.fit_key_frames(seen)
    surprise = float(np.median([fit.surprise for fit in fits]))
    if own is None:
        fits = fitter.fit_key_frames(seen, held=[_held(fitter, controls[f]) for f in keys])
    head, focal = fitter.model.prepare(fits[0].identity), fits[0].pose.focal
    solved = Solved.empty(len(track.found), fits[0].identity, focal, tracks.size, controls.shape[1])
    for first, last in tracks.shots:
        pose = None
        for frame in range(first, last):
            if track.found[frame]:
                observation = observe(track.landmarks[frame], tracks.size, track.scores[frame])
                if own is None:
                    fit = fitter.fit_pose(observation, head, pose, _held(fitter, controls[frame]), focal)
                    _put(solved, frame, fit, controls[frame])
                    pose = fit.pose
                else:
                    pose, error = own.fit(observation, controls[frame], focal)
                    solved.place(frame, pose, controls[frame], error)
            else:
                pose = None
            progress(frame + 1)
    if own is not None:  # another head than the rig is never matched exactly
        usual = float(np.median(solved.error[track.found]))
        worse = np.maximum(solved.error - usual, 0) + float(np.median([fit.error for fit in fits]))
        solved.confidence[track.found] = frame_confidence(worse[track.found])
    solved.hold_lost(track.found)
    solved.surprise = surprise
    return solved
