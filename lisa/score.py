"""Noise paths and scores: from clean samples to noisy ones, and between the things a network can predict.

A path is ``x_t = alpha_t * x0 + sigma_t * noise``. Networks predict epsilon (the noise), v, x0, or the flow velocity
``noise - x0``; for a given x_t each is an affine function of each other, and of the score of p(x_t):

    score = -noise / sigma_t                                                                    (Tweedie)

so a difference of two outputs at the same x_t is a difference of scores up to a factor (``to_score``). Timesteps are
(B,) in the network's own unit, 0..1000; samples are (B, C, ...). All functions are pure and keep the dtype.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lisa.errors import LisaError

PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow")


def expand(values: Tensor, like: Tensor) -> Tensor:
    """Shape (B,) as (B, 1, ...) to broadcast over samples, in their dtype and on their device."""
    return values.to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def likelihood_target(target: Tensor, prior: Tensor) -> Tensor:
    """The approximated likelihood score in output space (arXiv 2606.27192): what the prior leaves to be explained.

    Args:
        target: what the diffusion or flow loss regresses to, (B, C, ...).
        prior: the main network's output without control, same shape.
    """
    return target - prior


def noise_of(prediction: str, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The noise that an output stands for.

    Args:
        prediction: "epsilon", "v_prediction" (v = alpha noise - sigma x0), "sample" (x0) or "flow" (noise - x0).
        output: network output (B, C, ...).
        x_t: noisy sample, same shape.
        alpha: signal level, broadcastable; alpha and sigma may not both be 0.
        sigma: noise level, broadcastable.

    Raises:
        LisaError: for an unknown kind of prediction.
    """
    if prediction == "epsilon":
        return output
    if prediction == "v_prediction":
        return (alpha * output + sigma * x_t) / (alpha**2 + sigma**2)
    if prediction == "sample":
        return (x_t - alpha * output) / sigma
    if prediction == "flow":
        return (x_t + alpha * output) / (alpha + sigma)
    raise LisaError(f"Unknown prediction '{prediction}': use one of {', '.join(PREDICTIONS)}.")


