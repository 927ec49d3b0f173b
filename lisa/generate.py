"""Paired images: every arm starts from the same noise, whatever else is generated with it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, PngImagePlugin
from torch import Tensor, nn

from lisa.errors import LisaError
from lisa.families.base import Family, Sampling
from lisa.options import check, from_dict, to_dict
from lisa.settings import GenerateSettings
from lisa.strips import frames_of

PNG_KEY = "lisa"
FRAME_MILLISECONDS = 125
StepReport = Callable[[int, int], None]


@dataclass(frozen=True)
class GeneratedImage:
    """One image with all that is needed to make it again.

    Attributes:
        arm: Name of its side network.
        seed: Seed of its noise.
        image: The image; of a clip its first frame.
        settings: GenerateSettings as a dictionary.
        seconds: Time it took.
        clip: All frames of a clip; empty for an image.
        cut: Prompts of which the text encoder reads only the beginning: tokens given and read, by their setting.
    """

    arm: str
    seed: int
    image: Image.Image
    settings: dict[str, Any]
    seconds: float
    clip: tuple[Image.Image, ...] = ()
    cut: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Control:
    """One side network at work: B condition images of any size, and the factor on its features.

    The condition of a clip is a strip of its frames from left to right, or one image that holds for all of them.
    """

    side: nn.Module
    conditions: Sequence[Image.Image]
    strength: float = 1.0


def initial_noise(family: Family, seed: int, width: int, height: int) -> Tensor:
    """The starting latents of one seed, (1, C, h, w) float32, drawn on the CPU so that every device starts alike."""
    shape = (1, *family.latent_shape(height, width))
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def paired_images(
    family: Family,
    sides: Mapping[str, nn.Module],
    condition: Image.Image,
    settings: GenerateSettings,
    report: StepReport = lambda done, total: None,
    second: tuple[Mapping[str, nn.Module], Image.Image] | None = None,
    first_frame: Image.Image | None = None,
) -> Iterator[GeneratedImage]:
    """Generate ``count`` images per arm with seeds counting upwards.

    Images are made one at a time: the result of a seed does not depend on what else is asked for.

    Args:
        family: main network.
        sides: side networks by arm.
        condition: RGB image; it is resized to the output's size. See ``Control`` for clips.
        settings: prompt, seed, steps and strengths, already checked.
        report: called with (sampling steps done, in all).
        second: side networks by arm and the condition of a second control, whose features are added to the first's.
        first_frame: what clips start from, for families that go on from a picture.

    Yields:
        Seed by seed, and within a seed arm by arm.
    """
    width, height = output_size(family, settings)
    cut = cut_prompts(family, settings)
    total, done = settings.count * len(sides) * settings.steps, 0
    for seed in range(settings.seed, settings.seed + settings.count):
        noise = initial_noise(family, seed, width, height)
        for arm, side in sides.items():
            begin = time.perf_counter()
            controls = [Control(side, [condition], settings.strength)]
            if second:
                controls.append(Control(second[0][arm], [second[1]], settings.second_strength))

            def on_step(step: int, base: int = done) -> None:
                report(base + step, total)

            image = sample(family, controls, [settings.prompt], noise, settings, on_step, first_frame)[0]
            done += settings.steps
            stored = to_dict(replace(settings, seed=seed, count=1, arms=arm))
            clip = tuple(image) if family.frames else ()
            seconds = time.perf_counter() - begin
            yield GeneratedImage(arm, seed, clip[0] if clip else image, stored, seconds, clip, cut)


def cut_prompts(family: Family, settings: GenerateSettings) -> dict[str, tuple[int, int]]:
    """Tokens given and read of each prompt that is longer than the family reads; see ``GeneratedImage.cut``."""
    counts = {name: family.count_tokens(getattr(settings, name)) for name in ("prompt", "negative_prompt")}
    return {name: count for name, count in counts.items() if count and count[0] > count[1]}


def output_size(family: Family, settings: GenerateSettings) -> tuple[int, int]:
    """Width and height in pixels: the settings', or the family's own where they are 0.

    Raises:
        LisaError: if the family cannot make that size.
    """
    size = settings.width or family.resolution, settings.height or family.resolution
    if any(length % family.downscale for length in size):
        raise LisaError(f"{size[0]} x {size[1]} pixels do not fit this family: use multiples of {family.downscale}.")
    return size


@torch.no_grad()
def sample(
    family: Family,
    controls: Sequence[Control],
    prompts: Sequence[str],
    noise: Tensor,
    settings: GenerateSettings,
    on_step: Callable[[int], None] = lambda step: None,
    first_frame: Image.Image | None = None,
) -> list[Any]:
    """Run the family's stock pipeline once, on a batch.

    Args:
        family: main network.
        controls: one or more side networks with B condition images each; their features are added.
        prompts: B prompts.
        noise: starting latents (B, C, h, w).
        settings: sampling steps, guidance, and when control begins and ends.
        on_step: called with the number of sampling steps done.
        first_frame: what all clips start from, for families that go on from a picture.

    Returns:
        B images, or of clips B lists of frames.
    """
    width, height = noise.shape[-1] * family.downscale, noise.shape[-2] * family.downscale
    sampling = Sampling(
        prompts, settings.negative_prompt, noise,
        [[_fitted(family, image, width, height) for image in control.conditions] for control in controls],
        [float(control.strength) for control in controls], settings.steps, float(settings.guidance),
        float(settings.control_start), float(settings.control_end), on_step,
        [fit(first_frame, width, height)] * len(prompts) if first_frame else (),
    )  # fmt: skip
    return family.sample([control.side for control in controls], sampling)


def _fitted(family: Family, condition: Image.Image, width: int, height: int) -> Image.Image | list[Image.Image]:
    if not family.frames:
        return fit(condition, width, height)
    return [fit(frame, width, height) for frame in frames_of(condition, family.frames)]


def fit(condition: Image.Image, width: int, height: int) -> Image.Image:
    """Resize a condition map to the output; enlarged maps keep their hard edges."""
    if condition.size == (width, height):
        return condition.convert("RGB")
    how = Image.Resampling.NEAREST if condition.width < width else Image.Resampling.LANCZOS
    return condition.convert("RGB").resize((width, height), how)


def save_png(image: GeneratedImage, path: Path) -> None:
    """Write a PNG that carries its settings in the text chunk "lisa"; a clip becomes an animated PNG."""
    info = PngImagePlugin.PngInfo()
    info.add_text(PNG_KEY, json.dumps(image.settings))
    rest = list(image.clip[1:])
    moving = {"save_all": True, "append_images": rest, "duration": FRAME_MILLISECONDS, "loop": 0} if rest else {}
    image.image.save(path, pnginfo=info, **moving)


def read_settings(path: Path | Image.Image) -> GenerateSettings:
    """Read the settings back out of a PNG that the lab made.

    Raises:
        LisaError: if the file is no such PNG, or its settings are unknown or out of range.
    """
    try:
        text = path.text if isinstance(path, Image.Image) else _png_text(path)
        data = json.loads(text[PNG_KEY])
    except (KeyError, AttributeError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise LisaError("This image carries no settings of the lab: use a PNG that was downloaded from it.") from error
    if not isinstance(data, dict):
        raise LisaError("The settings in this image are damaged: use a PNG that was downloaded from the lab.")
    return check(from_dict(GenerateSettings, data))


def _png_text(path: Path) -> dict[str, str]:
    with Image.open(path, formats=["PNG"]) as image:
        image.load()
        return dict(image.text)
