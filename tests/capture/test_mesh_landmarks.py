"""Landmarks of a mesh: found on its renders, put on its surface, kept in the cache; no face is said so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from omote.capture import mesh_landmarks as module
from omote.capture.mesh_landmarks import closest_barycentric, mesh_landmarks
from omote.errors import NoFaceError, WeightsError
from omote.rigs.contours import LIPS_OUTER, NOSE_BRIDGE, OVAL
from omote.rigs.facs import load_rig
from omote.weights import locate

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _needs_the_model() -> None:
    pytest.importorskip("mediapipe")
    try:
        locate("face_landmarker", download=False)
    except WeightsError as missing:
        pytest.skip(str(missing))


def test_landmarks_of_the_embedded_head_lie_where_its_own_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "VIEWS", module.VIEWS[:3])
    monkeypatch.setattr(module, "SIZE", 448)
    model = locate("face_landmarker", download=False)
    rig = load_rig()
    with torch.no_grad():
        head = rig(torch.zeros(1, 102), torch.zeros(1, len(rig.identity_space)))[0].numpy()
    monkeypatch.setattr("omote.weights.cache_dir", lambda: tmp_path)
    monkeypatch.setattr("omote.capture.landmarker.locate", lambda name: model)
    found = mesh_landmarks(head, rig.faces.numpy(), weld=rig.weld.numpy())
    off = 1e3 * np.linalg.norm(found.apply(head) - rig.landmarks.apply(head), axis=1)
    inner = np.setdiff1d(np.arange(468), OVAL)
    assert np.median(off[inner]) < 2
    assert np.percentile(off[inner], 90) < 6
    assert np.median(off[list(LIPS_OUTER + NOSE_BRIDGE)]) < 2
    np.testing.assert_allclose(found.barycentric.sum(1), 1, atol=1e-5)
    assert found.barycentric.min() >= -1e-6
    assert np.median(found.weight) > 0.6
    # The second time comes from the cache: no detector is opened.
    monkeypatch.setattr(module, "FaceDetector", None)
    again = mesh_landmarks(head, rig.faces.numpy(), weld=rig.weld.numpy())
    np.testing.assert_array_equal(again.vertices, found.vertices)
    next((tmp_path / "landmarks").iterdir()).write_bytes(b"damaged")
    with pytest.raises(TypeError):  # a damaged entry counts as none
        mesh_landmarks(head, rig.faces.numpy(), weld=rig.weld.numpy())


def test_a_mesh_without_a_face_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SEARCH", (0,))
    cube = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32) / 10
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = np.array([[q[0], q[1], q[2], q[0], q[2], q[3]] for q in quads]).reshape(-1, 3)
    with pytest.raises(NoFaceError, match="no face was found on the renders of this mesh"):
        mesh_landmarks(cube, faces, cache=False)


def test_points_that_do_not_lie_as_a_face_are_refused() -> None:
    points = np.random.default_rng(0).normal(size=(478, 3))
    with pytest.raises(NoFaceError, match="does not lie as a face does"):
        module._check_plausible(points)


def test_closest_points_of_triangles_inside_on_edges_and_at_corners() -> None:
    triangle = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    points = np.array([[0.25, 0.25, 1], [0.5, -1, 0], [2, 2, 3], [-1, -1, 0], [-1, 0.5, 0], [3, 0, 0]])
    weights = closest_barycentric(np.broadcast_to(triangle, (6, 3, 3)), points)
    wanted = [[0.25, 0.25, 0], [0.5, 0, 0], [0.5, 0.5, 0], [0, 0, 0], [0, 0.5, 0], [1, 0, 0]]
    np.testing.assert_allclose(weights @ triangle, wanted, atol=1e-12)
    flat = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 0]])  # no area: its edge counts
    np.testing.assert_allclose(
        closest_barycentric(flat, np.array([0.5, 1.0, 0])) @ flat, [0.5, 0, 0], atol=1e-12
    )
