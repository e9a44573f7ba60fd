"""The inversion network made ready: pictures of a face in, controls of its rig out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.capture.face_crop import network_images, to_tensors
from omote.capture.rig_pose import RigPose
from omote.controls import FACS102
from omote.errors import InputError, NoFaceError, WeightsError
from omote.rigs.constants import EMBEDDED

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

BATCH = 16
"""Pictures that pass the network at once."""
_HEAD = FACS102.match("head_*")
_CALLED = {"rgb": "an RGB picture", "normal": "a normal map"}

Samples = Sequence[Mapping[str, NDArray[Any]]]


def shipped_weights() -> Path:
    """The network that ships with the package."""
    return Path(str(resources.files("omote") / "assets" / "inversion" / "inversion.safetensors"))


@lru_cache(maxsize=2)
def load_inverter(path: Path | None = None, rig: str = EMBEDDED) -> Inverter:
    """A network, kept for the next file.

    Args:
        path: a checkpoint; None is the one that ships.
        rig: "facs", or the file or folder of the rig that the checkpoint was trained for; its landmarks are looked for.

    Raises:
        InputError, FormatError: there is no such rig, it cannot be read, or no face is found on its renders.
        WeightsError: missing, damaged, or for another rig or other controls.
    """
    if rig == EMBEDDED:
        return Inverter(path)
    if path is None:
        remedy = f"Train one (omote train inversion --rig {rig}) and give it with --weights."
        raise InputError("the network that ships is for the embedded head", where=rig, remedy=remedy)
    from omote.capture.faced_rig import open_faced_rig

    try:
        own, _ = open_faced_rig(rig)
    except NoFaceError as error:  # the rig's, not that of the picture
        raise InputError(error.what, where=rig, remedy=error.remedy) from error
    return Inverter(path, own)


class Inverter:
    """Predicts the controls of a rig.

    Args:
        path: a checkpoint as `omote train inversion` writes it; None is the one that ships.
        rig: that it was trained for, with landmarks; None is the embedded one.

    Attributes:
        space: the C controls.
        pose: places a rig of one's own; None for the embedded one, whose pose the landmark fit finds.

    Raises:
        WeightsError: missing, damaged, or for another rig or other controls; names both.
    """

    def __init__(self, path: Path | None = None, rig: Rig | None = None) -> None:
        from omote.models.inversion import FastInversion, load_checkpoint

        self.space = FACS102 if rig is None else rig.space
        self.pose = None if rig is None else RigPose(rig)
        if path is None and not shipped_weights().is_file():
            remedy = "Train one (`omote train inversion --help`) and give it with --weights."
            raise WeightsError("this installation has no inversion network", remedy=remedy)
        name = EMBEDDED if rig is None else rig.name
        net = load_checkpoint(path or shipped_weights(), self.space, rig=name)
        self.config = net.config
        self._predict = FastInversion(net)  # bfloat16 where that is faster

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it can look at: "rgb", "normal" or both."""
        return tuple(self.config.modalities)

    def check(self, given: Collection[str]) -> None:
        """Refuse pictures that are not enough.

        Args:
            given: of "rgb" and "normal".

        Raises:
            WeightsError: one is missing that the network did not learn to do without.
        """
        for name in self.config.modalities:
            if name not in given and not self.config.does_without(name):
                remedy = "Give one, or other --weights."
                raise WeightsError(f"this network needs {_CALLED[name]}", remedy=remedy)

    def sample(
        self, rgb: NDArray[np.uint8] | None, normal: NDArray[np.uint8] | None, landmarks: NDArray[np.float32]
    ) -> dict[str, NDArray[Any]]:
        """The crops of one face, of those pictures that the network can look at.

        Args:
            rgb: (H, W, 3) sRGB, or None.
            normal: (H, W, 3) encoded camera-space normals of the same view, or None.
            landmarks: (478, 2 or 3) px.

        Raises:
            WeightsError: one is missing that the network did not learn to do without.
        """
        self.check([name for name, picture in (("rgb", rgb), ("normal", normal)) if picture is not None])
        rgb = rgb if "rgb" in self.modalities else None
        normal = normal if "normal" in self.modalities else None
        return network_images(self.config, rgb, normal, landmarks[:, :2])

    def controls(self, samples: Samples) -> NDArray[np.float64]:
        """(B, C) controls within their ranges; the embedded head's own are 0, since its movement is the pose."""
        batches = [samples[first : first + BATCH] for first in range(0, len(samples), BATCH)]
        results = [self._predict(**to_tensors(batch)).numpy() for batch in batches]
        controls = self.space.clamp(np.concatenate(results)).astype(np.float64)
        if self.pose is None:
            controls[:, _HEAD] = 0.0
        return controls
