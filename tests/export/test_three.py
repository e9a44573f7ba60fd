"""The GLB as three.js plays it in headless Chromium: the same vertices as the rig, seen from the camera."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omote.export import write

from .glb_reader import GlbReader
from .test_gltf import truth, worst

TOOL = Path(__file__).resolve().parents[2] / "tools" / "view_glb" / "__main__.py"


@pytest.fixture(scope="module")
def viewer():
    spec = importlib.util.spec_from_file_location("view_glb", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    missing = module.available()
    if missing:
        pytest.skip(missing)
    return module


def test_playback_equals_the_rig(rig, take, tmp_path, viewer):
    performance = take(20, sparse=0.5)
    (path,) = write(performance, tmp_path / "take.glb", rig=rig, tolerance=1e-5)
    reader = GlbReader(path)
    between = float((performance.times[4] + performance.times[5]) / 2)
    times = [*(float(np.float32(performance.times[i])) for i in (0, 9, 19)), between]
    results = viewer.view(path, times=times, views=["take"], size=(200, 150))
    assert len(results.shots) == 4
    for frame, index in zip(results.report["frames"], (0, 9, 19, None), strict=True):
        found = {name: np.reshape(points, (-1, 3)) for name, points in frame["parts"].items()}
        assert worst(found, reader.parts(frame["time"])) < 2e-6
        if index is not None:
            assert worst(found, truth(rig, performance, index)) < 1.2e-5
    assert results.report["animations"][0][0] == "take"


def test_embedded_head_is_seen_where_the_camera_saw_it(take, tmp_path, viewer):
    performance = take(1, sparse=0).with_(
        identity={}, head_rotation=np.zeros((1, 3)), head_translation=np.array([[0.1, 0.0, -0.7]])
    )
    (path,) = write(performance, tmp_path / "photo.glb")
    results = viewer.view(path, times=[0.0], views=["take"], size=(320, 240))
    picture = np.asarray(Image.open(io.BytesIO(results.shots[0])).convert("RGB")).astype(int)
    head = np.abs(picture - picture[0, 0]).sum(axis=2) > 40
    rows, columns = np.nonzero(head)
    assert head.mean() > 0.05
    middle = 160 + 1000 / 2 * 0.1 / 0.7  # half the size of the take's camera; +x is to the right
    assert columns.mean() == pytest.approx(middle, abs=8)
    assert rows.min() > 5
