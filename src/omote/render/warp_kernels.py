"""Warp kernels of the rasteriser: the same source runs on the CPU and on CUDA.

Every kernel walks its items with a stride (``for i in range(tid, n, threads)``): CUDA launches one thread per
item, the CPU backend (which is serial) launches one thread for all of them and so pays no cost per item.

Vertices are snapped to 1/4096 px, edge functions are exact 64-bit integers and, in wide triangles, the ends of each
pixel row are decided with a margin of half an integer step: coverage is watertight, never doubled, and the same on
every device. Depth is compared as the bits of float32(1/depth); equal bits go to the lower triangle index.
"""

from __future__ import annotations

from typing import Any

import warp as wp

wp.set_module_options({"enable_backward": False, "optimization_level": 3})

SUBPIXEL_BITS = 12
GUARD_BAND = 16384.0  # px: triangles that reach further are dropped, which keeps edge functions below 2^53

_BITS = wp.constant(SUBPIXEL_BITS)
_HALF = wp.constant(1 << (SUBPIXEL_BITS - 1))
_SUBPIXELS = wp.constant(wp.float64(1 << SUBPIXEL_BITS))
_SHIFT = wp.constant(wp.float64(1 << 30))  # makes a coordinate positive, so that truncation is floor
_SHIFT_INT = wp.constant(wp.int64(1 << 30))
_GUARD = wp.constant(GUARD_BAND)


@wp.func
def snap(x: wp.float32) -> int:
    """Round to the nearest subpixel, halves up."""
    return int(wp.int64(wp.float64(x) * _SUBPIXELS + (_SHIFT + wp.float64(0.5))) - _SHIFT_INT)


# Fills one triangle with positive doubled area (subpixels; y points down). `e` are its edge functions at the first
# pixel centre of the box, `step` and `down` their change per column and row. Boxes up to 4 px wide test every pixel,
# since most are tiny; in wider ones each row computes where it starts and ends. The planes are only needed once a
# pixel is covered.
_FILL = """
    typedef long long I;
    const I ax = x2 - x1, ay = y2 - y1, bx = x0 - x2, by = y0 - y2, cx = x1 - x0, cy = y1 - y0;
    const I px = ((I)left << 12) + 2048, py = ((I)top << 12) + 2048;
    const I exact1 = bx * (py - y2) - by * (px - x2), exact2 = cx * (py - y0) - cy * (px - x0);
    // top and left edges own the centres on them: bias 0, others -1
    const I bias0 = -1 - (((ay << 32) - ax) >> 63), bias1 = -1 - (((by << 32) - bx) >> 63);
    const I bias2 = -1 - (((cy << 32) - cx) >> 63);
    I e[3] = {area - exact1 - exact2 + bias0, exact1 + bias1, exact2 + bias2};
    const I step[3] = {-ay * 4096, -by * 4096, -cy * 4096}, down[3] = {ax * 4096, bx * 4096, cx * 4096};
    const int columns = right - left;
    double* plane = (double*)planes.data + 9 * (I)triangle;
    double w = 0.0, wx = 0.0, wy = 0.0;
    bool ready = false;

    double low[3], low_down[3], high[3], high_down[3];
    const bool wide = columns >= 4;
    if (wide) {
        for (int k = 0; k < 3; ++k) {
            const double inverse = step[k] == 0 ? 0.0 : -1.0 / (double)step[k];
            const double end = ((double)e[k] + 0.5) * inverse, end_down = (double)down[k] * inverse;
            low[k] = step[k] > 0 ? end : -1.0e9;
            low_down[k] = step[k] > 0 ? end_down : 0.0;
            high[k] = step[k] < 0 ? end : 1.0e9;
            high_down[k] = step[k] < 0 ? end_down : 0.0;
        }
    }
    for (int i = 0; i <= bottom - top; ++i) {
        int j = 0, last = columns;
        I e0 = e[0] + i * down[0], e1 = e[1] + i * down[1], e2 = e[2] + i * down[2];
        I s0 = step[0], s1 = step[1], s2 = step[2];
        if (wide) {
            const double a0 = low[0] + i * low_down[0], a1 = low[1] + i * low_down[1], a2 = low[2] + i * low_down[2];
            const double b0 = high[0] + i * high_down[0], b1 = high[1] + i * high_down[1];
            const double b2 = high[2] + i * high_down[2];
            double a = a0 > a1 ? a0 : a1, b = b0 < b1 ? b0 : b1;
            a = a > a2 ? a : a2;
            b = b < b2 ? b : b2;
            a = a > 0.0 ? a : 0.0;
            b = b < columns ? b : (double)columns;
            if (a > b) continue;
            j = (int)a;
            j += j < a;  // ceil of a number >= 0
            last = (int)b;
            e0 = e1 = e2 = s0 = s1 = s2 = 0;
        }
        wp::int64* key = keys.data + (top + i) * width + left;
#if defined(__clang__)
#pragma clang loop vectorize(disable) unroll(disable)
#endif
        for (; j <= last; ++j) {
            if ((e0 | e1 | e2) >= 0) {
                if (!ready) {
                    ready = true;
                    const double scale = 1.0 / (double)area, g1 = (w1 - w0) * scale, g2 = (w2 - w0) * scale;
                    const double c1 = w1 * scale, c2 = w2 * scale;
                    wx = g1 * step[1] + g2 * step[2];
                    wy = g1 * down[1] + g2 * down[2];
                    w = w0 + g1 * exact1 + g2 * exact2;
                    double* one = plane + (swapped ? 3 : 0);
                    double* two = plane + (swapped ? 0 : 3);
                    one[1] = c1 * step[1], one[2] = c1 * down[1], one[0] = c1 * exact1 - left * one[1] - top * one[2];
                    two[1] = c2 * step[2], two[2] = c2 * down[2], two[0] = c2 * exact2 - left * two[1] - top * two[2];
                    plane[6] = w - left * wx - top * wy, plane[7] = wx, plane[8] = wy;
                }
                union { float f; int i; } depth;
                depth.f = (float)(w + i * wy + j * wx);
                const wp::int64 value = ((wp::int64)depth.i << 32) | (0xFFFFFFFFLL - triangle);
#if defined(__CUDA_ARCH__)
                atomicMax(key + j, value);
#else
                if (value > key[j]) key[j] = value;
#endif
            }
            e0 += s0;
            e1 += s1;
            e2 += s2;
        }
    }
"""


