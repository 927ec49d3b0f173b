from __future__ import annotations

import pytest
import torch

from lisa.errors import LisaError
from lisa.score import KINDS, join, likelihood_target, noise_gain, split

SHAPE = (5, 4, 3, 3)


def _draw(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _factors(kind):
    """Five levels of noise, variance-preserving, straight, or with unscaled signal."""
    level = torch.tensor([0.02, 0.3, 0.5, 0.8, 0.99], dtype=torch.float64).reshape(-1, 1, 1, 1)
    return {
        "preserving": ((1 - level**2).sqrt(), level),
        "straight": (1 - level, level),
        "unscaled": (torch.ones_like(level), 40 * level),
    }[kind]


@pytest.mark.parametrize("factors", ["preserving", "straight", "unscaled"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_output_gives_back_sample_and_noise(kind, factors):
    alpha, sigma = _factors(factors)
    x0, noise = _draw(0), _draw(1)
    value = join(kind, x0, noise, alpha, sigma)
    got_x0, got_noise = split(kind, value, alpha * x0 + sigma * noise, alpha, sigma)
    torch.testing.assert_close(got_x0, x0, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(got_noise, noise, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_round_trips_between_any_two_kinds(kind, other):
    alpha, sigma = _factors("preserving")
    value, x_t = _draw(2), _draw(3)
    there = join(other, *split(kind, value, x_t, alpha, sigma), alpha, sigma)
    back = join(kind, *split(other, there, x_t, alpha, sigma), alpha, sigma)
    torch.testing.assert_close(back, value, rtol=1e-9, atol=1e-9)


def test_the_score_of_a_gaussian_is_exact():
    # For x0 ~ N(0, 1) the noisy sample is N(0, alpha^2 + sigma^2), whose score is known.
    alpha, sigma = _factors("straight")
    x_t, power = _draw(4), alpha**2 + sigma**2
    score = join("score", *split("sample", alpha * x_t / power, x_t, alpha, sigma), alpha, sigma)
    torch.testing.assert_close(score, -x_t / power, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_gain_is_the_slope_of_the_noise(kind):
    alpha, sigma = _factors("unscaled")
    value, step, x_t = _draw(5), _draw(6), _draw(7)
    rise = split(kind, value + step, x_t, alpha, sigma)[1] - split(kind, value, x_t, alpha, sigma)[1]
    expected = noise_gain(kind, alpha, sigma) * step
    torch.testing.assert_close(rise, expected, rtol=1e-8, atol=1e-8)


def test_likelihood_target_is_what_the_prior_leaves():
    target, prior = _draw(8), _draw(9)
    assert torch.equal(likelihood_target(target, prior) + prior, target - prior + prior)
    assert torch.equal(likelihood_target(target, target), torch.zeros(SHAPE, dtype=torch.float64))


def test_an_unknown_kind_is_refused_with_the_near_one():
    one = torch.ones(1)
    for call in (
        lambda: split("epsilom", one, one, one, one),
        lambda: join("epsilom", one, one, one, one),
        lambda: noise_gain("epsilom", one, one),
    ):
        with pytest.raises(LisaError, match="did you mean epsilon"):
            call()
