"""The fused shading kernel: resolve, interpolate, sample, light and average all samples of a pixel, in one pass.

Computes what `omote.render.scene.render_torch` computes, which is the reference for it. One kernel for CPU and CUDA,
with the strided loops of `warp_kernels`.
"""

from __future__ import annotations

import warp as wp

wp.set_module_options({"enable_backward": False, "optimization_level": 3})

SRGB_STEPS = 4096


@wp.struct
class Surface:
    """Per-vertex and per-face data of the mesh, and what rasterising it left: a base layer and one blended over it."""

    screen: wp.array(dtype=wp.vec3)
    faces: wp.array(dtype=wp.vec3i)
    normals: wp.array(dtype=wp.vec3)
    uv: wp.array(dtype=wp.vec2)
    frame_normals: wp.array(dtype=wp.vec3)
    tangents: wp.array(dtype=wp.vec4)
    colours: wp.array(dtype=wp.vec3)
    texture: wp.array2d(dtype=wp.vec3)
    face_alpha: wp.array(dtype=wp.float32)
    planes: wp.array(dtype=wp.mat33d)
    keys: wp.array(dtype=wp.int64)
    over_planes: wp.array(dtype=wp.mat33d)
    over_keys: wp.array(dtype=wp.int64)
    colour_kind: int  # axes of the albedo: 1 one colour, 2 per vertex, 3 texture
    has_uv: int
    has_tangents: int
    has_over: int


@wp.struct
class Lamp:
    """Lights, camera rays at the sample resolution, background."""

    directions: wp.array(dtype=wp.vec3)  # unit
    colours: wp.array(dtype=wp.vec3)
    harmonics: wp.array(dtype=wp.vec3)  # constants multiplied in
    background: wp.array(dtype=wp.vec3)  # linear light
    background_srgb: wp.array(dtype=wp.vec3)
    table: wp.array(dtype=wp.float32)  # sRGB of linear light in equal steps
    count: int
    specular: float
    shininess: float
    dark: float  # cosine below which the highlight is too weak to see
    focal: float
    cx: float
    cy: float
    background_kind: int  # 0 none, 1 one colour, 2 an image


@wp.struct
class Images:
    """The output images, flat."""

    rgb: wp.array(dtype=wp.vec3)
    alpha: wp.array(dtype=wp.float32)
    depth: wp.array(dtype=wp.float32)
    normal: wp.array(dtype=wp.vec3)
    tangent_normal: wp.array(dtype=wp.vec3)
    uv: wp.array(dtype=wp.vec2)
    albedo: wp.array(dtype=wp.vec3)
    triangle_id: wp.array(dtype=wp.int32)


