"""Fixtures of tests of networks."""

from __future__ import annotations

import pytest

from omote.models import packed


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def packing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With oneDNN's own operations, and where torch was built without them."""
    if not request.param:
        monkeypatch.setattr(packed, "_can_pack", lambda dtype: False)
