"""What LISA's pass without control costs, and what sharing it saves, in operations and in measured time.

python benchmarks/sharing.py                  both tables
python benchmarks/sharing.py --repeat 0       the operations alone, which do not depend on the machine

Operations are counted without weights, for one sample and one side network. Times are those of the embedded families
on this machine: plain training, LISA as published and LISA shared in turn, in one process. Where a family's weights are
not here, networks of its architecture with random weights take as long.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

EMBEDDED = ("scenes-unet", "scenes-dit", "scenes-video")
REAL = ("sd15", "sd21", "sdxl", "sd3", "sd35", "flux", "animatediff", "svd")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=[*EMBEDDED, *REAL], help="which (default: all)")
    parser.add_argument("--repeat", type=int, default=30, help="rounds to time, after 3 that are not counted")
    parser.add_argument("--batch-size", type=int, default=16, help="samples or clips of a timed batch (default: 16)")
    arguments = parser.parse_args()
    from lisa.quiet import quiet_libraries

    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        sources = {name: source_of(name, Path(folder)) for name in arguments.families}
        print_operations(sources)
        timed = {name: source for name, source in sources.items() if name in EMBEDDED}
        if arguments.repeat and timed:
            print_times(timed, arguments.repeat, arguments.batch_size)


def source_of(name: str, folder: Path) -> str:
    """Find an embedded family's folder, or make one with random weights; empty for a published family."""
    from lisa.families.base import FAMILIES

    if name not in EMBEDDED or not FAMILIES.get(name).installed():
        return ""
    made = folder / name
    save_random(name, made)
    return str(made)


def save_random(name: str, folder: Path) -> None:
    """Save an embedded pipeline with random weights."""
    from diffusers import StableDiffusionPipeline

    from lisa.pretrain import architecture
    from lisa.pretrain.flow import flow_pipeline

    tokenizer = architecture.new_tokenizer(["a red cube on a grey floor"])
    encoder, vae, unet = architecture.new_text_encoder(tokenizer), architecture.new_vae(), architecture.new_unet()
    if name == "scenes-dit":
        flow_pipeline(architecture.new_transformer(), vae, encoder, tokenizer).save_pretrained(folder)
        return
    StableDiffusionPipeline(
        vae=vae, text_encoder=encoder, tokenizer=tokenizer, unet=unet, scheduler=architecture.new_scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    if name == "scenes-video":
        architecture.new_motion_adapter(unet).save_pretrained(folder / "motion_adapter")


def print_operations(sources: dict[str, str]) -> None:
    """One row for each family."""
    from lisa.footprint.of_run import footprint_of
    from lisa.footprint.sketch import config_folder
    from lisa.settings import TrainSettings

    print("| Family | Main | Side | Pass without control | Plain | LISA | LISA shared | Saved |")
    print("|---|---|---|---|---|---|---|---|")
    for name, source in sources.items():
        with config_folder(name, source) as (folder, _):
            found = footprint_of(TrainSettings(family=name, arms="lisa", batch_size=1), folder)
        cost = found.cost
        counts = " | ".join(gigaflops(flops) for flops in (cost.main, cost.plain))
        lisa = " | ".join(f"{gigaflops(flops)} (+{flops / cost.plain - 1:.1%})" for flops in (cost.full, cost.shared))
        sizes = f"{found.main / 1e6:,.1f} M | {found.side / 1e6:,.1f} M"
        print(f"| `{name}` | {sizes} | {counts} | {lisa} | {1 - cost.shared / cost.full:.1%} |", flush=True)
    print("\nParameters in millions; operations in GFLOP for one sample and step, a multiply-add counted as two.\n")


def gigaflops(flops: int) -> str:
    """Thousand millions of operations with four digits that count."""
    return f"{float(f'{flops / 1e9:.4g}'):,.10g}"


def print_times(sources: dict[str, str], repeat: int, size: int) -> None:
    """One row for each family: medians of seconds, and of the saving of each round with its interval."""
    print(f"| Family | Plain | LISA | LISA shared | Saved (95 % interval) |\n{'|---' * 5}|")
    for name, source in sources.items():
        seconds = timed(name, source, repeat, size)
        plain, full, shared = np.median(seconds, 0)
        saved = 1 - seconds[:, 2] / seconds[:, 1]
        low, high = np.quantile(resampled_medians(saved), (0.025, 0.975))
        words = f"{np.median(saved):.1%} ({low:.1%} to {high:.1%})"
        print(f"| `{name}` | {plain:.3f} | {full:.3f} | {shared:.3f} | {words} |", flush=True)
    print(f"\nSeconds for a batch of {size}, forward and backward, medians of {repeat} rounds.")


def resampled_medians(values: np.ndarray) -> np.ndarray:
    """Medians of samples drawn anew from the values (bootstrap)."""
    index = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    return np.median(values[index], 1)


def timed(name: str, source: str, repeat: int, size: int) -> np.ndarray:
    """Seconds of plain training, LISA and LISA shared in every round, (repeat, 3)."""
    from lisa.families.base import load_family
    from lisa.footprint.step import run_batch
    from lisa.memory import best_device
    from lisa.settings import TrainSettings, parse_arms
    from lisa.train import Arm

    family = load_family(name, source, device=best_device())
    (settings,) = parse_arms("lisa", family.spec.default_lisa)
    arm = Arm(settings, family, TrainSettings(family=name), family.device)
    batch = real_batch(family, size)
    ways = (
        lambda: plain_step(family, arm, batch),
        lambda: run_batch(family, [arm], batch, share=False),
        lambda: run_batch(family, [arm], batch, share=True),
    )
    rounds = [[seconds_of(way, arm) for way in ways] for _ in range(repeat + 3)]
    return np.array(rounds[3:])


def real_batch(family, size: int):
    """Random samples on the family's device."""
    import torch

    from lisa.estimate import random_samples
    from lisa.objective import Batch

    data, device = random_samples(family, size), family.device
    with torch.no_grad():
        condition = family.encode_condition(data.conditions.to(device).float() / 255)
        text = family.encode_text(list(data.captions))
    noise, t = torch.randn(data.latents.shape), family.path.sample_t(size)
    return Batch(data.latents.to(device), condition, text, noise.to(device), t.to(device))


def plain_step(family, arm, batch) -> None:
    """Plain training of the side network: no pass without control, no score decoder."""
    x_t = family.path.add_noise(batch.latents, batch.noise, batch.timesteps)
    value = family.predict(x_t, batch.timesteps, batch.text, arm.side, batch.condition).value
    target = family.path.target(batch.latents, batch.noise, batch.timesteps)
    (value.float() - target).square().mean().backward()


def seconds_of(way, arm) -> float:
    """Time one batch; gradients are dropped before."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else contextlib.nullcontext
    arm.optimizer.zero_grad(set_to_none=True)
    wait()
    begin = time.perf_counter()
    way()
    wait()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
