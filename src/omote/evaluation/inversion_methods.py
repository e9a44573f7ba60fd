"""Ways from a picture to controls that are measured side by side: networks, and what they have to beat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from omote.capture.face_crop import network_images, to_tensors
from omote.controls import FACS102, ControlSpace
from omote.errors import InputError, NoFaceError, WeightsError

if TYPE_CHECKING:
    from omote.capture.pipeline import Captured
    from omote.models.inversion import InversionNet
    from omote.models.inversion.config import Modality

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

MEAN, NEAREST, LANDMARKS = "mean controls", "nearest neighbour", "landmark fit"
ALONE = {"rgb": "RGB alone", "normal": "normals alone"}
"""What a network is called to which only one modality is shown."""
DETECTED = "face detected"
"""What a network is called whose crops lie where the detector finds the face."""
_KEPT = 64
THUMB = 24
"""Side in px of the crops that the nearest neighbour compares."""


@dataclass(frozen=True)
class Sample:
    """One picture with its truth.

    Attributes:
        rgb: (H, W, 3) uint8 sRGB.
        normal: (H, W, 3) uint8 encoded camera-space normals of the same view, or None.
        landmarks: (478, 2) px.
        controls: (C,) float32.
        identity: (I,) float32.
    """

    rgb: Image
    normal: Image | None
    landmarks: Floats
    controls: Floats
    identity: Floats


class Method(Protocol):
    """Pictures to controls."""

    @property
    def name(self) -> str:
        """What the tables call it."""

    def predict(self, samples: Sequence[Sample]) -> Floats:
        """(N, C) controls; the truth in the samples is not looked at, except for the landmarks that place the crops."""


class Network:
    """An inversion network.

    Args:
        net: the network, in evaluation mode.
        name: what the tables call it.
        without: modalities that are withheld from it.

    Raises:
        InputError: nothing is left to look at.
    """

    def __init__(self, net: InversionNet, name: str = "network", *, without: Sequence[str] = ()) -> None:
        self.name = name
        self.config = net.config
        self._net = net
        self._shown: list[Modality] = [m for m in net.config.modalities if m not in without]
        if not self._shown:
            raise InputError(f"{name} has nothing to look at")

    @classmethod
    def load(cls, path: str | Path, space: ControlSpace, rig: str, name: str = "network") -> Network:
        """Read a checkpoint; it must be for these controls and this rig.

        Raises:
            WeightsError: it is not, or it cannot be read.
        """
        from omote.models.inversion import load_checkpoint

        return cls(load_checkpoint(path, space, rig=rig), name)

    def alone(self) -> list[Network]:
        """The same network with one modality at a time, as far as it learned to do without the other."""
        made = []
        for kept in self._shown:
            without = [m for m in self._shown if m != kept]
            if without and all(self.config.does_without(m) for m in without):
                made.append(Network(self._net, f"{self.name}, {ALONE[kept]}", without=without))
        return made

    def predict(self, samples: Sequence[Sample]) -> Floats:
        """(N, C) controls.

        Raises:
            WeightsError: a picture has no normals, and the network did not learn to do without.
        """
        import torch

        crops = []
        for sample in samples:
            rgb = sample.rgb if "rgb" in self._shown else None
            normal = sample.normal if "normal" in self._shown else None
            if normal is None and not self.config.does_without("normal"):
                raise WeightsError(f"{self.name} needs a normal map beside each picture")
            crops.append(network_images(self.config, rgb, normal, sample.landmarks))
        with torch.inference_mode():
            return np.asarray(self._net(**to_tensors(crops)).float().numpy(), np.float32)


class MeanControls:
    """What a blind guesser says: the mean of the training set."""

    name = MEAN

    def __init__(self, controls: Floats) -> None:
        self._mean = np.asarray(controls, np.float32).mean(0)

    def predict(self, samples: Sequence[Sample]) -> Floats:
        """(N, C), all rows equal."""
        return np.tile(self._mean, (len(samples), 1))


class LandmarkFit:
    """`omote.capture.pipeline.capture_image` on the RGB alone; a picture without a face counts as neutral.

    The rig's head stands still in such a capture, and the pose is in the performance's rotation.

    Attributes:
        missed: pictures in which no face was found, so far.
    """

    name = LANDMARKS

    def __init__(self) -> None:
        self.missed = 0
        self._known: dict[int, tuple[Sample, Captured | None]] = {}

    def predict(self, samples: Sequence[Sample]) -> Floats:
        """(N, 102) controls of the embedded rig."""
        found = [self.capture(sample) for sample in samples]
        rows = [FACS102.neutral if face is None else face.performance.controls[0] for face in found]
        return np.stack(rows).astype(np.float32)

    def capture(self, sample: Sample) -> Captured | None:
        """What is captured from the picture of a sample, None without a face; the last few are kept."""
        from omote.capture.pipeline import capture_image

        if id(sample) not in self._known:
            while len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            try:
                face = capture_image(sample.rgb)[0]
            except NoFaceError:
                self.missed, face = self.missed + 1, None
            self._known[id(sample)] = sample, face
        return self._known[id(sample)][1]


class FoundByDetector:
    """A network whose crops lie where the detector finds the face, as in use; no face counts as neutral.

    Args:
        network: the network.
        captures: a landmark fit of the same samples, whose detections are taken over.
    """

    def __init__(self, network: Network, captures: LandmarkFit) -> None:
        self.name = f"{network.name}, {DETECTED}"
        self._network, self._captures = network, captures

    def predict(self, samples: Sequence[Sample]) -> Floats:
        """(N, 102) controls of the embedded rig."""
        rows = np.tile(FACS102.neutral, (len(samples), 1)).astype(np.float32)
        found = {i: face for i, s in enumerate(samples) if (face := self._captures.capture(s)) is not None}
        if found:
            placed = [replace(samples[i], landmarks=face.landmarks[0]) for i, face in found.items()]
            rows[list(found)] = self._network.predict(placed)
        return rows


@dataclass(frozen=True)
class _ThumbConfig:
    align: str = "face"
    size: int = THUMB
    eye_size: tuple[int, int] = (16, 16)


class NearestNeighbour:
    """The controls of the training sample that looks most alike: both crops, small, each at zero mean and unit norm.

    Args:
        samples: the training set; looked at once.

    Raises:
        InputError: there are none.
    """

    name = NEAREST

    def __init__(self, samples: Iterable[Sample]) -> None:
        looks, controls = [], []
        for sample in samples:
            looks.append(_look(sample).astype(np.float16))
            controls.append(sample.controls)
        if not looks:
            raise InputError("no training samples", where="nearest neighbour")
        self._looks = np.stack(looks)
        self.controls: Floats = np.stack(controls).astype(np.float32)

    def predict(self, samples: Sequence[Sample]) -> Floats:
        """(N, C) controls."""
        wanted = np.stack([_look(sample) for sample in samples])
        best, chosen = np.full(len(wanted), -np.inf, np.float32), np.zeros(len(wanted), np.int64)
        for start in range(0, len(self._looks), 2048):  # half the memory of float32 all at once
            likeness = wanted @ self._looks[start : start + 2048].astype(np.float32).T
            better = likeness.max(1) > best
            chosen[better] = start + likeness.argmax(1)[better]
            best = np.maximum(best, likeness.max(1))
        return np.asarray(self.controls[chosen])


def _look(sample: Sample) -> Floats:
    """(K,) float32 of unit norm."""
    crops: dict[str, Any] = network_images(_ThumbConfig(), sample.rgb, sample.normal, sample.landmarks)
    parts = [crops[name].astype(np.float32).reshape(-1, 3) for name in ("rgb", "normal") if name in crops]
    parts = [part - part.mean(0) for part in parts]
    joined = np.concatenate([part.ravel() / max(float(np.linalg.norm(part)), 1e-6) for part in parts])
    return np.asarray(joined / np.sqrt(len(parts)), np.float32)
