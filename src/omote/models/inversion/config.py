"""What an inversion network is: its rig, its inputs and its layers, as one value that travels with its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from omote.controls import ControlSpace
from omote.errors import InputError

Modality = Literal["rgb", "normal"]
MODALITIES: tuple[Modality, ...] = ("rgb", "normal")

HIERA_TINY = "facebook/hiera-tiny-224-hf"
"""The published pretrained weights of the paper's backbone, on the Hugging Face hub."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MESH_POINTS = 1060
"""On the embedded rig: 1000 on the face, 60 of tongue and teeth."""

QUIET = 0.05
"""Of the network that ships; chosen on validation data of both recipes."""

_LARGEST = {
    "size": 2048,
    "embed_dim": 1024,
    "patch_stride": 64,
    "hidden": 8192,
    "eye_features": 2048,
    "window_features": 2048,
}
_MOST_PLACE_FEATURES = 1024
_MOST_PICTURE_FEATURES = 4096
_MOST_CONTROLS = 4096
_MOST_POINTS = 20_000
_DEEPEST = 200
_LARGEST_GRID = 1024
_OF_EYES = ("gaze", "lid", "eye", "blink")
_NOT_OF_EYES = ("brow",)


@dataclass(frozen=True)
class InversionConfig:
    """An inversion network.

    Args:
        rig: the name of the rig whose controls it predicts.
        controls: their C names, in order.
        low, high: (C,) the range of each.
        modalities: what it sees; each has its own backbone.
        normals: what it takes normals to be: "camera", as the camera sees them, or "tangent", in the tangent frames of
            the head at rest.
        align: "face": the crop is a similarity that brings eye corners and nose to fixed places; "center": the largest
            square about the image's centre (the paper).
        size: side of the square input, pixels.
        backbone: "hiera"; "resnet50" as a baseline, or "none" where the face is read on its mesh alone (the five
            entries below are then unused).
        embed_dim, depths, heads: width of the first stage, layers and heads of each stage; the width doubles from stage
            to stage.
        patch_stride: pixels between tokens; a patch is ``2 * patch_stride - 1`` wide.
        place_features: numbers that describe each final token of a backbone, kept in their places beside the pooled
            features; 0 is the pooled features alone (the paper).
        hidden: width of the regression head.
        mesh_points: points of the rig's surface at which the face is read in steps (`omote.models.inversion.mesh`); 0
            is none (the paper).
        mesh_steps: how many steps with weights of their own; mesh_again: how often the last one is repeated.
        mesh_axes: principal axes that what is seen at the points is projected onto, of each modality.
        picture_features: numbers that describe the whole picture, from which the belief of the steps is corrected where
            RGB is all there is (`omote.models.inversion.picture`); 0 is none.
        identity: coefficients of the rig's identity, which the steps find as well.
        grid: (height, width) of the unwrapped face from which the controls are read once the mesh is found
            (`omote.models.inversion.unwrapped`), multiples of 8; (0, 0) is none.
        grid_axes: principal axes that the unwrapped face is projected onto, of each modality.
        window: (height, width) of the view of the lower face beside the unwrapped one, for what lies on no skin (a
            tongue), multiples of 8; (0, 0) is none.
        window_features: numbers that describe what is seen through it.
        both_ways: whether in use the unwrapped face is read twice, once mirrored, and the mean of both counts; for
            symmetric rigs.
        eye_branch: whether crops of both eyes at full resolution are looked at by a network of their own, beside the
            backbones or the unwrapped face.
        eye_controls: with an unwrapped face, the controls that the eyes' network moves directly.
        agreed: with an unwrapped face, controls (0 at rest) which in use are the geometric mean of what the mesh reader
            and the unwrapped reader say, so that eyes of an unusual make alone do not raise them.
        quiet: (C,) how far from rest a control has to be in use to count; see `omote.models.inversion.network.firm`.
            () and 0 count all.
        eye_size: (width, height) of such a crop, pixels.
        eye_features: numbers that describe one eye.
        frozen_stages: the stem and that many first stages of each backbone are not trained; 0 trains all.
        modality_dropout: how often a training batch goes without (rgb, normals); together at most 1.
        pretrained: where the backbones' first weights came from; None is random.

    Raises:
        InputError: an entry that no network can have.
    """

    rig: str
    controls: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    modalities: tuple[Modality, ...] = MODALITIES
    normals: str = "camera"
    align: Literal["face", "center"] = "face"
    size: int = 512
    backbone: Literal["hiera", "resnet50", "none"] = "hiera"
    embed_dim: int = 96
    depths: tuple[int, ...] = (1, 2, 7, 2)
    heads: tuple[int, ...] = (1, 2, 4, 8)
    patch_stride: int = 4
    place_features: int = 0
    hidden: int = 512
    mesh_points: int = 0
    mesh_steps: int = 4
    mesh_again: int = 1
    mesh_axes: int = 512
    picture_features: int = 0
    identity: int = 0
    grid: tuple[int, int] = (0, 0)
    grid_axes: int = 0
    window: tuple[int, int] = (0, 0)
    window_features: int = 128
    both_ways: bool = False
    eye_branch: bool = False
    eye_controls: tuple[str, ...] = ()
    agreed: tuple[str, ...] = ()
    quiet: tuple[float, ...] = ()
    eye_size: tuple[int, int] = (64, 48)
    eye_features: int = 128
    frozen_stages: int = 0
    modality_dropout: tuple[float, float] = (0.0, 0.0)
    pretrained: str | None = None

    def __post_init__(self) -> None:
        count = len(self.controls)
        if not 0 < count <= _MOST_CONTROLS or len(self.low) != count or len(self.high) != count:
            what = f"{count} controls with {len(self.low)} lows and {len(self.high)} highs"
            raise InputError(what, where="inversion network")
        for name, most in _LARGEST.items():
            if not 0 < getattr(self, name) <= most:
                raise InputError(f"{name} must be within 1..{most}, got {getattr(self, name)}")
        if not 0 <= self.place_features <= _MOST_PLACE_FEATURES:
            what = f"place_features must be within 0..{_MOST_PLACE_FEATURES}, got {self.place_features}"
            raise InputError(what)
        if not 0 <= self.mesh_points <= _MOST_POINTS or not 0 <= self.identity <= _MOST_CONTROLS:
            what = f"mesh_points must be within 0..{_MOST_POINTS} and identity within 0..{_MOST_CONTROLS}"
            raise InputError(f"{what}, got {self.mesh_points} and {self.identity}")
        if self.mesh_points and not 0 < self.mesh_axes <= 3 * self.mesh_points:
            raise InputError(f"mesh_axes must be within 1..{3 * self.mesh_points}, got {self.mesh_axes}")
        if not 0 < self.mesh_steps <= 16 or not 0 <= self.mesh_again <= 16:
            what = f"got {self.mesh_steps} and {self.mesh_again}"
            raise InputError(f"mesh_steps must be within 1..16 and mesh_again within 0..16, {what}")
        if not 0 <= self.picture_features <= _MOST_PICTURE_FEATURES:
            what = f"picture_features must be within 0..{_MOST_PICTURE_FEATURES}, got {self.picture_features}"
            raise InputError(what)
        if self.picture_features and not self.mesh_points:
            raise InputError("picture_features correct what is read on the mesh, and need mesh_points")
        if self.backbone == "none" and not self.mesh_points:
            raise InputError("a network without a backbone needs mesh_points")
        if self.mesh_points and self.align != "face":
            raise InputError("reading on the mesh needs crops that are aligned to the face")
        for name in ("grid", "window"):
            size = getattr(self, name)
            if len(size) != 2 or any(not 0 <= n <= _LARGEST_GRID or n % 8 for n in size):
                raise InputError(f"{name} must be two multiples of 8 up to {_LARGEST_GRID}, got {size}")
        if any(self.grid) and not (all(self.grid) and self.mesh_points):
            raise InputError("an unwrapped face needs a height, a width and mesh_points")
        if any(self.window) and not (all(self.window) and self.grid[0]):
            raise InputError("a window needs a height, a width and an unwrapped face (grid)")
        most = 3 * self.grid[0] * self.grid[1] // 16
        if self.grid[0] and not 0 < self.grid_axes <= most:
            raise InputError(f"grid_axes must be within 1..{most}, got {self.grid_axes}")
        if self.eye_branch and self.backbone == "none" and not self.grid[0]:
            raise InputError("an eye branch without a backbone needs an unwrapped face (grid)")
        if self.eye_branch and self.grid[0] and not self.eye_controls:
            raise InputError("an eye branch beside an unwrapped face needs eye_controls")
        if self.quiet and (len(self.quiet) != count or not self.mesh_points or min(self.quiet) < 0):
            what = f"quiet must be {count} numbers from 0, or none, and needs mesh_points; got {self.quiet}"
            raise InputError(what)
        for name in ("eye_controls", "agreed"):
            if set(getattr(self, name)) - set(self.controls):
                raise InputError(f"{name} must be among the controls, got {getattr(self, name)}")
        if not self.modalities or set(self.modalities) - set(MODALITIES):
            raise InputError(f"modalities must be among rgb and normal, got {list(self.modalities)}")
        if self.normals not in ("camera", "tangent"):
            raise InputError(f"normals must be camera or tangent, got {self.normals}")
        if self.align not in ("face", "center"):
            raise InputError(f"align must be face or center, got {self.align}")
        if self.backbone not in ("hiera", "resnet50", "none"):
            raise InputError(f"backbone must be hiera, resnet50 or none, got {self.backbone}")
        if len(self.depths) != 4 or len(self.heads) != 4 or min(*self.depths, *self.heads) < 1:
            raise InputError(
                f"depths and heads need four numbers of at least 1, got {self.depths}, {self.heads}"
            )
        if sum(self.depths) > _DEEPEST or any(self.embed_dim % h for h in self.heads):
            raise InputError(
                f"embed_dim {self.embed_dim}, depths {self.depths} and heads {self.heads} do not fit"
            )
        if not 0 <= self.frozen_stages <= 4:
            raise InputError(f"frozen_stages must be within 0..4, got {self.frozen_stages}")
        if min(self.modality_dropout) < 0 or sum(self.modality_dropout) > 1:
            raise InputError(
                f"modality_dropout must be two shares of together at most 1, got {self.modality_dropout}"
            )
        unit = 8 * self.patch_stride
        if self.backbone == "hiera" and self.size % unit:
            raise InputError(
                f"size must be a multiple of {unit} (8 tokens of {self.patch_stride} px), got {self.size}"
            )
        if len(self.eye_size) != 2 or any(not 0 < n <= 512 or n % 16 for n in self.eye_size):
            raise InputError(f"eye_size must be two multiples of 16 up to 512, got {self.eye_size}")

    @property
    def final_tokens(self) -> int:
        """How many tokens a backbone ends with."""
        return (self.size // (8 * self.patch_stride if self.backbone == "hiera" else 32)) ** 2

    def does_without(self, modality: Modality) -> bool:
        """Whether it learned to do without a modality (`modality_dropout`), or never looks at it."""
        if modality not in self.modalities:
            return True
        return len(self.modalities) > 1 and self.modality_dropout[MODALITIES.index(modality)] > 0

    @classmethod
    def paper(cls, space: ControlSpace, rig: str) -> InversionConfig:
        """The published network: two Hiera-T at 512 px, three stages frozen, centre crop (arXiv 2510.13933, §3)."""
        return replace(_of(cls, space, rig), align="center", frozen_stages=3, pretrained=HIERA_TINY)

    @classmethod
    def shipped(
        cls,
        space: ControlSpace,
        rig: str,
        *,
        identity: int,
        points: int = MESH_POINTS,
        mirrors: bool = True,
    ) -> InversionConfig:
        """The network that ships: finds the mesh in 128 px crops, then reads the unwrapped face and both eyes.

        Args:
            space: of the rig.
            rig: its name.
            identity: coefficients of its identity.
            points: that `omote.rigs.surface_points.face_points` finds on it.
            mirrors: whether it can be mirrored (`omote.rigs.symmetry.can_be_mirrored`).
        """
        eyes = tuple(name for name in space.names if _is_of_eyes(name))
        return replace(
            _of(cls, space, rig),
            size=128,
            backbone="none",
            mesh_points=points,
            mesh_axes=min(352, 3 * points),
            picture_features=256,
            identity=identity,
            hidden=640,
            grid=(112, 96),
            grid_axes=512,
            window=(72, 96),
            both_ways=mirrors,
            eye_branch=bool(eyes),
            eye_controls=eyes,
            agreed=tuple(name for name in eyes if "tighten" in name.lower() or "squint" in name.lower()),
            quiet=tuple(0.0 if _is_gaze(name) else QUIET for name in space.names),
            modality_dropout=(0.15, 0.15),
        )

    def to_json(self) -> str:
        """All entries as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> InversionConfig:
        """The inverse of `to_json`.

        Raises:
            InputError: not JSON, unknown or missing entries, or values that no network can have.
        """
        try:
            entries = json.loads(text)
            if not isinstance(entries, dict):
                raise TypeError("not an object")
            unknown = set(entries) - {field.name for field in fields(cls)}
            if unknown:
                raise TypeError(f"unknown entries {', '.join(sorted(unknown))}")
            made: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
            return cls(**made)
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"is no description of an inversion network ({error})") from error


def _is_of_eyes(name: str) -> bool:
    """Whether a control's name says that it moves eyes or lids (``gaze_yaw_L``, ``eyeBlinkLeft``)."""
    plain = name.lower().replace("eyebrow", "brow")
    return any(part in plain for part in _OF_EYES) and not any(part in plain for part in _NOT_OF_EYES)


def _is_gaze(name: str) -> bool:
    """Whether a control turns an eye: eyes are hardly ever at rest, and must not stick there."""
    return name.lower().startswith(("gaze", "eyelook"))


def _of(cls: type[InversionConfig], space: ControlSpace, rig: str) -> InversionConfig:
    low, high = tuple(map(float, space.low)), tuple(map(float, space.high))
    return cls(rig=rig, controls=space.names, low=low, high=high)
