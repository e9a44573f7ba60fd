"""Pose and draw the embedded head; move a control by its gradient.

python examples/04_render_the_rig.py
python examples/04_render_the_rig.py --set jaw_open=0.6 --set "brow_inner_up_*=1" --size 800
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import omote
from omote.media import write_image
from omote.render.albedo import AlbedoParams, paint_albedo
from omote.render.scene import render_mesh

DEFAULT = ("corner_pull_*=0.7", "cheek_raise_*=0.6", "lips_part=0.5")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--set", action="append", metavar="CONTROL=VALUE", help="a name or pattern; may be repeated"
    )
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--skin", type=float, default=0.4, help="0 (very light) to 1 (very dark)")
    parser.add_argument("-o", "--output", type=Path, default=Path("example_output/head.png"))
    args = parser.parse_args()
    torch.set_num_threads(1)

    rig = omote.load_rig()
    controls = torch.zeros(1, len(rig.space))
    for setting in args.set or DEFAULT:
        pattern, _, value = setting.partition("=")
        controls[0, list(rig.space.match(pattern))] = float(value)
    identity = torch.zeros(1, len(rig.identity_space))  # the average head; each coefficient has unit variance
    vertices = rig(controls, identity)[0]

    # The camera looks along -z from the origin; the head stands 0.9 m away.
    camera = omote.Camera(
        focal=2.8 * args.size, principal=(args.size / 2, args.size / 2), size=(args.size, args.size)
    )
    drawn = render_mesh(
        vertices.numpy() + np.array([0, 0.02, -0.9], np.float32),
        rig.faces,
        camera,
        uv=rig.uv,
        weld=rig.weld,
        albedo=paint_albedo(AlbedoParams(skin=args.skin)),
        background=np.array([0.86, 0.87, 0.88], np.float32),
        supersample=2,
    )
    write_image(args.output, np.round(drawn.rgb * 255).astype(np.uint8))
    print(f"wrote {args.output}: the head covers {100 * (drawn.alpha > 0.5).mean():.0f} % of the picture")

    # The rig is differentiable: which controls move the chin (landmark 152) down most?
    # (Measured a little above neutral: at neutral itself the shapes of one-sided controls just begin.)
    slightly = torch.full_like(controls, 0.05, requires_grad=True)
    corners = torch.from_numpy(rig.landmarks.vertices[152])
    shares = torch.from_numpy(rig.landmarks.barycentric[152])
    chin = (rig(slightly, identity)[0, corners] * shares[:, None]).sum(0)
    (slope,) = torch.autograd.grad(-chin[1], slightly)
    for index in slope[0].argsort(descending=True)[:3].tolist():
        print(f"  {rig.space.names[index]:16} lowers the chin by {1000 * slope[0, index]:.1f} mm per unit")


if __name__ == "__main__":
    main()
