"""Hair, neck, shoulders and background: a smooth warp of the photo that follows the heads and fades to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from omote.drive.puppet.binding import Bound, layout, ramp
from omote.errors import InputError

Array = NDArray[np.float32]

_NODES = 56
"""Grid nodes along the photo's longer side."""
_MARGIN = 0.25
"""Of the photo's size, by which the grid reaches over each border: what moves in from there."""
_ANCHORS = 200
_REACH = 0.7
"""Head heights over which the motion fades to nothing, at least."""
_STEEPEST = 0.55
"""Largest change of displacement by distance; above 1 the picture would fold."""
_BODY = 6.0
"""Distances below the mouth count up to this many times: shoulders stay, the neck bends."""
_HAIR = 0.3
"""Head heights outside the head's surface at which things move with the head's middle and no longer with the skin."""
_FEWEST = 20
_STRETCH = 0.3
"""How evenly the picture is stretched between a head and a border it leaves: 1 evenly, 0 all at the border."""
_ROUNDS, _DAMPING = 14, 0.45
"""Of the inversion: damped, because next to a pinned border the picture is stretched several times."""


@dataclass(frozen=True)
class Influence:
    """How one head moves the grid.

    Attributes:
        anchors: (A,) vertices, visible and spread over the head.
        skull: (K,) vertices all around the head, front and back.
        weight: (N, A) of each node's displacement over the anchors', rows sum to 1.
        nodes: (N, 2) px of the grid.
        hair: (N,) 0 on the head's surface, 1 well outside.
        distance: (N,) px from the nearest vertex of the head that the photo shows.
        below: (N,) 0 beside the head, 1 below it.
        height: px of the head.
    """

    anchors: NDArray[np.int64]
    skull: NDArray[np.int64]
    weight: Array
    nodes: Array
    hair: Array
    distance: Array
    below: Array
    height: float


