"""Validation loss of a side network whose condition embedding starts as diffusers does, and as scenes-unet does.

python benchmarks/embedding.py --steps 150
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Train a baseline from either start on the same batches, and print what each has learnt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150, help="length of either run (default: 150)")
    parser.add_argument("--condition", default="canny", help="condition (default: canny)")
    given = parser.parse_args()
    from lisa.data.samples import load_data
    from lisa.families.base import load_family
    from lisa.job import accelerator_for
    from lisa.settings import TrainSettings
    from lisa.train import Trainer

    settings = TrainSettings(condition=given.condition, arms="baseline", steps=given.steps, precision="bf16")
    family = load_family(settings.family, "", "", "cpu")
    data = load_data(family, "scenes", given.condition, "train", 4096)
    held_out = load_data(family, "scenes", given.condition, "validation", 256)
    spec = family.spec
    for title, quick in (("as diffusers starts it", False), ("keeping variance", True)):
        family.spec = replace(spec, quick_embedding=quick)
        trainer = Trainer(settings, family, data, held_out, accelerator_for(settings))
        before = control_loss(trainer)
        for _ in trainer.steps():
            pass
        print(f"{title}: validation loss {before:.4f}, after {given.steps} steps {control_loss(trainer):.4f}")


def control_loss(trainer) -> float:
    """The plain loss on held-out scenes, noises and timesteps that are the same for both."""
    return trainer.validate()["baseline"]["control"]


if __name__ == "__main__":
    main()
