"""read_image and write_image: every kind of image file becomes upright 8-bit RGB or one clear error."""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from omote.errors import InputError, OutputError
from omote.media import MAX_SIDE, read_image, write_image


def corners() -> np.ndarray:
    """(20, 30, 3): red top left, green top right, blue bottom left, white bottom right."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[:10, :15], image[:10, 15:] = (255, 0, 0), (0, 255, 0)
    image[10:, :15], image[10:, 15:] = (0, 0, 255), (255, 255, 255)
    return image


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_bytes(array: np.ndarray, bits: int, colour: int) -> bytes:
    """A PNG made by hand: Pillow writes no 16-bit colour."""
    height, width = array.shape[:2]
    rows = array.astype(">u2" if bits == 16 else np.uint8)
    raw = b"".join(b"\x00" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# ---- orientation ----

UNDO = {  # what was done to the upright picture before storing it under each EXIF orientation
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_all_orientations_come_out_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(UNDO[orientation](corners())))
    stored.save(path, exif=exif, quality=100)
    image = read_image(path)
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert (
        np.abs(
            image[[3, 3, -3, -3], [3, -3, 3, -3]].astype(int) - corners()[[3, 3, -3, -3], [3, -3, 3, -3]]
        ).max()
        < 12
    )


def test_damaged_exif_does_not_hide_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(corners()).save(path, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\xff\xff")
    assert np.array_equal(read_image(path), corners())


# ---- sample types ----


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_grey_is_scaled(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 128, 129, 257], [32768, 65406, 65407, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    expected = np.floor(values / 257 + 0.5).astype(np.uint8)
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), np.repeat(expected[..., None], 3, axis=2))


def test_16_bit_grey_scaling_is_exact_rounding_everywhere(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(
        read_image(tmp_path / "a.png")[..., 0], np.floor(values / 257 + 0.5).astype(np.uint8)
    )


@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_colour_png_is_scaled(tmp_path: Path, alpha: bool) -> None:
    values = np.array([[[65535, 32768, 256, 65535]] * 3] * 2, np.uint16)
    data = png_bytes(values if alpha else values[..., :3], 16, 6 if alpha else 2)
    (tmp_path / "a.png").write_bytes(data)
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - [255, 128, 1]).max() <= 1


@pytest.mark.parametrize("planar", [False, True])
def test_16_bit_colour_tiff(tmp_path: Path, planar: bool) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = np.array([[[65535, 32768, 256]] * 5] * 4, np.uint16)
    path = tmp_path / "a.tif"
    if planar:
        tifffile.imwrite(path, values.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
        with pytest.raises(InputError, match="separate colour planes") as caught:
            read_image(path)
        assert str(path) in str(caught.value)
    else:
        tifffile.imwrite(path, values, photometric="rgb")
        assert np.abs(read_image(path).astype(int) - [255, 128, 1]).max() <= 1


@pytest.mark.parametrize(("white", "expected"), [(1.0, 128), (255.0, 128), (1000.0, 128)])
def test_float_tiff_takes_the_white_that_fits(tmp_path: Path, white: float, expected: int) -> None:
    values = np.full((4, 4), white / 2, np.float32)
    values[0, 0], values[0, 1] = white, np.nan
    Image.fromarray(values).save(tmp_path / "a.tiff")
    image = read_image(tmp_path / "a.tiff")
    assert image[2, 2].tolist() == [expected] * 3
    assert image[0, 0].tolist() == [255] * 3
    assert image[0, 1].tolist() == [0] * 3


def test_grey_bilevel_and_palette(tmp_path: Path) -> None:
    source = Image.fromarray(corners())
    source.convert("L").save(tmp_path / "grey.png")
    source.convert("1").save(tmp_path / "bits.png")
    source.quantize(8).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "grey.png")[3, 3].tolist() == [76] * 3
    assert read_image(tmp_path / "bits.png")[-3, -3].tolist() == [255] * 3
    assert np.array_equal(read_image(tmp_path / "palette.png"), corners())


@pytest.mark.parametrize("suffix", [".jpg", ".tiff"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[..., 1] = 255  # magenta ink
    Image.fromarray(cmyk, "CMYK").save(tmp_path / f"a{suffix}", quality=100)
    assert np.abs(read_image(tmp_path / f"a{suffix}")[8, 8].astype(int) - [255, 0, 255]).max() <= 4


def test_alpha_lies_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:, :2] = (200, 10, 10, 255)
    rgba[:, 2:4] = (0, 0, 0, 128)
    image = Image.fromarray(rgba)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.webp", lossless=True)
    Image.fromarray(rgba[..., [0, 3]], "LA").save(tmp_path / "la.png")
    for name in ("a.png", "a.webp"):
        assert read_image(tmp_path / name)[0, [0, 2, 5]].tolist() == [[200, 10, 10], [127] * 3, [255] * 3]
    assert read_image(tmp_path / "la.png")[0, [0, 2, 5]].tolist() == [[200] * 3, [127] * 3, [255] * 3]


def test_palette_transparency_lies_on_white(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 1), 1)
    palette.save(tmp_path / "a.png", transparency=0)
    palette.save(tmp_path / "a.gif", transparency=0)
    for name in ("a.png", "a.gif"):
        assert read_image(tmp_path / name)[[0, 1], [0, 1]].tolist() == [[255] * 3, [200, 100, 50]]


def test_colour_profiles(tmp_path: Path) -> None:
    image = Image.fromarray(corners())
    image.save(
        tmp_path / "srgb.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    image.save(tmp_path / "bad.png", icc_profile=b"this is not a colour profile")
    assert np.array_equal(read_image(tmp_path / "srgb.png"), corners())
    assert np.array_equal(read_image(tmp_path / "bad.png"), corners())


# ---- animations, names, sizes ----


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animation_gives_its_first_frame_and_says_so(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    frames[0].save(
        tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=50, lossless=True
    )
    with caplog.at_level(logging.WARNING, logger="omote.media"):
        image = read_image(tmp_path / f"a{suffix}")
    assert image[4, 4].tolist() == [250, 0, 0]
    assert "holds 3 frames" in caplog.text


@pytest.mark.parametrize("name", ["wrong suffix.txt", "no suffix", "名前 と 空白.jpg", "dots..in.name.PNG"])
def test_the_content_counts_not_the_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "写真 2026"
    folder.mkdir()
    Image.fromarray(corners()).save(folder / name, format="PNG")
    assert np.array_equal(read_image(folder / name), corners())
    assert np.array_equal(read_image(str(folder / name)), corners())


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[1, 2, 3]]]


def test_twelve_thousand_pixels_work(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    Image.new("L", (12_000, 12_000), 77).save(tmp_path / "a.png", compress_level=1)
    image = read_image(tmp_path / "a.png")
    assert image.shape == (12_000, 12_000, 3)
    assert image[::4000, ::4000].min() == image[::4000, ::4000].max() == 77
    assert Image.MAX_IMAGE_PIXELS == limit
    assert not recwarn.list


@pytest.mark.parametrize(("width", "height"), [(MAX_SIDE + 1, 1), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_before_decoding(tmp_path: Path, width: int, height: int) -> None:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=f"{width} x {height} px is too large"):
        read_image(tmp_path / "a.png")


def test_max_pixels_is_the_callers(tmp_path: Path) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=10_000).shape == (100, 100, 3)
    with pytest.raises(InputError, match="too large"):
        read_image(tmp_path / "a.png", max_pixels=9_999)


# ---- what goes wrong ----


def one_line(error: pytest.ExceptionInfo[InputError], path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.mkdir(), "folder"),
        (lambda p: p.write_bytes(b""), "empty (0 bytes)"),
        (lambda p: p.write_text("hello, this is a text"), "not an image"),
        (lambda p: p.write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(100)), "a video, not an image"),
    ],
)
def test_unusable_paths(tmp_path: Path, make: Any, says: str) -> None:
    path = tmp_path / "ひと 顔.jpg"
    make(path)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert says in one_line(caught, path)


def test_a_null_byte_in_the_path() -> None:
    with pytest.raises(InputError):
        read_image("a\0b.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".bmp", ".tiff"])
def test_truncated_files_say_so(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert "cut off" in one_line(caught, path)


def test_heic_without_a_decoder_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_heif(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pillow_heif":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_heif)
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(200))
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert "pip install pillow-heif" in one_line(caught, path)


SEEDS: dict[str, bytes] = {}


def seed(kind: str) -> bytes:
    if kind not in SEEDS:
        buffer = io.BytesIO()
        noise = np.random.default_rng(1).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        options = {"save_all": True, "append_images": [Image.fromarray(noise[::-1])]} if kind == "GIF" else {}
        Image.fromarray(noise).save(buffer, format=kind, **options)
        SEEDS[kind] = buffer.getvalue()
    return SEEDS[kind]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"]),
    data=st.data(),
)
def test_only_input_errors_escape_from_damaged_files(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(seed(kind))
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    path = tmp_path / "fuzz"
    path.write_bytes(bytes(content[:end]))
    with contextlib.suppress(InputError):
        image = read_image(path, max_pixels=1_000_000)
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    magic=st.sampled_from(
        [
            b"",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff",
            b"GIF89a",
            b"II*\0",
            b"MM\0*",
            b"BM",
            b"P6 ",
            b"RIFF\0\0\0\0WEBPVP8 ",
        ]
    ),
    rest=st.binary(max_size=200),
)
def test_random_bytes_give_input_errors(tmp_path: Path, magic: bytes, rest: bytes) -> None:
    path = tmp_path / "fuzz"
    path.write_bytes(magic + rest)
    with contextlib.suppress(InputError):
        read_image(path, max_pixels=1_000_000)


# ---- writing ----


def test_png_round_trip_is_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    colour = rng.integers(0, 256, (17, 23, 3), dtype=np.uint8)
    depth = rng.integers(0, 65536, (17, 23), dtype=np.uint16)
    write_image(tmp_path / "新しい フォルダ" / "a.png", colour)
    write_image(tmp_path / "grey.png", colour[..., 0])
    write_image(tmp_path / "depth.png", depth)
    assert np.array_equal(read_image(tmp_path / "新しい フォルダ" / "a.png"), colour)
    assert np.array_equal(read_image(tmp_path / "grey.png")[..., 1], colour[..., 0])
    with Image.open(tmp_path / "depth.png") as image:
        assert np.array_equal(np.asarray(image), depth)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["depth.png", "grey.png", "新しい フォルダ"]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_lossy_round_trip_is_close(tmp_path: Path, suffix: str) -> None:
    ramp = np.add.outer(np.arange(64), np.arange(80))
    image = np.stack([ramp, 200 - ramp, ramp // 2], axis=2).astype(np.uint8)
    write_image(tmp_path / f"a{suffix}", image)
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - image).mean() < 2.5


def test_alpha_is_kept_by_png_and_flattened_by_jpeg(tmp_path: Path) -> None:
    rgba = np.zeros((16, 16, 4), np.uint8)
    write_image(tmp_path / "a.png", rgba)
    write_image(tmp_path / "a.jpg", rgba)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGBA"
    assert read_image(tmp_path / "a.jpg").min() == 255


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_wrong_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected uint8"):
        write_image(tmp_path / "a.png", array)
    assert not list(tmp_path.iterdir())


def test_unwritable_places(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a.png", Path("/proc/omote/a.png"), tmp_path / ("x" * 300 + ".png")):
        with pytest.raises(OutputError) as caught:
            write_image(path, image)
        assert str(caught.value).startswith(f"{path}: cannot be written")
    (tmp_path / "d.png").mkdir()
    with pytest.raises(OutputError, match="this is a folder"):
        write_image(tmp_path / "d.png", image)
    with pytest.raises(OutputError, match=r"Use \.png, \.jpg or \.webp"):
        write_image(tmp_path / "a.xyz", image)


def test_too_wide_for_the_format_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_text("the old one")
    with pytest.raises(OutputError):
        write_image(tmp_path / "a.webp", np.zeros((1, 20_000, 3), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["a.webp"]
    assert (tmp_path / "a.webp").read_text() == "the old one"
