"""``omote rig transfer``: a rig's controls as morph targets of another head."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.commands.rig_landmarks import open_with_landmarks
from omote.errors import FormatError, InputError

if TYPE_CHECKING:
    import numpy as np

    from omote.export.rig_transfer import Transferred

_File = Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint=QUIET)]

_OTHER_ORDER = 0.15
"""Median distance of corresponding triangles beyond which they are none, as a share of the head's size."""


@dataclass(frozen=True)
class RigTransferArgs:
    """Give a head of your own the controls of a rig: each becomes a morph target of the same name.

    SOURCE is facs for the embedded head and its 102 controls, or any rig that `omote rig inspect` reads. HEAD is a
    neutral head: .obj, .ply or .glb, any topology, unit and orientation; or the neutral of another rig. Its face is
    found on renders; the source is laid onto it, and what its triangles do is solved for on the head's own
    (deformation transfer). Writes a GLB in metres and a contact sheet of every control beside it.

    Examples:
      omote rig transfer facs head.obj -o rigged.glb
      omote rig transfer studio_rig.glb actor.ply -o actor.glb --sheet actor.jpg
      omote rig transfer facs edited_head.obj -o rigged.glb --same-topology
      omote rig transfer facs cartoon.obj -o rigged.glb --landmarks pairs.json
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE", help_behavior_hint=QUIET)]
    """The rig whose controls are wanted: facs, .glb, .gltf, .vrm, .usd, or a folder of .obj shapes."""
    head: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="HEAD", help_behavior_hint=QUIET)]
    """The neutral head that is to have them."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="GLB")] = Path("rigged.glb")
    """The .glb to write."""
    sheet: _File = None
    """Where to write the contact sheet, .png, .jpg or .webp; default: beside the GLB, as NAME_sheet.png."""
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 160
    """Width of each picture of the sheet, 48 to 1024; 0 for no sheet."""
    landmarks: _File = None
    """Corresponding points instead of detected ones: JSON with "source" and "target", lists of [x, y, z] in metres
    of the source's head space and in the head file's coordinates."""
    same_topology: Flag = False
    """The head has the source's triangles in the source's order: nothing is looked for or registered."""
    json: Flag = False
    """Print what was written and how well it fits as JSON."""

    def run(self) -> int:
        """Write the GLB and the sheet; return 0."""
        from omote.export.shapes_glb import write_shapes_glb

        if self.output.suffix.lower() != ".glb":
            raise InputError("the rigged head is written as .glb", where=self.output, remedy="Name it so.")
        if self.size and not 48 <= self.size <= 1024:
            raise InputError(f"pictures of {self.size} px", where="--size", remedy="Use 48 to 1024, or 0.")
        for written in (self.output, self.sheet):
            if written is not None and written.resolve() in (
                self.head.resolve(),
                Path(self.source).resolve(),
            ):
                remedy = "Choose another name with -o or --sheet."
                raise InputError("would be written over what it is made from", where=written, remedy=remedy)
        if self.landmarks is not None and self.same_topology:
            raise InputError("heads of the same topology need no landmarks", where="--landmarks")
        with console.progress_bar(quiet=self.json) as bars:
            tasks: dict[str, Any] = {}

            def progress(what: str, done: int, every: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what)
                bars.update(tasks[what], completed=done, total=every)

            made = self._transfer(progress)
            extras = {"source": self.source, "fit": asdict(made.fit), "acts_only_with": made.acts_only_with}
            outputs = [write_shapes_glb(made.shapes, self.output, extras=extras)]
            if self.size:
                outputs.append(self._draw(made, progress))
        names = [shape.name for shape in made.shapes.shapes]
        still = [shape.name for shape in made.shapes.shapes if not len(shape.index)]
        if self.json:
            console.say_json({"outputs": outputs, "fit": asdict(made.fit), "shapes": names, "still": still})
            return 0
        _say(made, still)
        for output in outputs:
            console.say(str(output))
        return 0

    def _transfer(self, progress: Any) -> Transferred:
        import numpy as np

        from omote.capture.head_files import open_head
        from omote.capture.mesh_landmarks import mesh_landmarks, rig_landmarks
        from omote.export.rig_transfer import landmark_pairs, neutral_of, points_on, transfer_rig
        from omote.geometry.alignment import Similarity, align
        from omote.rigs.open import open_rig

        progress("reading", 0, 1)
        by_face = self.landmarks is None and not self.same_topology
        rig = open_with_landmarks(self.source, quiet=self.json)[0] if by_face else open_rig(self.source)
        neutral, faces = neutral_of(rig), rig.faces.numpy()
        if self.same_topology:

            def stand(vertices: np.ndarray, triangles: np.ndarray) -> Similarity:
                if len(triangles) != len(faces):
                    what = f"{len(triangles)} triangles, the source has {len(faces)}"
                    raise InputError(what, where=self.head, remedy="Leave out --same-topology.")
                ours, theirs = neutral[faces].mean(1), vertices[triangles].mean(1)
                found = align(theirs, ours)
                off = np.median(np.linalg.norm(found.apply(theirs) - ours, axis=1))
                if off > _OTHER_ORDER * np.ptp(ours, axis=0).max():
                    what = "its triangles are not those of the source in the same order"
                    raise InputError(what, where=self.head, remedy="Leave out --same-topology.")
                return found

            head = open_head(self.head, stand)
            progress("reading", 1, 1)
            return transfer_rig(rig, head.shapes, None, progress=progress)
        if self.landmarks is not None:
            ours, theirs = _read_pairs(self.landmarks)
            head = open_head(self.head, lambda *_: align(theirs, ours))
            progress("reading", 1, 1)
            marks = (
                points_on(neutral, faces, ours),
                points_on(head.shapes.vertices, head.shapes.faces, head.to_head.apply(theirs)),
            )
            return transfer_rig(rig, head.shapes, marks, progress=progress)
        head = open_head(self.head)
        shapes = head.shapes
        progress("reading", 1, 1)
        progress("finding landmarks", 0, 1)
        found = mesh_landmarks(
            shapes.vertices, shapes.faces, albedo=shapes.colours, weld=shapes.weld, focus=head.focus
        )
        marks, trust = landmark_pairs(rig_landmarks(rig), found)
        progress("finding landmarks", 1, 1)
        return transfer_rig(rig, shapes, marks, trust, progress=progress)

    def _draw(self, made: Transferred, progress: Any) -> Path:
        from omote.media import write_image
        from omote.render.rig_sheets import rig_sheet
        from omote.rigs.blendshapes import BlendshapeRig

        path = self.sheet or self.output.with_name(f"{self.output.stem}_sheet.png")
        rig = BlendshapeRig(made.shapes)
        write_image(path, rig_sheet(rig, size=self.size, progress=lambda d, n: progress("drawing", d, n)))
        return path


