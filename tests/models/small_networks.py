"""Inversion networks small enough for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omote.controls import FACS102, ControlSpace
from omote.models.inversion import InversionConfig


def small_hiera(space: ControlSpace = FACS102, rig: str = "facs", **changes: Any) -> InversionConfig:
    """Two Hiera of four layers at 64 px, with eyes, and nothing frozen or pretrained."""
    small: dict[str, Any] = {
        "pretrained": None,
        "frozen_stages": 0,
        "align": "face",
        "size": 64,
        "patch_stride": 8,
        "place_features": 48,
        "embed_dim": 8,
        "depths": (1, 1, 1, 1),
        "heads": (1, 1, 1, 1),
        "hidden": 16,
        "eye_branch": True,
        "eye_features": 8,
        "modality_dropout": (0.2, 0.3),
    }
    return replace(InversionConfig.paper(space, rig), **{**small, **changes})


def small_mesh(
    space: ControlSpace = FACS102, rig: str = "facs", *, identity: int = 2, points: int = 6, **changes: Any
) -> InversionConfig:
    """A network without backbones that reads a few points at 32 px, neither unwrapped nor with eyes."""
    small = {
        "size": 32,
        "mesh_points": points,
        "mesh_axes": 4,
        "picture_features": 0,
        "hidden": 16,
        "grid": (0, 0),
        "window": (0, 0),
    }
    small |= {"eye_branch": False, "eye_features": 8, "quiet": ()}
    made = InversionConfig.shipped(space, rig, identity=identity)
    return replace(made, **{**small, **changes})


def small_unwrapped(space: ControlSpace = FACS102, rig: str = "facs", **changes: Any) -> InversionConfig:
    """As `small_mesh`, then unwrapped to 16 x 24 places, a window, and eyes that move the last control."""
    small: dict[str, Any] = {
        "grid": (16, 24),
        "grid_axes": 8,
        "window": (16, 24),
        "window_features": 8,
        "both_ways": False,
        "eye_branch": True,
        "eye_controls": space.names[-1:],
    }
    return small_mesh(space, rig, **{**small, **changes})
