"""Whether a picture is a normal map of the face that is in it, in the convention that networks were trained on."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError
from omote.geometry.alignment import align

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]

_UNIT_LENGTH = 0.1
"""How far the median vector may be from unit length: 8 bits, blur and JPEG leave 0.03, a colour curve makes it 0.16."""
_FLAT = 0.12
"""Standard deviation of x and y across a face below which the map shows none; faces have 0.24 or more."""
_ALIKE = 0.75
"""Median cosine with what is expected below which a map belongs to something else: those of held-out samples of the
recipe wild have 0.83 or more, those of other axes or another place mostly 0.7 or less."""
_AGAINST = -0.3
"""Correlation of a component with what it should be below which it points the other way."""
_FACING = 0.3
"""Component towards the camera above which a place of the head counts as seen."""
_REMEDY = "Encode camera-space normals as (n + 1) / 2 * 255: x right, y up, z to the viewer."


def check_normals(normals: Pixels, landmarks: NDArray[np.float32]) -> None:
    """Refuse what is not a normal map where the face is; what lies around it may have any colour.

    Args:
        normals: (H, W, 3).
        landmarks: (478, 3) px, z as MediaPipe has it, or (478, 2) of a face that looks at the camera.

    Raises:
        InputError: vectors that are not of unit length, that point another way than those of a face do, or show none.
    """
    height, width = normals.shape[:2]
    # Within the outline of the face, whose corners show what lies behind it.
    (left, top), (right, bottom) = (np.quantile(landmarks[:, :2], share, 0) for share in (0.1, 0.9))
    rows, columns = (
        slice(int(np.clip(first, 0, most - 1)), int(np.clip(last, 0, most - 1)) + 1)
        for first, last, most in ((top, bottom, height), (left, right, width))
    )
    vectors = normals[rows, columns].astype(np.float32) / 127.5 - 1
    away = np.abs(np.linalg.norm(vectors, axis=-1) - 1)
    if float(np.median(away)) > _UNIT_LENGTH:
        raise _refused(
            "this is not a normal map: its vectors are not of unit length, or went through a colour curve"
        )
    red, _, blue = (float(np.median(vectors[..., axis])) for axis in range(3))
    if blue < 0.3 < red:
        raise _refused("the normal map has red and blue swapped")
    if blue < -0.3:
        raise _refused("the normal map's z points away from the viewer")
    column, row = (
        np.clip(np.rint(landmarks[:, axis]), 0, most - 1).astype(int)
        for axis, most in ((0, width), (1, height))
    )
    seen = normals[row, column].astype(np.float64) / 127.5 - 1
    expected = _expected(landmarks)
    facing = expected[:, 2] > _FACING
    for axis, name in ((0, "x"), (1, "y")):
        both = np.stack([seen[facing, axis], expected[facing, axis]])
        if both.std(1).min() > 0 and np.corrcoef(both)[0, 1] < _AGAINST:
            raise _refused(f"the normal map's {name} points the other way")
    if seen[facing, :2].std(0).max() < _FLAT:
        raise _refused("the normal map is flat where the face is")
    length = np.maximum(np.linalg.norm(seen, axis=1), 1e-6)
    if float(np.median((seen * expected).sum(1)[facing] / length[facing])) < _ALIKE:
        raise _refused(
            "the normal map does not fit the face: it has other axes, or is of another view or place"
        )


def _refused(what: str) -> InputError:
    return InputError(what, where="normals", remedy=_REMEDY)


def _expected(landmarks: NDArray[np.float32]) -> Array:
    """(478, 3) normals of the average head, turned as the landmarks are."""
    places, normals = _average()
    if landmarks.shape[1] < 3:
        return normals
    turned: Array = normals @ align(places, landmarks * (1, -1, -1)).rotation.T
    return turned


@cache
def _average() -> tuple[Array, Array]:
    """(478, 3) landmarks of the embedded rig's average head, and the normals there."""
    import torch

    from omote.geometry.meshes import vertex_normals
    from omote.rigs.facs import load_rig

    rig = load_rig()
    rest = torch.from_numpy(rig.space.neutral[None].copy())
    head = rig(rest, torch.zeros(1, len(rig.identity_space)))[0].numpy().astype(np.float64)
    normals = rig.landmarks.apply(vertex_normals(head, rig.faces.numpy(), rig.weld.numpy()))
    return rig.landmarks.apply(head), normals / np.linalg.norm(normals, axis=1, keepdims=True)
