"""What people say about consent, and what leaving the credentials out means."""

from __future__ import annotations

from omote.errors import InputError

_LONGEST = 2000


def checked_consent(text: str) -> str:
    """A consent statement as it is signed: one line, spaces at the ends taken off.

    It is a statement of the person who makes the file, such as "The person shown agreed on 2026-11-02"; Omote
    cannot check it, only carry it unchanged.

    Raises:
        InputError: empty, longer than 2000 characters, or with characters that are not text.
    """
    line = " ".join(text.split())
    if not line:
        raise InputError("is empty", where="consent", remedy="Say who agreed to what, or leave it out.")
    if len(line) > _LONGEST:
        raise InputError(f"has {len(line)} characters, at most {_LONGEST} are kept", where="consent")
    if not line.isprintable():  # control characters could rewrite a terminal; lone surrogates are not text
        raise InputError("holds characters that are not text", where="consent")
    return line


def no_credentials_notice() -> str:
    """What ``--no-credentials`` means, one paragraph."""
    return (
        "No Content Credentials were added. Nobody who receives this file can check that it is synthetic, what it "
        "was made from, or whether it was changed since. Showing it as a real recording of a person deceives, and "
        "many places require that synthetic pictures of people are labelled. Say that it is synthetic wherever you "
        "show it, and publish it only with the consent of the people in it."
    )