@dataclass(frozen=True)
class Grid:
    """Nodes of the warp over a photo.

    Attributes:
        size: (w, h) px of the photo.
        shape: (rows, columns) of nodes.
        origin, step: px of node (0, 0), and between nodes.
        influences: one a head.
    """

    size: tuple[int, int]
    shape: tuple[int, int]
    origin: tuple[float, float]
    step: float
    influences: tuple[Influence, ...]

    @classmethod
    def around(cls, heads: Sequence[Bound], size: tuple[int, int]) -> Grid:
        """The grid of a photo with these heads."""
        width, height = size
        step = max(width, height) / _NODES
        margin = np.ceil(_MARGIN * max(size) / step)
        columns, rows = (int(np.ceil(n / step) + 2 * margin + 1) for n in size)
        origin = (-margin * step, -margin * step)
        x, y = np.meshgrid(origin[0] + step * np.arange(columns), origin[1] + step * np.arange(rows))
        nodes = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
        return cls(
            size, (rows, columns), origin, float(step), tuple(_influence(head, nodes) for head in heads)
        )

    def backward(self, screens: Sequence[Array], posed: Sequence[Array]) -> Array:
        """Where each pixel of a frame comes from.

        Args:
            screens: for each head the (V, 2) px of its vertices in the photo.
            posed: and in the frame.

        Returns:
            (2, h, w) px of the photo: x and y for each pixel centre, in OpenCV's convention (centre of the first is 0).
        """
        forward = np.zeros((*self.shape, 2), np.float32)
        for influence, screen, now in zip(self.influences, screens, posed, strict=True):
            forward += self._displacement(influence, screen, now)
        columns, rows = np.meshgrid(
            np.arange(self.shape[1], dtype=np.float32), np.arange(self.shape[0], dtype=np.float32)
        )
        steps = forward / np.float32(self.step)
        backward = -steps
        for _ in range(_ROUNDS):  # of x = y + d(y): y = x + b with b = -d(x + b)
            there = cv2.remap(
                steps,
                columns + backward[..., 0],
                rows + backward[..., 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            backward -= np.float32(_DAMPING) * (backward + there)
        return self._to_pixels(backward * np.float32(self.step))

    def _displacement(self, influence: Influence, screen: Array, posed: Array) -> Array:
        """(rows, columns, 2) px of the nodes, from photo to frame."""
        surface = posed[influence.anchors] - screen[influence.anchors]
        followed = influence.weight @ surface
        # Hair's outline is not a line on the skin: as a head turns other hair takes its place, and it moves as the
        # middle of the head does.
        middle = (
            _similarity(screen[influence.skull], posed[influence.skull], influence.nodes) - influence.nodes
        )
        followed += influence.hair[:, None] * (middle - followed)
        largest = max(float(np.sqrt((surface**2).sum(1)).max()), 1e-3)
        # smoothstep rises 1.5 times as steeply in its middle as on the whole
        least = 1.5 * largest / _STEEPEST
        reach = max(_REACH * influence.height, least)
        faster = 1 + (min(_BODY, reach / least) - 1) * influence.below
        share = np.clip(1 - influence.distance * faster / reach, 0, 1)
        fade = share * share * (3 - 2 * share)
        moved = self._pinned(influence, (followed * fade[:, None]).astype(np.float32))
        return moved.reshape(*self.shape, 2)

    def _pinned(self, influence: Influence, moved: Array) -> Array:
        """(N, 2) displacements that pull nothing in over the photo's borders: it is stretched there instead."""
        room = np.where(moved < 0, np.array(self.size, np.float32) - influence.nodes, influence.nodes)
        room = np.maximum(room, 0)
        out: Array = moved * (room / np.maximum(room + _STRETCH * influence.distance[:, None], 1e-3))
        return out

    def _to_pixels(self, offset: Array) -> Array:
        """Offsets of the nodes to source positions of the pixels."""
        width, height = self.size
        scale = 1 / self.step
        # pixel centre x + 0.5 lies at grid column (x + 0.5 - origin) / step
        matrix = np.array(
            [[scale, 0, (0.5 - self.origin[0]) * scale], [0, scale, (0.5 - self.origin[1]) * scale]]
        )
        dense = cv2.warpAffine(
            offset, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        out = np.empty((2, height, width), np.float32)
        np.add(dense[..., 0], np.arange(width, dtype=np.float32), out=out[0])
        np.add(dense[..., 1], np.arange(height, dtype=np.float32)[:, None], out=out[1])
        return out


def _influence(head: Bound, nodes: Array) -> Influence:
    from scipy.spatial import cKDTree

    table = layout()
    usable = np.flatnonzero((head.seen > 0.3) & (table.on_head > 0.3) & (table.vertex_part == 0))
    if len(usable) < _FEWEST:
        raise InputError(
            "almost nothing of the face can be seen", remedy="Choose a photo that shows more of it."
        )
    points = head.screen[usable]
    height = float(np.ptp(points[:, 1]))
    chosen = _spread(points, _ANCHORS)
    anchors, places = usable[chosen], points[chosen]
    raw, _ = cKDTree(points).query(nodes)
    mouth = float(head.landmarks[[13, 14], 1].mean())
    chin = float(head.landmarks[152, 1])
    below = ramp(nodes[:, 1], mouth, chin + 0.1 * height)
    squared = ((nodes[:, None] - places[None]) ** 2).sum(2)
    weight = (1 / (squared + (0.03 * height) ** 2)) ** 2
    weight /= weight.sum(1, keepdims=True)
    skull = np.flatnonzero((table.on_head > 0.9) & (table.vertex_part == 0))
    hair = ramp(raw, 0.0, _HAIR * height)
    return Influence(
        anchors, skull, weight.astype(np.float32), nodes, hair, raw.astype(np.float32), below, height
    )


def _similarity(source: Array, target: Array, points: Array) -> Array:
    """Points (N, 2) moved by the rotation, scale and shift that bring sources (K, 2) nearest to targets (K, 2)."""
    p, q, moved = (a[:, 0] + 1j * a[:, 1] for a in (source, target, points))
    p0, q0 = p.mean(), q.mean()
    turn = (np.conj(p - p0) * (q - q0)).sum() / max(float((np.abs(p - p0) ** 2).sum()), 1e-9)
    moved = turn * (moved - p0) + q0
    out: Array = np.stack([moved.real, moved.imag], 1).astype(np.float32)
    return out


def _spread(points: Array, count: int) -> NDArray[np.int64]:
    """Indices of up to ``count`` points that lie far from each other."""
    count = min(count, len(points))
    chosen = np.zeros(count, np.int64)
    nearest = np.full(len(points), np.inf)
    for k in range(1, count):
        nearest = np.minimum(nearest, ((points - points[chosen[k - 1]]) ** 2).sum(1))
        chosen[k] = int(nearest.argmax())
    return chosen
