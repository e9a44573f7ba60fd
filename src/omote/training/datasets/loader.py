"""Stored samples to what the inversion network is trained on: crops, controls, identity, pose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from omote.capture.face_crop import warp, warp_normals
from omote.controls import ControlSpace
from omote.errors import InputError
from omote.training.datasets.crops import CropStore
from omote.training.datasets.poses import mirrored_pose, strayed_pose
from omote.training.datasets.shards import DatasetInfo, check_same, complete_shards

Array = np.ndarray
Chance = np.random.Generator
JITTER_TURN, JITTER_SCALE, JITTER_SHIFT = 0.017, 0.034, 0.008
"""How far crops stray in training: radians, share of the size, share of the width (standard deviations).

As far as those of detected landmarks lie from those of the true ones, on 512 samples of the recipe wild.
"""
EYE_SCALE, EYE_SHIFT = 0.034, 0.023
"""The same for crops of an eye: share of the size, share of the width."""
_MARGIN = 5  # pixels, most, of an eye crop that are lost at each side
_ABREAST = 24
Sample = dict[str, Any]


class InversionData(IterableDataset[dict[str, Any]]):
    """Samples of one or several data sets, in a new order each time it is iterated.

    Yields dictionaries of uint8 crops ("rgb", "normal" (S, S, 3), "eyes_rgb", "eyes_normal" (2, h, w, 3), for the
    modalities of the config), "controls" (C,), "identity" (I,) and "pose" (7,) float32. `collate` makes a batch of
    them. Shards are listed anew at each iteration: data may still be growing.

    Args:
        folders: data sets of one rig; in each epoch all of their samples are seen once.
        store: where their crops come from.
        split: "train" leaves out the last ``held_out`` samples of each folder, "validation" is those, "all" is all.
        held_out: share of the samples of a folder for validation, 0 to 0.5.
        augment: crops that stray, mirrored faces.
        space: controls of the rig, to mirror them; identity_mirror (I,) +1/-1 likewise. None: no mirroring.
        seed: of order and augmentation; ``epoch`` (set it before each iteration) varies them.

    Raises:
        InputError: no data, or data of different rigs; FormatError (while iterating): a damaged shard.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        store: CropStore,
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
        self.store, self.split, self.held_out, self.augment = store, split, held_out, augment
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
            shards = _interleaved(shards, np.random.default_rng([self.seed, self.epoch, 1 << 20]))
        mine = shards[number::workers]
        for sample in self._mixed(mine, rng) if self.split == "train" else self._in_order(mine):
            yield self._varied(sample, rng) if self.augment else sample

    def _in_order(self, shards: Sequence[Path]) -> Iterator[Sample]:
        for shard in shards:
            alone = self.split != "all" and len(complete_shards(shard.parent)) == 1
            for position, sample in enumerate(self.store.read(shard)):
                held = position % 10 == 9
                if not alone or held == (self.split == "validation"):
                    yield sample

    def _mixed(self, shards: Sequence[Path], rng: Chance) -> Iterator[Sample]:
        """Samples of several shards at a time, drawn from them at random: shards differ by recipe."""
        waiting = iter(shards)
        opened = [self._in_order([shard]) for shard in islice(waiting, _ABREAST)]
        while opened:
            position = int(rng.integers(len(opened)))
            sample = next(opened[position], None)
            if sample is not None:
                yield sample
                continue
            following = next(waiting, None)
            if following is None:
                opened.pop(position)
            else:
                opened[position] = self._in_order([following])

    def _varied(self, sample: Sample, rng: Chance) -> Sample:
        """The sample as uncertain landmarks would crop it, perhaps mirrored."""
        made = dict(stray(sample, rng))
        eyes = [f"eyes_{name}" for name in _FITS if f"eyes_{name}" in made]
        if eyes:
            strayed = stray_eyes(np.concatenate([made[name] for name in eyes], -1), rng)
            made |= dict(zip(eyes, np.split(strayed, len(eyes), -1), strict=True))
        if self.space is not None and rng.random() < 0.5:
            made = _mirrored(made)
            made["controls"] = self.space.mirror(made["controls"]).astype(np.float32)
            if self.identity_mirror is not None:
                made["identity"] = made["identity"] * self.identity_mirror.astype(np.float32)
        return made


