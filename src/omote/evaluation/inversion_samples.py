"""Held-out samples: rendered on the spot from heads that no training seed gives, or read from shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.errors import FormatError, InputError
from omote.evaluation.inversion_methods import Sample
from omote.training.datasets.contact_sheet import decode_picture
from omote.training.datasets.expressions import sample_expression
from omote.training.datasets.shards import bytes_array, check_same, complete_shards, read_info, read_shard
from omote.training.datasets.synthetic import SynthOptions, render_samples

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

Image = NDArray[np.uint8]

TEST_SEED = 2_000_003
"""Of held-out samples. With ``identities=0`` every sample has a head of its own: none is in a set of another seed."""
TRAIN_SEED = 1_000_003
"""Of the samples that stand in for a training set where none is given."""


def held_out(
    rig: Rig, recipe: str, count: int, *, size: int = 256, seed: int = TEST_SEED, normals: str = "camera"
) -> Iterator[Sample]:
    """Render samples, each of another identity, and pass the RGB through JPEG where the recipe does.

    Args:
        rig: what is rendered.
        recipe: "paper" or "wild".
        count: how many.
        size: side of the pictures, px.
        seed: other seeds give other heads, expressions and looks.
        normals: as in `SynthOptions`.
    """
    options = SynthOptions(recipe=recipe, count=count, seed=seed, size=size, normals=normals, vertices=False)
    for made in render_samples(rig, options):
        rgb = made.rgb if made.quality is None else _compressed(made.rgb, made.quality)
        yield Sample(rgb, made.normal, made.landmarks, made.expression.controls, made.identity)


def training_controls(rig: Rig, recipe: str, count: int = 4000) -> NDArray[np.float32]:
    """(count, C) controls as a recipe draws them, without pictures."""
    rows = []
    for index in range(count):
        rng = np.random.default_rng([TRAIN_SEED, index])
        rows.append(sample_expression(rig.space, recipe, index, rng).controls)
    return np.stack(rows).astype(np.float32)


def recipe_of(folder: Path) -> str:
    """The recipe of a data set.

    Raises:
        InputError: the folder holds none. FormatError: its description cannot be read.
    """
    return read_info(folder).recipe


def count_of(folder: Path) -> int:
    """How many samples a data set has when it is finished.

    Raises:
        InputError: the folder holds none. FormatError: its description cannot be read.
    """
    return read_info(folder).count


def read_samples(folders: Sequence[Path], rig: Rig, normals: str = "camera") -> Iterator[Sample]:
    """The samples of data sets, in order.

    Args:
        folders: of shards.
        rig: that they must be of.
        normals: the kind that they must hold.

    Raises:
        InputError: no data set there, none of its shards, or it is of another rig or holds other normals.
        FormatError: a shard is damaged, or lacks something.
    """
    info = check_same([Path(folder) for folder in folders])
    if info.rig != rig.name or tuple(info.controls) != tuple(rig.space.names):
        what = f"made with the rig '{info.rig}', not '{rig.name}'"
        raise InputError(what, where=folders[0], remedy="Give data of the checkpoint's rig.")
    if info.normals != normals:
        what = f"holds normals of the kind '{info.normals}', the network is for '{normals}'"
        raise InputError(what, where=folders[0], remedy="Render others: omote synth --normals.")
    for folder in folders:
        shards = complete_shards(Path(folder))
        if not shards:
            raise InputError("no finished shard", where=folder, remedy="Let `omote synth` finish.")
        for shard in shards:
            for files in read_shard(shard):
                yield _read(files, shard)


def _read(files: dict[str, Any], shard: Path) -> Sample:
    try:
        return Sample(
            decode_picture(files, "rgb"),
            decode_picture(files, "normal"),
            bytes_array(files["landmarks.npy"]),
            bytes_array(files["controls.npy"]).astype(np.float32),
            bytes_array(files["identity.npy"]).astype(np.float32),
        )
    except (KeyError, ValueError) as error:
        what = f"sample {files.get('__key__', '?')!s} is incomplete or damaged ({error})"
        raise FormatError(what, where=shard, remedy="Delete the shard and run `omote synth` again.") from None


def _compressed(rgb: Image, quality: int) -> Image:
    import cv2

    _, content = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    read: Any = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
    return np.asarray(read, np.uint8)
