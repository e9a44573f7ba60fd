"""ARKit-52 coefficients as plain CSV and as JSON, for scripts, game engines and web pages.

CSV: ``time,confidence``, the 52 camelCase names, then ``headRotationX..Z`` (axis-angle, radians) and
``headTranslationX..Z`` (metres, camera space). JSON: the layout that NVIDIA Audio2Face exports and its
importers read (``facsNames``, ``weightMat``, ``exportFps``), with our times, head pose, confidence and camera
beside it. Numbers read back to the same float32.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import FormatError, InputError
from omote.export.files import read_json, write_text
from omote.export.tables import arkit_values, assemble, camera_json, columns, floats, number, read_csv

if TYPE_CHECKING:
    from omote.performance import Performance

VERSION = 1
ROTATION = ("headRotationX", "headRotationY", "headRotationZ")
TRANSLATION = ("headTranslationX", "headTranslationY", "headTranslationZ")
_CLOCKS = ("time", "seconds", "timestamp", "time_s")


def write_arkit_csv(performance: Performance, path: str | Path) -> list[Path]:
    """Write the CSV: a row per frame, shapes clamped to 0..1."""
    from omote.controls import ARKIT52

    take = performance.with_space(ARKIT52)
    shapes = np.clip(np.asarray(take.controls), 0.0, 1.0)
    body = np.concatenate([shapes, take.head_rotation, take.head_translation], axis=1) + 0.0
    lines = [",".join(["time", "confidence", *ARKIT52.names, *ROTATION, *TRANSLATION])]
    for time, sure, row in zip(take.times, take.confidence, body, strict=True):
        lines.append(",".join([repr(float(time)), number(sure), *map(number, row)]))
    return [write_text(path, "\n".join(lines) + "\n")]


def read_arkit_csv(path: str | Path, *, fps: float | None = None) -> Performance:
    """Read a CSV whose columns are ARKit names in any case and order; other columns are ignored.

    Args:
        path: the CSV.
        fps: frames per second where the file has no ``time`` column (default 30, with a warning).

    Raises:
        InputError: missing or unreadable file. FormatError: no ARKit columns, or a field is not a number.
    """
    names, rows = read_csv(path)
    where = columns(names, path)
    wanted = {n.lower() for n in (*_names(), *ROTATION, *TRANSLATION, *_CLOCKS, "confidence")}
    table = {n: floats(rows, i, n, path) for n, i in where.items() if n in wanted}
    clock = next((table[n] for n in _CLOCKS if n in table), None)
    return assemble(
        times=_times(clock, len(rows), fps, path),
        controls=arkit_values(table, len(rows), path),
        head_rotation=_triple(table, ROTATION),
        head_translation=_triple(table, TRANSLATION),
        confidence=table.get("confidence"),
        where=path,
        method="arkit-csv",
    )


def write_arkit_json(performance: Performance, path: str | Path) -> list[Path]:
    """Write the JSON, a line per frame, shapes clamped to 0..1."""
    from omote.controls import ARKIT52

    take = performance.with_space(ARKIT52)
    shapes = np.clip(np.asarray(take.controls), 0.0, 1.0) + 0.0
    frames = len(take.times)
    head: dict[str, Any] = {
        "format": "omote-arkit",
        "version": VERSION,
        "exportFps": float(take.fps) if frames > 1 else 30.0,
        "numPoses": shapes.shape[1],
        "numFrames": frames,
        "facsNames": list(ARKIT52.names),
        "units": {
            "weightMat": "0..1",
            "times": "seconds",
            "headRotation": "axis-angle, radians, camera space (x right, y up, z towards the viewer)",
            "headTranslation": "metres, camera space",
        },
        "camera": camera_json(take),
    }
    blocks = {
        "times": [repr(float(t)) for t in take.times],
        "confidence": [number(c) for c in take.confidence],
        "weightMat": [_row(r) for r in shapes],
        "headRotation": [_row(r) for r in take.head_rotation],
        "headTranslation": [_row(r) for r in take.head_translation],
    }
    parts = [json.dumps(head, indent=1, ensure_ascii=False)[:-2]]
    for name, items in blocks.items():
        joint = ", " if name in ("times", "confidence") else ",\n  "
        parts.append(f' "{name}": [{joint.join(items)}]')
    return [write_text(path, ",\n".join(parts) + "\n}\n")]


def read_arkit_json(path: str | Path, *, fps: float | None = None) -> Performance:
    """Read the JSON of :func:`write_arkit_json` or of Audio2Face.

    Args:
        path: the file.
        fps: overrides the file's rate where it has no times.

    Raises:
        InputError: missing or unreadable file. FormatError: other JSON, newer version, or ragged arrays.
    """
    data = read_json(path)
    if not isinstance(data, dict) or "facsNames" not in data or "weightMat" not in data:
        raise FormatError("there are no facsNames and weightMat in it", where=path)
    if data.get("format") == "omote-arkit" and data.get("version") != VERSION:
        raise FormatError("the file was written by a newer Omote", where=path, remedy="Update omote")
    names = data["facsNames"]
    if not isinstance(names, list):
        raise FormatError("facsNames is not a list", where=path)
    weights = _array(data, "weightMat", (None, len(names)), path)
    if weights is None or not len(weights):
        raise FormatError("the file has no frames", where=path)
    count = len(weights)
    rate = fps if fps is not None else data.get("exportFps")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, (int, float))):
        raise FormatError("exportFps is not a number", where=path)
    return assemble(
        times=_times(_array(data, "times", (count,), path), count, rate, path),
        controls=arkit_values({str(n).lower(): weights[:, i] for i, n in enumerate(names)}, count, path),
        head_rotation=_array(data, "headRotation", (count, 3), path),
        head_translation=_array(data, "headTranslation", (count, 3), path),
        confidence=_array(data, "confidence", (count,), path),
        camera=data.get("camera"),
        where=path,
        method="arkit-json",
    )


def _names() -> tuple[str, ...]:
    from omote.controls import ARKIT52

    return ARKIT52.names


def _row(values: Any) -> str:
    return "[" + ", ".join(number(x) for x in values) + "]"


def _triple(table: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    if not all(n.lower() in table for n in names):
        return None
    return np.stack([table[n.lower()] for n in names], axis=1)


def _times(clock: np.ndarray | None, count: int, fps: float | None, where: str | Path) -> np.ndarray:
    if clock is not None:
        return clock
    if fps is None:
        warnings.warn(f"{where}: no time column; 30 frames per second assumed (say fps=...)", stacklevel=3)
    elif not 0 < fps < 1e5:
        raise InputError(f"got {fps}, expected frames per second", where="fps")
    return np.arange(count) / (fps or 30.0)


def _array(
    data: dict[str, Any], key: str, shape: tuple[int | None, ...], where: str | Path
) -> np.ndarray | None:
    if key not in data:
        return None
    try:
        out = np.array(data[key], dtype=np.float64)
    except (TypeError, ValueError):
        raise FormatError(f"{key} is not a regular array of numbers", where=where) from None
    if out.ndim != len(shape) or any(b is not None and a != b for a, b in zip(out.shape, shape, strict=True)):
        raise FormatError(f"{key} has shape {out.shape}, expected {shape}", where=where)
    if not np.isfinite(out).all():
        raise FormatError(f"{key} holds values that are not finite", where=where)
    return out
