"""Image-based facial rig inversion (arXiv 2510.13933): images of a face to the controls of a rig."""

from omote.models.inversion.checkpoint import load_checkpoint, read_description, save_checkpoint
from omote.models.inversion.config import HIERA_TINY, MODALITIES, InversionConfig, Modality
from omote.models.inversion.fast import FastInversion
from omote.models.inversion.network import InversionNet, load_pretrained

__all__ = [
    "HIERA_TINY",
    "MODALITIES",
    "FastInversion",
    "InversionConfig",
    "InversionNet",
    "Modality",
    "load_checkpoint",
    "load_pretrained",
    "read_description",
    "save_checkpoint",
]
