"""Writing whole files atomically and reading text with clear errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omote.errors import FormatError, InputError

MAX_TEXT_BYTES = 1 << 30


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write ``data`` to ``path`` through a temporary file beside it.

    Raises:
        OutputError: the folder cannot be written.
    """
    from omote.media import atomic_path

    with atomic_path(path) as temporary:
        Path(temporary).write_bytes(data)
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically, with the line ends it has."""
    return write_bytes(path, text.encode("utf-8"))


def read_text(path: str | Path) -> str:
    """The text of a file, UTF-8 with or without a byte-order mark.

    Raises:
        InputError: missing, unreadable or absurdly large.
        FormatError: not text.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise InputError("the file is larger than 1 GB", where=path)
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError("there is no such file", where=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=path) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError("this is not a UTF-8 text file", where=path) from None


def read_json(path: str | Path) -> Any:
    """A JSON document.

    Raises:
        FormatError: not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"this is not valid JSON ({error})", where=path) from None
