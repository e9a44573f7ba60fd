"""A small rig that satisfies the Rig contract and bends in all the ways the embedded head does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from omote.controls import ARKIT52, FACS102, ControlSpace
from omote.performance import Camera, Performance

PARTS = ("skin", "eye_L", "eye_R", "teeth_lower", "lashes")


def sphere(centre: tuple[float, float, float], radius: float, rows: int, columns: int) -> tuple:
    """A UV sphere with a seam: vertices, faces, uv, weld."""
    v, u = np.meshgrid(np.linspace(0.02, 0.98, rows), np.linspace(0, 1, columns), indexing="ij")
    theta, phi = np.pi * v, 2 * np.pi * u
    points = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), -np.sin(theta) * np.cos(phi)], axis=-1)
    points = points * radius + np.array(centre)
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])
    weld = index.copy()
    weld[:, -1] = weld[:, 0]
    return points.reshape(-1, 3), faces, np.stack([u, v], -1).reshape(-1, 2), weld.reshape(-1)


class FakeRig(torch.nn.Module):
    """102 controls: gaze truly turns eyeballs, lips_together multiply jaw_open, blink and gaze interact."""

    name = "facs"
    space = FACS102
    identity_space = ("wide", "tall")
    part_names = PARTS
    combinations = (("jaw_open", "tongue_out"),)
    gaze_degrees = (30.0, 25.0)

    def __init__(self) -> None:
        super().__init__()
        pieces = [
            sphere((0, -0.02, -0.06), 0.1, 14, 18),
            sphere((0.031, 0, 0), 0.0167, 8, 10),
            sphere((-0.031, 0, 0), 0.0167, 8, 10),
            sphere((0, -0.06, 0), 0.02, 5, 6),
            sphere((0, 0.005, 0.03), 0.01, 5, 6),
        ]
        starts = np.cumsum([0] + [len(p[0]) for p in pieces])
        self.faces = torch.from_numpy(
            np.concatenate([p[1] + s for p, s in zip(pieces, starts, strict=False)])
        )
        self.weld = torch.from_numpy(np.concatenate([p[3] + s for p, s in zip(pieces, starts, strict=False)]))
        self.uv = torch.from_numpy(np.concatenate([p[2] for p in pieces]).astype(np.float32))
        self.face_part = torch.from_numpy(np.repeat(np.arange(5), [len(p[1]) for p in pieces]))
        self.template = torch.from_numpy(np.concatenate([p[0] for p in pieces]).astype(np.float32))
        self.eyes = [slice(int(starts[1]), int(starts[2])), slice(int(starts[2]), int(starts[3]))]
        random = np.random.default_rng(3)
        names = self.space.names
        seeds = {n: random.normal(size=6) for n in names}
        rest = self.template.numpy()
        shapes = []
        for name in (*names, "identity 0", "identity 1", "correction", "combination"):
            seed = seeds.get(name, random.normal(size=6))
            place = np.array([0, -0.02, -0.06]) + 0.1 * seed[:3] / np.linalg.norm(seed[:3])
            weight = np.maximum(0, 1 - np.linalg.norm(rest - place, axis=1) / 0.08)[:, None]
            shapes.append(weight**2 * 0.006 * seed[3:])
        self.shapes = torch.from_numpy(np.stack(shapes).astype(np.float32))
        for eye in self.eyes:
            self.shapes[:, eye] = 0
        self.gated = [i for i, n in enumerate(names) if n.startswith(("lips_together", "sticky"))]
        self.jaw = names.index("jaw_open")

    def albedo_texture(self) -> np.ndarray:
        """A gradient (32, 32, 3)."""
        ramp = np.linspace(60, 220, 32, dtype=np.uint8)
        return np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(120)), -1)

    def forward(self, controls: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        c = controls.clone()
        c[:, self.gated] = c[:, self.gated] * c[:, self.jaw : self.jaw + 1]
        count = len(self.space.names)
        out = self.template + torch.einsum("bc,cvk->bvk", c.clamp(min=0), self.shapes[:count])
        out = out - 0.6 * torch.einsum("bc,cvk->bvk", (-c).clamp(min=0), self.shapes[:count].flip(-1))
        out = out + torch.einsum("bi,ivk->bvk", identity, self.shapes[count : count + 2])
        blink = (
            controls[:, self.space.index("lid_close_L")] * controls[:, self.space.index("gaze_pitch_L")].abs()
        )
        out = out + 0.5 * blink[:, None, None] ** 2 * self.shapes[count + 2]
        tongue = controls[:, self.space.index("tongue_out")] * controls[:, self.jaw]
        out = out + tongue[:, None, None] * self.shapes[count + 3]
        for side, eye in zip("LR", self.eyes, strict=True):
            yaw = controls[:, self.space.index(f"gaze_yaw_{side}")] * np.radians(self.gaze_degrees[0])
            pitch = controls[:, self.space.index(f"gaze_pitch_{side}")] * np.radians(self.gaze_degrees[1])
            centre = self.template[eye].mean(0)
            zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
            ry = torch.stack([yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos()], -1)
            rx = torch.stack(
                [one, zero, zero, zero, pitch.cos(), pitch.sin(), zero, -pitch.sin(), pitch.cos()], -1
            )
            turn = ry.view(-1, 3, 3) @ rx.view(-1, 3, 3)
            out[:, eye] = torch.einsum("bij,vj->bvi", turn, self.template[eye] - centre) + centre
        return out


@pytest.fixture(scope="session")
def rig() -> FakeRig:
    torch.set_num_threads(1)
    return FakeRig()


@pytest.fixture(scope="session")
def take() -> Callable[..., Performance]:
    """A function that makes a take with random controls and a turning head."""

    def make(
        frames: int = 12, space: ControlSpace = FACS102, seed: int = 0, sparse: float = 0.3
    ) -> Performance:
        random = np.random.default_rng(seed)
        keys = random.random((frames // 4 + 2, len(space)))
        keys *= random.random(keys.shape) < sparse
        values = space.low + (space.high - space.low) * keys.astype(np.float32)
        values = np.where(keys == 0, space.neutral, values)
        at = np.linspace(0, len(keys) - 1.001, frames)
        part = (at % 1)[:, None]
        values = values[at.astype(int)] * (1 - part) + values[at.astype(int) + 1] * part
        if space == ARKIT52:
            for first, second in (("In", "Out"), ("Up", "Down")):
                for side in ("Left", "Right"):
                    values[:, space.index(f"eyeLook{first}{side}")] *= 0.5
                    values[:, space.index(f"eyeLook{second}{side}")] = 0
            close, jaw = space.index("mouthClose"), space.index("jawOpen")
            values[:, close] = np.minimum(values[:, close], values[:, jaw])
        clock = np.cumsum(random.uniform(0.02, 0.05, frames)) if frames > 1 else np.zeros(1)
        return Performance(
            space=space,
            controls=values.astype(np.float32),
            head_rotation=random.normal(size=3) * 0.2 + np.linspace(0, 1, frames)[:, None] * [0.1, 3.5, -0.2],
            head_translation=np.array([0.01, -0.02, -0.6]) + 0.02 * random.normal(size=(frames, 3)),
            confidence=np.r_[np.ones(frames - 1), 0.5].astype(np.float32),
            times=clock,
            identity={"facs": np.array([0.5, -1.0], np.float32)},
            camera=Camera(focal=1000.0, principal=(330.0, 250.0), size=(640, 480)),
            source={"file": "fake.mp4", "fps": 30},
        )

    return make
