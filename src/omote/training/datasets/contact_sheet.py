"""A picture of a data set: samples with their normals, to look at before training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from omote.render.sheets import tile
from omote.training.datasets.shards import Sample, complete_shards, read_info, read_shard

ROWS, COLUMNS = 6, 4


def decode_picture(sample: Sample, name: str) -> np.ndarray:
    """(S, S, 3) uint8 RGB of a sample's member "rgb" or "normal", stored as JPEG or PNG."""
    import cv2

    content = sample.get(f"{name}.png") or sample.get(f"{name}.jpg")
    if not content:
        raise KeyError(f"{name}.png or {name}.jpg")
    picture: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise ValueError(f"{name} cannot be decoded")
    return np.asarray(picture)


def dataset_sheet(folder: Path, size: int = 160) -> np.ndarray:
    """A contact sheet of the first samples: picture and normals side by side, with the strongest control.

    Args:
        folder: a data set with at least one shard.
        size: height of each picture, px.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    from omote.training.datasets.shards import bytes_array

    info = read_info(folder)
    cells: list[tuple[str, str, np.ndarray]] = []
    for shard in complete_shards(folder)[:1]:
        for sample in read_shard(shard):
            pictures = [
                cv2.resize(decode_picture(sample, name), (size, size), interpolation=cv2.INTER_AREA)
                for name in ("rgb", "normal")
            ]
            controls = np.abs(bytes_array(sample["controls.npy"]))
            strongest = int(controls.argmax())
            active = int((controls > 0.05).sum())
            caption = f"{info.controls[strongest]} {controls[strongest]:.2f}" if active else "neutral"
            # Two cells make one sample; the second carries what else acts.
            cells.append((caption, "", pictures[0]))
            cells.append((f"+ {active - 1} more" if active > 1 else "", "", pictures[1]))
            if len(cells) == 2 * ROWS * COLUMNS:
                break
    return tile(cells, 2 * COLUMNS, size)
