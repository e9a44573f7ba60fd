"""Writes the overlay of a captured file: a picture for a photo, a video with the sound for a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omote.capture.pipeline import Captured
    from omote.commands.batch import Report
    from omote.rigs.protocol import Rig


def write_preview(
    source: Path, faces: Sequence[Captured], target: Path, report: Report, rig: Rig | None = None
) -> None:
    """Draw the fitted head over the photo, over the render of the scan, or over each frame of the video.

    Args:
        source: the photo, the scan or the video.
        faces: what was captured from it.
        target: ``.png`` for a photo or a scan, ``.mp4`` for a video.
        report: told how many frames of how many are drawn.
        rig: that was captured, with landmarks; None is the embedded one.
    """
    from omote.media import is_video, read_image, write_image
    from omote.render.overlay import photo_panel, video_overlay

    takes = [face.performance for face in faces]
    marks = [face.landmarks for face in faces]
    if faces[0].picture is not None:
        write_image(target, photo_panel(faces[0].picture, takes, [points[0] for points in marks], rig=rig))
    elif is_video(source):
        count = len(takes[0])
        video_overlay(source, takes, marks, target, progress=lambda done: report(done, count), rig=rig)
    else:
        write_image(target, photo_panel(read_image(source), takes, [points[0] for points in marks], rig=rig))
