"""The motion that drives, whatever it came from: its parameters over time, and its value at any moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omote.drive.liveportrait.template import Template
from omote.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from omote.models.liveportrait.keypoints import Motion

Array = NDArray[Any]

_SMALLEST = 1e-3


@dataclass(frozen=True)
class DrivingTake:
    """The motion of one driver; about 600 bytes a frame.

    Attributes:
        motion: T frames.
        times: (T,) seconds.
        eyes: (T, 2) close ratios, or None where they are not known.
        lip: (T, 1), or None.
        found: (T,) bool; a frame without a face holds the one before.
        cuts: frames that begin a new shot.
        still: it is a single picture.
        own_shape: ``motion.kp`` are the driver's own canonical keypoints (not all templates have them).
        rest: one frame that is not in it, from which relative motion starts; None: a frame of it is chosen.
    """

    motion: Motion
    times: NDArray[np.float64]
    eyes: Tensor | None
    lip: Tensor | None
    found: NDArray[np.bool_]
    cuts: tuple[int, ...] = ()
    still: bool = False
    own_shape: bool = True
    rest: DrivingTake | None = None

    def __len__(self) -> int:
        return len(self.times)

    @property
    def fps(self) -> float:
        """Frames a second, the median; 0 for a single one."""
        return 0.0 if len(self) < 2 else float(1 / np.median(np.diff(self.times)))

    @property
    def elapsed(self) -> NDArray[np.float64]:
        """(T,) seconds from its first frame."""
        return self.times - self.times[0]

    def rows(self, frames: Array) -> DrivingTake:
        """Some of its frames (N,), without cuts; the first of them is the moment 0."""
        index = torch.from_numpy(np.asarray(frames, np.int64))
        return replace(
            self,
            motion=pick(self.motion, frames),
            times=self.times[frames] - self.times[frames[0]],
            eyes=None if self.eyes is None else self.eyes[index],
            lip=None if self.lip is None else self.lip[index],
            found=self.found[frames],
            cuts=(),
        )


def take_of_template(template: Template) -> DrivingTake:
    """A motion template as a driver."""

    def tensor(values: Array | None) -> Tensor | None:
        return None if values is None else known(values)

    def known(values: Array) -> Tensor:
        return torch.from_numpy(np.array(values, np.float32))  # a copy: those of a Performance are read-only

    count = len(template)
    kp = np.zeros((21, 3), np.float32) if template.kp is None else template.kp
    motion = Motion(
        kp=known(kp)[None].expand(count, -1, -1),
        rotation=known(template.rotation),
        t=known(template.t),
        scale=known(template.scale),
        exp=known(template.exp),
    )
    return DrivingTake(
        motion=motion,
        times=np.asarray(template.times, np.float64),
        eyes=tensor(template.eyes),
        lip=tensor(template.lip),
        found=np.asarray(template.confidence) > 0,
        still=count == 1,
        own_shape=template.kp is not None,
        cuts=template.cuts,
        rest=None if template.rest is None else take_of_template(template.rest),
    )


def template_of_take(take: DrivingTake) -> Template:
    """A driver as a motion template, to be kept; `take_of_template` gives it back with one shape of the face."""

    def array(values: Tensor | None) -> Array | None:
        return None if values is None else values.double().numpy()

    motion = take.motion
    shapes = motion.kp[torch.from_numpy(take.found)] if len(motion.kp) == len(take) else motion.kp
    return Template(
        times=take.times,
        rotation=motion.rotation.double().numpy(),
        t=motion.t.numpy(),
        # Only networks that learned nothing give sizes that are not above 0.
        scale=motion.scale.clamp(min=_SMALLEST).numpy(),
        exp=motion.exp.numpy(),
        confidence=take.found.astype(np.float32),
        eyes=array(take.eyes),
        lip=array(take.lip),
        kp=shapes.mean(0).numpy() if take.own_shape else None,
        cuts=take.cuts,
        rest=None if take.rest is None else template_of_take(take.rest),
    )


def pick(motion: Motion, frames: Array) -> Motion:
    """Some frames of a motion, in any order and as often as named."""
    index = torch.from_numpy(np.asarray(frames, np.int64))
    count = len(motion)

    def chosen(x: Tensor) -> Tensor:
        return x[index] if len(x) == count else x.expand(len(index), *x.shape[1:])

    return Motion(*(chosen(x) for x in (motion.kp, motion.rotation, motion.t, motion.scale, motion.exp)))


def _cuts_at(moments: Array, cuts: Array) -> tuple[int, ...]:
    """The moments that begin a new shot; a shot between two of them is in none."""
    return tuple(sorted({int(n) for n in np.searchsorted(moments, cuts) if 0 < n < len(moments)}))


def at_times(take: DrivingTake, moments: Array) -> DrivingTake:
    """The take at other moments: in between it is interpolated (within a shot), after its end the last frame stays.

    Args:
        take: one of any length.
        moments: (N,) seconds from its first frame, increasing.
    """
    own = take.elapsed
    after = np.clip(np.searchsorted(own, moments, side="right"), 1, max(len(own) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(own) - 1)
    gap = np.maximum(own[after] - own[before], 1e-9)
    share = np.clip((moments - own[before]) / gap, 0, 1)
    crossing = np.isin(after, take.cuts) & (share < 1)
    share = np.where(crossing, 0.0, share)
    snapped = np.round(share)
    share = np.where(np.abs(share - snapped) < 1e-6, snapped, share)
    a, b = pick(take.motion, before), pick(take.motion, after)
    weight = torch.from_numpy(share).float()

    def mixed(x: Tensor, y: Tensor) -> Tensor:
        w = weight.reshape(-1, *(1,) * (x.ndim - 1))
        return torch.where(w == 0, x, torch.where(w == 1, y, x + (y - x) * w))

    first = a.rotation.double().numpy()
    turn = matrix_to_axis_angle(np.swapaxes(first, 1, 2) @ b.rotation.double().numpy())
    between = torch.from_numpy(first @ axis_angle_to_matrix(turn * share[:, None])).to(a.rotation)
    exact = weight.reshape(-1, 1, 1)
    rotation = torch.where(exact == 0, a.rotation, torch.where(exact == 1, b.rotation, between))
    nearest = np.where(share < 0.5, before, after)
    motion = Motion(
        kp=a.kp,
        rotation=rotation,
        t=mixed(a.t, b.t),
        scale=mixed(a.scale, b.scale),
        exp=mixed(a.exp, b.exp),
    )

    def rows(values: Tensor | None) -> Tensor | None:
        return None if values is None else mixed(values[before], values[after])

    return replace(
        take,
        motion=motion,
        times=np.asarray(moments, np.float64),
        eyes=rows(take.eyes),
        lip=rows(take.lip),
        found=take.found[nearest],
        cuts=_cuts_at(moments, own[list(take.cuts)]),
    )
