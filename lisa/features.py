"""Features of side networks over a factorial design: scene x prompt x noise x timestep.

Every cell of the design is one row, and all arms see the same rows, so what differs between two arms is the arms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from lisa.annotators.base import annotate, annotator_for
from lisa.errors import LisaError
from lisa.families.base import Family
from lisa.pixels import to_pixels
from lisa.report import Report, tell_nobody
from lisa.scenes.example import SceneExample, render_example
from lisa.scenes.scene import split_seed
from lisa.settings import FeatureSettings

Array = np.ndarray
_BATCH = 32
_GRID = 4
_SMALL = 32
FACTORS = ("scene", "prompt", "noise", "timestep", "shape", "color", "size", "material", "pose", "time", "floor")
DESIGN = FACTORS[:4]


@dataclass(frozen=True)
class Probe:
    """The N rows of the design, before any side network has seen them.

    Attributes:
        factors: factor name -> (N,) labels; see ``FACTORS``.
        images: (S, H, W, 3) uint8, the S scenes.
        conditions: (S, H, W, 3) uint8 condition images.
        captions: S sentences.
        samples: (N, C, h, w) float32 noisy latents.
        timesteps: (N,) as the family's networks take them.
        prompts: N prompts.
    """

    factors: dict[str, Array]
    images: Array
    conditions: Array
    captions: tuple[str, ...]
    samples: Array
    timesteps: Array
    prompts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def condition_rows(self) -> Array:
        """What each row was conditioned on, (N, D) float32: its condition image at 32 x 32 pixels."""
        maps = torch.from_numpy(self.conditions).permute(0, 3, 1, 2).float() / 255
        return functional.adaptive_avg_pool2d(maps, _SMALL).flatten(1).numpy()[self.factors["scene"]]

    def sample_rows(self) -> Array:
        """The noisy latents of each row, (N, D) float32."""
        return self.samples.reshape(len(self), -1)


def build_probe(family: Family, condition: str, settings: FeatureSettings, report: Report = tell_nobody) -> Probe:
    """Render the scenes and lay out the design.

    Noise number k is the same for every scene, prompt and timestep. The noisy sample is the scene's own picture, as
    in training.

    Args:
        family: encodes the pictures.
        condition: condition name.
        settings: how many scenes, prompts, noises and timesteps.
        report: called with (what is being done, done, in all).
    """
    family.refuse_clips("Studies of features")
    examples, people = [], True if condition == "pose" else None
    for i in range(settings.scenes):
        examples.append(render_example(split_seed("test", i), size=family.resolution, people=people))
        report("rendering scenes", i + 1, settings.scenes)
    times = time_grid(family, settings.timestep_values())
    design = np.stack(
        np.meshgrid(
            *(np.arange(n) for n in (len(examples), len(settings.prompt_kinds()), settings.noises, len(times))),
            indexing="ij",
        ),
        -1,
    ).reshape(-1, 4)
    scene, kind, noise, time = design.T
    images = np.stack([example.image for example in examples])
    latents = torch.cat(
        [family.encode_image(to_pixels(images[i : i + _BATCH])).float().cpu() for i in range(0, len(images), _BATCH)]
    )
    generator = torch.Generator().manual_seed(settings.seed)
    noises = torch.randn(settings.noises, *latents.shape[1:], generator=generator)
    t = times[torch.from_numpy(time)]
    captions = tuple(example.caption for example in examples)
    named = {
        "scene": scene,
        "prompt": np.array(settings.prompt_kinds())[kind],
        "noise": noise,
        "timestep": np.array(settings.timestep_values())[time],
    }
    return Probe(
        {**named, **_scene_factors(examples, scene)},
        images,
        np.stack([condition_map(example, condition) for example in examples]),
        captions,
        family.path.add_noise(latents[scene], noises[noise], t).numpy(),
        t.numpy(),
        tuple(_prompt(settings.prompt_kinds()[k], captions, s) for s, k in zip(scene, kind, strict=True)),
    )


def time_grid(family: Family, values: Sequence[int]) -> Tensor:
    """Thousandths of the times that training draws, the least noisy first, as the family's own times."""
    return family.path.spread_t(1000).sort().values[torch.tensor(values)]


def condition_map(example: SceneExample, name: str) -> Array:
    """The condition image (H, W, 3) uint8 of a scene: exact where the world has one, else an annotator's."""
    if name in example.conditions:
        return example.conditions[name]
    return np.asarray(annotate(Image.fromarray(example.image), annotator_for(name)))


def _prompt(kind: str, captions: Sequence[str], scene: int) -> str:
    if kind == "empty":
        return ""
    return captions[scene if kind == "own" else (scene + 1) % len(captions)]


def _scene_factors(examples: Sequence[SceneExample], scene: Array) -> dict[str, Array]:
    """Labels of each scene's main object, the one with most pixels, and of the scene itself."""
    rows = []
    for example in examples:
        counts = np.bincount(example.maps.instances.ravel())
        thing = example.factors["things"][int(counts[2:].argmax())]
        rows.append({**thing, "time": example.factors["time"], "floor": example.factors["floor"]})
    names = FACTORS[len(DESIGN) :]
    return {name: np.array([row[name] or "none" for row in rows])[scene] for name in names}


@torch.no_grad()
def collect_features(
    family: Family,
    side: nn.Module,
    probe: Probe,
    taps: Sequence[str],
    pooling: str = "mean",
    report: Report = tell_nobody,
) -> dict[str, Array]:
    """Run a side network over the probe.

    Args:
        family: the side network's family.
        side: the side network.
        probe: from ``build_probe``.
        taps: names of the features.
        pooling: "mean" over positions, "grid" for a 4 x 4 grid of means, "flatten" for everything.
        report: called with (what is being done, done, in all).

    Returns:
        Tap name -> (N, D) float32.
    """
    texts = {prompt: family.encode_text([prompt]) for prompt in dict.fromkeys(probe.prompts)}
    conditions = torch.from_numpy(probe.conditions).permute(0, 3, 1, 2).float() / 255
    parts: dict[str, list[Array]] = {tap: [] for tap in taps}
    for start in range(0, len(probe), _BATCH):
        rows = slice(start, start + _BATCH)
        condition = family.encode_condition(conditions[torch.from_numpy(probe.factors["scene"][rows])])
        features = family.side_features(
            torch.from_numpy(probe.samples[rows]).to(family.device),
            torch.from_numpy(probe.timesteps[rows]).to(family.device),
            _joined([texts[prompt] for prompt in probe.prompts[rows]]),
            side,
            condition,
            taps,
        )
        for tap in taps:
            parts[tap].append(_pooled(features[tap].float().cpu(), pooling).numpy())
        report("collecting features", min(start + _BATCH, len(probe)), len(probe))
    return {tap: np.concatenate(each) for tap, each in parts.items()}


def _joined(texts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([text[name] for text in texts]) for name in texts[0]}


def _pooled(feature: Tensor, pooling: str) -> Tensor:
    """(B, C, h, w) or (B, N, C) -> (B, D)."""
    if feature.ndim == 3:
        feature = feature.transpose(1, 2)[..., None]
    if pooling == "mean":
        return feature.mean((2, 3))
    if pooling == "grid":
        return functional.adaptive_avg_pool2d(feature, _GRID).flatten(1)
    if pooling == "flatten":
        return feature.flatten(1)
    raise LisaError(f"pooling is {pooling[:40]!r}: use mean, grid or flatten.")
