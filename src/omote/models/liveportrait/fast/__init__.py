"""The large networks of LivePortrait arranged for speed; `omote.models.liveportrait` has them as published."""

from omote.models.liveportrait.fast.generator import FastGenerator
from omote.models.liveportrait.fast.motion import FastMotion
from omote.models.liveportrait.fast.warping import FastWarping, Volume

__all__ = ["FastGenerator", "FastMotion", "FastWarping", "Volume"]
