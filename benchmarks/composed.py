"""Do LISA side networks compose better? Pose and segmentation at once, on held-out scenes with mannequins.

python benchmarks/composed.py --count 256

Every scene is drawn with pose alone, segmentation alone and both, by baseline and by LISA, from the same noise and
caption. Measures and paired intervals are those of ``lisa.evaluate``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lisa.data.samples import condition_pool, scene_pictures  # noqa: E402
from lisa.families.base import Family, load_family  # noqa: E402
from lisa.generate import Control, initial_noise, sample  # noqa: E402
from lisa.metrics.fidelity import Truth, measure_of  # noqa: E402
from lisa.metrics.judge import load_judge  # noqa: E402
from lisa.metrics.paired import paired_difference  # noqa: E402
from lisa.pairs import list_pairs  # noqa: E402
from lisa.quiet import quiet_libraries  # noqa: E402
from lisa.scenes.pool import Pool  # noqa: E402
from lisa.settings import GenerateSettings  # noqa: E402

CONDITIONS = ("pose", "segmentation")
ARMS = ("baseline", "lisa")
BATCH = 32


@dataclass(frozen=True)
class Task:
    """Held-out scenes with the maps of both conditions."""

    family: Family
    pool: Pool
    maps: dict[str, np.ndarray]
    sides: dict[tuple[str, str], torch.nn.Module]


def main() -> None:
    """Measure, print the table, and keep a sheet of the first scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=256, help="held-out scenes (default: 256)")
    parser.add_argument("--strength", type=float, default=1.0, help="strength of each control (default: 1)")
    parser.add_argument("--sheet", type=Path, help="write the first scenes as a picture")
    arguments = parser.parse_args()
    quiet_libraries()
    task = prepare(arguments.count)
    print("| control | measure | baseline | LISA | LISA - baseline, 95 % |\n| --- | --- | --- | --- | --- |")
    drawn: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
    for controls in ((CONDITIONS[0],), (CONDITIONS[1],), CONDITIONS):
        drawn[controls] = {arm: draw(task, controls, arm, arguments.strength) for arm in ARMS}
        report(task, controls, drawn[controls])
    if arguments.sheet:
        sheet(task, drawn[CONDITIONS]).save(arguments.sheet)


def prepare(count: int) -> Task:
    """Load scenes, maps, and the side networks that come with the lab, each at its last training step."""
    family = load_family("scenes-unet")
    pool = condition_pool("pose", "test", count)
    maps = {name: scene_pictures(pool, name, family.resolution).conditions for name in CONDITIONS}
    pairs = {pair.condition: pair for pair in list_pairs(ROOT) if pair.id.startswith("checkpoints/scenes-unet")}
    sides = {
        (name, arm): family.load_side(ROOT / pairs[name].id / "checkpoints" / f"step-{pairs[name].steps[-1]:06d}" / arm)
        for name in CONDITIONS
        for arm in ARMS
    }
    return Task(family, pool, maps, sides)


def draw(task: Task, controls: tuple[str, ...], arm: str, strength: float) -> np.ndarray:
    """One image (H, W, 3) uint8 for each scene."""
    images: list[Image.Image] = []
    size = task.family.resolution
    for start in range(0, len(task.pool), BATCH):
        part = range(start, min(start + BATCH, len(task.pool)))
        noise = torch.cat([initial_noise(task.family, i, size, size) for i in part])
        acting = [
            Control(task.sides[name, arm], [Image.fromarray(task.maps[name][i]) for i in part], strength)
            for name in controls
        ]
        images += sample(task.family, acting, [task.pool.captions[i] for i in part], noise, GenerateSettings())
    return np.stack([np.asarray(image) for image in images])


def report(task: Task, controls: tuple[str, ...], images: dict[str, np.ndarray]) -> None:
    """Print one line for each measure."""
    judge = load_judge(ROOT / "checkpoints" / "scenes-unet")
    for name in CONDITIONS:
        measure = measure_of(name, True)
        values = {arm: measure.values(images[arm], Truth(task.maps[name], task.pool), judge) for arm in ARMS}
        mean, interval = paired_difference(values["lisa"], values["baseline"])
        means = " | ".join(f"{np.nanmean(values[arm]):.3f}" for arm in ARMS)
        bounds = " [{:+.3f}, {:+.3f}]".format(*interval) if interval else ""
        print(f"| {' + '.join(controls)} | {measure.name} | {means} | {mean:+.3f}{bounds} |", flush=True)


def sheet(task: Task, images: dict[str, np.ndarray], rows: int = 4) -> Image.Image:
    """Pose, segmentation, baseline and LISA of the first scenes, a row each."""
    columns = [task.maps[name] for name in CONDITIONS] + [images[arm] for arm in ARMS]
    return Image.fromarray(np.concatenate([np.concatenate(list(each[:rows])) for each in columns], 1))


if __name__ == "__main__":
    main()
