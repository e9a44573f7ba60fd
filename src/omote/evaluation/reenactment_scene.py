"""What one reenactment starts from: the source, the driving take, the frames that are compared, and their truth."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.capture.pipeline import Captured, capture_frames, capture_image
from omote.capture.tracks import box_iou
from omote.errors import FormatError, InputError, NoFaceError
from omote.evaluation.reenactment_faces import FaceReader, Seen
from omote.media import atomic_path, open_video
from omote.performance import Performance

Image = NDArray[np.uint8]
Step = Callable[[str, int, int | None], None]
"""Called with (what is being done, steps done, steps in all or None)."""

RUN = 16
"""Consecutive frames on which jitter and speed are measured."""
_SOURCE_TRIES = 12
_log = logging.getLogger("omote.evaluation")


@dataclass(frozen=True)
class Take:
    """A captured driving video, scaled.

    Attributes:
        path: the video.
        performance: its capture, T frames.
        source_frame: the first frame with a face; reference of the motion, and the source where it drives itself.
        source: that frame captured as a photo, from its image alone.
        frames: what is compared: `shots` and `run` merged, increasing frame numbers.
        shots: frames that carry the pixel metrics, evenly spaced over what follows the source frame.
        run: consecutive frames for jitter and speed.
        near: frame -> (478, 2) px, the landmarks of the take's tracker: where to look for the face.
        seen: source frame and shots -> the face as detected in that image alone; None where it was not found.
        run_seen: the same for the run, by the quick look.
    """

    path: Path
    performance: Performance
    source_frame: int
    source: Captured
    frames: tuple[int, ...]
    shots: tuple[int, ...]
    run: tuple[int, ...]
    near: dict[int, NDArray[np.float32]]
    seen: dict[int, Seen | None]
    run_seen: tuple[Seen | None, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(w, h) px of the scaled frames."""
        return self.performance.camera.size

    def images(self, side: int) -> dict[int, Image]:
        """The pixels of the source frame and of all frames that are compared; see `read_frames`."""
        return read_frames(self.path, side, (self.source_frame, *self.frames))


def read_frames(path: Path, side: int, frames: Iterable[int]) -> dict[int, Image]:
    """Frame number -> (H, W, 3) uint8 of a video scaled to at most ``side`` px; decoding stops at the last one."""
    wanted = set(frames)
    found: dict[int, Image] = {}
    for number, (_, image) in enumerate(open_video(path, max_side=side)):
        if number in wanted:
            found[number] = image
        if len(found) == len(wanted):
            break
    return found


def make_take(path: Path, *, count: int, side: int, reader: FaceReader, step: Step) -> Take:
    """Capture a video and the frames of it that will be compared.

    Args:
        path: the video.
        count: how many frames carry the pixel metrics; fewer in short videos.
        side: px, most for the long side of a frame.
        reader: detects faces.
        step: told of progress.

    Raises:
        NoFaceError: no face, or in too few frames to compare anything.
        InputError: not a video.
    """
    video = open_video(path, max_side=side, prefetch=True)
    total = video.frame_count
    take = capture_frames(
        video, source={"file": path.name}, progress=lambda done: step("capture", done, total and 2 * total)
    )[0]
    found = np.flatnonzero(np.isfinite(take.landmarks).all((1, 2)))
    source_frame, source = _source_of(path, side, take, found)
    after = found[found > source_frame]
    if len(after) < 4:
        raise NoFaceError("after the source frame, a face is seen in fewer than four frames", where=path)
    shots = spread(after, count)
    run = longest_run(after, RUN)
    frames = tuple(sorted({*shots, *run}))
    near = {f: take.landmarks[f] for f in (source_frame, *frames)}
    images = read_frames(path, side, near)
    seen: dict[int, Seen | None] = {}
    run_seen: list[Seen | None] = []
    steps = 1 + len(shots) + len(run)
    for number, frame in enumerate((source_frame, *shots)):
        step("truth", number, steps)
        seen[frame] = reader.look(images[frame], near[frame])
    for frame in run:
        step("truth", len(seen) + len(run_seen), steps)
        run_seen.append(reader.look(images[frame], near[frame], quick=True))
    return Take(path, take.performance, source_frame, source, frames, shots, run, near, seen, tuple(run_seen))


