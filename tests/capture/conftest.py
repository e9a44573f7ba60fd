"""What the tests of whole captures share: the model file, and a photograph that comes with scikit-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.media import read_image


@pytest.fixture(scope="session")
def picture(photo: Path) -> NDArray[np.uint8]:
    """(512, 512, 3) the same, read."""
    return read_image(photo)
