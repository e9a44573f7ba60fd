"""Published systems over the network: resumed, checked, refused, and what to do without one."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from omote.errors import WeightsError
from omote.weights import WeightSet, fetch_set, load_set, locate_set, registry
from omote.weights.download import Remote, download, notes_path

from .conftest import CONTENT, Server, sha256, tensors


def remote(server: Server, **changes: object) -> Remote:
    known = Remote("model.bin", server.url, len(CONTENT), "Copy it.", len(CONTENT), sha256(CONTENT))
    return replace(known, **changes)


@pytest.fixture
def unknown(server: Server) -> Remote:
    """A file whose size and sha256 nobody has published."""
    return remote(server, size=None, sha256=None)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / ".model.bin.part"


# ---- one file ----


def test_what_is_not_published_goes_on_while_the_server_has_the_same(
    server: Server, unknown: Remote, part: Path
) -> None:
    server.etag = '"v1"'
    server.cut_after = [300_000]
    assert download(unknown, part) == sha256(CONTENT)
    assert server.requests == [None, "bytes=300000-"]
    assert not notes_path(part).exists()


def interrupted(unknown: Remote, part: Path) -> int:
    def interrupt(done: int, total: int) -> None:
        assert total == len(CONTENT)
        if done > 300_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(unknown, part, progress=interrupt)
    return part.stat().st_size


@pytest.mark.parametrize(("before", "after"), [('"v1"', '"v2"'), (None, None), ('W/"v1"', 'W/"v1"')])
def test_two_versions_are_never_joined(
    server: Server, unknown: Remote, part: Path, before: str | None, after: str | None
) -> None:
    server.etag = before
    assert 0 < interrupted(unknown, part) < len(CONTENT)
    server.etag, server.content = after, CONTENT[::-1]
    assert download(unknown, part) == sha256(CONTENT[::-1])
    assert part.read_bytes() == CONTENT[::-1]


def test_a_complete_download_is_not_asked_for_again(server: Server, unknown: Remote, part: Path) -> None:
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    notes_path(part).write_text(json.dumps({"etag": '"v1"', "total": len(CONTENT), "sha256": None}))
    assert download(unknown, part) == sha256(CONTENT)
    assert server.requests == []


@pytest.mark.parametrize("announced", [sha256(CONTENT), sha256(b"other")])
def test_the_sha256_that_a_hub_announces_is_held_against_the_bytes(
    server: Server, unknown: Remote, part: Path, announced: str
) -> None:
    server.announced = announced
    if announced == sha256(CONTENT):
        assert download(unknown, part) == announced
    else:
        with pytest.raises(WeightsError, match="does not have the published sha256 and was deleted"):
            download(unknown, part)
        assert list(part.parent.iterdir()) == []
    assert server.paths == ["/blob/model.bin"]


@pytest.mark.parametrize("lengths", [True, False])
def test_more_than_twice_the_expected_is_cut_off(
    server: Server, unknown: Remote, part: Path, lengths: bool
) -> None:
    server.content, server.lengths = b"z" * 3_000_000, lengths
    with pytest.raises(WeightsError, match="is 3 MB on the server, not 0" if lengths else "is endless"):
        download(replace(unknown, about=1000), part)
    assert not part.exists()


def test_wrong_bytes(server: Server, part: Path) -> None:
    server.content = b"z" * len(CONTENT)
    with pytest.raises(WeightsError, match="sha256"):
        download(remote(server), part)


@pytest.mark.parametrize("content", [b"<html>Log in</html>", CONTENT[:-5], CONTENT + b"more"])
@pytest.mark.parametrize("begun", [False, True])
def test_another_size_than_the_published_one_is_not_begun(
    server: Server, part: Path, content: bytes, begun: bool
) -> None:
    if begun:
        part.parent.mkdir()
        part.write_bytes(CONTENT[:10])
    server.content = content
    with pytest.raises(
        WeightsError, match=f"is {len(content)} bytes on the server, not {len(CONTENT)}: is there a"
    ):
        download(remote(server), part)
    server.content = CONTENT
    assert download(remote(server), part) == sha256(CONTENT)


def test_a_part_that_the_server_cannot_go_on_with_is_begun_again(server: Server, part: Path) -> None:
    part.parent.mkdir()
    part.write_bytes(b"y" * (len(CONTENT) + 10))  # longer than the file
    assert download(remote(server), part) == sha256(CONTENT)
    assert server.requests == [None]


def test_only_the_web(tmp_path: Path, server: Server, part: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match=r"has no web address \(is HF_ENDPOINT one\?\)\. Copy it"):
        download(remote(server, url=(tmp_path / "secret").as_uri()), part)


def test_a_download_that_breaks_again_and_again_gets_there(server: Server, part: Path) -> None:
    server.content = CONTENT * 3
    server.cut_after = [300_000] * 6
    whole = remote(server, size=len(CONTENT) * 3, sha256=sha256(CONTENT * 3))
    assert download(whole, part) == sha256(CONTENT * 3)


KILLED = """
import sys, time
from pathlib import Path
from omote.weights.download import Remote, download
def progress(done, total):
    Path(sys.argv[2] + "-begun").touch()
    time.sleep(60)
