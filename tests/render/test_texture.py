"""Photos into the atlas and back: what is seen is recovered, what is not is known, completed and without seams."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from omote.controls import FACS102
from omote.errors import InputError
from omote.performance import Camera
from omote.render import Albedo, Lights, render_mesh
from omote.render.albedo import paint_albedo
from omote.render.shading import spherical_harmonics
from omote.render.texture import PhotoTexture, complete, delight, merge, unproject
from omote.render.texture_atlas import AtlasMap, atlas_map
from omote.render.texture_light import estimate_light
from omote.render.texture_sampling import sample_texture
from omote.rigs.facs import load_rig

SIZE, SIDE = 384, 320
GREEN = np.array([0.1, 0.7, 0.2], np.float32)
CAMERA = Camera(SIDE * 2.6, (SIDE / 2, SIDE / 2), (SIDE, SIDE))


def head(yaw: float = 0.0, *, scale: float = 1.0, **controls: float) -> np.ndarray:
    """(V, 3) the default head before the camera, turned by yaw degrees to its left."""
    rig = load_rig()
    values = torch.zeros(1, len(FACS102))
    for name, value in controls.items():
        values[0, FACS102.index(name)] = value
    with torch.no_grad():
        points = rig(values, torch.zeros(1, len(rig.identity_space)))[0].numpy()
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return ((points * scale) @ turn.T + [0, 0.02, -0.9]).astype(np.float32)


def photograph(
    vertices: np.ndarray, albedo: np.ndarray, lights: Lights | str = "flat", background: np.ndarray = GREEN
) -> np.ndarray:
    """(H, W, 3) float sRGB; no lashes, which no texture holds."""
    rig = load_rig()
    opaque = np.where(rig.face_part.numpy() == rig.part_names.index("lashes"), 0.0, 1.0).astype(np.float32)
    drawn = render_mesh(
        vertices,
        rig.faces,
        CAMERA,
        uv=rig.uv,
        weld=rig.weld,
        albedo=Albedo.from_srgb(albedo),
        lights=lights,
        background=background,
        supersample=2,
        face_alpha=opaque,
    )
    return np.asarray(drawn.rgb)


@cache
def painted() -> np.ndarray:
    return paint_albedo(size=SIZE) / np.float32(255)


@cache
def atlas() -> AtlasMap:
    return atlas_map(SIZE)


@cache
def seen_texture(yaw: float = 15.0) -> PhotoTexture:
    return unproject(photograph(head(yaw), painted()), head(yaw), CAMERA, size=SIZE)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b) ** 2)))


def test_seen_texels_are_recovered() -> None:
    texture = seen_texture()
    sure = (texture.confidence > 0.6) & atlas().texels.covered
    assert sure.sum() > 0.15 * atlas().texels.covered.sum()
    error = np.abs(texture.colour - painted())[sure].max(1)
    assert np.median(error) < 0.008
    assert np.quantile(error, 0.95) < 0.05


def test_render_from_the_photos_pose_is_the_photo() -> None:
    vertices = head(15)
    photo = photograph(vertices, painted())
    again = photograph(vertices, complete(seen_texture()).to_uint8())
    inside = np.abs(photo - GREEN).max(2) > 0.02
    assert psnr(photo[inside], again[inside]) > 36


def test_back_of_the_head_is_not_seen() -> None:
    texture = seen_texture(0.0)
    confidence = atlas().values(texture.confidence)
    _, y, z = atlas().texels.position.T
    assert not confidence[(z < -0.12) & (y > -0.05)].any()
    assert confidence[atlas().part("skin") & (atlas().texels.position[:, 2] > 0.02)].mean() > 0.6


def test_closed_eyes_and_mouth_show_nothing_behind_them() -> None:
    vertices = head(lid_close_L=1.0, lid_close_R=1.0)
    confidence = atlas().values(
        unproject(photograph(vertices, painted()), vertices, CAMERA, size=SIZE).confidence
    )
    hidden = atlas().part("eye_L", "eye_R", "teeth_upper", "teeth_lower", "tongue")
    assert confidence[hidden].mean() < 0.002


def test_open_eyes_are_seen() -> None:
    confidence = atlas().values(seen_texture(0.0).confidence)
    for part in ("eye_L", "eye_R"):
        assert (confidence[atlas().part(part)] > 0.5).sum() > 60


def test_nose_does_not_land_on_the_cheek_behind_it() -> None:
    x, y, z = atlas().texels.position.T
    nose = atlas().part("skin") & (np.abs(x) < 0.020) & (y < 0.0) & (y > -0.056) & (z > 0.022)
    colours = np.where(nose[:, None], np.float32([0.9, 0.1, 0.1]), np.float32([0.6, 0.6, 0.6]))
    vertices = head(50)
    photo = photograph(vertices, atlas().image(colours.astype(np.float32)))
    texture = unproject(photo, vertices, CAMERA, size=SIZE)
    found, sure = atlas().values(texture.colour), atlas().values(texture.confidence) > 0.4
    far = atlas().part("skin") & (np.hypot(x / 0.028, (y + 0.03) / 0.034) > 1)
    assert (sure & far).sum() > 5000
    assert np.quantile((found[:, 0] - found[:, 1])[sure & far], 0.999) < 0.1


@pytest.mark.parametrize("scale", [1.0, 1.04])
def test_background_does_not_land_on_the_head(scale: float) -> None:
    photo = photograph(head(20), painted())
    texture = unproject(photo, head(20, scale=scale), CAMERA, size=SIZE)  # a fit that is a little too large
    skin = atlas().part("skin") & (atlas().values(texture.confidence) > 0.3)
    colour = atlas().values(texture.colour)[skin]
    green = colour[:, 1] - np.maximum(colour[:, 0], colour[:, 2])
    assert (green > 0.1).mean() < 0.001


def test_nothing_comes_from_outside_the_picture() -> None:
    vertices, half = head(), SIDE // 2
    photo = photograph(vertices, painted())[:, half:]
    camera = Camera(CAMERA.focal, (0.0, SIDE / 2), (half, SIDE))
    confidence = atlas().values(unproject(photo, vertices, camera, size=SIZE).confidence)
    side = vertices[atlas().nearest].mean(1)[:, 0]
    assert not confidence[side < -0.004].any()
    assert (confidence[side > 0.004] > 0.5).any()


def test_head_outside_the_picture_is_not_seen() -> None:
    away = head() + np.float32([3.0, 0, 0])
    texture = unproject(np.zeros((SIDE, SIDE, 3), np.uint8), away, CAMERA, size=128)
    assert not texture.confidence.any()
    assert complete(texture).colour.std() > 0.05  # the paint


def test_mirrored_photo_gives_the_mirrored_texture() -> None:
    ramp = np.linspace(0.6, 1.0, SIZE, dtype=np.float32)[None, :, None]
    one = unproject(photograph(head(20), painted() * ramp), head(20), CAMERA, size=SIZE)
    photo = np.ascontiguousarray(photograph(head(20), painted() * ramp)[:, ::-1])
    other = unproject(photo, head(-20), CAMERA, size=SIZE)
    turned = atlas().mirrored(np.concatenate([other.colour, other.confidence[..., None]], 2))
    colour, confidence = atlas().values(one.colour), atlas().values(one.confidence)
    both = (confidence > 0.7) & (turned[:, 3] > 0.7)
    assert both.sum() > 0.85 * (confidence > 0.7).sum()
    assert np.quantile(np.abs(colour - turned[:, :3])[both], 0.95) < 0.02


def test_large_photos_are_averaged() -> None:
    vertices = head()
    camera = Camera(CAMERA.focal * 3, (SIDE * 1.5, SIDE * 1.5), (SIDE * 3, SIDE * 3))
    board = ((np.indices((SIDE * 3, SIDE * 3)).sum(0) % 2)[..., None] * np.ones(3)).astype(np.float32)
    texture = unproject(board, vertices, camera, size=256)
    sure = (texture.confidence > 0.8) & (atlas_map(256).image(atlas_map(256).part("skin")) > 0)
    assert abs(float(texture.colour[sure].mean()) - 0.5) < 0.02
    assert float(texture.colour[sure].std()) < 0.12  # a nearest sample would have 0.5


def test_completion_keeps_what_is_seen() -> None:
    texture = seen_texture()
    full = complete(texture)
    sure = (texture.confidence > 0.95) & (atlas().image(atlas().part("skin")) > 0)
    np.testing.assert_allclose(full.colour[sure], texture.colour[sure], atol=2e-3)
    np.testing.assert_array_equal(full.confidence, texture.confidence)
    assert full.colour.min() >= 0
    assert full.colour.max() <= 1


def test_completion_has_no_seams() -> None:
    """Both copies of a vertex that a UV seam splits show one colour, in a photo of other colours than the paint's."""
    tint = np.float32([0.55, 0.75, 1.0])
    full = complete(unproject(photograph(head(25), painted() * tint), head(25), CAMERA, size=SIZE))
    rig = load_rig()
    uv, weld = rig.uv.numpy(), rig.weld.numpy()
    skin = np.unique(rig.faces.numpy()[rig.face_part.numpy() == 0])
    colours = sample_texture(torch.from_numpy(full.colour), torch.from_numpy(uv)).numpy()
    split = skin[weld[skin] != skin]
    assert len(split) > 50
    step = np.abs(colours[split] - colours[weld[split]]).max(1)
    assert step.max() < 0.08
    assert step.mean() < 0.02


