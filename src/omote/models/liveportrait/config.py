"""What the LivePortrait networks are made of; every default is the published value (arXiv 2407.03168).

The names are those of the published options. Smaller numbers make smaller networks of the same kind, which can be
trained on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from omote.errors import InputError

_LARGEST_WIDTH = 8192
_MOST_LAYERS = 64
_SMALLEST, _LARGEST = 32, 2048  # px


@dataclass(frozen=True)
class AppearanceConfig:
    """The appearance feature extractor, F.

    Args:
        image_channel: of the image.
        block_expansion: width of the first layer; it doubles with each halving of the resolution.
        num_down_blocks: halvings.
        max_features: widest layer; the last one has this width, which is reshape_channel * reshape_depth.
        reshape_channel: channels of the volume.
        reshape_depth: its depth.
        num_resblocks: residual blocks on the volume.

    Raises:
        InputError: numbers that do not fit together.
    """

    image_channel: int = 3
    block_expansion: int = 64
    num_down_blocks: int = 2
    max_features: int = 512
    reshape_channel: int = 32
    reshape_depth: int = 16
    num_resblocks: int = 6

    def __post_init__(self) -> None:
        _check_widths(
            self, "image_channel", "block_expansion", "max_features", "reshape_channel", "reshape_depth"
        )
        _check_counts(self, "num_down_blocks", "num_resblocks")
        _check_volume(self.max_features, self.reshape_channel, self.reshape_depth)


@dataclass(frozen=True)
class MotionConfig:
    """The motion extractor, M: a ConvNeXt V2 (arXiv 2301.00808) with seven linear heads.

    Args:
        num_kp: keypoints.
        num_bins: of each angle.
        depths: blocks of the four stages.
        dims: their widths.

    Raises:
        InputError: numbers that do not fit together.
    """

    num_kp: int = 21
    num_bins: int = 66
    depths: tuple[int, ...] = (3, 3, 9, 3)
    dims: tuple[int, ...] = (96, 192, 384, 768)

    def __post_init__(self) -> None:
        _check_widths(self, "num_kp", "num_bins")
        if len(self.depths) != 4 or len(self.dims) != 4:
            raise InputError(f"depths and dims need four numbers each, got {self.depths} and {self.dims}")
        if not all(1 <= n <= _MOST_LAYERS for n in self.depths):
            raise InputError(f"depths must be within 1..{_MOST_LAYERS}, got {self.depths}")
        if not all(1 <= n <= _LARGEST_WIDTH for n in self.dims):
            raise InputError(f"dims must be within 1..{_LARGEST_WIDTH}, got {self.dims}")


@dataclass(frozen=True)
class DenseMotionConfig:
    """The dense motion network inside the warping module.

    Args:
        block_expansion: width of the hourglass at the input's resolution; it doubles with each halving.
        max_features: widest layer.
        num_blocks: halvings of the hourglass.
        reshape_depth: depth of the volume.
        compress: channels that the volume is reduced to before it is sampled.

    Raises:
        InputError: numbers that no network can have.
    """

    block_expansion: int = 32
    max_features: int = 1024
    num_blocks: int = 5
    reshape_depth: int = 16
    compress: int = 4

    def __post_init__(self) -> None:
        _check_widths(self, "block_expansion", "max_features", "reshape_depth", "compress")
        _check_counts(self, "num_blocks")


@dataclass(frozen=True)
class WarpingConfig:
    """The warping module, W.

    Args:
        num_kp: keypoints.
        block_expansion, num_down_blocks: the output has block_expansion * 2**num_down_blocks channels.
        max_features: channels times depth of the volume.
        reshape_channel: channels of the volume.
        estimate_occlusion_map: whether the output is weighed by a predicted occlusion map.
        dense_motion_params: of the network that predicts the motion.

    Raises:
        InputError: numbers that do not fit together.
    """

    num_kp: int = 21
    block_expansion: int = 64
    max_features: int = 512
    num_down_blocks: int = 2
    reshape_channel: int = 32
    estimate_occlusion_map: bool = True
    dense_motion_params: DenseMotionConfig = field(default_factory=DenseMotionConfig)

    def __post_init__(self) -> None:
        _check_widths(self, "num_kp", "block_expansion", "max_features", "reshape_channel")
        _check_counts(self, "num_down_blocks")
        _check_volume(self.max_features, self.reshape_channel, self.dense_motion_params.reshape_depth)

    @property
    def out_channels(self) -> int:
        """Channels of the warped feature map."""
        return self.block_expansion * 2**self.num_down_blocks


@dataclass(frozen=True)
class GeneratorConfig:
    """The SPADE generator, G.

    Args:
        upscale: enlargement by the last layer (pixel shuffle); 1 is none.
        block_expansion, max_features, num_down_blocks: the input has block_expansion * 2**num_down_blocks channels, at
            most max_features.
        out_channels: width before the layer that makes the image.
        num_middle_blocks: residual blocks at the input's resolution (published: always 6).
        spade_hidden: width inside a SPADE layer (published: always 128).

    Raises:
        InputError: numbers that no network can have.
    """

    upscale: int = 2
    block_expansion: int = 64
    max_features: int = 512
    num_down_blocks: int = 2
    out_channels: int = 64
    num_middle_blocks: int = 6
    spade_hidden: int = 128

    def __post_init__(self) -> None:
        _check_widths(self, "block_expansion", "max_features", "out_channels", "spade_hidden")
        _check_counts(self, "upscale", "num_down_blocks", "num_middle_blocks")

    @property
    def in_channels(self) -> int:
        """Channels of the feature map that is decoded."""
        return min(self.max_features, self.block_expansion * 2**self.num_down_blocks)


@dataclass(frozen=True)
class RetargetingConfig:
    """One of the small networks that change keypoints: linear layers with ReLU between them.

    Args:
        input_size: numbers that go in.
        hidden_sizes: widths of the layers between.
        output_size: numbers that come out.

    Raises:
        InputError: numbers that no network can have.
    """

    input_size: int
    hidden_sizes: tuple[int, ...]
    output_size: int

    def __post_init__(self) -> None:
        sizes = (self.input_size, *self.hidden_sizes, self.output_size)
        if not self.hidden_sizes or not all(1 <= n <= _LARGEST_WIDTH for n in sizes):
            raise InputError(f"sizes must be within 1..{_LARGEST_WIDTH}, got {sizes}")


STITCHING = RetargetingConfig(126, (128, 128, 64), 65)
EYE = RetargetingConfig(66, (256, 256, 128, 128, 64), 63)
LIP = RetargetingConfig(65, (128, 128, 64), 63)


@dataclass(frozen=True)
class LivePortraitConfig:
    """All networks of one portrait animator.

    Args:
        appearance: F.
        motion: M.
        warping: W.
        generator: G.
        stitching: S, which keeps shoulders and borders where the source has them.
        eye: opens and closes the eyes.
        lip: opens and closes the mouth.
        input_size: side of the pictures that F and M see, px. The networks would take any; they know this one.

    Raises:
        InputError: networks that cannot work together.
    """

    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    warping: WarpingConfig = field(default_factory=WarpingConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    stitching: RetargetingConfig = STITCHING
    eye: RetargetingConfig = EYE
    lip: RetargetingConfig = LIP
    input_size: int = 256

    def __post_init__(self) -> None:
        volume = (self.appearance.reshape_channel, self.appearance.reshape_depth)
        wanted = (self.warping.reshape_channel, self.warping.dense_motion_params.reshape_depth)
        if volume != wanted:
            what = f"F makes volumes of {volume[0]} channels and depth {volume[1]}, W takes {wanted[0]} and {wanted[1]}"
            raise InputError(what)
        if self.warping.out_channels != self.generator.in_channels:
            what = f"W gives {self.warping.out_channels} channels, G takes {self.generator.in_channels}"
            raise InputError(what)
        count = self.motion.num_kp
        if self.warping.num_kp != count:
            raise InputError(f"M finds {count} keypoints, W takes {self.warping.num_kp}")
        sizes = {"stitching": (6 * count, 3 * count + 2), "eye": (3 * count + 3, 3 * count)}
        sizes["lip"] = (3 * count + 2, 3 * count)
        for name, (taken, given) in sizes.items():
            made: RetargetingConfig = getattr(self, name)
            if (made.input_size, made.output_size) != (taken, given):
                what = f"{count} keypoints need {taken} numbers in and {given} out"
                raise InputError(f"{what}, got {made.input_size} and {made.output_size}", where=name)
        unit = 2 ** (self.appearance.num_down_blocks + self.warping.dense_motion_params.num_blocks)
        _check_range(self, ("input_size",), _SMALLEST, _LARGEST)
        if self.input_size % unit:
            raise InputError(f"input_size must be a multiple of {unit}, got {self.input_size}")

    @property
    def output_size(self) -> int:
        """Side of the pictures that G draws, px; published 512."""
        return self.input_size // 2**self.appearance.num_down_blocks * 4 * self.generator.upscale


def _check_widths(config: object, *names: str) -> None:
    _check_range(config, names, 1, _LARGEST_WIDTH)


def _check_counts(config: object, *names: str) -> None:
    _check_range(config, names, 1, _MOST_LAYERS)


def _check_range(config: object, names: tuple[str, ...], low: int, high: int) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or not low <= value <= high:
            raise InputError(f"{name} must be a whole number within {low}..{high}, got {value}")


def _check_volume(features: int, channels: int, depth: int) -> None:
    if features != channels * depth:
        what = f"max_features must be reshape_channel * depth ({channels} * {depth}), got {features}"
        raise InputError(what)