@wp.func_native(_FILL)
def fill_triangle(
    keys: wp.array(dtype=wp.int64),
    planes: wp.array(dtype=wp.mat33d),
    triangle: int,
    swapped: int,
    area: wp.int64,
    x0: int,
    y0: int,
    x1: int,
    y1: int,
    x2: int,
    y2: int,
    w0: wp.float32,
    w1: wp.float32,
    w2: wp.float32,
    left: int,
    right: int,
    top: int,
    bottom: int,
    width: int,
):
    """See above."""
    ...


@wp.kernel
def snap_vertices(screen: wp.array(dtype=wp.vec3), threads: int, snapped: wp.array(dtype=wp.vec3i)):
    """Kernel 0: subpixel x and y and the bits of 1/depth; bits 0 mark a vertex that cannot be drawn.

    That is: behind the camera, not finite, or outside the guard band (NaN fails every comparison).
    """
    for v in range(wp.tid(), screen.shape[0], threads):
        p = screen[v]
        if wp.abs(p[0]) < _GUARD and wp.abs(p[1]) < _GUARD and p[2] > 0.0 and p[2] < 1.0e30:
            snapped[v] = wp.vec3i(snap(p[0]), snap(p[1]), wp.cast(p[2], wp.int32))
        else:
            snapped[v] = wp.vec3i(0, 0, 0)


