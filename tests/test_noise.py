from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from lisa.errors import LisaError
from lisa.noise import DiffusionPath, EDMPath, FlowPath, from_scheduler
from lisa.score import KINDS

SHAPE = (6, 4, 5, 5)
LINEAR = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def _draw(seed, dtype=torch.float64):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _paths():
    alphas = DDPMScheduler(**LINEAR).alphas_cumprod.double()
    discrete = torch.tensor([0, 1, 250, 500, 900, 999])
    straight = torch.tensor([1.0, 20, 250, 500, 900, 999], dtype=torch.float64)
    log_noise = torch.tensor([-6.0, -2, 0, 1, 3, 6], dtype=torch.float64) / 4
    return {
        "epsilon": (DiffusionPath(alphas, "epsilon"), discrete),
        "v": (DiffusionPath(alphas, "v_prediction"), discrete),
        "sample": (DiffusionPath(alphas, "sample"), discrete),
        "flow": (FlowPath(shift=3.0), straight),
        "edm": (EDMPath(), log_noise),
    }


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("schedule", [LINEAR, {"beta_schedule": "squaredcos_cap_v2"}])
def test_diffusion_equals_diffusers_bit_for_bit(schedule, prediction):
    scheduler = DDPMScheduler(**schedule, prediction_type=prediction)
    path = from_scheduler(scheduler)
    t = torch.randint(0, 1000, (64,), generator=torch.Generator().manual_seed(0))
    x0, noise = (torch.randn(64, 4, 3, 3, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    assert torch.equal(path.add_noise(x0, noise, t), scheduler.add_noise(x0, noise, t))
    target = noise if prediction == "epsilon" else scheduler.get_velocity(x0, noise, t)
    assert torch.equal(path.target(x0, noise, t), target)


def test_flow_equals_diffusers():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    path = from_scheduler(scheduler)
    t = scheduler.timesteps[[3, 500, 990]]
    x0, noise = _draw(0, torch.float32)[:3], _draw(1, torch.float32)[:3]
    torch.testing.assert_close(path.add_noise(x0, noise, t), scheduler.scale_noise(x0, t, noise))
    assert torch.equal(path.target(x0, noise, t), noise - x0)
    assert path.shift == 3.0


@pytest.mark.parametrize("name", list(_paths()))
def test_a_perfect_output_gives_back_sample_and_noise(name):
    path, t = _paths()[name]
    x0, noise = _draw(0), _draw(1)
    x_t, target = path.add_noise(x0, noise, t), path.target(x0, noise, t)
    torch.testing.assert_close(path.convert(target, x_t, t, "sample"), x0, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(path.convert(target, x_t, t, "epsilon"), noise, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(path.convert(target, x_t, t, path.prediction), target, rtol=1e-8, atol=1e-8)
    score = -noise / path.sigma(t).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(path.convert(target, x_t, t, "score"), score, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", list(_paths()))
def test_differences_of_outputs_are_differences_of_scores(name):
    path, t = _paths()[name]
    x_t, one, other = _draw(2), _draw(3), _draw(4)
    wanted = path.convert(one, x_t, t, "score") - path.convert(other, x_t, t, "score")
    torch.testing.assert_close(path.to_score(one - other, t), wanted, rtol=1e-7, atol=1e-7)


def test_epsilon_differs_from_the_score_by_minus_one_over_sigma():
    path, t = _paths()["epsilon"]
    difference = _draw(5)
    sigma = (1 - path.alphas_cumprod[t]).sqrt().reshape(-1, 1, 1, 1)
    torch.testing.assert_close(path.to_score(difference, t), -difference / sigma)


def test_the_edm_target_is_the_v_of_the_rescaled_sample():
    path, t = _paths()["edm"]
    x0, noise, s = _draw(6), _draw(7), torch.exp(4 * t).reshape(-1, 1, 1, 1)
    x_t = x0 + s * noise
    # Karras et al. 2022, equation 7, with the preconditioning of Stable Video Diffusion.
    denoised = x_t / (s**2 + 1) - s / (s**2 + 1).sqrt() * path.target(x0, noise, t)
    torch.testing.assert_close(denoised, x0, rtol=1e-8, atol=1e-8)
    assert torch.equal(path.weight(t), torch.ones(6))


@pytest.mark.parametrize("name", list(_paths()))
def test_signal_to_noise_ratio(name):
    path, t = _paths()[name]
    torch.testing.assert_close(path.snr(t), path.alpha(t) ** 2 / path.sigma(t) ** 2)


@pytest.mark.parametrize("name", list(_paths()))
def test_drawn_times_are_repeatable_and_the_spread_ones_cover_the_same_range(name):
    path, _ = _paths()[name]
    drawn = [path.sample_t(4096, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*drawn)
    spread = path.spread_t(512)
    assert torch.equal(spread, path.spread_t(512))
    marks = torch.tensor([0.1, 0.5, 0.9])
    width = drawn[0].float().quantile(0.9) - drawn[0].float().quantile(0.1)
    gap = (spread.float().quantile(marks) - drawn[0].float().quantile(marks)).abs().max()
    assert gap < 0.05 * width
    # Every part of the list covers the range, so every batch of a validation does.
    assert (spread[:32].float().mean() - spread.float().mean()).abs() < 0.25 * width


def test_uniform_times_reach_both_ends():
    path = DiffusionPath(torch.linspace(0.99, 0.01, 10))
    assert sorted(path.spread_t(10).tolist()) == list(range(10))
    assert set(path.sample_t(500, torch.Generator().manual_seed(0)).tolist()) == set(range(10))


@pytest.mark.parametrize("kind", KINDS)
def test_low_precision_samples_keep_their_type(kind):
    path = DiffusionPath(torch.linspace(0.99, 0.01, 10), "v_prediction")
    x0, t = torch.ones(2, 4, 2, 2, dtype=torch.bfloat16), torch.tensor([0, 9])
    assert path.add_noise(x0, x0, t).dtype == torch.bfloat16
    assert path.target(x0, x0, t).dtype == torch.bfloat16
    assert torch.isfinite(path.convert(x0.float(), x0.float(), t, kind)).all()


def test_a_scheduler_without_a_path_is_refused():
    with pytest.raises(LisaError, match=r"DDPMScheduler.*'magic'"):
        from_scheduler(_renamed(DDPMScheduler(), "magic"))
    assert isinstance(from_scheduler(EulerDiscreteScheduler()), DiffusionPath)


def test_the_sampler_with_continuous_times_stands_for_edm():
    options = {"timestep_type": "continuous", "use_karras_sigmas": True, "sigma_min": 0.002, "sigma_max": 700.0}
    assert isinstance(from_scheduler(EulerDiscreteScheduler(prediction_type="v_prediction", **options)), EDMPath)
    # diffusers keeps discrete times for any other prediction.
    assert isinstance(from_scheduler(EulerDiscreteScheduler(**options)), DiffusionPath)


def _renamed(scheduler, prediction):
    scheduler.register_to_config(prediction_type=prediction)
    return scheduler
