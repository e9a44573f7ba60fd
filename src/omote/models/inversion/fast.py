"""The inversion network for use on a CPU: the same weights and formulas, arranged for speed.

Against `InversionNet` with the blocks of `transformers` (the plain reference, which the tests compare with):
weights and activations are bfloat16 throughout where the processor multiplies it (autocast would convert
back and forth); queries, keys and values come from separate products, so that the windows of an attention count as
heads and nothing is copied between products; the largest of pooled values is found by ``amax`` (``max`` also
finds where it was, slowly); products are fused with the activation or the sum that follows; a picture's tokens are put
into Hiera's order together with their position embeddings.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from omote.models.inversion.mesh import MeshReader
from omote.models.inversion.network import InversionNet
from omote.models.processor import multiplies_bfloat16


class FastInversion:
    """Predicts like ``net.eval()`` does; see `InversionNet.forward`. Call it like a function.

    In bfloat16 the controls differ from float32's by 0.001 on average and 0.01 at most on random networks
    (``tests/models/test_inversion_fast.py`` holds them to twice that).

    Args:
        net: its weights are copied.
        dtype: of weights and activations; None: bfloat16 where the processor multiplies it, else float32.
    """

    def __init__(self, net: InversionNet, dtype: torch.dtype | None = None) -> None:
        self.config = net.config
        self.dtype = dtype or (torch.bfloat16 if multiplies_bfloat16() else torch.float32)
        self._net: Any = copy.deepcopy(net).eval().requires_grad_(False)
        for name, part in self._net.named_children():
            if name == "mesh":
                self._net.mesh = _Mesh.of(cast(MeshReader, part), self.dtype)
            elif name == "unwrapped":  # its map stays in float32
                for inner in part.children():
                    _pack(inner.to(self.dtype), self.dtype)
            else:
                part.to(self.dtype)
        for backbone in self._net.backbones.values():
            if backbone.kind == "hiera":
                backbone.net = _Hiera(backbone.net)
        for module in self._net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(
        self,
        rgb: Tensor | None = None,
        normal: Tensor | None = None,
        eyes_rgb: Tensor | None = None,
        eyes_normal: Tensor | None = None,
    ) -> Tensor:
        """(B, C) float32 controls of the images that are given; see `InversionNet.forward`."""
        images = {"rgb": rgb, "normal": normal, "eyes_rgb": eyes_rgb, "eyes_normal": eyes_normal}
        controls: Tensor = self._net(**images)
        return controls


class _Seen:
    """What the caller reads of a `transformers` model's output."""

    def __init__(self, tokens: Tensor, pooled: Tensor) -> None:
        self.last_hidden_state, self.pooler_output = tokens, pooled


class _Hiera(nn.Module):
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
        self.inward = [_Product(w, b, dtype) for w, b in zip(weights, biases, strict=True)]
        self.mix, self.up, self.down = (
            _Product(linear.weight, linear.bias, dtype)
            for linear in (attention.proj, layer.mlp.fc1, layer.mlp.fc2)
        )
        wider = layer.hidden_size != layer.hidden_size_output
        self.widen = _Product(layer.proj.weight, layer.proj.bias, dtype) if wider else None

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


class _Mesh(MeshReader):
    """A `MeshReader` whose products are packed; where its points are is still found in float32."""

    @classmethod
    def of(cls, mesh: MeshReader, dtype: torch.dtype) -> _Mesh:
        """A copy of ``mesh``."""
        made = copy.deepcopy(mesh)
        made.__class__ = cls
        assert isinstance(made, _Mesh)  # noqa: S101 - for the type checker
        made.steps.to(dtype)
        _pack(made.steps, dtype)
        made.packed = {
            name: _Product(axes.T, axes.new_zeros(axes.shape[1]), dtype) for name, axes in made.axes()
        }
        return made

    packed: dict[str, _Product]

    def axes(self) -> list[tuple[str, Tensor]]:
        """The axes (3 M, K) of each modality."""
        return [(name, getattr(self, f"{name}_axes")) for name in self.modalities]

    def onto_axes(self, name: str, centred: Tensor) -> Tensor:
        """(B, K), see `MeshReader.onto_axes`."""
        product = self.packed[name]
        return product.alone(centred.to(product.dtype))


def _pack(module: nn.Module, dtype: torch.dtype) -> None:
    """Pack the linear layers within a module."""
    for name, part in list(module.named_children()):
        if isinstance(part, nn.Linear):
            setattr(module, name, _Packed(part, dtype))
        else:
            _pack(part, dtype)


class _Packed(nn.Module):
    """A linear layer as a packed product."""

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.product = _Product(linear.weight, linear.bias, dtype)
        self.weight = linear.weight

    def forward(self, x: Tensor) -> Tensor:
        """(..., N) to (..., K)."""
        return self.product.alone(x)


class _Product:
    """A linear layer, alone or with what follows it, in one operation of oneDNN (that torch's own compiler uses).

    Its weights are put into the order in which the processor multiplies them once, not at each call; and in bfloat16
    `torch.nn.functional.linear` would first spread the bias over the result.
    """

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self.weight, self.bias = (
            weight.detach().to(dtype).contiguous().clone(),
            bias.detach().to(dtype).clone(),
        )
        self.dtype = dtype
        self.fused = dtype == torch.bfloat16 and _can_fuse()
        if self.fused:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, None)

    def alone(self, x: Tensor) -> Tensor:
        """The product with the bias."""
        if not self.fused:
            return functional.linear(x, self.weight, self.bias)
        made: Tensor = _ops().default(x, self.weight, self.bias, "none", [], "")
        return made

    def gelu(self, x: Tensor) -> Tensor:
        """The activation of the product."""
        if not self.fused:
            return functional.gelu(functional.linear(x, self.weight, self.bias))
        made: Tensor = _ops().default(x, self.weight, self.bias, "gelu", [], "none")
        return made

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """The product added to ``other``."""
        if not self.fused:
            return functional.linear(x, self.weight, self.bias).add_(other)
        made: Tensor = _ops().binary(x, other, self.weight, self.bias, "add")
        return made


def _ops() -> Any:
    return torch.ops.mkldnn._linear_pointwise


@cache
def _can_fuse() -> bool:
    """Whether this torch has the operation, with the result that is expected."""
    x = torch.arange(6.0).reshape(1, 3, 2).to(torch.bfloat16)
    weight, bias = x[0, :2] - 1, x[0, 0]
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        made = [
            _ops().default(x, packed, bias, "none", [], ""),
            _ops().default(x, packed, bias, "gelu", [], "none"),
            _ops().binary(x, x, packed, bias, "add"),
        ]
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    plain = functional.linear(x, weight, bias)
    wanted = [plain, functional.gelu(plain), plain + x]
    return all(torch.allclose(a, b, atol=0.1, rtol=0.02) for a, b in zip(made, wanted, strict=True))
