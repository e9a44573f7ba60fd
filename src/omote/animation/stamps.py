"""Whether a result is there already: a small file beside it remembers what it was made from, and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omote.errors import OmoteError


def key_of(facts: Mapping[str, Any]) -> str:
    """A hash of everything that decides a result: equal facts, equal key."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def stamp_path(output: Path) -> Path:
    """Where the memory of a result is."""
    return output.with_name(f".{output.name}.omote-made")


def forget(output: Path) -> None:
    """From here on the result counts as not made."""
    with suppress(OSError):
        stamp_path(output).unlink()


def remember(output: Path, key: str, told: Mapping[str, Any]) -> None:
    """Note that a result is complete.

    Args:
        output: the file or the folder.
        key: from `key_of`.
        told: what a later run is to tell about it, JSON-able.
    """
    from omote.media import atomic_path

    record = {"key": key, "content": _content(output), "told": dict(told)}
    with atomic_path(stamp_path(output)) as path:
        path.write_text(json.dumps(record), encoding="utf-8")


def recall(output: Path, key: str) -> dict[str, Any] | None:
    """What was told of a result which is there, unchanged, and was made from the same; else None."""
    try:
        record = json.loads(stamp_path(output).read_text(encoding="utf-8"))
        if record["key"] == key and record["content"] == _content(output):
            return dict(record["told"])
    except (OSError, OmoteError, ValueError, TypeError, KeyError):  # not there, damaged or of another version
        return None
    return None


def _content(output: Path) -> str:
    """sha256 of a file; of a folder that of the names, sizes and times of its frames."""
    from omote.animation.sinks import frames_in
    from omote.media.paths import sha256_of

    if not output.is_dir():
        return sha256_of(output)
    entries = [(frame.name, frame.stat().st_size, frame.stat().st_mtime_ns) for frame in frames_in(output)]
    return hashlib.sha256(repr(entries).encode()).hexdigest()
