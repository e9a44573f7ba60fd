"""Fixtures and settings for every test."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Small solvers run on one thread: two were seen ten times slower on a busy two-core machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("ci", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Tests sign with keys of their own: nothing is ever written to the settings of who runs them.
_settings = tempfile.TemporaryDirectory(prefix="omote-tests-")
os.environ["OMOTE_CONFIG"] = _settings.name
for _name in ("OMOTE_CERTIFICATE", "OMOTE_KEY"):
    os.environ.pop(_name, None)

_SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The maintainers' shared folder beside the repository; skips without it."""
    if not _SHARED.is_dir():
        pytest.skip(f"needs the maintainers' shared folder at {_SHARED}")
    return _SHARED


@pytest.fixture(scope="session")
def photo() -> Path:
    """The astronaut (NASA, public domain), 512 x 512; skips without it or without the landmark model."""
    pytest.importorskip("mediapipe")
    from omote.commands.demo import astronaut
    from omote.errors import InputError, WeightsError
    from omote.weights import locate

    try:
        locate("face_landmarker", download=False)
        return astronaut()
    except (WeightsError, InputError) as missing:
        pytest.skip(str(missing))
