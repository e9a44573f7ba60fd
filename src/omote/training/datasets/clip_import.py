"""Folders of images and videos become clips: faces found, cropped and kept on disk, so that each file is read once.

As published (arXiv 2407.03168, §4.1): one person a clip, at most 30 seconds, a still image is a clip of one frame.
Ours: the crop is LivePortrait's of a driving video, upright, at the clip's mean place; ten frames a second are kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.capture.detect import FaceDetector
from omote.capture.landmarker import Face
from omote.capture.tracks import detect_video
from omote.drive.liveportrait.crops import (
    DRIVER,
    box_to_crop,
    crop_image,
    driving_box,
    to_points,
)
from omote.errors import InputError, NoFaceError, OmoteError, WeightsError
from omote.media import atomic_path, is_video, list_media, open_video, read_image
from omote.media.paths import prepare_target
from omote.training.datasets.clips import SUFFIX, Clip, ClipFrame, head_angles, open_clip, write_clip

Progress = Callable[[str, int, int], None]
"""Called with (file, files done, files in all)."""

_VIDEO_SIDE = 1920
_SECONDS_APART = 0.1
_MOST_SECONDS = 30.0
_FEWEST_FRAMES = 3
_SMALLEST = 0.5  # crop sides, of the pictures' size: smaller faces would only be blurred
_log = logging.getLogger("omote.training")


@dataclass(frozen=True)
class Gathered:
    """What folders hold.

    Attributes:
        clips: all, in the order of folders and names.
        refused: file -> why it gives none.
    """

    clips: tuple[Clip, ...]
    refused: Mapping[Path, str]


def gather_clips(
    folders: Sequence[Path], cache: Path, size: int, progress: Progress | None = None
) -> Gathered:
    """The clips of folders: those that are there, and crops of their images and videos, made where missing.

    A file that cannot be used is told (logger ``omote.training``) and passed over; one without a face later, too.

    Args:
        folders: with clips, images and videos, mixed; not their subfolders.
        cache: folder for the crops.
        size: side of the pictures, px.
        progress: told of each file.

    Raises:
        InputError: a folder that is missing, clips of another size, or nothing to train on at all.
        FormatError: a damaged clip.
        OutputError: the cache cannot be written to.
        WeightsError: the landmarker's model file is missing.
    """
    clips: list[Clip] = []
    refused: dict[Path, str] = {}
    work: list[Path] = []
    for folder in folders:
        work += list_media(folder)
        clips += [open_clip(path) for path in sorted(Path(folder).glob(f"*{SUFFIX}"))]
    for clip in clips:
        if clip.size != size:
            what = f"its pictures have {clip.size} px, this training needs {size}"
            raise InputError(what, where=clip.path, remedy=f"Make clips with --size {size}.")
    for number, path in enumerate(work):
        if progress is not None:
            progress(path.name, number, len(work))
        made, why = _cropped(path, Path(cache), size)
        clips += made
        if why:
            refused[path] = why
            _log.warning("%s: not used (%s)", path, why)
    if not clips:
        what = "no clip, image or video with a face is there"
        remedy = "Give other folders, or make some clips: omote train clips -o clips"
        raise InputError(what, where=folders[0] if folders else "--data", remedy=remedy)
    return Gathered(tuple(clips), refused)


def _cropped(path: Path, cache: Path, size: int) -> tuple[list[Clip], str]:
    """The clips of one file, from the cache if it is there; and why there are none."""
    try:
        facts = path.stat()
    except OSError as error:
        return [], error.strerror or str(error)
    identity = f"{path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}|{size}"
    key = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:20]
    index = cache / f"{key}.json"
    known = _read_index(index)
    if known is not None:
        return [open_clip(cache / name) for name in known["clips"]], known["refused"]
    prepare_target(index)
    clips, why, lasts = [], "", True
    try:
        source = _video_clips(path, size) if is_video(path) else _image_clips(path, size)
        for number, frames in enumerate(source):
            clips.append(write_clip(cache / f"{key}-{number:03d}{SUFFIX}", frames, key))
        if not clips:
            why = "no face that is large enough"
    except OmoteError as error:
        if isinstance(error, WeightsError) or (error.where is not None and str(cache) in str(error.where)):
            raise
        why, lasts = error.what, isinstance(error, NoFaceError)
    if lasts:  # what could not be read may be readable another time
        with atomic_path(index) as temporary:
            temporary.write_text(json.dumps({"clips": [clip.path.name for clip in clips], "refused": why}))
    return clips, why


def _read_index(path: Path) -> dict[str, Any] | None:
    """What was made of a file, if all of it is still there."""
    try:
        known = json.loads(path.read_text())
        names = [str(name) for name in known["clips"]]
        there = all(Path(name).name == name and (path.parent / name).is_file() for name in names)
        return {"clips": names, "refused": str(known["refused"])} if there else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _image_clips(path: Path, size: int) -> Iterator[list[ClipFrame]]:
    image = read_image(path)
    with FaceDetector("image", flip_average=False) as detector:
        faces = detector.detect(image)
    for face in faces:
        box = driving_box(_points(face)[None], DRIVER)
        if _is_large(box, size):
            yield [_crop(image, face, box, size)]


def _video_clips(path: Path, size: int) -> Iterator[Iterator[ClipFrame]]:
    """The largest face of each shot, in pieces of at most 30 s; the video is decoded twice, and no frame is kept."""
    found = detect_video(_sparse(path))
    track = found.faces[found.chosen[0]] if found.chosen else {}
    pieces: list[tuple[dict[int, Face], NDArray[Any]]] = []
    length = int(_MOST_SECONDS / _SECONDS_APART)
    for first, last in found.shots:
        for start in range(first, last, length):
            faces = {n: track[n] for n in range(start, min(start + length, last)) if n in track}
            if len(faces) >= _FEWEST_FRAMES:
                box = driving_box(np.stack([_points(face) for face in faces.values()]), DRIVER)
                if _is_large(box, size):
                    pieces.append((faces, box))
    frames = enumerate(_sparse(path))

    def frames_of(faces: dict[int, Face], box: NDArray[Any]) -> Iterator[ClipFrame]:
        last = max(faces)
        for number, (_, image) in frames:
            if number in faces:
                yield _crop(image, faces[number], box, size)
            if number >= last:
                return

    for faces, box in pieces:
        yield frames_of(faces, box)


def _sparse(path: Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Frames of a video at least `_SECONDS_APART`."""
    following = -1.0
    for time, image in open_video(path, max_side=_VIDEO_SIDE, prefetch=True):
        if time >= following:
            following = time + _SECONDS_APART - 1e-3
            yield time, image


