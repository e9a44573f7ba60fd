"""The bytes of a signed file that C2PA leaves unsigned, checked all the same where Omote signed.

They carry no content: names of boxes, the zeros that fill up a signature (C2PA 2.2, sections 11.1 and 13.2), the type
box of a video, the old table of contents of a zip. But "one changed byte shows" shall need no footnote.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

VERSION = 1
"""Of what `is_damaged` knows; a library that lays credentials out in another way needs another."""

_BOX = bytes.fromhex("00110010800000aa00389b71")  # what follows the four letters in C2PA's box identifiers
_LABELS = {b"c2as": b"c2pa.assertions", b"c2cl": b"c2pa.claim.v2", b"c2cs": b"c2pa.signature"}
_SALTED = 0x13  # toggles: requestable, with a label and a salt
_JPEG = b"JP\x02\x11"  # APP11: JUMBF, and the number that the library gives its box
_GIF = b"\x21\xff\x0bC2PA_GIF"
_MP4 = bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + bytes(4) + b"manifest\0" + bytes(8)
_END_OF_ZIP = b"PK\x05\x06"


class Prefix(NamedTuple):
    """The first bytes of a file, which signing leaves as they are: how many, and their sha256."""

    length: int
    sha256: str


def layout_of(path: Path, kind: str) -> dict[str, Any]:
    """What the assertion ``org.omote.layout`` says about a file to be signed; see `is_damaged`."""
    prefix = _prefix_of(path, kind)
    return {"version": VERSION} | ({} if prefix is None else {"prefix": prefix._asdict()})


def is_damaged(path: Path, kind: str, layout: Mapping[str, Any]) -> bool:
    """Whether unsigned bytes of a signed file are not what was left there; False for layouts of other versions."""
    if layout.get("version") != VERSION:
        return False
    given = layout.get("prefix")
    try:
        prefix = Prefix(int(given["length"]), str(given["sha256"])) if isinstance(given, dict) else None
        return _damage(path, kind, prefix)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, struct.error, zipfile.BadZipFile):
        return True  # no signer of ours wrote that


def _prefix_of(path: Path, kind: str) -> Prefix | None:
    """What lies in front of the credentials and is not covered by them, if anything does."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        length = 0
        if kind.startswith("video/") and data[4:8] == b"ftyp":
            length = int.from_bytes(data[:4], "big")
        if kind.endswith("zip") and data.find(b"content_credential.c2pa") < 0:
            length = data.rfind(_END_OF_ZIP)
        return _prefix(data, length) if 8 < length < len(data) else None


def _damage(path: Path, kind: str, prefix: Prefix | None) -> bool:
    """Whether unsigned bytes of a file that Omote signed are not what a signer leaves there."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if prefix is not None and _prefix(data, prefix.length) != prefix:
            return True
        begin = 0 if prefix is None else prefix.length
        if kind in ("image/gif", "image/jpeg"):
            store = _gif_store(data) if kind == "image/gif" else _jpeg_store(data)
        else:
            store = _store(data, begin)
        if store is None:
            return True
        if kind == "image/png" and not _sound_chunk(data, store):
            return True
        if kind.startswith("video/") and data.find(_MP4 + store[:8]) < 0:
            return True
        if kind.endswith("zip") and prefix is not None and not _sound_entries(data, path, begin):
            return True
        return not _is_canonical(store)


def _prefix(data: mmap.mmap, length: int) -> Prefix:
    if not 0 < length <= len(data):
        raise ValueError("not a length within the file")
    with memoryview(data) as whole, whole[:length] as part:
        return Prefix(length, hashlib.sha256(part).hexdigest())


def _store(data: mmap.mmap, begin: int) -> bytes | None:
    """The JUMBF bytes of the credentials where they lie in one piece, not before ``begin``."""
    at = data.find(b"jumb", begin) - 4
    return data[at : at + int.from_bytes(data[at : at + 4], "big")] if at >= 0 else None


def _gif_store(data: mmap.mmap) -> bytes | None:
    at, parts = data.find(_GIF) + len(_GIF) + 3, list[bytes]()
    while 0 <= at < len(data) and data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(parts)


def _jpeg_store(data: mmap.mmap) -> bytes | None:
    """Put together from the APP11 segments: "JP", box instance (2 bytes), number (4), then the box's header again."""
    at, parts = 2, list[bytes]()
    while data[at : at + 1] == b"\xff" and data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xEB:
            if (
                data[at + 4 : at + 8] != _JPEG
                or int.from_bytes(data[at + 8 : at + 12], "big") != len(parts) + 1
            ):
                return None
            parts.append(data[at + (20 if parts else 12) : at + 2 + length])
        at += 2 + length
    return b"".join(parts)


