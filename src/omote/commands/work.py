"""What ``omote capture`` does for one file: skip what is complete, capture, write the files, tell."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omote import __version__
from omote.commands.batch import Report
from omote.commands.notes import notes_to
from omote.commands.tasks import Busy, Task, locked
from omote.errors import OmoteError, is_interrupt
from omote.rigs.constants import EMBEDDED

if TYPE_CHECKING:
    from omote.performance import Performance
    from omote.rigs.protocol import Rig

OUR_FAULT = "This is a fault in Omote; OMOTE_DEBUG=1 shows where."
_MARK = "capture"
"""The key of a performance's ``source`` that holds the options it was captured with."""


def capture_task(task: Task, report: Report) -> dict[str, Any]:
    """Do one task in this process. A bad input does not raise: the result says what happened.

    Returns:
        ``input``, ``status`` ("captured", "complete", "busy" or "failed"), ``outputs`` (paths), ``frames``,
        ``faces``, ``confidence`` (mean over frames, 0..1), ``seconds``, ``warnings``, ``error`` (a line or
        None) and ``exit_code``.
    """
    began = time.monotonic()
    result = blank(task)
    try:
        with notes_to(result["warnings"].append), locked(task):
            result.update(_capture_one(task, report))
    except Busy as busy:
        result.update(status="busy", error=f"{task.source}: {busy}", exit_code=2)
    except OmoteError as error:
        result.update(status="failed", error=str(error), exit_code=error.exit_code)
    except Exception as error:  # one file's fault must not stop the others; it is reported
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        if os.environ.get("OMOTE_DEBUG", "") not in ("", "0"):
            traceback.print_exc()
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        result.update(status="failed", error=f"{task.source}: {text}. {OUR_FAULT}", exit_code=1)
    result["seconds"] = round(time.monotonic() - began, 3)
    return result


def lost(task: Task) -> dict[str, Any]:
    """The result of a task whose process died."""
    line = f"{task.source}: the process working on it died. Is there enough memory? Try --jobs 1."
    return {**blank(task), "status": "failed", "error": line, "exit_code": 1}


def blank(task: Task) -> dict[str, Any]:
    """A result to be filled in."""
    return {
        "input": str(task.source),
        "status": "captured",
        "outputs": [],
        "frames": 0,
        "faces": 0,
        "confidence": None,
        "seconds": 0.0,
        "warnings": [],
        "error": None,
        "exit_code": 0,
    }


def _capture_one(task: Task, report: Report) -> dict[str, Any]:
    from omote.media.paths import check_readable, sha256_of

    digest = sha256_of(check_readable(task.source))
    takes = [] if task.overwrite else complete(task, digest)
    status = "complete" if takes else "captured"
    if not takes:
        takes = _run_pipeline(task, report)
        takes = [_save(task, index, take, digest, len(takes)) for index, take in enumerate(takes)]
    outputs = []
    for index, take in enumerate(takes):
        outputs.append(task.performance_path(index))
        outputs += export_missing(task, index, take, fresh=status == "complete")
    if task.overlay:
        outputs.append(overlay_path(task))
    return {
        "status": status,
        "outputs": [str(output) for output in outputs],
        "frames": len(takes[0]),
        "faces": len(takes),
        "confidence": round(float(takes[0].confidence.mean()), 4),
    }


def complete(task: Task, digest: str) -> list[Performance]:
    """The performances of an earlier run from the same bytes with the same options; empty if one is missing.

    Args:
        task: the task.
        digest: sha256 of the input.
    """
    from omote.performance import Performance

    if task.overlay and not overlay_path(task).is_file():
        return []
    takes: list[Performance] = []
    faces = 1
    while len(takes) < faces:
        try:
            take = Performance.load(task.performance_path(len(takes)))
        except OmoteError:  # not there, damaged, or of another version: made again
            return []
        mark = take.source.get(_MARK)
        if not isinstance(mark, dict) or take.source.get("sha256") != digest:
            return []
        faces = mark.get("faces", 1)
        if mark != marker(task, faces):
            return []
        takes.append(take)
    return takes


