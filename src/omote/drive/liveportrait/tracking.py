"""Following the faces of a video with little memory: only what the crops and ratios need is kept of each frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omote.capture.detect import FaceDetector
from omote.capture.pipeline import no_face
from omote.drive.liveportrait.framing import Faces
from omote.errors import NoFaceError

Frames = Iterable[tuple[float, NDArray[np.uint8]]]
Choice = str | int | tuple[int, ...]
_MOST_FACES = 4


@dataclass(frozen=True)
class Followed:
    """The chosen faces of a video.

    Attributes:
        times: (T,) seconds.
        cuts: frames that begin a new shot.
        faces: in the order of the choice; "all" from left to right as they are seen on the whole.
    """

    times: NDArray[np.float64]
    cuts: tuple[int, ...]
    faces: tuple[Faces, ...]


def follow_faces(
    frames: Frames, scale: float, choice: Choice, progress: Callable[[int], None] | None = None
) -> Followed:
    """Follow the faces of a video.

    Args:
        frames: (seconds, (H, W, 3) uint8 RGB); none is kept.
        scale: size of these frames over the size of those that the squares are to be of.
        choice: "largest", "all", or numbers from the largest (0) on.
        progress: told how many frames are done.

    Raises:
        NoFaceError: no face, or not the one asked for.
        WeightsError: the landmark model is missing.
    """
    times: list[float] = []
    seen: dict[int, list[tuple[int, Faces]]] = {}
    areas: dict[int, float] = {}
    with FaceDetector("video", max_faces=1 if choice == "largest" else _MOST_FACES) as detector:
        for time, image in frames:
            for face in detector.detect(image, time):
                found = Faces.of(face.landmarks[None, :, :2] / scale)
                seen.setdefault(face.track, []).append((len(times), found))
                areas[face.track] = areas.get(face.track, 0.0) + face.area
            times.append(float(time))
            if progress is not None:
                progress(len(times))
        cuts = tuple(detector.cuts)
    ranked = sorted(areas, key=lambda track: (-areas[track], track))
    if not ranked:
        raise no_face("frame")
    chosen = [Faces.join(seen[track], len(times)) for track in _chosen(ranked, choice)]
    if choice == "all":
        chosen.sort(key=lambda one: float(np.median(one.square.centre[one.found, 0])))
    return Followed(np.array(times), cuts, tuple(chosen))


def _chosen(ranked: list[int], choice: Choice) -> list[int]:
    if choice == "all":
        return ranked
    numbers = choice if isinstance(choice, tuple) else (0 if choice == "largest" else int(choice),)
    for number in numbers:
        if number >= len(ranked):
            remedy = f"Found {len(ranked)}; the first one has index 0."
            raise NoFaceError(f"there is no face {number}", remedy=remedy)
    return [ranked[number] for number in numbers]
