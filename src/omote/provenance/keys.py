"""Who signs: a key made on this machine on first use, or the user's own certificate."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omote.errors import FormatError, InputError, OmoteError, OutputError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

LOCAL_NAME = "Omote local key (self-made)"
"""The subject of every locally made certificate: says by itself that nobody vouches for it."""

_ORGANISATION = "Self-made"
_KEY_FILE = "signing-key.pem"
_ROOTS_FILE = "signing-roots.pem"
_VALID = dt.timedelta(days=3653)
# Without a timestamp authority a signature is judged by the certificate's dates when it is *read*; so a key
# is replaced while what it signs has a year to live.
_RENEW = dt.timedelta(days=365)
_OTHERWISE = "Set OMOTE_CONFIG to a folder that can be written, or sign with --certificate and --key."


@dataclass(frozen=True)
class Identity:
    """A certificate chain and its private key.

    Attributes:
        chain: PEM, the signing certificate first.
        key: PEM, PKCS #8, not encrypted.
        algorithm: as C2PA calls it: es256, es384, es512, ps256 or ed25519.
        name: common name of the signing certificate.
    """

    chain: bytes
    key: bytes = field(repr=False)
    algorithm: str
    name: str


def config_dir() -> Path:
    """Where the local key is kept: ``$OMOTE_CONFIG``, else the platform's folder for settings. May not exist yet."""
    given = os.environ.get("OMOTE_CONFIG")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("omote", appauthor=False))


def choose_identity(certificate: Path | None = None, key: Path | None = None) -> Identity:
    """The user's own certificate where one is named, else the local key.

    Named are, in this order, the arguments or the files in ``OMOTE_CERTIFICATE`` and ``OMOTE_KEY``.

    Raises:
        InputError: only one of the two was given, a file is missing, they do not belong together, or it expired.
        FormatError: not PEM, or a kind of key that C2PA does not know.
        OutputError: the local key cannot be written.
    """
    if certificate is None and key is None:
        named = [os.environ.get(name) or None for name in ("OMOTE_CERTIFICATE", "OMOTE_KEY")]
        certificate, key = (None if name is None else Path(name).expanduser() for name in named)
    if certificate is None and key is None:
        return local_identity()
    if certificate is None or key is None:
        missing = "--certificate (or OMOTE_CERTIFICATE)" if certificate is None else "--key (or OMOTE_KEY)"
        raise InputError(f"{missing} is missing: a certificate and its key are given together")
    return _own_identity(certificate, key)


def local_identity() -> Identity:
    """The key of this machine and user; made on first use, replaced in its last year.

    Many processes may ask at once: all get the same key.

    Raises:
        FormatError: the file of the key is damaged.
        OutputError: the folder cannot be written.
    """
    path = config_dir() / _KEY_FILE
    found = _read_local(path)
    if found is not None:
        return found
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(path.with_name(f".{_KEY_FILE}.lock"), timeout=30):
            found = _read_local(path)  # another process may have been faster
            if found is None:
                identity, root = _make()
                roots = path.with_name(_ROOTS_FILE)
                earlier = roots.read_bytes() if roots.exists() else b""
                _write(roots, earlier + root, mode=0o644)  # first: a key whose root is lost is a stranger's
                _write(path, identity.key + identity.chain, mode=0o600)
                found = identity
    except Timeout:
        raise OutputError("another process is busy with the key", where=path, remedy="Run again.") from None
    except (OSError, ValueError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        what = f"the key for Content Credentials cannot be written ({reason})"
        raise OutputError(what, where=path.parent, remedy=_OTHERWISE) from None
    return found


def local_roots() -> str | None:
    """PEM of the root certificates made on this machine, None where there are none. Never makes any."""
    try:
        text = (config_dir() / _ROOTS_FILE).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return text if _parses(text) else None


def read_anchors(path: Path) -> str:
    """PEM of the root certificates in a file.

    Raises:
        InputError: there is no such file, or it cannot be read.
        FormatError: it holds no certificate in PEM.
    """
    text = _read_file(path).decode("ascii", errors="replace")
    if not _parses(text):
        raise FormatError("this holds no certificates in PEM", where=path)
    return text


def _parses(text: str) -> bool:
    from cryptography import x509

    try:
        return bool(x509.load_pem_x509_certificates(text.encode("ascii")))
    except ValueError:
        return False


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=path) from None


