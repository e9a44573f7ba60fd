"""Images and videos: what comes in is upright 8-bit RGB, what goes out appears whole or not at all."""

from omote.media.images import MAX_PIXELS, MAX_SIDE, read_image, write_image
from omote.media.paths import atomic_path, classify, is_video, list_media, natural_key
from omote.media.video import VideoReader, open_video
from omote.media.writer import VideoWriter

__all__ = [
    "MAX_PIXELS",
    "MAX_SIDE",
    "VideoReader",
    "VideoWriter",
    "atomic_path",
    "classify",
    "is_video",
    "list_media",
    "natural_key",
    "open_video",
    "read_image",
    "write_image",
]
