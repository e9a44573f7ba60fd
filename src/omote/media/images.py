"""Images in and out: what a camera or a program writes becomes upright 8-bit RGB, or one clear error."""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError, OutputError
from omote.media.paths import PathLike, atomic_path, sniff

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger("omote.media")

MAX_SIDE = 30_000
MAX_PIXELS = 300_000_000
BACKGROUND = (255, 255, 255)
"""What shows through transparent pixels: white, as on a page."""

_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "WEBP", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "HEIF")
_open_lock = threading.Lock()


def check_size(width: int, height: int, where: PathLike, max_pixels: int = MAX_PIXELS) -> None:
    """Raise `InputError` for empty images and those beyond `MAX_SIDE` px a side or ``max_pixels`` in all."""
    if width < 1 or height < 1:
        raise InputError(f"the picture is empty ({width} x {height} px)", where=str(where))
    if max(width, height) > MAX_SIDE or width * height > max_pixels:
        raise InputError(
            f"{width} x {height} px is too large (at most {MAX_SIDE} px a side, "
            f"{max_pixels / 1e6:g} million pixels)",
            where=str(where),
            remedy="Make it smaller first.",
        )


def read_image(path: PathLike, max_pixels: int = MAX_PIXELS, *, colours: bool = True) -> NDArray[np.uint8]:
    """Read an image file by its content, whatever its suffix.

    The EXIF orientation is applied (all eight). 16-bit and float samples are scaled to 8 bits; CMYK and
    images with an embedded colour profile are converted to sRGB; transparent pixels are laid over white
    (`BACKGROUND`); of an animation or a multi-page file the first frame is read and a warning logged on
    ``omote.media``.

    Args:
        path: the file: PNG, JPEG, WebP, GIF, TIFF, BMP, PPM, JPEG 2000, AVIF, and HEIC where `pillow-heif`
            is installed.
        max_pixels: width x height beyond which nothing is decoded. No side may exceed `MAX_SIDE` either.
        colours: False for pictures of numbers (normal maps): colour profile and transparency then change nothing.

    Returns:
        (H, W, 3) uint8 RGB, upright, contiguous, writable.

    Raises:
        InputError: missing, empty, truncated, damaged, too large, not an image, or a kind without a decoder
            here.
    """
    path = Path(path)
    fmt = sniff(path)
    if fmt == "heic":
        _register_heif(path)
    elif fmt not in ("png", "jpeg", "gif", "webp", "bmp", "tiff", "jpeg2000", "avif", "pnm"):
        what = "this is a performance, not an image" if fmt == "omote" else "this is a video, not an image"
        raise InputError(what if fmt else "this is not an image that can be read", where=path)
    try:
        with open_pillow(path) as image:
            check_size(*image.size, path, max_pixels)
            frames = getattr(image, "n_frames", 1) if getattr(image, "is_animated", False) else 1
            if frames > 1 and image.format != "MPO":  # MPO: a JPEG with a preview or a second eye behind it
                logger.warning("%s: holds %d frames; the first one is used", path, frames)
            _check_planes(image, path)
            return to_rgb8(image, colours=colours)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError("there is not enough memory to read it", where=path) from error
    except (
        Exception
    ) as error:  # decoders of hostile files raise anything: SyntaxError, KeyError, struct.error ...
        raise InputError(
            f"the image is damaged or cut off ({_reason(error)})",
            where=path,
            remedy="Copy or export it again.",
        ) from error


@contextmanager
def open_pillow(path: Path) -> Iterator[Image.Image]:
    """Open (not decode) with the decoders of `_FORMATS` only; the size check is the caller's."""
    from PIL import Image

    Image.init()  # registers every decoder, once
    with path.open("rb") as file:
        with _open_lock, warnings.catch_warnings():  # both are global; and Pillow's limit is lower than ours
            warnings.simplefilter("ignore")  # odd EXIF and TIFF tags are not the user's concern
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(file, formats=[f for f in _FORMATS if f in Image.OPEN])
                with suppress(Exception):  # read ahead, for its warnings; `_upright` reports what is wrong
                    image.getexif()
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        yield image


def to_rgb8(image: Image.Image, *, colours: bool = True) -> NDArray[np.uint8]:
    """Decode, turn upright, and convert to (H, W, 3) uint8 sRGB; see `read_image`."""
    from PIL import Image, ImageOps

    image.load()
    image = _upright(image, ImageOps)
    mode = image.mode
    if mode.startswith(("I", "F")):
        return np.ascontiguousarray(np.repeat(_scale_to_8_bits(image)[..., None], 3, axis=2))
    if not colours:
        return np.array(image.convert("RGBA" if "a" in mode else "RGB").convert("RGB"), np.uint8, order="C")
    if mode == "P" and "transparency" not in image.info:
        image = image.convert("RGB")
    if "transparency" in image.info or mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        image = image.convert("RGBA")
        flat = Image.new("RGB", image.size, BACKGROUND)
        flat.paste(_to_srgb(image.convert("RGB"), image.info.get("icc_profile")), mask=image.getchannel("A"))
        image = flat
    else:
        image = _to_srgb(image, image.info.get("icc_profile"))
    return np.array(image, dtype=np.uint8, order="C")


