"""Open any rig: the embedded one by name, others from files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from omote.errors import FormatError, InputError

if TYPE_CHECKING:
    from omote.rigs.blendshapes import BlendshapeRig
    from omote.rigs.protocol import Rig
    from omote.rigs.shapes import ShapeSet

GLTF = (".glb", ".gltf", ".vrm")
USD = (".usd", ".usda", ".usdc", ".usdz")


def open_rig(
    source: str | Path, *, unit: str = "auto", axes: str = "auto", mapping: str | Path | None = None
) -> Rig:
    """The rig called ``source``.

    Args:
        source: "facs" for the embedded head; else a .glb, .gltf or .vrm file with morph targets, a folder of .obj
            shapes, or a .usd, .usda, .usdc or .usdz file with blend shapes.
        unit: of a file: "auto", or one of `omote.rigs.units.UNITS` such as "cm".
        axes: of a file: "auto", or its up and forward axes such as "+z-y".
        mapping: a mapping file (`omote.rigs.mapping`) that names the combination shapes; default: by their names.

    Raises:
        InputError: there is no such file, or its kind is not known.
        FormatError: the file is malformed, or is no rig.
    """
    from omote.rigs.facs import load_rig

    if str(source) == "facs":
        return load_rig()
    return open_blendshapes(source, unit=unit, axes=axes, mapping=mapping)


def open_blendshapes(
    source: str | Path, *, unit: str = "auto", axes: str = "auto", mapping: str | Path | None = None
) -> BlendshapeRig:
    """The rig of a file or a folder of shapes; see `open_rig`.

    Raises:
        InputError: there is no such file, or its kind is not known.
        FormatError: the file is malformed, or is no rig.
    """
    from omote.rigs.blendshapes import BlendshapeRig
    from omote.rigs.shapes import check_shapes
    from omote.rigs.units import to_head_space

    path = Path(source)
    shapes = check_shapes(read_shapes(path), path)
    combinations = None
    if mapping is not None:
        from omote.rigs.mapping import read_combinations, read_document

        document = read_document(mapping)
        if "combinations" in document:  # an empty one says that there are none
            combinations = read_combinations(mapping, document)
    try:
        return BlendshapeRig(to_head_space(shapes, unit=unit, axes=axes), combinations)
    except InputError as error:
        if mapping is None:
            raise
        raise FormatError(error.what, where=mapping, remedy=error.remedy) from None


def sha256_of_rig(source: str | Path) -> str:
    """The sha256 of the files of a rig, hexadecimal; empty for the embedded one.

    Layers that a .usd names are not followed.

    Args:
        source: see `open_rig`.

    Raises:
        InputError, FormatError: a file cannot be read.
    """
    from omote.media.paths import sha256_of

    if str(source) == "facs":
        return ""
    path = Path(source)
    if path.is_dir():
        shapes = (file for file in path.iterdir() if file.suffix.lower() == ".obj" and file.name[0] != ".")
        files = sorted(file for file in shapes if file.is_file())
        parts = [f"{file.name} {sha256_of(file)}" for file in files]
    elif path.suffix.lower() == ".gltf":
        from omote.rigs.gltf_data import GltfFile

        gltf = GltfFile(path)
        buffers = [gltf.buffer(index) for index in range(len(gltf.tree.get("buffers", [])))]
        parts = [sha256_of(path), *(hashlib.sha256(buffer).hexdigest() for buffer in buffers)]
    else:
        return sha256_of(path)
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def read_shapes(path: Path) -> ShapeSet:
    """The neutral and the shapes of a file, in its own units.

    Raises:
        InputError: there is no such file, or its kind is not known.
        FormatError: the file is malformed.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        from omote.rigs.load_obj import read_obj_folder

        return read_obj_folder(path)
    if not path.exists():
        remedy = "Give facs, a .glb, a .usd, or a folder of .obj shapes."
        raise InputError("there is no such rig", where=path, remedy=remedy)
    if suffix in GLTF:
        from omote.rigs.load_gltf import read_gltf

        return read_gltf(path)
    if suffix in USD:
        from omote.rigs.load_usd import read_usd

        return read_usd(path)
    remedy = "Use .glb, .gltf, .vrm, .usd, .usda, .usdc, .usdz, or a folder of .obj shapes."
    if suffix == ".obj":
        remedy = "Give the folder that holds it and its shapes."
    raise InputError(
        f"rigs are not read from '{suffix or 'files without a suffix'}'", where=path, remedy=remedy
    )
