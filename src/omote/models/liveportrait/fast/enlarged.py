"""Convolutions of pictures enlarged by nearest neighbours, without the products that equal pixels repeat.

Enlarged by four, a picture's cells have rows of three kinds once it has been convolved: the first, which sees the cell
above, two alike in the middle, and the last, which sees the cell below; columns likewise.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from omote.models.compiled import as_array
from omote.models.liveportrait.fast.loops import CELL_ROWS, CELL_TERMS, look_at_cells
from omote.models.packed import Activation, Conv

_CELLS = 1024  # at a time: few enough for the caches, enough for the products


class EnlargedConv:
    """A 3-tap convolution of a picture enlarged by nearest neighbours, computed on the small picture.

    Within a cell of equal pixels the taps of a kernel that fall on the same small pixel are summed beforehand: of the
    ``factor`` rows of a cell, the first sees the cell above and its own, the last its own and the one below, those
    between their own alone; columns likewise. The zeros around the picture stay where they were.

    Args:
        weight: (out, in, 3, 3) or, with a depth that is not enlarged, (out, in, 3, 3, 3).
        bias: (out,).
        factor: 2 or more.
        dtype: see `Conv`.
        activation: see `Conv`.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, factor: int, dtype: torch.dtype, activation: Activation
    ) -> None:
        self.factor, self.out_channels, deep = factor, len(weight), weight.ndim == 5
        parts = ["first", "last"] if factor == 2 else ["first", "middle", "last"]
        self._convs: list[tuple[str, str, Conv]] = []
        for row in parts:
            for column in parts:
                merged = _merged(_merged(weight, -2, row), -1, column)
                padding = [(weight.shape[2] // 2,) * 2] if deep else []
                padding += [_sides(row), _sides(column)]
                conv = Conv(merged, bias, dtype, padding=padding, activation=activation)
                self._convs.append((row, column, conv))

    def parts(self, x: Tensor) -> Tensor:
        """(B, 3, 3, H, W, out) of (B, in, H, W), enlarged by 3 or more: by the kind of row and column in a cell."""
        made = torch.empty(len(x), len(self._convs), *x.shape[-2:], self.out_channels, dtype=x.dtype)
        for number, (_, _, conv) in enumerate(self._convs):
            made[:, number] = conv(x).movedim(1, -1)
        return made.unflatten(1, (3, 3))

    def __call__(self, x: Tensor) -> Tensor:
        """(B, out, ..., factor H, factor W), channels last, of the small picture (B, in, ..., H, W)."""
        *before, height, width = (len(x), *x.shape[2:])
        size = (*before, height, self.factor, width, self.factor, self.out_channels)
        made = torch.empty(size, dtype=x.dtype)
        for row, column, conv in self._convs:
            some = conv(x).movedim(1, -1)[..., :, None, :, None, :]
            made[..., :, _span(row, self.factor), :, _span(column, self.factor), :] = some
        return made.flatten(-3, -2).flatten(-4, -3).movedim(-1, 1)


class CellConv:
    """A convolution of 3 x 3 taps over a picture whose cells of 4 x 4 pixels have three kinds of rows and columns.

    Along an axis let F, M, M, L be a cell's rows, L' the last of the cell before and F' the first of that behind. With
    taps a, b, c its four results are, from two products each,

        1: p = a F + (b + c) M        0: p + a (L' - F) + b (F - M)
        2: q = (a + b) M + c L        3: q + b (L - M) + c (F' - L)

    instead of three each: along two axes 64 products for a cell, not 144. The products are kept in the order p, q,
    what 0 adds to p, what 3 adds to q; `omote.models.liveportrait.fast.loops.modulate_cells` adds them up.

    Args:
        weight: (out, in, 3, 3).
        bias: (out,); kept as ``bias`` in float32.
        dtype: of weights and activations.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        taps = weight.detach().permute(2, 3, 1, 0)  # (3, 3, in, out)
        made = [torch.stack(columns, 1) for rows in _taps(taps, 0) for columns in _taps(torch.stack(rows), 1)]
        self._weight = torch.stack(made).flatten(1, 3).to(dtype)  # (16, 4 in, out)
        self._inputs = weight.shape[1]
        self.bias = bias.detach().float()

    def __call__(self, parts: Tensor, first: int) -> Iterator[tuple[int, Tensor]]:
        """Some rows of cells after others: the first, and the products (4, 4, rows, W, out), along rows, columns.

        Args:
            parts: (3, 3, H, W, all) of `EnlargedConv.parts`, of one picture.
            first: of the channels that are this convolution's.
        """
        height, width = parts.shape[2:4]
        rows = max(1, _CELLS // width)
        for top in range(0, height, rows):
            size = (4, 4, min(rows, height - top), width, 4 * self._inputs)
            seen = torch.empty(size, dtype=parts.dtype)
            look_at_cells(as_array(parts), first, top, CELL_ROWS, CELL_TERMS, as_array(seen))
            made = torch.bmm(seen.flatten(2, 3).flatten(0, 1), self._weight)
            yield top, made.view(*size[:4], -1)


def _taps(weight: Tensor, axis: int) -> list[tuple[Tensor, Tensor]]:
    a, b, c = weight.unbind(axis)
    return [(a, b + c), (a + b, c), (a, b), (b, c)]


def _merged(weight: Tensor, axis: int, part: str) -> Tensor:
    a, b, c = weight.unbind(axis)
    taps = {"first": [a, b + c], "middle": [a + b + c], "last": [a + b, c]}[part]
    return torch.stack(taps, axis)


def _sides(part: str) -> tuple[int, int]:
    """Zeros before and after: of the cell above (or left) only the first row sees something."""
    return {"first": (1, 0), "middle": (0, 0), "last": (0, 1)}[part]


def _span(part: str, factor: int) -> slice:
    return {"first": slice(0, 1), "middle": slice(1, factor - 1), "last": slice(factor - 1, factor)}[part]
