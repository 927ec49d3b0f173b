"""Every setting once: default, range, unit and help, for the app, the command line and the run folder."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lisa.arguments import add_arguments, from_arguments
from lisa.arms import SIDE_NAME, ArmSettings, LisaSettings, parse_arms
from lisa.errors import LisaError
from lisa.options import Option, check, from_dict, option, options, to_dict

__all__ = [
    "ArmSettings",
    "GenerateSettings",
    "LisaSettings",
    "Option",
    "TrainSettings",
    "add_arguments",
    "check",
    "from_arguments",
    "from_dict",
    "option",
    "options",
    "parse_arms",
    "to_dict",
]

SEED_LIMIT = 2**32 - 1
CHECKPOINT_NAME = re.compile(r"step-\d{6,}")


@dataclass(frozen=True)
class TrainSettings:
    """One training run: what is trained, on what, for how long, and what is kept."""

    family: str = option("scenes-unet", "Family of main and side network", label="Family")
    condition: str = option("canny", "Kind of condition the side network reads", label="Condition")
    arms: str = option("baseline,lisa", "Side networks to train in lockstep", label="Arms")
    steps: int = option(200, "Length of the run", unit="steps", low=1, high=10_000_000, step=50, label="Steps")
    batch_size: int = option(
        16,
        "Samples per process and forward pass",
        unit="samples",
        low=1,
        high=4096,
        step=1,
        label="Batch size",
    )
    accumulation: int = option(
        1,
        "Batches whose gradients make one step",
        unit="batches",
        low=1,
        high=4096,
        step=1,
        expert=True,
        label="Gradient accumulation",
    )
    learning_rate: float = option(
        0.0, "Peak learning rate of AdamW; 0 takes the family's", low=0, high=1, step=1e-5, label="Learning rate"
    )
    warmup_steps: int = option(
        0,
        "Steps over which the learning rate rises from 0",
        unit="steps",
        low=0,
        high=1_000_000,
        step=10,
        expert=True,
        label="Learning rate warm-up",
    )
    rate_schedule: str = option(
        "constant",
        "Learning rate after the warm-up: constant, or falling to 0 at the run's end along a cosine",
        choices=("constant", "cosine"),
        expert=True,
        label="Learning rate schedule",
    )
    clip_norm: float = option(
        1.0,
        "Largest norm of an arm's gradient; 0 does not clip",
        low=0,
        high=1000,
        step=0.1,
        expert=True,
        label="Gradient clipping",
    )
    weight_decay: float = option(
        0.01, "Weight decay of AdamW", low=0, high=1, step=0.01, expert=True, label="Weight decay"
    )
    seed: int = option(
        0,
        "Seed of initial weights, data order, noise and timesteps",
        low=0,
        high=SEED_LIMIT,
        step=1,
        label="Seed",
    )
    precision: str = option(
        "no", "Mixed precision; no is float32", choices=("no", "bf16", "fp16"), expert=True, label="Precision"
    )
    gradient_checkpointing: bool = option(
        False,
        "Compute activations again instead of keeping them: about a third slower, much less memory",
        expert=True,
        label="Gradient checkpointing",
    )
    caption_dropout: float = option(
        0.1,
        "Share of captions replaced by the empty one",
        low=0,
        high=1,
        step=0.05,
        expert=True,
        label="Caption dropout",
    )
    validate_every: int = option(
        50,
        "Steps between validations; 0 never validates",
        unit="steps",
        low=0,
        high=10_000_000,
        step=10,
        label="Validate every",
    )
    validation_samples: int = option(
        64,
        "Held-out samples with fixed noise and timesteps",
        unit="samples",
        low=1,
        high=100_000,
        step=16,
        expert=True,
        label="Validation samples",
    )
    checkpoint_every: int = option(
        100,
        "Steps between checkpoints; 0 keeps the last step only",
        unit="steps",
        low=0,
        high=10_000_000,
        step=50,
        label="Checkpoint every",
    )
    preview_every: int = option(
        100,
        "Steps between preview images; 0 makes none",
        unit="steps",
        low=0,
        high=10_000_000,
        step=50,
        label="Preview every",
    )
    previews: int = option(
        4, "Preview images per arm", unit="images", low=1, high=64, step=1, expert=True, label="Previews"
    )
    source: str = option("", "Hub id or folder of the main network; empty takes the family's", label="Source")
    revision: str = option("", "Revision of the hub repository", expert=True, label="Revision")
    start: str = option(
        "",
        "Folder or hub id of a side network that all arms start from; empty starts from a copy of the main network",
        expert=True,
        label="Start from",
    )
    data: str = option(
        "scenes",
        "The built-in world (scenes), a folder or .zip of images, or a hub data set such as owner/name@revision",
        label="Data",
    )
    samples: int = option(
        2048, "Samples taken from the data", unit="samples", low=1, high=10_000_000, step=256, label="Samples"
    )
    share: bool = option(
        True,
        "Run the frozen encoder half once for all arms and the no-control pass",
        expert=True,
        label="Share the encoder",
    )
    device: str = option("auto", "Device: auto, cpu, cuda, cuda:1 or mps", expert=True, label="Device")

    def crosscheck(self) -> None:
        """Check that the arms can be read.

        Raises:
            LisaError: If they cannot.
        """
        parse_arms(self.arms)


@dataclass(frozen=True)
class GenerateSettings:
    """One comparison: the same prompt, condition, seed and noise for every arm."""

    family: str = option("scenes-unet", "Family of main and side network", label="Family")
    condition: str = option("canny", "Kind of condition the side network reads", label="Condition")
    arms: str = option(
        "baseline,lisa",
        "Side networks to compare, joined by commas: arms of the run, or of another one and at other training steps, "
        "such as runs/other:lisa@step-000200",
        label="Arms",
    )
    prompt: str = option("", "What the image should show", label="Prompt")
    negative_prompt: str = option("", "What the image should not show", expert=True, label="Negative prompt")
    seed: int = option(0, "Seed of the first image's noise", low=0, high=SEED_LIMIT, step=1, label="Seed")
    count: int = option(
        1,
        "Images per arm, with seeds counting upwards",
        unit="images",
        low=1,
        high=64,
        step=1,
        label="Images",
    )
    steps: int = option(20, "Sampling steps", unit="steps", low=1, high=1000, step=1, label="Sampling steps")
    guidance: float = option(3.0, "Classifier-free guidance; 1 is none", low=1, high=30, step=0.5, label="Guidance")
    strength: float = option(
        1.0,
        "Factor on the side network's features; 0 is no control",
        low=0,
        high=2,
        step=0.05,
        label="Control strength",
    )
    control_start: float = option(
        0.0,
        "Share of the sampling steps after which control begins",
        low=0,
        high=1,
        step=0.05,
        expert=True,
        label="Control start",
    )
    control_end: float = option(
        1.0,
        "Share of the sampling steps after which control ends",
        low=0,
        high=1,
        step=0.05,
        expert=True,
        label="Control end",
    )
    checkpoint: str = option("", "Training step such as step-000200; empty takes the last one", label="Checkpoint")
    run: str = option("", "Run folder; empty takes the pair that comes with the lab", label="Run")
    second_run: str = option("", "Run of a second control; empty is none", expert=True, label="Second pair")
    second_checkpoint: str = option(
        "",
        "Training step of the second control; empty takes the last one",
        expert=True,
        label="Second pair's training step",
    )
    second_strength: float = option(
        1.0,
        "Factor on the second side network's features; 0 is none",
        low=0,
        high=2,
        step=0.05,
        expert=True,
        label="Second strength",
    )
    source: str = option("", "Hub id or folder of the main network; empty takes the run's", label="Source")
    revision: str = option("", "Revision of the hub repository", expert=True, label="Revision")
    width: int = option(
        0,
        "Width; 0 takes the family's",
        unit="pixels",
        low=0,
        high=4096,
        step=8,
        expert=True,
        label="Width",
    )
    height: int = option(
        0,
        "Height; 0 takes the family's",
        unit="pixels",
        low=0,
        high=4096,
        step=8,
        expert=True,
        label="Height",
    )

    def crosscheck(self) -> None:
        """Check the fields that only make sense together.

        Raises:
            LisaError: If control does not start before it ends, the checkpoint is no step, a side is no multiple
                of 8, or an arm is listed twice.
        """
        if self.control_start >= self.control_end:
            raise LisaError(
                f"Control start is {self.control_start:g}, but must be below control end, which is "
                f"{self.control_end:g}: lower the start or raise the end."
            )
        for name, value in (("Checkpoint", self.checkpoint), ("Second checkpoint", self.second_checkpoint)):
            if value and not CHECKPOINT_NAME.fullmatch(value):
                raise LisaError(f"{name} is {value[:80]!r}, but must look like step-000200.")
        for name, value in (("Width", self.width), ("Height", self.height)):
            if value % 8:
                near = value + 8 - value % 8
                raise LisaError(f"{name} is {value} pixels, but must be a multiple of 8, such as {near}.")
        self.arm_names()

    def arm_names(self) -> tuple[str, ...]:
        """List the side networks to compare, see ``lisa.arms.SIDE_NAME``.

        Returns:
            Their names in the order written.

        Raises:
            LisaError: If a name comes twice or cannot be a side network's.
        """
        names = tuple(name.strip() for name in self.arms.split(","))
        for name in names:
            if not SIDE_NAME.fullmatch(name) or names.count(name) > 1:
                raise LisaError(
                    f"The arms are {self.arms[:80]!r}, but must be different names joined by commas, "
                    "such as baseline,lisa or lisa,runs/other:lisa@step-000200."
                )
        return names


PROMPT_KINDS = ("own", "empty", "other")


@dataclass(frozen=True)
class FeatureSettings:
    """One look into side networks: which run, which layers, and the design scenes x prompts x noises x timesteps."""

    run: str = option("", "Run folder; empty takes the pair that comes with the lab", label="Run")
    checkpoint: str = option("", "Training step such as step-000200; empty takes the last one", label="Checkpoint")
    family: str = option("scenes-unet", "Family of main and side network", label="Family")
    condition: str = option("canny", "Kind of condition the side network reads", label="Condition")
    arms: str = option("baseline,lisa", "Arms of the run to compare, joined by commas", label="Arms")
    taps: str = option("", "Layers to read, such as down_3+mid; empty takes the one that the run aligned", label="Taps")
    walk: bool = option(False, "Also look at every other training step that was kept", label="All training steps")
    scenes: int = option(40, "Held-out scenes", unit="scenes", low=4, high=2000, step=4, label="Scenes")
    prompts: str = option(
        "own,empty",
        "Prompts of each scene, joined by commas: own caption, empty, the caption of another scene",
        label="Prompts",
    )
    noises: int = option(2, "Noises, the same for every scene", unit="noises", low=1, high=64, step=1, label="Noises")
    timesteps: str = option(
        "100,300,500,700,900", "Thousandths of the times that training draws, joined by commas", label="Timesteps"
    )
    pooling: str = option(
        "mean",
        "How a feature map becomes one row: mean over positions, a 4 x 4 grid of means, or everything",
        choices=("mean", "grid", "flatten"),
        label="Pooling",
    )
    method: str = option(
        "umap", "How the features are laid out on the map", choices=("umap", "pca"), label="Projection"
    )
    dimensions: int = option(2, "Dimensions of the map", low=2, high=3, step=1, label="Dimensions")
    seed: int = option(0, "Seed of noises, projection and resampling", low=0, high=SEED_LIMIT, step=1, label="Seed")

    def crosscheck(self) -> None:
        """Check the lists.

        Raises:
            LisaError: If a prompt kind or timestep is unknown or listed twice.
        """
        self.prompt_kinds()
        self.timestep_values()

    def prompt_kinds(self) -> tuple[str, ...]:
        """List the kinds of prompt, each once."""
        kinds = tuple(part.strip() for part in self.prompts.split(","))
        for kind in kinds:
            if kind not in PROMPT_KINDS:
                raise LisaError(f"prompts has {kind[:40]!r}: use {', '.join(PROMPT_KINDS)}.")
        if len(set(kinds)) < len(kinds):
            raise LisaError(f"prompts is {self.prompts[:80]!r}: name each kind once.")
        return kinds

    def timestep_values(self) -> tuple[int, ...]:
        """List the timesteps in thousandths, 0..999, each once."""
        parts = [part.strip() for part in self.timesteps.split(",")]
        if not all(part.isdecimal() and int(part) < 1000 for part in parts) or len(set(parts)) < len(parts):
            raise LisaError(f"timesteps is {self.timesteps[:80]!r}: use different whole numbers from 0 to 999.")
        return tuple(map(int, parts))

    def tap_names(self) -> tuple[str, ...]:
        """List the layers; none takes those that the run aligned."""
        return tuple(part.strip() for part in self.taps.split("+")) if self.taps.strip() else ()

    def rows(self) -> int:
        """Count the cells of the design."""
        return self.scenes * len(self.prompt_kinds()) * self.noises * len(self.timestep_values())
