"""The files that ``omote capture`` is to make: which input goes where, checked before any work begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from omote.commands import console
from omote.errors import InputError
from omote.rigs.constants import EMBEDDED

if TYPE_CHECKING:
    from omote.commands.capture import CaptureArgs

FaceChoice = Literal["largest", "all"] | int
TEXTURES = ("photo", "photo-lit", "paint")
"""What the head of an exported mesh wears: the photo without its light, the photo as it is, or paint."""
_ON_A_RIG = ("omote", "glb", "npz")
"""Formats that hold takes in the controls of another rig."""


@dataclass(frozen=True)
class Task:
    """One input and what is wanted of it. ``stem`` is the path that its results share, without an ending."""

    source: Path
    stem: Path
    face: FaceChoice
    smooth: float
    overlay: bool
    formats: tuple[str, ...]  # names known to omote.export
    overwrite: bool
    wait: bool = False  # whether to wait for another run that is at work on it
    texture: str = TEXTURES[0]
    consent: str | None = None
    method: Literal["landmarks", "inversion"] = "landmarks"
    weights: Path | None = None  # of the method inversion; None: those that ship
    normals: Path | None = None  # the normal map of a photo
    rig: str = EMBEDDED  # the one that ``weights`` is for

    def performance_path(self, index: int) -> Path:
        """The ``.omote`` file of a face; numbered only where all faces are asked for."""
        return self.beside(f"_face{index}.omote" if self.face == "all" else ".omote")

    def beside(self, ending: str) -> Path:
        """The path of a result: the stem and ``ending``, such as ``_overlay.png``."""
        return self.stem.with_name(self.stem.name + ending)


def plan(args: CaptureArgs) -> list[Task]:
    """The tasks that the arguments ask for.

    Raises:
        InputError: nothing to capture, a folder without photos and videos, an unknown format or option value.
        OutputError: the output folder cannot be written to.
    """
    from omote import export
    from omote.media.paths import prepare_target
    from omote.provenance.consent import checked_consent

    if not 0.0 <= args.smooth <= 1.0:
        raise InputError(
            f"{args.smooth:g} is not in 0..1", where="--smooth", remedy="0 is off, 1 is strongest."
        )
    if args.jobs < 0:
        raise InputError(f"{args.jobs} is not a number of files", where="--jobs", remedy="0 is automatic.")
    face = parse_face(args.face)
    texture = console.pick(args.texture, TEXTURES, "texture", "--texture")
    consent = None if args.consent is None else checked_consent(args.consent)
    wanted = tuple(form.name for form in export.parse_formats(args.to)) if args.to.strip() else ()
    sources = expand(args.paths, args.output)
    methods = {source: _method(args, source) for source in sources}
    _check_companions(args, sources)
    if args.rig != EMBEDDED:
        _check_rig(args, wanted)
    prepare_target(args.output / "probe.omote")
    counts = Counter(source.stem for source in sources)
    tasks: dict[str, Task] = {}
    for source in sources:
        name = source.stem if counts[source.stem] == 1 else source.name.replace(".", "-")
        if name in tasks:
            raise InputError(
                f"{tasks[name].source} has the same name, and both would be written to {args.output}",
                where=source,
                remedy="Capture them into different folders with -o.",
            )
        tasks[name] = Task(
            source,
            args.output / name,
            face,
            args.smooth,
            args.overlay,
            wanted,
            args.overwrite,
            texture=texture,
            consent=consent,
            method=methods[source],
            weights=args.weights if methods[source] == "inversion" else None,
            normals=args.normals,
            rig=args.rig,
        )
    for task in tasks.values():
        _check_input_stays(task)
    return list(tasks.values())


def _check_input_stays(task: Task) -> None:
    """Refuse to write a head over the scan that it is captured from, or over the rig."""
    from omote import export

    for form in export.parse_formats(task.formats) if task.formats else ():
        for place in (task.source, Path(task.rig)):
            if task.beside(form.suffix).resolve() == place.resolve():
                remedy = "Choose another folder with -o."
                raise InputError(f"the {form.name} file would be written over it", where=place, remedy=remedy)


def _method(args: CaptureArgs, source: Path) -> Literal["landmarks", "inversion"]:
    """The method for a file: what --method says, else inversion for scans and landmarks for the others."""
    from omote.capture.scan_files import is_scan

    if not args.method:
        return "inversion" if is_scan(source) else "landmarks"
    picked = console.pick(args.method, ("landmarks", "inversion"), "method", "--method")
    return "inversion" if picked == "inversion" else "landmarks"


def _check_companions(args: CaptureArgs, sources: list[Path]) -> None:
    """Refuse --weights and --normals where they do not go with the inputs; see that they are there."""
    from omote.capture.scan_files import is_scan
    from omote.media.paths import check_readable

    inverted = [source for source in sources if _method(args, source) == "inversion"]
    for option, path in (("--weights", args.weights), ("--normals", args.normals)):
        if path is None:
            continue
        check_readable(path)
        if not inverted:
            raise InputError(
                "only the method inversion uses it", where=option, remedy="Add --method inversion."
            )
    if args.normals is not None and (len(sources) > 1 or is_scan(sources[0])):
        what = "a normal map goes with one photo" if len(sources) > 1 else "a scan has its own normals"
        raise InputError(what, where="--normals", remedy="Give one photo, and its normal map.")


def _check_rig(args: CaptureArgs, wanted: tuple[str, ...]) -> None:
    """Refuse --rig without a network for it, or with files that cannot hold its controls."""
    if not Path(args.rig).exists():
        raise InputError(
            "there is no such rig", where=args.rig, remedy="Give a .glb, a .usd, or a folder of .obj shapes."
        )
    if args.weights is None:
        remedy = f"Add --method inversion --weights FILE, of omote train inversion --rig {args.rig}."
        raise InputError(
            "a rig of your own needs a network that was trained for it", where="--rig", remedy=remedy
        )
    others = [name for name in wanted if name not in _ON_A_RIG]
    if others:
        what = f"takes of a rig of your own are not written as {others[0]}"
        raise InputError(what, where="--to", remedy="Use glb or npz; omote rig map --take writes the others.")
    if "glb" in wanted and Path(args.rig).suffix.lower() not in (".glb", ".vrm"):
        remedy = "Leave out --to glb: the .omote file holds its controls."
        raise InputError("only a rig that is a .glb can be copied with a take", where="--to", remedy=remedy)


def parse_face(text: str) -> FaceChoice:
    """The value of --face.

    Raises:
        InputError: neither a known word nor a number from 0.
    """
    if text.isdecimal():
        return int(text)
    word = console.pick(text, ("largest", "all"), "choice of face", "--face")
    return "all" if word == "all" else "largest"


def expand(paths: tuple[Path, ...], output: Path) -> list[Path]:
    """The files among ``paths``, each once; of folders the photos and videos, without the overlays of earlier runs.

    What is wrong with a file is told when its turn comes, so that it does not stop the others.

    Raises:
        InputError: no path was given, none of them exists, or a folder holds no photo or video.
    """
    from omote.media.paths import check_readable, list_media

    if not paths:
        raise InputError("no photo, video, scan or folder was given", remedy="Try `omote capture me.jpg`.")
    if not any(path.exists() for path in paths):
        check_readable(paths[0])
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = [file for file in list_media(path) if not _is_result(file, output)]
            if not inside:
                raise InputError("there is no photo or video in this folder", where=path)
        else:
            inside = [path]
        for file in inside:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _is_result(file: Path, output: Path) -> bool:
    """Whether an earlier run wrote this file: NAME_overlay.* in the output folder or beside a NAME.omote."""
    name, mark, _ = file.stem.rpartition("_overlay")
    here = file.parent.resolve() == output.resolve()
    return bool(mark) and (
        here or any(file.with_name(f"{name}{end}.omote").exists() for end in ("", "_face0"))
    )


class Busy(Exception):
    """Another run is at work on the same result."""


@contextmanager
def locked(task: Task) -> Iterator[None]:
    """Keep other runs from working on the task's results. A lock left by a process that died is taken over.

    Raises:
        Busy: another run is at work on it, and the task is not to wait.
        OutputError: the folder cannot be written to.
    """
    from filelock import SoftFileLock, Timeout

    from omote.media.paths import output_error

    path = task.stem.with_name(f".{task.stem.name}.omote-lock")
    lock = SoftFileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if task.wait else 0.5, poll_interval=0.1)
    except Timeout:
        raise Busy(f"another run (process {lock.pid}) is making it") from None
    except OSError as error:
        raise output_error(path, error) from error
    try:
        yield
    finally:
        lock.release()
