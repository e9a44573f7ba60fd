"""Model files out of folders: recognised, checked, never run, stored as safetensors."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from omote.errors import WeightsError
from omote.weights import WeightSet, cache, import_files, importing, load_set, locate_set
from omote.weights.store import path_of, verify_stored

from .conftest import sha256, tensors

STITCHING = {"retarget_eye": {"module.mlp.0.weight": torch.arange(6.0).reshape(2, 3)}}


@pytest.fixture
def official(small_set: WeightSet, tmp_path: Path) -> Path:
    """A release in its published layout."""
    folder = tmp_path / "Загрузки" / "pretrained weights"
    for path, held in (
        ("small/base/body.pth", tensors()),
        ("small/top/mlps.pth", {**STITCHING, "optimizer": {"state": {0: 1}}, "epoch": 3}),
        ("small_animals/base/body.pth", tensors(1)),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        torch.save(held, folder / path)
    return folder


def told(results: list[importing.Imported]) -> list[tuple[str, str, str]]:
    return [(one.owner.name, one.file.key, one.status) for one in results]


def bodies(name: str = "small") -> list[float]:
    return load_set(name)["body"]["conv.bias"].tolist()


# ---- recognising ----


def test_the_published_layout_and_back(official: Path, home: Path) -> None:
    results = import_files(official)
    assert told(results) == [
        ("small", "body", "imported"),
        ("small", "mlps", "imported"),
        ("small_animals", "body", "imported"),
    ]
    assert locate_set("small") == {
        "body": home / "weights/small/body.safetensors",
        "mlps": home / "weights/small/mlps.safetensors",
    }
    loaded = load_set("small")
    assert {k: v.tolist() for k, v in loaded["body"].items()} == {k: v.tolist() for k, v in tensors().items()}
    assert loaded["body"]["conv.weight"].dtype == torch.float32
    assert loaded["mlps"]["retarget_eye"]["module.mlp.0.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert list(loaded["mlps"]) == ["retarget_eye"]
    assert bodies("small_animals") == tensors(1)["conv.bias"].tolist()
    assert locate_set("small_animals")["mlps"] == home / "weights/small/mlps.safetensors"
    assert sorted(p.name for p in (home / "weights/small").iterdir() if p.name != ".lock") == [
        "body.safetensors",
        "mlps.safetensors",
    ]


def test_again_is_already_here_and_other_bytes_replace(official: Path) -> None:
    import_files(official, ["small"])
    before = locate_set("small")["body"].stat().st_mtime_ns
    assert [status for *_, status in told(import_files(official, ["small"]))] == ["already here"] * 2
    assert locate_set("small")["body"].stat().st_mtime_ns == before
    torch.save(tensors(5), official / "small/base/body.pth")
    assert told(import_files(official, ["small"]))[0] == ("small", "body", "imported")
    assert bodies() == tensors(5)["conv.bias"].tolist()


def test_one_file_and_what_is_missing(official: Path) -> None:
    assert told(import_files(official / "small/base/body.pth")) == [
        ("small", "body", "imported"),
        ("small", "mlps", "missing"),
    ]
    with pytest.raises(
        WeightsError, match=r"small: 1 of its 2 model files .*`omote weights get small`.*mlps.pth"
    ):
        locate_set("small")
    assert told(import_files(official / "small/top")) == [
        ("small", "body", "already here"),
        ("small", "mlps", "imported"),
    ]


def test_by_name_alone_it_is_the_first_system_unless_another_is_named(official: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(official / "small_animals/base/body.pth", flat)
    assert told(import_files(flat, ["small_animals"]))[0] == ("small_animals", "body", "imported")
    assert bodies_of_only("small_animals")
    assert told(import_files(flat))[0] == ("small", "body", "imported")
    (tmp_path / "animals").mkdir()
    save_file(
        tensors(2), tmp_path / "animals/body.pth"
    )  # a word in the folder's name decides; so does content
    assert told(import_files(tmp_path / "animals"))[0] == ("small_animals", "body", "imported")


def bodies_of_only(name: str) -> bool:
    with pytest.raises(WeightsError, match="1 of its 2"):
        locate_set(name)
    return True


def test_files_of_one_system_are_not_taken_for_another(official: Path) -> None:
    shutil.rmtree(official / "small_animals")
    assert told(import_files(official, ["small_animals"])) == [
        ("small_animals", "body", "missing"),
        ("small", "mlps", "imported"),
    ]


def test_the_community_layout(small_set: WeightSet, tmp_path: Path) -> None:
    folder = tmp_path / "ComfyUI/models"
    folder.mkdir(parents=True)
    save_file(tensors(), folder / "body.safetensors")
    save_file({"retarget_eye_module.mlp.0.weight": torch.ones(2, 3)}, folder / "mlps.safetensors")
    import_files(folder)
    assert list(load_set("small")["mlps"]) == ["retarget_eye_module.mlp.0.weight"]
    assert bodies() == tensors()["conv.bias"].tolist()


def test_the_old_format_of_torch(small_set: WeightSet, tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "body.pth", _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(tmp_path / "body.pth")
    import_files(tmp_path / "body.pth")
    torch.save(STITCHING, tmp_path / "mlps.pth", _use_new_zipfile_serialization=False)
    import_files(tmp_path / "mlps.pth")
    assert bodies() == tensors()["conv.bias"].tolist()


@pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")
def test_links_to_files_are_followed_loops_and_pipes_are_not(official: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--x/snapshots/abc/small/base"  # as the hub's cache has it
    snapshot.mkdir(parents=True)
    (tmp_path / "blob").write_bytes((official / "small/base/body.pth").read_bytes())
    (snapshot / "body.pth").symlink_to(tmp_path / "blob")
    (snapshot / "loop").symlink_to(tmp_path / "models--x")
    os.mkfifo(snapshot / "mlps.pth")
    (snapshot / "mlps.safetensors").symlink_to("/dev/zero")
    assert told(import_files(tmp_path / "models--x")) == [
        ("small", "body", "imported"),
        ("small", "mlps", "missing"),
    ]


def test_nothing_known_and_no_such_folder(small_set: WeightSet, tmp_path: Path, home: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(
        WeightsError, match=r"no model file that Omote knows is in here. They are called: body.pth"
    ):
        import_files(tmp_path)
    with pytest.raises(WeightsError, match="is no model file"):
        import_files(tmp_path / "notes.txt")
    with pytest.raises(WeightsError, match="no such folder or file"):
        import_files(tmp_path / "nowhere")
    assert not home.exists()


def test_a_whole_disk_is_not_searched(official: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_MOST_FILES", 3)
    with pytest.raises(WeightsError, match="more than 3 files"):
        import_files(official)


# ---- refusing ----


class Payload:
    """A pickle that would make a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def saved(held: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(held, buffer, **options)
    return buffer.getvalue()


def packed_again(content: bytes, compression: int, double: bool = False) -> bytes:
    """A checkpoint's archive with compressed records, or with each of them listed twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for record in old.infolist():
            new.writestr(record.filename, old.read(record.filename))
        if double:
            new.filelist += new.filelist * 5
            new._didModify = True
    return buffer.getvalue()


def refused(place: Path, **options: Any) -> WeightsError:
    (one,) = [one for one in import_files(place, **options) if one.status == "refused"]
    assert one.error is not None
    assert "\n" not in str(one.error)
    assert str(one.error).startswith(str(one.source))
    return one.error


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("deep", [True, False], ids=["deep", "alone"])
def test_code_in_a_checkpoint_does_not_run(
    small_set: WeightSet, tmp_path: Path, home: Path, zipped: bool, deep: bool
) -> None:
    trap = Payload(tmp_path / "executed")
    held = {**tensors(), "extra": {"deep": [trap]}} if deep else trap
    (tmp_path / "body.pth").write_bytes(saved(held, _use_new_zipfile_serialization=zipped))
    assert "could run code: not loaded" in str(refused(tmp_path / "body.pth"))
    assert not (tmp_path / "executed").exists()
    with pytest.raises(WeightsError, match="2 of its 2"):
        locate_set("small")


def repeating(text: int, times: int, call: bytes = b"c_codecs\nencode\n") -> bytes:
    """A pickle that makes bytes of one text again and again."""
    told = b"X" + struct.pack("<I", text) + b"a" * text + b"q\x01X\x06\0\0\0latin1q\x02"
    return b"\x80\x02" + call + b"q\x00" + told + b"h\x00h\x01h\x02\x86R" * times + b"t."


def archived(pickled: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (("data.pkl", pickled), ("version", b"3\n"), ("byteorder", b"little")):
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def encrypted(content: bytes) -> bytes:
    """An archive that says so of its first record."""
    changed = bytearray(content)
    changed[content.index(b"PK\x03\x04") + 6] |= 1
    changed[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def test_damaged_and_swollen_files(small_set: WeightSet, tmp_path: Path) -> None:
    good = saved(tensors())
    legacy = saved(tensors(), _use_new_zipfile_serialization=False)
    zeros = saved({"a": torch.zeros(50_000)})
    save_file(tensors(), tmp_path / "a")
    cases = {
        "damaged or not a PyTorch file": [
            b"",
            b"text",
            good[: len(good) // 2],
            good[:-30],
            encrypted(good),
            legacy[: len(legacy) // 2],
        ],
        "unpack to more than it holds": [
            packed_again(zeros, zipfile.ZIP_DEFLATED),
            packed_again(zeros, zipfile.ZIP_STORED, double=True),
            archived(repeating(60_000, 1000)),
            archived(repeating(10, 1, b"c__builtin__\nbytearray\n")),
            repeating(60_000, 1000),
        ],
        "File is not a zip file": [good[:-30]],
        "not a sound safetensors file": [(tmp_path / "a").read_bytes()[:-40], b"\xff" * 7 + b"\0{}"],
        "holds a list": [saved([torch.ones(2)])],
        "larger than the file": [saved({"a": torch.ones(1).expand(10**6, 10**6)})],
        "not finite": [saved({"a": torch.tensor(float("inf"))})],
        "is 2 MB; the published body.pth has about 0 MB": [saved({"a": torch.zeros(600_000)})],
    }
    for says, contents in cases.items():
        for content in contents:
            (tmp_path / "body.pth").write_bytes(content)
            assert says in str(refused(tmp_path / "body.pth"))


def test_the_content_decides_not_the_suffix(small_set: WeightSet, tmp_path: Path) -> None:
    (tmp_path / "body.safetensors").write_bytes(saved(tensors()))
    assert told(import_files(tmp_path))[0] == ("small", "body", "imported")


def test_a_sound_file_is_taken_where_the_better_known_one_is_not(
    small_set: WeightSet, tmp_path: Path
) -> None:
    place = tmp_path / "downloads"
    place.mkdir()
    (place / "body.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    save_file(tensors(), place / "body.safetensors")
    assert told(import_files(place))[0] == ("small", "body", "imported")
    (place / "body.safetensors").write_bytes(b"\0")
    assert told(import_files(place))[0] == ("small", "body", "refused")


def test_a_legacy_file_that_claims_a_terabyte(small_set: WeightSet, tmp_path: Path) -> None:
    legacy = saved({"a": torch.ones(64_000, dtype=torch.uint8)}, _use_new_zipfile_serialization=False)
    claim = (64_000).to_bytes(2, "little")
    assert legacy.count(b"M" + claim) == 2  # the size of the storage, and of the tensor
    swollen = legacy.replace(b"M" + claim, b"\x8a\x06" + (10**12).to_bytes(6, "little"))
    (tmp_path / "body.pth").write_bytes(swollen)
    refused(tmp_path / "body.pth")


def test_names_with_dots_stay_inside_the_cache(small_set: WeightSet, tmp_path: Path, home: Path) -> None:
    torch.save({"../../../escape": {"/etc/x": torch.ones(1)}}, tmp_path / "mlps.pth")
    import_files(tmp_path / "mlps.pth")
    assert list(load_set_partly("mlps")) == ["..%2F..%2F..%2Fescape/%2Fetc%2Fx"]
    assert {p.parent for p in tmp_path.rglob("*") if p.is_file()} == {tmp_path, home, home / "weights/small"}


def load_set_partly(key: str) -> dict[str, torch.Tensor]:
    from omote.weights import cache_dir, load_safetensors

    return load_safetensors(cache_dir() / f"weights/small/{key}.safetensors")


def test_what_omote_trained_is_not_taken_for_what_was_published(official: Path, tmp_path: Path) -> None:
    run = shutil.copytree(official, tmp_path / "all" / "run" / "liveportrait")
    for folder in {path.parent for path in run.rglob("*") if path.is_file()}:
        (folder / "omote.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"holds networks that Omote trained.*--weights"):
        import_files(tmp_path / "all")
    shutil.copytree(official, tmp_path / "all" / "published")
    assert all("published" in str(entry.source) for entry in import_files(tmp_path / "all") if entry.source)


def test_what_the_networks_do_not_expect_is_refused_and_the_rest_goes_on(official: Path) -> None:
    def check(name: str, key: str, held: dict[str, Any]) -> None:
        if (name, key) == ("small", "body"):
            raise WeightsError("the tensor fc.weight is missing, expected shape (3, 4)", where=key)
        assert key != "mlps" or "retarget_eye" in held

    results = import_files(official, check=check)
    assert [one.status for one in results] == ["refused", "imported", "imported"]
    expected = f"{official / 'small/base/body.pth'}: the tensor fc.weight is missing, expected shape (3, 4)"
    assert str(results[0].error) == expected


def test_a_licence_that_forbids_stops_before_anything_is_imported(
    official: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    from dataclasses import replace

    from omote.weights import Licence, registry

    closed = replace(registry._SETS["small"], licence=Licence("X-NC", "research only", commercial=False))
    monkeypatch.setitem(registry._SETS, "small", closed)
    with pytest.raises(WeightsError, match=r"small: the licence \(X-NC\) does not permit commercial use"):
        import_files(official, commercial_safe=True)
    assert not home.exists()
    assert len(import_files(official)) == 3


# ---- the cache ----


def test_damage_in_the_cache_is_found(official: Path, small_set: WeightSet) -> None:
    import_files(official)
    path = locate_set("small")["body"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for call in (lambda: locate_set("small"), lambda: verify_stored(path), lambda: load_set("small")):
        with pytest.raises(WeightsError, match=r"damaged.*omote weights get small") as caught:
            call()
        assert str(path) in str(caught.value)
    import_files(official)  # mends it
    assert bodies() == tensors()["conv.bias"].tolist()
    save_file(tensors(), path)  # not by us
    with pytest.raises(WeightsError, match="was not put there by"):
        locate_set("small")


def test_the_description_tells_the_origin(official: Path, small_set: WeightSet) -> None:
    import_files(official)
    stored = verify_stored(path_of(small_set, small_set.files[0]))
    assert stored is not None
    content = (official / "small/base/body.pth").read_bytes()
    assert (stored.origin, stored.source_sha256, stored.source_size) == (
        "small/base/body.pth",
        sha256(content),
        len(content),
    )


def test_a_full_disk_is_told_before_and_during(
    official: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(WeightsError, match=r"the disk is full \(0 MB are needed, 0 MB are free\)"):
        import_files(official)
    assert not list(home.rglob("*.safetensors"))


@pytest.mark.skipif(os.name == "nt", reason="needs limits on file sizes")
def test_a_write_that_fails_leaves_nothing(official: Path, home: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(WeightsError, match="cannot be written to") as caught:
            import_files(official)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(home / "weights/small") in str(caught.value)
    assert [p.name for p in (home / "weights/small").iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_to(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OMOTE_HOME", str(tmp_path / "file/below"))
    with pytest.raises(WeightsError, match=r"cannot be written to .*Set OMOTE_HOME"):
        import_files(official)
