"""Model files in the cache: safetensors that know where they came from and whether they are still whole.

One file of a set is ``CACHE/weights/SET/KEY.safetensors``. Its metadata tell the origin, the sha256 of the published
file, and a digest of the tensors themselves, so that there is no second file which could get out of step.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from omote.errors import WeightsError
from omote.weights.cache import cache_dir, check_space, is_checked, remember, unwritable
from omote.weights.loading import load_safetensors
from omote.weights.nesting import unflatten
from omote.weights.registry import files_of, get_set
from omote.weights.sets import SetFile, WeightSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

logger = logging.getLogger("omote.weights")

_FORMAT = "omote weights 1"
_BLANK = "0" * 64
_MOST_HEADER = 64 << 20


@dataclass(frozen=True)
class Stored:
    """A model file in the cache, as its metadata describe it.

    Attributes:
        path: where it is.
        origin: the path in the published folder whose form it came in.
        source_sha256: of the file that was imported or downloaded.
        source_size: bytes of that file.
        nested: whether the tensors were in dictionaries of dictionaries.
        digest: of the names, shapes and values of the tensors.
    """

    path: Path
    origin: str
    source_sha256: str
    source_size: int
    nested: bool
    digest: str


def folder_of(owner: WeightSet) -> Path:
    """Where the files of a set are kept. It may not exist yet."""
    return cache_dir() / "weights" / owner.name


def path_of(owner: WeightSet, file: SetFile) -> Path:
    """Where one file of a set is kept, whether it is there or not."""
    return folder_of(owner) / f"{file.key}.safetensors"


@contextmanager
def locked(owner: WeightSet) -> Iterator[None]:
    """Keep other runs from getting or importing the same set; they wait. A run that dies lets go.

    Raises:
        WeightsError: the cache cannot be written to.
    """
    from filelock import FileLock, Timeout

    folder = folder_of(owner)
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0.3, poll_interval=0.05)
        except Timeout:
            logger.warning("another run is at work on %s; waiting for it", owner.name)
            lock.acquire(poll_interval=0.1)
    except (OSError, NotImplementedError) as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def write(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    *,
    origin: str,
    source_sha256: str,
    source_size: int,
    nested: bool,
) -> Stored:
    """Put tensors into the cache, all at once; for one run at a time (`locked`).

    Raises:
        WeightsError: the disk is full or cannot be written to.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    metadata = {
        "format": _FORMAT,
        "origin": origin,
        "source_sha256": source_sha256,
        "source_size": str(source_size),
        "nested": str(int(nested)),
        "digest": _BLANK,
    }
    temporary = path.with_name(f".{path.stem}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # of a run that was killed
        check_space(path.parent, sum(tensor.nbytes for tensor in tensors.values()))
        save_file(dict(tensors), temporary, metadata)
        digest = _digest(temporary)
        _fill_in(temporary, digest)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise unwritable(path.parent, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    remember(path, digest)
    return Stored(path, origin, source_sha256, source_size, nested, digest)


def read_description(path: Path) -> Stored | None:
    """What a file in the cache says of itself; None if it is not there.

    Raises:
        WeightsError: damaged, or not put there by `omote weights`.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            header, _ = _header(file.read(8), file)
        said = header["__metadata__"]
        if said["format"] != _FORMAT:
            raise ValueError(said["format"])
        nested = said["nested"] == "1"
        size = int(said["source_size"])
        return Stored(path, said["origin"], said["source_sha256"], size, nested, said["digest"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path) from error


def verify_stored(path: Path, *, afresh: bool = True) -> Stored | None:
    """What a file in the cache says of itself, once its tensors were found to be the ones that were put there.

    Args:
        path: as by `path_of`.
        afresh: read it even if it was checked and has not changed since.

    Returns:
        None if it is not there.

    Raises:
        WeightsError: damaged, or not put there by `omote weights`.
    """
    stored = read_description(path)
    if stored is None or (not afresh and is_checked(path, stored.digest)):
        return stored
    try:
        sound = _digest(path) == stored.digest
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if not sound:
        raise _damaged(path)
    remember(path, stored.digest)
    return stored


def locate_set(name: str) -> dict[str, Path]:
    """The model files of a published system in the cache, checked the first time that they are used.

    Args:
        name: as in `list_sets`, such as "liveportrait".

    Returns:
        The safetensors file for each key of the set, such as "motion_extractor".

    Raises:
        WeightsError: no such set; a file is damaged; or some are not on this machine: the message says how to get
            them, and which file goes where.
    """
    known = get_set(name)
    found, absent = {}, []
    for owner, file in files_of(known):
        stored = verify_stored(path_of(owner, file), afresh=False)
        if stored is None:
            absent.append(file)
        else:
            found[file.key] = stored.path
    if absent:
        what = f"{len(absent)} of its {len(found) + len(absent)} model files are not on this machine"
        raise WeightsError(what, where=name, remedy=how_to_get(known, absent))
    return found


def load_set(name: str) -> dict[str, dict[str, Any]]:
    """The tensors of a published system, on the CPU.

    Returns:
        For each key of the set, what the published file holds: tensors by name; in dictionaries of dictionaries where
        the published file has them so.

    Raises:
        WeightsError: as `locate_set`.
    """
    loaded = {}
    for key, path in locate_set(name).items():
        stored = read_description(path)
        tensors = load_safetensors(path)
        loaded[key] = unflatten(tensors) if stored is not None and stored.nested else dict(tensors)
    return loaded


def how_to_get(known: WeightSet, absent: list[SetFile]) -> str:
    """What to do about missing files, in one line."""
    if all(file.origins[0].url is not None for file in absent):
        return f"Run `omote weights get {known.name}`. Without a network: {by_hand(known, absent)}"
    return by_hand(known, absent)


def by_hand(known: WeightSet, absent: list[SetFile]) -> str:
    """Which file goes where if this program cannot download it, in one line."""
    names = ", ".join(file.origins[0].filename for file in absent)
    folder = PurePosixPath(absent[0].origins[0].path).parts[0]
    first = (
        f"{known.by_hand} at {known.page}, then"
        if known.by_hand
        else f"download {folder}/ from {known.page} and"
    )
    only = f" --set {known.name}" if known.marks else ""
    return f"{first} put {names} anywhere below one FOLDER and run `omote weights import FOLDER{only}`."


def _damaged(path: Path) -> WeightsError:
    return WeightsError(
        "the file in the cache is damaged, or was not put there by `omote weights`",
        where=path,
        remedy=f"Delete it, then run `omote weights get {path.parent.name}` or `omote weights import FOLDER`.",
    )


def _header(prefix: bytes, file: Any) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, parsed and as it is written."""
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > _MOST_HEADER:
        raise ValueError("not a safetensors file")
    text = file.read(length)
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("not a safetensors file")
    return header, text


def _digest(path: Path) -> str:
    """sha256 over the names, types, shapes and places of the tensors, and then over their values."""
    with path.open("rb") as file:
        header, _ = _header(file.read(8), file)
        header.pop("__metadata__", None)
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _fill_in(path: Path, digest: str) -> None:
    """Write the digest into the header, in the place kept for it."""
    with path.open("r+b") as file:
        _, text = _header(file.read(8), file)
        place = text.index(b'"digest":"' + _BLANK.encode()) + len('"digest":"')
        file.seek(8 + place)
        file.write(digest.encode())
        file.flush()
        os.fsync(file.fileno())
