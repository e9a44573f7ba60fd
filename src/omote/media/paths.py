"""What a file is, which files a folder holds, and how a result replaces the old one all at once."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from omote.errors import InputError, OutputError

Kind = Literal["image", "video", "performance", "unknown"]
PathLike = str | Path

IMAGE_SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .mpo .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .jp2 .j2k .avif "
    ".heic .heif".split()
)
VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .qt .3gp .3g2 .mkv .webm .avi .flv .ts .mts .m2ts .mpg .mpeg .vob .wmv .asf .ogv .y4m "
    ".apng".split()
)
ANIMATED_IMAGES = frozenset({"gif", "webp", "png"})
_IMAGE_FORMATS = frozenset("png jpeg gif webp bmp tiff jpeg2000 avif heic pnm".split())
_VIDEO_FORMATS = frozenset("mp4 matroska avi flv mpegts mpegps asf ogg y4m".split())

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"II*\x00", "tiff"),
    (0, b"MM\x00*", "tiff"),
    (0, b"II+\x00", "tiff"),
    (0, b"MM\x00+", "tiff"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "jpeg2000"),
    (0, b"\xff\x4f\xff\x51", "jpeg2000"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"FLV\x01", "flv"),
    (0, b"OggS", "ogg"),
    (0, b"YUV4MPEG2 ", "y4m"),
    (0, b"\x00\x00\x01\xba", "mpegps"),
    (0, b"\x00\x00\x01\xb3", "mpegps"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_UNFINISHED = re.compile(r"\.omote-(\d+)-[0-9a-f]{8}\b")  # see `unfinished_name`
_STALE_S = 60.0
_QUICKTIME_ATOMS = frozenset({b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot"})


def check_readable(path: PathLike) -> Path:
    """The path, after checking that it is a file which can be opened and is not empty.

    Raises:
        InputError: no such file, a folder, not permitted, or zero bytes long.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError("this is a folder; a file is needed here", where=path)
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise InputError(
            "there is no such file", where=path, remedy="Check the path and the spelling."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte inside the path
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"the file cannot be opened ({reason})", where=path) from error
    if empty:
        raise InputError(
            "the file is empty (0 bytes)", where=path, remedy="Copy or download it again; it was cut off."
        )
    return path


def sniff(path: PathLike) -> str:
    """The file format by content: "png", "heic", "mp4", ..., "omote", or "" when it is not known.

    Raises:
        InputError: as `check_readable`.
    """
    path = check_readable(path)
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror or error})", where=path) from error
    return _sniff_bytes(head, path.suffix.lower())


def _sniff_bytes(head: bytes, suffix: str) -> str:
    for start, magic, name in _MAGIC:
        if head.startswith(magic, start):
            return name
    if head[:4] == b"RIFF":
        return {b"WEBP": "webp", b"AVI ": "avi"}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "avif"
        if brand in _HEIF_BRANDS:
            length = min(int.from_bytes(head[:4], "big"), 256)
            return "avif" if b"avif" in head[16:length] else "heic"
        return "mp4"
    if head[4:8] in _QUICKTIME_ATOMS:
        return "mp4"
    if (
        head[:2] == b"BM"
        and len(head) > 18
        and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)
    ):
        return "bmp"
    if re.match(rb"P[1-7][\s#]", head):
        return "pnm"
    for first, step in (
        (0, 188),
        (4, 192),
    ):  # MPEG transport streams: a sync byte at the start of each packet
        if len(head) > first + 3 * step and all(head[first + i * step] == 0x47 for i in range(4)):
            return "mpegts"
    if 2 <= int.from_bytes(head[:8], "little") < 100_000_000 and head[8:9] == b"{":  # a safetensors header
        if suffix == ".omote" or b"omote" in head[8:]:
            return "omote"
    return ""


def is_animated(path: PathLike, fmt: str | None = None) -> bool:
    """Whether a GIF, WebP or PNG file declares more than one frame (looks at structure, decodes nothing)."""
    fmt = sniff(path) if fmt is None else fmt
    if fmt not in ANIMATED_IMAGES:
        return False
    with open(path, "rb") as file:
        head = file.read(4096)
        if fmt == "webp":
            return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 0x02)
        if fmt == "png":
            end = head.find(b"IDAT")
            return b"acTL" in head[: end if end >= 0 else None]
        return _gif_frames(head + file.read(64 << 20), stop_at=2) >= 2


def _gif_frames(data: bytes, stop_at: int) -> int:
    """How many images a GIF holds, counted up to ``stop_at`` by walking its blocks."""
    if len(data) < 13:
        return 0
    at, frames = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0), 0
    while at < len(data) and frames < stop_at:
        kind = data[at]
        if kind == 0x2C and at + 10 < len(data):
            frames += 1
            at += 11 + (3 << ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0)
        elif kind == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return frames


