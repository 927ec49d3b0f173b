"""A posable mannequin: forward kinematics of 18 OpenPose keypoints, and the capsules around them.

The skeleton lives in body coordinates: +y up, +x to the figure's left, +z the way it faces, the hip height as the
unit of the legs. Keypoints follow OpenPose's COCO order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lisa.scenes.geometry import Capsule

KEYPOINTS = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip

# Lengths as shares of the standing height.
_THIGH, _SHIN, _UPPER_ARM, _FOREARM = 0.245, 0.235, 0.17, 0.155
_TORSO, _SHOULDER, _HIP, _NECK_TO_HEAD = 0.29, 0.115, 0.065, 0.125
_ANKLE_HEIGHT = 0.035


@dataclass(frozen=True)
class Joints:
    """Joint angles in radians. Swing is forward, spread is sideways, bend is elbow or knee flexion; (right, left)."""

    lean: float
    arm_swing: tuple[float, float]
    arm_spread: tuple[float, float]
    elbow: tuple[float, float]
    leg_swing: tuple[float, float]
    leg_spread: tuple[float, float]
    knee: tuple[float, float]
    lift: float = 0.0


def sample_joints(pose: str, rng: np.random.Generator) -> Joints:
    """Draw plausible joint angles for one of the five poses."""
    return _POSES[pose](rng)


def _standing(rng: np.random.Generator) -> Joints:
    u = rng.uniform
    return Joints(u(-0.05, 0.1), (u(-0.3, 0.3), u(-0.3, 0.3)), (u(0.08, 0.5), u(0.08, 0.5)), (u(0.1, 0.9), u(0.1, 0.9)),
                  (u(-0.08, 0.08), u(-0.08, 0.08)), (u(0.02, 0.2), u(0.02, 0.2)), (u(0, 0.12), u(0, 0.12)))  # fmt: skip


def _walking(rng: np.random.Generator) -> Joints:
    u, side = rng.uniform, rng.choice((-1.0, 1.0))
    stride, swing = u(0.3, 0.6), u(0.35, 0.75)
    front, back = u(0.05, 0.25), u(0.35, 0.75)
    knees = (front, back) if side > 0 else (back, front)
    return Joints(u(0.02, 0.15), (-side * swing, side * swing), (u(0.05, 0.2), u(0.05, 0.2)),
                  (u(0.3, 1.0), u(0.3, 1.0)), (side * stride, -side * stride), (0.03, 0.03), knees)  # fmt: skip


def _sitting(rng: np.random.Generator) -> Joints:
    u = rng.uniform
    hip = u(2.3, 2.5)
    knee = u(1.8, 2.0)
    return Joints(u(-0.25, 0.0), (u(0.3, 0.9), u(0.3, 0.9)), (u(0.1, 0.4), u(0.1, 0.4)), (u(0.2, 0.9), u(0.2, 0.9)),
                  (hip, hip + u(-0.1, 0.1)), (u(0.05, 0.25), u(0.05, 0.25)), (knee, knee + u(-0.1, 0.1)))  # fmt: skip


def _reaching(rng: np.random.Generator) -> Joints:
    u = rng.uniform
    high, low = u(1.4, 2.9), u(-0.3, 0.3)
    arms = (high, low) if rng.random() < 0.5 else (low, high)
    return Joints(u(0.0, 0.2), arms, (u(0.05, 0.4), u(0.05, 0.4)), (u(0.0, 0.35), u(0.0, 0.35)),
                  (u(-0.2, 0.3), u(-0.3, 0.2)), (u(0.05, 0.2), u(0.05, 0.2)), (u(0, 0.25), u(0, 0.25)))  # fmt: skip


def _jumping(rng: np.random.Generator) -> Joints:
    u = rng.uniform
    return Joints(u(0.0, 0.15), (u(-0.2, 0.4), u(-0.2, 0.4)), (u(1.6, 2.6), u(1.6, 2.6)), (u(0.0, 0.5), u(0.0, 0.5)),
                  (u(-0.2, 0.7), u(-0.2, 0.7)), (u(0.15, 0.5), u(0.15, 0.5)), (u(0.3, 1.3), u(0.3, 1.3)),
                  u(0.15, 0.35))  # fmt: skip


_POSES = {"standing": _standing, "walking": _walking, "sitting": _sitting, "reaching": _reaching, "jumping": _jumping}


def _direction(swing: float, spread: float, side: float) -> np.ndarray:
    """Unit vector of a limb that hangs down at zero angles."""
    out = np.sin(spread) * side
    down = np.cos(spread)
    return np.array([out, -down * np.cos(swing), down * np.sin(swing)])


def _leg(hip: np.ndarray, joints: Joints, index: int, side: float) -> tuple[np.ndarray, np.ndarray]:
    swing, spread, bend = joints.leg_swing[index], joints.leg_spread[index], joints.knee[index]
    knee = hip + _THIGH * _direction(swing, spread, side)
    return knee, knee + _SHIN * _direction(swing - bend, spread * 0.4, side)


def _arm(shoulder: np.ndarray, joints: Joints, index: int, side: float) -> tuple[np.ndarray, np.ndarray]:
    swing, spread, bend = joints.arm_swing[index], joints.arm_spread[index], joints.elbow[index]
    elbow = shoulder + _UPPER_ARM * _direction(swing, spread, side)
    return elbow, elbow + _FOREARM * _direction(swing + bend, spread, side)


def skeleton(joints: Joints) -> np.ndarray:
    """Keypoints (18, 3) for unit standing height, feet (or the seat) resting on y = 0 plus ``joints.lift``."""
    pelvis = np.zeros(3)
    up = np.array([0.0, np.cos(joints.lean), np.sin(joints.lean)])
    forward = np.array([0.0, -np.sin(joints.lean), np.cos(joints.lean)])
    left = np.array([1.0, 0.0, 0.0])
    neck = pelvis + _TORSO * up
    head = neck + _NECK_TO_HEAD * up
    points = {"neck": neck, "nose": head + 0.06 * forward - 0.005 * up}
    for index, (name, side) in enumerate((("right", -1.0), ("left", 1.0))):
        hip, shoulder = pelvis + side * _HIP * left, neck + side * _SHOULDER * left - 0.02 * up
        knee, ankle = _leg(hip, joints, index, side)
        elbow, wrist = _arm(shoulder, joints, index, side)
        points |= {f"{name}_hip": hip, f"{name}_knee": knee, f"{name}_ankle": ankle}
        points |= {f"{name}_shoulder": shoulder, f"{name}_elbow": elbow, f"{name}_wrist": wrist}
        points[f"{name}_eye"] = head + 0.048 * forward + 0.02 * up + side * 0.024 * left
        points[f"{name}_ear"] = head + side * 0.058 * left
    stacked = np.stack([points[name] for name in KEYPOINTS])
    ankles = min(points["right_ankle"][1], points["left_ankle"][1]) - _ANKLE_HEIGHT
    ground = min(ankles, -0.075, points["right_knee"][1] - 0.05, points["left_knee"][1] - 0.05)
    stacked[:, 1] += joints.lift - ground
    return stacked


_LIMBS = (
    ("right_shoulder", "right_elbow", 0.04, "top"), ("right_elbow", "right_wrist", 0.035, "skin"),
    ("left_shoulder", "left_elbow", 0.04, "top"), ("left_elbow", "left_wrist", 0.035, "skin"),
    ("right_hip", "right_knee", 0.055, "legs"), ("right_knee", "right_ankle", 0.044, "legs"),
    ("left_hip", "left_knee", 0.055, "legs"), ("left_knee", "left_ankle", 0.044, "legs"),
)  # fmt: skip


def limbs(points: np.ndarray, height: float) -> list[tuple[Capsule, str]]:
    """Capsules around placed keypoints (18, 3), each with the part it belongs to: top, legs or skin."""
    at = dict(zip(KEYPOINTS, points, strict=True))
    ears = (at["right_ear"] + at["left_ear"]) / 2
    hips = (at["right_hip"] + at["left_hip"]) / 2

    def capsule(a: np.ndarray, b: np.ndarray, radius: float) -> Capsule:
        start, end = (np.asarray(v, np.float32).reshape(3, 1) for v in (a, b))
        return Capsule(start, end, float(radius * height))

    chest = at["neck"] + (hips - at["neck"]) * 0.22
    lower = at["neck"] + (hips - at["neck"]) * 0.9
    crown = ears + (ears - at["neck"]) * 0.15
    across = (at["left_shoulder"] - at["right_shoulder"]) * 0.36
    parts = [(capsule(at[a], at[b], radius), part) for a, b, radius, part in _LIMBS]
    parts += [
        (capsule(chest + across, lower + across * 0.55, 0.068), "top"),
        (capsule(chest - across, lower - across * 0.55, 0.068), "top"),
    ]
    parts += [(capsule(at["neck"], ears, 0.03), "skin"), (capsule(ears, crown, 0.07), "skin")]
    parts += [(capsule(at["right_hip"], at["left_hip"], 0.06), "legs")]
    return parts


def stance(points: np.ndarray) -> tuple[float, float, float, float]:
    """Read a placed skeleton (18, 3): standing height, yaw in radians, and where its hips are, x and z."""
    at = dict(zip(KEYPOINTS, np.asarray(points, np.float64), strict=True))
    hips, across = (at["right_hip"] + at["left_hip"]) / 2, at["left_hip"] - at["right_hip"]
    height = float(np.linalg.norm(at["neck"] - hips)) / _TORSO
    return height, float(np.arctan2(-across[2], across[0])), float(hips[0]), float(hips[2])
