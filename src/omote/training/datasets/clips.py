"""Clips of faces as a training of animators reads them: cropped pictures, where the face is in them, and how it turns.

A clip is one safetensors file: ``pictures`` (JPEG, one after the other), ``ends`` of each in it, ``landmarks`` and
``angles``; its metadata say who it shows and how large the pictures are. Single frames are read without the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.errors import FormatError, InputError, OutputError
from omote.media import atomic_path

SUFFIX = ".clip"
_FORMAT = "omote clip 1"
_LANDMARKS = 478
_MOST_FRAMES = 1_000_000
_LARGEST = 4096
_QUALITY = 95

_FLIP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class ClipFrame:
    """One frame.

    Attributes:
        picture: (S, S, 3) uint8 RGB.
        landmarks: (478, 2) float32, -1..1 over the picture, x right, y down.
        angles: (3,) float32 pitch, yaw and roll of the head, degrees, as `omote.models.liveportrait.keypoints`
            understands them; NaN where they are not known.
    """

    picture: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    angles: NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A clip on disk.

    Attributes:
        path: the file.
        count: its frames.
        size: side of its pictures, px.
        person: whom it shows; clips of one person are held out together.
    """

    path: Path
    count: int
    size: int
    person: str

    def frame(self, index: int) -> ClipFrame:
        """One frame, decoded.

        Raises:
            FormatError: damaged.
        """
        import cv2
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, "np") as file:
                ends = file.get_slice("ends")
                start = int(ends[index - 1 : index][0]) if index else 0
                content = file.get_slice("pictures")[start : int(ends[index : index + 1][0])]
                landmarks = file.get_slice("landmarks")[index : index + 1][0]
                angles = file.get_slice("angles")[index : index + 1][0]
            picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
        except (SafetensorError, OSError, ValueError, IndexError, TypeError, cv2.error) as error:
            raise _damaged(self.path, error) from error
        if picture is None or picture.shape != (self.size, self.size, 3):
            raise _damaged(self.path, f"picture {index}")
        return ClipFrame(np.ascontiguousarray(picture[..., ::-1]), landmarks, angles)


def open_clip(path: Path) -> Clip:
    """Look at a clip; no picture is read.

    Raises:
        FormatError: not a clip, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            facts = file.metadata() or {}
            if facts.get("format") != _FORMAT:
                raise FormatError(
                    "is not a clip of omote", where=path, remedy="`omote train clips` makes clips."
                )
            shapes = {name: file.get_slice(name).get_shape() for name in ("ends", "landmarks", "angles")}
            total = file.get_slice("pictures").get_shape()
            ends = file.get_tensor("ends")
            marks = file.get_tensor("landmarks")
        size, count = int(facts["size"]), int(shapes["ends"][0])
    except (SafetensorError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise _damaged(path, error) from error
    sound = (
        0 < count <= _MOST_FRAMES
        and 0 < size <= _LARGEST
        and shapes["landmarks"] == [count, _LANDMARKS, 2]
        and shapes["angles"] == [count, 3]
        and ends.dtype == np.int64
        and bool((np.diff(ends, prepend=0) > 0).all())
        and total == [int(ends[-1])]
        and bool(np.isfinite(marks).all())
    )
    if not sound:
        raise _damaged(path, "its parts do not fit together")
    return Clip(Path(path), count, size, facts.get("person", Path(path).stem))


def write_clip(path: Path, frames: Iterable[ClipFrame], person: str) -> Clip:
    """Write a clip, whole or not at all; byte for byte the same for the same frames.

    Args:
        path: ends in ``.clip``.
        frames: at least one; none is kept.
        person: whom it shows.

    Raises:
        InputError: no frames, or not all of one size.
        OutputError: it cannot be written.
    """
    import cv2
    from safetensors.numpy import save

    content, ends, landmarks, angles = bytearray(), [], [], []
    sizes = set()
    for frame in frames:
        _, encoded = cv2.imencode(".jpg", frame.picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        content += encoded.tobytes()
        ends.append(len(content))
        landmarks.append(frame.landmarks.astype(np.float32))
        angles.append(frame.angles.astype(np.float32))
        sizes.add(frame.picture.shape[:2])
    if len(sizes) != 1 or len(set(*sizes)) != 1:
        raise InputError("a clip needs square frames of one size", where=path)
    size = sizes.pop()[0]
    arrays: dict[str, Any] = {
        "pictures": np.frombuffer(bytes(content), np.uint8),
        "ends": np.array(ends, np.int64),
        "landmarks": np.stack(landmarks),
        "angles": np.stack(angles),
    }
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(arrays, {"format": _FORMAT, "size": str(size), "person": person}))
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", where=path) from error
    return Clip(Path(path), len(ends), size, person)


def head_angles(rotation: NDArray[np.floating]) -> NDArray[np.float32]:
    """(3,) pitch, yaw and roll, degrees, of a head.

    Args:
        rotation: (3, 3) of column vectors, camera space (x right, y up, z towards the viewer).
    """
    import torch

    from omote.models.liveportrait.keypoints import pose_angles

    # Image axes have y down and z away, and keypoints are row vectors.
    turned = (_FLIP @ rotation @ _FLIP).T
    angles = pose_angles(torch.from_numpy(np.ascontiguousarray(turned))[None])
    return np.array([float(angle) for angle in angles], np.float32)


def split_people(clips: Sequence[Clip], share: float = 0.1) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on, and those of the people who are held out: of each ten one, by their names alone.

    At least one person is held out where there are two; clips of one person are not divided.

    Args:
        clips: of all.
        share: of the people.
    """
    import hashlib

    people = sorted({clip.person for clip in clips}, key=lambda who: hashlib.sha256(who.encode()).digest())
    count = min(max(1, round(share * len(people))), len(people) - 1)
    held = set(people[:count])
    return [c for c in clips if c.person not in held], [c for c in clips if c.person in held]


def _damaged(path: Path, why: object) -> FormatError:
    short = " ".join(str(why).split())[:120]
    return FormatError(f"the clip is damaged ({short})", where=path, remedy="Delete it and make it again.")
