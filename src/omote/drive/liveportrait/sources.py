"""Photos and videos that are animated: their faces, what is computed of them once, and the pictures they become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omote.drive.liveportrait.crops import Sizes, limit_size, network_image, reduction
from omote.drive.liveportrait.drawing import Drawing
from omote.drive.liveportrait.extraction import (
    Extractor,
    Progress,
    look_at_video,
    motion_of_video,
    video_frames,
)
from omote.drive.liveportrait.framing import Faces, smooth_squares
from omote.drive.liveportrait.framing import place as placed
from omote.drive.liveportrait.paste import Paste, paste_mask
from omote.drive.liveportrait.performing import Moved, Still
from omote.drive.liveportrait.renderer import Example, Renderer, to_tensor
from omote.drive.liveportrait.settings import LivePortraitOptions
from omote.drive.liveportrait.tracking import Choice

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class PhotoSource:
    """A photo that is ready to move.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        faces: what its faces are.
        features: of each face, from the renderer.
        crops: of each face, uint8, published (512, 512, 3).
        pastes: of each face, where it goes.
    """

    picture: Picture
    faces: tuple[Still, ...]
    features: tuple[Any, ...]
    crops: tuple[Picture, ...]
    pastes: tuple[Paste, ...]

    @classmethod
    def prepare(
        cls,
        picture: Picture,
        landmarks: Sequence[NDArray[Any]],
        options: LivePortraitOptions,
        extractor: Extractor,
        renderer: Renderer,
    ) -> PhotoSource:
        """Look at a photo.

        Args:
            picture: (H, W, 3) uint8 RGB, of any size; the official mode makes it smaller first.
            landmarks: (478, 2) px of each face.
            options: the crop.
            extractor: the motion extractor.
            renderer: computes the features.
        """
        stills, features, crops, places = [], [], [], []
        sizes = extractor.sizes
        share = 1.0
        if options.source_limit is not None:
            share = reduction((picture.shape[1], picture.shape[0]), options.source_limit)
            picture = limit_size(picture, options.source_limit)
        size = (picture.shape[1], picture.shape[0])
        for marks in landmarks:
            faces = Faces.of(share * np.asarray(marks)[None])
            matrix = placed(faces.square, options.photo_placement).to_crop(sizes.cut)[0]
            crop = extractor.crop(picture, matrix)
            small = extractor.look(crop, area=True)
            motion = extractor([small])
            stills.append(Still(motion, faces.eyes, faces.lip, np.zeros(1), faces.found))
            features.append(renderer.prepare(to_tensor(small[None])))
            crops.append(crop)
            places.append(sizes.to_face(matrix))
        pastes = tuple(_paste(places, index, size, sizes) for index in range(len(places)))
        return cls(picture, tuple(stills), tuple(features), tuple(crops), pastes)

    def examples(self, moved: Sequence[Moved], numbers: Sequence[int], _: Renderer) -> list[Example]:
        """Of each face the frame in which it moves most, and of the first that in which it moves least."""
        at = torch.tensor(list(numbers))
        found: list[Example] = []
        for features, one in zip(self.features, moved, strict=True):
            away = (one.driving[at] - one.source).flatten(1).norm(dim=1)
            chosen = [away.argmax()] if found else [away.argmin(), away.argmax()]
            found += [(features, one.source, one.driving[at[n]][None]) for n in chosen]
        return found

    def frames(
        self,
        moved: Sequence[Moved],
        numbers: Sequence[int],
        options: LivePortraitOptions,
        draw: Drawing,
    ) -> Iterator[Picture]:
        """The frames (H, W, 3) uint8 at the photo's own size, or the first face's crop where nothing is pasted."""
        shown = len(self.faces) if options.pastes else 1
        for start in range(0, len(numbers), options.batch):
            at = torch.tensor(list(numbers[start : start + options.batch]))
            made = [
                draw(crop[None], one.source, one.driving[at], features)
                for crop, features, one in list(zip(self.crops, self.features, moved, strict=True))[:shown]
            ]
            for number in range(len(at)):
                if not options.pastes:
                    yield made[0][number]
                    continue
                frame = self.picture
                for paste, faces in zip(self.pastes, made, strict=True):
                    frame = paste(frame, faces[number])
                yield frame


@dataclass(frozen=True)
class VideoSource:
    """A video that is ready to move; its frames are decoded again when they are needed.

    Attributes:
        path: the file.
        times: (T,) seconds.
        faces: what its faces are over time.
        matrices: of each face, (T, 3, 3) from frame to crop pixels.
        extractor: cuts the faces out.
        longest: what the longer side of its frames is reduced to, px; None: they keep their size.
    """

    path: Path
    times: NDArray[np.float64]
    faces: tuple[Still, ...]
    matrices: tuple[NDArray[np.float32], ...]
    extractor: Extractor
    longest: int | None = None

    @classmethod
    def prepare(
        cls,
        path: Path,
        choice: Choice,
        options: LivePortraitOptions,
        extractor: Extractor,
        progress: Progress,
        longest: int | None = None,
    ) -> VideoSource:
        """Look at a video: once for its faces, then once for the motion of each.

        Args:
            path: the file.
            choice: which faces.
            options: how.
            extractor: the motion extractor.
            progress: told on the way.
            longest: see `omote.drive.liveportrait.pipeline.LivePortrait.video`.

        Raises:
            InputError: it cannot be read.
            NoFaceError: no face, or not the one asked for.
        """
        followed, size = look_at_video(path, choice, f"finding the face in {path.name}", progress)
        stills, matrices = [], []
        limits = [limit for limit in (options.source_limit, longest) if limit is not None]
        longest = min(limits, default=None)
        share = 1.0 if longest is None else reduction(size, longest)
        for faces in followed.faces:
            squares = placed(faces.square.scaled(share), options.source_placement)
            if not options.official:
                squares = smooth_squares(squares, followed.times, followed.cuts, options.smooth)
            frames = video_frames(path, len(faces), longest, published=options.official)
            motion = motion_of_video(path, frames, squares, faces.found, extractor, progress, source=True)
            still = Still(
                motion, faces.eyes, faces.lip, followed.times, faces.found, followed.cuts, video=True
            )
            stills.append(still)
            matrices.append(squares.to_crop(extractor.sizes.cut))
        return cls(path, followed.times, tuple(stills), tuple(matrices), extractor, longest)

    def examples(self, moved: Sequence[Moved], numbers: Sequence[int], renderer: Renderer) -> list[Example]:
        """Of each face the first of the frames in which it was found."""
        firsts = [next((n for n in numbers if face.found[n]), None) for face in self.faces]
        decoded = video_frames(self.path, max(numbers) + 1, self.longest)
        last = max((n for n in firsts if n is not None), default=-1)
        found = []
        for number, picture in enumerate(islice(decoded, last + 1)):
            for first, matrices, one in zip(firsts, self.matrices, moved, strict=True):
                if number == first:
                    small = self.extractor.look(self.extractor.crop(picture, matrices[number]), area=True)
                    features = renderer.prepare(to_tensor(small[None]))
                    found.append((features, one.source[number][None], one.driving[number][None]))
        return found

    def frames(
        self,
        moved: Sequence[Moved],
        numbers: Sequence[int],
        options: LivePortraitOptions,
        draw: Drawing,
    ) -> Iterator[Picture]:
        """The frames, of the video's own size unless it is reduced; a face is left as it is where it was not found."""
        wanted = Counter(numbers)
        decoded = video_frames(self.path, max(wanted) + 1, self.longest, published=options.official)
        chosen = ((number, picture) for number, picture in enumerate(decoded) if number in wanted)
        while waiting := list(islice(chosen, options.batch)):
            results = self._batch(waiting, moved, options, draw)
            for (number, _), picture in zip(waiting, results, strict=True):
                yield from repeat(picture, wanted[number])

    def _batch(
        self,
        pictures: list[tuple[int, Picture]],
        moved: Sequence[Moved],
        options: LivePortraitOptions,
        draw: Drawing,
    ) -> list[Picture]:
        results = [picture for _, picture in pictures]
        sizes = self.extractor.sizes
        shown = len(self.faces) if options.pastes else 1
        trio = zip(self.faces, self.matrices, moved, strict=True)
        for index, (face, matrices, one) in enumerate(islice(trio, shown)):
            crops = [self.extractor.crop(picture, matrices[number]) for number, picture in pictures]
            if not options.pastes:
                results = [_as_made(crop, sizes) for crop in crops]
            seen = [place for place, (number, _) in enumerate(pictures) if face.found[number]]
            if not seen:
                continue
            small = np.stack([self.extractor.look(crops[place], area=True) for place in seen])
            at = torch.tensor([pictures[place][0] for place in seen])
            made = draw(small, one.source[at], one.driving[at])
            for place, face_now in zip(seen, made, strict=True):
                if options.pastes:
                    number = pictures[place][0]
                    height, width = results[place].shape[:2]
                    there = [k for k, other in enumerate(self.faces) if other.found[number]]
                    places = [sizes.to_face(self.matrices[k][number]) for k in there]
                    paste = _paste(places, there.index(index), (width, height), sizes)
                    results[place] = paste(results[place], face_now)
                else:
                    results[place] = face_now
        return results


def _paste(places: Sequence[NDArray[Any]], index: int, image_size: tuple[int, int], sizes: Sizes) -> Paste:
    """Where one of the faces of a picture goes, beside the others."""
    others = [place for number, place in enumerate(places) if number != index]
    return Paste(places[index], image_size, paste_mask(sizes.made), others)


def _as_made(crop: Picture, sizes: Sizes) -> Picture:
    """A crop as large as the faces that the networks draw."""
    return crop if sizes.cut == sizes.made else network_image(crop, area=True, size=sizes.made)