def marker(task: Task, faces: int) -> dict[str, Any]:
    """What a performance remembers of its capture: the options that decide what is in it."""
    said: dict[str, Any] = {} if task.consent is None else {"consent": task.consent}
    if task.method != "landmarks":
        from omote.capture.inverter import shipped_weights

        said |= {"method": task.method, "network": _digest(task.weights or shipped_weights())}
    if task.normals is not None:
        said["normals"] = _digest(task.normals)
    if task.rig != EMBEDDED:
        from omote.rigs.open import sha256_of_rig

        said["rig"] = sha256_of_rig(task.rig)
    return {"face": task.face, "smooth": task.smooth, "faces": faces, "texture": task.texture, **said}


def _digest(path: Path) -> str | None:
    """The sha256 of a file that decides a result; None where it is missing."""
    from omote.media.paths import sha256_of

    return sha256_of(path) if path.is_file() else None


def export_missing(task: Task, index: int, take: Performance, *, fresh: bool) -> list[Path]:
    """Write the exports that the task asks for.

    Args:
        task: the task.
        index: which face.
        take: its performance, already saved.
        fresh: whether exports at least as new as the ``.omote`` file may stay as they are.

    Returns:
        All of them, also those that were there.
    """
    from omote import export

    saved = task.performance_path(index)
    stem, albedo = saved.with_suffix(""), None
    paths: list[Path] = []
    for form in export.parse_formats(task.formats) if task.formats else ():
        target = stem.with_name(stem.name + form.suffix)
        if fresh and _is_newer(target, saved):
            paths.append(target)
        elif task.rig != EMBEDDED and form.name == "glb":
            paths += _write_on_rig(task, take, target)
        elif form.name != "omote":
            options: dict[str, Any] = {}
            if task.texture != "paint" and "albedo" in export.options_of(form):
                if albedo is None:
                    albedo = _albedo(task, take)
                if albedo is not None:
                    options["albedo"] = albedo
            paths += export.write(take, target, **options)
    return paths


def _write_on_rig(task: Task, take: Performance, target: Path) -> list[Path]:
    """The rig's own file with the take as an animation."""
    from omote.export.rig_take import write_rig_take
    from omote.rigs.open import open_blendshapes

    return write_rig_take(take, open_blendshapes(task.rig), Path(task.rig), target)


def _albedo(task: Task, take: Performance) -> Any:
    """The texture of the face in the input, (S, S, 3) uint8; None for a scan without colours."""
    from omote.capture.scan_files import is_scan
    from omote.media import is_video, read_image
    from omote.render.texture_take import photo_texture, video_texture

    lit = task.texture == "photo-lit"
    if is_scan(task.source):
        from omote.capture.scans import view_scan

        view = view_scan(task.source)
        return photo_texture(view.rgb, take, keep_light=lit) if view.coloured else None
    if is_video(task.source):
        return video_texture(task.source, take, keep_light=lit)
    return photo_texture(read_image(task.source), take, keep_light=lit)


def overlay_path(task: Task) -> Path:
    """Where the picture or the video of the fitted head goes."""
    from omote.media import is_video

    return task.beside("_overlay.mp4" if is_video(task.source) else "_overlay.png")


def _is_newer(path: Path, than: Path) -> bool:
    try:
        return path.stat().st_mtime_ns >= than.stat().st_mtime_ns
    except OSError:
        return False


def _own_rig(task: Task) -> Rig | None:
    """The rig that is captured, with landmarks; None for the embedded one."""
    if task.rig == EMBEDDED:
        return None
    from omote.capture.inverter import load_inverter

    pose = load_inverter(task.weights, task.rig).pose
    return None if pose is None else pose.rig


def _save(task: Task, index: int, take: Performance, digest: str, faces: int) -> Performance:
    about: dict[str, Any] = {"sha256": digest, "size": task.source.stat().st_size, "omote": __version__}
    if task.consent is not None:
        about["consent"] = task.consent
    source = {**take.source, **about, _MARK: marker(task, faces)}
    marked = take.with_(source=source)
    marked.save(task.performance_path(index))
    return marked


def _run_pipeline(task: Task, report: Report) -> list[Performance]:
    """Capture each face and write the overlay. The performances are saved last: they mean complete."""
    import torch

    from omote.capture.pipeline import capture_file

    torch.set_num_threads(1)  # the solver's matrices are small; files are what runs in parallel
    found = capture_file(
        task.source,
        face=task.face,
        smooth=task.smooth,
        method=task.method,
        weights=task.weights,
        normals=task.normals,
        rig=task.rig,
        progress=report,
    )
    if task.overlay:
        from omote.commands.preview import write_preview

        write_preview(task.source, found, overlay_path(task), report, _own_rig(task))
    return [face.performance for face in found]