def _say(made: Transferred, still: list[str]) -> None:
    fit, shapes = made.fit, made.shapes
    console.say(f"{shapes.name}: {len(shapes.shapes)} shapes on {len(shapes.vertices)} vertices")
    if not fit.same_topology:
        console.say(
            f"fit: {fit.surface_median:.2f} mm median, {fit.surface_p95:.2f} mm 95 % from the surface; landmarks "
            f"{fit.landmarks_median:.1f} mm; {100 * fit.followed:.1f} % of the triangles have a counterpart"
        )
    if still:
        console.say(f"nothing moves: {', '.join(still)}")


def _read_pairs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(K, 3) source and (K, 3) target points of a JSON file."""
    import numpy as np

    from omote.export.files import read_json

    remedy = 'Write {"source": [[x, y, z], ...], "target": [[x, y, z], ...]}.'
    document = read_json(path)
    try:
        source, target = (np.array(document[key], np.float64) for key in ("source", "target"))
    except (KeyError, TypeError, ValueError):
        raise FormatError("holds no pairs of points", where=path, remedy=remedy) from None
    if source.ndim != 2 or source.shape != target.shape or source.shape[1] != 3:
        raise FormatError(
            f"holds points of shapes {source.shape} and {target.shape}", where=path, remedy=remedy
        )
    if len(source) < 4 or not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise FormatError("needs at least 4 pairs of finite points", where=path, remedy=remedy)
    return source, target
