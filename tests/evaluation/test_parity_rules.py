"""Seeded weights and inputs: the kit's rule, worked out a second time."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

from omote.errors import InputError
from omote.evaluation.parity.manifest import InputSpec
from omote.evaluation.parity.rules import draw_input
from omote.models.seeded import leading_singular_vectors, seeded_weights


def normal(name: str, seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, zlib.crc32(name.encode("utf-8"))]).standard_normal(shape)


def test_weights_follow_their_names_and_shapes() -> None:
    shapes = {
        "a.running_var": (3,),
        "a.running_mean": (3,),
        "a.weight": (3,),
        "a.bias": (3,),
        "b.weight": (2, 3, 5),
        "b.gamma": (1, 1, 1, 4),
        "b.scale": (),
    }
    tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
    tensors["a.num_batches_tracked"] = torch.tensor(9)
    found = seeded_weights(tensors, 5)
    assert list(found) == list(tensors)
    assert found["a.num_batches_tracked"] == 0
    assert all(found[name].dtype == np.float32 and found[name].shape == shapes[name] for name in shapes)

    def check(name: str, value: np.ndarray) -> None:
        assert np.array_equal(found[name], np.float32(value)), name

    check("a.running_var", 1 + 0.1 * abs(normal("a.running_var", 5, 3)))
    check("a.running_mean", 0.1 * normal("a.running_mean", 5, 3))
    check("a.weight", 1 + 0.1 * normal("a.weight", 5, 3))
    check("a.bias", 0.1 * normal("a.bias", 5, 3))
    check("b.weight", normal("b.weight", 5, 2, 3, 5) / np.sqrt(15))
    check("b.gamma", normal("b.gamma", 5, 1, 1, 1, 4) / 2)
    check("b.scale", 0.1 * normal("b.scale", 5))


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (40, 3, 1, 1), (5, 5)])
def test_spectral_vectors_are_the_leading_singular_ones(shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape[1:]))
    tensors = {
        "c.weight_orig": torch.empty(shape),
        "c.weight_u": torch.empty(shape[0]),
        "c.weight_v": torch.empty(size),
    }
    found = seeded_weights(tensors, 1)
    matrix = found["c.weight_orig"].reshape(shape[0], -1).astype(np.float64)
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    sign = np.sign(u[0, 0] * found["c.weight_u"][0])
    np.testing.assert_allclose(sign * found["c.weight_u"], u[:, 0], atol=1e-6)
    np.testing.assert_allclose(sign * found["c.weight_v"], v[0], atol=1e-6)
    assert found["c.weight_u"] @ matrix @ found["c.weight_v"] == pytest.approx(values[0], rel=1e-6)


def test_singular_vectors_are_float32() -> None:
    u, v = leading_singular_vectors(np.eye(3, 5, dtype=np.float32) * 2 + 1)
    assert (u.shape, v.shape, u.dtype, v.dtype) == ((3,), (5,), np.float32, np.float32)


def spec(**entry: object) -> InputSpec:
    return InputSpec("x", "other", 8, -1.0, 3.0, (2, 3), None, entry)


def test_inputs_are_uniform_in_double_precision_first() -> None:
    again = np.random.default_rng([8, zlib.crc32(b"other")]).uniform(-1, 3, (2, 3)).astype(np.float32)
    assert np.array_equal(draw_input(spec()), again)
    assert draw_input(spec()).dtype == np.float32


def test_inputs_without_a_rule_are_refused() -> None:
    with pytest.raises(InputError, match="no shape"):
        draw_input(InputSpec("x", "x", 8, 0.0, 0.0, None, None, {}))
    with pytest.raises(InputError, match="no seed"):
        draw_input(InputSpec("x", "x", None, 0.0, 1.0, (1,), None, {}))
