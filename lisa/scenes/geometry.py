"""Ray intersection with the solids of the world, vectorised over rays.

Rays are structure-of-arrays: origins ``o`` are (3, N) or (3, 1), directions ``d`` are (3, N) and of unit length,
all float32. ``hit`` gives the distance to the first surface, or ``MISS``. Every solid is convex and is only asked
from outside, so the entry point is all that is ever needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
MISS = np.float32(1e9)
_TINY = np.float32(1e-7)


def dot(a: Array, b: Array) -> Array:
    """Sum over the first axis of a * b: (3, N), (3, N) or (3, 1) -> (N,)."""
    total = a[0] * b[0]
    total += a[1] * b[1]
    total += a[2] * b[2]
    return total


def normalize(v: Array) -> Array:
    """Scale vectors (3, ...) to unit length."""
    return v / np.sqrt(dot(v, v) + np.float32(1e-12))


def point(*xyz: float) -> Array:
    """A float32 column vector, (3, 1)."""
    return np.array(xyz, np.float32).reshape(3, 1)


def _rotate(v: Array, cos: float, sin: float) -> Array:
    """Rotate about the vertical axis."""
    return np.stack(np.broadcast_arrays(cos * v[0] + sin * v[2], v[1], cos * v[2] - sin * v[0]))


def _safe(v: Array) -> Array:
    return np.where(np.abs(v) < _TINY, _TINY, v)


def _between(enter: Array, leave: Array, ok: Array) -> Array:
    """The entry distance where a ray is inside the solid for some length, else MISS."""
    return np.where(ok & (enter < leave), enter, MISS)


def _ball(b: Array, c: Array) -> Array:
    """First root of t^2 + 2 b t + c, or MISS: where a ray enters a ball."""
    disc = b * b - c
    return np.where(disc > 0, -b - np.sqrt(np.maximum(disc, 0)), MISS)


@dataclass(frozen=True)
class Sphere:
    """A ball. ``center`` is (3, 1)."""

    center: Array
    radius: float

    @property
    def bounding_radius(self) -> float:
        """Radius of the smallest ball about ``center`` that holds the solid."""
        return self.radius

    def hit(self, o: Array, d: Array) -> Array:
        """Distance along each ray to the surface, (N,)."""
        q = o - self.center
        return _ball(dot(q, d), dot(q, q) - self.radius**2)

    def surface(self, p: Array) -> tuple[Array, Array, Array]:
        """Unit normal (3, N) and texture coordinates u, v (N,) at surface points (3, N)."""
        n = (p - self.center) / self.radius
        return n, np.arctan2(n[2], n[0]) * np.float32(3 / np.pi), n[1] * 2


@dataclass(frozen=True)
class Cube:
    """A cube with half edge ``half``, turned by ``angle`` radians about the vertical axis."""

    center: Array
    half: float
    angle: float

    @property
    def bounding_radius(self) -> float:
        """Half the space diagonal."""
        return self.half * 3**0.5

    def _turn(self) -> tuple[np.float32, np.float32]:
        return np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))

    def hit(self, o: Array, d: Array) -> Array:
        """Distance along each ray to the surface, (N,): the slab method."""
        cos, sin = self._turn()
        q = _rotate(o - self.center, cos, sin)
        inverse = 1 / _safe(_rotate(d, cos, sin))
        a, b = (-self.half - q) * inverse, (self.half - q) * inverse
        enter, leave = np.minimum(a, b).max(0), np.maximum(a, b).min(0)
        return _between(enter, leave, True)

    def surface(self, p: Array) -> tuple[Array, Array, Array]:
        """Unit normal (3, N) and texture coordinates u, v (N,) at surface points (3, N)."""
        cos, sin = self._turn()
        q = _rotate(p - self.center, cos, sin)
        axis = np.abs(q).argmax(0)
        local = np.where(np.arange(3)[:, None] == axis, np.sign(q), 0).astype(np.float32)
        u = np.where(axis == 0, q[2], q[0]) / self.half
        v = np.where(axis == 1, q[2], q[1]) / self.half
        return _rotate(local, cos, -sin), u * np.float32(1.5), v * np.float32(1.5)


def _slab(y: Array, dy: Array, half: float) -> tuple[Array, Array]:
    inverse = 1 / _safe(dy)
    a, b = (-half - y) * inverse, (half - y) * inverse
    return np.minimum(a, b), np.maximum(a, b)


@dataclass(frozen=True)
class Cylinder:
    """An upright cylinder of half height ``half``."""

    center: Array
    radius: float
    half: float

    @property
    def bounding_radius(self) -> float:
        """Distance from the centre to the rim."""
        return float(np.hypot(self.radius, self.half))

    def hit(self, o: Array, d: Array) -> Array:
        """Distance along each ray to the surface, (N,)."""
        x, y, z = o - self.center
        low, high = _slab(y, d[1], self.half)
        a = d[0] ** 2 + d[2] ** 2 + np.float32(1e-9)
        b = x * d[0] + z * d[2]
        disc = b * b - a * (x * x + z * z - self.radius**2)
        root = np.sqrt(np.maximum(disc, 0)) / a
        return _between(np.maximum(low, -b / a - root), np.minimum(high, -b / a + root), disc > 0)

    def surface(self, p: Array) -> tuple[Array, Array, Array]:
        """Unit normal (3, N) and texture coordinates u, v (N,) at surface points (3, N)."""
        x, y, z = p - self.center
        rim = np.sqrt(x * x + z * z) + np.float32(1e-6)
        cap = np.abs(y) > self.half * np.float32(0.999)
        n = np.stack([np.where(cap, 0, x / rim), np.where(cap, np.sign(y), 0), np.where(cap, 0, z / rim)])
        u = np.where(cap, x / self.radius * 1.5, np.arctan2(z, x) * (3 / np.pi))
        v = np.where(cap, z / self.radius * 1.5, y / self.half * 1.5)
        return n.astype(np.float32), u.astype(np.float32), v.astype(np.float32)


@dataclass(frozen=True)
class Cone:
    """An upright cone, base at -half, apex at +half above ``center``."""

    center: Array
    radius: float
    half: float

    @property
    def bounding_radius(self) -> float:
        """Distance from the centre to the rim."""
        return float(np.hypot(self.radius, self.half))

    def hit(self, o: Array, d: Array) -> Array:
        """Distance along each ray to the surface, (N,)."""
        x, y, z = o - self.center
        low, high = _slab(y, d[1], self.half)
        slope = np.float32((self.radius / (2 * self.half)) ** 2)
        w = self.half - y
        a = d[0] ** 2 + d[2] ** 2 - slope * d[1] ** 2
        a = np.where(np.abs(a) < 1e-6, np.float32(1e-6), a)
        b = x * d[0] + z * d[2] + slope * w * d[1]
        disc = b * b - a * (x * x + z * z - slope * w * w)
        root = np.sqrt(np.maximum(disc, 0))
        first, second = np.minimum((-b - root) / a, (-b + root) / a), np.maximum((-b - root) / a, (-b + root) / a)
        # Where a < 0 the ray crosses both nappes of the double cone: inside is outside the two roots.
        down = d[1] < 0
        enter = np.where(a > 0, first, np.where(down, second, -MISS))
        leave = np.where(a > 0, second, np.where(down, MISS, first))
        return _between(np.maximum(low, enter), np.minimum(high, leave), disc > 0)

    def surface(self, p: Array) -> tuple[Array, Array, Array]:
        """Unit normal (3, N) and texture coordinates u, v (N,) at surface points (3, N)."""
        x, y, z = p - self.center
        rim = np.sqrt(x * x + z * z) + np.float32(1e-6)
        cap = y < -self.half * np.float32(0.999)
        k = self.radius / (2 * self.half)
        tilt = np.float32(1 / np.sqrt(1 + k * k))
        n = np.stack([np.where(cap, 0, x / rim * tilt), np.where(cap, -1, k * tilt), np.where(cap, 0, z / rim * tilt)])
        return n.astype(np.float32), np.arctan2(z, x) * np.float32(3 / np.pi), y / self.half * np.float32(1.5)


@dataclass(frozen=True)
class Capsule:
    """A cylinder with round ends from ``start`` to ``end``, both (3, 1): a limb."""

    start: Array
    end: Array
    radius: float

    @property
    def center(self) -> Array:
        """The middle of the axis, (3, 1)."""
        return (self.start + self.end) / 2

    @property
    def bounding_radius(self) -> float:
        """Half the length with its round ends."""
        return float(np.linalg.norm(self.end - self.start) / 2 + self.radius)

    def hit(self, o: Array, d: Array) -> Array:
        """Distance along each ray to the surface, (N,)."""
        axis, q, r2 = self.end - self.start, o - self.start, self.radius**2
        length2 = max(float(dot(axis, axis)[0]), 1e-9)
        along_d, along_q, q_d, q_q = dot(axis, d), dot(axis, q), dot(q, d), dot(q, q)
        a = np.maximum(length2 - along_d**2, np.float32(1e-9))
        b = length2 * q_d - along_q * along_d
        disc = b * b - a * (length2 * (q_q - r2) - along_q**2)
        side = (-b - np.sqrt(np.maximum(disc, 0))) / a
        reach = along_q + side * along_d
        on_side = (disc > 0) & (reach > 0) & (reach < length2)
        # Outside the cylindrical part the nearer of the two round ends counts.
        start = _ball(q_d, q_q - r2)
        end = _ball(q_d - along_d, q_q - 2 * along_q + length2 - r2)
        return np.where(on_side, side, np.minimum(start, end))

    def surface(self, p: Array) -> tuple[Array, Array, Array]:
        """Unit normal (3, N) and texture coordinates u, v (N,) at surface points (3, N)."""
        axis, q = self.end - self.start, p - self.start
        share = np.clip(dot(axis, q) / max(float(dot(axis, axis)[0]), 1e-9), 0, 1)
        n = normalize(q - axis * share)
        return n, np.arctan2(n[2], n[0]) * np.float32(3 / np.pi), share * 3
