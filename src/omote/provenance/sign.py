"""Write Content Credentials (C2PA) into a finished file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omote.errors import InputError, OutputError
from omote.media.paths import PathLike, atomic_path, check_readable
from omote.provenance import library
from omote.provenance.consent import checked_consent
from omote.provenance.fillings import is_damaged, layout_of
from omote.provenance.formats import check_signable, media_type
from omote.provenance.keys import Identity, choose_identity
from omote.provenance.manifest import Action, Input, Statement, definition, ingredient, resolve


def check_signing(path: PathLike, *, certificate: Path | None = None, key: Path | None = None) -> None:
    """Find out before long work whether a result could be signed; makes the local key where that is needed.

    Raises:
        OutputError: the suffix of ``path`` is of no kind that is signed, or the local key cannot be written.
        InputError, FormatError: the certificate or key cannot be used.
        OmoteError: the c2pa library cannot be loaded.
    """
    check_signable(path)
    library.load()
    choose_identity(certificate, key)


def sign_media(
    path: PathLike,
    *,
    inputs: Sequence[PathLike | Input],
    action: Action,
    description: str,
    consent: str | None = None,
    engine: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    sidecar: bool = False,
    title: str | None = None,
) -> Path:
    """Sign a finished file in place: any later change of what it shows is seen by `omote.provenance.verify`.

    The credentials (C2PA 2) say what was done, with which software, from what (ingredients, and the sha256 of
    each in the assertion ``org.omote.inputs``) and with whose consent (``org.omote.consent``; the consent in the
    source of an ``.omote`` input is passed on). Files are named without their folders; there are no thumbnails.

    Args:
        path: PNG, JPEG, WebP, GIF, MP4, MOV or zip, whatever its suffix. Replaced at once or not at all.
        inputs: what it was made from; for "animated" and "edited" the photo or video that was changed comes first.
        action: "animated", "edited": a real picture with a model's work in it (compositeWithTrainedAlgorithmicMedia);
            "created": nothing in it was recorded (trainedAlgorithmicMedia); "captured": no pictures were made.
        description: one line for people.
        consent: see `omote.provenance.checked_consent`.
        engine: the engine that made the pictures.
        certificate: the user's own chain in PEM, the signing certificate first; goes with ``key``. Without them
            ``OMOTE_CERTIFICATE`` and ``OMOTE_KEY``, else the local key.
        key: its private key in PEM, without a password.
        sidecar: leave the file as it is and write the credentials beside it: its name and ``.c2pa``.
        title: the name to record; default: the file's own.

    Returns:
        The file that now holds the credentials.

    Raises:
        InputError: a missing input, "animated" or "edited" without any, a consent or certificate that cannot be used.
        FormatError: a damaged key or certificate.
        OutputError: a kind of file that cannot be signed, or a place that cannot be written.
        OmoteError: the c2pa library cannot be loaded.
    """
    path = check_readable(path)
    kind = media_type(path)
    if kind is None:
        check_signable(path)
        raise OutputError("the content is not of a kind that carries Content Credentials", where=path)
    if action in ("animated", "edited") and not inputs:
        raise InputError(f"what was {action} is missing", where="inputs")
    statement = None if consent is None else checked_consent(consent)
    parts = [resolve(item) for item in inputs]
    identity = choose_identity(certificate, key)

    name = path.name if title is None else title
    said = Statement(description, engine, statement)
    c2pa = library.load()
    place = path.with_name(path.name + ".c2pa") if sidecar else path
    where = path.with_name(name)
    # A library that lays the file out in an unknown way gets no promise about unsigned bytes.
    layouts = [None] if sidecar else [layout_of(path, kind), None]
    try:
        with library.context() as context, _signer(identity) as signer, atomic_path(place) as beside:
            for layout in layouts:

                def define(plain: set[int], layout: Any = layout) -> dict[str, Any]:
                    return definition(name, kind, parts, action, said, plain, layout)

                with _builder(context, define, parts, action) as builder, path.open("rb") as source:
                    if sidecar:
                        builder.set_no_embed()
                        with tempfile.TemporaryFile() as unused:
                            beside.write_bytes(builder.sign(signer, kind, source, unused))
                    else:
                        with beside.open("w+b") as result:
                            builder.sign(signer, kind, source, result)
                if layout is None or not is_damaged(beside, kind, layout):
                    break
            if not sidecar:
                shutil.copymode(path, beside)
    except c2pa.C2paError as error:
        packed = "compression method" in str(error)
        remedy = "Only archives without compression can be signed: use `omote bundle`." if packed else None
        raise OutputError(
            f"cannot be signed ({library.reason(error)})", where=where, remedy=remedy
        ) from error
    return place


@contextmanager
def _builder(context: Any, define: Any, inputs: Sequence[Input], action: Action) -> Iterator[Any]:
    """A ``c2pa.Builder`` with all inputs as ingredients; those that the library cannot read are only named."""
    c2pa = library.load()
    changed = action in ("animated", "edited")
    plain = {index for index, part in enumerate(inputs) if part.path is None}
    while True:
        with c2pa.Builder(define(plain), context) as builder:
            if changed:
                builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            refused = next(
                (i for i in range(len(inputs)) if i not in plain and not _add(builder, inputs, i, action)),
                None,
            )
            if refused is None:
                yield builder
                return
        plain.add(refused)


def _add(builder: Any, inputs: Sequence[Input], index: int, action: Action) -> bool:
    """Give the library one input as a file; False if it cannot read it."""
    about, path = ingredient(inputs, index, action), inputs[index].path
    if path is None:
        return False
    try:
        with path.open("rb") as file:
            builder.add_ingredient(about, about["format"], file)
    except library.load().C2paError:
        return False
    return True


def _signer(identity: Identity) -> Any:
    c2pa = library.load()
    return c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(
            alg=identity.algorithm.encode(), sign_cert=identity.chain, private_key=identity.key, ta_url=None
        )
    )
