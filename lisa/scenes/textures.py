"""Surface colour: patterns on objects and seven kinds of floor, all in linear RGB.

The textures are band-limited on purpose: at 128 x 128 pixels finer grain would be aliasing, not detail.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
_LATTICE = np.random.default_rng(7).random((64, 64), dtype=np.float32)


def noise(x: Array, y: Array) -> Array:
    """Smooth value noise in [0, 1], period 64 in both directions."""
    xi, yi = np.floor(x), np.floor(y)
    fx, fy = x - xi, y - yi
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    x0, y0 = xi.astype(np.int32) & 63, yi.astype(np.int32) & 63
    x1, y1 = (x0 + 1) & 63, (y0 + 1) & 63
    top = _LATTICE[y0, x0] * (1 - fx) + _LATTICE[y0, x1] * fx
    bottom = _LATTICE[y1, x0] * (1 - fx) + _LATTICE[y1, x1] * fx
    return top + (bottom - top) * fy


def fractal(x: Array, y: Array) -> Array:
    """Two octaves of noise in [0, 1]."""
    return (noise(x, y) + np.float32(0.5) * noise(x * 2 + 17, y * 2 + 3)) * np.float32(1 / 1.5)


def _tint(value: Array, color: tuple[float, float, float]) -> Array:
    return np.stack([value * np.float32(c) for c in color])


def _wooden(x: Array, z: Array, color: Array) -> Array:
    row = np.floor(z / np.float32(0.6))
    grain = noise(x * np.float32(1.3) + row * 7, z * 9)
    edge = np.abs(z / np.float32(0.6) - row - np.float32(0.5))
    along = np.abs(((x + row * np.float32(1.37)) / np.float32(2.3)) % 1 - np.float32(0.5))
    plank = np.float32(0.75) + np.float32(0.35) * grain + np.float32(0.22) * _LATTICE[row.astype(np.int32) & 63, 3]
    return _tint(plank * np.where((edge > 0.46) | (along > 0.485), np.float32(0.55), np.float32(1)), (0.47, 0.27, 0.13))


def _squares(x: Array, z: Array, size: float) -> Array:
    return ((np.floor(x / np.float32(size)) + np.floor(z / np.float32(size))).astype(np.int32) & 1).astype(np.float32)


def _checkered(x: Array, z: Array, color: Array) -> Array:
    return (np.float32(0.12) + np.float32(0.6) * _squares(x, z, 0.9)) * color[:, None] + np.float32(0.05)


def _tiled(x: Array, z: Array, color: Array) -> Array:
    u, v = x / np.float32(1.0), z / np.float32(1.0)
    grout = (np.abs(u % 1 - np.float32(0.5)) > 0.465) | (np.abs(v % 1 - np.float32(0.5)) > 0.465)
    cell = (
        np.float32(0.85)
        + np.float32(0.25) * _LATTICE[np.floor(v).astype(np.int32) & 63, np.floor(u).astype(np.int32) & 63]
    )
    return np.where(grout, np.float32(0.38), cell * (color[:, None] * np.float32(0.5) + np.float32(0.22)))


def _grass(x: Array, z: Array, color: Array) -> Array:
    blade = np.float32(0.62) + np.float32(0.5) * fractal(x * 4, z * 4) + np.float32(0.25) * noise(x * 9, z * 9)
    return _tint(blade, (0.09, 0.27, 0.05))


def _sand(x: Array, z: Array, color: Array) -> Array:
    ripple = np.float32(0.08) * np.sin(z * 5 + 3 * noise(x, z))
    return _tint(np.float32(0.8) + np.float32(0.2) * fractal(x * 3, z * 3) + ripple, (0.62, 0.48, 0.29))


def _marble(x: Array, z: Array, color: Array) -> Array:
    vein = np.sqrt(np.abs(np.sin(x * np.float32(1.1) + 5 * fractal(x * np.float32(0.7), z * np.float32(0.7)))))
    return _tint(vein * np.float32(0.5) + np.float32(0.22), (0.98, 0.98, 1.0))


def _concrete(x: Array, z: Array, color: Array) -> Array:
    return _tint(np.float32(0.82) + np.float32(0.28) * fractal(x * 2, z * 2), (0.34, 0.34, 0.35))


_FLOORS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "wooden": _wooden,
    "checkered": _checkered,
    "tiled": _tiled,
    "grass": _grass,
    "sand": _sand,
    "marble": _marble,
    "concrete": _concrete,
}


def floor_albedo(kind: str, x: Array, z: Array, color: Array) -> Array:
    """Linear RGB (3, N) of a floor at positions x, z (N,); ``color`` (3,) tints tiles and squares."""
    return _FLOORS[kind](x, z, color)


def pattern_mask(kind: str, u: Array, v: Array) -> Array | None:
    """Where a pattern shows its second colour, (N,) bool; None for a plain surface."""
    if kind == "striped":
        return np.sin(v * np.float32(6)) > 0
    if kind == "dotted":
        a, b = u * np.float32(1.5), v * np.float32(1.5)
        return (a % 1 - np.float32(0.5)) ** 2 + (b % 1 - np.float32(0.5)) ** 2 < np.float32(0.09)
    if kind == "checkered":
        return _squares(u, v, 0.75) == 1
    return None
