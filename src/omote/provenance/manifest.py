"""What Content Credentials say: actions, ingredients, hashes of the inputs, consent."""

from __future__ import annotations

import datetime as dt
import logging
import mimetypes
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from omote import __version__
from omote.errors import InputError
from omote.media.paths import PathLike, check_readable, sha256_of, sniff
from omote.provenance.consent import checked_consent
from omote.provenance.formats import readable_type

logger = logging.getLogger("omote.provenance")

Action = Literal["animated", "edited", "created", "captured"]

INPUTS = "org.omote.inputs"
CONSENT = "org.omote.consent"
LAYOUT = "org.omote.layout"
NO_SOURCE = "http://c2pa.org/digitalsourcetype/empty"
"""``c2pa.created`` must name a source type; this one says that there was no picture to start from."""

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_COMPOSITE = _IPTC + "compositeWithTrainedAlgorithmicMedia"
_GENERATED = _IPTC + "trainedAlgorithmicMedia"
_UNKNOWN_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Input:
    """Something that a file was made from.

    Args:
        name: for people: a file's name without its folders, or such as "preset smile".
        path: the file, where it is at hand: it is hashed, and credentials that it carries stay in the chain.
        sha256: of the bytes, hexadecimal, where the file itself is not at hand.
        format: media type, where known.
        consent: a statement about consent that came with it; default: the one in the source of an ``.omote`` file.
    """

    name: str
    path: Path | None = None
    sha256: str | None = None
    format: str | None = None
    consent: str | None = None


@dataclass(frozen=True)
class Statement:
    """What the one who signs says: a line about what was done, which engine did it, and a checked consent."""

    description: str
    engine: str | None = None
    consent: str | None = None


def resolve(item: PathLike | Input) -> Input:
    """An input with its hash and media type filled in.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    if not isinstance(item, Input):
        item = Input(Path(item).name, Path(item))
    if item.path is None:
        return item
    path = check_readable(item.path)
    guessed = readable_type(path) or mimetypes.guess_type(path.name)[0] or _UNKNOWN_TYPE
    about = path.stat()
    digest = item.sha256 or _digest(path.resolve(), about.st_size, about.st_mtime_ns)
    return replace(item, path=path, sha256=digest, format=item.format or guessed)


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, modified_ns: int) -> str:
    """The sha256 of a file as it was then: the frames of a folder have the same inputs."""
    return sha256_of(path)


def relationships(action: Action, count: int) -> list[str]:
    """What each input is to the result, in C2PA's words: the thing that was changed, or an aid in making it."""
    first = "parentOf" if action in ("animated", "edited") else "inputTo"
    return [first, *["inputTo"] * (count - 1)] if count else []


def definition(
    title: str,
    kind: str,
    inputs: Sequence[Input],
    action: Action,
    said: Statement,
    plain: Collection[int],
    layout: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The manifest as the c2pa library takes it.

    Args:
        title: name of the signed file.
        kind: its media type.
        inputs: resolved; see `resolve`.
        action: see `omote.provenance.sign_media`.
        said: what people are told.
        plain: indices of the inputs that the library is not given as files; they are named here.
        layout: see `omote.provenance.fillings.layout_of`.
    """
    agent = {"name": "Omote", "version": __version__}
    changed = action in ("animated", "edited")
    source = _COMPOSITE if changed else _GENERATED if action == "created" else NO_SOURCE
    parameters = _kept(description=said.description) | _kept(**{"org.omote.engine": said.engine})
    entry = {
        "action": "c2pa.edited" if changed else "c2pa.created",
        "when": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "softwareAgent": agent,
        "digitalSourceType": source,
        "parameters": parameters,
    }
    assertions: list[dict[str, Any]] = [{"label": "c2pa.actions.v2", "data": {"actions": [entry]}}]
    if inputs:
        names = [
            _kept(name=part.name, sha256=part.sha256, format=part.format, relationship=relation)
            for part, relation in zip(inputs, relationships(action, len(inputs)), strict=True)
        ]
        assertions.append({"label": INPUTS, "data": {"inputs": names}})
    consent = _kept(statement=said.consent, inputs=_consents(inputs))
    if consent:
        assertions.append({"label": CONSENT, "data": consent})
    if layout is not None:
        assertions.append({"label": LAYOUT, "data": layout})
    return {
        "claim_generator_info": [agent],
        "title": title,
        "format": kind,
        "assertions": assertions,
        "ingredients": [ingredient(inputs, index, action) for index in sorted(plain)],
    }


def ingredient(inputs: Sequence[Input], index: int, action: Action) -> dict[str, str]:
    """One input as a C2PA ingredient."""
    part = inputs[index]
    relation = relationships(action, len(inputs))[index]
    return {"title": part.name, "format": part.format or _UNKNOWN_TYPE, "relationship": relation}


def _consents(inputs: Sequence[Input]) -> list[dict[str, str]]:
    """The consent that came with the inputs, and that travels in the header of performances."""
    found = []
    for part in inputs:
        text: Any = part.consent
        if text is None and part.path is not None and sniff(part.path) == "omote":
            from omote.performance import Performance

            text = Performance.load(part.path).source.get("consent")
        if isinstance(text, str):
            try:
                found.append({"name": part.name, "statement": checked_consent(text)})
            except InputError as error:
                logger.warning("%s: its consent is not passed on: %s", part.name, error)
    return found


def _kept(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
