"""Read Content Credentials and check every byte against them. Trusts nothing in the file; uses no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from omote.errors import InputError
from omote.media.paths import PathLike, check_readable
from omote.provenance import claims, library
from omote.provenance.fillings import is_damaged
from omote.provenance.formats import ARCHIVE, SIGNABLE_SUFFIXES, readable_type
from omote.provenance.keys import local_roots, read_anchors
from omote.provenance.report import Identity, Report, State

_LOCAL, _GIVEN = "omote:local", "omote:given"
_LARGEST_SIDECAR = 256 << 20
_CHUNK = 1 << 22
_END_OF_ARCHIVE = 4096  # bytes; the credentials' entry is the last one of the table of contents
_NAMES = (b"c2pa.assertions", b"c2pa.signature", b"content_credential.c2pa")
_ENTRY_NAMES = (b"META-INF/content_", b"credential.c2pa")  # two, as one may be what was damaged
_UNSIGNED = "bytes that carry no content were changed: the filling of the signature, or names of boxes"
_UNTRUSTED = "signingCredential.untrusted"
_ABOUT_THE_SIGNER = ("signingCredential.", "timeStamp.", "claimSignature.outsideValidity", "algorithm.")


def verify(path: PathLike, *, trust: PathLike | None = None) -> Report:
    """Find out who signed a file, what they say about it, and whether it has changed since.

    Credentials are read from the file, else from ``NAME.SUFFIX.c2pa`` or ``NAME.c2pa`` beside it. A ``.c2pa`` file
    stands for the file it belongs to.

    Args:
        path: any file; of the kinds that C2PA does not know, the report says that there are no credentials.
        trust: PEM of root certificates whose signers count as verified.

    Raises:
        InputError: the file or ``trust`` is missing or cannot be read.
        FormatError: ``trust`` holds no certificates.
        OmoteError: the c2pa library cannot be loaded.
    """
    path = check_readable(path)
    if path.suffix.lower() == ".c2pa":
        path = _owner(path)
    local = local_roots()
    anchors = {} if local is None else {_LOCAL: local}
    if trust is not None:
        anchors[_GIVEN] = read_anchors(Path(trust))
    kind = readable_type(path)
    if kind is None:
        return _unknown(path)
    c2pa = library.load()
    with library.context(anchors) as context, path.open("rb") as file:
        try:
            try:
                return _read(c2pa, context, path, kind, file, None)
            except c2pa.C2paError.ManifestNotFound:
                beside = _sidecar(path)
                if beside is None:
                    return _without(path, kind)
                file.seek(0)
                return _read(c2pa, context, path, kind, file, beside)
        except c2pa.C2paError as error:
            return _unreadable(path, kind, library.reason(error))


def _read(c2pa: Any, context: Any, path: Path, kind: str, file: BinaryIO, sidecar: bytes | None) -> Report:
    with c2pa.Reader(kind, file, sidecar, context=context) as reader:
        store = claims.mapping(json.loads(reader.json()))
    manifest = claims.active(store)
    report = _report(path, store, manifest, detached=sidecar is not None)
    if report.state != "changed" and sidecar is None and is_damaged(path, kind, claims.layout(manifest)):
        return replace(report, state="changed", problems=(_UNSIGNED, *report.problems))
    return report


def _unknown(path: Path) -> Report:
    if path.suffix.lower() in SIGNABLE_SUFFIXES and _has_remains(path, ""):
        return Report(path, "changed", ("the file is too damaged to be recognised",))
    return Report(path, "none", ("this is not a kind of file that carries them",))


def _without(path: Path, kind: str) -> Report:
    """No credentials are found; but where their remains are, they were damaged."""
    if _has_remains(path, kind):
        return Report(
            path, "changed", ("there are remains of credentials, damaged so that they are not found",)
        )
    return Report(path, "none")


def _unreadable(path: Path, kind: str, reason: str) -> Report:
    if "remote manifest" in reason:
        return Report(path, "none", ("its credentials are kept on a web site; Omote does not go there",))
    if _has_remains(path, kind):
        return Report(
            path, "changed", (f"the file or its credentials are damaged and cannot be read ({reason})",)
        )
    if kind == ARCHIVE:  # such as one with compression, which the library does not open
        return Report(path, "none")
    return Report(path, "none", (f"and the file is damaged ({reason})",))


def _has_remains(path: Path, kind: str) -> bool:
    """Whether names that only credentials hold are in the file; of a zip, whose members may have some, in its end."""
    names: tuple[bytes, ...] = _ENTRY_NAMES if kind == ARCHIVE else _NAMES
    last = b""
    with path.open("rb") as file:
        if kind == ARCHIVE:
            file.seek(max(path.stat().st_size - _END_OF_ARCHIVE, 0))
        while chunk := file.read(_CHUNK):
            window = last + chunk
            if any(name in window for name in names):
                return True
            last = chunk[-32:]
    return False


def _owner(sidecar: Path) -> Path:
    """The file that a ``.c2pa`` file belongs to."""
    whole = sidecar.with_suffix("")
    found = [whole] if whole.is_file() else []
    if not found:
        found = [p for p in sidecar.parent.glob("*") if p.stem == whole.name and p != sidecar and p.is_file()]
    if len(found) != 1:
        what = "several files could belong to it" if found else "the file that it belongs to is not beside it"
        raise InputError(what, where=sidecar, remedy="Name that file: omote verify FILE")
    return found[0]


def _sidecar(path: Path) -> bytes | None:
    for place in (path.with_name(path.name + ".c2pa"), path.with_suffix(".c2pa")):
        if place.is_file():
            try:
                with place.open("rb") as file:
                    return file.read(_LARGEST_SIDECAR)
            except OSError as error:
                raise InputError(f"cannot be read ({error.strerror or error})", where=place) from None
    return None


def _report(path: Path, store: Mapping[str, Any], manifest: Mapping[str, Any], *, detached: bool) -> Report:
    results = claims.mapping(store.get("validation_results"))
    failures = claims.failures(results)
    untrusted = failures.pop(_UNTRUSTED, None) is not None
    state: State = "valid"
    if any(not code.startswith(_ABOUT_THE_SIGNER) for code in failures):
        state = "changed"
    elif failures or not (untrusted or store.get("validation_state") == "Trusted"):
        state = "invalid"
    actions = claims.actions(manifest)
    proven = claims.signing_time(manifest)
    return Report(
        path=path,
        state=state,
        problems=tuple(claims.explain(code, text) for code, text in failures.items()),
        signer=claims.signer(manifest, _identity(results, failures)),
        when=proven or next((action.when for action in reversed(actions) if action.when), None),
        when_is_proven=proven is not None,
        software=claims.software(manifest),
        title=claims.text(manifest.get("title")),
        actions=actions,
        sources=claims.sources(manifest),
        consent=claims.consent(manifest),
        detached=detached,
    )


def _identity(results: Mapping[str, Any], failures: Mapping[str, str]) -> Identity:
    """Under whose root the signer is, which holds even where the content has changed since."""
    successes = claims.items(claims.mapping(results.get("activeManifest")).get("success"))
    trusted = any(item.get("code") == "signingCredential.trusted" for item in successes)
    if not trusted or any(code.startswith("claimSignature.") for code in failures):
        return "unverified"
    return "local" if results.get("trustListUri") == _LOCAL else "trusted"
