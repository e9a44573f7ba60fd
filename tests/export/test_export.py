"""write, read and convert: names, options, several formats, atomic results."""

from __future__ import annotations

import numpy as np
import pytest

from omote import export
from omote.controls import ARKIT52
from omote.errors import InputError, OutputError


def test_several_formats_at_once(rig, take, tmp_path):
    paths = export.write(
        take(3), tmp_path / "me.omote", rig=rig, to="glb, livelink,arkit-csv,arkit-json,npz,obj,ply"
    )
    wanted = "me.glb me.livelink.csv me.livelink.json me.arkit.csv me.arkit.json me.npz me.obj me.mtl me.ply"
    assert sorted(p.name for p in paths) == sorted([*wanted.split(), "me.albedo.png"])
    assert all(p.stat().st_size > 0 for p in paths)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths)


def test_performance_export_is_the_short_way(rig, take, tmp_path):
    assert take(2).export(tmp_path / "顔 の.glb", rig=rig)[0].read_bytes()[:4] == b"glTF"


@pytest.mark.parametrize("suffix", [".omote", ".npz", ".arkit.csv", ".arkit.json", ".livelink.csv"])
@pytest.mark.parametrize("other", [".omote", ".npz", ".arkit.csv", ".arkit.json", ".livelink.csv"])
def test_everything_readable_converts_to_everything(take, tmp_path, suffix, other):
    performance = take(4, space=ARKIT52)
    source, *_ = export.write(performance, tmp_path / f"a{suffix}")
    target, *_ = export.convert(source, tmp_path / f"b{other}")
    again = export.read(target)
    np.testing.assert_allclose(again.controls, performance.controls, atol=1e-6)
    np.testing.assert_allclose(again.times, performance.times, atol=2e-5)


def test_formats_have_what_the_command_line_shows():
    for form in export.FORMATS:
        assert form.suffix.startswith(".")
        assert form.description
        assert export.parse_formats(form.name) == (form,)
        assert export.format_of(f"take{form.suffix}") is form
    assert "targets" in export.options_of(export.parse_formats("glb")[0])


def test_unknown_names_suggest_the_nearest(rig, take, tmp_path):
    with pytest.raises(InputError, match=r"unknown format 'livelnk'\. Did you mean livelink\?"):
        export.write(take(1), tmp_path / "x", to="livelnk")
    with pytest.raises(InputError, match=r"no option 'target' for glb\. Did you mean targets\?"):
        export.write(take(1), tmp_path / "x.glb", rig=rig, target="arkit")
    with pytest.raises(InputError, match=r"'\.fbx' names no format"):
        export.write(take(1), tmp_path / "x.fbx")
    with pytest.raises(InputError, match="can be written but not read"):
        export.read(tmp_path / "x.glb")
    with pytest.raises(InputError, match="no such file"):
        export.read(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="no option fps"):
        export.read(export.write(take(2), tmp_path / "a.livelink.csv")[0], fps=3)


def test_converting_a_file_onto_itself_is_refused(take, tmp_path):
    (path,) = export.write(take(2), tmp_path / "a.npz")
    with pytest.raises(InputError, match="same file"):
        export.convert(path, path)


def test_failed_write_leaves_the_old_file(rig, take, tmp_path, monkeypatch):
    (path,) = export.write(take(2), tmp_path / "a.glb", rig=rig)
    before = path.read_bytes()
    monkeypatch.setattr(
        "pathlib.Path.write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(OutputError, match="No space left"):
        export.write(take(3), path, rig=rig)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.glb"]


def test_folder_that_is_a_file(take, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        export.write(take(1), tmp_path / "file" / "a.npz")