def classify(path: PathLike) -> Kind:
    """What a file is, by its content; the suffix only separates ``.omote`` files from other tensors files.

    Animated GIF, WebP and PNG files count as "video" (`read_image` still reads their first frame).

    Raises:
        InputError: missing, a folder, unreadable or empty.
    """
    fmt = sniff(path)
    if fmt == "omote":
        return "performance"
    if fmt in _VIDEO_FORMATS:
        return "video"
    if fmt in _IMAGE_FORMATS:
        return "video" if is_animated(path, fmt) else "image"
    return "unknown"


def is_video(path: PathLike) -> bool:
    """Whether `classify` says "video"."""
    return classify(path) == "video"


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which "frame2" comes before "frame10", whatever the case."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def list_media(folder: PathLike) -> list[Path]:
    """The images and videos of one folder (not of its subfolders), in natural order of their names.

    Files are taken by content; a damaged or empty file with a media suffix is listed too, so that it is
    reported instead of passed over. Hidden files and those being written are left out.

    Raises:
        InputError: the folder is missing, is not a folder or cannot be listed.
    """
    folder = Path(folder)
    try:
        files = [f for f in folder.iterdir() if not f.name.startswith(".") and f.is_file()]
    except FileNotFoundError:
        raise InputError("there is no such folder", where=folder) from None
    except NotADirectoryError:
        raise InputError("this is a file; a folder is needed here", where=folder) from None
    except OSError as error:
        raise InputError(f"the folder cannot be listed ({error.strerror or error})", where=folder) from error

    def is_media(file: Path) -> bool:
        try:
            kind = classify(file)
        except InputError:
            kind = "unknown"
        named_so = file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
        return kind in ("image", "video") or (kind == "unknown" and named_so)

    return sorted(filter(is_media, files), key=lambda f: (natural_key(f.name), f.name))


def output_error(path: PathLike, error: OSError) -> OutputError:
    """The one-line `OutputError` for an operating-system error met while writing ``path``."""
    remedies = {
        errno.ENOSPC: "Free some space or write elsewhere.",
        errno.EDQUOT: "Free some space or write elsewhere.",
        errno.EACCES: "Choose another folder or change its permissions.",
        errno.EPERM: "Choose another folder or change its permissions.",
        errno.EROFS: "Choose another folder: this one is read-only.",
        errno.ENAMETOOLONG: "Choose a shorter name.",
    }
    remedy = remedies.get(error.errno or 0, "Choose another place to write to.")
    return OutputError(f"cannot be written ({error.strerror or error})", where=path, remedy=remedy)


def unfinished_name(target: Path, suffix: str = "") -> Path:
    """A hidden name beside a target for what is not finished yet; see `sweep`."""
    return target.with_name(f".omote-{os.getpid()}-{secrets.token_hex(4)}{suffix}")


def prepare_target(path: PathLike) -> tuple[Path, Path]:
    """The final path (links followed, folders made) and a hidden name beside it with the same suffix.

    Raises:
        OutputError: the folder cannot be made or written to, or the path is a folder.
    """
    path = Path(path)
    try:
        target = path.resolve() if path.is_symlink() else path
        if target.is_dir():
            raise OutputError("this is a folder; give a file name", where=path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.lstat(target)  # says so if the name itself is impossible
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "the existing file is read-only")
        temporary = unfinished_name(target, target.suffix)
        temporary.touch(
            exist_ok=False
        )  # says at once, before hours of work, that the folder cannot be written to
        temporary.unlink()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # RuntimeError: a loop of links; ValueError: a null byte
        raise output_error(path, error if isinstance(error, OSError) else OSError(str(error))) from error
    return target, temporary


def commit(temporary: Path, target: Path) -> None:
    """Rename a finished file over its target.

    Raises:
        OutputError: nothing was written, or the rename failed.
    """
    try:
        os.replace(temporary, target)
    except FileNotFoundError:
        raise OutputError("nothing was written", where=target) from None
    except OSError as error:
        raise output_error(target, error) from error


def sweep(folder: PathLike) -> None:
    """Remove what killed processes left unfinished in a folder.

    Only files and folders whose process is gone and which nobody wrote to for a minute: another machine may share the
    folder.
    """
    for path in Path(folder).glob(".omote-*"):
        owner = _UNFINISHED.match(path.name)
        with suppress(OSError):
            if owner and time.time() - path.stat().st_mtime > _STALE_S and not _runs(int(owner[1])):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _runs(process: int) -> bool:
    """Whether a process of this number may be there."""
    if os.name == "nt":  # where signal 0 ends processes
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def discard(temporary: Path) -> None:
    """Remove an unfinished file, if it is there."""
    with suppress(OSError):
        temporary.unlink()


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """A path beside ``path``, with the same suffix, which replaces it when the block ends well.

    On any exception, Ctrl-C included, the unfinished file is removed and an existing ``path`` stays as it
    was. Missing parent folders are made.

    Raises:
        OutputError: the place cannot be written to, the disk is full, or the block wrote nothing.
    """
    target, temporary = prepare_target(path)
    try:
        yield temporary
        commit(temporary, target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
        if full or (error.filename is not None and os.fspath(error.filename) == os.fspath(temporary)):
            raise output_error(path, error) from error
        raise
    finally:
        discard(temporary)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, hexadecimal.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror or error})", where=path) from error
