"""What users are told when loops are compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from numba.core import event

from omote.models.compiled import FirstUse


@pytest.mark.parametrize("terminal", [True, False])
def test_compiling_is_announced_once_and_on_a_terminal(
    terminal: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = FirstUse()
    double, triple = (numba.njit(function) for function in (lambda x: 2 * x, lambda x: 3 * x))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    listener.told = False
    event.register("numba:compile", listener)
    try:
        monkeypatch.setattr(FirstUse, "told", True)  # the one that is always there is silent
        assert (double(2), triple(2.0), double(3)) == (4, 6, 6)
    finally:
        event.unregister("numba:compile", listener)
    lines = [record.getMessage() for record in caplog.records if record.name == "omote.models.compiled"]
    assert len(lines) == terminal
    assert listener.told == terminal
    assert all(line.startswith("compiling loops for this processor") for line in lines)


def test_a_loop_compiles_by_itself(tmp_path: Path) -> None:
    """As where a first use was interrupted: what is compiled before it comes from the cache, or not at all."""
    code = """
import numpy as np
from omote.models.inversion.fast.loops import crop_tiles
chance, one = np.random.default_rng(0), np.ones(3, np.float32)
pictures = chance.random((2, 1, 3, 8, 8), np.float32)
tiles = np.empty((1, 2, 2, 96), np.float32)
crop_tiles(tuple(pictures), (np.stack([one, 2 * one]), np.stack([one, 0 * one])), one, tiles)
print(np.abs(tiles[..., 48:] - 2 * np.ascontiguousarray(
    pictures[1].reshape(1, 3, 2, 4, 2, 4).transpose(0, 2, 4, 1, 3, 5)).reshape(1, 2, 2, 48)).max() < 1e-6)
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert made.stdout.strip() == "True", made.stderr[-500:]
