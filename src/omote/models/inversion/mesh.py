"""Reading a face on its mesh: a network that looks where it believes the surface to be, and looks again.

The rig's points are projected into the picture by the pose, the identity and the controls believed so far; what is
seen there (normals turned back with the head, colours) moves all three; a few such steps settle. What a control does to
the surface is thus always seen at the same inputs, whoever the person is and however the head is turned, so that
little data teaches much. Regression in steps is that of "Supervised Descent Method and its Applications to Face
Alignment" (Xiong & De la Torre, CVPR 2013), here with a perceptron in each step and a rig as the shape model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from omote.models.inversion.config import IMAGENET_MEAN, IMAGENET_STD, InversionConfig
from omote.models.inversion.picture import PictureReader

if TYPE_CHECKING:
    from omote.rigs.surface_points import LinearPoints

POSE = ("turn x", "turn y", "turn z", "log scale", "shift x", "shift y", "perspective")
"""The pose of a head in its crop: a rotation vector; the log of crop widths a metre; where the head's origin is, from
the crop's middle, in crop widths (y down); and 1 / distance, by which nearer things grow, per metre."""
USUAL_POSE = (0.0, 0.0, 0.0, math.log(5.0), 0.0, -0.24, 1.2)
POSE_SPREAD = (0.14, 0.22, 0.06, 0.06, 0.05, 0.03, 0.6)
CONTROL_SPREAD = 0.15
"""Roughly the standard deviations of pose and controls in training: the network's units."""
_STRAY = 3.5  # identity coefficients believed in
NEAREST = 0.3
"""Least depth of a point, the head's own being 1."""
DARKEST, BRIGHTEST = 0.02, 4.0
"""Added to the spread of the colours seen at points; spreads beyond which no colour counts."""
FARTHEST = 5.0
"""Spreads on an axis beyond which nothing counts: a hand or a strand of hair in front must not shout."""


class Belief(NamedTuple):
    """What is believed of a face: controls (B, C), identity (B, I), pose (B, 7) as `POSE`."""

    controls: Tensor
    identity: Tensor
    pose: Tensor