def sample_of(prediction: str, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The clean sample x0 that an output stands for; arguments as in ``noise_of``."""
    if prediction == "sample":
        return output
    if prediction == "v_prediction":
        return (alpha * x_t - sigma * output) / (alpha**2 + sigma**2)
    if prediction == "flow":
        return (x_t - sigma * output) / (alpha + sigma)
    return (x_t - sigma * noise_of(prediction, output, x_t, alpha, sigma)) / alpha


def output_of(prediction: str, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The output that a perfect network gives for (x0, noise): the training target."""
    if prediction == "epsilon":
        return noise
    if prediction == "v_prediction":
        return alpha * noise - sigma * x0
    if prediction == "sample":
        return x0
    if prediction == "flow":
        return noise - x0
    raise LisaError(f"Unknown prediction '{prediction}': use one of {', '.join(PREDICTIONS)}.")


def convert(source: str, target: str, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Turn an output of one kind into another kind, at the same x_t."""
    x0 = sample_of(source, output, x_t, alpha, sigma)
    noise = noise_of(source, output, x_t, alpha, sigma)
    return output_of(target, x0, noise, alpha, sigma)


def noise_per_output(prediction: str, alpha: Tensor, sigma: Tensor) -> Tensor:
    """d noise / d output at fixed x_t: the factor between differences of outputs and differences of noise."""
    if prediction == "epsilon":
        return torch.ones_like(sigma)
    if prediction == "v_prediction":
        return alpha / (alpha**2 + sigma**2)
    if prediction == "sample":
        return -alpha / sigma
    return alpha / (alpha + sigma)


class Path(Protocol):
    """What training needs of a noise path."""

    prediction: str

    def sample_t(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n timesteps (n,) as the family's own training does."""

    def spread_t(self, n: int) -> Tensor:
        """n timesteps (n,) spread over the range, always the same."""

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma (B,) float32 at timesteps (B,)."""

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t, shaped like x0."""

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network regresses to, shaped like x0."""

    def weight(self, t: Tensor) -> Tensor:
        """The family's own loss weight (B,)."""

    def to_score(self, difference: Tensor, t: Tensor) -> Tensor:
        """A difference of outputs at the same x_t as a difference of scores."""


class _PathMethods:
    """What follows from ``prediction`` and ``levels``."""

    prediction: str

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma (B,) float32 at timesteps (B,)."""
        raise NotImplementedError

    def _levels_like(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.levels(t)
        return expand(alpha, like), expand(sigma, like)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """alpha_t x0 + sigma_t noise, shaped like x0."""
        alpha, sigma = self._levels_like(t, x0)
        return alpha * x0 + sigma * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network regresses to, shaped like x0."""
        return output_of(self.prediction, x0, noise, *self._levels_like(t, x0))

    def weight(self, t: Tensor) -> Tensor:
        """The family's own loss weight (B,): 1, as in the published training scripts."""
        return torch.ones(t.shape, device=t.device)

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio alpha^2 / sigma^2 (B,)."""
        alpha, sigma = self.levels(t)
        return alpha**2 / sigma**2

    def to_score(self, difference: Tensor, t: Tensor) -> Tensor:
        """A difference of outputs at the same x_t as a difference of scores: -1/sigma_t times that of the noise."""
        alpha, sigma = self._levels_like(t, difference)
        return -noise_per_output(self.prediction, alpha, sigma) / sigma * difference


@dataclass(frozen=True)
class DiffusionPath(_PathMethods):
    """Variance-preserving diffusion (DDPM) with T discrete timesteps.

    Attributes:
        alphas_cumprod: (T,) float, products of 1 - beta.
        prediction: "epsilon", "v_prediction" or "sample".
    """

    alphas_cumprod: Tensor
    prediction: str = "epsilon"

    def sample_t(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n timesteps (n,) int64 uniformly."""
        return torch.randint(len(self.alphas_cumprod), (n,), generator=generator)

    def spread_t(self, n: int) -> Tensor:
        """n timesteps (n,) int64 spread over the range in a scrambled but fixed order."""
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        return ((order + 0.5) / n * len(self.alphas_cumprod)).long()

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha = sqrt(alphas_cumprod[t]) and sigma = sqrt(1 - alphas_cumprod[t]), (B,)."""
        product = self.alphas_cumprod.to(t.device)[t.long()]
        return product.sqrt(), (1 - product).sqrt()


@dataclass(frozen=True)
class FlowPath(_PathMethods):
    """Rectified flow: alpha = 1 - s, sigma = s with s = t / T.

    Attributes:
        sigmas: (T,) levels s that training draws from, shifted as the scheduler does.
        steps: T, the largest timestep.
    """

    sigmas: Tensor
    steps: int = 1000
    prediction: str = "flow"

    def sample_t(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n timesteps (n,) float: logit-normal positions in the schedule, as SD3's training does."""
        u = torch.sigmoid(torch.randn(n, generator=generator))
        return self.sigmas[(u * len(self.sigmas)).long().clamp(max=len(self.sigmas) - 1)] * self.steps

    def spread_t(self, n: int) -> Tensor:
        """n timesteps (n,) float spread over the schedule in a scrambled but fixed order."""
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        return self.sigmas[((order + 0.5) / n * len(self.sigmas)).long()] * self.steps

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha = 1 - t/T and sigma = t/T, (B,)."""
        s = t.float() / self.steps
        return 1 - s, s


@dataclass(frozen=True)
class EDMPath(_PathMethods):
    """Variance-exploding EDM as in Stable Video Diffusion: x_t = x0 + sigma noise, and t = 0.25 ln sigma.

    The network's output F is a v-prediction of x_t / sqrt(sigma^2 + 1) (Karras et al. 2022 with sigma_data = 1), so
    alpha and sigma are given in that normalised space, and ``add_noise`` returns x_t / sqrt(sigma^2 + 1): the
    network's input.

    Attributes:
        mean: mean of ln sigma in training.
        std: standard deviation of ln sigma in training.
    """

    mean: float = 0.7
    std: float = 1.6
    prediction: str = "v_prediction"

    def sample_t(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n timesteps (n,) float with ln sigma normal."""
        return 0.25 * (self.mean + self.std * torch.randn(n, generator=generator))

    def spread_t(self, n: int) -> Tensor:
        """n timesteps (n,) float at fixed quantiles of the training distribution."""
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        quantiles = torch.special.ndtri((order.double() + 0.5) / n).float()
        return 0.25 * (self.mean + self.std * quantiles)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha = 1 / sqrt(sigma^2 + 1) and sigma / sqrt(sigma^2 + 1), (B,)."""
        sigma = torch.exp(4 * t.float())
        scale = torch.rsqrt(sigma**2 + 1)
        return scale, sigma * scale


def diffusion_path(scheduler: Any) -> DiffusionPath:
    """The path of a diffusers DDPM-like scheduler.

    Args:
        scheduler: any scheduler with ``alphas_cumprod`` and ``config.prediction_type``.

    Raises:
        LisaError: for a kind of prediction that has no path here.
    """
    prediction = scheduler.config.prediction_type
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise LisaError(f"The scheduler predicts '{prediction}': use epsilon, v_prediction or sample.")
    return DiffusionPath(scheduler.alphas_cumprod.float().cpu(), prediction)
