"""Warp kernel that interpolates per-vertex values over the pixels a rasteriser workspace has drawn."""

from __future__ import annotations

import warp as wp

wp.set_module_options({"enable_backward": False, "optimization_level": 3})

_ROW = """
    wp::int64* key = keys.data + offset;
    wp::int32* id = triangle_id.data + offset;
    float* out = values.data + offset;
    const float* vertex = attributes.data;
    const int* corner = (const int*)faces.data;
    const double* plane = (const double*)planes.data;
    for (int j = first; j < width; j += step) {
        int triangle = -1;
        if (key[j] != 0) {
            triangle = (int)(0xFFFFFFFFu - (unsigned int)key[j]);
            key[j] = 0;
            const double* p = plane + 9 * (long long)triangle;
            const double inverse = 1.0 / (p[6] + j * p[7] + row * p[8]);
            const float one = (float)((p[0] + j * p[1] + row * p[2]) * inverse);
            const float two = (float)((p[3] + j * p[4] + row * p[5]) * inverse);
            const float zero = 1.0f - one - two;
            const float* a = vertex + (long long)corner[3 * triangle] * channels;
            const float* b = vertex + (long long)corner[3 * triangle + 1] * channels;
            const float* c = vertex + (long long)corner[3 * triangle + 2] * channels;
            for (int k = 0; k < channels; ++k) out[k * area + j] = zero * a[k] + one * b[k] + two * c[k];
        } else {
            for (int k = 0; k < channels; ++k) out[k * area + j] = 0.0f;
        }
        id[j] = triangle;
    }
"""


@wp.func_native(_ROW)
def interpolate_row(
    planes: wp.array(dtype=wp.mat33d),
    keys: wp.array(dtype=wp.int64),
    faces: wp.array(dtype=wp.vec3i),
    attributes: wp.array(dtype=wp.float32),
    triangle_id: wp.array(dtype=wp.int32),
    values: wp.array(dtype=wp.float32),
    offset: int,
    row: int,
    first: int,
    step: int,
    width: int,
    channels: int,
    area: wp.int64,
):
    """Pixels first, first + step, ... of one row."""
    ...


@wp.kernel
def interpolate_pixels(
    planes: wp.array(dtype=wp.mat33d),
    width: int,
    height: int,
    row_threads: int,
    column_threads: int,
    channels: int,
    keys: wp.array(dtype=wp.int64),
    faces: wp.array(dtype=wp.vec3i),
    attributes: wp.array(dtype=wp.float32),
    triangle_id: wp.array(dtype=wp.int32),
    values: wp.array(dtype=wp.float32),
):
    """Triangle and perspective-correct values, plane by plane, of each pixel. Clears ``keys`` for the next frame."""
    start_row, start_column = wp.tid()
    for i in range(start_row, height, row_threads):
        interpolate_row(
            planes, keys, faces, attributes, triangle_id, values, i * width, i, start_column, column_threads,
            width, channels, wp.int64(width) * wp.int64(height),
        )  # fmt: skip
