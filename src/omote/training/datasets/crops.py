"""Crops of stored samples, kept on disk between passes: decoding and cropping costs more than training does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from omote.capture.face_crop import CropConfig, crops, network_images
from omote.errors import FormatError, OutputError
from omote.training.datasets.contact_sheet import decode_picture
from omote.training.datasets.poses import CropPoses
from omote.training.datasets.shards import Sample, bytes_array, read_shard

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

Array = np.ndarray
_VERSION = 2  # of what is kept
_SLACK = 1e-3  # by which stored controls may leave their ranges


class StoredCrops(CropConfig, Protocol):
    """What has to be known of `omote.models.inversion.InversionConfig`."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of "rgb" and "normal"."""


class CropStore:
    """Reads samples as crops.

    They are uint8 "rgb", "normal" (S, S, 3), "eyes_rgb", "eyes_normal" (2, h, w, 3), of the modalities of the config;
    "controls" (C,), "identity" (I,) and "pose" (7,) float32 (NaN for rigs without landmarks).

    Args:
        config: crops and modalities.
        rig: of the samples.
        folder: keeps the crops of each shard that was read; None crops anew each time.
    """

    def __init__(self, config: StoredCrops, rig: Rig, folder: Path | None = None) -> None:
        from omote.rigs.surface_points import linear_points

        self.config, self.folder = config, folder
        self.low, self.high = (np.asarray(ends, np.float32) for ends in (rig.space.low, rig.space.high))
        self.identity = len(rig.identity_space)
        self.poses = None
        if rig.landmarks is not None:
            self.poses = CropPoses(linear_points(rig, rig.landmarks.apply))

    def read(self, shard: Path) -> Iterator[dict[str, Any]]:
        """The samples of a shard.

        Raises:
            FormatError: a member is missing or damaged.
            OutputError: the crops cannot be kept.
        """
        if self.folder is None:
            yield from (self.crop(sample, shard) for sample in read_shard(shard))
            return
        place = self._place(shard)
        if not place.is_dir():
            self._keep(shard, place)
        arrays = _mapped(place)
        if arrays is None:  # cut off, as by a loss of power
            rmtree(place, ignore_errors=True)
            self._keep(shard, place)
            arrays = _mapped(place) or {}
        for number in range(len(arrays["controls"])):
            yield {name: np.array(array[number]) for name, array in arrays.items()}

    def _place(self, shard: Path) -> Path:
        about = [_VERSION, str(shard.parent.resolve()), *self._crops(), *([] if self.poses else ["no poses"])]
        key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
        assert self.folder is not None  # noqa: S101 - for the type checker
        try:
            stored = shard.stat()  # rendered again: other crops
        except OSError as error:
            what = f"the shard is gone ({error.strerror})"
            raise FormatError(what, where=str(shard), remedy="Run `omote synth` again.") from None
        return (
            self.folder / f"{shard.parent.name}-{key}" / f"{shard.stem}-{stored.st_size}-{stored.st_mtime_ns}"
        )

    def _crops(self) -> list[Any]:
        config = self.config
        return [config.align, config.size, config.eye_size, sorted(config.modalities)]

    def _keep(self, shard: Path, place: Path) -> None:
        made = [self.crop(sample, shard) for sample in read_shard(shard)]
        if not made:
            raise FormatError(
                "the shard is empty", where=str(shard), remedy="Delete it and run `omote synth` again."
            )
        part = place.with_suffix(f".part-{os.getpid()}")
        try:
            part.mkdir(parents=True, exist_ok=True)
            for name in made[0]:
                np.save(part / f"{name}.npy", np.stack([sample[name] for sample in made]))
            part.replace(place)
        except OSError as error:
            rmtree(part, ignore_errors=True)
            if place.is_dir():  # another process was faster
                return
            what = f"crops cannot be kept ({error.strerror})"
            raise OutputError(
                what, where=str(self.folder), remedy="Free some space, or train without --cache."
            ) from error

    def crop(self, sample: Sample, shard: Path) -> dict[str, Any]:
        """Decode and crop one stored sample of a shard.

        Raises:
            FormatError: a member is missing, damaged, or of another shape than the rig's.
        """
        try:
            pictures = {name: decode_picture(sample, name) for name in self.config.modalities}
            controls = bytes_array(sample["controls.npy"]).astype(np.float32)
            identity = bytes_array(sample["identity.npy"]).astype(np.float32)
            landmarks = bytes_array(sample["landmarks.npy"]).astype(np.float64)
            turn = np.array(json.loads(sample["json"])["head_rotation"], np.float64)
            height, width = next(iter(pictures.values())).shape[:2]
            self._check(pictures, controls, identity, landmarks, turn)
        except (KeyError, ValueError, AttributeError, EOFError, TypeError) as error:
            reason = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
            what = f"sample {sample.get('__key__')} is damaged ({reason})"
            raise FormatError(
                what, where=str(shard), remedy="Delete the shard and run `omote synth` again."
            ) from None
        known = landmarks if np.isfinite(landmarks).all() else None
        images: dict[str, Any] = network_images(
            self.config, pictures.get("rgb"), pictures.get("normal"), known
        )
        pose = np.full(7, np.nan, np.float32)
        if known is not None and self.poses is not None:
            place = crops(self.config, known, (width, height)).face
            seen = (known @ place[:, :2].T + place[:, 2]) / self.config.size
            pose = self.poses.fit(seen, turn, controls, identity)
        return {**images, "controls": controls, "identity": identity, "pose": pose}

    def _check(
        self, pictures: dict[str, Array], controls: Array, identity: Array, landmarks: Array, turn: Array
    ) -> None:
        """Raises ValueError: what is stored is of another shape, or out of the controls' ranges."""
        shapes = {picture.shape for picture in pictures.values()}
        if len(shapes) > 1:
            raise ValueError(f"pictures of {' and '.join(f'{s[1]} x {s[0]}' for s in sorted(shapes))} px")
        count, coefficients = len(self.low), self.identity
        for name, array, shape in (
            ("controls", controls, (count,)),
            ("identity", identity, (coefficients,)),
            ("landmarks", landmarks, (478, 2)),
            ("head_rotation", turn, (3,)),
        ):
            if array.shape != shape:
                raise ValueError(f"{name} of shape {array.shape}, not {shape}")
            if name != "landmarks" and not np.isfinite(array).all():
                raise ValueError(f"{name} that are not numbers")
        if (controls < self.low - _SLACK).any() or (controls > self.high + _SLACK).any():
            raise ValueError("controls outside of their ranges")


def _mapped(place: Path) -> dict[str, Any] | None:
    """The kept crops of a shard by name, on disk; None where they are damaged."""
    try:
        found = {path.stem: np.load(path, mmap_mode="r") for path in place.glob("*.npy")}
    except (OSError, ValueError, EOFError):
        return None
    return found if len({len(array) for array in found.values()}) == 1 else None
