"""Fidelity measures against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lisa.errors import LisaError
from lisa.metrics.fidelity import MEASURES, edge_f1, mean_iou, pck, psnr
from lisa.metrics.judge import Judge, joint_targets, load_judge


def line(column: int) -> np.ndarray:
    edges = np.zeros((20, 20), bool)
    edges[:, column] = True
    return edges


def test_edge_f1_tolerates_one_pixel_and_no_more():
    assert edge_f1(line(5), line(5)) == 1 and edge_f1(line(5), line(6)) == 1 and edge_f1(line(5), line(7)) == 0
    assert edge_f1(line(5) | line(15), line(5)) == pytest.approx(2 / 3)


def test_edge_f1_of_empty_maps():
    empty = np.zeros((20, 20), bool)
    assert edge_f1(empty, empty) == 1 and edge_f1(empty, line(3)) == 0 and edge_f1(line(3), empty) == 0


def test_mean_iou_counts_the_classes_that_are_wanted():
    wanted = np.array([[0, 0], [1, 1]])
    assert mean_iou(wanted, wanted) == 1
    assert mean_iou(np.array([[0, 0], [1, 2]]), wanted) == pytest.approx((1 + 0.5) / 2)


def test_psnr_in_decibels():
    black, wanted = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 51, np.uint8)
    assert psnr(black, wanted)[0] == pytest.approx(20 * np.log10(5))
    assert psnr(wanted, wanted)[0] == pytest.approx(99)


def test_pck_finds_joints_at_the_peaks_and_misses_them_elsewhere():
    joints = torch.rand(1, 18, 2, generator=torch.Generator().manual_seed(0)) * 60 + 30
    heat = joint_targets(joints, 128).numpy()
    assert heat.shape == (18, 64, 64)
    assert pck(heat, joints.numpy()) == 1.0
    assert pck(heat, joints.numpy()[:, ::-1]) < 0.5
    assert np.isnan(pck(heat, np.zeros((0, 18, 2))))


def test_judge_shapes_and_round_trip(tmp_path):
    judge = Judge().eval()
    pixels = torch.rand(2, 3, 128, 128) * 2 - 1
    reading = judge(pixels)
    assert reading.classes.shape == (2, 7, 64, 64) and reading.joints.shape == (2, 18, 64, 64)
    assert reading.disparity.shape == (2, 64, 64) and reading.disparity.min() >= 0 and reading.disparity.max() <= 1
    judge.save(tmp_path)
    assert torch.allclose(load_judge(tmp_path)(pixels).classes, reading.classes, atol=0.05)
    with pytest.raises(LisaError, match="holds no judge"):
        load_judge(tmp_path / "nowhere")


def test_every_shipped_condition_has_a_measure():
    assert {"blur", "canny", "depth", "segmentation", "pose"} <= set(MEASURES.names())
