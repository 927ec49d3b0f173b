"""From a scene to pixels and exact maps: a vectorised ray caster.

One primary ray per sample with direct light, soft shadows from a disc-shaped sun, ambient occlusion from bounding
spheres, one mirror bounce, fog on the floor, and a filmic tone curve. Everything is float32 numpy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lisa.scenes import vocabulary as words
from lisa.scenes.geometry import MISS, dot, normalize
from lisa.scenes.scene import Camera, Scene, Thing
from lisa.scenes.textures import floor_albedo, pattern_mask

Array = np.ndarray
F = np.float32
_EPSILON = F(1e-3)
_HORIZON = F(500)
_GOLDEN_ANGLE = F(2.39996)
_SHADOW_SAMPLES = 4


@dataclass(frozen=True)
class Hits:
    """First surface along each ray: distance (N,), thing (N,) with -2 sky, -1 floor, else its index; solid (N,)."""

    distance: Array
    thing: Array
    solid: Array


def camera_rays(camera: Camera, size: int) -> tuple[Array, Array]:
    """Unit directions (3, size*size) through pixel centres, row by row, and their cosine to the view axis (N,)."""
    grid = (np.arange(size, dtype=F) + F(0.5)) / size * 2 - 1
    x, y = np.meshgrid(grid * F(camera.tan), -grid * F(camera.tan))
    right, up, forward = camera.basis[:, :, None]
    d = forward + right * x.ravel() + up * y.ravel()
    scale = 1 / np.sqrt(dot(d, d))
    return d * scale, scale


def _near(center: Array, radius: float, o: Array, d: Array, spread: float = 0.0) -> Array:
    """Indices of rays that pass a bounding sphere, for rays that spread by ``spread`` per unit of length."""
    to = center - o
    along = dot(to, d)
    size = F(radius)
    reach = size + F(spread) * np.maximum(along, 0) if spread else size
    return np.flatnonzero((along > -size) & (dot(to, to) - along * along < reach * reach))


def _columns(v: Array, index: Array) -> Array:
    return v if v.shape[1] == 1 else np.take(v, index, 1)


def _meetings(thing: Thing, o: Array, d: Array, index: Array) -> Iterator[tuple[int, Array, Array]]:
    """For each solid of a thing: its number, those of the rays ``index`` that meet it, and at what distance."""
    o, d = _columns(o, index), _columns(d, index)
    for j, solid in enumerate(thing.solids):
        rays, oo, dd = index, o, d
        if len(thing.solids) > 1:
            # A limb fills little of a mannequin's sphere, so its own sphere is asked first; it is a little larger,
            # lest rounding take a ray that only grazes.
            near = _near(solid.center, 1.001 * solid.bounding_radius, o, d)
            rays, oo, dd = index[near], _columns(o, near), _columns(d, near)
        distance = solid.hit(oo, dd)
        met = np.flatnonzero((distance > _EPSILON) & (distance < MISS))
        yield j, rays[met], distance[met]


def trace(things: tuple[Thing, ...], o: Array, d: Array) -> Hits:
    """Find the first surface along each ray."""
    t = np.where(d[1] < F(-1e-5), -o[1] / np.minimum(d[1], F(-1e-5)), MISS).astype(F)
    thing_id = np.where(t < _HORIZON, -1, -2).astype(np.int8)
    t = np.where(thing_id == -1, t, MISS)
    solid_id = np.zeros(t.shape, np.int8)
    for i, thing in enumerate(things):
        index = _near(thing.center, thing.radius, o, d)
        for j, met, distance in _meetings(thing, o, d, index):
            closer = distance < t[met]
            won = met[closer]
            t[won], thing_id[won], solid_id[won] = distance[closer], i, j
    return Hits(t, thing_id, solid_id)


@dataclass
class Surface:
    """Shading inputs at surface points, all (3, M) or (M,)."""

    normal: Array
    albedo: Array
    diffuse: Array
    reflectance: Array
    exponent: Array
    metal: Array


def _surface(scene: Scene, p: Array, thing_id: Array, solid_id: Array) -> Surface:
    m = p.shape[1]
    floor = F(words.FLOOR_REFLECTANCE.get(scene.floor, 0.0))
    out = Surface(
        np.zeros((3, m), F), np.zeros((3, m), F), np.ones(m, F), np.full(m, floor), np.full(m, F(40)), np.zeros(m, bool)
    )
    out.normal[1] = 1
    on_floor = np.flatnonzero(thing_id == -1)
    if on_floor.size:
        color = np.array(words.COLORS[scene.floor_color], F)
        out.albedo[:, on_floor] = floor_albedo(scene.floor, p[0, on_floor], p[2, on_floor], color)
    for i, thing in enumerate(scene.things):
        mine = np.flatnonzero(thing_id == i)
        for j in np.unique(solid_id[mine]):
            _paint(out, thing, int(j), mine[solid_id[mine] == j], p)
    return out


def _paint(out: Surface, thing: Thing, j: int, index: Array, p: Array) -> None:
    normal, u, v = thing.solids[j].surface(_columns(p, index))
    color = np.array(thing.colors[j], F)[:, None]
    mask = pattern_mask(thing.pattern, u, v)
    if mask is not None:
        second = np.array(words.COLORS["blue" if thing.color == "white" else "white"], F)[:, None]
        color = np.where(mask, second, color)
    out.normal[:, index], out.albedo[:, index] = normal, color
    out.diffuse[index], out.reflectance[index], out.exponent[index] = words.MATERIAL_LOOK[thing.material]
    out.metal[index] = thing.material == "metal"


def _sun_visibility(scene: Scene, p: Array, facing: Array, samples: int, rng: np.random.Generator) -> Array:
    """Share of the sun's disc seen from each point (M,): jittered spiral samples, only where a shadow can fall."""
    visible = np.ones(p.shape[1], F)
    index = np.flatnonzero(facing)
    faced = _columns(p, index)
    near = {
        thing: index[_near(thing.center, thing.radius, faced, scene.light, scene.light_size)] for thing in scene.things
    }
    reached = np.zeros(p.shape[1], bool)
    for rays in near.values():
        reached[rays] = True
    index = np.flatnonzero(reached)
    if not index.size:
        return visible
    shaded = {thing: np.searchsorted(index, rays) for thing, rays in near.items()}
    u = normalize(np.cross(scene.light, np.array([[0], [1], [0]], F), axis=0)).astype(F)
    v = np.cross(scene.light, u, axis=0).astype(F)
    start, o = rng.random(index.size, dtype=F) * F(2 * np.pi), _columns(p, index)
    seen = np.zeros(index.size, F)
    for k in range(samples):
        angle, r = start + _GOLDEN_ANGLE * F(k), F(scene.light_size * np.sqrt((k + 0.5) / samples))
        d = normalize(scene.light + u * (np.cos(angle) * r) + v * (np.sin(angle) * r))
        seen += ~_blocked(shaded, o, d)
    visible[index] = seen / samples
    return visible


