"""Model files: where each comes from, what its licence permits, and that the bytes are the published ones."""

from __future__ import annotations

from omote.weights.cache import cache_dir
from omote.weights.download import Progress
from omote.weights.files import Weight, fetch, get_weight, list_weights, locate, verify
from omote.weights.loading import load_safetensors, load_torch_checkpoint

__all__ = [
    "Progress",
    "Weight",
    "cache_dir",
    "fetch",
    "get_weight",
    "list_weights",
    "load_safetensors",
    "load_torch_checkpoint",
    "locate",
    "verify",
]