def _points(face: Face) -> NDArray[np.float64]:
    """(478, 2) px, the centre of the first pixel at 0."""
    return np.asarray(face.landmarks[:, :2], np.float64) - 0.5


def _is_large(box: NDArray[Any], size: int) -> bool:
    return bool(box[2] - box[0] >= _SMALLEST * size)


def _crop(image: NDArray[np.uint8], face: Face, box: NDArray[Any], size: int) -> ClipFrame:
    import cv2

    points = _points(face)
    step = int((box[2] - box[0]) // (2 * size))
    if step > 1:  # means first, so that nothing aliases
        height, width = image.shape[0] // step, image.shape[1] // step
        image = np.asarray(
            cv2.resize(image[: height * step, : width * step], (width, height), interpolation=cv2.INTER_AREA),
            np.uint8,
        )
        box, points = ((values + 0.5) / step - 0.5 for values in (box, points))
    to_crop = box_to_crop(box, size)
    # `box_to_crop` takes the box's middle to size / 2, that is, half a pixel beyond the crop's own middle.
    marks = 2 * (to_points(to_crop, points) + 0.5) / size - 1
    u, _, v = np.linalg.svd(np.asarray(face.matrix[:3, :3], np.float64))
    return ClipFrame(crop_image(image, to_crop, size), marks.astype(np.float32), head_angles(u @ v))
