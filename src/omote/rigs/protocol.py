"""What a rig is to the rest of Omote: named controls and an identity in, vertices out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from omote.controls import ControlSpace
    from omote.rigs.landmarks import LandmarkEmbedding


@runtime_checkable
class Rig(Protocol):
    """Controls and identity to vertices, differentiable in both; a ``torch.nn.Module``.

    ``omote.rigs.facs.FacsRig`` and ``omote.rigs.blendshapes.BlendshapeRig`` are rigs; `omote.rigs.open.open_rig` opens
    either.
    """

    @property
    def name(self) -> str:
        """What takes and checkpoints call the rig: "facs", or the stem of the file it was read from."""

    @property
    def space(self) -> ControlSpace:
        """The C controls, in order."""

    @property
    def identity_space(self) -> tuple[str, ...]:
        """Names of the I identity coefficients; empty where the rig is one head."""

    @property
    def faces(self) -> Tensor:
        """(F, 3) int64 vertex indices, counter-clockwise seen from outside."""

    @property
    def uv(self) -> Tensor | None:
        """(V, 2) texture coordinates, origin top-left; None where the file has none."""

    @property
    def weld(self) -> Tensor:
        """(V,) int64 canonical vertex of each vertex that a seam split; 0..V-1 where nothing is split."""

    @property
    def landmarks(self) -> LandmarkEmbedding | None:
        """Where MediaPipe's 478 landmarks sit; None until they were looked for."""

    def forward(self, controls: Tensor, identity: Tensor) -> Tensor:
        """Vertices of the head.

        Args:
            controls: (B, C) control units.
            identity: (B, I) or (1, I) coefficients.

        Returns:
            (B, V, 3) metres, head space: +y up, face towards +z, +x the subject's left.
        """

    def __call__(self, controls: Tensor, identity: Tensor) -> Tensor:
        """The same as ``forward``."""

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move to a device, as `torch.nn.Module.to`."""
