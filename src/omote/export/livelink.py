"""Live Link Face CSV: what Epic's phone app records and Unreal, Blender and Maya tools import.

61 columns of values: the 52 ARKit shapes in PascalCase, then yaw, pitch and roll of head, left eye and right
eye. Angles are radians in head axes (x the subject's left, y up, z out of the face), with
``R = Ry(yaw) Rx(pitch) Rz(roll)``: positive yaw turns towards the subject's left, positive pitch looks down.
Files name no unit, so the writer puts a ``.json`` beside the CSV and the reader has ``angle_unit``.
Source: the app's recordings; ``Timecode`` is HH:MM:SS:FF.mmm in frames of 1/60 s and thousandths of a frame.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from omote.errors import FormatError, InputError
from omote.export.files import read_json, write_text
from omote.export.tables import arkit_values, assemble, camera_json, columns, floats, read_csv

if TYPE_CHECKING:
    from omote.performance import Performance

TIME_BASE = 60
ANGLES = tuple(
    f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll")
)
GAZE_DEGREES = {"yaw": 30.0, "pitch": 25.0}  # of gaze_* at 1, FACS102
_TIMECODE = re.compile(r"(\d+):(\d{1,2}):(\d{1,2})[:;](\d{1,3})(?:\.(\d{1,6}))?")


def header() -> list[str]:
    """The 63 column names of the app, in order."""
    from omote.controls import ARKIT52

    return ["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in ARKIT52.names), *ANGLES]


def timecode(seconds: float) -> str:
    """HH:MM:SS:FF.mmm for a time in seconds >= 0; the step is 1/60000 s."""
    whole, thousandths = divmod(round(seconds * TIME_BASE * 1000), 1000)
    rest, frame = divmod(whole, TIME_BASE)
    minutes, second = divmod(rest, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}:{frame:02d}.{thousandths:03d}"


def seconds(text: str) -> float:
    """The time in seconds of a timecode.

    Raises:
        FormatError: not HH:MM:SS:FF or HH:MM:SS:FF.mmm.
    """
    match = _TIMECODE.fullmatch(text)
    if match is None:
        raise FormatError(f"'{text[:30]}' is not a timecode HH:MM:SS:FF.mmm")
    hours, minutes, whole, frame = (int(match[k]) for k in range(1, 5))
    part = int(match[5]) / 10 ** len(match[5]) if match[5] else 0.0
    return hours * 3600 + minutes * 60 + whole + (frame + part) / TIME_BASE


def head_angles(head_rotation: np.ndarray) -> np.ndarray:
    """Axis-angle (T, 3) -> yaw, pitch, roll (T, 3) radians with ``R = Ry Rx Rz``."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(np.asarray(head_rotation, np.float64)).as_euler("YXZ")


def eye_angles(performance: Performance) -> np.ndarray:
    """Yaw, pitch, roll of the left, then of the right eye relative to the head: (T, 6) radians."""
    from omote.controls import FACS102

    take = performance.with_space(FACS102)
    out = np.zeros((len(take.times), 6))
    for k, side in enumerate("LR"):
        out[:, 3 * k] = np.radians(GAZE_DEGREES["yaw"]) * take.controls[:, FACS102.index(f"gaze_yaw_{side}")]
        out[:, 3 * k + 1] = (
            -np.radians(GAZE_DEGREES["pitch"]) * take.controls[:, FACS102.index(f"gaze_pitch_{side}")]
        )
    return out


def sidecar_path(path: Path) -> Path:
    """Where the JSON of a CSV lies: ``take.csv`` and ``take.livelink.csv`` have ``take.livelink.json``."""
    stem = path.name.removesuffix(path.suffix).removesuffix(".livelink")
    return path.with_name(f"{stem}.livelink.json")


def write_livelink(performance: Performance, path: str | Path) -> list[Path]:
    """Write the CSV and, beside it, a JSON that states units, conventions and camera.

    Shapes are clamped to 0..1 and written with 10 decimals. Frames without a face hold their values; the JSON
    lists them.

    Returns:
        Paths of the CSV and of the JSON.
    """
    from omote.controls import ARKIT52

    path = Path(path)
    take = performance.with_space(ARKIT52)
    shapes = np.clip(np.asarray(take.controls, np.float64), 0.0, 1.0)
    angles = np.concatenate([head_angles(take.head_rotation), eye_angles(performance)], axis=1)
    times = np.asarray(take.times, np.float64)
    start = float(times[0])
    values = np.concatenate([shapes, angles], axis=1) + 0.0  # no "-0.0000000000"
    names = header()
    lines = [",".join(names)]
    for time, row in zip(times - min(start, 0.0), values, strict=True):
        lines.append(f"{timecode(time)},{values.shape[1]}," + ",".join(f"{x:.10f}" for x in row))
    sidecar = {
        "format": "omote-livelink-sidecar",
        "version": 1,
        "csv": path.name,
        "angle_unit": "radians",
        "angles": "R = Ry(yaw) Rx(pitch) Rz(roll); x: the subject's left, y: up, z: out of the face. "
        "Head in camera space, eyes relative to the head. Positive yaw: towards the subject's left; "
        "positive pitch: down.",
        "left_and_right": "the subject's own",
        "timecode": "HH:MM:SS:FF.mmm, frames of 1/60 s, thousandths of a frame",
        "start_seconds": start,
        "frames": len(times),
        "frames_without_face": np.flatnonzero(np.asarray(take.confidence) <= 0).tolist(),
        "head_translation_m": [float(x) for x in np.median(take.head_translation, axis=0)],
        "camera": camera_json(take),
    }
    written = write_text(path, "\n".join(lines) + "\n")
    return [written, write_text(sidecar_path(path), json.dumps(sidecar, indent=1) + "\n")]


