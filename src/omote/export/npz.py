"""Performance <-> .npz: plain numpy arrays, no pickles, readable with ``np.load(path, allow_pickle=False)``.

Keys: ``controls`` (T, C), ``control_names`` (C,), ``space`` (and ``space_account``, JSON text that defines the controls
of a rig of one's own), ``head_rotation`` (T, 3) axis-angle radians,
``head_translation`` (T, 3) metres, ``confidence`` (T,), ``times`` (T,) seconds, ``fps``, ``camera_focal``,
``camera_principal`` (2,), ``camera_size`` (2,) pixels, ``identity_<rig>`` (I,), ``source`` (JSON text),
``control_confidence`` (T, C) where the take has it, and with ``vertices=True`` ``vertices`` (T, V, 3) metres
in head space with ``faces`` (F, 3).
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import FormatError, InputError
from omote.export import evaluate as ev
from omote.export.files import write_bytes
from omote.performance.files import describe_space, read_space

if TYPE_CHECKING:
    from omote.performance import Performance

VERSION = 1


def write_npz(
    performance: Performance, path: str | Path, *, rig: Any = None, vertices: bool = False
) -> list[Path]:
    """Write the take as compressed arrays.

    Args:
        performance: the take.
        path: the file to write.
        rig: for ``vertices``; None for the embedded head.
        vertices: also write the mesh of every frame.
    """
    camera = performance.camera
    arrays: dict[str, Any] = {
        "format": np.array("omote-npz"),
        "version": np.array(VERSION),
        "space": np.array(performance.space.name),
        "control_names": np.array(performance.space.names),
        "controls": np.asarray(performance.controls),
        "head_rotation": np.asarray(performance.head_rotation),
        "head_translation": np.asarray(performance.head_translation),
        "confidence": np.asarray(performance.confidence),
        "times": np.asarray(performance.times),
        "fps": np.array(float(performance.fps)),
        "camera_focal": np.array(float(camera.focal)),
        "camera_principal": np.asarray(camera.principal, np.float64),
        "camera_size": np.asarray(camera.size, np.int64),
        "source": np.array(json.dumps(dict(performance.source), ensure_ascii=False)),
    }
    account = describe_space(performance.space)
    if "definitions" in account:
        arrays["space_account"] = np.array(json.dumps(account, ensure_ascii=False))
    for name, values in performance.identity.items():
        arrays[f"identity_{name}"] = np.asarray(values)
    if performance.control_confidence is not None:
        arrays["control_confidence"] = np.asarray(performance.control_confidence)
    if vertices:
        rig = ev.default_rig() if rig is None else rig
        take = performance.with_space(rig.space)
        arrays["vertices"] = ev.rig_evaluator(rig, ev.identity_of(take, rig), rig.space)(
            np.asarray(take.controls)
        )
        arrays["faces"] = ev.rig_array(rig, "faces")
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return [write_bytes(path, stream.getvalue())]


def read_npz(path: str | Path) -> Performance:
    """Read a take written by :func:`write_npz`.

    Raises:
        InputError: missing or unreadable file. FormatError: other, damaged or newer file.
    """
    from omote.performance import Camera, Performance

    path = Path(path)
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            wanted = [n for n in archive.files if n not in ("vertices", "faces")]
            data = {name: archive[name] for name in wanted}
    except FileNotFoundError:
        raise InputError("there is no such file", where=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=path) from None
    except (ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, NotImplementedError) as error:
        raise FormatError(f"this is not a plain .npz file ({error})", where=path) from None
    if "format" not in data or str(data["format"]) != "omote-npz":
        raise FormatError(
            "this .npz was not written by Omote", where=path, remedy="It needs the keys of omote.export.npz"
        )
    if "version" not in data or data["version"].tolist() != VERSION:
        raise FormatError("the file was written by a newer Omote", where=path, remedy="Update omote")
    try:
        account = {"name": str(data["space"]), "controls": [str(name) for name in data["control_names"]]}
        if "space_account" in data:
            account = json.loads(str(data["space_account"]))
        space, order = read_space(path, account, data["controls"])
        order = list(range(len(space))) if order is None else order
        sure = data.get("control_confidence")
        return Performance(
            space=space,
            controls=data["controls"][:, order],
            head_rotation=data["head_rotation"],
            head_translation=data["head_translation"],
            confidence=data["confidence"],
            times=data["times"],
            identity={n.removeprefix("identity_"): v for n, v in data.items() if n.startswith("identity_")},
            camera=Camera(
                focal=float(data["camera_focal"]),
                principal=(float(data["camera_principal"][0]), float(data["camera_principal"][1])),
                size=(int(data["camera_size"][0]), int(data["camera_size"][1])),
            ),
            source=json.loads(str(data["source"])),
            control_confidence=None if sure is None else sure[:, order],
        )
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise FormatError(f"the file is incomplete or damaged ({error})", where=path) from None