# Pixels first, first + step, ... of row i. In each pixel the samples of one triangle form a group: coverage, depth
# and albedo are taken at every sample, normals and light once at the group's mean (as in hardware multisampling).
_SHADE_ROW = """
    typedef wp::vec_t<3, float> V3;
    typedef wp::vec_t<2, float> V2;
    const int nn = n * n, stride = width * n;
    const float share = 1.0f / nn;
    const V3* h = (const V3*)lamp.harmonics.data;
    const float* table = lamp.table.data;
    const V3* texture = (const V3*)s.texture.data;
    const int th = s.texture.shape[0], tw = s.texture.shape[1];
    for (int j = first; j < width; j += step) {
        wp::int64 base[64], over[64];
        float part[64];
        bool covered[64];
        wp::int64 any = 0;
        for (int k = 0; k < nn; ++k) {
            const int index = (i * n + k / n) * stride + j * n + k % n;
            base[k] = s.keys.data[index];
            over[k] = s.has_over ? s.over_keys.data[index] : 0;
            part[k] = 1.0f;
            covered[k] = false;
            any |= base[k] | over[k];
            if (base[k]) s.keys.data[index] = 0;
            if (over[k]) s.over_keys.data[index] = 0;
            if ((over[k] >> 32) <= (base[k] >> 32)) over[k] = 0;
        }
        const int pixel = i * width + j;
        const int behind = lamp.background_kind == 2 ? pixel : 0;
        if (any == 0) {
            const V3 zero(0.0f);
            out.rgb.data[pixel] = lamp.background_kind ? lamp.background_srgb.data[behind] : zero;
            out.alpha.data[pixel] = 0.0f;
            out.depth.data[pixel] = 0.0f;
            out.normal.data[pixel] = zero;
            out.albedo.data[pixel] = zero;
            out.triangle_id.data[pixel] = -1;
            if (s.has_uv) out.uv.data[pixel] = V2(0.0f);
            if (s.has_tangents) out.tangent_normal.data[pixel] = zero;
            continue;
        }
        V3 colour(0.0f), albedo(0.0f), normal(0.0f), tangent_normal(0.0f);
        V2 uv(0.0f);
        float alpha = 0.0f, nearest = 0.0f;
        int seen = -1;
        for (int layer = s.has_over ? 0 : 1; layer < 2; ++layer) {
            const double* planes = (const double*)(layer ? s.planes.data : s.over_planes.data);
            wp::int64* keys = layer ? base : over;
            for (int start = 0; start < nn; ++start) {
                if (keys[start] == 0) continue;
                const unsigned int label = (unsigned int)keys[start];
                const int t = (int)(0xFFFFFFFFu - label);
                const double* p = planes + 9 * (wp::int64)t;
                const wp::vec_t<3, int> f = s.faces.data[t];
                V3 group(0.0f);
                float weights = 0.0f, sb = 0.0f, sc = 0.0f, sx = 0.0f, sy = 0.0f;
                int count = 0;
                for (int k = start; k < nn; ++k) {
                    if (keys[k] == 0 || (unsigned int)keys[k] != label) continue;
                    keys[k] = 0;
                    const int column = j * n + k % n, row = i * n + k / n;
                    const double w = p[6] + column * p[7] + row * p[8], inverse = 1.0 / w;
                    const float b = (float)((p[0] + column * p[1] + row * p[2]) * inverse);
                    const float c = (float)((p[3] + column * p[4] + row * p[5]) * inverse), a = 1.0f - b - c;
                    float weight = part[k];
                    const bool front = layer == 0 || !covered[k];
                    if (layer == 0) {
                        weight = s.face_alpha.data[t];
                        part[k] = 1.0f - weight;
                        covered[k] = true;
                    }
                    V2 here(0.0f);
                    if (s.has_uv) here = s.uv.data[f[0]] * a + s.uv.data[f[1]] * b + s.uv.data[f[2]] * c;
                    if (s.colour_kind == 3) {
                        float x = here[0] * tw - 0.5f, y = here[1] * th - 0.5f;
                        x = x > 0.0f ? (x < tw - 1 ? x : tw - 1) : 0.0f;
                        y = y > 0.0f ? (y < th - 1 ? y : th - 1) : 0.0f;
                        const int x0 = (int)x, y0 = (int)y;
                        const int x1 = x0 + 1 < tw ? x0 + 1 : x0, y1 = y0 + 1 < th ? y0 + 1 : y0;
                        const float fx = x - x0, fy = y - y0;
                        const V3* top = texture + (wp::int64)y0 * tw;
                        const V3* bottom = texture + (wp::int64)y1 * tw;
                        group += (top[x0] * (1.0f - fx) + top[x1] * fx) * ((1.0f - fy) * weight);
                        group += (bottom[x0] * (1.0f - fx) + bottom[x1] * fx) * (fy * weight);
                    } else if (s.colour_kind == 2) {
                        const V3* vc = s.colours.data;
                        group += (vc[f[0]] * a + vc[f[1]] * b + vc[f[2]] * c) * weight;
                    } else {
                        group += s.colours.data[0] * weight;
                    }
                    weights += weight;
                    sb += b, sc += c, sx += column, sy += row;
                    ++count;
                    if (front && (float)w > nearest) nearest = (float)w, seen = t, uv = here;
                }
                const float each = 1.0f / count, b = sb * each, c = sc * each, a = 1.0f - b - c;
                const V3 p0 = s.screen.data[f[0]], p1 = s.screen.data[f[1]], p2 = s.screen.data[f[2]];
                const bool back = (p1[0] - p0[0]) * (p2[1] - p0[1]) - (p1[1] - p0[1]) * (p2[0] - p0[0]) > 0.0f;
                const V3* vn = s.normals.data;
                const V3 smooth = normalize(vn[f[0]] * a + vn[f[1]] * b + vn[f[2]] * c);
                const V3 m = back ? -smooth : smooth;
                const float x = m[0], y = m[1], z = m[2];
                V3 light = h[0] + h[1] * x + h[2] * y + h[3] * z + h[4] * (x * y) + h[5] * (x * z) + h[6] * (y * z);
                light += h[7] * (x * x - y * y) + h[8] * (3.0f * z * z - 1.0f);
                const float vx = (lamp.cx - sx * each - 0.5f) / lamp.focal;
                const float vy = (sy * each + 0.5f - lamp.cy) / lamp.focal;
                const V3 view = normalize(V3(vx, vy, 1.0f));
                V3 highlight(0.0f);
                for (int l = 0; l < lamp.count; ++l) {
                    const V3 direction = lamp.directions.data[l];
                    const float facing = dot(m, direction);
                    if (facing > 0.0f) {
                        light += lamp.colours.data[l] * facing;
                        const float cosine = dot(m, normalize(view + direction));
                        if (cosine > lamp.dark) {
                            const float lobe = wp::exp(wp::log(cosine) * lamp.shininess);
                            highlight += lamp.colours.data[l] * (lobe * lamp.specular);
                        }
                    }
                }
                for (int q = 0; q < 3; ++q) {
                    const float lit = group[q] * light[q] + highlight[q] * weights;
                    colour[q] += lit > 0.0f ? lit : 0.0f;
                }
                albedo += group;
                normal += m * weights;
                alpha += weights;
                if (s.has_tangents) {
                    const V3* vf = s.frame_normals.data;
                    const wp::vec_t<4, float>* vt = s.tangents.data;
                    const V3 fn = normalize(vf[f[0]] * a + vf[f[1]] * b + vf[f[2]] * c);
                    const wp::vec_t<4, float> t4 = vt[f[0]] * a + vt[f[1]] * b + vt[f[2]] * c;
                    V3 tangent(t4[0], t4[1], t4[2]);
                    tangent = normalize(tangent - fn * dot(fn, tangent));
                    const float up = dot(smooth, cross(fn, tangent));
                    tangent_normal += V3(dot(smooth, tangent), t4[3] < 0.0f ? -up : up, dot(smooth, fn)) * weights;
                }
            }
        }
        out.triangle_id.data[pixel] = seen;
        out.depth.data[pixel] = 1.0f / nearest;
        const float straight = alpha > 0.0f ? 1.0f / alpha : 0.0f;
        alpha *= share;
        out.alpha.data[pixel] = alpha;
        V3 shown = colour * straight;
        if (lamp.background_kind)
            shown = colour * share + lamp.background.data[behind] * (1.0f - alpha);
        albedo = albedo * straight;
        for (int q = 0; q < 6; ++q) {
            float value = q < 3 ? shown[q] : albedo[q - 3];
            value = (value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f) * 4096.0f;
            const int index = value < 4095.0f ? (int)value : 4095;
            value = table[index] + (table[index + 1] - table[index]) * (value - index);
            if (q < 3) shown[q] = value; else albedo[q - 3] = value;
        }
        out.rgb.data[pixel] = shown;
        out.albedo.data[pixel] = albedo;
        out.normal.data[pixel] = normalize(normal);
        if (s.has_uv) out.uv.data[pixel] = uv;
        if (s.has_tangents) out.tangent_normal.data[pixel] = normalize(tangent_normal);
    }
"""