def write_image(path: PathLike, image: NDArray[Any], *, quality: int = 95) -> None:
    """Write an image whole or not at all; the suffix chooses the format.

    Args:
        path: ``.png``, ``.jpg``/``.jpeg`` or ``.webp``. Missing folders are made.
        image: (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey, uint8; PNG also takes (H, W) uint16. JPEG has no
            alpha: it is laid over white.
        quality: 1 to 100, for JPEG (colour at full resolution) and WebP.

    Raises:
        OutputError: unknown suffix, a folder that cannot be written to, a full disk.
        InputError: an array of another shape or type.
    """
    from PIL import Image

    path, array = Path(path), np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    suffix = path.suffix.lower()
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    if suffix not in formats:
        raise OutputError(
            f"cannot write images as {suffix or 'a file without a suffix'}",
            where=path,
            remedy="Use .png, .jpg or .webp.",
        )
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    typed = array.dtype == np.uint8 or (array.dtype == np.uint16 and array.ndim == 2 and suffix == ".png")
    if not (shaped and typed) or array.size == 0:
        raise InputError(
            f"got {array.dtype} of shape {array.shape}, expected uint8 (H, W, 3), (H, W, 4) or (H, W)",
            where=path,
        )
    picture = Image.fromarray(np.ascontiguousarray(array))
    if suffix in (".jpg", ".jpeg") and picture.mode == "RGBA":
        flat = Image.new("RGB", picture.size, BACKGROUND)
        flat.paste(picture, mask=picture.getchannel("A"))
        picture = flat
    options: dict[str, Any] = {
        "PNG": {"compress_level": 4},
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality, "method": 2},
    }[formats[suffix]]
    with atomic_path(path) as temporary:
        try:
            picture.save(temporary, format=formats[suffix], **options)
        except (ValueError, RuntimeError) as error:  # such as a side beyond what JPEG or WebP can hold
            raise OutputError(
                f"cannot be written ({_reason(error)})", where=path, remedy="Use .png."
            ) from error


def _register_heif(path: Path) -> None:
    try:
        import pillow_heif  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise InputError(
            "HEIC photos need a decoder that is not installed",
            where=path,
            remedy="Run `pip install pillow-heif`, or export the photo as JPEG.",
        ) from None
    pillow_heif.register_heif_opener()


def _upright(image: Image.Image, ops: Any) -> Image.Image:
    try:
        turned = ops.exif_transpose(image)
    except Exception as error:  # damaged EXIF beside sound pixels  # noqa: BLE001
        logger.warning("the EXIF block is damaged (%s); the orientation is taken as upright", _reason(error))
        return image
    return image if turned is None else turned


def _check_planes(image: Image.Image, path: Path) -> None:
    """Refuse TIFFs that Pillow decodes wrongly: 16-bit samples with one plane per channel."""
    tags = getattr(image, "tag_v2", None)
    if (
        tags is not None
        and tags.get(284) == 2
        and max(tags.get(258, (8,))) > 8
        and len(tags.get(258, ())) > 1
    ):
        raise InputError(
            "TIFF with 16-bit samples in separate colour planes is not supported",
            where=path,
            remedy="Save it with interleaved channels, or as PNG.",
        )


def _scale_to_8_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Grey of 16 or 32 bits or float to (H, W) uint8.

    White is 65535 for 16 bits; otherwise the first of 1 (float only), 255, 65535 (integers) or the maximum
    that holds all values.
    """
    if image.mode.startswith("I;16"):
        grey = np.asarray(image)
        return np.right_shift(grey.astype(np.uint32) * 255 + 32895, 16).astype(np.uint8)  # round(x / 257)
    grey = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    top = float(grey.max(initial=0.0))
    if image.mode == "F":
        white = 1.0 if top <= 1.0 else max(top, 255.0)
    else:
        white = 255.0 if top <= 255 else max(top, 65535.0)
    return (np.clip(grey / white, 0, 1) * 255 + 0.5).astype(np.uint8)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """To mode RGB, through the embedded profile (Display P3, Adobe RGB, a press) if that is not sRGB."""
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            from PIL import ImageCms

            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if image.mode == "CMYK" or "srgb" not in ImageCms.getProfileDescription(source).lower():
                target = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
                if converted is not None:
                    return converted
        except Exception as error:  # a damaged profile beside sound pixels  # noqa: BLE001
            logger.info("the colour profile cannot be used (%s)", _reason(error))
    return image if image.mode == "RGB" else image.convert("RGB")


def _reason(error: BaseException) -> str:
    """The message of a library's exception in one short line."""
    return " ".join(str(error).split())[:160] or type(error).__name__
