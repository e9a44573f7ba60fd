"""What users are told when loops are compiled."""

from __future__ import annotations

import sys

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
