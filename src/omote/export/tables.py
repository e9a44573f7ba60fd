"""What the readers of tabular takes share: CSV parsing, ARKit columns by name, and making a Performance."""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import FormatError
from omote.export.files import read_text

if TYPE_CHECKING:
    from omote.performance import Camera, Performance

DEFAULT_SIZE = (1280, 720)
DEFAULT_DISTANCE = 0.6  # metres; where the head is put when a file does not say
MAX_ROWS = 5_000_000


def number(value: float) -> str:
    """A float32 as the shortest text that reads back equal."""
    return f"{float(value):.9g}"


def read_csv(path: str | Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file; blank lines are skipped, fields stripped.

    Raises:
        FormatError: empty, or a row is longer than the header.
    """
    text = read_text(path)
    try:
        rows = [[field.strip() for field in row] for row in csv.reader(io.StringIO(text), strict=True)]
    except csv.Error as error:
        raise FormatError(f"this is not a CSV file ({error})", where=path) from None
    rows = [row for row in rows if any(row)]
    if not rows:
        raise FormatError(
            "the file is empty", where=path, remedy="A CSV needs a header line and a row per frame"
        )
    header, body = rows[0], rows[1:]
    if not body:
        raise FormatError("the file has a header but no frames", where=path)
    for number_, row in enumerate(body):
        if len(row) > len(header):
            raise FormatError(f"frame {number_} has {len(row)} fields, the header {len(header)}", where=path)
        row.extend([""] * (len(header) - len(row)))
    return header, body


def columns(header: Sequence[str], where: str | Path) -> dict[str, int]:
    """Lower-case column name -> position. A name that occurs twice is an error."""
    out: dict[str, int] = {}
    for i, name in enumerate(header):
        if name and name.lower() in out:
            raise FormatError(f"column '{name}' occurs twice", where=where)
        out[name.lower()] = i
    return out


def floats(rows: Sequence[Sequence[str]], column: int, name: str, where: str | Path) -> np.ndarray:
    """One column as (T,) float64; a blank field is NaN.

    Raises:
        FormatError: a field is not a finite number.
    """
    out = np.full(len(rows), np.nan)
    for i, row in enumerate(rows):
        if row[column] == "":
            continue
        try:
            out[i] = float(row[column])
        except ValueError:
            raise FormatError(
                f"frame {i}, column {name}: '{row[column][:30]}' is not a number", where=where
            ) from None
        if not math.isfinite(out[i]):
            raise FormatError(f"frame {i}, column {name}: '{row[column]}' is not finite", where=where)
    return out


def arkit_values(table: Mapping[str, np.ndarray], count: int, where: str | Path) -> np.ndarray:
    """(T, 52) values in ARKIT52 order from columns named in any case; missing ones are 0, with one warning.

    Args:
        table: lower-case column name -> (T,).
        count: T.
        where: for messages.

    Raises:
        FormatError: not one ARKit name among the columns.
    """
    from omote.controls import ARKIT52

    out = np.zeros((count, len(ARKIT52.names)))
    missing = []
    for i, name in enumerate(ARKIT52.names):
        if name.lower() in table:
            out[:, i] = table[name.lower()]
        else:
            missing.append(name)
    if len(missing) == len(ARKIT52.names):
        raise FormatError("there is no ARKit column such as jawOpen in it", where=where)
    if missing:
        warnings.warn(f"{where}: columns not found, taken as 0: {', '.join(missing)}", stacklevel=3)
    return out


def assemble(
    *,
    times: np.ndarray,
    controls: np.ndarray,
    where: str | Path,
    method: str,
    head_rotation: np.ndarray | None = None,
    head_translation: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    camera: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
) -> Performance:
    """A Performance in ARKIT52 from what a file holds.

    Frames with blank (NaN) values hold the last good ones with confidence 0; frames whose time does not
    advance are dropped with a warning. A head without a position stands 0.6 m before the camera.

    Args:
        times: (T,) seconds.
        controls: (T, 52).
        where: the file, for messages and ``source``.
        method: how the file was read, for ``source``.
        head_rotation: (T, 3) axis-angle radians, camera space.
        head_translation: (T, 3) metres, camera space.
        confidence: (T,) 0..1.
        camera: ``focal``, ``principal`` and ``size`` in pixels.
        source: more entries for ``source``.
    """
    from omote.controls import ARKIT52
    from omote.performance import Performance

    count = len(times)
    rotation = np.zeros((count, 3)) if head_rotation is None else np.array(head_rotation, np.float64)
    if head_translation is None:
        translation = np.tile([0.0, 0.0, -DEFAULT_DISTANCE], (count, 1))
    else:
        translation = np.array(head_translation, np.float64)
    sure = np.ones(count) if confidence is None else np.clip(np.nan_to_num(confidence), 0.0, 1.0)
    values = np.array(controls, np.float64)
    lost = ~np.isfinite(np.concatenate([values, rotation, translation], axis=1)).all(axis=1)
    sure[lost] = 0.0
    rest = [np.zeros(values.shape[1]), np.zeros(3), np.array([0.0, 0.0, -DEFAULT_DISTANCE])]
    for data, still in zip((values, rotation, translation), rest, strict=True):
        for i in np.flatnonzero(lost):
            data[i] = data[i - 1] if i else still
    if not np.isfinite(times).all():
        raise FormatError(f"frame {int(np.argmin(np.isfinite(times)))} has no time", where=where)
    ahead = np.maximum.accumulate(np.concatenate([[-np.inf], times[:-1]]))
    good = times > ahead
    if not good.all():
        warnings.warn(
            f"{where}: {int((~good).sum())} frames whose time does not advance were dropped", stacklevel=3
        )
    return Performance(
        space=ARKIT52,
        controls=values[good].astype(np.float32),
        head_rotation=rotation[good].astype(np.float32),
        head_translation=translation[good].astype(np.float32),
        confidence=sure[good].astype(np.float32),
        times=np.asarray(times, np.float64)[good],
        identity={},
        camera=_camera(camera, where),
        source={"file": Path(where).name, "method": method, **(source or {})},
    )


def _camera(found: Any, where: str | Path) -> Camera:
    """The camera a file describes, or a plausible one."""
    from omote.performance import Camera

    if found is None:
        width, height = DEFAULT_SIZE
        return Camera(focal=1.8 * max(width, height), principal=(width / 2, height / 2), size=(width, height))
    try:
        (x, y), (width, height) = found["principal"], found["size"]
        return Camera(
            focal=float(found["focal"]), principal=(float(x), float(y)), size=(int(width), int(height))
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise FormatError("camera needs focal, principal and size in pixels", where=where) from None


def camera_json(performance: Performance) -> dict[str, Any]:
    """The take's camera as JSON: focal length, principal point and size in pixels."""
    camera = performance.camera
    return {
        "focal": float(camera.focal),
        "principal": [float(x) for x in np.asarray(camera.principal)],
        "size": [int(n) for n in camera.size],
    }
