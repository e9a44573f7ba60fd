"""Performance -> files, and files -> Performance.

``write(performance, "take.glb")`` chooses the format by the name; ``write(performance, "take",
to="glb,livelink")`` writes several. ``read`` opens whatever holds a take, ``convert`` goes from one file to
another.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omote.errors import FormatError, InputError

if TYPE_CHECKING:
    from omote.performance import Performance

__all__ = ["FORMATS", "Format", "convert", "options_of", "parse_formats", "read", "write"]


@dataclass(frozen=True)
class Format:
    """A format that takes are written to.

    Args:
        name: as in ``to=``.
        suffix: what is added to a take's name.
        description: one line for people.
        writer, reader: "module:function", imported on first use; no reader: write only.
    """

    name: str
    suffix: str
    description: str
    writer: str
    reader: str | None = None


FORMATS: tuple[Format, ...] = (
    Format("omote", ".omote", "everything, lossless: Omote's own file", "", ""),
    Format(
        "glb",
        ".glb",
        "glTF 2.0 binary: mesh, named morph targets, animation, head pose, camera",
        "omote.export.gltf:write_glb",
    ),
    Format(
        "livelink",
        ".livelink.csv",
        "Live Link Face CSV (61 values at 60 Hz time base) for Unreal, Blender, Maya",
        "omote.export.livelink:write_livelink",
        "omote.export.livelink:read",
    ),
    Format(
        "arkit-csv",
        ".arkit.csv",
        "the 52 ARKit shapes and the head pose, a row per frame",
        "omote.export.arkit:write_arkit_csv",
        "omote.export.arkit:read_arkit_csv",
    ),
    Format(
        "arkit-json",
        ".arkit.json",
        "the 52 ARKit shapes and the head pose as JSON, in Audio2Face's layout",
        "omote.export.arkit:write_arkit_json",
        "omote.export.arkit:read_arkit_json",
    ),
    Format(
        "npz",
        ".npz",
        "numpy arrays of everything, without pickles",
        "omote.export.npz:write_npz",
        "omote.export.npz:read_npz",
    ),
    Format(
        "template",
        ".pkl",
        "LivePortrait motion template, of takes that came from one",
        "omote.export.template:write_template",
        "omote.export.template:read_template",
    ),
    Format(
        "obj",
        ".obj",
        "mesh of a frame or a sequence, with material and texture",
        "omote.export.mesh:write_obj",
    ),
    Format("ply", ".ply", "mesh of a frame or a sequence, binary PLY", "omote.export.mesh:write_ply"),
)
_BY_NAME = {form.name: form for form in FORMATS}
_ALSO_CALLED = {"arkit": "arkit-csv"}
_PLAIN_SUFFIX = {".csv": "livelink", ".json": "arkit-json"}


def parse_formats(to: str | Iterable[str]) -> tuple[Format, ...]:
    """The formats of ``"glb,livelink"`` or of a list of names, each once; "arkit" is arkit-csv.

    Raises:
        InputError: unknown name; says which is nearest.
    """
    names = to.split(",") if isinstance(to, str) else list(to)
    out: dict[str, Format] = {}
    for name in (n.strip().lower() for n in names):
        if not name:
            continue
        name = _ALSO_CALLED.get(name, name)
        if name not in _BY_NAME:
            raise InputError(f"unknown format '{name}'", where="to", remedy=_suggest(name, _BY_NAME))
        out[name] = _BY_NAME[name]
    if not out:
        raise InputError("no format is named", where="to", remedy=f"Known are {', '.join(_BY_NAME)}")
    return tuple(out.values())


def format_of(path: str | Path) -> Format:
    """The format that a file name stands for; a plain ``.csv`` is livelink, a plain ``.json`` arkit-json.

    Raises:
        InputError: no format has this suffix.
    """
    name = Path(path).name.lower()
    for form in sorted(FORMATS, key=lambda f: -len(f.suffix)):
        if name.endswith(form.suffix):
            return form
    suffix = Path(path).suffix.lower()
    if suffix in _PLAIN_SUFFIX:
        return _BY_NAME[_PLAIN_SUFFIX[suffix]]
    known = ", ".join([f.suffix for f in FORMATS] + sorted(_PLAIN_SUFFIX))
    raise InputError(
        f"'{suffix or name}' names no format", where=path, remedy=f"Known are {known}; or say to="
    )


def write(
    performance: Performance,
    path: str | Path,
    *,
    rig: Any = None,
    to: str | Iterable[str] | None = None,
    **options: Any,
) -> list[Path]:
    """Write a take in one or several formats. Files are written whole or not at all.

    Args:
        performance: the take.
        path: without ``to``, the file; its name decides the format. With ``to``, the name the files share
            (a suffix of ours is taken off), or an existing folder (files are then called ``take``).
        rig: for meshes; None for the embedded head.
        to: format names, ``"glb,livelink"`` or a list; see ``FORMATS``.
        options: passed to the formats that have them, e.g. ``targets="arkit"`` (glb), ``frames="all"`` (obj,
            ply).

    Returns:
        Every file written.

    Raises:
        InputError: unknown format or option. OutputError: cannot be written.
    """
    path = Path(path)
    if to is None:
        jobs = [(format_of(path), path)]
    else:
        formats = parse_formats(to)
        stem = path / "take" if path.is_dir() else path.with_name(_stem(path.name))
        jobs = [(form, stem.with_name(stem.name + form.suffix)) for form in formats]
    _check_options([form for form, _ in jobs], options)
    written: list[Path] = []
    for form, target in jobs:
        if form.name == "omote":
            performance.save(target)
            written.append(target)
            continue
        chosen = {k: v for k, v in options.items() if k in options_of(form)}
        writer = _load(form.writer)
        if "rig" in inspect.signature(writer).parameters:
            chosen["rig"] = rig
        written.extend(writer(performance, target, **chosen))
    return written


def options_of(form: Format) -> tuple[str, ...]:
    """Names of the options a format's writer takes."""
    if not form.writer:
        return ()
    parameters = inspect.signature(_load(form.writer)).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "rig")


