"""Take the c2pa library's account of a manifest apart. Everything in it was written by strangers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from omote.provenance.keys import LOCAL_NAME
from omote.provenance.manifest import CONSENT, INPUTS, LAYOUT, NO_SOURCE
from omote.provenance.report import Action, Identity, Signer, Source

_LONGEST = 2000
_MOST = 100
_EXPLANATIONS = {
    "assertion.dataHash.mismatch": "bytes of the file were changed, added or taken away",
    "assertion.bmffHash.mismatch": "bytes of the video were changed, added or taken away",
    "assertion.boxesHash.mismatch": "bytes of the file were changed, added or taken away",
    "assertion.collectionHash.mismatch": "a file in the archive was changed, added or taken away",
    "assertion.hashedURI.mismatch": "a statement in the credentials was changed",
    "claimSignature.mismatch": "the signature does not fit the credentials",
    "claimSignature.outsideValidity": "the certificate was not valid when the file was signed",
    "signingCredential.expired": "the certificate has expired, and nothing proves that the file is older",
    "signingCredential.revoked": "the certificate was revoked",
    "signingCredential.invalid": "the certificate is not one for Content Credentials",
}


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, at most 100; nothing where it is no list."""
    return [mapping(item) for item in value[:_MOST]] if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """A string that is safe on a terminal: one line, printable, at most 2000 characters; None if there is none."""
    if not isinstance(value, str):
        return None
    line = " ".join("".join(c if c.isprintable() else " " for c in value[: 2 * _LONGEST]).split())
    return line[:_LONGEST] or None


def failures(results: Mapping[str, Any]) -> dict[str, str]:
    """C2PA's failure codes of the newest manifest and what changed below it, each with the library's words."""
    parts = [mapping(results.get("activeManifest"))]
    parts += [mapping(delta.get("validationDeltas")) for delta in items(results.get("ingredientDeltas"))]
    found = [item for part in parts for item in items(part.get("failure"))]
    return {text(item.get("code")) or "unknown": text(item.get("explanation")) or "" for item in found}


def explain(code: str, words: str) -> str:
    """One line for one failure."""
    return _EXPLANATIONS.get(code) or f"{words or 'it does not fit'} ({code})"


def active(store: Mapping[str, Any]) -> Mapping[str, Any]:
    """The newest manifest."""
    return mapping(mapping(store.get("manifests")).get(str(store.get("active_manifest"))))


def layout(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """What Omote says about the bytes that C2PA leaves unsigned; see `omote.provenance.fillings`."""
    return next(_assertions(manifest, LAYOUT), {})


def signer(manifest: Mapping[str, Any], identity: Identity) -> Signer | None:
    """Who signed; None where the signature cannot be read."""
    signature = mapping(manifest.get("signature_info"))
    if not signature:
        return None
    name, issuer, serial, algorithm = (
        text(signature.get(key)) for key in ("common_name", "issuer", "cert_serial_number", "alg")
    )
    return Signer(
        name=name or "a certificate without a name",
        issuer=issuer or "",
        serial=serial or "",
        algorithm=algorithm or "",
        identity=identity,
        self_made=name == LOCAL_NAME,
    )


def signing_time(manifest: Mapping[str, Any]) -> str | None:
    """The time that a timestamp authority vouches for."""
    return text(mapping(manifest.get("signature_info")).get("time"))


def software(manifest: Mapping[str, Any]) -> str | None:
    """Name and version of the program that made the claim."""
    generators = items(manifest.get("claim_generator_info"))
    return _agent(generators[0]) if generators else text(manifest.get("claim_generator"))


def actions(manifest: Mapping[str, Any]) -> tuple[Action, ...]:
    """What was done."""
    return tuple(
        Action(
            name=(text(item.get("action")) or "unknown").removeprefix("c2pa."),
            source_type=_source_type(item.get("digitalSourceType")),
            software=_agent(item.get("softwareAgent")),
            description=text(mapping(item.get("parameters")).get("description"))
            or text(item.get("description")),
            engine=text(mapping(item.get("parameters")).get("org.omote.engine")),
            when=text(item.get("when")),
        )
        for data in _assertions(manifest, "c2pa.actions")
        for item in items(data.get("actions"))
    )


def sources(manifest: Mapping[str, Any]) -> tuple[Source, ...]:
    """What it was made from: Omote's own list of inputs where there is one, else the ingredients."""
    left = items(manifest.get("ingredients"))
    found = []
    for data in _assertions(manifest, INPUTS):
        for item in items(data.get("inputs")):
            key = (item.get("name"), item.get("relationship"))
            match = next(
                (part for part in left if (part.get("title"), part.get("relationship")) == key), None
            )
            if match is not None:
                left.remove(match)
            found.append(_source(item.get("name"), item, match or {}))
    found += [_source(part.get("title"), part, part) for part in left]
    return tuple(found)


def consent(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The statements about consent: of the one who signed, then those that came with the inputs."""
    found = []
    for data in _assertions(manifest, CONSENT):
        found.append(text(data.get("statement")))
        for item in items(data.get("inputs")):
            statement = text(item.get("statement"))
            found.append(statement and f"{text(item.get('name')) or 'an input'}: {statement}")
    return tuple(line for line in found if line)


def _assertions(manifest: Mapping[str, Any], label: str) -> Iterator[Mapping[str, Any]]:
    for item in items(manifest.get("assertions")):
        name = str(item.get("label")).partition("__")[0]
        if name == label or name.startswith(f"{label}.v"):
            yield mapping(item.get("data"))


def _source(name: Any, about: Mapping[str, Any], part: Mapping[str, Any]) -> Source:
    return Source(
        name=text(name) or "without a name",
        relationship=text(about.get("relationship")) or "inputTo",
        sha256=text(about.get("sha256")),
        credentials=_credentials(part),
    )


def _credentials(part: Mapping[str, Any]) -> Literal["valid", "changed", "none"]:
    if not part.get("active_manifest"):
        return "none"
    codes = failures({"activeManifest": mapping(part.get("validation_results")).get("activeManifest")})
    return "changed" if any(not code.startswith("signingCredential.") for code in codes) else "valid"


def _source_type(value: Any) -> str | None:
    line = text(value)
    return None if line is None or line == NO_SOURCE else line.rstrip("/").rpartition("/")[2]


def _agent(value: Any) -> str | None:
    if isinstance(value, str):
        return text(value)
    about = mapping(value)
    return text(" ".join(filter(None, (text(about.get("name")), text(about.get("version"))))))
