"""Which number format is chosen for which processor."""

from __future__ import annotations

import pytest
import torch

from omote.models import processor
from omote.models.processor import keep_memory, multiplies_bfloat16, without_denormals


@pytest.mark.parametrize(
    ("amx", "avx512", "name", "faster"),
    [
        (True, True, "sapphirerapids", True),
        (False, True, "sapphirerapids", False),  # its AVX512-BF16 alone is slower than float32
        (False, True, "znver4", True),
        (False, True, "znver5", True),
        (False, False, "znver3", False),
        (False, False, "skylake-avx512", False),
    ],
)
def test_bfloat16_is_for_processors_that_are_faster_in_it(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, name: str, faster: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(processor, "get_host_cpu_name", lambda: name)
    assert multiplies_bfloat16() is faster


def test_a_torch_that_cannot_tell_means_no(monkeypatch: pytest.MonkeyPatch) -> None:
    for feature in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, feature, raising=False)
    assert not multiplies_bfloat16()


def test_memory_is_kept_and_given_back() -> None:
    """Both ways are taken by the same allocator, or by neither."""
    kept = keep_memory()
    assert keep_memory(keep=False) is kept


def test_denormals_are_zero_within_the_block_alone() -> None:
    tiny = torch.full((4,), 1e-30)
    with without_denormals():
        assert not (tiny * 1e-12).any()
    assert bool((tiny * 1e-12).all())
