"""LivePortrait's motion templates (``.pkl``) <-> Performance in IMPLICIT21.

A pickled dictionary: ``n_frames``, ``output_fps``, ``motion`` (a dictionary per frame: ``scale`` (1, 1), ``R``
(1, 3, 3), ``exp`` (1, 21, 3), ``t`` (1, 3), in newer files ``kp`` and ``x_s`` (1, 21, 3)), ``c_eyes_lst`` (1, 2) and
``c_lip_lst`` (1, 1) per frame. Older files say ``R_d``, ``c_d_eyes_lst`` and ``c_d_lip_lst``; templates of the animal
pipeline have no ratios.

Canonical keypoints belong to the driver's identity and no driving rule uses them: their mean over the frames is kept,
and ``source["canonical_spread"]`` says how far any frame was from it. ``x_s`` follows from the rest: it is not kept,
and computed again when a template is written.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import FormatError, InputError
from omote.export.files import write_bytes

if TYPE_CHECKING:
    from omote.performance import Performance

METHOD = "liveportrait-template"
DEFAULT_FPS = 25  # what the published program plays a template at that names no rate
_MOST_FRAMES = 500_000
_MOST_FPS = 1000
_ROTATION_SLACK = 0.02  # largest |R R^T - 1| of a matrix that still counts as a rotation
_EVEN = 1e-3  # share of a frame period that times may be off and still count as even


def read_template(path: str | Path, *, fps: float | None = None) -> Performance:
    """Read a motion template, by a reader that runs nothing of what the pickle names.

    Args:
        path: the file.
        fps: overrides the file's frames per second (25 where it names none, with a warning).

    Raises:
        InputError: missing or unreadable file, or an impossible ``fps``.
        FormatError: not a template, damaged, or a pickle that holds anything but numbers, text and arrays.
    """
    from omote.drive.liveportrait.template import Template, performance_of

    path = Path(path)
    found = _pickled(path)
    motion = found.get("motion") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(motion, list | tuple):
        raise FormatError("this pickle is not a motion template: it has no 'motion'", where=path)
    count = len(motion)
    if not 0 < count <= _MOST_FRAMES:
        raise FormatError(f"it has {count} frames, expected 1 to {_MOST_FRAMES}", where=path)
    told = found.get("n_frames")
    if told is not None and (not isinstance(told, int | float) or told != count):
        what = f"n_frames is {_told(told)}, but {count} frames of motion are in it"
        raise FormatError(what, where=path)
    if not all(isinstance(frame, dict) for frame in motion):
        raise FormatError("motion is not a list of dictionaries", where=path)
    turned = "R" if "R" in motion[0] else "R_d"
    rotation = _frames([frame.get(turned) for frame in motion], turned, (3, 3), path)
    _check_rotations(rotation, turned, path)
    scale = _frames([frame.get("scale") for frame in motion], "scale", (1,), path)
    if not (scale > 0).all():
        raise FormatError(f"frame {int(np.argmin(scale))}: scale must be above 0", where=path)
    about: dict[str, Any] = {"file": path.name, "method": METHOD}
    kp = None
    if "kp" in motion[0]:
        every = _frames([frame.get("kp") for frame in motion], "kp", (21, 3), path).astype(np.float64)
        kp = every.mean(0).astype(np.float32)
        about["canonical_spread"] = round(float(np.abs(every - kp).max()), 7)
    template = Template(
        times=np.arange(count) / _rate(found, fps, path),
        rotation=rotation,
        t=_frames([frame.get("t") for frame in motion], "t", (3,), path),
        scale=scale,
        exp=_frames([frame.get("exp") for frame in motion], "exp", (21, 3), path),
        confidence=np.ones(count, np.float32),
        eyes=_ratios(found, ("c_eyes_lst", "c_d_eyes_lst"), 2, count, path),
        lip=_ratios(found, ("c_lip_lst", "c_d_lip_lst"), 1, count, path),
        kp=kp,
    )
    return performance_of(template, about)


def write_template(performance: Performance, path: str | Path) -> list[Path]:
    """Write a motion template in the newer published form: plain arrays that any tool of LivePortrait's reads.

    It holds a whole number of frames a second: a take with another rate or uneven times is resampled, with a warning.
    Close ratios and canonical keypoints are left out where the take does not have them. A single frame is given 25
    frames a second. A frame at rest beside the take is left out, with a warning.

    Raises:
        InputError: the take is not in IMPLICIT21. OutputError: cannot be written.
    """
    from omote.drive.liveportrait.template import template_of
    from omote.media.pickle_writer import write_plain

    template_of(performance)  # refuses other spaces before they are resampled
    fps = max(1, round(performance.fps)) if len(performance) > 1 else DEFAULT_FPS
    even = performance.times[0] + np.arange(len(performance)) / fps
    if np.abs(performance.times - even).max() * fps > _EVEN:
        told = f"{performance.fps:.5g} frames a second or uneven times"
        warnings.warn(f"{path}: resampled from {told} to {fps}, as a template needs", stacklevel=2)
        performance = performance.resample(fps)
    template = template_of(performance)
    if template.rest is not None:
        what = "the frame at rest is not kept: others measure motion from the first frame"
        warnings.warn(f"{path}: {what}", stacklevel=2)
    points = template.points()
    frames: list[dict[str, Any]] = []
    for index in range(len(template)):
        frame = {
            "scale": template.scale[index, None],
            "R": template.rotation[index, None],
            "exp": template.exp[index, None],
            "t": template.t[index, None],
        }
        if template.kp is not None and points is not None:
            frame |= {"kp": template.kp[None], "x_s": points[index, None]}
        frames.append(frame)
    value: dict[str, Any] = {"n_frames": len(frames), "output_fps": fps, "motion": frames}
    for key, ratios in (("c_eyes_lst", template.eyes), ("c_lip_lst", template.lip)):
        if ratios is not None:
            value[key] = [row[None] for row in ratios]
    return [write_bytes(path, write_plain(value))]


def _pickled(path: Path) -> Any:
    from omote.media.pickles import LARGEST_BYTES, read_plain

    try:
        if path.exists() and not path.is_file():
            raise InputError("is not an ordinary file", where=path)
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise FormatError(f"{size} bytes is more than the {LARGEST_BYTES} that are read", where=path)
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError("there is no such file", where=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=path) from None
    return read_plain(data, path)


def _rate(found: Mapping[Any, Any], given: float | None, path: Path) -> float:
    if given is not None:
        if not 0 < given <= _MOST_FPS:
            raise InputError(f"got {given}, expected frames per second up to {_MOST_FPS}", where="fps")
        return float(given)
    fps = found.get("output_fps")
    if fps is None:
        warnings.warn(f"{path}: it names no output_fps; {DEFAULT_FPS} assumed (say fps=...)", stacklevel=3)
        return float(DEFAULT_FPS)
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= _MOST_FPS:
        raise FormatError(f"output_fps is {_told(fps)}, expected up to {_MOST_FPS}", where=path)
    return float(fps)


def _ratios(
    found: Mapping[Any, Any], keys: tuple[str, str], size: int, count: int, path: Path
) -> np.ndarray | None:
    """(T, size) close ratios under either name; None where the file has none."""
    given = {key: found[key] for key in keys if found.get(key) is not None}
    for key, values in given.items():
        if not isinstance(values, list | tuple):
            raise FormatError(f"{key} is not a list", where=path)
    filled = [(key, values) for key, values in given.items() if len(values)]
    if not filled:
        return None
    key, values = filled[0]
    if len(values) != count:
        raise FormatError(f"{key} has {len(values)} entries, but there are {count} frames", where=path)
    return _frames(values, key, (size,), path)


def _frames(values: Sequence[Any], key: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """(T, *shape) float32 from one array a frame; axes of 1 in front, and flat arrays, are accepted.

    Raises:
        FormatError: a frame lacks it, has another shape, or holds what is not a finite number.
    """
    accepted = (_without_ones(shape), (math.prod(shape),))
    out = np.empty((len(values), *shape), np.float32)
    with np.errstate(over="ignore"):
        for index, value in enumerate(values):
            if value is None:
                raise FormatError(f"frame {index} has no {key}", where=path)
            array = np.asarray(value) if isinstance(value, np.ndarray | float | int) else None
            if array is None or array.dtype.kind not in "fiu":
                raise FormatError(f"frame {index}: {key} is not an array of numbers", where=path)
            if _without_ones(array.shape) not in accepted:
                what = f"frame {index}: {key} has shape {array.shape}, expected {(1, *shape)}"
                raise FormatError(what, where=path)
            out[index] = array.reshape(shape)
    good = np.isfinite(out).reshape(len(out), -1).all(1)
    if not good.all():
        raise FormatError(f"frame {int(np.argmin(good))}: {key} is not finite", where=path)
    return out


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while shape[:1] == (1,):
        shape = shape[1:]
    return shape


def _check_rotations(rotation: np.ndarray, key: str, path: Path) -> None:
    matrix = rotation.astype(np.float64)
    off = np.abs(matrix @ matrix.swapaxes(1, 2) - np.eye(3)).max((1, 2))
    wrong = (off > _ROTATION_SLACK) | (np.linalg.det(matrix) <= 0)
    if wrong.any():
        raise FormatError(f"frame {int(np.argmax(wrong))}: {key} is not a rotation", where=path)


def _told(value: Any) -> str:
    """A number for a message, whatever a file may call one."""
    if isinstance(value, int | float) and abs(value) < 1e12:
        return str(value)
    return "no number" if not isinstance(value, int | float) else "absurd"
