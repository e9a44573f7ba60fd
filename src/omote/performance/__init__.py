"""Performance: rig controls over time, with head pose, identity and camera. The one value that travels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from omote.controls import ControlSpace, space_by_name
from omote.errors import FormatError, InputError
from omote.performance import files
from omote.performance.camera import Camera
from omote.performance.interpolation import locate, mix_frames
from omote.performance.summary import summarize
from omote.performance.validation import checked, checked_identity, checked_share, checked_source, same

__all__ = ["Camera", "Performance"]

Array = npt.NDArray[Any]

_STILL_PERIOD = 1 / 30  # seconds a single frame lasts where a period is needed
_MOST_FRAMES = 10_000_000
_MIRROR_ROTATION = np.array([1, -1, -1], np.float32)  # and the opposite for a translation


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Performance:
    """A take. T frames of C controls; all arrays become read-only float32 copies (times: float64).

    Args:
        space: which controls.
        controls: (T, C) in control units; values outside a control's range are kept.
        head_rotation: (T, 3) axis-angle radians, head in camera space; 0 faces the viewer.
        head_translation: (T, 3) metres, camera space (x right, y up, z to the viewer; the head is at z < 0).
        confidence: (T,) 0..1; 0 where no face was found: such a frame holds the last controls and says so.
        times: (T,) seconds, strictly increasing; variable frame rates survive.
        camera: one per take.
        identity: rig name to (I,) coefficients, constant over the take.
        source: JSON-able account of the origin; customary keys are file, sha256, size, omote (the version)
            and method.
        control_confidence: (T, C) 0..1, what the evidence constrains (0 = nothing saw it; the control sits at
            its prior), or None where that is not known.

    Raises:
        InputError: a wrong shape, a value that is not finite, times that do not increase; names the field.
    """

    space: ControlSpace
    controls: Array
    head_rotation: Array
    head_translation: Array
    confidence: Array
    times: Array
    camera: Camera
    identity: Mapping[str, Array] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    control_confidence: Array | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.space, ControlSpace) or not isinstance(self.camera, Camera):
            raise InputError("space must be a ControlSpace and camera a Camera", where="performance")
        times = checked("times", self.times, (None,), np.float64)
        count = len(times)
        if count == 0:
            raise InputError("a performance has at least one frame", where="times")
        if count > 1 and not (np.diff(times) > 0).all():
            first = int(np.argmax(np.diff(times) <= 0)) + 1
            raise InputError(f"must be strictly increasing, frame {first} is not", where="times")
        shapes = {
            "controls": (count, len(self.space)),
            "head_rotation": (count, 3),
            "head_translation": (count, 3),
        }
        arrays = {"times": times}
        for name, shape in shapes.items():
            arrays[name] = checked(name, getattr(self, name), shape)
        arrays["confidence"] = checked_share("confidence", self.confidence, (count,))
        if self.control_confidence is not None:
            arrays["control_confidence"] = checked_share(
                "control_confidence", self.control_confidence, shapes["controls"]
            )
        for name, array in arrays.items():
            object.__setattr__(self, name, array)
        object.__setattr__(self, "identity", checked_identity(self.identity))
        object.__setattr__(self, "source", checked_source(self.source))

    # ---- looking ---------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return f"Performance({len(self)} frames, {self.duration:.2f} s, {self.space.name})"

    def __eq__(self, other: object) -> bool:
        """Whether every field is the same, arrays element by element."""
        if not isinstance(other, Performance):
            return NotImplemented
        return same(self._fields(), other._fields())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._fields(),)

    @property
    def fps(self) -> float:
        """Frames per second: the inverse of the median frame period; 0 for a single frame."""
        return float(1.0 / np.median(np.diff(self.times))) if len(self) > 1 else 0.0

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last."""
        return float(self.times[-1] - self.times[0])

    def track(self, name: str) -> Array:
        """(T,) values of one control.

        Raises:
            InputError: no such control.
        """
        return np.asarray(self.controls[:, self.space.index(name)])

    def info(self) -> dict[str, Any]:
        """What the take contains, JSON-able.

        Returns:
            frames, seconds, fps, faces_found (share of frames with confidence above 0), mean_confidence,
            space, controls (count), most_active (list of control, low, high over frames with a face, the most
            active first), identity (rig name to count), camera, unseen_controls (no evidence in any
            frame; None: not known), method and source.
        """
        return summarize(self)

    # ---- cutting and joining ---------------------------------------------------

    def __getitem__(self, frames: int | slice | Sequence[int]) -> Performance:
        """A run of frames (``take[10:20]``, ``take[::2]``), some (``take[[0, 4]]``) or one of them; times are kept."""
        if isinstance(frames, slice):
            if (frames.step or 1) < 1:
                raise InputError("frames cannot run backwards", where="slice")
            if not range(*frames.indices(len(self))):
                raise InputError(f"no frames in {frames.start}:{frames.stop} of {len(self)}", where="slice")
            return self._picked(frames)
        if isinstance(frames, Sequence):
            return self._picked(np.array(frames, np.int64))
        index = range(len(self))[frames]  # raises IndexError, which ends iteration
        return self._picked(slice(index, index + 1))

    def __iter__(self) -> Iterator[Performance]:
        return (self[i] for i in range(len(self)))

    def between(self, start: float | None = None, end: float | None = None) -> Performance:
        """The frames with start <= time < end, seconds; None is open. Times are kept.

        Raises:
            InputError: no frame lies there.
        """
        low = 0 if start is None else int(np.searchsorted(self.times, start, side="left"))
        high = len(self) if end is None else int(np.searchsorted(self.times, end, side="left"))
        if low >= high:
            span = f"{self.times[0]:g} to {self.times[-1]:g} s"
            what = f"no frames between {start} and {end} s (the take is {span})"
            raise InputError(what, where="between")
        return self[low:high]

    def concatenate(self, *others: Performance, gap: float | None = None) -> Performance:
        """This take followed by others; identity, camera and source stay this take's.

        Args:
            others: takes in the same control space.
            gap: seconds from a take's last frame to the next take's first, above 0; None is one frame period.

        Raises:
            InputError: another space, or a gap that is not above 0.
        """
        if gap is not None and not 0 < gap < np.inf:
            raise InputError(f"must be above 0 seconds, got {gap}", where="gap")
        parts = [self, *others]
        times = [self.times]
        for part in others:
            self._same_space(part, "concatenate")
            period = next((1 / p.fps for p in (self, part) if p.fps), _STILL_PERIOD)
            start = times[-1][-1] + (period if gap is None else gap)
            # Runs cut from one take keep their times to the last bit.
            shift = start - part.times[0]
            times.append(part.times + (0.0 if abs(shift) < 1e-6 * period else shift))
        frames = [part._frames() for part in parts]
        if any("control_confidence" in f for f in frames):
            for f in frames:
                f.setdefault("control_confidence", np.ones_like(f["controls"]))
        joined: dict[str, Any] = {key: np.concatenate([f[key] for f in frames]) for key in frames[0]}
        return replace(self, times=np.concatenate(times), **joined)

    # ---- time ------------------------------------------------------------------

    def resample(self, fps: float) -> Performance:
        """At a steady frame rate from the first frame on: linear, slerp for the head's rotation.

        A frame without a face gives nothing to a moment between it and one with a face; there only the
        confidence falls.

        Raises:
            InputError: fps is not above 0, or absurd.
        """
        if not 0 < fps < np.inf:
            raise InputError(f"must be above 0, got {fps}", where="fps")
        count = int(np.floor(min(self.duration * fps, 2.0 * _MOST_FRAMES) + 1e-6)) + 1
        if count > _MOST_FRAMES:
            raise InputError(f"{fps:g} would make more than {_MOST_FRAMES} frames", where="fps")
        times = self.times[0] + np.arange(count) / fps
        before, after, share = locate(self.times, times)
        times = np.where(share == 0, self.times[before], np.where(share == 1, self.times[after], times))
        return replace(self, times=times, **self._sampled(before, after, share))

    def retime(self, factor: float) -> Performance:
        """The same frames over ``factor`` times the time: 2 is half speed. The first frame's time is kept.

        Raises:
            InputError: factor is not above 0.
        """
        if not 0 < factor < np.inf:
            raise InputError(f"must be above 0, got {factor}", where="factor")
        return replace(self, times=self.times[0] + (self.times - self.times[0]) * factor)

    def blend(self, other: Performance, weight: float | npt.ArrayLike) -> Performance:
        """Mix another take into this one, both aligned at their first frames; this take's times are kept.

        Args:
            other: a take in the same space; sampled at this take's moments, its last frame held at the end.
            weight: 0..1, or (T,): the share of the other take.

        Raises:
            InputError: another space, or a weight outside 0..1.
        """
        self._same_space(other, "blend")
        shares = np.asarray(weight, np.float64)
        if shares.shape not in ((), self.times.shape) or not ((shares >= 0) & (shares <= 1)).all():
            raise InputError(f"must be 0..1, one value or {len(self)}", where="weight")
        before, after, share = locate(other.times, self.times - self.times[0] + other.times[0])
        first, second = self._frames(), other._sampled(before, after, share)
        for one, two in ((first, second), (second, first)):
            if "control_confidence" in one:
                two.setdefault("control_confidence", np.ones_like(two["controls"]))
        return replace(self, **mix_frames(first, second, np.broadcast_to(shares, self.times.shape)))

    # ---- controls --------------------------------------------------------------

    def mirror(self) -> Performance:
        """The take flipped left to right: controls, head pose and camera; identity coefficients stay."""
        evidence = self.control_confidence
        return replace(
            self,
            controls=self.space.mirror(self.controls),
            head_rotation=self.head_rotation * _MIRROR_ROTATION,
            head_translation=self.head_translation * -_MIRROR_ROTATION,
            camera=self.camera.mirror(),
            control_confidence=None if evidence is None else evidence[:, self.space.mirror_indices],
        )

    def rename(self, names: Mapping[str, str], *, space_name: str | None = None) -> Performance:
        """Give controls other names.

        Args:
            names: old name to new name.
            space_name: the new space's name, by default the old one's and "-renamed".

        Raises:
            InputError: an old name that does not exist, or a new one that does.
        """
        for old in names:
            self.space.index(old)
        renamed = tuple(
            replace(c, name=names.get(c.name, c.name), mirror=names.get(str(c.mirror), c.mirror))
            for c in self.space.controls
        )
        name = space_name or f"{self.space.name}-renamed"
        return replace(self, space=replace(self.space, name=name, controls=renamed))

    def with_space(self, to: ControlSpace | str) -> Performance:
        """In other controls, converted by name; see `omote.controls.ControlSpace.convert`.

        Raises:
            InputError: an unknown space, or one that has nothing in common with this one.
        """
        space = space_by_name(to) if isinstance(to, str) else to
        if space == self.space:
            return self
        evidence = self.control_confidence
        return replace(
            self,
            space=space,
            controls=self.space.convert(self.controls, space),
            control_confidence=None if evidence is None else self.space.convert_confidence(evidence, space),
        )

    def with_(self, **changes: Any) -> Performance:
        """A copy with some fields replaced.

        Raises:
            InputError: no such field, or values that do not fit.
        """
        unknown = changes.keys() - self._fields().keys()
        if unknown:
            raise InputError(f"a performance has no {', '.join(sorted(unknown))}", where="with_")
        return replace(self, **changes)

    # ---- files -----------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write an ``.omote`` file, atomically; the same content gives the same bytes. Returns the path.

        Raises:
            OutputError: it cannot be written there.
        """
        path = Path(path)
        tensors = self._frames() | {"times": self.times}
        tensors |= {f"identity/{rig}": values for rig, values in self.identity.items()}
        camera = {"focal": self.camera.focal, "principal": self.camera.principal, "size": self.camera.size}
        space = files.describe_space(self.space)
        files.write(path, tensors, {"space": space, "camera": camera, "source": dict(self.source)})
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an ``.omote`` file.

        Raises:
            InputError: no such file, or it cannot be read.
            FormatError: not an Omote file, damaged, or written by a newer version.
        """
        values = files.read(Path(path))
        try:
            return cls(**values)
        except InputError as error:
            raise FormatError(f"damaged ({error})", where=path) from None

    def export(self, path: str | Path, **options: Any) -> Any:
        """Write a file other programs read; the suffix says which (see `omote.export.write`)."""
        from omote import export

        return export.write(self, path, **options)

    # ---- inside ----------------------------------------------------------------

    def _fields(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**values, "identity": dict(self.identity), "source": dict(self.source)}

    def _frames(self) -> dict[str, Any]:
        keys = ("controls", "head_rotation", "head_translation", "confidence", "control_confidence")
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}

    def _picked(self, index: slice | Array) -> Performance:
        return replace(self, times=self.times[index], **{k: a[index] for k, a in self._frames().items()})

    def _sampled(self, before: Array, after: Array, share: Array) -> dict[str, Any]:
        frames = self._frames()
        first, second = ({k: a[index] for k, a in frames.items()} for index in (before, after))
        return mix_frames(first, second, share)

    def _same_space(self, other: Performance, where: str) -> None:
        if other.space != self.space:
            what = f"takes in {self.space.name} and {other.space.name} do not mix"
            raise InputError(what, where=where, remedy="Convert one first with with_space().")


def _rebuild(values: dict[str, Any]) -> Performance:
    return Performance(**values)
