"""What the tests of whole captures share: the model file, and a photograph that comes with scikit-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.commands.demo import astronaut
from omote.errors import InputError, WeightsError
from omote.media import read_image
from omote.weights import locate


@pytest.fixture(scope="session")
def photo() -> Path:
    """The astronaut (NASA, public domain), 512 x 512; skips without it or without the landmark model."""
    pytest.importorskip("mediapipe")
    try:
        locate("face_landmarker", download=False)
        return astronaut()
    except (WeightsError, InputError) as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def picture(photo: Path) -> NDArray[np.uint8]:
    """(512, 512, 3) the same, read."""
    return read_image(photo)
