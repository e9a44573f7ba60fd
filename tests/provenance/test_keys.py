"""Who signs: the key of this machine, one's own certificate, and whom `verify` believes."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from omote.errors import FormatError, InputError, OmoteError, OutputError
from omote.provenance import check_signing, keys, sign_media, verify

Make = Callable[..., Path]
Issue = Callable[..., dict[str, Path]]


def signed(path: Path, photo: Path, **options: Any) -> Path:
    return sign_media(path, inputs=[photo], action="edited", description="a test", **options)


def identity_of(path: Path, **options: Any) -> tuple[str, str]:
    report = verify(path, **options)
    assert report.signer is not None
    return report.state, report.signer.identity


# ---- the local key ----


def test_the_key_is_made_once_and_is_private(config: Path) -> None:
    assert not config.exists()
    first = keys.local_identity()
    assert sorted(p.name for p in config.iterdir() if p.suffix == ".pem") == [
        "signing-key.pem",
        "signing-roots.pem",
    ]
    if os.name == "posix":
        assert (config / "signing-key.pem").stat().st_mode & 0o777 == 0o600
        assert config.stat().st_mode & 0o077 == 0
    assert keys.local_identity() == first
    assert first.name == "Omote local key (self-made)"
    assert "PRIVATE" not in repr(first)
    assert b"PRIVATE" not in (config / "signing-roots.pem").read_bytes()


def test_the_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert keys.config_dir() == tmp_path / "config"
    monkeypatch.delenv("OMOTE_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert keys.config_dir() == tmp_path / "xdg" / "omote"


def test_looking_makes_no_key(config: Path, make: Make) -> None:
    verify(make("out.png"))
    assert not config.exists()


def test_many_processes_get_the_same_key(config: Path) -> None:
    code = "from omote.provenance.keys import local_identity as k; print(k().chain.decode())"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    chains = {process.communicate(timeout=60)[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert len(chains) == 1
    assert (config / "signing-roots.pem").read_bytes().count(b"BEGIN") == 1


def test_an_old_key_is_replaced_and_its_root_remembered(
    config: Path, make: Make, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = dt.datetime.now(dt.UTC)
    with monkeypatch.context() as past:  # nine and a half years ago: half a year left
        past.setattr(keys, "_now", lambda: now - dt.timedelta(days=3470))
        old = keys.local_identity()
    path = make("out.png", 1)
    monkeypatch.setattr(keys, "_RENEW", dt.timedelta(days=30))
    assert keys.local_identity() == old
    signed(path, photo)
    monkeypatch.undo()
    monkeypatch.setenv("OMOTE_CONFIG", str(config))
    new = keys.local_identity()
    assert new.chain != old.chain
    assert keys.local_identity() == new
    assert (config / "signing-roots.pem").read_bytes().count(b"BEGIN") == 2
    assert identity_of(path) == ("valid", "local"), "what the old key signed is still this machine's"
    signed(path, photo)
    assert identity_of(path) == ("valid", "local")


def test_an_expired_key_is_replaced(
    config: Path, make: Make, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = dt.datetime.now(dt.UTC)
    with monkeypatch.context() as past:
        past.setattr(keys, "_now", lambda: now - dt.timedelta(days=4000))
        keys.local_identity()
    path = signed(make("out.png", 1), photo)
    assert identity_of(path) == ("valid", "local")


@pytest.mark.parametrize(
    "damage", [b"", b"not a key", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_key_is_named_and_not_overwritten(damage: bytes, config: Path) -> None:
    config.mkdir()
    (config / "signing-key.pem").write_bytes(damage)
    with pytest.raises(FormatError, match=r"signing-key.pem: .* is damaged\. Delete it") as caught:
        keys.local_identity()
    assert "\n" not in str(caught.value)
    assert (config / "signing-key.pem").read_bytes() == damage


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, make: Make, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("OMOTE_CONFIG", str(blocked / "below"))
    path = make("out.png", 1)
    before = path.read_bytes()
    for call in (lambda: signed(path, photo), lambda: check_signing(path)):
        with pytest.raises(OutputError, match=r"cannot be (read|written).*OMOTE_CONFIG"):
            call()
    assert path.read_bytes() == before
    assert verify(path).state == "none", "reading needs no key"


# ---- whom to believe ----


def test_a_key_of_another_machine_is_no_identity(
    config: Path, make: Make, photo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = signed(make("out.png", 1), photo)
    assert "a key made on this machine" in "\n".join(verify(path).lines())
    monkeypatch.setenv("OMOTE_CONFIG", str(tmp_path / "another"))
    for _ in range(2):
        assert identity_of(path) == ("valid", "unverified")
        assert "made by somebody for themselves; not a verified identity" in "\n".join(verify(path).lines())
        keys.local_identity()  # and once more with a key of its own
    assert identity_of(path, trust=config / "signing-roots.pem") == ("valid", "trusted")


def test_a_trusted_root_names_the_signer(make: Make, photo: Path, issue: Issue) -> None:
    studio, stranger = issue("Ada Studio"), issue("Omote local key (self-made)")
    path = signed(make("out.mp4", 1), photo, certificate=studio["certificate"], key=studio["key"])
    report = verify(path)
    assert report.signer is not None
    assert (report.state, report.signer.name, report.signer.identity) == ("valid", "Ada Studio", "unverified")
    assert identity_of(path, trust=studio["root"]) == ("valid", "trusted")
    assert identity_of(path, trust=stranger["root"]) == ("valid", "unverified")


def test_a_name_alone_is_not_this_machine(make: Make, photo: Path, issue: Issue) -> None:
    keys.local_identity()
    liar = issue("Omote local key (self-made)")
    path = signed(make("out.png", 1), photo, certificate=liar["certificate"], key=liar["key"])
    assert identity_of(path) == ("valid", "unverified")


def test_the_signer_of_what_was_changed_is_known_unless_the_signature_was(make: Make, photo: Path) -> None:
    path = signed(make("out.jpg", 1), photo)
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    assert identity_of(path) == ("changed", "local")
    claim = data.index(b"claim_generator_info")
    path.write_bytes(
        data.replace(b"0.91", b"0.92") if b"0.91" in data else data[:claim] + b"K" + data[claim + 1 :]
    )
    report = verify(path)
    assert report.state == "changed"
    assert report.signer is None or report.signer.identity == "unverified"


def test_trust_that_is_no_certificate(make: Make, tmp_path: Path) -> None:
    path, text = make("out.png"), tmp_path / "root.pem"
    text.write_text("hello")
    with pytest.raises(FormatError, match="no certificates in PEM"):
        verify(path, trust=text)
    with pytest.raises(InputError, match="cannot be read"):
        verify(path, trust=tmp_path / "absent.pem")


# ---- one's own certificate ----


def private_keys() -> dict[str, Any]:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    return {
        "Es256": ec.generate_private_key(ec.SECP256R1()),
        "Es384": ec.generate_private_key(ec.SECP384R1()),
        "Es512": ec.generate_private_key(ec.SECP521R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
        "Ps256": rsa.generate_private_key(65537, 2048),
    }


def test_every_kind_of_key_signs(make: Make, photo: Path, issue: Issue, config: Path) -> None:
    for algorithm, key in private_keys().items():
        own = issue(key=key)
        path = signed(make("out.png", 1), photo, certificate=own["certificate"], key=own["key"])
        report = verify(path)
        assert report.signer is not None
        assert (report.state, report.signer.algorithm) == ("valid", algorithm)
    assert not config.exists(), "no local key was needed"


def test_the_environment_names_a_certificate(
    make: Make, photo: Path, issue: Issue, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = issue("Ada Studio"), issue("Bo Studio")
    monkeypatch.setenv("OMOTE_CERTIFICATE", str(own["certificate"]))
    with pytest.raises(InputError, match="--key"):
        signed(make("out.png", 1), photo)
    monkeypatch.setenv("OMOTE_KEY", str(own["key"]))
    for options, name in (({}, "Ada Studio"), ({k: other[k] for k in ("certificate", "key")}, "Bo Studio")):
        report = verify(signed(make("out.png", 1), photo, **options))
        assert report.signer is not None
        assert report.signer.name == name


def test_a_certificate_that_expired_later_is_told_apart_from_a_change(
    make: Make, photo: Path, issue: Issue
) -> None:
    own = issue(seconds=1.5)
    path = signed(make("out.png", 1), photo, certificate=own["certificate"], key=own["key"])
    assert verify(path).is_valid
    time.sleep(2.5)
    report = verify(path, trust=own["root"])
    assert report.state == "invalid"
    assert report.problems == ("the certificate has expired, and nothing proves that the file is older",)
    with pytest.raises(InputError, match="not valid now"):
        signed(path, photo, certificate=own["certificate"], key=own["key"])


def test_certificates_that_cannot_be_used_are_one_line(
    make: Make, photo: Path, issue: Issue, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    good, other = issue(), issue()
    locked, server = issue(password=b"secret"), issue(purpose="1.3.6.1.5.5.7.3.1")
    text = tmp_path / "text.pem"
    text.write_text("hello")
    odd, short = (
        issue(key=ec.generate_private_key(ec.SECP256K1())),
        issue(key=rsa.generate_private_key(65537, 1024)),
    )
    cases: list[tuple[dict[str, Path], type[OmoteError], str]] = [
        ({"certificate": good["certificate"]}, InputError, "--key"),
        ({"key": good["key"]}, InputError, "--certificate"),
        ({**good, "key": other["key"]}, InputError, "does not belong"),
        ({**good, "key": text}, FormatError, "no private key"),
        ({**good, "certificate": text}, FormatError, "no certificates"),
        ({**good, "certificate": tmp_path / "absent.pem"}, InputError, "cannot be read"),
        (locked, InputError, "has a password"),
        (server, OutputError, "cannot be signed"),
        (odd, FormatError, "key of this kind"),
        (short, FormatError, "key of this kind"),
    ]
    path = make("out.png", 1)
    before = path.read_bytes()
    for files, kind, words in cases:
        options = {name: file for name, file in files.items() if name != "root"}
        with pytest.raises(kind, match=words) as caught:
            signed(path, photo, **options)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".omote")] == []
