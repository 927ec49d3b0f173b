"""Noise paths: how samples are noised over time, and what the network of each kind predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lisa.errors import LisaError
from lisa.score import join, noise_gain, split


class NoisePath(ABC):
    """How samples are noised and what the network predicts; t is (B,) in the network's own unit.

    Attributes:
        prediction: What the network predicts, one of KINDS.
    """

    prediction: str

    @abstractmethod
    def sample_t(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n training times, (n,) on the CPU."""

    @abstractmethod
    def spread_t(self, n: int) -> Tensor:
        """Choose n times, (n,), that cover what sample_t() draws evenly, in a fixed scrambled order."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Compute the factor of the clean sample at times (B,), as (B,)."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Compute the factor of the noise at times (B,), as (B,)."""

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Compute x_t.

        Args:
            x0: Clean samples, (B, ...).
            noise: Standard normal, like x0.
            t: Times, (B,).

        Returns:
            alpha x0 + sigma noise, like x0.
        """
        alpha, sigma = self._factors(t, x0)
        return (alpha * x0 + sigma * noise).to(x0.dtype)

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Compute what the network should predict.

        Args:
            x0: Clean samples, (B, ...).
            noise: The noise that made x_t, like x0.
            t: Times, (B,).

        Returns:
            The regression target in the network's output space, like x0.
        """
        alpha, sigma = self._factors(t, x0)
        return join(self.prediction, x0, noise, alpha, sigma).to(x0.dtype)

    def weight(self, t: Tensor) -> Tensor:
        """Compute the weight of each sample's squared error in the training loss, (B,): 1."""
        return torch.ones(t.shape, device=t.device)

    def snr(self, t: Tensor) -> Tensor:
        """Compute the signal-to-noise ratio alpha^2 / sigma^2 at times (B,), as (B,)."""
        return (self.alpha(t) / self.sigma(t)).square()

    def noise_gain(self, t: Tensor) -> Tensor:
        """Compute d noise / d output at times (B,), as (B,)."""
        return noise_gain(self.prediction, self.alpha(t), self.sigma(t))

    def to_score(self, difference: Tensor, t: Tensor) -> Tensor:
        """Turn a difference of two outputs into the difference of the scores they stand for.

        Args:
            difference: Difference of two outputs at the same x_t and t, (B, ...).
            t: Times, (B,).

        Returns:
            The difference of the scores, like difference.
        """
        return difference * _like(-self.noise_gain(t) / self.sigma(t), difference)

    def convert(self, value: Tensor, x_t: Tensor, t: Tensor, kind: str) -> Tensor:
        """Turn the network's output into another quantity.

        Args:
            value: The output at x_t and t, (B, ...).
            x_t: The noisy sample, like value.
            t: Times, (B,).
            kind: One of KINDS.

        Returns:
            The quantity of that kind, like value.
        """
        alpha, sigma = self._factors(t, value)
        return join(kind, *split(self.prediction, value, x_t, alpha, sigma), alpha, sigma)

    def _factors(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        return _like(self.alpha(t), like), _like(self.sigma(t), like)


@dataclass(frozen=True, eq=False)
class DiffusionPath(NoisePath):
    """Variance-preserving diffusion with discrete times (DDPM, Ho et al. 2020).

    Attributes:
        alphas_cumprod: Share of the signal's power at times 0..T-1, (T,).
        prediction: "epsilon", "v_prediction" or "sample".
    """

    alphas_cumprod: Tensor
    prediction: str = "epsilon"

    def sample_t(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n times uniformly from 0..T-1, (n,) int64."""
        return torch.randint(0, len(self.alphas_cumprod), (n,), generator=generator)

    def spread_t(self, n: int) -> Tensor:
        """Choose the middles of n equal parts of 0..T-1, (n,) int64, in a fixed scrambled order."""
        return (_quantiles(n) * len(self.alphas_cumprod)).long()

    def alpha(self, t: Tensor) -> Tensor:
        """Compute the square root of the signal's power at times (B,), as (B,)."""
        return self.alphas_cumprod.to(t.device)[t.long()].sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        """Compute the square root of the noise's power at times (B,), as (B,)."""
        return (1 - self.alphas_cumprod.to(t.device)[t.long()]).sqrt()


@dataclass(frozen=True)
class FlowPath(NoisePath):
    """Rectified flow, ``x_t = (1 - s) x0 + s noise`` with t = 1000 s (Liu et al. 2022).

    Training times are logit-normal and then shifted towards noise (Esser et al. 2024, equations 19 and 23).

    Attributes:
        shift: Shift of the times; 1 is none.
        mean: Mean of the logit.
        std: Standard deviation of the logit.
        scale: The network's t at pure noise.
    """

    shift: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    scale: float = 1000.0
    prediction: str = "flow_prediction"

    def sample_t(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n logit-normal times, shifted, (n,) float32."""
        return self._times(torch.randn(n, generator=generator))

    def spread_t(self, n: int) -> Tensor:
        """Choose even quantiles of sample_t(), (n,) float32, in a fixed scrambled order."""
        return self._times(torch.special.ndtri(_quantiles(n)).float())

    def alpha(self, t: Tensor) -> Tensor:
        """Compute 1 - s at times (B,), as (B,)."""
        return 1 - t / self.scale

    def sigma(self, t: Tensor) -> Tensor:
        """Compute s at times (B,), as (B,)."""
        return t / self.scale

    def _times(self, normal: Tensor) -> Tensor:
        s = torch.sigmoid(self.mean + self.std * normal)
        return self.scale * self.shift * s / (1 + (self.shift - 1) * s)


@dataclass(frozen=True)
class EDMPath(NoisePath):
    """Unscaled noise, ``x_t = x0 + s noise`` with t = ln(s) / 4, as Stable Video Diffusion uses it.

    The network sees x_t / sqrt(1 + s^2) and predicts the v of that variance-preserving sample. Karras et al.
    2022 weigh the error of x0 by (1 + s^2) / s^2, which is the plain squared error of v, so weight() stays 1.

    Attributes:
        mean: Mean of ln(s) in training.
        std: Standard deviation of ln(s) in training.
    """

    mean: float = 0.7
    std: float = 1.6
    prediction: str = "v_prediction"

    def sample_t(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n times whose noise level is log-normal, (n,) float32."""
        return (self.mean + self.std * torch.randn(n, generator=generator)) / 4

    def spread_t(self, n: int) -> Tensor:
        """Choose even quantiles of sample_t(), (n,) float32, in a fixed scrambled order."""
        return (self.mean + self.std * torch.special.ndtri(_quantiles(n)).float()) / 4

    def alpha(self, t: Tensor) -> Tensor:
        """Compute the factor of the clean sample at times (B,), as (B,): 1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Compute s at times (B,), as (B,)."""
        return torch.exp(4 * t)

    def input_scale(self, t: Tensor) -> Tensor:
        """Compute the factor 1 / sqrt(1 + s^2) from x_t to the network's input at times (B,), as (B,)."""
        return (1 + self.sigma(t).square()).rsqrt()

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Compute v of the rescaled sample; as NoisePath.target."""
        return super().target(x0, noise, t) * _like(self.input_scale(t), x0)

    def noise_gain(self, t: Tensor) -> Tensor:
        """Compute d noise / d output at times (B,), as (B,)."""
        return super().noise_gain(t) / self.input_scale(t)

    def convert(self, value: Tensor, x_t: Tensor, t: Tensor, kind: str) -> Tensor:
        """Turn the network's output at the unscaled x_t into another quantity; as NoisePath.convert."""
        if kind == self.prediction:
            return value
        return super().convert(value / _like(self.input_scale(t), value), x_t, t, kind)


def from_scheduler(scheduler: Any) -> NoisePath:
    """Find the path that a diffusers scheduler stands for.

    Args:
        scheduler: One with alphas_cumprod (DDPM, DDIM, PNDM, ...), FlowMatchEulerDiscreteScheduler, or the
            EulerDiscreteScheduler with continuous times of Stable Video Diffusion.

    Returns:
        The path that the scheduler's network was trained on.

    Raises:
        LisaError: If the scheduler is of another kind.
    """
    config = scheduler.config
    prediction = config.get("prediction_type", "epsilon")
    if config.get("timestep_type") == "continuous" and prediction == "v_prediction":
        return EDMPath()  # its alphas_cumprod is not used: sigmas reach beyond it
    if hasattr(scheduler, "alphas_cumprod") and prediction in ("epsilon", "v_prediction", "sample"):
        return DiffusionPath(scheduler.alphas_cumprod.detach().cpu(), prediction)
    if type(scheduler).__name__ == "FlowMatchEulerDiscreteScheduler":
        # A dynamic shift depends on the size of the picture and belongs to sampling; training does without.
        shift = 1.0 if config.get("use_dynamic_shifting") else float(config.shift)
        return FlowPath(shift=shift, scale=float(config.num_train_timesteps))
    raise LisaError(
        f"The scheduler {type(scheduler).__name__} with prediction {prediction!r} has no noise path here: "
        "use one with epsilon, v_prediction, sample or rectified flow."
    )


def _quantiles(n: int) -> Tensor:
    """Give the middles of n equal parts of 0..1, float64, scrambled so that every batch covers the range."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return (order.double() + 0.5) / n


def _like(factor: Tensor, value: Tensor) -> Tensor:
    """Give a factor per sample, (B,), the number of dimensions of value, (B, ...)."""
    return factor.reshape(-1, *[1] * (value.ndim - 1))
