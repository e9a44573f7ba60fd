"""A take's files in one signed archive."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omote import __version__
from omote.errors import InputError, OutputError
from omote.media.paths import PathLike, atomic_path, check_readable, natural_key, sha256_of
from omote.provenance.consent import checked_consent
from omote.provenance.manifest import Input
from omote.provenance.sign import sign_media

if TYPE_CHECKING:
    from omote.performance import Performance

MANIFEST = "manifest.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can name: equal files make equal archives


def write_bundle(
    path: PathLike,
    files: Sequence[PathLike],
    performances: Performance | Sequence[Performance] = (),
    *,
    sources: Sequence[PathLike | Input] = (),
    consent: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    credentials: bool = True,
) -> Path:
    """Put files of a take into a zip, add ``manifest.json``, and sign the archive.

    But for the signature the archive is the same, byte for byte, for the same files. ``manifest.json`` lists name,
    size and sha256 of each file, the facts of the takes (`Performance.info`) and the consent.

    Args:
        path: the archive, ``.zip``.
        files: what goes in, by their names without folders.
        performances: the takes; the file names and sha256 of their sources become the inputs of the credentials.
        sources: what the takes were captured from, instead of what their sources say.
        consent: see `omote.provenance.checked_consent`; default: what the takes' sources hold under "consent".
        certificate: see `omote.provenance.sign_media`.
        key: see `omote.provenance.sign_media`.
        credentials: whether to sign.

    Returns:
        The path.

    Raises:
        InputError: no files, one that is missing, two of one name, one called manifest.json.
        OutputError: another suffix than .zip, or a place that cannot be written.
        OmoteError: as `omote.provenance.sign_media`.
    """
    path = Path(path)
    if path.suffix.lower() != ".zip":
        raise OutputError("a bundle is a .zip", where=path)
    takes = list(performances) if isinstance(performances, Sequence) else [performances]
    members = _members(files, path)
    given = [consent] if consent is not None else [take.source.get("consent") for take in takes]
    said = "; ".join(dict.fromkeys(text for text in given if isinstance(text, str)))
    statement = checked_consent(said) if said or consent is not None else None
    listed = [
        {"name": name, "size": file.stat().st_size, "sha256": sha256_of(file)}
        for name, file in members.items()
    ]
    manifest: dict[str, Any] = {"format": "omote-bundle", "version": 1, "omote": __version__, "files": listed}
    manifest |= {"takes": [take.info() for take in takes]} if takes else {}
    manifest |= {"consent": statement} if statement is not None else {}
    with atomic_path(path) as beside:
        _write_zip(beside, members, json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True))
        if credentials:
            sign_media(
                beside,
                inputs=sources or _origins(takes),
                action="captured",
                description="A facial capture: rig controls over time and the files made from them",
                consent=statement,
                certificate=certificate,
                key=key,
                title=path.name,
            )
    return path


def _members(files: Sequence[PathLike], target: Path) -> dict[str, Path]:
    """Name in the archive to file, in natural order of the names."""
    if not files:
        raise InputError("no files were given for the bundle")
    found: dict[str, Path] = {}
    taken = {MANIFEST}
    for file in sorted(map(check_readable, files), key=lambda file: (natural_key(file.name), file.name)):
        if file.name.casefold() in taken:
            raise InputError("two files of the bundle would have this name", where=file)
        if target.exists() and file.samefile(target):
            raise InputError("the bundle cannot contain itself", where=file)
        taken.add(file.name.casefold())
        found[file.name] = file
    return found


def _write_zip(path: Path, members: dict[str, Path], manifest: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(_entry(MANIFEST), manifest.encode("utf-8"))
        for name, file in members.items():
            entry = _entry(name, file.stat().st_size)
            with archive.open(entry, "w") as target, file.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)


def _entry(name: str, size: int = 0) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_STORED  # the c2pa library signs no compressed entries
    entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same on every system
    entry.file_size = size  # tells zipfile whether it needs the form for more than 4 GB
    return entry


def _origins(takes: Sequence[Performance]) -> list[Input]:
    """What the takes were captured from, by their own account."""
    found = []
    for take in takes:
        name, digest = take.source.get("file"), take.source.get("sha256")
        if isinstance(name, str):
            found.append(Input(Path(name).name, sha256=digest if isinstance(digest, str) else None))
    return list(dict.fromkeys(found))
