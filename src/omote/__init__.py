"""Omote: a photo or a video in; named facial rig controls, a mesh and an animation out.

The whole package in one screen::

    import omote

    performance = omote.capture("me.mp4")      # pixels -> Performance
    performance.save("me.omote")
    performance.export("me.glb")               # Performance -> a file other programs read
    take = omote.load("me.omote").resample(30.0)
    omote.animate("me.jpg", take, "me.mp4")    # photo + performance -> pixels

Everything here is loaded on first use, so that ``import omote`` costs nothing.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

import omote.capture as _capture_package

if TYPE_CHECKING:
    from omote.api import animate, capture, load
    from omote.controls import ARKIT52, FACS102, Control, ControlSpace
    from omote.edit.perform import perform
    from omote.errors import FormatError, InputError, NoFaceError, OmoteError, OutputError, WeightsError
    from omote.performance import Camera, Performance
    from omote.rigs.facs import load_rig

__version__ = "0.1.0"

__all__ = [
    "ARKIT52",
    "FACS102",
    "Camera",
    "Control",
    "ControlSpace",
    "FormatError",
    "InputError",
    "NoFaceError",
    "OmoteError",
    "OutputError",
    "Performance",
    "WeightsError",
    "__version__",
    "animate",
    "capture",
    "load",
    "load_rig",
    "perform",
]

_HOME = {
    "ARKIT52": "omote.controls",
    "FACS102": "omote.controls",
    "Control": "omote.controls",
    "ControlSpace": "omote.controls",
    "Camera": "omote.performance",
    "Performance": "omote.performance",
    "FormatError": "omote.errors",
    "InputError": "omote.errors",
    "NoFaceError": "omote.errors",
    "OmoteError": "omote.errors",
    "OutputError": "omote.errors",
    "WeightsError": "omote.errors",
    "animate": "omote.api",
    "load": "omote.api",
    "load_rig": "omote.rigs.facs",
    "perform": "omote.edit.perform",
}


class _CallablePackage(ModuleType):
    """``omote.capture`` is the package of the capture code and, called, captures a file."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `omote.api.capture`."""
        return importlib.import_module("omote.api").capture(*args, **kwargs)


_capture_package.__class__ = _CallablePackage


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'omote' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
