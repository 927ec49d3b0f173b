"""Settings of the embedded models: sizes and schedules of ``python -m lisa pretrain``."""

from __future__ import annotations

from dataclasses import dataclass

from lisa.options import option

STAGES = ("vae", "main", "judge", "flow", "motion")


@dataclass(frozen=True)
class PretrainSettings:
    """How the embedded VAE, text encoder and main network are trained on rendered scenes."""

    stage: str = option(
        "vae",
        "What to train: the autoencoder, then the main network with its text encoder; the judge measures; "
        "flow is a transformer over the autoencoder and text encoder of a finished pipeline, motion an adapter that "
        "makes clips with it",
        choices=STAGES,
    )
    out: str = option("checkpoints/scenes-unet", "Pipeline folder that receives the trained parts")
    base: str = option("checkpoints/scenes-unet", "Finished pipeline folder that the stages flow and motion build on")
    work: str = option("runs/pretrain", "Folder for logs, samples and the state to resume from")
    start: str = option("", "State folder to take weights from where their shapes fit; empty starts from noise")
    scenes: int = option(
        16384, "Training scenes to render or take from the cache", unit="scenes", low=128, high=1_000_000
    )
    steps: int = option(3000, "Optimizer steps", unit="steps", low=1, high=10_000_000)
    batch_size: int = option(8, "Samples in a step", unit="samples", low=1, high=4096)
    learning_rate: float = option(
        1e-3, "Peak learning rate, reached after the warm-up and decayed by a cosine", low=1e-7, high=1.0
    )
    warmup: int = option(200, "Steps of linear warm-up", unit="steps", low=0, high=100_000)
    ema: float = option(0.999, "Decay of the averaged weights, which are what is kept", low=0.0, high=0.99999)
    seed: int = option(0, "Seed of weights, data order, noise and timesteps", low=0, high=2**31 - 1)
    precision: str = option("no", "Mixed precision; bf16 pays off for the autoencoder", choices=("no", "bf16", "fp16"))
    caption_dropout: float = option(0.1, "Share of empty captions, for classifier-free guidance", low=0.0, high=1.0)
    timestep_power: float = option(
        1.0,
        "Timesteps are T u^power for uniform u: below 1 they dwell on high noise, where caption and shapes are decided",
        low=0.1,
        high=10.0,
    )
    save_every: int = option(250, "Steps between saved states", unit="steps", low=1, high=1_000_000)
    threads: int = option(0, "CPU threads; 0 leaves the choice to torch", unit="threads", low=0, high=1024)
    resume: bool = option(True, "Go on from the state in the work folder if there is one")
