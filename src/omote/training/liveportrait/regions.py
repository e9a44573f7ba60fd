"""Where face, eyes, lips and shoulders are in a picture, by landmarks: what is cut out for losses, or masked.

That regions are cut by landmarks is published (arXiv 2407.03168, §3.2), how large they are is our choice. Coordinates
are -1..1 over the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from omote.rigs.contours import EYE, LIPS_OUTER

REGIONS = ("whole", "face", "lip")
_MARGIN = {"face": 1.1, "lip": 1.5, "eye": 1.6}
_LEAST = 0.1  # of a region's half side
_CHIN, _FOREHEAD = 152, 10
_SOFT = 0.04


def square(marks: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Centre (B, 2) and half side (B,) of a region.

    Args:
        marks: (B, 478, 2).
        kind: "face" or "lip".
    """
    points = marks if kind == "face" else marks[:, list(LIPS_OUTER)]
    return _around(points, _MARGIN[kind])


def _around(points: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    low, high = points.amin(1), points.amax(1)
    half = (0.5 * margin * (high - low).amax(1)).clamp_min(_LEAST)
    return (low + high) / 2, half


def cut(image: Tensor, centre: Tensor, half: Tensor, size: int) -> Tensor:
    """(B, C, size, size) a square of each picture, differentiable in it; the edge goes on outside.

    Args:
        image: (B, C, H, W).
        centre: (B, 2).
        half: (B,) half of its side.
        size: px.
    """
    zero = torch.zeros_like(half)
    rows = [torch.stack([half, zero, centre[:, 0]], 1), torch.stack([zero, half, centre[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [len(image), 3, size, size], align_corners=False)
    return F.grid_sample(image.float(), grid, padding_mode="border", align_corners=False)


def cut_regions(image: Tensor, marks: Tensor) -> dict[str, Tensor]:
    """The picture (B, 3, S, S), the face at half and the lips at a quarter of its size, by name."""
    size = image.shape[-1]
    made = {"whole": image.float()}
    for kind, share in (("face", 2), ("lip", 4)):
        made[kind] = cut(image, *square(marks, kind), size // share)
    return made


def eye_mask(marks: Tensor, size: int) -> Tensor:
    """(B, 1, size, size) 1 in the squares about both eyes."""
    squares = [_around(marks[:, list(EYE[side])], _MARGIN["eye"]) for side in "LR"]
    return torch.maximum(*(_inside(*each, size) for each in squares))


def lip_mask(marks: Tensor, size: int) -> Tensor:
    """(B, 1, size, size) 1 in the square about the lips, which reaches to the chin."""
    centre, half = square(marks, "lip")
    chin = marks[:, _CHIN, 1]
    reach = torch.maximum(half, chin - centre[:, 1])
    return _inside(centre, reach, size)


def shoulder_mask(marks: Tensor, size: int) -> Tensor:
    """(B, 1, size, size) 1 below the chin, as the head is turned in the picture; 0 above, soft between."""
    chin = marks[:, _CHIN]
    down = F.normalize(chin - marks[:, _FOREHEAD], dim=1)
    x, y = _grid(size, marks.device)
    below = (x - chin[:, 0, None, None]) * down[:, 0, None, None] + (y - chin[:, 1, None, None]) * down[
        :, 1, None, None
    ]
    return (below / _SOFT).clamp(0, 1)[:, None]


def _inside(centre: Tensor, half: Tensor, size: int) -> Tensor:
    x, y = _grid(size, centre.device)
    apart = torch.maximum((x - centre[:, 0, None, None]).abs(), (y - centre[:, 1, None, None]).abs())
    return (apart <= half[:, None, None]).float()[:, None]


def _grid(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """X and y (1, size, size) of the pixels' centres."""
    axis = (2 * torch.arange(size, device=device) + 1) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x[None], y[None]