def test_unseen_side_follows_the_seen_one() -> None:
    tint = np.float32([0.5, 0.8, 0.9])
    full = complete(unproject(photograph(head(35), painted() * tint), head(35), CAMERA, size=SIZE))
    x, y, z = atlas().texels.position.T
    cheeks = [
        atlas().part("skin") & (s * x > 0.03) & (np.abs(y + 0.04) < 0.02) & (z > -0.03) for s in (1, -1)
    ]
    left, right = (np.median(atlas().values(full.colour)[c], axis=0) for c in cheeks)
    expected = np.median(atlas().values(painted() * tint)[cheeks[0]], axis=0)
    np.testing.assert_allclose(left, expected, atol=0.03)
    np.testing.assert_allclose(right, expected, atol=0.03)


def test_hidden_part_of_the_iris_is_completed() -> None:
    """The lids hide parts of the irises; rings about the pupil give them back."""
    blue = paint_blue_eyes()
    full = complete(unproject(photograph(head(), blue), head(), CAMERA, size=SIZE))
    from omote.render.texture_eyes import _radius

    for side in "LR":
        ball = atlas().part(f"eye_{side}")
        radius = _radius(atlas(), ball, side)
        iris = (radius > 0.0030) & (radius < 0.0048)
        colour = atlas().values(full.colour)[ball][iris]
        assert np.mean(colour[:, 2] > colour[:, 0] + 0.05) > 0.9


