"""What ``omote weights`` tells of each model file and of each set of them, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omote.errors import WeightsError

if TYPE_CHECKING:
    from omote.weights import Imported, NotNeeded, SetFile, Weight, WeightSet


def weight_row(weight: Weight, path: Path | None) -> dict[str, Any]:
    """One file that is used as it is published.

    Args:
        weight: the file.
        path: where it is; None if it is not on this machine.
    """
    return {
        "name": weight.name,
        "size": weight.size,
        "sha256": weight.sha256,
        "licence": weight.licence,
        "permits": weight.permits,
        "commercial": weight.commercial,
        "origin": weight.url,
        "path": None if path is None else str(path),
    }


def set_row(known: WeightSet) -> dict[str, Any]:
    """One set of files: its terms, its origin, and what of it is on this machine."""
    from omote.weights import files_of, folder_of

    files = [_file_row(owner, file) for owner, file in files_of(known)]
    complete = all(file["path"] is not None for file in files)
    return {
        "name": known.name,
        "title": known.title,
        "size": sum(file["size"] or file["about"] for file in files),
        "licence": known.licence.name,
        "permits": known.licence.permits,
        "commercial": known.licence.commercial,
        "origin": known.page,
        "path": str(folder_of(known)) if complete else None,
        "files": files,
    }


def _file_row(owner: WeightSet, file: SetFile) -> dict[str, Any]:
    from omote.weights import path_of, read_description

    first = file.origins[0]
    try:
        stored, error = read_description(path_of(owner, file)), None
    except WeightsError as damaged:
        stored, error = None, str(damaged)
    return {
        "key": file.key,
        "of": owner.name,
        "published_path": first.path,
        "url": first.address,
        "size": first.size,
        "about": file.about,
        "sha256": first.sha256,
        "path": None if stored is None else str(stored.path),
        "from": None if stored is None else stored.origin,
        "from_sha256": None if stored is None else stored.source_sha256,
        "error": error,
    }


def not_needed_row(known: NotNeeded) -> dict[str, Any]:
    """Files that Omote does without."""
    return {
        "name": known.name,
        "title": known.title,
        "licence": known.licence.name,
        "permits": known.licence.permits,
        "commercial": known.licence.commercial,
        "not_needed": known.instead,
        "path": None,
    }


def imported_row(one: Imported) -> dict[str, Any]:
    """What became of one file in an import."""
    return {
        "set": one.owner.name,
        "key": one.file.key,
        "status": one.status,
        "source": None if one.source is None else str(one.source),
        "path": None if one.stored is None else str(one.stored.path),
        "sha256": None if one.stored is None else one.stored.source_sha256,
        "published": one.published,
        "error": None if one.error is None else str(one.error),
    }


def verified_rows(known: WeightSet) -> list[dict[str, Any]]:
    """Each file of a set read again and compared with what was put there and with what was published."""
    from omote.weights import files_of, is_published, path_of, verify_stored

    rows = []
    for owner, file in files_of(known):
        row: dict[str, Any] = {
            "name": known.name,
            "key": file.key,
            "of": owner.name,
            "path": None,
            "sha256": None,
        }
        row |= {"sound": False, "published": None, "error": None}
        try:
            stored = verify_stored(path_of(owner, file))
        except WeightsError as damaged:
            row["error"] = str(damaged)
        else:
            if stored is not None:
                published = is_published(file, stored.origin, stored.source_sha256)
                row |= {"path": str(stored.path), "sha256": stored.source_sha256, "sound": True}
                row["published"] = published
        rows.append(row)
    return rows


def bytes_are(published: bool | None) -> str:
    """What is known of the bytes of a file, in words."""
    if published is None:
        return "no published sha256 to compare with"
    return "the published bytes" if published else "not the published bytes: saved again, or another version"