@wp.func_native(_SHADE_ROW)
def shade_row(s: Surface, lamp: Lamp, out: Images, n: int, width: int, i: int, first: int, step: int):
    """See above."""
    ...


@wp.kernel
def shade_pixels(
    surface: Surface,
    lamp: Lamp,
    samples: int,
    width: int,
    height: int,
    row_threads: int,
    column_threads: int,
    out: Images,
):
    """Shade the visible samples of each pixel, average them, encode. Clears the keys for the next frame."""
    start_row, start_column = wp.tid()
    for i in range(start_row, height, row_threads):
        shade_row(surface, lamp, out, samples, width, i, start_column, column_threads)


@wp.kernel
def sum_normals(
    vertices: wp.array(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    weld: wp.array(dtype=wp.int32),
    threads: int,
    sums: wp.array(dtype=wp.vec3),
):
    """Add each face's area-weighted normal to the canonical copies of its vertices."""
    for t in range(wp.tid(), faces.shape[0], threads):
        face = faces[t]
        p = vertices[face[0]]
        normal = wp.cross(vertices[face[1]] - p, vertices[face[2]] - p)
        wp.atomic_add(sums, weld[face[0]], normal)
        wp.atomic_add(sums, weld[face[1]], normal)
        wp.atomic_add(sums, weld[face[2]], normal)


@wp.kernel
def unit_normals(
    sums: wp.array(dtype=wp.vec3),
    weld: wp.array(dtype=wp.int32),
    threads: int,
    normals: wp.array(dtype=wp.vec3),
):
    """Unit normals of all copies; +z where there is none."""
    for v in range(wp.tid(), normals.shape[0], threads):
        normal = sums[weld[v]]
        length = wp.length(normal)
        if length > 0.0:
            normals[v] = normal / length
        else:
            normals[v] = wp.vec3(0.0, 0.0, 1.0)
