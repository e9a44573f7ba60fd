"""How numbers are computed while training: which precision, how many threads."""

from __future__ import annotations

from typing import Literal

import torch

from omote.errors import InputError
from omote.models.processor import multiplies_bfloat16

Precision = Literal["auto", "float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = ("auto", "float32", "bfloat16", "float16")


def pick_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """The number format of the heavy operations.

    "auto" is bfloat16 on CPUs that are faster in it and CUDA devices that have it, float16 on older CUDA devices, else
    float32.

    Raises:
        InputError: float16 on something other than CUDA (its gradients would need it), or an unknown name.
    """
    if wanted not in PRECISIONS:
        raise InputError(f"no precision is called '{wanted}'", remedy=f"There are: {', '.join(PRECISIONS)}.")
    if wanted == "float16" and device.type != "cuda":
        raise InputError("float16 trains on CUDA devices only", remedy="Use bfloat16 or float32.")
    if wanted != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device.type == "cpu" and multiplies_bfloat16() else torch.float32
