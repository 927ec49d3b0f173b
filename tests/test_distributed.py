"""Two processes train as one: the same global batch, losses to float tolerance, one writer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lisa.runs import RunFolder
from tests import tiny

ROOT = Path(__file__).resolve().parent.parent
KIND = "scenes-unet"


@pytest.fixture
def data(tmp_path):
    from PIL import Image

    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(12):
        picture = Image.new("RGB", (64, 64), (10 * i, 100, 200))
        picture.paste((255, 255, 255), (10 + i, 10, 40 + i, 40))
        picture.save(folder / f"{i:02d}.png")
    return folder


def train(data, run, processes: int, batch_size: int) -> RunFolder:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = ["-m", "lisa", "train", "--source", str(tiny.folder(KIND)), "--data", str(data), "--folder", str(run)]
    sizes = ["--steps", "3", "--batch-size", str(batch_size), "--validation-samples", "2", "--device", "cpu"]
    quiet = ["--validate-every", "0", "--preview-every", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LISA_CACHE": str(data.parent / "cache")}
    done = subprocess.run(
        [*launch, *command, *sizes, *quiet], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return RunFolder.open(run)


@pytest.mark.slow
def test_two_processes_equal_one_with_the_same_global_batch(data, tmp_path):
    one, two = (train(data, tmp_path / f"run{n}", n, 4 // n) for n in (1, 2))
    rows = [[row for row in run.events() if row["kind"] == "train"] for run in (one, two)]
    assert len(rows[0]) == len(rows[1]) == 6
    for a, b in zip(*rows, strict=True):
        assert (a["step"], a["arm"]) == (b["step"], b["arm"])
        assert b["control"] == pytest.approx(a["control"], rel=1e-4)
        assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-3)
    assert one.checkpoints() == two.checkpoints() == [3]
