"""What a take contains, as plain values a program or a person can read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from omote.performance import Performance

_MOST_ACTIVE = 12


def summarize(performance: Performance) -> dict[str, Any]:
    """See `omote.performance.Performance.info`."""
    p = performance
    seen = p.confidence > 0
    controls = p.controls[seen] if seen.any() else p.controls
    low, high = controls.min(0), controls.max(0)
    neutral = p.space.neutral
    activity = np.maximum(high - low, np.maximum(high - neutral, neutral - low))
    busiest = [int(i) for i in np.argsort(-activity, kind="stable")[:_MOST_ACTIVE] if activity[i] > 1e-3]
    camera = p.camera
    return {
        "frames": len(p),
        "seconds": round(p.duration, 6),
        "fps": round(p.fps, 4),
        "faces_found": round(float(seen.mean()), 6),
        "mean_confidence": round(float(p.confidence.mean()), 6),
        "space": p.space.name,
        "controls": len(p.space),
        "most_active": [
            {"control": p.space.names[i], "low": round(float(low[i]), 4), "high": round(float(high[i]), 4)}
            for i in busiest
        ],
        "identity": {rig: len(values) for rig, values in p.identity.items()},
        "camera": {
            "focal_px": camera.focal,
            "principal_px": list(camera.principal),
            "size_px": list(camera.size),
            "horizontal_fov_degrees": round(math.degrees(camera.field_of_view), 3),
        },
        "unseen_controls": _unseen(p),
        "method": p.source.get("method"),
        "source": dict(p.source),
    }


def _unseen(p: Performance) -> list[str] | None:
    """Controls that no evidence constrained in any frame, so that they sit at their prior; None if not known."""
    if p.control_confidence is None:
        return None
    most = p.control_confidence.max(0)
    return [name for name, share in zip(p.space.names, most, strict=True) if share < 0.05]
