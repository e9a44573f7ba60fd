"""From a file or frames to performances: decode, detect, fit, smooth."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omote.capture.detect import FaceDetector
from omote.capture.fit import Fit, FitOptions, LandmarkFitter
from omote.capture.landmarker import Face
from omote.capture.observation import observe
from omote.capture.scan_files import is_scan
from omote.capture.take import Solved, smooth_take, solve_take, to_performance
from omote.capture.tracks import Track, TrackSet, detect_video, select_tracks
from omote.errors import InputError, NoFaceError
from omote.media import is_video, open_video, read_image
from omote.performance import Performance
from omote.rigs.constants import EMBEDDED

FaceChoice = Literal["largest", "all"] | int
Method = Literal["landmarks", "inversion"]
METHODS: tuple[Method, ...] = ("landmarks", "inversion")
Progress = Callable[[int, int | None], None]
"""Called with (steps done, steps in all or None where that is not known)."""

VIDEO_SIDE = 1280
"""Video frames are decoded to at most this long side; the network looks at far fewer pixels."""
NOT_HUMAN, NOT_HUMAN_VIDEO = 2.2, 3.5
"""`Fit.surprise` beyond which something is taken for not human; higher in videos, whose key frames are expressive."""
METHOD = "landmark fit"
_MUCH_OUTSIDE = 0.15

_log = logging.getLogger("omote.capture")


@dataclass(frozen=True)
class Captured:
    """One face of one file.

    Attributes:
        performance: what was captured.
        landmarks: (T, 478, 2) float32 pixels of the file's own frames, as detected; NaN where no face was found.
        error: (T,) mean distance of the fitted from the detected landmarks, share of the outer-eye-corner distance; NaN
            where no face was found.
        picture: (H, W, 3) uint8 RGB, what was captured where that is not in the file: the render of a scan; else None.
    """

    performance: Performance
    landmarks: NDArray[np.float32]
    error: NDArray[np.float32]
    picture: NDArray[np.uint8] | None = None


def capture_file(
    path: str | Path,
    *,
    face: FaceChoice = "largest",
    smooth: float = 0.5,
    method: Method | None = None,
    weights: str | Path | None = None,
    normals: str | Path | None = None,
    rig: str | Path = EMBEDDED,
    options: FitOptions | None = None,
    progress: Progress | None = None,
) -> list[Captured]:
    """Capture the faces of a photo, video or scan.

    Args:
        path: an image, a video, or a scan (``.obj``, ``.ply``, ``.glb``).
        face: "largest", "all", or an index, largest first; a scan has one face.
        smooth: strength of temporal smoothing, 0 (off) to 1; photos are not affected.
        method: "landmarks" or "inversion" (a network; see `omote.capture.inversion`); None: inversion for scans, else
            landmarks.
        weights: the network of the method inversion; None is the one that ships.
        normals: for a photo by inversion: an image of its camera-space normals, from the same view.
        rig: for inversion: the file or folder of the rig that ``weights`` was trained for; the performances are in its
            controls, and placed where its landmarks are.
        options: the fit's; default `FitOptions()`.
        progress: called as work goes on.

    Returns:
        One entry a face, largest first; at least one.

    Raises:
        NoFaceError: no face, not the face asked for, or nothing that looks like a human face.
        InputError: the file cannot be read, or an option is out of range or does not go with the others.
        WeightsError: a model file is missing or damaged, or the network is for another rig.
    """
    path = Path(path)
    if not 0.0 <= smooth <= 1.0:
        raise InputError(f"smooth is {smooth:g}, expected 0..1", remedy="0 is off, 1 is strongest.")
    method = check_method(path, method, weights, normals, rig)
    source: dict[str, Any] = {"file": path.name, "method": METHOD if method == "landmarks" else method}
    try:
        if method == "inversion":
            from omote.capture.inversion import invert_file

            return invert_file(path, face, smooth, weights, normals, options, progress, source, str(rig))
        if is_scan(path):
            return _capture_scan(path, face, options, source)
        if is_video(path):
            return _capture_video(path, face, smooth, options, progress, source)
        return capture_image(read_image(path), face=face, options=options, source=source)
    except NoFaceError as error:
        raise NoFaceError(error.what, where=path, remedy=error.remedy) from error


def check_method(
    path: Path,
    method: str | None,
    weights: str | Path | None,
    normals: str | Path | None,
    rig: str | Path = EMBEDDED,
) -> Method:
    """The method for a file.

    Raises:
        InputError: not a method, or options that do not go with it or the file.
    """
    chosen = method or ("inversion" if is_scan(path) else "landmarks")
    if chosen not in METHODS:
        raise InputError(f"{method!r} is not a method", where="method", remedy="Use landmarks or inversion.")
    for name, given in (("weights", weights is not None), ("normals", normals is not None)):
        if given and chosen == "landmarks":
            raise InputError(
                f"{name} are for the method inversion", where=name, remedy="Add method inversion."
            )
    if chosen == "landmarks" and str(rig) != EMBEDDED:
        what = "landmarks are fitted with the embedded head"
        raise InputError(what, where="rig", remedy="Add method inversion, and weights trained for the rig.")
    if normals is not None and (is_scan(path) or is_video(path)):
        what = "a normal map goes with a photo, not with a " + ("scan" if is_scan(path) else "video")
        raise InputError(what, where=path)
    return "inversion" if chosen == "inversion" else "landmarks"


def capture_image(
    image: NDArray[np.uint8],
    *,
    face: FaceChoice = "largest",
    options: FitOptions | None = None,
    source: dict[str, Any] | None = None,
) -> list[Captured]:
    """Capture the faces of one image (H, W, 3) uint8 RGB; see `capture_file`."""
    size = (image.shape[1], image.shape[0])
    fitter = LandmarkFitter(options)
    detector = image_detector()
    fits = []
    for candidate in choose_faces(detector.find(image), face):
        refined = detector.refine(image, candidate)
        fits.append((refined, fitter.fit_photo(observe(refined.landmarks, size, refined.scores))))
    human = [(seen, fit) for seen, fit in fits if fit.surprise <= NOT_HUMAN]
    if not human:
        raise not_human()
    if len(human) < len(fits):
        _log.warning("%d of %d faces do not look human and were left out", len(fits) - len(human), len(fits))
    return [_captured_photo(seen, fit, size, source or {}) for seen, fit in human]


def capture_frames(
    frames: Iterable[tuple[float, NDArray[np.uint8]]],
    *,
    face: FaceChoice = "largest",
    smooth: float = 0.5,
    options: FitOptions | None = None,
    progress: Callable[[int], None] | None = None,
    source: dict[str, Any] | None = None,
) -> list[Captured]:
    """Capture the faces of (seconds, (H, W, 3) uint8 RGB) frames, streamed; see `capture_file`."""
    tracks = detect_video(frames, face, progress)
    return _solve(tracks, smooth, options, None, source or {}, 1.0)


def _capture_scan(
    path: Path, face: FaceChoice, options: FitOptions | None, source: dict[str, Any]
) -> list[Captured]:
    """The landmark fit on the render of a scan."""
    from omote.capture.scans import describe_view, scan_options, view_scan

    view = view_scan(path, image_detector())
    choose_faces([view.face], face)
    about = {**source, **describe_view(view)}
    (found,) = capture_image(view.rgb, options=scan_options(options), source=about)
    return [replace(found, picture=view.rgb)]


def _capture_video(
    path: Path,
    face: FaceChoice,
    smooth: float,
    options: FitOptions | None,
    progress: Progress | None,
    source: dict[str, Any],
) -> list[Captured]:
    reader = open_video(path, prefetch=True, max_side=VIDEO_SIDE)
    expected = None if reader.frame_count is None else 2 * reader.frame_count  # detection, then the fit
    tracks = detect_video(reader, face, None if progress is None else lambda done: progress(done, expected))
    total = 2 * len(tracks)
    solved = None if progress is None else lambda done: progress(len(tracks) + done, total)
    return _solve(tracks, smooth, options, solved, source, reader.scale)


def _solve(
    tracks: TrackSet,
    strength: float,
    options: FitOptions | None,
    progress: Callable[[int], None] | None,
    source: dict[str, Any],
    scale: float,
) -> list[Captured]:
    """Fit and smooth the chosen tracks. ``scale``: decoded over own size of the frames."""
    if not tracks.chosen:
        raise no_face("frame")
    fitter = LandmarkFitter(options)
    results = []
    for track in tracks.tracks:
        warn_of_lost(track, len(tracks))
        warn_of_border(track.landmarks, tracks.size)
        solved = solve_take(track, tracks.size, tracks.shots, fitter, progress)
        if solved.surprise > NOT_HUMAN_VIDEO:
            _log.warning("a face that does not look human was left out")
            continue
        smooth_take(solved, tracks.times, track.found, tracks.shots, strength)
        to_own_size(solved, scale)
        info = {**source, "smooth": strength, "cuts": [int(c) for c in tracks.cuts]}
        performance = to_performance(solved, tracks.times, info)
        landmarks = track.landmarks[:, :, :2] / np.float32(scale)
        results.append(Captured(performance, landmarks, solved.error.astype(np.float32)))
    if not results:
        raise not_human()
    return results


def to_own_size(solved: Solved, scale: float) -> None:
    """Bring the camera from decoded frames to the video's own size."""
    if scale != 1.0:
        solved.focal /= scale
        solved.size = (round(solved.size[0] / scale), round(solved.size[1] / scale))


