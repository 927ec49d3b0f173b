"""Third stage: the judge that reads conditions back from images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lisa.metrics.fidelity import MEASURES, Truth
from lisa.metrics.judge import Judge, half_size, joint_targets
from lisa.pixels import to_pixels
from lisa.pretrain.stage import PretrainStep, Stage
from lisa.recipes import PretrainSettings
from lisa.scenes.pool import Pool

_JOINT_WEIGHT = 4.0
# Generated images are softer than renders; a judge that has only seen renders would mark them down for that alone.
_MAX_BLUR = 2


class JudgeStage(Stage):
    """Train on renders with slight blur and noise: cross-entropy, L1 on disparity, weighted BCE on joints."""

    def __init__(self, settings: PretrainSettings, pool: Pool) -> None:
        torch.manual_seed(settings.seed)
        super().__init__(settings, {"judge": Judge()}, len(pool))
        self.pool = pool
        self.joints: dict[int, Tensor] = {}

    def run_stage(self) -> Iterator[PretrainStep]:
        """Train; see ``Stage.run``."""
        return self.run(self._loss)

    def _joints(self, index: int) -> Tensor:
        if index not in self.joints:
            points = torch.from_numpy(np.asarray(self.pool.keypoints(index), np.float32))
            self.joints[index] = joint_targets(points, self.pool.images.shape[1]).half()
        return self.joints[index].float()

    def _loss(self, index: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        device = self.accelerator.device
        pixels = _soften(to_pixels(self.pool.images[index]), generator).to(device)
        reading = self.together["judge"](pixels)
        classes = torch.from_numpy(half_size(self.pool.classes[index]).astype(np.int64)).to(device)
        disparity = torch.from_numpy(half_size(self.pool.depth[index]).astype(np.float32) / 255).to(device)
        joints = torch.stack([self._joints(int(i)) for i in index]).to(device)
        segmentation = functional.cross_entropy(reading.classes.float(), classes)
        depth = (reading.disparity.float() - disparity).abs().mean()
        weight = 1 + 50 * joints
        pose = (
            functional.binary_cross_entropy_with_logits(reading.joints.float(), joints, reduction="none") * weight
        ).mean()
        parts = {
            "segmentation": float(segmentation.detach()),
            "depth": float(depth.detach()),
            "pose": float(pose.detach()),
        }
        return segmentation + 5 * depth + _JOINT_WEIGHT * pose, parts


def _soften(pixels: Tensor, generator: torch.Generator) -> Tensor:
    blur = int(torch.randint(_MAX_BLUR + 1, (1,), generator=generator))
    if blur:
        pixels = functional.avg_pool2d(
            functional.pad(pixels, (blur // 2, blur - blur // 2) * 2, mode="replicate"), blur + 1, 1
        )
    amount = 0.08 * torch.rand(len(pixels), 1, 1, 1, generator=generator)
    return pixels + amount * torch.randn(pixels.shape, generator=generator)


def judge_floor(judge: Judge, mixed: Pool, people: Pool) -> dict[str, float]:
    """The judge's own figures on held-out renders: what a perfect generator would score."""
    scores = {}
    for name in ("depth", "segmentation", "pose"):
        pool = people if name == "pose" else mixed
        scores[name] = round(
            float(np.nanmean(MEASURES.get(name).values(pool.images, Truth(pool.images, pool), judge))), 4
        )
    return scores
