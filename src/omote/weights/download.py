"""Downloads that go on where they stopped, and whose bytes are checked before they count."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import logging
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from omote.errors import WeightsError
from omote.weights.cache import check_space, is_local, unwritable

logger = logging.getLogger("omote.weights")

Progress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all) during a download."""

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
_ATTEMPTS = 3  # in a row without getting on
_SLACK = 1 << 20
_NETWORK_ERRORS = (
    OSError,
    http.client.HTTPException,
    ValueError,
)  # ValueError: a malformed address or header


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        name: what messages call it.
        url: http or https.
        about: bytes to expect; a server that sends more than twice as many is cut off.
        by_hand: how to get it without this program, one sentence.
        size: bytes, where published.
        sha256: lower-case hexadecimal, where published.
    """

    name: str
    url: str
    about: int
    by_hand: str
    size: int | None = None
    sha256: str | None = None

    @property
    def limit(self) -> int:
        """The most bytes that are accepted."""
        return self.size if self.size is not None else 2 * self.about + _SLACK


def download(remote: Remote, part: Path, *, progress: Progress | None = None) -> str:
    """Bring ``part`` to all bytes of ``remote``, going on where an earlier attempt stopped.

    What is published (or, failing that, announced by the server) of size and sha256 is checked. A file whose
    sha256 nobody knows goes on only if the server says that it has not changed since.

    Returns:
        The sha256 of the file.

    Raises:
        WeightsError: no network, other bytes than the published ones, or a disk that cannot be written to.
    """
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        check_space(part.parent, remote.about - _size(part))
        _persevere(remote, part, progress)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        wanted = remote.sha256 or _notes(part).get("sha256") or found
        sound = found == wanted and remote.size in (None, _size(part))
        notes_path(part).unlink(missing_ok=True)
        if not sound:
            part.unlink()
    except _NETWORK_ERRORS as error:
        if is_local(error):
            raise unwritable(part.parent, error) from error
        reason = " ".join(str(getattr(error, "reason", None) or error).split())[:120]
        raise missing(remote.name, f"cannot be downloaded ({reason})", remote.by_hand) from error
    if not sound:
        raise WeightsError(
            f"the download of {remote.name} does not have the published sha256 and was deleted",
            where=remote.url,
            remedy="A proxy may have changed it. " + remote.by_hand,
        )
    return found


def missing(name: str, why: str, by_hand: str) -> WeightsError:
    """The one line for a model file that is not to be had."""
    return WeightsError(f"the model file {name} {why}", remedy=by_hand)


def notes_path(part: Path) -> Path:
    """Where it is kept which version of a file a partial download belongs to."""
    return part.with_name(part.name + ".json")


def _persevere(remote: Remote, part: Path, progress: Progress | None) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            return _transfer(remote, part, progress)
        except _NETWORK_ERRORS as error:
            failures = 1 if _size(part) - before >= _CHUNK else failures + 1
            refused = isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if error.code == 416:  # nothing to go on with
                    part.unlink(missing_ok=True)
                    refused = failures > 1
            if refused or is_local(error) or failures >= _ATTEMPTS:
                raise
            logger.info("%s: %s; trying again", remote.url, error)
            time.sleep(0.2 * failures)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections and keeps what model hubs announce of the file in them."""

    def __init__(self) -> None:
        self.sha256: str | None = None

    def redirect_request(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        self.sha256 = _digest_in(headers) or self.sha256
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _digest_in(headers: Any) -> str | None:
    tag = (headers.get("X-Linked-Etag") or "").strip('"').lower()
    return tag if re.fullmatch("[0-9a-f]{64}", tag) else None


def _transfer(remote: Remote, part: Path, progress: Progress | None) -> None:
    """Append the missing bytes to ``part``."""
    if not remote.url.startswith(("http://", "https://")):
        raise missing(remote.name, "has no web address (is HF_ENDPOINT one?)", remote.by_hand)
    notes = {} if remote.sha256 else _notes(part)
    done, total = _size(part), remote.size or notes.get("total")
    if done and (done > (total or remote.limit) or not (remote.sha256 or notes.get("etag"))):
        part.unlink()
        done = 0
    if done and done == total:
        return
    request = urllib.request.Request(remote.url, headers={"User-Agent": "omote"})
    if done:
        request.add_header("Range", f"bytes={done}-")
        if not remote.sha256:
            request.add_header("If-Range", notes["etag"])
    redirects = _Redirects()
    with urllib.request.build_opener(redirects).open(request, timeout=_TIMEOUT_S) as response:
        content_range = response.headers.get("Content-Range")
        if done and (response.status != 206 or not _continues(content_range, done)):
            done = 0
        announced = _announced(response.headers, content_range)
        if remote.size is not None and announced not in (None, remote.size):
            what = (
                f"is {announced} bytes on the server, not {remote.size}: is there a log-in page or a proxy?"
            )
            raise missing(remote.name, what, remote.by_hand)
        total = remote.size or announced
        if total is not None and total > remote.limit:
            raise missing(
                remote.name,
                f"is {total / 1e6:.0f} MB on the server, not {remote.about / 1e6:.0f}",
                remote.by_hand,
            )
        if not done and not remote.sha256:
            etag = response.headers.get("ETag") or ""
            etag = "" if etag.startswith("W/") else etag
            told = redirects.sha256 or _digest_in(response.headers)
            kept = json.dumps({"etag": etag, "total": total, "sha256": told})
            notes_path(part).write_text(kept, encoding="utf-8")
        with part.open("ab" if done else "wb") as file:
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                if done > (total or remote.limit):
                    break
                file.write(chunk)
                if progress is not None:
                    progress(done, total or remote.about)
    if total is None and done > remote.limit:
        part.unlink()
        raise missing(remote.name, "is endless on the server", remote.by_hand)
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _continues(content_range: str | None, done: int) -> bool:
    return content_range is not None and content_range.strip().startswith(f"bytes {done}-")


def _announced(headers: Any, content_range: str | None) -> int | None:
    """The size of the whole file, by the headers of a whole or partial answer."""
    text = content_range.rpartition("/")[2] if content_range else headers.get("Content-Length") or ""
    return int(text) if text.strip().isdecimal() else None


def _notes(part: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        notes = json.loads(notes_path(part).read_text(encoding="utf-8"))
        total = notes.get("total")
        if isinstance(notes.get("etag"), str) and (total is None or isinstance(total, int)):
            return dict(notes)
    return {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
