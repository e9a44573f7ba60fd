"""Stored samples to what the inversion network is trained on: crops, controls, identity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from omote.capture.face_crop import CropConfig, Crops, crops, network_images
from omote.controls import ControlSpace
from omote.errors import FormatError, InputError
from omote.training.datasets.contact_sheet import decode_picture
from omote.training.datasets.shards import (
    DatasetInfo,
    Sample,
    bytes_array,
    check_same,
    complete_shards,
    read_shard,
)

Array = np.ndarray
Chance = np.random.Generator
JITTER_TURN, JITTER_SCALE, JITTER_SHIFT = 0.012, 0.012, 0.005
"""How far crops stray in training: radians, share of the size, share of the width (standard deviations)."""
EYE_JITTER = 0.01
"""The same for where the eyes are, share of the width of an eye crop."""


class InversionConfigLike(CropConfig, Protocol):
    """What the loader has to know of `omote.models.inversion.InversionConfig`."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of "rgb" and "normal"."""


class InversionData(IterableDataset[dict[str, Any]]):
    """Samples of one or several data sets, in a new order each time it is iterated.

    Yields dictionaries of uint8 crops ("rgb", "normal" (S, S, 3), "eyes_rgb", "eyes_normal" (2, h, w, 3), for the
    modalities of the config), "controls" (C,) and "identity" (I,) float32. `collate` makes a batch of them. Shards are
    listed anew at each iteration: data may still be growing.

    Args:
        folders: data sets of one rig; in each epoch all of their samples are seen once.
        config: crops and modalities.
        split: "train" leaves out the last ``held_out`` samples of each folder, "validation" is those, "all" is all.
        held_out: share of the samples of a folder for validation, 0 to 0.5.
        augment: crops that stray, mirrored faces, occasional erased patches.
        space: controls of the rig, to mirror them; identity_mirror (I,) +1/-1 likewise. None: no mirroring.
        seed: of order and augmentation; ``epoch`` (set it before each iteration) varies them.

    Raises:
        InputError: no data, or data of different rigs; FormatError (while iterating): a damaged shard.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        config: InversionConfigLike,
        *,
        split: str = "train",
        held_out: float = 0.03,
        augment: bool = True,
        space: ControlSpace | None = None,
        identity_mirror: Array | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folders = [Path(folder) for folder in folders]
        self.info: DatasetInfo = check_same(self.folders)
        for folder in self.folders:
            if not complete_shards(folder):
                raise InputError(
                    "no complete shard is there yet", where=str(folder), remedy="Run `omote synth`."
                )
        self.config, self.split, self.held_out, self.augment = config, split, held_out, augment
        self.space = space if augment else None
        self.identity_mirror = identity_mirror
        if self.info.identity and identity_mirror is None:
            self.space = None
        self.seed, self.epoch = seed, 0

    def shards(self) -> list[Path]:
        """The shards of this split. The last of each folder's are held out (its only shard is divided by samples)."""
        chosen = []
        for folder in self.folders:
            there = complete_shards(folder)
            last = max(1, round(len(there) * self.held_out)) if self.split != "all" else 0
            if len(there) == 1 or not last:
                chosen += there
            else:
                chosen += there[:-last] if self.split == "train" else there[-last:]
        return chosen

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One pass in an order drawn from seed and epoch (validation: in stored order)."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        rng = np.random.default_rng([self.seed, self.epoch, number])
        shards = self.shards()
        if self.split == "train":  # all workers agree on the order before they share it out
            np.random.default_rng([self.seed, self.epoch, 1 << 20]).shuffle(shards)
        mine = shards[number::workers]
        stored = (sample for shard in mine for sample in self._of_split(shard))
        for sample in _shuffled(stored, rng) if self.split == "train" else stored:
            yield self.prepare(sample, rng)

    def _of_split(self, shard: Path) -> Iterator[Sample]:
        alone = self.split != "all" and len(complete_shards(shard.parent)) == 1
        for position, sample in enumerate(read_shard(shard)):
            held = position % 10 == 9
            if not alone or held == (self.split == "validation"):
                yield sample

    def prepare(self, sample: Sample, rng: Chance) -> dict[str, Any]:
        """Decode and crop one stored sample.

        Raises:
            FormatError: a member is missing or damaged.
        """
        try:
            pictures = {name: decode_picture(sample, name) for name in self.config.modalities}
            controls = bytes_array(sample["controls.npy"]).astype(np.float32)
            identity = bytes_array(sample["identity.npy"]).astype(np.float32)
            landmarks = bytes_array(sample["landmarks.npy"]).astype(np.float64)
            height, width = next(iter(pictures.values())).shape[:2]
        except (KeyError, ValueError, AttributeError) as error:
            what = f"sample {sample.get('__key__')} is damaged ({error})"
            raise FormatError(
                what, where="data", remedy="Delete its shard and run `omote synth` again."
            ) from None
        known = landmarks if np.isfinite(landmarks).all() else None
        places = crops(self.config, known, (width, height))
        if self.augment:
            places = _stray(places, self.config, rng)
        made: dict[str, Any] = network_images(
            self.config, pictures.get("rgb"), pictures.get("normal"), known, places=places
        )
        if self.augment:
            if self.space is not None and rng.random() < 0.5:
                made = _mirrored(made)
                controls = self.space.mirror(controls).astype(np.float32)
                if self.identity_mirror is not None:
                    identity = identity * self.identity_mirror.astype(np.float32)
            _erase(made, rng)
        return {**made, "controls": controls, "identity": identity}


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch for the network: normalised pictures as `omote.capture.face_crop.to_tensors`, controls, identity."""
    import torch

    from omote.capture.face_crop import to_tensors

    batch: dict[str, Any] = to_tensors(samples)
    for name in ("controls", "identity"):
        batch[name] = torch.from_numpy(np.stack([sample[name] for sample in samples]))
    return batch


def _shuffled(samples: Iterator[Sample], rng: Chance, buffer: int = 700) -> Iterator[Sample]:
    """Samples in an order mixed over a buffer (some 60 MB)."""
    held: list[Sample] = []
    for sample in samples:
        if len(held) < buffer:
            held.append(sample)
            continue
        position = int(rng.integers(buffer))
        held[position], sample = sample, held[position]
        yield sample
    rng.shuffle(held)
    yield from held


def _stray(places: Crops, config: CropConfig, rng: Chance) -> Crops:
    """Crops as uncertain landmarks would place them: turned, scaled and shifted a little."""
    turn, scale = rng.normal(0, JITTER_TURN), float(np.exp(rng.normal(0, JITTER_SCALE)))
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    middle = np.array([config.size, config.size]) / 2
    linear = np.array([[cos, -sin], [sin, cos]])
    shift = rng.normal(0, JITTER_SHIFT, 2) * config.size
    move = np.vstack([np.column_stack([linear, middle - linear @ middle + shift]), [0, 0, 1]])
    face = (move @ np.vstack([places.face, [0, 0, 1]]))[:2]
    eyes = places.eyes.copy()
    size = float(np.exp(rng.normal(0, JITTER_SCALE)))
    centre = np.array(config.eye_size) / 2
    for eye in eyes:
        eye *= size
        eye[:, 2] += centre * (1 - size) + rng.normal(0, EYE_JITTER, 2) * config.eye_size[0]
    return Crops(face, eyes)


def _mirrored(made: dict[str, Any]) -> dict[str, Any]:
    """The mirrored face. An eye crop of the other side looks as it is: the right eye's is mirrored already."""
    result = {name: np.ascontiguousarray(picture[::-1]) for name, picture in made.items() if "eyes" in name}
    for name in ("rgb", "normal"):
        if name in made:
            result[name] = np.ascontiguousarray(made[name][:, ::-1])
    if "normal" in result:
        result["normal"][..., 0] = 255 - result["normal"][..., 0]
    return result


def _erase(made: dict[str, Any], rng: Chance) -> None:
    """Now and then grey out a rectangle of the face, in both pictures alike."""
    if rng.random() > 0.15:
        return
    size = next(made[name] for name in ("rgb", "normal") if name in made).shape[0]
    width, height = (rng.uniform(0.08, 0.25, 2) * size).astype(int)
    x, y = int(rng.integers(size - width)), int(rng.integers(size - height))
    for name in ("rgb", "normal"):
        if name in made:
            made[name][y : y + height, x : x + width] = rng.integers(0, 256, 3)