download(Remote("model.bin", sys.argv[1], 700_000, "", 700_000, "0" * 64), Path(sys.argv[2]), progress=progress)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_it_survives_a_kill(server: Server, part: Path) -> None:
    part.parent.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, server.url, str(part)], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not part.with_name(part.name + "-begun").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    part.write_bytes(CONTENT[:200_000])  # what had reached the disk
    assert download(remote(server), part) == sha256(CONTENT)
    assert server.requests == [None, "bytes=200000-"]


# ---- a whole set ----


def saved(held: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(held, buffer)
    return buffer.getvalue()


@pytest.fixture
def hub(server: Server, small_set: WeightSet, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A mirror of the hub that has the small set."""
    mlps = {"retarget_eye": {"module.mlp.0.weight": torch.ones(2, 3)}}
    server.files = {"/x/small/base/body.pth": saved(tensors()), "/x/small/top/mlps.pth": saved(mlps)}
    monkeypatch.setenv("HF_ENDPOINT", server.url.removesuffix("/model.bin"))
    return server


def test_a_set_is_fetched_stored_and_nothing_else_is_left(hub: Server, home: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    checked: list[tuple[str, str]] = []
    found = fetch_set(
        "small",
        check=lambda name, key, held: checked.append((name, key)),
        progress=lambda *told: seen.append(told),
    )
    assert found == locate_set("small")
    assert checked == [("small", "body"), ("small", "mlps")]
    size = len(hub.files["/x/small/base/body.pth"])
    assert ("body.pth", size, size) in seen
    assert load_set("small")["mlps"]["retarget_eye"]["module.mlp.0.weight"].tolist() == [[1] * 3] * 2
    assert sorted(p.name for p in (home / "weights/small").iterdir()) == [
        ".lock",
        "body.safetensors",
        "mlps.safetensors",
    ]
    assert fetch_set("small") == found
    assert len(hub.requests) == 2


def test_only_what_is_missing_or_damaged_is_fetched(hub: Server) -> None:
    path = fetch_set("small")["body"]
    path.write_bytes(path.read_bytes()[:-1])
    hub.paths.clear()
    fetch_set("small")
    assert hub.paths == ["/x/small/base/body.pth"]
    assert load_set("small")["body"]["conv.bias"].tolist() == tensors()["conv.bias"].tolist()


def test_published_sizes_and_sums_decide(
    hub: Server, small_set: WeightSet, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = hub.files["/x/small/base/body.pth"]
    body, mlps = small_set.files
    pinned = replace(body.origins[0], size=len(content), sha256=sha256(content))
    known = replace(small_set, files=(replace(body, origins=(pinned,)), mlps))
    monkeypatch.setitem(registry._SETS, "small", known)
    hub.files["/x/small/base/body.pth"] = content[:-1] + b"!"
    with pytest.raises(WeightsError, match=r"small/base/body.pth does not have the published sha256"):
        fetch_set("small")
    assert [p.name for p in (home / "weights/small").iterdir()] == [".lock"]
    hub.files["/x/small/base/body.pth"] = content
    fetch_set("small")


def test_what_is_no_checkpoint_is_deleted(hub: Server, home: Path) -> None:
    hub.files["/x/small/base/body.pth"] = b"<html>Please log in</html>"
    with pytest.raises(
        WeightsError, match=r"/x/small/base/body.pth: what was downloaded as small/base/body.pth"
    ):
        fetch_set("small")
    assert [p.name for p in (home / "weights/small").iterdir()] == [".lock"]


@pytest.mark.parametrize("status", [404, 401])
def test_a_refusal_says_which_file_goes_where(hub: Server, status: int) -> None:
    hub.status = status
    with pytest.raises(WeightsError) as caught:
        fetch_set("small")
    text = str(caught.value)
    assert len(hub.requests) == 1
    assert "\n" not in text
    for words in (
        "the model file small/base/body.pth cannot be downloaded",
        "https://example.org/small",
        "put body.pth, mlps.pth anywhere below one FOLDER and run `omote weights import FOLDER`",
        "`omote weights list small` has every address",
    ):
        assert words in text


def test_what_must_be_registered_for_is_not_asked_for(
    hub: Server, small_set: WeightSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, mlps = small_set.files
    closed = replace(body, origins=(replace(body.origins[0], url=None),))
    known = replace(small_set, files=(closed, mlps), by_hand="Register and accept the terms")
    monkeypatch.setitem(registry._SETS, "small", known)
    with pytest.raises(WeightsError) as caught:
        fetch_set("small")
    assert str(caught.value) == (
        "small: body.pth cannot be downloaded by a program. Register and accept the terms at "
        "https://example.org/small, then put body.pth anywhere below one FOLDER and run `omote weights import FOLDER`."
    )
    assert hub.requests == []


def test_two_runs_at_once_fetch_each_file_once(hub: Server) -> None:
    results: list[dict[str, Path]] = []
    threads = [threading.Thread(target=lambda: results.append(fetch_set("small"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [locate_set("small")] * 3
    assert sorted(hub.paths) == ["/x/small/base/body.pth", "/x/small/top/mlps.pth"]


def test_a_full_disk_is_told_before_the_download(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from omote.weights import cache

    free = type("Usage", (), {"free": 60_000})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: free)
    with pytest.raises(WeightsError, match="the disk is full"):
        fetch_set("small")
    assert hub.requests == []
