"""The errors Omote raises: what happened, where, and what to do, in one line."""

from __future__ import annotations

from pathlib import Path


def printable(text: str) -> str:
    """A text on one line, with what a file could move a terminal's cursor or change its colours by written out."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an error is Ctrl-C, or comes of it: native modules that it meets while they load say ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


class OmoteError(Exception):
    """Base of all errors a user can cause or mend.

    Args:
        what: what happened, one clause without a trailing period.
        where: the file, option or array it happened to; put first in the message.
        remedy: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = printable(what), where, remedy
        text = f"{where}: {what}" if where is not None else what
        if remedy:
            text = f"{text.rstrip('.')}. {remedy}"
        super().__init__(printable(text))


class InputError(OmoteError):
    """An input is missing, unreadable, too large or of a kind that is not supported."""


class NoFaceError(OmoteError):
    """No usable human face was found where one is needed."""


class FormatError(OmoteError):
    """A file of a known kind is malformed, or was written by a newer version."""


class WeightsError(OmoteError):
    """A model file is missing, damaged, or its licence forbids the use asked for."""


class OutputError(OmoteError):
    """A result cannot be written."""
