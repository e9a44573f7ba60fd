"""Which files carry Content Credentials."""

from __future__ import annotations

from pathlib import Path

from omote.errors import OutputError
from omote.media.paths import PathLike, sniff

SIGNABLE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".m4v", ".mov", ".zip")
"""Suffixes of the files that `sign_media` signs."""

ARCHIVE = "application/x-zip"
"""What the library calls a zip."""

_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
_READ_TOO = {"tiff": "image/tiff", "avif": "image/avif", "heic": "image/heic", "avi": "video/avi"}
_MORE = {".wav": "audio/wav", ".mp3": "audio/mpeg", ".flac": "audio/flac", ".pdf": "application/pdf"}


def check_signable(path: PathLike) -> None:
    """Say before hours of work that a file of this name could not be signed.

    Raises:
        OutputError: its suffix is not one of `SIGNABLE_SUFFIXES`.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SIGNABLE_SUFFIXES:
        raise OutputError(
            f"{suffix or 'a file without a suffix'} cannot carry Content Credentials",
            where=path,
            remedy="Write .mp4, .mov, .gif, .png, .jpg or .webp, or leave them out with --no-credentials.",
        )


def media_type(path: PathLike) -> str | None:
    """The type of a file, by its content, if `sign_media` signs such files; else None.

    Raises:
        InputError: missing, a folder, unreadable or empty.
    """
    kind = sniff(path)
    if kind == "mp4":
        return "video/quicktime" if _brand(path) == b"qt  " else "video/mp4"
    if not kind and _head(path)[:4] == b"PK\x03\x04":
        return ARCHIVE
    return _TYPES.get(kind)


def readable_type(path: PathLike) -> str | None:
    """The type of a file if the c2pa library reads credentials from such files; else None.

    Raises:
        InputError: missing, a folder, unreadable or empty.
    """
    return media_type(path) or _READ_TOO.get(sniff(path)) or _MORE.get(Path(path).suffix.lower())


def _head(path: PathLike) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


def _brand(path: PathLike) -> bytes:
    head = _head(path)
    return head[8:12] if head[4:8] == b"ftyp" else b"qt  "  # QuickTime files need not say what they are
