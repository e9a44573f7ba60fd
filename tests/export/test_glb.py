"""The GLB container, against pygltflib."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from omote.export.glb import ARRAY_BUFFER, GlbBuilder

from .glb_reader import GlbReader


def build(tmp_path, *deltas):
    builder = GlbBuilder("test")
    points = np.random.default_rng(0).random((len(deltas[0]), 3))
    item = builder.accessor(points, "positions", target=ARRAY_BUFFER, bounds=True)
    targets = [{"POSITION": builder.deltas(d)} for d in deltas]
    mesh = {
        "primitives": [{"attributes": {"POSITION": item}, "targets": targets, "mode": 0}],
        "extras": {"é": "面"},
    }
    builder.add("nodes", {"mesh": builder.add("meshes", mesh), "name": "face"})
    builder.add("scenes", {"nodes": [0]})
    path = tmp_path / "x.glb"
    path.write_bytes(builder.to_bytes())
    return path, points, [t["POSITION"] for t in targets]


@pytest.mark.parametrize("count", [5, 70000])
def test_sparse_dense_and_zero_deltas_read_back(tmp_path, count):
    dense = np.random.default_rng(1).random((count, 3)).astype(np.float32)
    sparse = np.zeros((count, 3), np.float32)
    sparse[[1, count - 1]] = [[1, 2, 3], [-4, 0, 1e-4]]
    path, points, items = build(tmp_path, dense, sparse, np.zeros((count, 3)), np.zeros((count, 3)))
    reader = GlbReader(path)
    np.testing.assert_array_equal(reader.accessor(0), points.astype(np.float32))
    np.testing.assert_array_equal(reader.accessor(items[0]), dense)
    np.testing.assert_array_equal(reader.accessor(items[1]), sparse)
    assert not reader.accessor(items[2]).any()
    assert items[2] == items[3]
    kinds = [reader.gltf.accessors[i].sparse is not None for i in items[:3]]
    assert kinds == [False, True, False]
    bounds = reader.gltf.accessors[items[1]]
    assert bounds.max == [1, 2, 3]
    assert bounds.min == [-4, 0, 0]


def test_container_layout(tmp_path):
    path, _, _ = build(tmp_path, np.ones((3, 3)))
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<II", data, 12)
    assert kind == 0x4E4F534A
    assert size % 4 == 0
    assert data[20 : 20 + size].rstrip(b" ").endswith(b"}")
    second, kind = struct.unpack_from("<II", data, 20 + size)
    assert kind == 0x004E4942
    assert second % 4 == 0
    assert 28 + size + second == len(data)
