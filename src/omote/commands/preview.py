"""Writes the overlay of a captured file: a picture for a photo, a video with the sound for a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omote.capture.pipeline import Captured
    from omote.commands.batch import Report

PHOTO_HEIGHT, VIDEO_HEIGHT = 768, 384
_DECODED_SIDE = 1280


def write_preview(source: Path, faces: Sequence[Captured], target: Path, report: Report) -> None:
    """Draw each frame's panels (see `omote.render.preview.Preview`) and write them atomically.

    Args:
        source: the photo or the video.
        faces: what was captured from it.
        target: ``.png`` for a photo, ``.mp4`` for a video.
        report: told how many frames of how many are drawn.
    """
    from omote.media import VideoWriter, is_video, open_video, read_image, write_image
    from omote.render.preview import Preview

    takes = [face.performance for face in faces]
    marks = [face.landmarks for face in faces]
    size, count = takes[0].camera.size, len(takes[0])
    if not is_video(source):
        write_image(target, Preview(takes, marks, size, PHOTO_HEIGHT).draw(read_image(source)))
        return
    preview = Preview(takes, marks, size, VIDEO_HEIGHT)
    reader = open_video(source, prefetch=True, max_side=_DECODED_SIDE)
    with VideoWriter(target, preview.size, times=takes[0].times, audio_from=source) as writer:
        for frame, (_, picture) in enumerate(reader):
            if frame >= count:
                break
            writer.write(preview.draw(picture, frame))
            report(frame + 1, count)
