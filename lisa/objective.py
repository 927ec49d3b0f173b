"""LISA's training objective (arXiv 2606.27192): from a batch to a loss, top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from lisa.arms import LisaSettings
from lisa.decoder import ScoreDecoder
from lisa.errors import LisaError
from lisa.families.base import Family
from lisa.noise import NoisePath
from lisa.score import likelihood_target

_MIN_SNR_GAMMA = 5.0
"""Hang et al. 2023, section 3.4."""


@dataclass(frozen=True)
class Batch:
    """B samples as the networks see them.

    Attributes:
        latents: Clean samples x0, (B, C, h, w) float32; clips are (B, C, F, h, w) here and below.
        condition: From Family.encode_condition, B rows.
        text: From Family.encode_text, B rows each.
        noise: Standard normal, like latents.
        timesteps: From NoisePath.sample_t, (B,), on the latents' device.
    """

    latents: Tensor
    condition: Tensor
    text: Mapping[str, Tensor]
    noise: Tensor
    timesteps: Tensor


@dataclass(frozen=True)
class LossBreakdown:
    """Losses of one arm on one batch, scalars; only total carries gradients.

    Attributes:
        total: control + weight * alignment.
        control: Error of the controlled prediction.
        alignment: Distance of the decoded from the approximated likelihood score, mean over taps.
        ratio: Alignment ratio: squared error of the decoded likelihood score divided by the score's power,
            mean over taps; 1 is nothing learnt.
        prior: Error of the prediction without control, which is the power of the likelihood score.
        controls: control of each sample, (B,).
    """

    total: Tensor
    control: Tensor
    alignment: Tensor
    ratio: Tensor
    prior: Tensor
    controls: Tensor

    def numbers(self) -> dict[str, float]:
        """Read the five scalars as floats, by name."""
        return {field.name: getattr(self, field.name).item() for field in fields(self) if field.name != "controls"}


@torch.no_grad()
def prior(family: Family, batch: Batch) -> Tensor:
    """Run the main network without control.

    Args:
        family: Holds the main network.
        batch: B samples.

    Returns:
        Its output, (B, C, h, w), without gradients: the score of the noisy sample, in output space.
    """
    x_t = family.path.add_noise(batch.latents, batch.noise, batch.timesteps)
    return family.predict(x_t, batch.timesteps, batch.text).value


def arm_loss(
    family: Family,
    side: nn.Module,
    decoders: Mapping[str, ScoreDecoder] | nn.ModuleDict,
    batch: Batch,
    lisa: LisaSettings,
    weight: float,
    prior_value: Tensor,
) -> LossBreakdown:
    """Compute the loss of one arm: ``mse(prediction, target) + weight * distance(decoded, target - prior)``.

    At weight 0 the side network gets the gradients of plain training, bit for bit; the decoders then learn
    from detached features, as probes that make the alignment ratios of arms comparable.

    Args:
        family: Holds the frozen main network.
        side: The arm's side network.
        decoders: Tap name -> score decoder; the features of these taps are aligned.
        batch: B samples, the same for every arm.
        lisa: Distance and timestep weighting.
        weight: Lambda at this step.
        prior_value: From prior() on the same batch.

    Returns:
        The losses.

    Raises:
        LisaError: If there is no decoder, or one does not fit the latents.
    """
    if not decoders:
        raise LisaError("The alignment loss needs at least one tap, but the arm has none.")
    path, t = family.path, batch.timesteps
    x_t = path.add_noise(batch.latents, batch.noise, t)
    target = path.target(batch.latents, batch.noise, t).float()

    # Plain training: the prediction under control regresses to the target.
    prediction = family.predict(x_t, t, batch.text, side, batch.condition, taps=tuple(decoders))
    control = _mse(prediction.value, target, path.weight(t))
    controls = (prediction.value.detach().float() - target).square().flatten(1).mean(1) * path.weight(t)

    # The approximated likelihood score: what the condition must explain of the target.
    likelihood = likelihood_target(target, prior_value.float())
    power = _mse(likelihood, torch.zeros_like(likelihood), path.weight(t))

    # The side network's features, decoded, regress to it.
    alignments, ratios = [], []
    for name, decoder in decoders.items():
        feature = prediction.features[name]
        decoded = _decode(decoder, feature if weight else feature.detach(), t, likelihood)
        _check_size(name, decoded, likelihood)
        alignments.append(_distance(lisa, decoded, likelihood, path.weight(t) * _time_weight(lisa, path, t)))
        ratios.append(_mse(decoded.detach(), likelihood, path.weight(t)) / power)
    alignment = torch.stack(alignments).mean()

    # Subtracting its own value leaves only the probe's gradients: the total stays the plain loss.
    probe = weight * alignment if weight else alignment - alignment.detach()
    total = control + probe
    return LossBreakdown(total, control.detach(), alignment.detach(), torch.stack(ratios).mean(), power, controls)


def _decode(decoder: nn.Module, feature: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Decode features frame by frame, (B F, ...), and put the frames of a clip together again, (B, C, F, h, w)."""
    frames = feature.shape[0] // t.shape[0]
    decoded = decoder(feature, t.repeat_interleave(frames)).float()
    return decoded.unflatten(0, (-1, frames)).transpose(1, 2) if like.ndim == 5 else decoded


def _distance(lisa: LisaSettings, decoded: Tensor, likelihood: Tensor, weight: Tensor) -> Tensor:
    if lisa.distance == "mse":
        return _mse(decoded, likelihood, weight)
    # A decoder starts at zero, where the gradient of the angle is 1 / eps: the usual 1e-8 overflows float16.
    cosine = functional.cosine_similarity(decoded.flatten(1), likelihood.flatten(1), eps=1e-3)
    return (weight * (1 - cosine)).mean()


def _time_weight(lisa: LisaSettings, path: NoisePath, t: Tensor) -> Tensor:
    """Weigh times, (B,), so that the squared error is that of x0 times SNR (snr) or min(SNR, 5) (min_snr).

    An error of x0 times SNR is an error of the noise: snr is uniform for networks that predict epsilon.
    """
    if lisa.timestep_weighting == "uniform":
        return torch.ones_like(path.weight(t))
    weight = path.noise_gain(t).square()
    if lisa.timestep_weighting == "min_snr":
        weight = weight * (_MIN_SNR_GAMMA / path.snr(t)).clamp(max=1)
    return weight


def _mse(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Compute the mean squared error in float32; weight is (B,)."""
    weight = weight.reshape(-1, *[1] * (value.ndim - 1))
    return ((value.float() - target).square() * weight).mean()


def _check_size(name: str, decoded: Tensor, likelihood: Tensor) -> None:
    if decoded.shape != likelihood.shape:
        raise LisaError(
            f"The decoder of tap {name} gives {tuple(decoded.shape)}, but the latents are "
            f"{tuple(likelihood.shape)}: use images whose sides halve evenly down to that tap."
        )
