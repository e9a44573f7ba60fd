"""Convolutions of pictures enlarged by nearest neighbours, without the products that equal pixels repeat.

Enlarged by four, a picture's cells have rows of three kinds once it has been convolved: the first, which sees the cell
above, two alike in the middle, and the last, which sees the cell below; columns likewise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omote.models.compiled import as_array
from omote.models.liveportrait.fast.loops import CELL_ROWS, CELL_TERMS, look_at_cells, spread
from omote.models.packed import Activation, Conv
from omote.models.products import Products
from omote.models.quantised import PLAIN, ByteConv, ByteProducts, Range, Stage, coded_tensor

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
        stage: of a network that may multiply bytes.
        range: of the small picture, where other layers look at it, too.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        factor: int,
        dtype: torch.dtype,
        activation: Activation,
        stage: Stage | None = None,
        range: Range | None = None,
    ) -> None:
        self.factor, self.out_channels, deep = factor, len(weight), weight.ndim == 5
        self._range, self._stage = range or Range(), stage
        parts = ["first", "last"] if factor == 2 else ["first", "middle", "last"]
        self._convs: list[tuple[str, str, Conv | ByteConv]] = []
        for row in parts:
            for column in parts:
                merged = _merged(_merged(weight, -2, row), -1, column)
                padding = [(weight.shape[2] // 2,) * 2] if deep else []
                padding += [_sides(row), _sides(column)]
                conv: Conv | ByteConv = Conv(merged, bias, dtype, padding=padding, activation=activation)
                if stage is not None:
                    relu = activation == "relu"
                    conv = ByteConv(
                        merged, bias, conv, stage, dtype=dtype, padding=padding, relu=relu, range=self._range
                    )
                self._convs.append((row, column, conv))

    def give_to(self, ranges: Sequence[Range]) -> None:
        """See `ByteConv.give_to`."""
        for _, _, conv in self._convs:
            if isinstance(conv, ByteConv):
                conv.give_to(ranges)

    def _results(self, x: Tensor) -> Iterator[tuple[str, str, Tensor]]:
        """Of each kind of row and column what its convolution gives, channels last."""
        if self._stage is not None and self._stage.now == "bytes":
            x = coded_tensor(x, self._range)
        for row, column, conv in self._convs:
            yield row, column, conv(x).movedim(1, -1)

    def parts(self, x: Tensor) -> Tensor:
        """(B, 3, 3, H, W, out) of (B, in, H, W), enlarged by 3 or more: by the kind of row and column in a cell."""
        return torch.stack([some for _, _, some in self._results(x)], 1).unflatten(1, (3, 3))

    def __call__(self, x: Tensor) -> Tensor:
        """(B, out, ..., factor H, factor W), channels last, of the small picture (B, in, ..., H, W)."""
        *before, height, width = (len(x), *x.shape[2:])
        size = (*before, self.factor * height, self.factor * width, self.out_channels)
        made: Tensor | None = None
        for row, column, some in self._results(x):
            made = torch.empty(size, dtype=some.dtype) if made is None else made
            self._spread(row, column, some, PLAIN, made)
        assert made is not None  # noqa: S101 - there are convolutions
        return made.movedim(-1, 1)

    def write(self, x: Tensor, code: NDArray[np.float32], made: Tensor) -> None:
        """The same into the first channels of (B, ..., factor H, factor W, out or more); in that code, if of bytes."""
        for row, column, some in self._results(x):
            self._spread(row, column, some, code, made)

    def _spread(self, row: str, column: str, some: Tensor, code: NDArray[np.float32], made: Tensor) -> None:
        spans = (np.array(_span(part, self.factor)) for part in (row, column))
        flat = (as_array(volume.flatten(0, -4)) for volume in (some.contiguous(), made))
        spread(next(flat), *spans, self.factor, code, next(flat))


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
        stage: of a network that may multiply bytes, whose products are bfloat16; ``range`` is that of the picture.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, stage: Stage | None = None) -> None:
        taps = weight.detach().permute(2, 3, 1, 0)  # (3, 3, in, out)
        made = [torch.stack(columns, 1) for rows in _taps(taps, 0) for columns in _taps(torch.stack(rows), 1)]
        weights = torch.stack(made).flatten(1, 3)  # (16, 4 in, out)
        self._products, self._stage, self.range = Products(weights, dtype), stage, Range()
        if stage is not None:
            self._coded = ByteProducts(weights, torch.bfloat16, [Range() for _ in weights])
        self._inputs = weight.shape[1]
        self.bias = bias.detach().float()

    def __call__(self, parts: Tensor, first: int) -> Iterator[tuple[int, list[Tensor]]]:
        """Some rows of cells after others: the first, and the 4 x 4 products (rows W, out), along rows, columns.

        Args:
            parts: (3, 3, H, W, all) of `EnlargedConv.parts`, of one picture.
            first: of the channels that are this convolution's.
        """
        height, width = parts.shape[2:4]
        rows = max(1, _CELLS // width)
        now = "full" if self._stage is None else self._stage.now
        codes = np.stack([PLAIN] * 16)
        if now == "bytes":
            # Parts come in steps of `range`.
            codes = np.stack([each.code for each in self._coded.ranges])
            codes[:, 0] *= self.range.step
        elif now == "watch":
            self.range.see(parts[..., first : first + self._inputs])
        for top in range(0, height, rows):
            size = (4, 4, min(rows, height - top), width, 4 * self._inputs)
            seen = torch.empty(size, dtype=parts.dtype)
            inputs = (as_array(parts), first, top, CELL_ROWS, CELL_TERMS, codes.reshape(4, 4, 2))
            look_at_cells(*inputs, as_array(seen))
            flat = seen.flatten(2, 3).flatten(0, 1)
            if now == "bytes":
                made = self._coded(flat)
            else:
                made = self._products(flat)
            if now == "watch":
                for each, one in zip(self._coded.ranges, flat, strict=True):
                    each.see(one)
            yield top, made


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


def _span(part: str, factor: int) -> tuple[int, int]:
    return {"first": (0, 1), "middle": (1, factor - 1), "last": (factor - 1, factor)}[part]
