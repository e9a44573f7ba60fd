"""Model files out of a folder into the cache: recognised by path or name, checked, stored as safetensors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from omote.errors import WeightsError
from omote.weights.loading import is_safetensors, load_safetensors, load_torch_checkpoint
from omote.weights.nesting import flatten, unflatten
from omote.weights.registry import files_of, get_set, list_not_needed, list_sets, require_commercial
from omote.weights.sets import TRAINED_HERE, NotNeeded, Origin, SetFile, WeightSet
from omote.weights.store import Stored, locked, path_of, verify_stored, write

Check = Callable[[str, str, dict[str, Any]], None]
"""Called with (set, key, what the file holds); raises WeightsError if that is not what the networks expect."""

Step = Callable[[str, int, int], None]
"""Called with (file name, files so far, files in all)."""

_MOST_FILES = 200_000
_GROWTH = 4
_SLACK = 1 << 20

_Slot = tuple[WeightSet, SetFile]
Status = Literal["imported", "already here", "missing", "refused"]


@dataclass(frozen=True)
class Imported:
    """What became of one file of a set.

    Attributes:
        owner: the set that it belongs to.
        file: which.
        status: "imported", "already here" (from the same bytes, or not found and not needed again), "missing" or
            "refused".
        source: where it was found; None if it was not.
        stored: the copy in the cache; None if there is none.
        published: whether its bytes are those that were published; None where nobody can tell.
        error: why it was refused.
    """

    owner: WeightSet
    file: SetFile
    status: Status
    source: Path | None = None
    stored: Stored | None = None
    published: bool | None = None
    error: WeightsError | None = None


@dataclass(frozen=True)
class _Found:
    path: Path
    owner: WeightSet
    file: SetFile
    origin: Origin
    rank: tuple[int, int]  # lower is better: form, and how little of the published path there is


def import_files(
    place: Path,
    names: Sequence[str] = (),
    *,
    commercial_safe: bool = False,
    check: Check | None = None,
    step: Step | None = None,
) -> list[Imported]:
    """Take model files out of a folder, or a single file, into the cache.

    Files are recognised by their published paths, or by their names anywhere below the folder; links to files are
    followed, links to folders are not. A refused file does not stop the others. What `omote
    train liveportrait` saved is passed over.

    Args:
        place: the folder or file.
        names: of the sets that are wanted; those of which something is found, if empty.
        commercial_safe: refuse sets whose licence forbids commercial use, before anything is imported.
        check: whether what a file holds is what the networks expect.
        step: for progress.

    Returns:
        One entry for each file of the wanted sets.

    Raises:
        WeightsError: no such folder, nothing in it that is known, a licence that forbids the use, or the cache cannot
            be written to.
    """
    wanted = [get_set(name) for name in names]
    allowed = {slot for known in wanted for slot in files_of(known)} or None
    found, ours = _find(place, allowed)
    if not found and ours is not None:
        remedy = (
            f"Name their folder where they are used: omote animate --engine liveportrait --weights {ours}"
        )
        raise WeightsError("holds networks that Omote trained, not published ones", where=ours, remedy=remedy)
    if not found:
        filenames = ", ".join(dict.fromkeys(origin.filename for _, _, origin in _forms()))
        raise WeightsError(
            "no model file that Omote knows is in here"
            if place.is_dir()
            else "is no model file that Omote knows",
            where=place,
            remedy=f"They are called: {filenames}.",
        )
    if not wanted:
        wanted = [known for known in list_sets() if any(owner is known for owner, _ in found)]
    for known in wanted if commercial_safe else ():
        require_commercial(known.name)
    todo = list(
        {
            (owner.name, file.key): (owner, file) for known in wanted for owner, file in files_of(known)
        }.values()
    )
    results = []
    for index, (owner, file) in enumerate(todo):
        sources = found.get((owner, file), [None])
        for source in sources:
            if step is not None:
                step(file.key if source is None else source.path.name, index, len(todo))
            result = _import_one(owner, file, source, check)
            if result.status != "refused" or source is sources[0]:
                kept = result
            if result.status != "refused":
                break
        results.append(kept)
    if step is not None:
        step("", len(todo), len(todo))
    return results


def find_not_needed(place: Path) -> list[tuple[Path, NotNeeded]]:
    """Files in a folder that come with a published system and that Omote does without."""
    by_name = {name: known for known in list_not_needed() for name in known.filenames}
    return [(path, by_name[path.name]) for path in _walk(place) if path.name in by_name]


def ingest(
    source: Path, owner: WeightSet, file: SetFile, origin: Origin, digest: str, check: Check | None = None
) -> Stored:
    """Read one model file without running anything in it, check it, and store it in the cache.

    Args:
        source: the file, of either kind whatever its name.
        owner: the set.
        file: which file of the set.
        origin: which of its published forms.
        digest: sha256 of the file.
        check: whether what it holds is what the networks expect.

    Raises:
        WeightsError: too large, damaged, unsafe, not tensors, other tensors than expected; or the cache cannot be
            written to.
    """
    size = source.stat().st_size
    if size > _GROWTH * file.about + _SLACK:
        what = f"is {size / 1e6:.0f} MB; the published {origin.filename} has about {file.about / 1e6:.0f} MB"
        raise WeightsError(what, where=source, remedy="Get it from its official address.")
    held = load_safetensors(source) if is_safetensors(source) else load_torch_checkpoint(source)
    tensors, nested = flatten(held, where=source)
    if check is not None:
        try:
            check(owner.name, file.key, unflatten(tensors) if nested else dict(tensors))
        except WeightsError as error:
            inner = "" if error.where in (None, file.key) else f"{error.where}: "
            raise WeightsError(f"{inner}{error.what}", where=source, remedy=error.remedy) from error
    return write(
        path_of(owner, file),
        tensors,
        origin=origin.path,
        source_sha256=digest,
        source_size=size,
        nested=nested,
    )


def is_published(file: SetFile, origin_path: str, digest: str) -> bool | None:
    """Whether a sha256 is the published one of this form; None where none was published."""
    wanted = next((origin.sha256 for origin in file.origins if origin.path == origin_path), None)
    return None if wanted is None else wanted == digest


def _import_one(owner: WeightSet, file: SetFile, found: _Found | None, check: Check | None) -> Imported:
    target = path_of(owner, file)
    try:
        here = verify_stored(target, afresh=False)
    except WeightsError:  # damaged: as if it were not there
        here = None
    if found is None:
        if here is None:
            return Imported(owner, file, "missing")
        published = is_published(file, here.origin, here.source_sha256)
        return Imported(owner, file, "already here", None, here, published)
    try:
        with found.path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        refusal = WeightsError(f"cannot be read ({error.strerror or error})", where=found.path)
        return Imported(owner, file, "refused", found.path, here, error=refusal)
    published = is_published(file, found.origin.path, digest)
    if here is not None and here.source_sha256 == digest:
        return Imported(owner, file, "already here", found.path, here, published)
    with locked(owner):
        try:
            stored = ingest(found.path, owner, file, found.origin, digest, check)
        except WeightsError as error:
            if error.where == target.parent:  # the cache itself: the next file would fare no better
                raise
            return Imported(owner, file, "refused", found.path, here, published, error)
    return Imported(owner, file, "imported", found.path, stored, published)


def _find(place: Path, allowed: set[_Slot] | None) -> tuple[dict[_Slot, list[_Found]], Path | None]:
    """The files for each known one, the best first; and a folder of networks trained here, if any was passed over."""
    all_of: dict[_Slot, list[_Found]] = {}
    ours = None
    forms = list(_forms())
    for path in _walk(place):
        for found in _recognise(path, forms, allowed):
            slot = (found.owner, found.file)
            if (path.parent / TRAINED_HERE).is_file():
                ours = ours or path.parent
                continue
            all_of.setdefault(slot, []).append(found)
    for several in all_of.values():
        several.sort(key=lambda found: found.rank)
    return all_of, ours


def _forms() -> Iterator[tuple[WeightSet, SetFile, Origin]]:
    for known in list_sets():
        for file in known.files:
            for origin in file.origins:
                yield known, file, origin


def _recognise(
    path: Path, forms: list[tuple[WeightSet, SetFile, Origin]], allowed: set[_Slot] | None
) -> Iterator[_Found]:
    """What a file is, by the end of its path; sets whose files have the same names are told apart by folders."""
    parts = path.absolute().parts
    scored = []
    for owner, file, origin in forms:
        wanted = Path(origin.path).parts
        if parts[-1] != wanted[-1]:
            continue
        same = 0
        for ours, theirs in zip(reversed(parts), reversed(wanted), strict=False):
            if ours != theirs:
                break
            same += 1
        marked = any(mark in part for mark in owner.marks for part in parts[-3:-1])
        whole = same if same == len(wanted) > 1 else 0
        scored.append(((whole, marked, same), owner, file, origin))
    if not scored:
        return
    highest = max(score for score, *_ in scored)
    for score, owner, file, origin in scored:
        if score == highest and (allowed is None or (owner, file) in allowed):
            yield _Found(path, owner, file, origin, (file.origins.index(origin), -score[2]))
            return


def _walk(place: Path) -> Iterator[Path]:
    """The ordinary files below a folder, or the one file, in the order of their names.

    Raises:
        WeightsError: there is no such folder, or it is far larger than a folder of model files.
    """
    if place.is_file():
        yield place
        return
    if not place.is_dir():
        raise WeightsError("there is no such folder or file", where=place)
    count = 0
    for folder, folders, names in os.walk(place):
        folders.sort()
        count += len(names) + len(folders)
        if count > _MOST_FILES:
            remedy = "Give the folder that holds the model files."
            raise WeightsError(
                f"more than {_MOST_FILES} files are below this folder", where=place, remedy=remedy
            )
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file():
                yield path