def spread(candidates: NDArray[np.int64], count: int) -> tuple[int, ...]:
    """At most ``count`` of the candidates, evenly spaced, first and last included."""
    index = np.unique(np.round(np.linspace(0, len(candidates) - 1, count)).astype(int))
    return tuple(int(candidates[i]) for i in index)


def longest_run(candidates: NDArray[np.int64], length: int) -> tuple[int, ...]:
    """``length`` consecutive numbers from the middle of the longest run of consecutive candidates (all, if shorter)."""
    breaks = np.flatnonzero(np.diff(candidates) != 1) + 1
    run = max(np.split(candidates, breaks), key=len)
    start = max(0, (len(run) - length) // 2)
    return tuple(int(f) for f in run[start : start + length])


def _source_of(path: Path, side: int, take: Captured, found: NDArray[np.int64]) -> tuple[int, Captured]:
    """The first frame in which the take's face is found as in a photo, and what is captured there."""
    tries = [int(f) for f in found[:_SOURCE_TRIES]]
    images = read_frames(path, side, tries)
    for frame in tries:
        wanted = _box(take.landmarks[frame])
        try:
            faces = capture_image(images[frame], face="all", source={"file": path.name})
        except NoFaceError:
            continue
        best = max(faces, key=lambda face: box_iou(_box(face.landmarks[0]), wanted))
        if box_iou(_box(best.landmarks[0]), wanted) > 0.3:
            return frame, best
    raise NoFaceError("no face was found in the first frames that could be the source", where=path)


def _box(landmarks: NDArray[np.float32]) -> tuple[float, float, float, float]:
    (x0, y0), (x1, y1) = landmarks.min(0), landmarks.max(0)
    return float(x0), float(y0), float(x1), float(y1)


# ---- cache ------------------------------------------------------------------


def save_take(take: Take, folder: Path) -> None:
    """Write a take to a folder, from which `load_take` reads it. The array file comes last: it means complete."""
    folder.mkdir(parents=True, exist_ok=True)
    take.performance.save(folder / "driver.omote")
    take.source.performance.save(folder / "source.omote")
    numbers = {"source_frame": take.source_frame, "shots": take.shots, "run": take.run}
    near = (take.source_frame, *take.frames)
    arrays: dict[str, Any] = {
        "numbers": np.array(json.dumps(numbers)),
        "near": np.stack([take.near[f] for f in near]),
        "source_landmarks": take.source.landmarks,
        "source_error": take.source.error,
    }
    for name, faces in (("seen", list(take.seen.values())), ("run", list(take.run_seen))):
        arrays[f"{name}_landmarks"] = np.stack([(s or _LOST).landmarks for s in faces])
        arrays[f"{name}_scores"] = np.stack([(s or _LOST).scores for s in faces])
    with atomic_path(folder / "take.npz") as path:
        np.savez(path, **arrays)


def load_take(path: Path, folder: Path) -> Take | None:
    """The take of a video as `save_take` wrote it; None if it is not there or cannot be read."""
    try:
        with np.load(folder / "take.npz", allow_pickle=False) as stored:
            data = {name: stored[name] for name in stored.files}
        driver = Performance.load(folder / "driver.omote")
        photo = Performance.load(folder / "source.omote")
        numbers = json.loads(str(data["numbers"]))
        start = int(numbers["source_frame"])
        shots, run = (tuple(int(f) for f in numbers[name]) for name in ("shots", "run"))
        frames = tuple(sorted({*shots, *run}))
        near = dict(zip((start, *frames), data["near"], strict=True))
        seen = dict(zip((start, *shots), _faces(data, "seen"), strict=True))
        source = Captured(photo, data["source_landmarks"], data["source_error"])
        return Take(path, driver, start, source, frames, shots, run, near, seen, tuple(_faces(data, "run")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, InputError, FormatError) as error:
        _log.info("%s: the cached take cannot be used (%s)", folder, error)
        return None


_LOST = Seen(np.full((478, 2), np.nan, np.float32), np.full(52, np.nan, np.float32))


def _faces(data: Mapping[str, NDArray[Any]], name: str) -> list[Seen | None]:
    pairs = zip(data[f"{name}_landmarks"], data[f"{name}_scores"], strict=True)
    return [Seen(marks, scores) if np.isfinite(marks).all() else None for marks, scores in pairs]
