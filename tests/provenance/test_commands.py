"""``omote verify`` and ``omote bundle``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from omote.cli import main
from omote.provenance import sign_media

Make = Callable[..., Path]
Issue = Callable[..., dict[str, Path]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``omote`` in this process: exit code, standard output, standard error."""

    def called(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return called


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def signed(make: Make, photo: Path) -> Path:
    path = make("out.mp4", 2)
    return sign_media(
        path, inputs=[photo], action="animated", description="photo.png animated", consent="Ada agreed."
    )


def test_verify_tells_a_person(call: Call, signed: Path) -> None:
    code, out, err = call("verify", signed)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{signed}: valid: not one byte of the content has changed since it was signed"
    text = "\n".join(lines)
    for words in ("a key made on this machine", "photo.png animated", "real pictures with synthetic parts"):
        assert words in text
    for words in ("Omote 0.", "changed from  photo.png  sha256 ", "consent       Ada agreed."):
        assert words in text


def test_verify_says_what_is_wrong_and_exits_with_2(call: Call, signed: Path, make: Make) -> None:
    data = bytearray(signed.read_bytes())
    data[-30] ^= 1
    changed = signed.with_name("changed.mp4")
    changed.write_bytes(data)
    code, out, err = call("verify", changed)
    assert (code, err) == (2, "")
    assert out.splitlines()[:2] == [
        f"{changed}: CHANGED: this is not what was signed",
        "  bytes of the video were changed, added or taken away",
    ]
    assert "signed by     Omote local key (self-made): a key made on this machine" in out
    bare = make("bare.png")
    assert call("verify", bare) == (2, f"{bare}: no Content Credentials\n", "")
    code, out, _ = call("verify", signed, bare)
    assert code == 2
    assert out.count("valid:") == 1


def test_verify_json(call: Call, signed: Path, make: Make) -> None:
    bare = make("bare.png")
    code, out, _ = call("verify", signed, bare, "--json")
    reports = json.loads(out)
    assert code == 2
    assert [report["state"] for report in reports] == ["valid", "none"]
    assert reports[0]["actions"][1]["source_type"] == "compositeWithTrainedAlgorithmicMedia"


def test_verify_trust(call: Call, make: Make, photo: Path, issue: Issue) -> None:
    own, path = issue("Ada Studio"), make("own.png", 3)
    sign_media(
        path, inputs=[photo], action="edited", description="d", certificate=own["certificate"], key=own["key"]
    )
    assert "Ada Studio: issued by somebody this machine does not know" in call("verify", path)[1]
    code, out, _ = call("verify", path, "--trust", own["root"])
    assert code == 0
    assert "Ada Studio: trusted, under a root certificate that you gave" in out


def test_verify_mistakes_are_one_line(call: Call, tmp_path: Path) -> None:
    for arguments, words in (
        (["verify"], ""),
        (["verify", tmp_path / "absent.png"], "there is no such file"),
    ):
        code, out, err = call(*arguments)
        assert (code, out) == (2, "")
        assert words in err
    assert err.count("\n") == 1


def test_hostile_words_do_not_reach_the_terminal(call: Call, make: Make, photo: Path) -> None:
    path = make("out.png", 1)
    sign_media(path, inputs=[photo], action="edited", description="\x1b[2Jgone\nvalid: all well\x07")
    _, out, _ = call("verify", path)
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[2Jgone valid: all well" in out


def test_bundle_and_verify(call: Call, make: Make, tmp_path: Path) -> None:
    video, table = make("take.mp4"), tmp_path / "take.csv"
    table.write_text("a,b\n1,2\n")
    code, out, err = call("bundle", table, "--source", video, "--consent", "Ada agreed.")
    assert (code, out, err) == (0, f"{tmp_path / 'take.zip'}\n", "")
    code, out, _ = call("verify", tmp_path / "take.zip")
    assert code == 0
    assert "made with     take.mp4  sha256 " in out
    assert "consent       Ada agreed." in out
    other = tmp_path / "other.zip"
    code, out, err = call("bundle", table, "-o", other, "--no-credentials", "--json")
    assert code == 0
    assert json.loads(out)["credentials"] is False
    assert err.startswith("omote: note: No Content Credentials were added.")
    assert call("verify", other)[0] == 2
    code, out, err = call("bundle", table, table)
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("command", ["verify", "bundle"])
def test_each_command_explains_itself_with_examples(command: str, call: Call) -> None:
    code, out, _ = call(command, "--help")
    assert code == 0
    assert f"usage: omote {command}" in out
    assert f"Examples:\n  omote {command}" in out


def test_nothing_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys, omote.cli; from omote.commands.verify import VerifyArgs;"
        "print([m for m in ('c2pa', 'cryptography', 'numpy', 'omote.provenance') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
