"""The likelihood score of one sample, as pictures: the target, what each decoder says, and what is left over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lisa.checkpoint import DECODER_FOLDER
from lisa.data.samples import TrainingData, load_data
from lisa.decoder import ScoreDecoder
from lisa.errors import unknown_name
from lisa.families.base import Family
from lisa.features import condition_map, time_grid
from lisa.pixels import to_pixels
from lisa.report import Phases, Report, tell_nobody
from lisa.scenes.example import render_example
from lisa.scenes.scene import split_seed
from lisa.score import likelihood_target

_PROBE_BATCH = 16
_PROBE_SAMPLES = 256
_PROBE_STEPS = 300
_PROBE_RATE = 1e-3


@dataclass(frozen=True)
class Fit:
    """How well a decoder was fitted as a probe.

    Attributes:
        samples: scenes that it was fitted to.
        held_out: other scenes that it was then asked about.
        ratio: its alignment ratio on those; 1 is nothing learnt.
    """

    samples: int
    held_out: int
    ratio: float


@dataclass(frozen=True)
class Reader:
    """A decoder of one layer of an arm; with how it was fitted, if it came without one and was given one as a probe."""

    arm: str
    tap: str
    fitted: Fit | None = None


@dataclass(frozen=True)
class ScoreView:
    """One timestep of one sample.

    Attributes:
        timestep: in thousandths of the times that training draws.
        target: the approximated likelihood score.
        prior: the clean picture as the main network alone guesses it.
        decoded: what each decoder says, in the colours of the target.
        difference: target minus decoded, which is what is left to explain, in the same colours.
        ratio: alignment ratio of this sample and timestep; 1 is nothing learnt.
    """

    timestep: int
    target: Image.Image
    prior: Image.Image
    decoded: dict[Reader, Image.Image]
    difference: dict[Reader, Image.Image]
    ratio: dict[Reader, float]


@torch.no_grad()
def score_views(
    family: Family,
    readers: Mapping[Reader, tuple[nn.Module, ScoreDecoder]],
    sample: tuple[Tensor, Tensor, str],
    timesteps: Sequence[int],
    seed: int = 0,
) -> list[ScoreView]:
    """Compute the likelihood score of one sample and what decoders say of it.

    Args:
        family: frozen main network.
        readers: the side network and the decoder of each.
        sample: clean latents (1, C, h, w), condition pixels (1, 3, H, W) in [0, 1], caption.
        timesteps: in thousandths of the times that training draws.
        seed: of the noise, the same at every timestep.
    """
    x0, pixels, caption = sample
    t = time_grid(family, timesteps).to(family.device)
    x0 = x0.to(family.device).expand(len(t), -1, -1, -1)
    noise = torch.randn(x0[:1].shape, generator=torch.Generator().manual_seed(seed)).to(x0).expand_as(x0)
    x_t, text = family.path.add_noise(x0, noise, t), family.encode_text([caption] * len(t))
    condition = family.encode_condition(pixels.expand(len(t), -1, -1, -1))
    prior = family.predict(x_t, t, text).value.float()
    target = likelihood_target(family.path.target(x0, noise, t).float(), prior)
    said = {
        reader: decoder(family.side_features(x_t, t, text, side, condition, [reader.tap])[reader.tap].float(), t)
        for reader, (side, decoder) in readers.items()
    }
    guesses = family.decode_latents(family.path.convert(prior, x_t, t, "sample"))
    paint = false_colours(target)
    return [_view(i, timestep, target, said, guesses, paint) for i, timestep in enumerate(timesteps)]


def _view(
    i: int,
    timestep: int,
    target: Tensor,
    said: Mapping[Reader, Tensor],
    guesses: Tensor,
    paint: Callable[[Tensor], Image.Image],
) -> ScoreView:
    left = {reader: target[i] - value[i] for reader, value in said.items()}
    return ScoreView(
        timestep,
        paint(target[i]),
        _picture(guesses[i]),
        {reader: paint(value[i]) for reader, value in said.items()},
        {reader: paint(value) for reader, value in left.items()},
        {reader: float(value.square().mean() / target[i].square().mean()) for reader, value in left.items()},
    )


def false_colours(reference: Tensor, size: int = 128) -> Callable[[Tensor], Image.Image]:
    """A painter of fields (C, h, w): their three directions of most power in the reference as red, green and blue.

    Args:
        reference: (B, C, h, w), which sets directions and brightness; zero is middle grey.
        size: of the pictures.
    """
    rows = reference.movedim(1, -1).flatten(0, 2).cpu()
    basis = torch.linalg.svd(rows, full_matrices=False).Vh[:3]
    top = float(torch.quantile((rows @ basis.T).abs().flatten()[:1_000_000], 0.99)) or 1.0

    def paint(field: Tensor) -> Image.Image:
        colours = torch.einsum("kc,chw->hwk", basis, field.cpu()) / top
        colours = torch.nn.functional.pad(colours, (0, 3 - colours.shape[-1]))
        pixels = ((colours.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
        return Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST)

    return paint


def _picture(pixels: Tensor) -> Image.Image:
    return Image.fromarray(((pixels.float().cpu() + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())


def held_out_sample(family: Family, condition: str, number: int) -> tuple[Tensor, Tensor, str]:
    """One test scene: clean latents (1, C, h, w), condition pixels (1, 3, H, W) in [0, 1], caption."""
    family.refuse_clips("Views of the score")
    people = True if condition == "pose" else None
    example = render_example(split_seed("test", number), size=family.resolution, people=people)
    pixels = torch.tensor(condition_map(example, condition)).permute(2, 0, 1)[None].float() / 255
    return family.encode_image(to_pixels(example.image[None])).float(), pixels, example.caption


def find_decoders(
    family: Family,
    sides: Mapping[str, tuple[nn.Module, Path]],
    taps: Sequence[str],
    condition: str,
    report: Report = tell_nobody,
) -> dict[Reader, tuple[nn.Module, ScoreDecoder]]:
    """The decoders that were trained with side networks, or, where there is none, one fitted to it now.

    Args:
        family: of the side networks.
        sides: arm -> side network, and where it lies.
        taps: names of the features.
        condition: that they read; scenes with it are what a missing decoder is fitted to.
        report: called with (what is being done, done, in all).

    Returns:
        The side network and the decoder of each reader, by arm and then by tap.
    """
    kept = {(arm, tap): folder / DECODER_FOLDER / tap for arm, (_, folder) in sides.items() for tap in taps}
    missing = [place for place, path in kept.items() if not path.exists()]
    if missing:
        fits = [(f"fitting a decoder to {arm} at {tap}", float(_PROBE_STEPS)) for arm, tap in missing]
        phases = Phases([("preparing scenes", 200.0), *fits], report)
        data = _probe_data(family, condition, phases.next())
    readers = {}
    for (arm, tap), path in kept.items():
        side = sides[arm][0]
        if (arm, tap) in missing:
            decoder = fit_decoder(family, side, tap, data[0], report=phases.next())
            fit = Fit(len(data[0]), len(data[1]), alignment_ratio(family, side, tap, decoder, data[1]))
            readers[Reader(arm, tap, fit)] = side, decoder
        else:
            readers[Reader(arm, tap)] = side, ScoreDecoder.load(path).to(family.device).eval().requires_grad_(False)
    return readers


def _probe_data(family: Family, condition: str, report: Report) -> tuple[TrainingData, TrainingData]:
    """Scenes to fit to, and others to ask about afterwards."""
    counts = {"train": _PROBE_SAMPLES, "validation": max(1, _PROBE_SAMPLES // 4)}
    fitted, held_out = (load_data(family, "scenes", condition, *each, report) for each in counts.items())
    return fitted, held_out


def fit_decoder(
    family: Family,
    side: nn.Module,
    tap: str,
    data: TrainingData,
    steps: int = _PROBE_STEPS,
    seed: int = 0,
    report: Report = tell_nobody,
) -> ScoreDecoder:
    """Fit a decoder to the frozen features of a side network that has none: a probe of what they hold.

    Args:
        family: its family.
        side: any side network that fits it.
        tap: name of the feature.
        data: samples to fit to.
        steps: of AdamW.
        seed: of weights, order, noise and timesteps.
        report: called with (what is being done, done, in all).
    """
    places = {each.name: each for each in family.taps(side)}
    if tap not in places:
        raise unknown_name("tap", tap, places)
    place = places[tap]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = ScoreDecoder(place.channels, place.stride, family.latent_channels).to(family.device)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=_PROBE_RATE)
    for step in range(steps):
        feature, target, t = _example(family, side, tap, data, step_generator(seed, step))
        loss = (decoder(feature, t) - target).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        report("fitting a decoder", step + 1, steps)
    return decoder.eval().requires_grad_(False)


@torch.no_grad()
def alignment_ratio(
    family: Family, side: nn.Module, tap: str, decoder: ScoreDecoder, data: TrainingData, batches: int = 8
) -> float:
    """The alignment ratio of a decoder on samples: its squared error over the square of the target.

    Args:
        family: of the side network.
        side: the side network.
        tap: name of the feature.
        decoder: that reads it.
        data: samples, to which noise and timesteps are drawn that depend on the number of the batch alone.
        batches: of 16 samples.
    """
    missed = power = 0.0
    for batch in range(batches):
        feature, target, t = _example(family, side, tap, data, step_generator(1, batch))
        missed += float((target - decoder(feature, t)).square().sum())
        power += float(target.square().sum())
    return missed / power


def step_generator(seed: int, step: int) -> torch.Generator:
    """What is random in one step of fitting."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1)[0]))


@torch.no_grad()
def _example(
    family: Family, side: nn.Module, tap: str, data: TrainingData, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One batch: feature, approximated likelihood score, times."""
    index = torch.randint(len(data), (_PROBE_BATCH,), generator=generator)
    x0 = data.latents[index].to(family.device)
    noise = torch.randn(x0.shape, generator=generator).to(x0)
    t = family.path.sample_t(_PROBE_BATCH, generator).to(family.device)
    text = family.encode_text([data.captions[i] for i in index])
    x_t = family.path.add_noise(x0, noise, t)
    condition = family.encode_condition(data.conditions[index].to(family.device).float() / 255)
    target = likelihood_target(family.path.target(x0, noise, t).float(), family.predict(x_t, t, text).value.float())
    return family.side_features(x_t, t, text, side, condition, [tap])[tap].float(), target, t
