"""The embedded rig with three controls and two coefficients: quick to measure and to learn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from omote.controls import FACS102, ControlSpace
from omote.rigs.facs import load_rig

NAMES = ("jaw_open", "corner_pull_L", "corner_pull_R")


class FewControls(nn.Module):
    """See above."""

    name = "few"

    def __init__(self) -> None:
        super().__init__()
        self.rig = load_rig()
        self.chosen = [FACS102.index(name) for name in NAMES]
        self.space = ControlSpace("few", tuple(FACS102.controls[index] for index in self.chosen))
        self.identity_space = tuple(self.rig.identity_space[:2])
        self.identity_mirror = self.rig.identity_mirror[:2]

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_modules", {}):
            return super().__getattr__(name)
        return getattr(super().__getattr__("rig"), name)

    def forward(self, controls: Tensor, identity: Tensor) -> Tensor:
        """(B, V, 3) metres."""
        every = controls.new_zeros(len(controls), len(FACS102)).index_copy(
            1, torch.tensor(self.chosen), controls
        )
        who = identity.new_zeros(len(identity), len(self.rig.identity_space))
        vertices: Tensor = self.rig(every, torch.cat([identity, who[:, 2:]], 1))
        return vertices
