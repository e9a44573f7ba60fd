"""How far each control of a rig moves its surface."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from omote.rigs.protocol import Rig

Array = npt.NDArray[Any]


def control_ends(rig: Rig) -> tuple[Array, Array]:
    """The neutral (V, 3), and (C, 2, V, 3) with each control alone at its high and at its low end; metres."""
    count = len(rig.space)
    nobody = torch.zeros(1, len(rig.identity_space))
    rest = torch.from_numpy(np.array(rig.space.neutral, np.float32))
    with torch.no_grad():
        neutral = rig(rest[None], nobody)[0].numpy()
        ends = np.empty((count, 2, *neutral.shape), np.float32)
        for index, control in enumerate(rig.space.controls):
            both = rest.repeat(2, 1)
            both[0, index], both[1, index] = control.high, control.low
            ends[index] = rig(both, nobody).numpy()
    return neutral, ends
