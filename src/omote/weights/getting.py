"""Published model files over the network into the cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from omote.errors import WeightsError
from omote.weights.cache import check_space
from omote.weights.download import Remote, download, missing
from omote.weights.importing import Check, ingest
from omote.weights.registry import files_of, get_set
from omote.weights.sets import SetFile, WeightSet
from omote.weights.store import by_hand, folder_of, locate_set, locked, path_of, verify_stored

FileProgress = Callable[[str, int, int], None]
"""Called with (file name, bytes so far, bytes in all)."""


def fetch_set(
    name: str, *, check: Check | None = None, progress: FileProgress | None = None
) -> dict[str, Path]:
    """Get what is missing of a published system, going on where an earlier attempt stopped.

    Each file is downloaded beside its place in the cache, checked (size and sha256 where published), read without
    running anything in it, stored as safetensors, and the download is deleted.

    Args:
        name: of the set.
        check: whether what a file holds is what the networks expect.
        progress: called often.

    Returns:
        As `locate_set`.

    Raises:
        WeightsError: no such set; no network, or a file that can only be had by hand (the message says which file
            goes where); other bytes than the published ones; or a cache that cannot be written to.
    """
    known = get_set(name)
    absent = [(owner, file) for owner, file in files_of(known) if not _is_here(owner, file)]
    registered = [file for _, file in absent if file.origins[0].url is None]
    if registered:
        what = (
            f"{', '.join(file.origins[0].filename for file in registered)} cannot be downloaded by a program"
        )
        raise WeightsError(what, where=name, remedy=by_hand(known, registered))
    if absent:  # the largest is on the disk twice for a moment
        largest = max(file.about for _, file in absent)
        check_space(folder_of(known), sum(file.about for _, file in absent) + largest)
    for index, (owner, file) in enumerate(absent):
        remaining = [file for _, file in absent[index:]]
        with locked(owner):
            if not _is_here(owner, file):  # another run may have been faster
                _fetch_one(owner, file, _otherwise(known, remaining), check, progress)
    return locate_set(name)


def _fetch_one(
    owner: WeightSet, file: SetFile, otherwise: str, check: Check | None, progress: FileProgress | None
) -> None:
    origin = file.origins[0]
    address = origin.address
    if address is None:
        raise missing(origin.path, "cannot be downloaded by a program", otherwise)
    remote = Remote(origin.path, address, origin.size or file.about, otherwise, origin.size, origin.sha256)
    part = path_of(owner, file).with_name(f".{origin.filename}.part")

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(origin.filename, done, total)

    digest = download(remote, part, progress=told)
    try:
        ingest(part, owner, file, origin, digest, check)
    except WeightsError as error:
        if error.where != part:
            raise  # the cache: the download is kept for the next attempt
        part.unlink()
        what = f"what was downloaded as {origin.path} {error.what}"
        raise WeightsError(what, where=address, remedy=error.remedy) from error
    with suppress(OSError):
        part.unlink()


def _otherwise(known: WeightSet, remaining: list[SetFile]) -> str:
    return (
        f"Without a network: {by_hand(known, remaining)} `omote weights list {known.name}` has every address."
    )


def _is_here(owner: WeightSet, file: SetFile) -> bool:
    try:
        return verify_stored(path_of(owner, file), afresh=False) is not None
    except WeightsError:  # damaged: to be replaced
        return False
