"""Motion parameters from pictures: the motion extractor on crops of a driver or a source, streamed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omote.capture.pipeline import VIDEO_SIDE
from omote.drive.liveportrait.crops import (
    Sizes,
    Square,
    box_to_crop,
    crop_image,
    limit_size,
    network_image,
)
from omote.drive.liveportrait.driving import DrivingTake, pick
from omote.drive.liveportrait.framing import (
    Faces,
    held_frames,
    in_square,
    median_square,
    place,
    smooth_squares,
)
from omote.drive.liveportrait.renderer import to_tensor
from omote.drive.liveportrait.settings import LivePortraitOptions
from omote.drive.liveportrait.tracking import Choice, Followed, follow_faces
from omote.errors import NoFaceError
from omote.models.liveportrait.fast import FastMotion
from omote.models.liveportrait.keypoints import Motion
from omote.models.liveportrait.motion import MotionExtractor

Picture = NDArray[np.uint8]
Progress = Callable[[str, int, int | None], None]
"""Called with (what is being done, steps done, steps in all or None)."""
_BATCH = 8


@dataclass(frozen=True)
class Extractor:
    """The motion extractor over many pictures, a few at a time.

    Attributes:
        network: M, in float32.
        sizes: of the pictures that it looks at, and of the crops which these are made from.
        batch: pictures at once.
    """

    network: MotionExtractor
    sizes: Sizes = field(default_factory=Sizes)
    batch: int = _BATCH

    @cached_property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    @cached_property
    def _seen(self) -> Callable[[Tensor], dict[str, Tensor]]:
        """The network, as it is used."""
        return FastMotion(self.network) if self._device.type == "cpu" else self.network

    def __call__(self, pictures: Iterable[Picture], done: Callable[[int], None] | None = None) -> Motion:
        """The motion (T frames) of T pictures (S, S, 3) uint8 from `look`; at least one.

        Args:
            pictures: streamed; none is kept.
            done: told how many there are so far.
        """
        parts: list[Motion] = []
        waiting: list[Picture] = []
        count = 0
        for picture in pictures:
            waiting.append(picture)
            if len(waiting) == self.batch:
                parts.append(self._run(waiting))
                count += len(waiting)
                waiting = []
                if done is not None:
                    done(count)
        if waiting:
            parts.append(self._run(waiting))
        return Motion.join(parts)

    @property
    def fingerprint(self) -> str:
        """sha256 of the network's weights and of the size of what it sees."""
        made = hashlib.sha256(str(self.sizes.seen).encode())
        for name, value in self.network.state_dict().items():
            made.update(name.encode())
            made.update(value.cpu().contiguous().numpy().tobytes())
        return made.hexdigest()

    def look(self, picture: Picture, *, area: bool) -> Picture:
        """What the network sees of a crop or a frame (H, W, 3) uint8; see `network_image`."""
        return network_image(picture, area=area, size=self.sizes.seen)

    def crop(self, picture: Picture, matrix: NDArray[Any]) -> Picture:
        """A crop, to be looked at, through a map from `Square.to_crop` at the size ``sizes.cut``."""
        return crop_image(picture, matrix, self.sizes.cut)

    def _run(self, pictures: list[Picture]) -> Motion:
        with torch.inference_mode():
            outputs = self._seen(to_tensor(np.stack(pictures)).to(self._device))
            motion = Motion.from_outputs({name: value.float().cpu() for name, value in outputs.items()})
        # Cloned outside: tensors of inference mode could not be used with gradients by anybody.
        parts = (motion.kp, motion.rotation, motion.t, motion.scale, motion.exp)
        return Motion(*(x.clone() for x in parts))


def look_at_video(
    path: Path, choice: Choice, where: str, progress: Progress
) -> tuple[Followed, tuple[int, int]]:
    """The faces of a video, and the size (width, height) px of its frames.

    Args:
        path: the file; squares are in pixels of its own frames.
        choice: which faces.
        where: what the bar says.
        progress: told on the way.

    Raises:
        InputError: it cannot be read.
        NoFaceError: no face, or not the one asked for.
    """
    from omote.media import open_video

    reader = open_video(path, prefetch=True, max_side=VIDEO_SIDE)
    total = reader.frame_count
    try:
        with closing(_closable(reader)) as frames:
            found = follow_faces(frames, reader.scale, choice, lambda done: progress(where, done, total))
    except NoFaceError as error:
        raise NoFaceError(error.what, where=path, remedy=error.remedy) from error
    return found, (round(reader.size[0] / reader.scale), round(reader.size[1] / reader.scale))


def _closable(frames: Iterable[Any]) -> Any:
    """The iterator of a video, which has a thread to end."""
    return iter(frames)


def video_frames(
    path: Path, count: int, longest: int | None = None, *, published: bool = False
) -> Iterator[Picture]:
    """The first frames (H, W, 3) uint8 of a video.

    Args:
        path: the file.
        count: how many.
        longest: the longer side that they are reduced to, px; None: they keep their size.
        published: reduce them as the published code does (`limit_size`).
    """
    from omote.media import open_video

    limit = None if published else longest
    with closing(_closable(open_video(path, prefetch=True, max_side=limit))) as frames:
        for number, (_, picture) in enumerate(frames):
            if number == count:
                return
            yield limit_size(picture, longest) if published and longest is not None else picture