def _blocked(shaded: dict[Thing, Array], o: Array, d: Array) -> Array:
    """Which rays (N,) meet a thing; ``shaded`` names, per thing, the rays that may."""
    blocked = np.zeros(d.shape[1], bool)
    for thing, index in shaded.items():
        for _, met, _ in _meetings(thing, o, d, index[~blocked[index]]):
            blocked[met] = True
    return blocked


def _openness(scene: Scene, p: Array, normal: Array, thing_id: Array) -> Array:
    """Ambient occlusion (M,): how much of the sky the other objects' bounding spheres leave free."""
    free = np.ones(p.shape[1], F)
    for i, thing in enumerate(scene.things):
        to = thing.center - p
        distance2 = dot(to, to)
        cos = np.clip(dot(normal, to) / (np.sqrt(distance2) + F(1e-6)), 0, 1)
        size = thing.radius * F(0.35 if thing.shape == words.MANNEQUIN else 0.72)
        shade = cos * np.minimum(size**2 / np.maximum(distance2, F(0.01)), 1)
        free *= np.where(thing_id == i, F(1), 1 - F(0.85) * shade)
    return free


def _sky(scene: Scene, d: Array) -> Array:
    low, high = (np.array(c, F)[:, None] for c in words.LIGHTING[scene.time][:2])
    return low + (high - low) * np.clip(d[1] * 2 + F(0.15), 0, 1)


