"""Networks filled from their tensors' names and a seed, so that no published checkpoint is needed to run them.

The rule of the parity kit: every array comes from a generator seeded with (seed, CRC-32 of the tensor's name). Such a
network has the structure and the cost of the trained one, and nothing of what it learned.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

Array = np.ndarray


def generator(name: str, seed: int) -> np.random.Generator:
    """The source of random numbers of one tensor or input."""
    return np.random.default_rng([seed, zlib.crc32(name.encode("utf-8"))])


def seeded_array(name: str, shape: tuple[int, ...], seed: int) -> Array:
    """A floating-point weight of any network, float32, before spectral normalisation's vectors are put in."""
    z = np.asarray(generator(name, seed).standard_normal(shape))
    last = name.rpartition(".")[2]
    if last == "running_var":
        z = 1 + 0.1 * np.abs(z)
    elif last == "running_mean":
        z = 0.1 * z
    elif len(shape) >= 2:
        z = z / math.sqrt(math.prod(shape[1:]))
    elif len(shape) == 1 and last == "weight":
        z = 1 + 0.1 * z
    else:
        z = 0.1 * z
    return z.astype(np.float32)


def seeded_weights(tensors: Mapping[str, torch.Tensor], seed: int) -> dict[str, Array]:
    """A value for each tensor of a state dictionary, by its name, shape and kind of number alone."""
    found: dict[str, Array] = {}
    for name, tensor in tensors.items():
        shape = tuple(tensor.shape)
        if tensor.is_floating_point():
            found[name] = seeded_array(name, shape, seed)
        else:
            found[name] = np.zeros(shape, np.int64)
    for name in tensors:
        stem = name.removesuffix("weight_orig")
        if stem != name and f"{stem}weight_u" in tensors:
            weight = found[name]
            u, v = leading_singular_vectors(weight.reshape(len(weight), -1))
            found[f"{stem}weight_u"], found[f"{stem}weight_v"] = u, v
    return found


def leading_singular_vectors(matrix: Array) -> tuple[Array, Array]:
    """The left and right singular vectors, float32, of the largest singular value of an (m, n) matrix."""
    from scipy.linalg import eigh

    # The eigenvectors of the smaller Gram matrix, in float64: a hundred times faster than all singular vectors.
    wide = matrix.astype(np.float64)
    transposed = wide.shape[0] > wide.shape[1]
    if transposed:
        wide = wide.T
    last = len(wide) - 1
    short = eigh(wide @ wide.T, subset_by_index=[last, last])[1][:, 0]
    long = wide.T @ short
    long /= np.linalg.norm(long)
    u, v = (long, short) if transposed else (short, long)
    return u.astype(np.float32), v.astype(np.float32)


def fill_seeded(network: nn.Module, seed: int) -> None:
    """Fill a network in place by the rule."""
    import torch

    tensors = network.state_dict()
    values = seeded_weights(tensors, seed)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(values[name]))