def read(path: str | Path, *, angle_unit: Literal["radians", "degrees"] | None = None) -> Performance:
    """Read a Live Link Face CSV, from the app or from Omote.

    Columns are found by name in any case; missing ones are 0, with one warning. Values are kept as they are,
    also outside 0..1. Eye angles are not read: the eyeLook shapes say the same. Times start at 0 (at the
    take's own start where the JSON of :func:`write_livelink` is beside the file).

    Args:
        path: the CSV.
        angle_unit: of the angle columns; None: what the JSON says, else radians.

    Raises:
        InputError: missing or unreadable file, or unknown unit.
        FormatError: not such a CSV.
    """
    if angle_unit not in (None, "radians", "degrees"):
        raise InputError(f"unknown unit '{angle_unit}'", where="angle_unit", remedy="Use radians or degrees")
    path = Path(path)
    names, rows = read_csv(path)
    where = columns(names, path)
    if "timecode" not in where:
        raise FormatError(
            "there is no Timecode column", where=path, remedy="Is it an ARKit CSV of another program?"
        )
    notes = _sidecar(path)
    try:
        times = np.array([seconds(row[where["timecode"]]) for row in rows])
    except FormatError as error:
        raise FormatError(error.what, where=path) from None
    times = times + 86400.0 * np.cumsum(np.concatenate([[False], np.diff(times) < -43200.0]))  # past midnight
    table = {
        n: floats(rows, i, n, path) for n, i in where.items() if n not in ("timecode", "blendshapecount")
    }
    controls = arkit_values(table, len(rows), path)
    angles = np.stack([table.get(name.lower(), np.zeros(len(rows))) for name in ANGLES[:3]], axis=1)
    unit = angle_unit or notes.get("angle_unit", "radians")
    if unit == "degrees":
        angles = np.radians(angles)
    elif np.nanmax(np.abs(angles), initial=0.0) > 3.2:
        warnings.warn(
            f"{path}: head angles above 3.2 radians; if they are degrees, say angle_unit=degrees",
            stacklevel=2,
        )
    confidence = np.ones(len(rows))
    lost = [i for i in notes.get("frames_without_face", []) if isinstance(i, int) and 0 <= i < len(rows)]
    confidence[lost] = 0.0
    return assemble(
        times=times - times[0] + float(notes.get("start_seconds", 0.0)),
        controls=controls,
        head_rotation=_rotation_vectors(angles),
        head_translation=_constant(notes.get("head_translation_m"), len(rows)),
        confidence=confidence,
        camera=notes.get("camera"),
        where=path,
        method="livelink",
        source={"timecode": rows[0][where["timecode"]]},
    )


def _rotation_vectors(angles: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    out = np.full(angles.shape, np.nan)
    good = np.isfinite(angles).all(axis=1)
    if good.any():
        out[good] = Rotation.from_euler("YXZ", angles[good]).as_rotvec()
    return out


def _constant(position: Any, count: int) -> np.ndarray | None:
    if position is None:
        return None
    try:
        return np.tile(np.array(position, np.float64).reshape(3), (count, 1))
    except (TypeError, ValueError):
        raise FormatError(
            "head_translation_m is not three numbers", where="the JSON beside the CSV"
        ) from None


def _sidecar(path: Path) -> dict[str, Any]:
    """The JSON beside the CSV where it is ours; anything else is no sidecar."""
    beside = sidecar_path(path)
    if not beside.is_file():
        return {}
    try:
        notes = read_json(beside)
    except (FormatError, InputError):
        return {}
    if not isinstance(notes, dict) or notes.get("format") != "omote-livelink-sidecar":
        return {}
    kinds: dict[str, type | tuple[type, ...]] = {
        "angle_unit": str,
        "start_seconds": (int, float),
        "frames_without_face": list,
        "head_translation_m": list,
        "camera": dict,
    }
    for key, kind in kinds.items():
        if key in notes and not isinstance(notes[key], kind):
            raise FormatError(f"{key} is damaged", where=beside, remedy="Delete the file to read without it")
    return notes