def paint_blue_eyes() -> np.ndarray:
    from omote.render.albedo import AlbedoParams

    return paint_albedo(AlbedoParams(iris=(0.25, 0.45, 0.80)), SIZE) / np.float32(255)


def test_light_on_skin_is_found_and_removed() -> None:
    plain = np.broadcast_to(np.float32([0.72, 0.55, 0.47]), (SIZE, SIZE, 3)).copy()
    harmonics = torch.zeros(9, 3)
    harmonics[0], harmonics[1], harmonics[2], harmonics[3] = 2.2, 0.45, 0.25, 0.30
    lights = Lights.from_harmonics(harmonics)
    vertices = head()
    texture = unproject(photograph(vertices, plain, lights), vertices, CAMERA, size=SIZE)
    found = estimate_light(texture.colour, texture.confidence, vertices)
    assert found is not None
    facing = torch.nn.functional.normalize(
        torch.randn(500, 3, generator=torch.Generator().manual_seed(1)), dim=1
    )
    facing = facing[facing[:, 2] > 0.3]  # what a photo shows
    shading = [spherical_harmonics(facing, h)[:, 1] for h in (found.harmonics, harmonics)]
    assert float(torch.corrcoef(torch.stack(shading))[0, 1]) > 0.98
    relative = shading[0] / shading[0].mean() - shading[1] / shading[1].mean()
    assert float(relative.abs().mean()) < 0.04
    even = delight(texture, vertices, strength=1.0)
    skin = (texture.confidence > 0.7) & (atlas().image(atlas().part("skin")) > 0)
    before, after = texture.colour[skin].mean(1), even.colour[skin].mean(1)
    assert after.std() < 0.45 * before.std()
    assert abs(after.mean() - before.mean()) < 0.03
    np.testing.assert_array_equal(delight(texture, vertices, strength=0.0).colour, texture.colour)


def test_merge_takes_each_place_from_the_better_view() -> None:
    left, right = (seen_texture(yaw) for yaw in (35.0, -35.0))
    other = PhotoTexture(right.colour * np.float32(0.8), right.confidence)  # another exposure
    both = merge([left, other])
    np.testing.assert_array_equal(both.confidence, np.maximum(left.confidence, right.confidence))
    sure = (both.confidence > 0.8) & (atlas().image(atlas().part("skin")) > 0)
    gain = np.median((both.colour / np.maximum(painted(), 0.05))[sure])
    assert gain == pytest.approx(1.0, abs=0.03) or gain == pytest.approx(0.8, abs=0.03)
    error = np.abs(both.colour / np.float32(gain) - painted())[sure].max(1)
    assert np.quantile(error, 0.9) < 0.06


def test_merge_prefers_the_sharp_photo() -> None:
    import cv2

    sharp = seen_texture(0.0)
    blurred = PhotoTexture(np.asarray(cv2.GaussianBlur(sharp.colour, (0, 0), 4)), sharp.confidence)
    both = merge([blurred, sharp])
    skin = (sharp.confidence > 0.9) & (atlas().image(atlas().part("skin")) > 0)
    assert (
        np.abs(both.colour - sharp.colour)[skin].mean()
        < 0.35 * np.abs(blurred.colour - sharp.colour)[skin].mean()
    )


def test_merge_of_one_is_that_one() -> None:
    assert merge([seen_texture()]) is seen_texture()


def test_wrong_inputs_are_told() -> None:
    photo = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match="between 64"):
        unproject(photo, head(), CAMERA, size=10)
    with pytest.raises(InputError, match="embedded head has"):
        unproject(photo, head()[:100], CAMERA, size=64)
    with pytest.raises(InputError, match="one size"):
        merge([])
    with pytest.raises(InputError, match="strength"):
        delight(seen_texture(), head(), strength=2.0)