def _interleaved(shards: Sequence[Path], rng: Chance) -> list[Path]:
    """Shards in a random order in which each folder has its share of any stretch."""
    places: dict[Path, float] = {}
    for folder in dict.fromkeys(shard.parent for shard in shards):
        own = [shard for shard in shards if shard.parent == folder]
        order = rng.permutation(len(own))
        places |= {own[k]: (i + rng.random()) / len(own) for i, k in enumerate(order)}
    return sorted(places, key=lambda shard: places[shard])


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch for the network: pictures as of `omote.capture.face_crop.to_tensors`, controls, identity, pose."""
    import torch

    from omote.capture.face_crop import to_tensors

    batch: dict[str, Any] = to_tensors(samples)
    for name in ("controls", "identity", "pose"):
        batch[name] = torch.from_numpy(np.stack([sample[name] for sample in samples]))
    return batch


def stray(made: Sample, rng: Chance) -> Sample:
    """A sample whose face is turned, scaled and shifted a little in its crop; a quarter of them stay as they are."""
    if rng.random() < 0.25:
        return made
    turn, scale = rng.normal(0, JITTER_TURN), float(np.exp(rng.normal(0, JITTER_SCALE)))
    shift = rng.normal(0, JITTER_SHIFT, 2)
    moved = {name: _moved(made[name], scale, turn, shift, fit) for name, fit in _FITS.items() if name in made}
    return {**made, **moved, "pose": strayed_pose(made["pose"], scale, turn, shift)}


def stray_eyes(eyes: Array, rng: Chance) -> Array:
    """Crops of both eyes (2, h, w, 3 N) uint8 scaled and shifted a little; a quarter of them stay as they are.

    Each loses pixels at random at its sides, so that the lost ones do not tell how far it was shifted.
    """
    import cv2

    if rng.random() < 0.25:
        return eyes
    scale, (height, width) = float(np.exp(rng.normal(0, EYE_SCALE))), eyes.shape[1:3]
    made = np.empty_like(eyes)
    for eye, out in zip(eyes, made, strict=True):
        left, top, right, bottom = rng.integers(0, _MARGIN, 4)
        middle = np.array([width / 2, height / 2])
        place = (
            middle + rng.normal(0, EYE_SHIFT, 2) * width - scale * (middle - (left, top)) + 0.5 * (scale - 1)
        )
        matrix = np.array([[scale, 0, place[0]], [0, scale, place[1]]])
        for first in range(0, eyes.shape[-1], 3):  # cv2 takes four channels at most
            part = np.ascontiguousarray(eye[top : height - bottom, left : width - right, first : first + 3])
            out[..., first : first + 3] = cv2.warpAffine(
                part, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
    return made


_FITS = {"rgb": warp, "normal": warp_normals}


def _moved(picture: Array, scale: float, turn: float, shift: Array, fit: Any) -> Array:
    """A picture (h, w, 3) turned and scaled about its middle, then shifted by shares of its width."""
    height, width = picture.shape[:2]
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    linear, middle = np.array([[cos, -sin], [sin, cos]]), np.array([width, height]) / 2
    matrix = np.column_stack([linear, middle - linear @ middle + shift * width])
    moved: Array = fit(picture, matrix, (width, height))
    return moved


def _mirrored(made: Sample) -> Sample:
    """The mirrored face. An eye crop of the other side looks as it is: the right eye's is mirrored already."""
    result = {**made, "pose": mirrored_pose(made["pose"])}
    result |= {name: np.ascontiguousarray(picture[::-1]) for name, picture in made.items() if "eyes" in name}
    for name in ("rgb", "normal"):
        if name in made:
            result[name] = np.ascontiguousarray(made[name][:, ::-1])
    if "normal" in result:
        result["normal"][..., 0] = 255 - result["normal"][..., 0]
    return result
