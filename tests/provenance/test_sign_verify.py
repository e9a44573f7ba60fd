"""What is signed is read back; what is changed is seen."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from omote.controls import FACS102
from omote.errors import InputError, OmoteError, OutputError
from omote.media import open_video, read_image
from omote.performance import Camera, Performance
from omote.provenance import Input, Report, check_signable, check_signing, sign_media, verify

Make = Callable[..., Path]

KINDS = ("png", "jpg", "webp", "gif", "mp4", "mov", "zip")
COMPOSITE = "compositeWithTrainedAlgorithmicMedia"


def animated(path: Path, photo: Path, **options: object) -> Path:
    return sign_media(path, inputs=[photo], action="animated", description="a test", **options)  # type: ignore[arg-type]


def flipped(path: Path, position: int, target: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    target.write_bytes(data)
    return target


# ---- round trips ----


@pytest.mark.parametrize("kind", KINDS)
def test_each_container_keeps_its_content_and_tells_everything(kind: str, make: Make, photo: Path) -> None:
    path, driver = make(f"out.{kind}", 3), make("driver.mp4", 7)
    bare = path.read_bytes()
    before = read_image(path) if kind in ("png", "jpg", "webp", "gif") else None
    assert verify(path) == Report(path, "none")
    made = sign_media(
        path,
        inputs=[photo, driver, Input("preset smile")],
        action="animated",
        description="photo.png animated by driver.mp4",
        engine="puppet",
        consent="  The person shown \n agreed.  ",
    )
    assert made == path
    assert 3000 < path.stat().st_size - len(bare) < 8000, "the cost of credentials without a thumbnail"
    if before is not None:
        np.testing.assert_array_equal(read_image(path), before)

    report = verify(path)
    assert report.state == "valid"
    assert report.is_valid
    assert report.problems == ()
    assert report.signer is not None
    assert (report.signer.name, report.signer.identity) == ("Omote local key (self-made)", "local")
    assert [action.name for action in report.actions] == ["opened", "edited"]
    edited = report.actions[1]
    assert (edited.source_type, edited.engine) == (COMPOSITE, "puppet")
    assert edited.description == "photo.png animated by driver.mp4"
    assert (edited.software or "").startswith("Omote ")
    assert report.software == edited.software
    assert report.title == path.name
    assert report.consent == ("The person shown agreed.",)
    assert report.when is not None
    assert report.when == edited.when
    assert not report.when_is_proven
    age = time.time() - time.mktime(time.strptime(report.when, "%Y-%m-%dT%H:%M:%SZ")) + time.timezone
    assert -2 < age < 60
    found = [(source.name, source.relationship, source.sha256) for source in report.sources]
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (photo, driver)]
    assert found == [
        ("photo.png", "parentOf", hashes[0]),
        ("driver.mp4", "inputTo", hashes[1]),
        ("preset smile", "inputTo", None),
    ]
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == [], (
        "nothing unfinished is left"
    )


def test_the_video_still_plays(make: Make, photo: Path) -> None:
    path = make("out.mp4", 1)
    with open_video(path) as video:
        before = [frame.copy() for _, frame in video]
    animated(path, photo)
    with open_video(path) as video:
        after = [frame.copy() for _, frame in video]
    assert len(after) == 4
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("action", "name", "source_type", "relationship"),
    [
        ("edited", "edited", COMPOSITE, "parentOf"),
        ("created", "created", "trainedAlgorithmicMedia", "inputTo"),
        ("captured", "created", None, "inputTo"),
    ],
)
def test_the_action_says_what_the_pixels_are(
    action: str, name: str, source_type: str | None, relationship: str, make: Make, photo: Path
) -> None:
    path = make("out.png", 3)
    sign_media(path, inputs=[photo], action=action, description="d")  # type: ignore[arg-type]
    report = verify(path)
    assert report.state == "valid"
    assert (report.actions[-1].name, report.actions[-1].source_type) == (name, source_type)
    assert [source.relationship for source in report.sources] == [relationship]


def test_inputs_that_c2pa_cannot_read_are_named_with_their_hashes(make: Make, tmp_path: Path) -> None:
    table, photo = tmp_path / "drive.csv", tmp_path / "photo.ppm"
    table.write_text("a,b\n1,2\n")
    photo.write_bytes(b"P6 1 1 255\n\x01\x02\x03")
    path = make("out.png")
    sign_media(path, inputs=[photo, table], action="animated", description="d")
    sources = verify(path).sources
    assert [(s.name, s.relationship, s.credentials) for s in sources] == [
        ("photo.ppm", "parentOf", "none"),
        ("drive.csv", "inputTo", "none"),
    ]
    assert sources[1].sha256 == hashlib.sha256(b"a,b\n1,2\n").hexdigest()


def test_credentials_of_inputs_stay_in_the_chain(make: Make, photo: Path, tmp_path: Path) -> None:
    first, second, broken = make("first.jpg", 1), make("second.png", 2), make("broken.png", 4)
    animated(first, photo)
    animated(broken, photo)
    flipped(broken, broken.stat().st_size - 40, broken)
    sign_media(second, inputs=[first, broken], action="edited", description="d")
    report = verify(second)
    assert report.state == "valid", "what an input was like is said; this file is whole"
    assert [source.credentials for source in report.sources] == ["valid", "changed"]
    assert "first.jpg" in "\n".join(report.lines())


def test_an_input_with_unreadable_credentials_is_still_named(make: Make, photo: Path) -> None:
    signed, path = make("signed.png", 1), make("out.png", 2)
    animated(signed, photo)
    data = signed.read_bytes()
    flipped(signed, data.index(b"jumdc2pa") + 4, signed)
    animated(path, signed)
    report = verify(path)
    assert report.state == "valid"
    assert [source.name for source in report.sources] == ["signed.png"]


def take_with(consent: object, path: Path) -> Path:
    return Performance(
        space=FACS102,
        controls=np.zeros((1, len(FACS102)), np.float32),
        head_rotation=np.zeros((1, 3), np.float32),
        head_translation=np.float32([[0, 0, -0.6]]),
        confidence=np.ones(1, np.float32),
        times=np.zeros(1),
        camera=Camera(focal=800.0, principal=(32.0, 32.0), size=(64, 64)),
        source={"file": "made.mp4", "consent": consent},
    ).save(path)


def test_consent_travels_in_the_header_of_a_performance(make: Make, photo: Path, tmp_path: Path) -> None:
    driver, path = take_with("Bo, the actor, agreed.", tmp_path / "bo.omote"), make("out.mp4")
    sign_media(path, inputs=[photo, driver], action="animated", description="d", consent="Ada agreed.")
    assert verify(path).consent == ("Ada agreed.", "bo.omote: Bo, the actor, agreed.")
    given = Input("Cy's take", consent="Cy agreed.")
    sign_media(path, inputs=[photo, given], action="animated", description="d")
    assert verify(path).consent == ("Cy's take: Cy agreed.",)
    other = make("other.mp4")
    sign_media(
        other, inputs=[photo, take_with("x" * 3000, driver)], action="animated", description="d"
    )  # too long: noted, not passed on
    assert verify(other).consent == ()


def test_signing_again_replaces_the_credentials(make: Make, photo: Path) -> None:
    path = make("out.png", 1)
    animated(path, photo)
    once = path.stat().st_size
    animated(path, photo, consent="Ada agreed.")
    assert verify(path).consent == ("Ada agreed.",)
    assert path.stat().st_size - once < 400


def test_names_of_folders_and_pictures_stay_out_of_the_credentials(make: Make, photo: Path) -> None:
    path = make("out.png", 1)
    animated(path, photo)
    assert str(photo.parent).encode() not in path.read_bytes()
    assert path.read_bytes().count(b"\x89PNG") == 1, "no thumbnail of the photo"


def test_the_file_keeps_its_permissions(make: Make, photo: Path) -> None:
    path = make("out.png", 1)
    path.chmod(0o640)
    animated(path, photo)
    assert path.stat().st_mode & 0o777 == 0o640


def test_inputs_that_changed_between_two_signings_are_hashed_anew(make: Make, photo: Path) -> None:
    for seed in (1, 2):
        path, source = make("out.png", 5), make("source.png", seed)
        animated(path, source)
        assert verify(path).sources[0].sha256 == hashlib.sha256(source.read_bytes()).hexdigest()


# ---- changes ----


@pytest.mark.parametrize("kind", KINDS)
def test_one_flipped_bit_anywhere_is_seen(kind: str, make: Make, photo: Path, tmp_path: Path) -> None:
    """In the content, the credentials, their filling, and the headers around them; every byte was tried by hand."""
    path = make(f"out.{kind}", 5)
    animated(path, photo, consent="Ada agreed.")
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    edges = [0, 1, 4, 8, 20, 26, 30, len(data) - 1, data.index(b"jumb") + 30, data.rindex(b"\x63pad") + 300]
    for position in {*edges, *rng.choice(len(data), 80, replace=False).tolist()}:
        changed = bytearray(data)
        changed[position] ^= 1 << int(rng.integers(8))
        (tmp_path / f"flipped.{kind}").write_bytes(changed)
        report = verify(tmp_path / f"flipped.{kind}")
        assert report.state == "changed", position
        assert len(report.problems) >= 1
        assert "\n" not in "".join(report.lines())


@pytest.mark.parametrize("word", [b"c2pa.edited", b"Ada agreed", b"compositeWith", b"photo.png", b"sha256"])
def test_changed_statements_are_seen(word: bytes, make: Make, photo: Path, tmp_path: Path) -> None:
    path = make("out.jpg", 2)
    animated(path, photo, consent="Ada agreed.")
    data = path.read_bytes()
    report = verify(flipped(path, data.index(word) + 1, tmp_path / "changed.jpg"))
    assert report.state == "changed"


@pytest.mark.parametrize("kind", ["png", "jpg", "mp4", "zip"])
def test_a_cut_or_longer_file_is_seen(kind: str, make: Make, photo: Path, tmp_path: Path) -> None:
    path = make(f"out.{kind}", 2)
    animated(path, photo)
    data = path.read_bytes()
    other = tmp_path / f"other.{kind}"
    for changed in (data[:-5], data + b"more", data[: len(data) // 2]):
        other.write_bytes(changed)
        assert not verify(other).is_valid


def test_damage_in_front_and_in_the_credentials_is_one_clear_line(
    make: Make, photo: Path, tmp_path: Path
) -> None:
    path = make("out.png", 2)
    animated(path, photo)
    data = path.read_bytes()
    for position in (0, 3, 12, data.index(b"caBX"), data.index(b"jumdc2pa") + 5):
        report = verify(flipped(path, position, tmp_path / "flipped.png"))
        assert report.state == "changed", position
        assert len(report.problems) == 1


def test_other_pictures_under_the_same_credentials_are_seen(make: Make, photo: Path) -> None:
    """The credentials of one file put beside another."""
    one, other = make("one.png", 1), make("other.png", 2)
    sidecar = animated(one, photo, sidecar=True)
    sidecar.rename(other.with_name("other.png.c2pa"))
    assert verify(other).state == "changed"


def test_files_without_credentials(make: Make, tmp_path: Path) -> None:
    text, damaged = tmp_path / "notes.txt", tmp_path / "cut.png"
    text.write_text("about c2pa.assertions and c2pa.signature")
    damaged.write_bytes(make("whole.png").read_bytes()[:50] + b"\0" * 30)
    packed = tmp_path / "packed.zip"
    shutil.make_archive(str(packed.with_suffix("")), "zip", make("in.png").parent, "in.png")
    for path in (text, damaged, packed, make("whole.gif")):
        assert verify(path).state == "none"
    with pytest.raises(InputError, match="there is no such file"):
        verify(tmp_path / "absent.png")


def test_what_is_unsigned_is_checked_only_where_that_was_promised(make: Make, photo: Path) -> None:
    from omote.provenance.fillings import is_damaged, layout_of

    path = make("out.mp4")
    layout = layout_of(path, "video/mp4")
    assert layout["prefix"]["length"] == int.from_bytes(path.read_bytes()[:4], "big")
    animated(path, photo)
    assert not is_damaged(path, "video/mp4", layout)
    assert not is_damaged(path, "video/mp4", {})
    assert not is_damaged(path, "video/mp4", {"version": 2})
    digest = layout["prefix"]["sha256"]
    for lie in (
        {},
        {"length": -1, "sha256": digest},
        {"length": 1 << 70, "sha256": 3},
        {"length": None, "sha256": ""},
    ):
        assert is_damaged(path, "video/mp4", {"version": 1, "prefix": lie})


def test_an_archive_of_signed_pictures_is_signed_like_any_other(
    make: Make, photo: Path, tmp_path: Path
) -> None:
    picture, path = make("in.png", 1), tmp_path / "out.zip"
    animated(picture, photo)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(picture, "in.png")
    assert verify(path).state == "none", "its pictures are signed, the archive is not"
    sign_media(path, inputs=[], action="captured", description="d")
    assert verify(path).is_valid
    flipped(path, 2000, path)
    assert verify(path).state == "changed"


# ---- beside the file ----


def test_credentials_beside_the_file(make: Make, photo: Path, tmp_path: Path) -> None:
    path = make("out.png", 1)
    before = path.read_bytes()
    sidecar = animated(path, photo, sidecar=True)
    assert (sidecar.name, path.read_bytes()) == ("out.png.c2pa", before)
    for asked in (path, sidecar):
        report = verify(asked)
        assert (report.path, report.state, report.detached) == (path, "valid", True)
    sidecar.rename(tmp_path / "out.c2pa")
    assert verify(tmp_path / "out.c2pa").is_valid
    flipped(path, 2000, path)
    assert verify(path).state == "changed"
    path.unlink()
    with pytest.raises(InputError, match="not beside it"):
        verify(tmp_path / "out.c2pa")


# ---- what goes wrong ----


def test_a_kind_that_cannot_be_signed_is_said_before_the_work(photo: Path, tmp_path: Path) -> None:
    for name in ("out.webm", "out.glb", "out"):
        with pytest.raises(OutputError, match=r"cannot carry Content Credentials.*--no-credentials"):
            check_signable(tmp_path / name)
    check_signing(tmp_path / "later.mp4")
    assert not (tmp_path / "later.mp4").exists()
    table = tmp_path / "table.csv"
    table.write_text("a,b\n")
    with pytest.raises(OutputError, match="cannot carry"):
        animated(table, photo)
    with pytest.raises(InputError, match="what was animated is missing"):
        sign_media(photo, inputs=[], action="animated", description="d")
    with pytest.raises(InputError, match="there is no such file"):
        animated(photo, tmp_path / "absent.png")


def test_a_packed_archive_is_refused_with_the_way_out(make: Make, photo: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "packed"), "zip", photo.parent, "photo.png")
    before = (tmp_path / "packed.zip").read_bytes()
    with pytest.raises(OutputError, match="omote bundle"):
        animated(tmp_path / "packed.zip", photo)
    assert (tmp_path / "packed.zip").read_bytes() == before


def test_without_the_library_there_is_one_clear_line(
    make: Make, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make("out.png", 1)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    for call in (lambda: animated(path, photo), lambda: verify(path), lambda: check_signing(path)):
        with pytest.raises(
            OmoteError, match=r"c2pa library, which cannot be loaded .*pip install c2pa-python"
        ):
            call()


def test_nothing_is_fetched(make: Make, photo: Path, tmp_path: Path) -> None:
    """Credentials that are kept on a web site are not asked for."""
    import c2pa

    from omote.provenance import library
    from omote.provenance.keys import local_identity

    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        path, away = make("here.jpg", 1), tmp_path / "away.jpg"
        who = local_identity()
        with library.context() as context, c2pa.Builder({}, context) as builder:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            builder.set_no_embed()
            builder.set_remote_url(f"http://127.0.0.1:{server.server_port}/away.c2pa")
            info = c2pa.C2paSignerInfo(b"es256", who.chain, who.key, None)
            with c2pa.Signer.from_info(info) as signer, path.open("rb") as one, away.open("w+b") as two:
                builder.sign(signer, "image/jpeg", one, two)
        report = verify(away)
        assert report.state == "none"
        assert "web site" in report.problems[0]
        animated(make("out.png", 2), away)
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


def test_reports_are_json(make: Make, photo: Path) -> None:
    path = make("out.png", 1)
    animated(path, photo, consent="Ada agreed.")
    values = json.loads(json.dumps(verify(path).to_dict()))
    assert values["file"] == str(path)
    assert values["state"] == "valid"
    assert values["signer"]["identity"] == "local"
    assert values["sources"][0]["name"] == "photo.png"
    assert values["consent"] == ["Ada agreed."]


def test_many_threads_sign_at_once(make: Make, photo: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    files = [make(f"out{i}.png", i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda file: animated(file, photo), files))
    reports = [verify(file) for file in files]
    assert {report.state for report in reports} == {"valid"}
    assert len({report.signer.serial for report in reports if report.signer}) == 1


def test_signing_is_quick(make: Make, photo: Path) -> None:
    """10 MB within a second is the promise; 0.06 s measured."""
    path = make("out.mp4")
    filler = np.random.default_rng(0).bytes(10_000_000)
    with path.open("ab") as file:
        file.write((len(filler) + 8).to_bytes(4, "big") + b"free" + filler)
    check_signing(path)
    began = time.process_time()
    animated(path, photo)
    assert time.process_time() - began < 1
    assert verify(path).is_valid