def _sound_chunk(data: mmap.mmap, store: bytes) -> bool:
    at = data.find(b"caBX")
    end = at + 4 + len(store)
    return at >= 0 and zlib.crc32(data[at:end]) == int.from_bytes(data[end : end + 4], "big")


def _sound_entries(data: mmap.mmap, path: Path, begin: int) -> bool:
    """Whether the headers of the credentials' entries say what the (signed) table of contents says."""
    headers = b""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist()[-2:]:  # the folder META-INF, and the credentials in it
            year, month, day, hour, minute, second = entry.date_time
            date, time = (year - 1980) << 9 | month << 5 | day, hour << 11 | minute << 5 | second // 2
            name, sizes = entry.filename.encode(), (entry.CRC, entry.compress_size, entry.file_size)
            start = entry.extract_version, entry.flag_bits, entry.compress_type, time, date
            headers += struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", *start, *sizes, len(name), 0) + name
    return data[begin : begin + len(headers)] == headers


def _is_canonical(store: bytes) -> bool:
    """Whether all that is unsigned around the newest manifest is as the standard wants it."""
    try:
        kind, whole = next(_boxes(store))
        parts = list(_boxes(whole))
        if kind != b"jumb" or len(whole) + 8 != len(store) or parts[0][1] != _description(b"c2pa", b"c2pa"):
            return False
        manifest = list(_boxes(parts[-1][1]))
        if not manifest[0][1].startswith(_description(b"c2ma", b"urn:c2pa:")[:-1]):
            return False
        for _, box in manifest[1:]:
            about, *content = (inner for _, inner in _boxes(box))
            if about[:4] in _LABELS and about != _description(about[:4], _LABELS[about[:4]]):
                return False
            if about[:4] == b"c2as" and {_toggles(assertion) for assertion in content} != {_SALTED}:
                return False
            if about[:4] == b"c2cs" and not _is_filled_with_zeros(content[0]):
                return False
        return [box[8:12] for _, box in manifest[1:]] == list(_LABELS)
    except (IndexError, StopIteration, ValueError):
        return False


def _description(letters: bytes, label: bytes) -> bytes:
    return letters + _BOX + b"\x03" + label + b"\0"


def _toggles(assertion: bytes) -> int:
    """The byte of a box that says which parts its description has."""
    return next(_boxes(assertion))[1][16]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of the boxes one after the other."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length < 8 or at + length > len(data):
            raise ValueError("a box of a wrong length")
        yield data[at + 4 : at + 8], data[at + 8 : at + length]
        at += length


def _is_filled_with_zeros(signature: bytes) -> bool:
    """Whether the text key "pad" of the COSE signature's unprotected header holds zeros and nothing else follows it."""
    at = signature.rindex(b"\x63pad") + 4
    size = {0x58: 1, 0x59: 2, 0x5A: 4}.get(signature[at], 0)
    length = int.from_bytes(signature[at + 1 : at + 1 + size], "big") if size else signature[at] - 0x40
    zeros, rest = signature[at + 1 + size :][:length], signature[at + 1 + size + length :]
    return length == len(zeros) and not any(zeros) and rest[:1] == b"\xf6"
