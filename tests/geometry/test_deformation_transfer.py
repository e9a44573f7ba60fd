"""Deformation transfer: exact on analytic deformations, near the embedded rig's own shapes, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from omote.errors import InputError
from omote.geometry.alignment import Similarity
from omote.geometry.deformation_transfer import DeformationTransfer, transfer_shapes
from omote.geometry.meshes import subdivide
from omote.geometry.parts import parts_of_mesh
from omote.geometry.rotations import axis_angle_to_matrix
from omote.rigs.facs import FacsRig, load_rig


def grid(seed: int, size: int = 7, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A bumpy sheet of ``size`` x ``size`` vertices, centimetres apart."""
    random = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    vertices = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3) * 0.01
    vertices += random.normal(0, 0.002, vertices.shape) + offset
    corner = (np.arange(size - 1)[:, None] * size + np.arange(size - 1)).ravel()
    a, b, c, d = corner, corner + size, corner + size + 1, corner + 1
    return vertices, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def sheets(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sheets apart from each other, as a head and its teeth are."""
    (first, faces), (second, more) = grid(seed), grid(seed + 1, 4, 0.1)
    return np.concatenate([first, second]), np.concatenate([faces, more + len(first)])


def similarity(seed: int, scale: float) -> Similarity:
    random = np.random.default_rng(seed)
    return Similarity(scale, axis_angle_to_matrix(random.normal(size=3)), random.normal(size=3))


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.05, 20) | st.sampled_from([1e-4, 1e-3, 1e3]))
def test_a_turned_and_scaled_copy_gets_the_turned_and_scaled_displacements(seed: int, scale: float) -> None:
    source, faces = sheets(seed)
    moved = np.random.default_rng(seed).normal(0, 0.01, (3, *source.shape))
    motion = similarity(seed, scale)
    out = transfer_shapes(source, faces, moved, motion.apply(source))
    np.testing.assert_allclose(out, scale * moved @ motion.rotation.T, atol=2e-7 * scale)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_a_stretched_sheet_gets_the_displacements_times_that_map(seed: int) -> None:
    """Within the surface: how an affine map stretches the direction off it, a surface does not tell."""
    random = np.random.default_rng(seed)
    stretch = np.diag(random.uniform(0.5, 2, 3)) + random.normal(0, 0.1, (3, 3))
    flat, flat_faces = grid(seed)
    flat[:, 2] = 0
    moved = random.normal(0, 0.01, (2, *flat.shape)) * [1, 1, 0]
    stretch[2], stretch[:, 2] = 0, [0, 0, 1]
    out = transfer_shapes(flat, flat_faces, moved, flat @ stretch.T)
    np.testing.assert_allclose(out, moved @ stretch.T, atol=1e-7)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_an_affine_deformation_stays_that_deformation(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    source, faces = sheets(seed)
    change, shift = random.normal(0, 0.4, (3, 3)), random.normal(0, 0.05, 3)
    motion = similarity(seed, scale)
    target = motion.apply(source)
    out = transfer_shapes(source, faces, (source @ change.T + shift)[None], target)[0]
    turned = motion.rotation @ change @ motion.rotation.T
    np.testing.assert_allclose(
        out - out[0], (target - target[0]) @ turned.T, atol=1e-6 * scale, err_msg="the same map in its frame"
    )


def test_no_deformation_gives_none_and_deformations_of_a_flat_head_are_smooth() -> None:
    source, faces = sheets(3)
    target = source * [1.3, 0.8, 1.1] + np.random.default_rng(0).normal(0, 0.001, source.shape)
    assert (transfer_shapes(source, faces, np.zeros((2, *source.shape)), target) == 0).all()
    rigid = np.tile([0.01, -0.02, 0.03], (1, len(source), 1))
    out = transfer_shapes(source, faces, rigid, source)
    np.testing.assert_allclose(out, rigid, atol=1e-8)


def test_a_refined_copy_gets_the_interpolated_shapes() -> None:
    source, faces = sheets(5)
    finer = subdivide(faces, len(source))
    motion = similarity(1, 1.5)
    target = motion.apply(np.asarray(finer.matrix @ source))
    count = len(finer.faces)
    follow = csr_array((np.ones(count), (np.arange(count), finer.parents)), (count, len(faces)))
    moved = np.random.default_rng(2).normal(0, 0.005, (4, *source.shape))
    out = transfer_shapes(source, faces, moved, target, finer.faces, correspondence=follow)
    wanted = 1.5 * finer.apply(moved) @ motion.rotation.T
    np.testing.assert_allclose(out, wanted, atol=1e-7)


def test_parts_without_counterpart_ride_and_seams_stay_closed() -> None:
    source, faces = sheets(7)
    main = (parts_of_mesh(faces, len(source)) == 0)[faces[:, 0]]
    follow = csr_array(np.diag(main.astype(float)))
    moved = np.random.default_rng(0).normal(0, 0.01, (2, *source.shape))
    transfer = DeformationTransfer(source, faces, source, faces, correspondence=follow)
    out = transfer(moved)
    loose = transfer.parts == 1
    np.testing.assert_allclose(out[:, ~loose], moved[:, ~loose], atol=1e-7)
    assert np.ptp(out[:, loose], axis=1).max() < 1e-12, "without counterpart: moved as one piece"
    assert np.abs(out[:, loose]).max() > 1e-3

    weld = np.arange(len(source) + 1)
    weld[-1] = 3  # vertex 3 again, on the other side of a seam; and vertex 0 of a lone point
    split = np.concatenate([source, source[3:4]])
    cut = faces.copy()
    cut[np.flatnonzero((faces == 3).any(1))[0]][cut[np.flatnonzero((faces == 3).any(1))[0]] == 3] = len(
        source
    )
    both = np.concatenate([moved, moved[:, 3:4]], axis=1)
    out = transfer_shapes(split, cut, both, split, source_weld=weld)
    np.testing.assert_allclose(out[:, -1], out[:, 3], atol=0)


def test_degenerate_triangles_follow_their_neighbours() -> None:
    source, faces = grid(9)
    faces = np.concatenate([faces, [[0, 1, 1], [5, 5, 5]]])
    moved = np.random.default_rng(0).normal(0, 0.003, (2, *source.shape))
    out = transfer_shapes(source, faces, moved, 2 * source)
    np.testing.assert_allclose(out, 2 * moved, atol=1e-5)


@pytest.mark.parametrize("corners", [(0, 0, 0), (0, 0.01, 0.02), (0, 0, 0.01)])
def test_triangles_without_area_that_hang_on_nothing_stop_nothing(corners: tuple[float, ...]) -> None:
    """A defect of scans: three points in a line, or in one place, joined to nothing else."""
    source, faces = grid(9)
    moved = np.random.default_rng(0).normal(0, 0.003, (2, *source.shape))
    line = source[40] + np.array(corners)[:, None] * np.array([1.0, 0, 0])
    target, more = np.concatenate([source, line]), np.concatenate([faces, [len(source) + np.arange(3)]])
    follow = csr_array(np.eye(len(more), len(faces)))
    transfer = DeformationTransfer(source, faces, target, more, correspondence=follow, fitted=source)
    out = transfer(moved)
    np.testing.assert_allclose(out[:, : len(source)], moved, atol=1e-5)
    assert np.isfinite(out).all()
    assert np.abs(out[:, len(source) :]).max() < 0.05


@pytest.fixture(scope="module")
def rig() -> FacsRig:
    return load_rig()


def range_ends(rig: FacsRig, identity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The neutral (V, 3) and the displacements (102, V, 3) of every control at its high end."""
    rest = torch.as_tensor(np.array(rig.space.neutral, np.float32))
    ends = rest.repeat(len(rest), 1)
    ends.fill_diagonal_(0).add_(torch.diag(torch.as_tensor(np.array(rig.space.high, np.float32))))
    one = torch.as_tensor(identity, dtype=torch.float32)[None]
    neutral = rig(rest[None], one)[0].numpy().astype(np.float64)
    return neutral, rig(ends, one).numpy() - neutral


def test_near_the_shapes_of_the_embedded_rig(rig: FacsRig) -> None:
    """Identity A to B against the rig's own B: all 102 controls at their ends, two pairs of identities."""
    random = np.random.default_rng(0)
    weld, faces = rig.weld.numpy(), rig.faces.numpy()
    real = np.unique(weld)
    face = [i for i, name in enumerate(rig.space.names) if not name.startswith("head_")]
    errors, moving = [], []
    for _ in range(2):
        (a, shapes), (b, wanted) = (
            range_ends(rig, random.normal(0, 0.8, len(rig.identity_space))) for _ in range(2)
        )
        out = DeformationTransfer(a, faces, b, source_weld=weld)(shapes)
        error = np.linalg.norm(out - wanted, axis=2)[:, real] * 1e3
        errors.append(error)
        moving.append(error[face][np.linalg.norm(wanted[face][:, real], axis=2) > 1e-4])
    assert np.median(errors) <= 0.02, "of all vertices and controls, mm"
    assert np.median(np.concatenate(moving)) <= 0.3, (
        "of the vertices a control of the face moves by 0.1 mm, mm"
    )
    assert np.percentile(errors, 95) <= 0.8


BAD = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
TRIANGLES = np.array([[0, 1, 2], [0, 1, 3]])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((BAD, TRIANGLES, BAD, TRIANGLES[:1]), {}, "target: 1 triangles, but the source has 2"),
        ((BAD * np.nan, TRIANGLES, BAD), {}, "source: 4 of 4 vertices are not finite"),
        ((BAD, TRIANGLES, BAD + [0, np.inf, 0]), {}, "target: 4 of 4 vertices are not finite"),
        ((BAD, TRIANGLES + 2, BAD), {}, "source: faces must be indices of its 4 vertices"),
        ((BAD, TRIANGLES * 0.5, BAD), {}, "source: faces must be indices"),
        (
            (BAD, TRIANGLES, BAD * [1, 0, 0], TRIANGLES[:, [0, 0, 1]]),
            {},
            "target: all its triangles are degenerate",
        ),
        ((BAD, TRIANGLES[:0], BAD), {}, "source: has no triangles"),
        ((BAD[:, :2], TRIANGLES, BAD), {}, "source vertices: got shape"),
        (
            (BAD, TRIANGLES, BAD, TRIANGLES),
            {"correspondence": csr_array((2, 2))},
            "correspondence: no target triangle corresponds",
        ),
        (
            (BAD, TRIANGLES, BAD, TRIANGLES),
            {"correspondence": csr_array((3, 2))},
            "correspondence: got shape",
        ),
        (
            (BAD, TRIANGLES, BAD, TRIANGLES),
            {"correspondence": -csr_array(np.eye(2))},
            "correspondence: weights must be finite",
        ),
        ((BAD, TRIANGLES, BAD), {"fitted": BAD[:2]}, "fitted: got shape"),
        ((BAD, TRIANGLES, BAD), {"source_weld": np.arange(3)}, "source weld: got shape"),
    ],
)
def test_what_cannot_be_transferred_is_refused(arguments: tuple, options: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=message):
        DeformationTransfer(*arguments, **options)


def test_bad_displacements_are_refused() -> None:
    transfer = DeformationTransfer(BAD, TRIANGLES, BAD)
    with pytest.raises(InputError, match="displacements: got shape"):
        transfer(np.zeros((1, 5, 3)))
    moved = np.zeros((3, 4, 3))
    moved[1, 2, 0] = np.nan
    with pytest.raises(InputError, match="shape 1: has displacements that are not finite"):
        transfer(moved)
    assert transfer(np.zeros((0, 4, 3))).shape == (0, 4, 3)


@settings(max_examples=5)
@given(st.integers(1, 80))
def test_progress_is_told_and_batches_do_not_matter(count: int) -> None:
    source, faces = grid(0, 4)
    moved = np.random.default_rng(0).normal(0, 0.01, (count, *source.shape))
    transfer = DeformationTransfer(source, faces, source * [2, 1, 1])
    told: list[tuple[int, int]] = []
    out = transfer(moved, progress=lambda done, every: told.append((done, every)))
    assert told[-1] == (count, count)
    np.testing.assert_allclose(out[-1:], transfer(moved[-1:]), atol=1e-9)
