"""Data sets as WebDataset shards: tar files of samples, and `dataset.json` that says what they are."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omote.errors import FormatError, InputError, OutputError
from omote.media import atomic_path

INDEX = "dataset.json"
_KINDS: dict[Any, type] = {"int": int, "bool": bool, "tuple[str, ...]": tuple}
Sample = dict[str, Any]


@dataclass(frozen=True)
class DatasetInfo:
    """What a folder of shards holds.

    Attributes:
        rig: name of the rig; space: of its controls; controls, identity: names, in the order of the arrays.
        recipe: "paper" or "wild"; size: side of the square pictures, px; seed; count: samples in all.
        per_shard: samples in each shard but the last; normals: "camera" or "tangent".
        identities: how many heads there are; 0: each sample has its own.
        vertices: whether the vertices of each sample are stored.
        rig_sha256: of the rig's files (`omote.rigs.open.sha256_of_rig`); empty for the embedded one.
    """

    rig: str
    space: str
    controls: tuple[str, ...]
    identity: tuple[str, ...]
    recipe: str
    size: int
    seed: int
    count: int
    per_shard: int
    normals: str
    identities: int
    vertices: bool
    rig_sha256: str = ""

    def shard_names(self) -> list[str]:
        """Names of all shards, in order."""
        return [f"shard-{k:06d}.tar" for k in range(-(-self.count // self.per_shard))]


def write_info(folder: Path, info: DatasetInfo) -> None:
    """Write ``dataset.json``, or check that the one that is there says the same.

    Raises:
        OutputError: the folder holds another data set, or cannot be written to.
    """
    path = folder / INDEX
    if path.exists():
        there = read_info(folder)
        differs = [name for name, value in asdict(info).items() if getattr(there, name) != value]
        if differs:
            old, new = getattr(there, differs[0]), getattr(info, differs[0])
            what = f"other {differs[0]}" if len(str(old)) > 40 else f"other {differs[0]} ({old}, now {new})"
            if differs[0] == "rig_sha256":
                what = f"an older or newer '{info.rig}': the rig's file is not what it was"
            raise OutputError(
                f"already holds a data set with {what}",
                where=str(folder),
                remedy="Choose another folder, or delete this one.",
            )
        return
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(asdict(info), indent=1))


def read_info(folder: Path) -> DatasetInfo:
    """Read ``dataset.json``.

    Raises:
        InputError: there is none; FormatError: it cannot be read.
    """
    path = Path(folder) / INDEX
    if not path.is_file():
        raise InputError(
            f"no {INDEX} in this folder", where=str(folder), remedy="`omote synth` makes data sets."
        )
    try:
        fields = json.loads(path.read_text())
        if not isinstance(fields, dict):
            raise ValueError("it is no JSON object")
        fields.update({name: tuple(fields[name]) for name in ("controls", "identity")})
        made = DatasetInfo(**fields)
        for field in dataclasses.fields(made):
            value, kind = getattr(made, field.name), _KINDS.get(field.type, str)
            if type(value) is not kind:
                raise ValueError(f"{field.name} is {value!r}")
        return made
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"is not a description of a data set: {error}", where=str(path)) from None


def is_whole(shard: Path) -> bool:
    """Whether a shard is there from its first header to the zeros that end every tar file."""
    try:
        with shard.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            if size < tarfile.RECORDSIZE or size % tarfile.RECORDSIZE:
                return False
            file.seek(-2 * tarfile.BLOCKSIZE, io.SEEK_END)
            if file.read().strip(b"\0"):
                return False
            file.seek(0)
            tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "strict")
            return True
    except (OSError, ValueError, tarfile.TarError):
        return False


def complete_shards(folder: Path) -> list[Path]:
    """The shards that are there, in order; those still being written have another name."""
    return sorted(Path(folder).glob("shard-??????.tar"))


def write_shard(path: Path, samples: Iterator[tuple[str, Mapping[str, bytes]]]) -> int:
    """Write (key, {extension: content}) as a tar file, atomically; byte for byte the same for the same samples.

    Returns:
        The number of samples.
    """
    count = 0
    try:
        with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, members in samples:
                for extension, content in members.items():
                    entry = tarfile.TarInfo(f"{key}.{extension}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
                count += 1
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", where=str(path)) from None
    return count


def read_shard(path: Path) -> Iterator[Sample]:
    """Read a shard through WebDataset: dictionaries of "__key__" and extension -> bytes.

    Raises:
        FormatError: the file is cut off or is no shard.
    """
    import webdataset

    remedy = "Delete it and run `omote synth` again: it makes what is missing."
    if path.is_file() and not is_whole(path):
        raise FormatError("is damaged or cut off (its end is missing)", where=str(path), remedy=remedy)
    try:
        with path.open("rb") as stream:
            files = webdataset.tariterators.tar_file_expander([{"url": path.name, "stream": stream}])
            yield from webdataset.tariterators.group_by_keys(files)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise FormatError(f"is damaged or cut off ({error})", where=str(path), remedy=remedy) from None


def array_bytes(array: np.ndarray) -> bytes:
    """An array as the content of a .npy file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def bytes_array(content: bytes) -> np.ndarray:
    """The array of a .npy file's content; objects are refused."""
    loaded: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return loaded


def check_same(folders: Sequence[Path]) -> DatasetInfo:
    """The description of several data sets that are read as one.

    Raises:
        InputError: they are of different rigs, controls or kinds of normals.
    """
    if not folders:
        raise InputError("no data set was given", where="data")
    infos = [read_info(Path(folder)) for folder in folders]
    for folder, info in zip(folders[1:], infos[1:], strict=True):
        for name in ("rig", "controls", "identity", "normals"):
            if getattr(info, name) != getattr(infos[0], name):
                what = f"its {name} differ from those of {folders[0]}"
                raise InputError(what, where=str(folder), remedy="Train on data sets of one rig.")
    return infos[0]
