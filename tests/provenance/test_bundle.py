"""Bundles: what is in them, that they are the same twice, and that they are signed."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omote.controls import FACS102
from omote.errors import InputError, OutputError
from omote.performance import Camera, Performance
from omote.provenance import checked_consent, no_credentials_notice, verify, write_bundle

Make = Callable[..., Path]


@pytest.fixture
def take() -> Performance:
    return Performance(
        space=FACS102,
        controls=np.full((5, len(FACS102)), 0.25, np.float32),
        head_rotation=np.zeros((5, 3), np.float32),
        head_translation=np.tile(np.float32([0, 0, -0.6]), (5, 1)),
        confidence=np.ones(5, np.float32),
        times=np.arange(5) / 25,
        camera=Camera(focal=800.0, principal=(32.0, 32.0), size=(64, 64)),
        source={"file": "me.mp4", "sha256": "ab" * 32, "consent": "Ada agreed."},
    )


@pytest.fixture
def files(take: Performance, tmp_path: Path) -> list[Path]:
    (tmp_path / "me.csv").write_text("a,b\n1,2\n" * 100)
    return [take.save(tmp_path / "me.omote"), tmp_path / "me.csv"]


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_bundle_holds_the_files_and_says_what_they_are(
    files: list[Path], take: Performance, tmp_path: Path
) -> None:
    path = write_bundle(tmp_path / "me.zip", files, take)
    inside = contents(path)
    assert {file.name: file.read_bytes() for file in files} == {
        file.name: inside[file.name] for file in files
    }
    manifest = json.loads(inside["manifest.json"])
    assert manifest["format"] == "omote-bundle"
    assert manifest["takes"][0]["frames"] == 5
    assert manifest["consent"] == "Ada agreed."
    assert manifest["files"] == [
        {
            "name": file.name,
            "size": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in sorted(files)
    ]
    report = verify(path)
    assert report.state == "valid"
    assert (report.title, report.consent) == ("me.zip", ("Ada agreed.",))
    assert [(s.name, s.sha256, s.relationship) for s in report.sources] == [("me.mp4", "ab" * 32, "inputTo")]
    assert report.actions[0].source_type is None, "no picture was made"
    with zipfile.ZipFile(path) as archive, archive.open("me.omote") as file:
        (tmp_path / "again.omote").write_bytes(file.read())
    assert Performance.load(tmp_path / "again.omote") == take


def test_a_changed_file_in_a_bundle_is_seen(files: list[Path], take: Performance, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "me.zip", files, take)
    data = path.read_bytes()
    for word in (b"1,2\n", b'"omote-bundle"', b"head_rotation"):
        changed = tmp_path / "changed.zip"
        changed.write_bytes(data.replace(word, bytes([word[0] ^ 1]) + word[1:], 1))
        report = verify(changed)
        assert report.state == "changed", word
        assert len(report.problems) == 1


def test_bundles_are_the_same_but_for_the_signature(
    files: list[Path], take: Performance, tmp_path: Path
) -> None:
    bare = [
        write_bundle(tmp_path / name, order, take, credentials=False).read_bytes()
        for name, order in (("a.zip", files), ("b.zip", files[::-1]))
    ]
    assert bare[0] == bare[1]
    assert verify(tmp_path / "a.zip").state == "none"
    signed = [contents(write_bundle(tmp_path / name, files, take)) for name in ("c.zip", "d.zip")]
    for inside in signed:
        del inside["META-INF/content_credential.c2pa"]
    assert signed[0] == signed[1]


def test_several_takes_and_the_files_they_came_from(
    files: list[Path], take: Performance, make: Make, tmp_path: Path
) -> None:
    video = make("group.mp4")
    second = take.with_(source={"file": "me.mp4", "sha256": "ab" * 32, "consent": "Bo agreed."})
    report = verify(write_bundle(tmp_path / "me.zip", files, [take, second]))
    assert len(report.sources) == 1, "one file, two faces"
    assert report.consent == ("Ada agreed.; Bo agreed.",)
    report = verify(
        write_bundle(tmp_path / "me.zip", files, [take, second], sources=[video], consent="All agreed.")
    )
    assert [(s.name, s.sha256) for s in report.sources] == [
        ("group.mp4", hashlib.sha256(video.read_bytes()).hexdigest())
    ]
    assert report.consent == ("All agreed.",)


def test_what_cannot_be_bundled(files: list[Path], tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (below / "me.csv").write_text("x")
    (below / "manifest.json").write_text("{}")
    target = tmp_path / "me.zip"
    cases = [
        ([], "no files"),
        ([*files, below / "me.csv"], "this name"),
        ([below / "manifest.json"], "this name"),
        ([tmp_path / "absent.csv"], "no such file"),
    ]
    for chosen, words in cases:
        with pytest.raises(InputError, match=words):
            write_bundle(target, chosen)
    assert not target.exists()
    with pytest.raises(OutputError, match=r"a bundle is a \.zip"):
        write_bundle(tmp_path / "me.tar", files)
    write_bundle(target, files)
    with pytest.raises(InputError, match="cannot contain itself"):
        write_bundle(target, [*files, target])
    with pytest.raises(InputError, match=r"^consent: is empty"):
        write_bundle(target, files, consent=" ")
    assert verify(target).is_valid


def test_consent_is_one_line_of_text() -> None:
    assert checked_consent("  Ada \n agreed. ") == "Ada agreed."
    for text in ("", " \n", "x" * 2001, "Ada \x1b[2J", "Ada \ud800"):
        with pytest.raises(InputError, match="consent"):
            checked_consent(text)


def test_the_notice_says_what_leaving_them_out_means() -> None:
    text = no_credentials_notice()
    assert "\n" not in text
    assert 100 < len(text) < 600
    for word in ("synthetic", "consent", "changed"):
        assert word in text
