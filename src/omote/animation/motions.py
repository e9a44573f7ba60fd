"""Which driver moves which face, on one time line: takes of other people become motions of the faces in the photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from omote.animation.drivers import Driving
from omote.animation.options import AnimateOptions
from omote.edit.edit import set_controls
from omote.edit.motion import MotionOptions, apply_motion
from omote.edit.regions import REGIONS
from omote.errors import InputError, NoFaceError
from omote.performance import Camera, Performance

if TYPE_CHECKING:
    from omote.capture.pipeline import Captured

_HOLD = 1.0
"""Seconds for which a single expression stays in a video."""
_EASED_FPS = 25.0


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch works on one thread: the fit's matrices are small."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_faces(image: NDArray[np.uint8], options: AnimateOptions, where: Path) -> list[Captured]:
    """The faces of the photo that are to move.

    Args:
        image: (H, W, 3) uint8 RGB.
        options: ``face`` is used.
        where: the photo's file, for messages.

    Returns:
        For "all" from left to right as seen; for numbers in their order.

    Raises:
        NoFaceError: no face, or not the one asked for.
    """
    from omote.capture.pipeline import capture_image

    source = {"file": where.name}
    numbers = options.face if isinstance(options.face, tuple) else (options.face,)
    try:
        found = [face for one in numbers for face in capture_image(image, face=one, source=dict(source))]
    except NoFaceError as error:
        raise NoFaceError(error.what, where=where, remedy=error.remedy) from error
    if options.face == "all":
        found.sort(key=lambda face: float(np.nanmean(face.landmarks[..., 0])))
    return found


def resized(face: Captured, size: tuple[int, int]) -> Captured:
    """What was captured from a picture, for that picture made ``size`` (width, height) pixels large."""
    camera = face.performance.camera
    x, y = size[0] / camera.size[0], size[1] / camera.size[1]
    principal = (camera.principal[0] * x, camera.principal[1] * y)
    smaller = Camera(camera.focal * (x * y) ** 0.5, principal, size)
    landmarks = face.landmarks * np.array([x, y], np.float32)
    return replace(face, performance=face.performance.with_(camera=smaller), landmarks=landmarks)


def deal(drivings: Sequence[Driving], faces: int) -> list[Driving]:
    """One driver for each face: the same for all, or each its own in order.

    Raises:
        InputError: other numbers.
    """
    if len(drivings) == 1:
        return list(drivings) * faces
    if len(drivings) != faces:
        raise InputError(
            f"{len(drivings)} drivers for {faces} {'face' if faces == 1 else 'faces'}",
            where="--face",
            remedy="Use one driver, or one for each face with --face all (left to right) or --face 0,1,...",
        )
    return list(drivings)


@dataclass(frozen=True)
class Motions:
    """What each face does.

    Attributes:
        takes: one a face, all with the same times: controls and pose of that face in the photo's camera.
        leader: which of them belongs to the driver whose times they have.
    """

    takes: tuple[Performance, ...]
    leader: int

    @property
    def times(self) -> NDArray[np.float64]:
        """(T,) seconds from 0."""
        return np.asarray(self.takes[self.leader].times - self.takes[self.leader].times[0])

    def __len__(self) -> int:
        return len(self.takes[self.leader])

    def at(self, frames: Sequence[int]) -> Motions:
        """Some of the frames, in increasing order."""
        return Motions(tuple(take[frames] for take in self.takes), self.leader)

    def nearest(self, seconds: float) -> int:
        """The frame nearest to a moment.

        Raises:
            InputError: it is after the end.
        """
        times = self.times
        period = float(np.median(np.diff(times))) if len(times) > 1 else np.inf
        if seconds > times[-1] + period:
            raise InputError(f"{seconds:g} s is after the end at {times[-1]:.2f} s", where="--time")
        return int(np.argmin(np.abs(times - seconds)))

    def peak(self, sources: Sequence[Performance]) -> int:
        """The frame in which the faces differ most from what they are in the photo."""
        apart = np.zeros(len(self))
        for take, source in zip(self.takes, sources, strict=True):
            still = source.with_space(take.space)
            apart += np.linalg.norm(take.controls - still.controls, axis=1)
            apart += 2.0 * np.linalg.norm(take.head_rotation - still.head_rotation, axis=1)
        return int(np.argmax(apart))


def motions_of(
    sources: Sequence[Performance], drivings: Sequence[Driving], options: AnimateOptions, *, eased: bool
) -> Motions:
    """Move each face as its driver does.

    Args:
        sources: the photo's faces, one frame each.
        drivings: one a face.
        options: of the motion, and ``fps``.
        eased: whether a single expression comes and goes over time (in a video), instead of being one frame.

    Raises:
        InputError: a control that does not exist, a reference frame that is not there.
    """
    moved = [_moved(source, driving, options) for source, driving in zip(sources, drivings, strict=True)]
    if eased and all(driving.single for driving in drivings):
        moved = [_eased(source, take, options) for source, take in zip(sources, moved, strict=True)]
    leader = int(np.argmax([take.duration for take in moved]))
    takes = [take if take is moved[leader] else _on_time_line(moved[leader], take) for take in moved]
    return Motions(tuple(takes), leader)


def _moved(source: Performance, driving: Driving, options: AnimateOptions) -> Performance:
    take, reference = driving.take, _reference(driving, options)
    if options.fps is not None and not driving.single:
        moment = take.times[reference] if isinstance(reference, int) else None
        take = take.resample(options.fps)
        if moment is not None:
            reference = int(np.argmin(np.abs(take.times - moment)))
    moved = apply_motion(source, take, motion_options(driving, options, reference))
    return set_controls(moved, *options.changes) if options.changes else moved


def _reference(driving: Driving, options: AnimateOptions) -> Literal["first", "neutral"] | int:
    reference = options.reference
    if reference is None:
        return "neutral" if driving.kind == "script" or driving.single else "first"
    if isinstance(reference, int) and not 0 <= reference < len(driving.take):
        raise InputError(
            f"{driving.name} has no frame {reference}",
            where="--reference",
            remedy=f"It has {len(driving.take)}, counted from 0.",
        )
    return reference


def motion_options(
    driving: Driving, options: AnimateOptions, reference: Literal["first", "neutral"] | int
) -> MotionOptions:
    """`omote.edit.motion.MotionOptions` for one driver, with the defaults of its kind."""
    still = driving.single and driving.kind != "script"  # an expression, not a motion
    return MotionOptions(
        mode=options.mode or ("absolute" if still else "relative"),
        reference=reference,
        regions=options.regions or frozenset(REGIONS) - ({"pose"} if still else set()),
        strength=options.strength,
        offsets=options.offsets,
        gaze=options.gaze,
        blinks=options.blinks,
        seed=options.seed,
    )


def _eased(source: Performance, goal: Performance, options: AnimateOptions) -> Performance:
    """From the photo's face to an expression, which stays a while, and back."""
    fps = options.fps or _EASED_FPS
    length = 2 * options.ease + _HOLD
    times = np.arange(max(2, round(length * fps) + 1)) / fps
    still = _repeated(source.with_space(goal.space), times)
    into = np.minimum(times, times[-1] - times) / max(options.ease, 1e-6)
    share = np.clip(into, 0, 1)
    return still.blend(goal, share * share * (3 - 2 * share)).with_(source=goal.source)


def _repeated(take: Performance, times: NDArray[np.float64]) -> Performance:
    count = len(times)
    evidence = take.control_confidence
    return take.with_(
        times=times,
        controls=np.repeat(take.controls[:1], count, 0),
        head_rotation=np.repeat(take.head_rotation[:1], count, 0),
        head_translation=np.repeat(take.head_translation[:1], count, 0),
        confidence=np.repeat(take.confidence[:1], count),
        control_confidence=None if evidence is None else np.repeat(evidence[:1], count, 0),
    )


def _on_time_line(leader: Performance, take: Performance) -> Performance:
    """A take at the moments of another, both aligned at their first frames; its last frame is held."""
    return leader.blend(take, 1.0).with_(identity=take.identity, camera=take.camera, source=take.source)
