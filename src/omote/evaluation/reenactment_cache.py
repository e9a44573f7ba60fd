"""What an evaluation keeps, so that only what changed is computed again."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.evaluation.reenactment_methods import BASELINES
from omote.evaluation.reenactment_rows import Row
from omote.media import atomic_path, write_image
from omote.media.paths import sha256_of

_log = logging.getLogger("omote.evaluation")
_EVALUATION = (
    "metrics",
    "warp_baseline",
    *(f"reenactment_{n}" for n in ("faces", "methods", "rows", "scene")),
)
_TRUTH_CODE = (
    *("capture/*.py", "controls/facs102.py", "geometry/rotations.py", "geometry/alignment.py"),
    *("media/video.py", "media/decode.py", "rigs/asset.py", "rigs/constants.py", "rigs/landmarks.py"),
    *(f"evaluation/{name}.py" for name in _EVALUATION),
)
"""What captures, truth and baselines are computed with."""
_ENGINE_CODE = (*_TRUTH_CODE, "drive/**/*.py", "edit/*.py", "models/**/*.py", "render/*.py", "rigs/*.py")


@cache
def code_fingerprint(patterns: tuple[str, ...]) -> str:
    """12 hexadecimal digits of some of Omote's Python files: another version is another result."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Cache:
    """A folder of captures, rows and strips: ``cache/VIDEO-KEY/``; KEY is of the bytes, the options and the code.

    Args:
        folder: None keeps nothing.
        frames: option.
        size: option, px.
    """

    def __init__(self, folder: Path | None, frames: int, size: int) -> None:
        self._root = None if folder is None else folder / "cache"
        self._options = f"{frames}-{size}-{code_fingerprint(_TRUTH_CODE)}"
        self._folders: dict[Path, Path] = {}

    def take_folder(self, video: Path) -> Path | None:
        """Where what is known about a video is kept; None where nothing is kept.

        Raises:
            InputError: the video cannot be read.
        """
        if self._root is None:
            return None
        if video not in self._folders:
            key = hashlib.sha256(f"{sha256_of(video)}-{self._options}".encode()).hexdigest()[:12]
            self._folders[video] = self._root / f"{video.stem}-{key}"
        return self._folders[video]

    def row_path(self, video: Path, name: str, method: str) -> Path | None:
        """Where the row of a method is kept: another one after the engine's code has changed."""
        folder = self.take_folder(video)
        if folder is None:
            return None
        code = "" if method in BASELINES else f"-{code_fingerprint(_ENGINE_CODE)}"
        return folder / f"{_plain(name)}-{method}{code}.json"

    def load_row(self, path: Path) -> Row | None:
        """A kept row, or None."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            per_frame = {k: [_number(v) for v in each] for k, each in stored["per_frame"].items()}
            values = {k: _number(v) for k, v in stored["metrics"].items()}
            frames = tuple(int(f) for f in stored["frames"])
            return Row(str(stored["video"]), str(stored["method"]), values, per_frame, frames)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.info("%s: the kept row cannot be used (%s)", path, error)
            return None

    def save_row(self, path: Path, row: Row) -> None:
        """Keep a row; rows of the same method from other code are deleted."""
        for old in path.parent.glob(f"{_plain(row.video)}-{row.method}*.json"):
            if old != path:
                old.unlink(missing_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(_without_nan(asdict(row)), allow_nan=False), encoding="utf-8")

    def save_strip(self, video: Path, name: str, method: str, picture: NDArray[np.uint8]) -> None:
        """Keep a method's part of the strip, if anything is kept."""
        folder = self.take_folder(video)
        if folder is not None:
            write_image(folder / f"{_plain(name)}-{method}.png", picture)

    def strip_path(self, video: Path, name: str, method: str) -> Path | None:
        """A method's part of the strip, if it was kept."""
        folder = self.take_folder(video)
        path = None if folder is None else folder / f"{_plain(name)}-{method}.png"
        return path if path is not None and path.is_file() else None


def _plain(name: str) -> str:
    return name.replace(" < ", "_by_")


def _without_nan(value: Any) -> Any:
    """The same plain value with None in place of numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
