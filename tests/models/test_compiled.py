"""What users are told when loops are compiled."""

from __future__ import annotations

import numba
import pytest
from numba.core import event

from omote.models.compiled import FirstUse


def test_compiling_is_announced_once(caplog: pytest.LogCaptureFixture) -> None:
    listener = FirstUse()
    double, triple = (numba.njit(function) for function in (lambda x: 2 * x, lambda x: 3 * x))
    event.register("numba:compile", listener)
    try:
        assert (double(2), triple(2.0)) == (4, 6)
        told = [record.getMessage() for record in caplog.records if "processor" in record.getMessage()]
        caplog.clear()
        assert double(3) == 6  # is compiled already
    finally:
        event.unregister("numba:compile", listener)
    assert [line.startswith("compiling loops for this processor") for line in set(told)] == [True]
    assert listener.told
    assert not caplog.records
