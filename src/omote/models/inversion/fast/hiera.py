"""A Hiera of `transformers` arranged for a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from omote.models.products import Product


class _Seen:
    """What the caller reads of a `transformers` model's output."""

    def __init__(self, tokens: Tensor, pooled: Tensor) -> None:
        self.last_hidden_state, self.pooler_output = tokens, pooled


class FastHiera(nn.Module):
    """A Hiera without masking, (B, 3, S, S) to (B, F)."""

    positions: Tensor

    def __init__(self, hiera: Any) -> None:
        super().__init__()
        self.projection: nn.Module = hiera.embeddings.patch_embeddings.projection
        self.pooler: nn.Module = hiera.pooler.layernorm
        self.pools = len(hiera.unroll_schedule)
        place = hiera.embeddings.position_embeddings.detach()
        side = round(place.shape[1] ** 0.5)
        self.register_buffer("positions", self._unroll(place.unflatten(1, (side, side))))
        self.layers = nn.ModuleList(_Layer(layer) for stage in hiera.encoder.stages for layer in stage.layers)

    def forward(self, image: Tensor) -> _Seen:
        """(B, F) features, where the model of `transformers` has them."""
        tokens = self._unroll(
            self.projection(image.to(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        )
        tokens += self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        return _Seen(tokens, self.pooler(tokens.mean(1)))

    def _unroll(self, grid: Tensor) -> Tensor:
        """(B, h, w, D) to (B, h w, D): the four tokens of each successive pooling lie as far apart as possible."""
        batch, height, width, depth = grid.shape
        n = self.pools
        small = 2**n
        split = grid.reshape(batch, height // small, *[2] * n, width // small, *[2] * n, depth)
        # Axes: batch, rows of windows, n halves of rows, columns of windows, n halves of columns, depth. The last half
        # of each (odd and even) is pooled first.
        pairs = [axis for k in range(n) for axis in (1 + n - k, 2 + 2 * n - k)]
        return split.permute(0, *pairs, 1, 2 + n, 3 + 2 * n).reshape(batch, height * width, depth)


class _Layer(nn.Module):
    """One block: attention over windows or over all, pooling queries where the stage begins; then the MLP."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention = layer.attn
        self.before, self.after = layer.layernorm_before, layer.layernorm_after
        self.stride, self.heads = attention.query_stride, attention.num_heads
        self.window = self.stride * attention.window_size if attention.use_mask_unit_attn else 0
        weights = attention.qkv.weight.detach().chunk(3)
        biases = attention.qkv.bias.detach().chunk(3)
        dtype = attention.qkv.weight.dtype
        self.inward = [Product(w, b, dtype) for w, b in zip(weights, biases, strict=True)]
        self.mix, self.up, self.down = (
            Product(linear.weight, linear.bias, dtype)
            for linear in (attention.proj, layer.mlp.fc1, layer.mlp.fc2)
        )
        wider = layer.hidden_size != layer.hidden_size_output
        self.widen = Product(layer.proj.weight, layer.proj.bias, dtype) if wider else None

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, D) to (B, N / stride, D')."""
        batch, count, _ = tokens.shape
        normed = self.before(tokens)
        query, key, value = (part.alone(normed) for part in self.inward)
        if self.widen is not None:
            tokens = self.widen.alone(normed).unflatten(1, (self.stride, -1)).amax(1)
        if self.stride > 1:
            query = query.unflatten(1, (self.stride, -1)).amax(1)
        windows = count // self.window if self.window else 1
        # Tokens of one window lie `windows` apart, so (token, window, head) is the order in memory.
        q, k, v = (
            t.reshape(batch, -1, windows * self.heads, t.shape[-1] // self.heads).transpose(1, 2)
            for t in (query, key, value)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(query.shape)
        tokens = self.mix.plus(mixed, tokens)
        return self.down.plus(self.up.gelu(self.after(tokens)), tokens)
