"""Small media, the user's own certificates, and keys that stay inside the test's folder."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omote.media import VideoWriter, write_image


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config folder of its own for each test."""
    folder = tmp_path / "config"
    monkeypatch.setenv("OMOTE_CONFIG", str(folder))
    for name in ("OMOTE_CERTIFICATE", "OMOTE_KEY"):
        monkeypatch.delenv(name, raising=False)
    return folder


def picture(seed: int = 0, size: int = 48) -> np.ndarray[Any, Any]:
    """(size, size, 3) uint8: smooth shapes with a little noise."""
    y, x = np.mgrid[:size, :size]
    waves = 128 + 90 * np.sin((x + seed) / 5)[..., None] * np.cos(y / 7)[..., None] * [1, 0.7, 0.4]
    return np.clip(waves + np.random.default_rng(seed).normal(0, 6, waves.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Path]:
    """A small file of the kind its name says."""

    def made(name: str, seed: int = 0) -> Path:
        path = tmp_path / name
        if path.suffix in (".png", ".jpg", ".webp"):
            write_image(path, picture(seed))
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("take.csv", "frame,jawOpen\n0,0.25\n" * 40)
                archive.writestr("notes/read.txt", "hello " * 50)
        else:
            with VideoWriter(path, (48, 48), 25) as video:
                for frame in range(4):
                    video.write(picture(seed + frame))
        return path

    return made


@pytest.fixture
def photo(make: Callable[[str], Path]) -> Path:
    return make("photo.png")


@pytest.fixture
def issue(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """Issue a certificate under a root of its own; returns the files chain, key and root."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    def issued(
        name: str = "Ada Studio",
        *,
        key: Any = None,
        seconds: float = 86_400,
        purpose: str = "1.3.6.1.5.5.7.3.4",
        password: bytes | None = None,
    ) -> dict[str, Path]:
        now, root_key = dt.datetime.now(dt.UTC), ec.generate_private_key(ec.SECP256R1())
        key = key or ec.generate_private_key(ec.SECP256R1())

        def begin(subject: str, public: Any, *, ca: bool) -> x509.CertificateBuilder:
            names = [
                x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in ("A root", subject)
            ]
            kinds = (
                "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
                "key_cert_sign crl_sign encipher_only decipher_only"
            )
            uses = {kind: kind == ("key_cert_sign" if ca else "digital_signature") for kind in kinds.split()}
            begins, ends = now - dt.timedelta(days=1), now + dt.timedelta(seconds=seconds)
            serial = x509.random_serial_number()
            return (
                x509.CertificateBuilder(names[0], names[1], public, serial, begins, ends)
                .add_extension(x509.BasicConstraints(ca, None), critical=True)
                .add_extension(x509.KeyUsage(**uses), critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            )

        root = begin("A root", root_key.public_key(), ca=True).sign(root_key, hashes.SHA256())
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        leaf = (
            begin(name, key.public_key(), ca=False)
            .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)]), critical=False)
            .add_extension(authority, critical=False)
            .sign(root_key, hashes.SHA256())
        )
        folder = tmp_path / f"certificate-{x509.random_serial_number()}"
        folder.mkdir()
        pem = [certificate.public_bytes(s.Encoding.PEM) for certificate in (leaf, root)]
        lock = s.NoEncryption() if password is None else s.BestAvailableEncryption(password)
        plain = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, lock)
        files = {"certificate": pem[0] + pem[1], "key": plain, "root": pem[1]}
        for part, data in files.items():
            (folder / f"{part}.pem").write_bytes(data)
        return {part: folder / f"{part}.pem" for part in files}

    return issued
