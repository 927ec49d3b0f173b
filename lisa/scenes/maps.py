"""Exact maps of a scene, computed from its geometry and not from its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lisa.scenes import vocabulary as words
from lisa.scenes.geometry import MISS
from lisa.scenes.render import Hits, camera_rays, trace
from lisa.scenes.scene import Camera, Scene

Array = np.ndarray


@dataclass(frozen=True)
class Maps:
    """Ground truth of one view of H x W pixels.

    Attributes:
        depth: (H, W) float32, distance along the view axis in world units, inf for the sky.
        normals: (H, W, 3) float32 unit vectors in camera axes (right, up, toward the viewer), 0 for the sky.
        instances: (H, W) int8, 0 sky, 1 floor, 2 and up the things from left to right.
        classes: (H, W) uint8, index into ``vocabulary.CLASSES``.
        edges: (H, W) bool, outlines of objects and creases of their surfaces.
        keypoints: (P, 18, 3) float32 for P mannequins: x and y in pixels, and 1 where visible else 0.
    """

    depth: Array
    normals: Array
    instances: Array
    classes: Array
    edges: Array
    keypoints: Array


def exact_maps(scene: Scene, size: int) -> Maps:
    """Compute every exact map at pixel centres; ``size`` is width and height in pixels."""
    d, cosine = camera_rays(scene.camera, size)
    hits = trace(scene.things, scene.camera.position, d)
    depth = np.where(hits.thing > -2, hits.distance * cosine, np.inf).astype(np.float32).reshape(size, size)
    normals = _normals(scene, hits, d).reshape(3, size, size)
    instances = (hits.thing + 2).reshape(size, size)
    lookup = np.array([0, 1, *(words.CLASS_INDEX[thing.shape] for thing in scene.things)], np.uint8)
    edges = _edges(instances, normals, hits.solid.reshape(size, size), lookup[instances])
    return Maps(depth, normals.transpose(1, 2, 0), instances, lookup[instances], edges, _keypoints(scene, depth))


def _normals(scene: Scene, hits: Hits, d: Array) -> Array:
    world = np.zeros_like(d)
    world[1] = hits.thing == -1
    points = scene.camera.position + d * np.minimum(hits.distance, MISS)
    for i, thing in enumerate(scene.things):
        for j, solid in enumerate(thing.solids):
            index = np.flatnonzero((hits.thing == i) & (hits.solid == j))
            if index.size:
                world[:, index] = solid.surface(points[:, index])[0]
    axes = scene.camera.basis * np.array([[1], [1], [-1]], np.float32)
    return axes @ world


def _edges(instances: Array, normals: Array, solids: Array, classes: Array) -> Array:
    """A pixel is an edge if its left or upper neighbour is another thing, or the surface folds between them."""
    edges = np.zeros(instances.shape, bool)
    limb = classes == words.CLASS_INDEX[words.MANNEQUIN]
    below, above = np.s_[1:, :], np.s_[:-1, :]
    right, left = np.s_[:, 1:], np.s_[:, :-1]
    for here, there in ((below, above), (right, left)):
        fold = (normals[(slice(None), *here)] * normals[(slice(None), *there)]).sum(0) < 0.8
        # Capsules of one limb meet smoothly; only a sharp fold between two of them is an outline.
        fold &= ~(limb[here] & (solids[here] == solids[there]))
        edges[here] |= (instances[here] != instances[there]) | (fold & (instances[here] > 1))
    return edges


def project(scene: Scene, points: Array, size: int) -> tuple[Array, Array]:
    """World points (N, 3) to pixel coordinates (N, 2) as x, y, and depth along the view axis (N,)."""
    local = scene.camera.basis @ (points.T - scene.camera.position)
    scale = size / (2 * scene.camera.tan * local[2])
    return np.stack([size / 2 + local[0] * scale, size / 2 - local[1] * scale], 1), local[2]


def scene_keypoints(scene: Scene, size: int) -> Array:
    """Joints of all P mannequins in pixels, (P, 18, 2) float32, whether they can be seen or not."""
    people = [thing.keypoints for thing in scene.things if thing.keypoints is not None]
    return (
        np.stack([project(scene, points, size)[0] for points in people]) if people else np.zeros((0, 18, 2), np.float32)
    )


def _keypoints(scene: Scene, depth: Array) -> Array:
    people = [thing for thing in scene.things if thing.keypoints is not None]
    out = np.zeros((len(people), 18, 3), np.float32)
    size = depth.shape[0]
    for row, thing in zip(out, people, strict=True):
        row[:, :2], z = project(scene, thing.keypoints, size)
        column, line = np.floor(row[:, :2]).astype(int).T
        inside = (column >= 0) & (column < size) & (line >= 0) & (line < size)
        in_front = depth[np.clip(line, 0, size - 1), np.clip(column, 0, size - 1)]
        # A joint lies inside its limb, so the surface in front of it may be up to a limb's width nearer.
        row[:, 2] = inside & (in_front > z - 0.14 * thing.radius)
    return out


def visible_shares(scene: Scene, size: int) -> tuple[Array, Array, Array]:
    """How well each of T things can be seen, at ``size`` pixels.

    Returns:
        Three (T,) arrays: the share of its silhouette inside the frame, the share of that part which nothing
        covers, and how many pixels are seen. Tracing a wider view tells what lies outside the frame.
    """
    camera = scene.camera
    wide, _ = camera_rays(Camera(camera.position, camera.basis, camera.tan * 1.5), size * 3 // 2)
    d, _ = camera_rays(camera, size)
    seen = trace(scene.things, camera.position, d).thing
    inside, whole = (
        np.array([(trace((thing,), camera.position, rays).thing == 0).sum() for thing in scene.things])
        for rays in (d, wide)
    )
    counts = np.array([(seen == i).sum() for i in range(len(scene.things))])
    return inside / np.maximum(whole, 1), counts / np.maximum(inside, 1), counts