def _read_local(path: Path) -> Identity | None:
    """The stored identity, or None where there is none or it is time for another."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        what = f"the key for Content Credentials cannot be read ({error.strerror or error})"
        raise OutputError(what, where=path, remedy=_OTHERWISE) from None
    try:
        identity, leaf = _identity(data, data, path)
    except OmoteError:
        remedy = "Delete it: a new key is made when it is needed."
        raise FormatError("the key for Content Credentials is damaged", where=path, remedy=remedy) from None
    return identity if leaf.not_valid_after_utc - _now() > _RENEW else None


def _own_identity(certificate: Path, key: Path) -> Identity:
    identity, leaf = _identity(_read_file(certificate), _read_file(key), certificate, key)
    now = _now()
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        span = f"{leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        raise InputError(f"the certificate is not valid now (only {span})", where=certificate)
    return identity


def _identity(
    chain: bytes, key: bytes, where: Path, key_where: Path | None = None
) -> tuple[Identity, x509.Certificate]:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as s

    key_where = key_where or where
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError:
        raise FormatError("this holds no certificates in PEM", where=where) from None
    try:
        private: Any = s.load_pem_private_key(key, password=None)
    except TypeError:
        remedy = "Take the password off: openssl pkey -in key.pem -out plain.pem"
        raise InputError("the key has a password", where=key_where, remedy=remedy) from None
    except (ValueError, UnsupportedAlgorithm):
        raise FormatError("this holds no private key in PEM", where=key_where) from None
    leaf = certificates[0]
    spki = (s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*spki) != private.public_key().public_bytes(*spki):
        what = "the key does not belong to the first certificate"
        raise InputError(
            what, where=key_where, remedy=f"The signing certificate comes first in {where.name}."
        )
    plain = private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    pem = b"".join(certificate.public_bytes(s.Encoding.PEM) for certificate in certificates)
    names = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    name = str(names[0].value) if names else leaf.subject.rfc4514_string()
    return Identity(pem, plain, _algorithm(private, key_where), name), leaf


def _algorithm(key: Any, where: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey):
        found = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}.get(key.curve.name)
        if found is not None:
            return found
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    elif isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise FormatError(
        "Content Credentials cannot be signed with a key of this kind",
        where=where,
        remedy="Use ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of at least 2048 bits.",
    )


def _make() -> tuple[Identity, bytes]:
    """A new root, a signing certificate under it, and the root's PEM.

    C2PA refuses a certificate that signed itself, and wants the emailProtection purpose. The root's private
    key is thrown away: it can never sign another certificate.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name("Omote local root (self-made)")

    def begin(subject: x509.Name, public: EllipticCurvePublicKey, *, ca: bool) -> x509.CertificateBuilder:
        uses = dict.fromkeys(_KEY_USES, False) | {"key_cert_sign" if ca else "digital_signature": True}
        return (
            x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
            .not_valid_before(_now() - dt.timedelta(days=1))  # another machine's clock may be behind
            .not_valid_after(_now() + _VALID)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**uses), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )

    root = begin(issuer, root_key.public_key(), ca=True).sign(root_key, hashes.SHA256())
    purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    leaf = (
        begin(_name(LOCAL_NAME), key.public_key(), ca=False)
        .add_extension(purpose, critical=False)
        .add_extension(authority, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = [certificate.public_bytes(s.Encoding.PEM) for certificate in (leaf, root)]
    plain = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    return Identity(pem[0] + pem[1], plain, "es256", LOCAL_NAME), pem[1]


_KEY_USES = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign "
    "crl_sign encipher_only decipher_only"
).split()


def _name(common: str) -> x509.Name:
    from cryptography import x509

    parts = ((x509.NameOID.ORGANIZATION_NAME, _ORGANISATION), (x509.NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def _write(path: Path, data: bytes, *, mode: int) -> None:
    """Write beside, with its final permissions from the first byte on, then rename."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
