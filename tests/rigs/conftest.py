"""Shared by the rig's tests: the rig, a way to write controls by name, random identities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from omote.controls import FACS102
from omote.rigs.facs import FacsRig, load_rig

torch.set_num_threads(1)
Pose = Callable[..., torch.Tensor]


@pytest.fixture(scope="session")
def rig() -> FacsRig:
    return load_rig()


@pytest.fixture(scope="session")
def pose() -> Pose:
    def make(count: int = 1, **values: float) -> torch.Tensor:
        """(count, 102) controls; "lid_close" without a side sets both."""
        controls = torch.zeros(count, len(FACS102.controls))
        for name, value in values.items():
            known = name in FACS102.names
            for full in (name,) if known else (f"{name}_L", f"{name}_R"):
                controls[:, FACS102.index(full)] = value
        return controls

    return make


@pytest.fixture(scope="session")
def welded(rig: FacsRig) -> np.ndarray:
    """(U,) one vertex for each welded vertex."""
    expand = rig.expand.numpy()
    first = np.zeros(len(rig.template), int)
    first[expand[::-1]] = np.arange(len(expand))[::-1]
    return first


def identities(rig: FacsRig, count: int, *, seed: int = 0, sigma: float = 0.8) -> torch.Tensor:
    """(count, I) random coefficients."""
    return sigma * torch.randn(count, len(rig.identity_space), generator=torch.Generator().manual_seed(seed))