_this_thread = threading.local()


def image_detector() -> FaceDetector:
    """The detector for images, kept for the next one; each thread has its own, since they cannot be shared."""
    if not hasattr(_this_thread, "detector"):
        _this_thread.detector = FaceDetector("image")
    detector: FaceDetector = _this_thread.detector
    return detector


def choose_faces(faces: list[Face], choice: FaceChoice) -> list[Face]:
    """The faces asked for of those found, largest first."""
    select_tracks([], choice)  # refuses what is not a choice
    if not faces:
        raise no_face("image")
    if choice == "all":
        return faces
    index = 0 if choice == "largest" else choice
    if index >= len(faces):
        raise NoFaceError(
            f"there is no face {index}", remedy=f"Found {len(faces)}; the first one has index 0."
        )
    return [faces[index]]


def not_human() -> NoFaceError:
    """What is raised where something was detected that is no human face."""
    return NoFaceError(
        "this does not look like a human face",
        remedy="Omote's rig is human; try a clearer or more frontal picture.",
    )


def no_face(where: str) -> NoFaceError:
    """What is raised where nothing was detected. ``where``: "image" or "frame"."""
    return NoFaceError(
        "no face was found", remedy=f"Is a face visible, and larger than a thirtieth of the {where}?"
    )


def warn_of_lost(track: Track, frames: int) -> None:
    """Say so if a face was not found in all frames of its take."""
    lost = int((~track.found).sum())
    if lost:
        _log.warning("no face in %d of %d frames; they hold the last one and have confidence 0", lost, frames)


def warn_of_border(landmarks: NDArray[np.float32], size: tuple[int, int]) -> None:
    """Say so if much of a face (..., 478, 2 or 3) px lies outside the picture, where landmarks are guessed."""
    points = landmarks[..., :2]
    outside = np.any((points < 0) | (points > size), axis=-1)
    share = float(outside[np.all(np.isfinite(points), axis=-1)].mean())
    if share > _MUCH_OUTSIDE:
        _log.warning(
            "%.0f %% of the landmarks lie outside the picture; that part of the face is guessed", 100 * share
        )


def _captured_photo(seen: Face, fit: Fit, size: tuple[int, int], source: dict[str, Any]) -> Captured:
    warn_of_border(seen.landmarks, size)
    solved = Solved.empty(1, fit.identity, fit.pose.focal, size)
    solved.put(0, fit)
    performance = to_performance(solved, np.zeros(1), source)
    return Captured(performance, seen.landmarks[None, :, :2].copy(), solved.error.astype(np.float32))
