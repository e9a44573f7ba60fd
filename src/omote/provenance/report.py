"""What `verify` found out about a file, as data and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["valid", "changed", "invalid", "none"]
Identity = Literal["local", "trusted", "unverified"]

_STATES: dict[State, str] = {
    "valid": "valid: not one byte of the content has changed since it was signed",
    "changed": "CHANGED: this is not what was signed",
    "invalid": "not valid: the content is unchanged, but its credentials cannot be accepted",
    "none": "no Content Credentials",
}
_IDENTITIES: dict[Identity, str] = {
    "local": "a key made on this machine",
    "trusted": "trusted, under a root certificate that you gave",
    "unverified": "issued by somebody this machine does not know; not a verified identity",
}
_SOURCES = {
    "compositeWithTrainedAlgorithmicMedia": "real pictures with synthetic parts",
    "trainedAlgorithmicMedia": "synthetic pictures",
}
_VERBS = {"parentOf": "changed from", "componentOf": "contains", "inputTo": "made with"}


@dataclass(frozen=True)
class Signer:
    """Who signed.

    Attributes:
        name: common name of the certificate; anyone can write any name, unless the identity is "trusted".
        issuer: the organisation it names.
        serial: number of the certificate, decimal.
        algorithm: such as "Es256".
        identity: "local": a key made on this machine; "trusted": issued under a root that was given; "unverified".
        self_made: whether the name is that of keys which Omote makes.
    """

    name: str
    issuer: str
    serial: str
    algorithm: str
    identity: Identity
    self_made: bool


@dataclass(frozen=True)
class Action:
    """One thing that was done.

    Attributes:
        name: C2PA's name without ``c2pa.``: "opened", "edited", "created" ...
        source_type: last part of the IPTC digital source type, such as "compositeWithTrainedAlgorithmicMedia".
        software: name and version.
        description: for people.
        engine: the engine of Omote that made the pictures.
        when: ISO 8601, by the clock of the signer.
    """

    name: str
    source_type: str | None = None
    software: str | None = None
    description: str | None = None
    engine: str | None = None
    when: str | None = None


@dataclass(frozen=True)
class Source:
    """Something that the file was made from.

    Attributes:
        name: of the file, without folders.
        relationship: "parentOf" (what was changed), "inputTo" (an aid) or "componentOf" (a part).
        sha256: of its bytes, where recorded.
        credentials: how its own credentials were when it was used: "valid", "changed" or "none".
    """

    name: str
    relationship: str
    sha256: str | None
    credentials: Literal["valid", "changed", "none"]


@dataclass(frozen=True)
class Report:
    """Who made a file, of what, with what, when; and whether it has changed since.

    Attributes:
        path: the file.
        state: "valid"; "changed": the content or the credentials are not what was signed; "invalid": the content
            is, but the credentials cannot be accepted (see problems); "none": there are none.
        problems: one line each; empty for "valid".
        signer: who signed, where that can be read.
        when: ISO 8601; see ``when_is_proven``.
        when_is_proven: whether a timestamp authority vouches for the time; else it is what the signer's clock said.
        software: what wrote the credentials.
        title: name of the file when it was signed.
        actions: in the order in which they were done.
        sources: what it was made from.
        consent: the statements about consent that were signed.
        detached: whether the credentials were read from a ``.c2pa`` file beside it.
    """

    path: Path
    state: State
    problems: tuple[str, ...] = ()
    signer: Signer | None = None
    when: str | None = None
    when_is_proven: bool = False
    software: str | None = None
    title: str | None = None
    actions: tuple[Action, ...] = ()
    sources: tuple[Source, ...] = ()
    consent: tuple[str, ...] = ()
    detached: bool = False

    @property
    def is_valid(self) -> bool:
        """Whether there are credentials, they hold, and the content is what was signed."""
        return self.state == "valid"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the path under "file"."""
        values = asdict(self)
        return {"file": str(values.pop("path")), **values}

    def lines(self) -> Iterator[str]:
        """The report for people: one line of verdict, then what is known, indented."""
        yield f"{self.path}: {_STATES[self.state]}"
        for problem in self.problems:
            yield f"  {problem}"
        if self.state == "changed" and self.signer is not None:
            yield "  What follows was said about the file that was signed:"
        for name, text in self._facts():
            yield f"  {name:<13} {text}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        if self.signer is not None:
            yield "signed by", _who(self.signer)
        if self.when is not None:
            clock = "timestamp authority" if self.when_is_proven else "by the signer's clock"
            yield "when", f"{self.when} ({clock})"
        if self.software is not None:
            yield "software", self.software
        for action in self.actions:
            if action.name != "opened":  # that is the line "changed from"
                yield action.name, _what(action)
        for source in self.sources:
            yield _VERBS.get(source.relationship, "made with"), _which(source)
        for statement in self.consent:
            yield "consent", statement
        if self.detached:
            yield "read from", "the .c2pa file beside it"


def _who(signer: Signer) -> str:
    if signer.self_made:
        known = "made by somebody for themselves; not a verified identity"
        return f"{signer.name}: {known if signer.identity == 'unverified' else _IDENTITIES[signer.identity]}"
    name = f"{signer.name}, {signer.issuer}" if signer.issuer else signer.name
    return f"{name}: {_IDENTITIES[signer.identity]}"


def _what(action: Action) -> str:
    kind = action.source_type
    plain = kind and (f"{_SOURCES[kind]} ({kind})" if kind in _SOURCES else kind)
    parts = [action.description or "", action.engine and f"engine {action.engine}", plain]
    return "; ".join(part for part in parts if part) or "(nothing is said about it)"


def _which(source: Source) -> str:
    kept = {"valid": "its own credentials fitted it", "changed": "its own credentials did NOT fit it"}
    parts = [source.name, source.sha256 and f"sha256 {source.sha256}", kept.get(source.credentials)]
    return "  ".join(part for part in parts if part)
