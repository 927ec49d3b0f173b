"""What a network's output says about the score: pure functions, no network.

A noisy sample is ``x_t = alpha x0 + sigma noise``. A network predicts one of five quantities, each an affine
function of each other at a given x_t; the score of the noisy sample is ``-noise / sigma``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lisa.errors import unknown_name

KINDS = ("epsilon", "v_prediction", "sample", "flow_prediction", "score")
"""Noise; ``alpha noise - sigma x0`` (Salimans & Ho 2022); x0; ``noise - x0`` (Liu et al. 2022); score."""


def likelihood_target(target: Tensor, prior: Tensor) -> Tensor:
    """Approximate the likelihood score in output space: what the main network alone leaves unexplained.

    Source: arXiv 2606.27192, the approximated likelihood score.

    Args:
        target: What the diffusion or flow loss regresses to, any shape.
        prior: The main network's output without control, the same shape.

    Returns:
        target - prior.
    """
    return target - prior


def split(kind: str, value: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Read a clean sample and a noise out of a network's output.

    Args:
        kind: One of KINDS.
        value: The output, (B, ...).
        x_t: The noisy sample, like value.
        alpha: Factor of the clean sample, broadcastable to value.
        sigma: Factor of the noise, broadcastable to value.

    Returns:
        x0 and noise with ``alpha x0 + sigma noise = x_t``.

    Raises:
        LisaError: If the kind is unknown.
    """
    if kind == "epsilon":
        return (x_t - sigma * value) / alpha, value
    if kind == "sample":
        return value, (x_t - alpha * value) / sigma
    if kind == "score":
        return (x_t + sigma**2 * value) / alpha, -sigma * value
    if kind == "v_prediction":
        power = alpha**2 + sigma**2
        return (alpha * x_t - sigma * value) / power, (sigma * x_t + alpha * value) / power
    if kind == "flow_prediction":
        return (x_t - sigma * value) / (alpha + sigma), (x_t + alpha * value) / (alpha + sigma)
    raise unknown_name("prediction", kind, KINDS)


def join(kind: str, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Write a clean sample and a noise as the output of a network; the inverse of split().

    Args:
        kind: One of KINDS.
        x0: The clean sample, (B, ...).
        noise: The noise, like x0.
        alpha: Factor of the clean sample, broadcastable to x0.
        sigma: Factor of the noise, broadcastable to x0.

    Returns:
        The quantity of that kind, like x0.

    Raises:
        LisaError: If the kind is unknown.
    """
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return x0
    if kind == "score":
        return -noise / sigma
    if kind == "v_prediction":
        return alpha * noise - sigma * x0
    if kind == "flow_prediction":
        return noise - x0
    raise unknown_name("prediction", kind, KINDS)


def noise_gain(kind: str, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Compute by how much the noise grows when the output grows by one, at a fixed noisy sample.

    Args:
        kind: One of KINDS.
        alpha: Factor of the clean sample.
        sigma: Factor of the noise, like alpha.

    Returns:
        d noise / d output, like alpha.

    Raises:
        LisaError: If the kind is unknown.
    """
    if kind == "epsilon":
        return torch.ones_like(alpha)
    if kind == "sample":
        return -alpha / sigma
    if kind == "score":
        return -sigma
    if kind == "v_prediction":
        return alpha / (alpha**2 + sigma**2)
    if kind == "flow_prediction":
        return alpha / (alpha + sigma)
    raise unknown_name("prediction", kind, KINDS)
