"""The embedded rig: 102 FACS-derived controls on a CC0 head, differentiable in controls and identity.

Order of evaluation: identity, tongue rotation, expression shapes (adapted to the identity), eyelid closure, lids kept
outside the eyeballs, eyeball rotation, head rotation. Sources: the head and its shapes come from MakeHuman,
MPFB2 and Face Units 01 (all CC0); ``tools/head`` bakes them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from omote.checks import check_shape
from omote.controls import FACS102
from omote.rigs.asset import SIDES, HeadAsset, load_head_asset, triangles
from omote.rigs.constants import (
    GAZE_PITCH,
    GAZE_YAW,
    HEAD_PITCH,
    HEAD_ROLL,
    HEAD_YAW,
    LID_THICKNESS,
    TONGUE_CURL,
    TONGUE_TURN,
)
from omote.rigs.landmarks import LandmarkEmbedding, load_landmarks

FACS102_ONE = len(FACS102.controls)
"""Index of the constant 1 that stands in for the missing second factor of a plain shape."""


class FacsRig(nn.Module):
    """Controls and identity to vertices.

    Attributes:
        space: the 102 controls (``FACS102``).
        identity_space: names of the I identity coefficients, each of unit variance over the sampling prior.
        faces (F, 3) int64; uv (V, 2), origin top-left; weld (V,): canonical vertex of each vertex split by a UV seam.
        face_part (F,): index into ``part_names``.
        landmarks: where MediaPipe's 478 landmarks sit on the surface.
    """

    space = FACS102
    name = "facs"

    faces: Tensor
    quads: Tensor
    uv: Tensor
    weld: Tensor
    face_part: Tensor
    template: Tensor
    expand: Tensor
    identity_mirror: Tensor
    identity_explained: Tensor
    _identity: Tensor
    _shape: Tensor
    _gradient: Tensor
    _node_index: Tensor
    _node_weight: Tensor
    _head_weight: Tensor
    _neck_weight: Tensor
    _head_joint: Tensor
    _neck_joint: Tensor
    _tongue_joint: Tensor
    _tongue_weight: Tensor
    _tongue_vertex: Tensor
    _mirror: Tensor
    _factor: Tensor
    _factor_sign: Tensor
    _linear: Tensor
    _ball_L: Tensor
    _ball_R: Tensor

    def __init__(self, asset: HeadAsset) -> None:
        super().__init__()
        self.part_names: tuple[str, ...] = tuple(asset.header["parts"])
        self.shape_names: tuple[str, ...] = tuple(s["name"] for s in asset.header["shapes"])
        self.activations = [
            [(FACS102.index(c), float(sign)) for c, sign in s["activation"]] for s in asset.header["shapes"]
        ]
        signs = asset["identity_mirror"]
        self.identity_space = tuple(
            f"{'shape' if s > 0 else 'asymmetry'}_{i:02d}" for i, s in enumerate(signs)
        )
        self.landmarks: LandmarkEmbedding = load_landmarks()

        def keep(name: str, array: np.ndarray) -> None:
            self.register_buffer(name, torch.as_tensor(np.ascontiguousarray(array)), persistent=False)

        keep("faces", triangles(asset["quads"]))
        keep("quads", asset["quads"])
        keep("face_part", np.repeat(asset["quad_part"].astype(np.int64), 2))
        for name in ("uv", "weld", "template", "expand", "identity_mirror", "identity_explained"):
            keep(name, asset[name])
        for name in (
            "identity",
            "shape",
            "gradient",
            "node_index",
            "node_weight",
            "head_weight",
            "neck_weight",
        ):
            keep(f"_{name}", asset[name])
        for name in ("head_joint", "neck_joint", "tongue_joint", "tongue_weight", "tongue_vertex", "mirror"):
            keep(f"_{name}", asset[name])
        for side in SIDES:
            for name in ("closure_{}_row", "closure_{}_column", "closure_{}_value", "rim_{}", "ball_{}"):
                keep("_" + name.format(side), asset[name.format(side)])
            lid = np.setdiff1d(np.unique(asset[f"closure_{side}_row"]), self._behind_lids(asset))
            keep(f"_lid_{side}", lid)
            partner = np.arange(len(lid))
            for pair in asset[f"rim_{side}"].reshape(-1, 2):
                upper, lower = np.searchsorted(lid, pair)
                partner[upper], partner[lower] = lower, upper
            keep(f"_lid_partner_{side}", partner)
        first, second = np.full((2, len(self.activations)), FACS102_ONE)
        sign = np.ones((2, len(self.activations)), np.float32)
        for i, factors in enumerate(self.activations):
            first[i], sign[0, i] = factors[0]
            if len(factors) == 2:
                second[i], sign[1, i] = factors[1]
        keep("_factor", np.stack([first, second]))
        keep("_factor_sign", sign)
        one_sided = np.append(FACS102.low >= 0, False)
        keep("_linear", one_sided[first.astype(np.int64)] & (second == FACS102_ONE))

    @staticmethod
    def _behind_lids(asset: HeadAsset) -> np.ndarray:
        """Welded vertices of the eye sockets that are not on a lid rim: they stay inside and are never pushed out."""
        sockets = asset["quads"][asset["quad_part"] == asset.header["parts"].index("eye_socket")]
        rims = np.concatenate([asset[f"rim_{side}"].ravel() for side in SIDES])
        return np.setdiff1d(asset["expand"][sockets], rims)

    # --- pieces, each usable alone -------------------------------------------------------------------------------

    def activate(self, controls: Tensor) -> Tensor:
        """(B, S) activation of each shape: max(0, sign * control), multiplied over the factors of a combination.

        A control of one side that has a shape of its own extrapolates below 0: the shape is then taken away.
        """
        one = controls.new_ones(len(controls), 1)
        values = torch.cat([controls, one], dim=1)
        first = values[:, self._factor[0]] * self._factor_sign[0]
        second = values[:, self._factor[1]] * self._factor_sign[1]
        return torch.where(self._linear, first, torch.relu(first)) * torch.relu(second)

    def neutral(self, identity: Tensor) -> Tensor:
        """(B, U, 3) welded neutral head of identity (B, I)."""
        return self.template + torch.einsum("bi,iuc->buc", identity, self._identity)

    def stretch(self, identity: Tensor) -> Tensor:
        """(B, U, 3, 3) how the identity stretches space at each vertex; displacements are multiplied by it."""
        nodes = torch.einsum("bi,inrc->bnrc", identity, self._gradient)
        blended = torch.einsum(
            "buk,bukrc->burc", self._node_weight.expand(len(identity), -1, -1), nodes[:, self._node_index]
        )
        return torch.eye(3, dtype=identity.dtype, device=identity.device) + blended

    def eye_centres(self, identity: Tensor) -> Tensor:
        """(B, 2, 3) metres, head space: centres of the left and the right eyeball before the head rotates."""
        neutral = self.neutral(identity)
        return torch.stack([neutral[:, self._ball_L].mean(1), neutral[:, self._ball_R].mean(1)], dim=1)

    def eye_radius(self, identity: Tensor) -> Tensor:
        """(B, 2) metres."""
        neutral, centres = self.neutral(identity), self.eye_centres(identity)
        balls = (neutral[:, self._ball_L], neutral[:, self._ball_R])
        return torch.stack(
            [(b - centres[:, i, None]).norm(dim=2).mean(1) for i, b in enumerate(balls)], dim=1
        )

    def eye_rotations(self, controls: Tensor) -> Tensor:
        """(B, 2, 3, 3) rotation of the left and right eyeball: yaw about +y, then pitch in the turned frame (Fick)."""
        turns = []
        for side in SIDES:
            yaw = controls[:, FACS102.index(f"gaze_yaw_{side}")] * GAZE_YAW
            pitch = controls[:, FACS102.index(f"gaze_pitch_{side}")] * GAZE_PITCH
            turns.append(_rotation_y(yaw) @ _rotation_x(-pitch))
        return torch.stack(turns, dim=1)

    def head_rotation(self, controls: Tensor) -> Tensor:
        """(B, 3, 3) rotation of the head: yaw about +y, pitch up about -x, roll to the left shoulder about -z."""
        yaw, pitch, roll = (controls[:, FACS102.index(f"head_{n}")] for n in ("yaw", "pitch", "roll"))
        return _rotation_y(yaw * HEAD_YAW) @ _rotation_x(-pitch * HEAD_PITCH) @ _rotation_z(-roll * HEAD_ROLL)

    # --- the whole ------------------------------------------------------------------------------------------------

    def forward(self, controls: Tensor, identity: Tensor) -> Tensor:
        """Vertices of the head.

        Args:
            controls: (B, 102) control units (``FACS102``; values outside the ranges extrapolate).
            identity: (B, I) or (1, I) coefficients, standard normal over the sampling prior.

        Returns:
            (B, V, 3) metres, head space: +y up, face towards +z, +x the subject's left.
        """
        check_shape("controls", controls, "B", len(FACS102.controls))
        check_shape("identity", identity, "B", len(self.identity_space))
        # One identity for many frames is prepared once.
        neutral = self.neutral(identity).expand(len(controls), -1, -1)
        stretch = self.stretch(identity).expand(len(controls), -1, -1, -1)
        moved = self._turn_tongue(neutral, controls)
        offset = torch.einsum("bs,suc->buc", self.activate(controls), self._shape)
        moved = moved + torch.einsum("burc,buc->bur", stretch, offset)
        moved = self._close_lids(moved, neutral, controls)
        moved = self._turn_eyes(moved, controls)
        return self._turn_head(moved, controls)[:, self.expand]

    def _turn_tongue(self, points: Tensor, controls: Tensor) -> Tensor:
        yaw, pitch, curl = (controls[:, FACS102.index(f"tongue_{n}")] for n in ("yaw", "pitch", "curl"))
        tongue = points[:, self._tongue_vertex]
        shift = tongue.mean(1, keepdim=True) - self.template[self._tongue_vertex].mean(0)
        bones = len(self._tongue_joint)
        for k in range(bones - 1, -1, -1):  # tip first, so that each joint turns all that is ahead of it
            share = (0.55, 0.25, 0.12, 0.08)[k]
            bend = -pitch * TONGUE_TURN * share - (curl * TONGUE_CURL / 2 if k >= bones - 2 else 0 * curl)
            weight = self._tongue_weight[:, k].expand(len(points), -1)
            turn = _rotation_y(weight * (yaw * TONGUE_TURN * share)[:, None]) @ _rotation_x(
                weight * bend[:, None]
            )
            joint = self._tongue_joint[k] + shift
            tongue = joint + torch.einsum("btrc,btc->btr", turn, tongue - joint)
        return points.index_copy(1, self._tongue_vertex, tongue)

    def _close_lids(self, points: Tensor, neutral: Tensor, controls: Tensor) -> Tensor:
        """Bring the lid rims together by ``lid_close``, then keep lid skin outside the eyeballs."""
        for side in SIDES:
            row, column = getattr(self, f"_closure_{side}_row"), getattr(self, f"_closure_{side}_column")
            value = getattr(self, f"_closure_{side}_value")
            amount = controls[:, FACS102.index(f"lid_close_{side}"), None, None]
            points = points.index_add(1, row, amount * (value[:, None] * points[:, column]))
            ball, lid = (getattr(self, f"_{name}_{side}") for name in ("ball", "lid"))
            centre = neutral[:, ball].mean(1, keepdim=True)
            radius = (neutral[:, ball] - centre).norm(dim=2).mean(1)[:, None]
            least = torch.minimum((neutral[:, lid] - centre).norm(dim=2), radius + LID_THICKNESS)
            # Both vertices of a rim pair keep the same distance, or a closed lid would open by the difference.
            least = torch.minimum(least, least[:, getattr(self, f"_lid_partner_{side}")])
            offset = points[:, lid] - centre
            distance = offset.norm(dim=2)
            pushed = centre + offset * (torch.maximum(distance, least) / distance.clamp_min(1e-6))[..., None]
            points = points.index_copy(1, lid, pushed)
        return points

    def _turn_eyes(self, points: Tensor, controls: Tensor) -> Tensor:
        for i, turn in enumerate(self.eye_rotations(controls).unbind(1)):
            ball = getattr(self, f"_ball_{SIDES[i]}")
            centre = points[:, ball].mean(1, keepdim=True)
            points = points.index_copy(1, ball, centre + (points[:, ball] - centre) @ turn.transpose(1, 2))
        return points

    def _turn_head(self, points: Tensor, controls: Tensor) -> Tensor:
        """Half of the angle at the upper neck, the whole of it at the head (linear blend skinning)."""
        half = controls.clone()
        columns = [FACS102.index(f"head_{n}") for n in ("yaw", "pitch", "roll")]
        half[:, columns] = half[:, columns] / 2
        turn = self.head_rotation(half)
        neck = self._neck_joint + (points - self._neck_joint) @ turn.transpose(1, 2)
        joint = self._neck_joint + (self._head_joint - self._neck_joint) @ turn.transpose(1, 2)
        head = joint[:, None] + (neck - joint[:, None]) @ turn.transpose(1, 2)
        on_head, on_neck = self._head_weight[:, None], self._neck_weight[:, None]
        rest = (1 - on_head - on_neck).clamp_min(0)
        return on_head * head + on_neck * neck + rest * points


def _rotation(angle: Tensor, axis: int) -> Tensor:
    """(..., 3, 3) rotation by angle (...) radians about a coordinate axis."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = (
        (one, zero, zero, zero, cos, -sin, zero, sin, cos),
        (cos, zero, sin, zero, one, zero, -sin, zero, cos),
        (cos, -sin, zero, sin, cos, zero, zero, zero, one),
    )[axis]
    return torch.stack(rows, dim=-1).reshape(*angle.shape, 3, 3)


def _rotation_x(angle: Tensor) -> Tensor:
    return _rotation(angle, 0)


def _rotation_y(angle: Tensor) -> Tensor:
    return _rotation(angle, 1)


def _rotation_z(angle: Tensor) -> Tensor:
    return _rotation(angle, 2)


@cache
def load_rig() -> FacsRig:
    """The embedded rig on the CPU in float32; loaded once per process."""
    return FacsRig(load_head_asset()).requires_grad_(False).eval()