@wp.kernel
def draw_triangles(
    snapped: wp.array(dtype=wp.vec3i),
    faces: wp.array(dtype=wp.vec3i),
    layer: wp.array(dtype=wp.uint8),
    wanted_layer: int,
    cull: int,
    width: int,
    height: int,
    threads: int,
    keys: wp.array(dtype=wp.int64),
    planes: wp.array(dtype=wp.mat33d),
):
    """Kernel A: keys[pixel] = max over covering triangles of (bits of float32(1/depth)) << 32 | (2^32 - 1 - triangle).

    Also writes, for each triangle drawn, the planes kernel B evaluates: weight of vertex 1 and of vertex 2 (both times
    1/depth), 1/depth; columns: value at the centre of pixel (0, 0), step per column, step per row.
    """
    zero = wp.int64(0)
    for t in range(wp.tid(), faces.shape[0], threads):
        face = faces[t]
        p0 = snapped[face[0]]
        p1 = snapped[face[1]]
        p2 = snapped[face[2]]
        x0 = p0[0]
        y0 = p0[1]
        area = wp.int64(p1[0] - x0) * wp.int64(p2[1] - y0) - wp.int64(p1[1] - y0) * wp.int64(p2[0] - x0)
        good = wp.min(p0[2], wp.min(p1[2], p2[2])) > 0 and area != zero
        if cull != 0:
            good = good and area < zero  # a front face, since y points down
        if wanted_layer >= 0:
            good = good and int(layer[t]) == wanted_layer
        if good:
            # pixel centres inside the bounding box; its lower end is excluded by the fill rule
            left = wp.max((wp.min(x0, wp.min(p1[0], p2[0])) + (_HALF - 1)) >> _BITS, 0)
            right = wp.min((wp.max(x0, wp.max(p1[0], p2[0])) - _HALF) >> _BITS, width - 1)
            top = wp.max((wp.min(y0, wp.min(p1[1], p2[1])) + (_HALF - 1)) >> _BITS, 0)
            bottom = wp.min((wp.max(y0, wp.max(p1[1], p2[1])) - (_HALF + 1)) >> _BITS, height - 1)
            if left > right or top > bottom:
                continue
            swapped = int(0)
            if area < zero:  # wind it positively
                swapped = int(1)
                area = -area
                turn = p1
                p1 = p2
                p2 = turn
            fill_triangle(
                keys, planes, t, swapped, area, x0, y0, p1[0], p1[1], p2[0], p2[1],
                wp.cast(p0[2], wp.float32), wp.cast(p1[2], wp.float32), wp.cast(p2[2], wp.float32),
                left, right, top, bottom, width,
            )  # fmt: skip


_RESOLVE_ROW = """
    wp::int64* key = keys.data + offset;
    wp::int32* id = triangle_id.data + offset;
    float* weights = (float*)(barycentrics.data + offset);
    const double* plane = (const double*)planes.data;
    for (int j = first; j < width; j += step) {
        int triangle = -1;
        float one = 0.0f, two = 0.0f;
        if (key[j] != 0) {
            triangle = (int)(0xFFFFFFFFu - (unsigned int)key[j]);
            key[j] = 0;
            const double* p = plane + 9 * (long long)triangle;
            const double inverse = 1.0 / (p[6] + j * p[7] + row * p[8]);
            one = (float)((p[0] + j * p[1] + row * p[2]) * inverse);
            two = (float)((p[3] + j * p[4] + row * p[5]) * inverse);
        }
        id[j] = triangle;
        weights[2 * j] = one;
        weights[2 * j + 1] = two;
    }
"""


@wp.func_native(_RESOLVE_ROW)
def resolve_row(
    planes: wp.array(dtype=wp.mat33d),
    keys: wp.array(dtype=wp.int64),
    triangle_id: wp.array(dtype=wp.int32),
    barycentrics: wp.array(dtype=wp.vec2),
    offset: int,
    row: int,
    first: int,
    step: int,
    width: int,
):
    """Pixels first, first + step, ... of one row."""
    ...


@wp.kernel
def resolve_pixels(
    planes: wp.array(dtype=wp.mat33d),
    width: int,
    height: int,
    row_threads: int,
    column_threads: int,
    keys: wp.array(dtype=wp.int64),
    triangle_id: wp.array(dtype=wp.int32),
    barycentrics: wp.array(dtype=wp.vec2),
):
    """Kernel B: triangle and perspective-correct barycentrics of each pixel. Clears ``keys`` for the next frame."""
    start_row, start_column = wp.tid()
    for i in range(start_row, height, row_threads):
        resolve_row(
            planes, keys, triangle_id, barycentrics, i * width, i, start_column, column_threads, width
        )  # fmt: skip


def array_view(tensor: Any, dtype: Any) -> wp.array:
    """A Warp array over a contiguous tensor's memory, without a copy. The tensor must outlive it."""
    return wp.from_torch(tensor, dtype=dtype, requires_grad=False)
