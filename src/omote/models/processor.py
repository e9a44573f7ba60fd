"""What the processor can do."""

from __future__ import annotations

import torch


def multiplies_bfloat16() -> bool:
    """Whether the processor has bfloat16 matrix instructions (AMX or AVX512-BF16)."""
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)
