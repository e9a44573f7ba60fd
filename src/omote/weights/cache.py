"""The folder where model files are kept, what is known of the files in it, and why it cannot be written to."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import urllib.error
from pathlib import Path
from typing import Any

from omote.errors import WeightsError

logger = logging.getLogger("omote.weights")

_LOCAL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})


def cache_dir() -> Path:
    """Where downloads are kept: ``$OMOTE_HOME``, else the platform's cache folder. It may not exist yet."""
    home = os.environ.get("OMOTE_HOME")
    if home:
        return Path(home).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("omote", appauthor=False))


def is_checked(path: Path, digest: str) -> bool:
    """Whether a file was found to have ``digest``, and has not changed since."""
    try:
        stat = path.stat()
    except OSError:
        return False
    return _stamps().get(str(path)) == [stat.st_mtime_ns, stat.st_size, digest]


def remember(path: Path, digest: str) -> None:
    """Note that a file has ``digest``. If the cache is read-only, the next start checks again."""
    stamp_file = cache_dir() / "checked.json"
    temporary = stamp_file.with_name(f".checked-{os.getpid()}.json")
    try:
        stat = path.stat()
        stamps = _stamps() | {str(path): [stat.st_mtime_ns, stat.st_size, digest]}
        stamp_file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(stamps, indent=1), encoding="utf-8")
        os.replace(temporary, stamp_file)
    except OSError as error:
        logger.debug("the check of %s cannot be noted (%s)", path, error)


def _stamps() -> dict[str, Any]:
    try:
        stamps = json.loads((cache_dir() / "checked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def is_local(error: BaseException) -> bool:
    """Whether an error is about our own disk rather than about the network."""
    if not isinstance(error, OSError) or isinstance(error, urllib.error.URLError):
        return False
    return error.filename is not None or error.errno in _LOCAL_ERRORS


def unwritable(folder: Path, error: BaseException) -> WeightsError:
    """The one line for an error of our own disk."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error):
        return WeightsError(
            f"the disk is full ({reason})",
            where=folder,
            remedy="Free some space, or set OMOTE_HOME to a folder on another disk.",
        )
    return WeightsError(
        f"the cache cannot be written to ({reason})", where=folder, remedy="Set OMOTE_HOME to a folder."
    )


def check_space(folder: Path, needed: int) -> None:
    """Say before the work begins that it cannot end well.

    Args:
        folder: where to write; it may not exist yet.
        needed: bytes.

    Raises:
        WeightsError: less is free.
    """
    place = next((p for p in (folder, *folder.parents) if p.is_dir()), None)
    if place is None:
        return
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return
    if free < needed:
        raise WeightsError(
            f"the disk is full ({needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free)",
            where=folder,
            remedy="Free some space, or set OMOTE_HOME to a folder on another disk.",
        )