def read(path: str | Path, **options: Any) -> Performance:
    """Read a take from any readable file: .omote, .npz, Live Link Face CSV, ARKit CSV or JSON, a motion template.

    A CSV is told by its columns, everything else by its suffix.

    Args:
        path: the file.
        options: ``angle_unit`` (Live Link Face) or ``fps`` (ARKit without times, motion templates).

    Raises:
        InputError: unreadable, write-only or unknown kind. FormatError: malformed.
    """
    path = Path(path)
    form = format_of(path)
    if path.suffix.lower() == ".csv":
        from omote.export.tables import read_csv

        first = {name.lower() for name in read_csv(path)[0]}
        form = _BY_NAME["livelink" if "timecode" in first else "arkit-csv"]
    if form.name == "omote":
        if options:
            raise InputError(f"a .omote file has no option {', '.join(options)}", where=path)
        from omote.performance import Performance

        return Performance.load(path)
    if form.reader is None:
        readable = ", ".join(f.suffix for f in FORMATS if f.reader is not None)
        raise InputError(
            f"{form.name} can be written but not read", where=path, remedy=f"Readable: {readable}"
        )
    reader = _load(form.reader)
    unknown = set(options) - set(inspect.signature(reader).parameters)
    if unknown:
        raise InputError(f"{form.name} has no option {', '.join(sorted(unknown))}", where=path)
    take: Performance = reader(path, **options)
    return take


def convert(
    source: str | Path,
    target: str | Path,
    *,
    rig: Any = None,
    to: str | Iterable[str] | None = None,
    read_options: dict[str, Any] | None = None,
    **options: Any,
) -> list[Path]:
    """Read a take from ``source`` and write it to ``target``; see :func:`read` and :func:`write`.

    Raises:
        InputError, FormatError, OutputError: as those; or source and target are one file.
    """
    source, target = Path(source), Path(target)
    if to is None and source.exists() and target.exists() and source.samefile(target):
        raise InputError("source and target are the same file", where=source)
    return write(read(source, **(read_options or {})), target, rig=rig, to=to, **options)


def _stem(name: str) -> str:
    for suffix in sorted({f.suffix for f in FORMATS} | set(_PLAIN_SUFFIX), key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def _check_options(formats: list[Format], options: dict[str, Any]) -> None:
    known = sorted({option for form in formats for option in options_of(form)})
    for option in options:
        if option not in known:
            names = ", ".join(form.name for form in formats)
            raise InputError(
                f"no option '{option}' for {names}", where="export", remedy=_suggest(option, known)
            )


def _suggest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known) or 'none'}"


def _load(spec: str) -> Callable[..., Any]:
    module, _, name = spec.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ImportError as error:  # a broken installation, not a bad file
        raise FormatError(f"{module} cannot be loaded ({error})", remedy="Reinstall omote") from error
    return function
