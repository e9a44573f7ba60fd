"""npz: no pickles, lossless, and damaged files are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omote.controls import FACS102
from omote.errors import FormatError, OmoteError
from omote.export import read, write
from omote.export.evaluate import identity_of, rig_evaluator


def test_lossless_and_readable_without_pickle(take, tmp_path):
    sure = np.random.default_rng(0).random((9, 102)).astype(np.float32)
    performance = take(9).with_(control_confidence=sure)
    (path,) = write(performance, tmp_path / "take.npz")
    with np.load(path, allow_pickle=False) as data:
        assert data["control_names"].tolist() == list(FACS102.names)
        np.testing.assert_array_equal(data["controls"], performance.controls)
        assert {data[n].dtype.kind for n in data.files} <= set("fiuU")
        assert data["fps"] == pytest.approx(performance.fps)
    assert read(path) == performance


def test_vertices_are_the_rig(rig, take, tmp_path):
    performance = take(3)
    (path,) = write(performance, tmp_path / "take.npz", rig=rig, vertices=True)
    wanted = rig_evaluator(rig, identity_of(performance, rig), FACS102)(performance.controls)
    with np.load(path, allow_pickle=False) as data:
        np.testing.assert_allclose(data["vertices"], wanted, atol=1e-7)
        np.testing.assert_array_equal(data["faces"], rig.faces.numpy())


def test_mirror(take, tmp_path):
    (path,) = write(take(4).mirror(), tmp_path / "take.npz")
    np.testing.assert_allclose(read(path).mirror().controls, take(4).controls, atol=1e-7)


def test_other_and_newer_files_are_refused(take, tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(FormatError, match="not written by Omote"):
        read(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", format=np.array([{}], dtype=object))
    with pytest.raises(FormatError, match="not a plain"):
        read(tmp_path / "pickle.npz")
    (path,) = write(take(2), tmp_path / "take.npz")
    data = dict(np.load(path))
    np.savez(tmp_path / "newer.npz", **{**data, "version": np.array(9)})
    with pytest.raises(FormatError, match="newer Omote"):
        read(tmp_path / "newer.npz")
    del data["times"]
    np.savez(tmp_path / "short.npz", **data)
    with pytest.raises(FormatError, match="incomplete"):
        read(tmp_path / "short.npz")


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_files_are_refused(tmp_path_factory, noise, cut):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "noise.npz").write_bytes(noise)
    np.savez(folder / "good.npz", format=np.array("omote-npz"), version=np.array(1), a=np.zeros(9))
    data = (folder / "good.npz").read_bytes()
    (folder / "cut.npz").write_bytes(data[:cut])
    for name in ("noise", "good", "cut"):
        with pytest.raises(OmoteError):
            read(folder / f"{name}.npz")