class MeshReader(nn.Module):
    """Pictures to a belief, in steps.

    The points of a rig are set by `place`, the projections onto what varies most in the data by `whiten`; both travel
    with the weights.

    Args:
        config: sizes; ``mesh_points`` above 0.
        extra: features beside what is seen on the mesh, as those of backbones.
    """

    rest: Tensor
    neutral: Tensor
    moves: Tensor
    low: Tensor
    high: Tensor
    normal_mean: Tensor
    normal_axes: Tensor
    rgb_mean: Tensor
    rgb_axes: Tensor
    usual_pose: Tensor
    pose_spread: Tensor

    def __init__(self, config: InversionConfig, extra: int) -> None:
        super().__init__()
        controls, points = len(config.controls), config.mesh_points
        self.counts = (controls, config.identity, len(POSE))
        state = sum(self.counts)

        def keep(buffer: str, *shape: int) -> None:
            self.register_buffer(buffer, torch.zeros(*shape))

        keep("rest", points, 3)
        keep("neutral", controls)
        keep("moves", 2 * controls + config.identity, points * 3)
        for name in config.modalities:
            keep(f"{name}_mean", 3 * points)
            keep(f"{name}_axes", 3 * points, config.mesh_axes)
        constants = {
            "low": config.low,
            "high": config.high,
            "usual_pose": USUAL_POSE,
            "pose_spread": POSE_SPREAD,
        }
        for buffer, values in constants.items():
            self.register_buffer(buffer, torch.tensor(values), persistent=False)
        self.modalities, self.again, self.extra = config.modalities, config.mesh_again, extra
        axes: dict[str, int] = dict.fromkeys(config.modalities, config.mesh_axes)
        self.steps = nn.ModuleList(
            MeshStep(axes, state, extra, config.hidden) for _ in range(config.mesh_steps)
        )
        self.picture = None
        if config.picture_features and "rgb" in config.modalities:
            self.picture = PictureReader(state, config.picture_features)

    # ---- what is set before training ---------------------------------------------------------------------------------

    def place(self, points: LinearPoints) -> None:
        """Set the rig's points (M, 3) and how they move."""
        self.rest.copy_(torch.from_numpy(points.rest))
        self.neutral.copy_(torch.from_numpy(points.neutral))
        moves = [torch.from_numpy(part).flatten(1) for part in (points.up, points.down, points.identity)]
        self.moves.copy_(torch.cat(moves))

    def whiten(self, seen: dict[str, Tensor], least: float) -> None:
        """Set the projections from what is seen (N, 3 M) of each modality: principal axes, each made of unit spread.

        Args:
            seen: of `look`, before any projection.
            least: see `principal_axes`.
        """
        for name, values in seen.items():
            axes = getattr(self, f"{name}_axes")
            mean, found = principal_axes(values, axes.shape[1], least)
            getattr(self, f"{name}_mean").copy_(mean)
            axes.copy_(found)

    # ---- use ---------------------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the points and the axes are set."""
        return bool(self.moves.any())

    def forward(self, images: Mapping[str, Tensor], extra: Tensor) -> list[Belief]:
        """What is believed after each step, and of colours alone after a look at the whole picture, too.

        Args:
            images: (B, 3, S, S) of "rgb" (any scale) and "normal" (components -1..1), those that are there.
            extra: (B, E).
        """
        belief = self.at_first(len(extra))
        beliefs = []
        for step in [*self.steps, *[self.steps[-1]] * self.again]:
            assert isinstance(step, MeshStep)  # noqa: S101 - for the type checker
            state = self.units(belief)
            change = step(self.seen(images, belief), state, extra.float())
            beliefs.append(self.belief(state + change.float()))
            belief = self.within(beliefs[-1])
        if self.picture is not None and set(images) == {"rgb"}:
            state = self.units(belief)
            beliefs.append(self.belief(state + self.picture(images["rgb"], state).float()))
        return beliefs

    def surfaces(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is looked at: colours as they are, normals (ImageNet-normalised) as components -1..1."""
        found: dict[str, Tensor] = {name: images[name] for name in self.modalities if name in images}
        if "normal" in found:
            normal = found["normal"].float()
            mean, spread = (
                normal.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
            )
            found["normal"] = (normal * spread + mean) * 2 - 1
        return found

    def at_first(self, batch: int) -> Belief:
        """What is believed before anything is seen: nobody in particular, at rest."""
        identities = self.counts[1]
        nobody = self.neutral.new_zeros(batch, identities)
        return Belief(self.neutral.expand(batch, -1), nobody, self.usual_pose.expand(batch, -1))

    def seen(self, images: Mapping[str, Tensor], belief: Belief) -> dict[str, Tensor]:
        """What is seen of each modality that is there, (B, K) on its axes."""
        found = self.look(images, belief)
        return {name: self._onto_axes(name, found[name]) for name in self.modalities if name in found}

    def _onto_axes(self, name: str, seen: Tensor) -> Tensor:
        mean: Tensor = getattr(self, f"{name}_mean")
        axes: Tensor = getattr(self, f"{name}_axes")
        return ((seen - mean) @ axes).clamp(-FARTHEST, FARTHEST)

    @torch.no_grad()
    def look(self, images: Mapping[str, Tensor], belief: Belief) -> dict[str, Tensor]:
        """What is seen (B, 3 M) of each modality at the points that are believed in.

        Normals are in head space, colours relative to those of the whole face.
        """
        with torch.autocast(self.rest.device.type, enabled=False):
            return self._look(images, belief)

    def _look(self, images: Mapping[str, Tensor], belief: Belief) -> dict[str, Tensor]:
        turn = rotation(belief.pose[:, :3])
        where = self.project(belief, turn)[:, None] * 2 - 1
        found = {}
        for name, image in images.items():
            at = functional.grid_sample(image.float(), where, align_corners=False, padding_mode="border")[
                :, :, 0
            ]
            if name == "normal":
                at = turn.mT @ at
            else:
                mean, spread = at.mean((1, 2), keepdim=True), at.std((1, 2), keepdim=True)
                at = ((at - mean) / (spread + DARKEST)).clamp(-BRIGHTEST, BRIGHTEST)
            found[name] = at.flatten(1)
        return found

    def points(self, belief: Belief) -> Tensor:
        """(B, M, 3) metres, head space, where the points are believed to be."""
        moved = belief.controls - self.neutral
        amounts = torch.cat([moved.clamp_min(0), (-moved).clamp_min(0), belief.identity], 1)
        points: Tensor = self.rest + (amounts @ self.moves).unflatten(1, (-1, 3))
        return points

    def project(self, belief: Belief, turn: Tensor | None = None) -> Tensor:
        """(B, M, 2) crop coordinates (0..1, y down) of the points."""
        turn = rotation(belief.pose[:, :3]) if turn is None else turn
        return projected(self.points(belief), belief.pose, turn)

    def units(self, belief: Belief) -> Tensor:
        """(B, C + I + 7) a belief in units of usual spreads."""
        pose = (belief.pose - self.usual_pose) / self.pose_spread
        return torch.cat([belief.controls / CONTROL_SPREAD, belief.identity, pose], 1)

    def belief(self, state: Tensor) -> Belief:
        """The inverse of `units`."""
        controls, identity, pose = state.split(self.counts, 1)
        return Belief(controls * CONTROL_SPREAD, identity, pose * self.pose_spread + self.usual_pose)

    def within(self, belief: Belief) -> Belief:
        """What may be looked at: without gradient, in the ranges."""
        controls, identity, pose = (part.detach() for part in belief)
        return Belief(controls.clamp(self.low, self.high), identity.clamp(-_STRAY, _STRAY), pose)


class MeshStep(nn.Module):
    """What is seen on the mesh, what is believed and what else is known, to a change of the belief.

    A straight part, one for each set of modalities that may be there, is solved for once, by least squares
    (`omote.training.mesh_start`); a perceptron learns the rest.

    Args:
        axes: K of each modality.
        state: N, numbers of a belief.
        extra: E, what else is known.
        hidden: width of the perceptron.
    """

    def __init__(self, axes: Mapping[str, int], state: int, extra: int, hidden: int) -> None:
        super().__init__()
        self.axes = dict(axes)
        beside = state + extra + len(axes)
        self.straight = nn.ModuleDict()
        for count in range(1, len(axes) + 1):
            for names in combinations(axes, count):
                layer = nn.Linear(sum(axes[name] for name in names) + state, state).requires_grad_(False)
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
                self.straight["_".join(names)] = layer
        self.first, self.beside = nn.Linear(sum(axes.values()), hidden), nn.Linear(beside, hidden)
        self.norm, self.second = nn.LayerNorm(hidden), nn.Linear(hidden, hidden)
        self.norm2, self.last = nn.LayerNorm(hidden), nn.Linear(hidden, state)
        nn.init.zeros_(self.last.weight)

    def forward(self, seen: Mapping[str, Tensor], state: Tensor, extra: Tensor) -> Tensor:
        """(B, N) of what is seen {modality: (B, K)}, the belief (B, N) and what else is known (B, E)."""
        dtype = self.first.weight.dtype
        batch = len(state)
        flags = state.new_tensor([float(name in seen) for name in self.axes]).expand(batch, -1)
        parts = [
            seen[name] if name in seen else state.new_zeros(batch, axes) for name, axes in self.axes.items()
        ]
        beside = torch.cat([state, extra, flags], 1).to(dtype)
        hidden = functional.gelu(self.norm(self.first(torch.cat(parts, 1).to(dtype)) + self.beside(beside)))
        hidden = hidden + functional.gelu(self.norm2(self.second(hidden)))
        known = torch.cat([*(seen[name] for name in self.axes if name in seen), state], 1)
        straight = self.straight["_".join(name for name in self.axes if name in seen)]
        change: Tensor = self.last(hidden) + straight(known.to(dtype))
        return change


def principal_axes(values: Tensor, count: int, least: float) -> tuple[Tensor, Tensor]:
    """What varies most, made of unit spread.

    Subtle things that tell one control from another vary little; unscaled, gradient descent would learn them last.

    Args:
        values: (N, P).
        count: K of axes.
        least: axes that vary less than this share of the mean spread are not magnified further.

    Returns:
        The mean (P,) and the axes (P, K): ``(values - mean) @ axes``.
    """
    mean = values.mean(0)
    centred = values - mean
    power, directions = torch.linalg.eigh(centred.T @ centred / len(values))
    power = power.flip(0)[:count].clamp_min(0)
    return mean, directions.flip(1)[:, :count] / (power + least**2 * power.mean()).sqrt()


def projected(points: Tensor, pose: Tensor, turn: Tensor) -> Tensor:
    """(B, M, 2) crop coordinates (0..1, y down) of points (B, M, 3) or (M, 3), by pose (B, 7) and turn (B, 3, 3)."""
    turned = points @ turn.mT
    scale, shift, near = pose[:, 3, None, None].exp(), pose[:, None, 4:6], pose[:, 6, None, None]
    flat = turned[..., :2] * turned.new_tensor((1.0, -1.0)) * scale + shift
    made: Tensor = flat / (1 - near * turned[..., 2:]).clamp_min(NEAREST) + 0.5
    return made


def rotation(vector: Tensor) -> Tensor:
    """(B, 3, 3) rotation matrices of rotation vectors (B, 3), radians (Rodrigues)."""
    angle = vector.norm(dim=1, keepdim=True).clamp_min(1e-6)
    x, y, z = (vector / angle).unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).unflatten(1, (3, 3))
    angle = angle[:, :, None]
    made: Tensor = (
        torch.eye(3, device=vector.device) + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)
    )
    return made