def motion_of_video(
    path: Path,
    frames: Iterable[Picture],
    squares: Square,
    found: NDArray[np.bool_],
    extractor: Extractor,
    progress: Progress,
    *,
    source: bool,
) -> Motion:
    """The motion (T) of a face in the frames of a video; frames without it hold the one before.

    Args:
        path: the file, for the bar.
        frames: T of them.
        squares: (T) what is looked at.
        found: (T,) bool.
        extractor: the network.
        progress: told on the way.
        source: sources are made smaller over areas, as published.
    """
    matrices = squares.to_crop(extractor.sizes.cut)

    def crops() -> Iterator[Picture]:
        for number, picture in enumerate(frames):
            if found[number]:
                yield extractor.look(extractor.crop(picture, matrices[number]), area=source)

    total = int(found.sum())
    motion = extractor(crops(), lambda done: progress(f"reading the motion of {path.name}", done, total))
    places = np.cumsum(found) - 1
    return pick(motion, places[held_frames(found)])


def drive_by_video(
    path: Path, choice: Choice, options: LivePortraitOptions, extractor: Extractor, progress: Progress
) -> DrivingTake:
    """The motion of a driving video.

    Ours follows the face with a calm upright window and says afterwards what the parameters are in one window for the
    whole take. As published, one fixed box is cut out, the mean over all frames; or whole frames are squeezed to a
    square, if they are square already and ``crop_driver`` is off.

    Raises:
        InputError: it cannot be read.
        NoFaceError: no face in any frame.
    """
    followed, size = look_at_video(path, choice, f"finding the face in {path.name}", progress)
    faces = followed.faces[0]
    found = faces.found
    if options.official:
        motion = _official_motion(path, faces, size, options, extractor, progress)
    else:
        squares = _window(faces, followed, options)
        frames = video_frames(path, len(found))
        motion = motion_of_video(path, frames, squares, found, extractor, progress, source=False)
        seen = squares.at(held_frames(found))  # where the motion that is held was seen
        motion = in_square(motion, seen, median_square(squares))
    return DrivingTake(
        motion=motion,
        times=followed.times,
        eyes=faces.eyes,
        lip=faces.lip,
        found=found,
        cuts=followed.cuts,
        still=len(found) == 1,
    )


def _window(faces: Faces, followed: Followed, options: LivePortraitOptions) -> Square:
    squares = place(faces.square, options.driver_placement).upright()
    return smooth_squares(squares, followed.times, followed.cuts, 1.0)


def _official_motion(
    path: Path,
    faces: Faces,
    size: tuple[int, int],
    options: LivePortraitOptions,
    extractor: Extractor,
    progress: Progress,
) -> Motion:
    matrix = None
    if options.crop_driver or size[0] != size[1]:
        box = place(faces.square, options.driver_placement).upright().box()
        matrix = box_to_crop(box[faces.found].mean(0), extractor.sizes.cut)
    total = len(faces)

    def pictures() -> Iterator[Picture]:
        for picture in video_frames(path, total):
            yield extractor.look(picture if matrix is None else extractor.crop(picture, matrix), area=False)

    return extractor(pictures(), lambda done: progress(f"reading the motion of {path.name}", done, total))


def drive_by_picture(
    picture: Picture, landmarks: NDArray[Any], options: LivePortraitOptions, extractor: Extractor
) -> DrivingTake:
    """The motion of one driving picture (H, W, 3) uint8 with landmarks (478, 2) px."""
    faces = Faces.of(landmarks[None])
    squeezed = options.official and not options.crop_driver and picture.shape[0] == picture.shape[1]
    if not squeezed:
        square = place(faces.square, options.driver_placement).upright()
        picture = extractor.crop(picture, square.to_crop(extractor.sizes.cut)[0])
    motion = extractor([extractor.look(picture, area=False)])
    return DrivingTake(motion, np.zeros(1), faces.eyes, faces.lip, faces.found, still=True)


def drive_by_pictures(
    pictures: Iterable[tuple[Picture, NDArray[Any]]],
    times: NDArray[np.float64],
    found: NDArray[np.bool_],
    extractor: Extractor,
    done: Callable[[int], None],
) -> DrivingTake:
    """The motion of rendered frames, whose landmarks are known.

    Args:
        pictures: (square picture (S, S, 3) uint8, landmarks (478, 2) px) of each frame, streamed.
        times: (T,) seconds.
        found: (T,) bool, where the take that was rendered has a face.
        extractor: the network.
        done: told how many frames are done.
    """
    looked: list[tuple[int, Faces]] = []

    def shown() -> Iterator[Picture]:
        for number, (picture, landmarks) in enumerate(pictures):
            looked.append((number, Faces.of(landmarks[None])))
            yield picture if len(picture) == extractor.sizes.seen else extractor.look(picture, area=True)

    motion = extractor(shown(), done)
    faces = Faces.join(looked, len(times))
    return DrivingTake(motion, times, faces.eyes, faces.lip, found, still=len(times) == 1)