def radiance(scene: Scene, o: Array, d: Array, rng: np.random.Generator, bounce: bool = True) -> Array:
    """Linear RGB (3, N) that arrives along each ray."""
    hits = trace(scene.things, o, d)
    out = _sky(scene, d).astype(F)
    index = np.flatnonzero(hits.thing > -2)
    if not index.size:
        return out
    d, t, thing_id = _columns(d, index), hits.distance[index], hits.thing[index]
    p = _columns(o, index) + d * t
    s = _surface(scene, p, thing_id, hits.solid[index])
    p += s.normal * F(2e-3)
    color = _lit(scene, p, d, s, thing_id, rng, _SHADOW_SAMPLES if bounce else 1)
    if bounce:
        _add_mirror(scene, color, p, d, s, rng)
    fog = np.clip((t - 10) / 30, 0, 1) * (thing_id == -1)
    out[:, index] = color * (1 - fog) + out[:, index] * fog
    return out


def _lit(
    scene: Scene, p: Array, d: Array, s: Surface, thing_id: Array, rng: np.random.Generator, samples: int
) -> Array:
    sun, ambient, ground = (np.array(c, F)[:, None] for c in words.LIGHTING[scene.time][2:])
    cos = dot(s.normal, scene.light)
    seen = _sun_visibility(scene, p, cos > 0, samples, rng)
    up = F(0.5) + F(0.5) * s.normal[1]
    sky = (ambient * up + ground * (1 - up)) * _openness(scene, p, s.normal, thing_id)
    half = np.clip(dot(s.normal, normalize(scene.light - d)), 0, 1)
    gloss = (
        np.power(half, s.exponent) * seen * (cos > 0) * (s.exponent + 8) * F(0.007) * np.minimum(s.reflectance * 6, 1)
    )
    tint = np.where(s.metal, s.albedo, F(1))
    return s.albedo * s.diffuse * (sky + np.maximum(cos, 0) * seen * sun) + gloss * tint * sun


def _add_mirror(scene: Scene, color: Array, p: Array, d: Array, s: Surface, rng: np.random.Generator) -> None:
    index = np.flatnonzero(s.reflectance > 0)
    if not index.size:
        return
    normal, view = _columns(s.normal, index), _columns(d, index)
    cos = dot(normal, view)
    mirrored = radiance(scene, _columns(p, index), view - 2 * cos * normal, rng, bounce=False)
    r = s.reflectance[index]
    fresnel = r + (1 - r) * np.power(np.clip(1 + cos, 0, 1), 5) * F(0.6)
    color[:, index] += mirrored * fresnel * np.where(s.metal[index], s.albedo[:, index], F(1))


def render_image(scene: Scene, size: int, samples: int) -> Array:
    """Render to sRGB.

    Args:
        scene: what to draw.
        size: width and height in pixels.
        samples: supersampling per axis, 1 or more.

    Returns:
        (size, size, 3) uint8.
    """
    rng = np.random.default_rng((scene.seed, 0x5AD0))
    d, _ = camera_rays(scene.camera, size * samples)
    linear = radiance(scene, scene.camera.position, d, rng)
    linear = linear.reshape(3, size, samples, size, samples).mean((2, 4)) * F(1.05)
    mapped = linear / (1 + linear * F(0.25)) * F(1.12)
    return (np.clip(mapped, 0, 1) ** F(1 / 2.2) * 255 + F(0.5)).astype(np.uint8).transpose(1, 2, 0)
