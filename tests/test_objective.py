from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch
from diffusers import ControlNetModel, DDPMScheduler, StableDiffusionPipeline
from torch.nn import functional

from lisa.decoder import ScoreDecoder
from lisa.errors import LisaError
from lisa.noise import DiffusionPath
from lisa.objective import LossBreakdown, arm_loss, prior
from lisa.settings import LisaSettings
from tests import tiny

LISA = LisaSettings()


def _setup(kind="sd21", names=("down_5",), **more):
    family = tiny.cached_family(kind)
    side = tiny.open_control(family.new_side(0))
    return family, side, tiny.decoders(family, side, names, **more), tiny.batch(family)


# --- the published method, written out with other means than the package's ---


def _written_out(folder, side, decoder, batch, weight):
    """The published loss on a Stable Diffusion 2.1 pipeline: numbers, and gradients of the side network."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
    assert scheduler.config.prediction_type == "v_prediction"
    t, states = batch.timesteps, batch.text["states"]
    noisy = scheduler.add_noise(batch.latents, batch.noise, t)
    target = scheduler.get_velocity(batch.latents, batch.noise, t)
    with torch.no_grad():
        free = pipe.unet(noisy, t, states).sample
    outputs = side(noisy, t, states, batch.condition, return_dict=True)
    controlled = pipe.unet(
        noisy,
        t,
        states,
        down_block_additional_residuals=outputs.down_block_res_samples,
        mid_block_additional_residual=outputs.mid_block_res_sample,
    ).sample
    likelihood = target - free
    decoded = _decode(decoder, _before_zero_convolution(side, 5, noisy, t, states, batch.condition), t)
    control = ((controlled - target) ** 2).mean()
    alignment = ((decoded - likelihood) ** 2).mean()
    loss = control + weight * alignment
    gradients = torch.autograd.grad(loss, list(side.parameters()))
    return loss, control, alignment, alignment / (likelihood**2).mean(), gradients


def _before_zero_convolution(side, index, noisy, t, states, condition):
    """Turn one zero convolution into the identity and read what it lets through."""
    open_side = ControlNetModel.from_config(side.config)
    layer = open_side.controlnet_down_blocks[index]
    parameters = dict(side.named_parameters())
    parameters[f"controlnet_down_blocks.{index}.weight"] = torch.eye(layer.weight.shape[0])[:, :, None, None]
    parameters[f"controlnet_down_blocks.{index}.bias"] = torch.zeros(layer.weight.shape[0])
    outputs = torch.func.functional_call(open_side, parameters, (noisy, t, states, condition), {"return_dict": False})
    return outputs[0][index]


def _decode(weights, feature, t):
    half = torch.arange(128, dtype=torch.float32)
    angles = t[:, None] * 10_000 ** (-half / 128)
    time = functional.linear(torch.cat([angles.cos(), angles.sin()], 1), weights["w_time"], weights["b_time"])
    x = feature + functional.silu(time)[:, :, None, None]
    x = functional.silu(functional.conv2d(x, weights["w_1"], weights["b_1"], padding="same"))
    x = functional.interpolate(x, scale_factor=2, mode="nearest")
    return functional.conv2d(x, weights["w_out"], weights["b_out"], padding="same")


def test_loss_and_gradients_equal_the_method_written_out():
    family, side, decoders, batch = _setup("sd21")
    d = decoders["down_5"]
    assert (d.channels, d.stride) == (16, 2)
    layers = {"time": d.time[0], "1": d.blocks[0], "out": d.out}
    copied = {f"w_{name}": layer.weight.detach().clone() for name, layer in layers.items()}
    copied |= {f"b_{name}": layer.bias.detach().clone() for name, layer in layers.items()}
    with family.shared():
        got = arm_loss(family, side, decoders, batch, LISA, 0.2, prior(family, batch))
    got.total.backward()
    loss, control, alignment, ratio, gradients = _written_out(tiny.folder("sd21"), side, copied, batch, weight=0.2)
    torch.testing.assert_close(got.total, loss)
    torch.testing.assert_close(got.control, control)
    torch.testing.assert_close(got.alignment, alignment)
    torch.testing.assert_close(got.ratio, ratio)
    torch.testing.assert_close(got.prior, alignment / ratio)
    for parameter, wanted in zip(side.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-6)


# --- the knobs ---


def test_several_taps_are_their_mean():
    family, side, decoders, batch = _setup(names=("down_1", "down_5", "mid"))
    free = prior(family, batch)
    every = arm_loss(family, side, decoders, batch, LISA, 0.2, free)
    single = [arm_loss(family, side, {name: decoder}, batch, LISA, 0.2, free) for name, decoder in decoders.items()]
    for field in ("alignment", "ratio"):
        mean = sum(getattr(one, field) for one in single) / 3
        torch.testing.assert_close(getattr(every, field), mean)


def test_cosine_is_the_angle_of_each_sample():
    family, side, decoders, batch = _setup()
    free = prior(family, batch)
    settings = replace(LISA, distance="cosine")
    got = arm_loss(family, side, decoders, batch, settings, 0.2, free)
    likelihood = family.path.target(batch.latents, batch.noise, batch.timesteps) - free
    x_t = family.path.add_noise(batch.latents, batch.noise, batch.timesteps)
    feature = family.predict(x_t, batch.timesteps, batch.text, side, batch.condition, taps=["down_5"])
    decoded = decoders["down_5"](feature.features["down_5"], batch.timesteps)
    a, b = decoded.flatten(1), likelihood.flatten(1)
    torch.testing.assert_close(got.alignment, (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).mean())
    assert torch.equal(got.ratio, arm_loss(family, side, decoders, batch, LISA, 0.2, free).ratio)


def test_cosine_survives_the_zero_at_the_start():
    family, side, decoders, batch = _setup(trained=False)
    settings = replace(LISA, distance="cosine")
    loss = arm_loss(family, side, decoders, batch, settings, 0.2, prior(family, batch))
    loss.total.backward()
    assert loss.alignment == 1
    assert loss.ratio == 1
    gradients = torch.cat([value.flatten() for value in tiny.gradients(decoders).values()])
    assert gradients.isfinite().all()
    assert 0 < gradients.abs().max() < 1e4


@pytest.mark.parametrize("weighting", ["uniform", "snr", "min_snr"])
@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_timestep_weighting_is_an_error_of_x0_times_snr(kind, weighting):
    family, side, decoders, batch = _setup(kind)
    free, t = prior(family, batch), batch.timesteps
    settings = replace(LISA, timestep_weighting=weighting)
    got = arm_loss(family, side, decoders, batch, settings, 0.2, free).alignment
    path = DiffusionPath(family.path.alphas_cumprod.double(), family.path.prediction)
    x_t = path.add_noise(batch.latents, batch.noise, t)
    target = path.target(batch.latents, batch.noise, t)
    feature = family.predict(x_t, t, batch.text, side, batch.condition, taps=["down_5"]).features["down_5"]
    decoded = decoders["down_5"](feature, t)
    if weighting == "uniform":
        wanted = (decoded - (target - free)).square().mean()
    else:
        # The decoded score completes the prior to an estimate of x0.
        estimate = path.convert((free + decoded).double(), x_t.double(), t, "sample")
        snr = path.alphas_cumprod[t] / (1 - path.alphas_cumprod[t])
        factor = snr if weighting == "snr" else snr.clamp(max=5)
        wanted = (factor * (estimate - batch.latents).square().mean((1, 2, 3))).mean()
    torch.testing.assert_close(got.double(), wanted.double(), rtol=1e-3, atol=1e-6)


def test_the_breakdown_is_five_numbers_and_only_the_total_has_gradients():
    family, side, decoders, batch = _setup()
    loss = arm_loss(family, side, decoders, batch, LISA, 0.2, prior(family, batch))
    assert isinstance(loss, LossBreakdown)
    assert list(loss.numbers()) == ["total", "control", "alignment", "ratio", "prior"]
    assert all(type(value) is float for value in loss.numbers().values())
    assert loss.total.requires_grad
    assert not any(value.requires_grad for value in (loss.control, loss.alignment, loss.ratio, loss.prior))


def test_a_frozen_network_in_bfloat16_gives_float32_losses_near_the_exact_ones():
    exact = tiny.cached_family("sd21")
    half = tiny.family("sd21", dtype=torch.bfloat16)
    numbers = []
    for family in (exact, half):
        side = tiny.open_control(exact.new_side(0))
        decoders, batch = tiny.decoders(exact, side, ("down_5",)), tiny.batch(exact)
        with family.shared():
            loss = arm_loss(family, side, decoders, batch, LISA, 0.2, prior(family, batch))
        assert loss.total.dtype == torch.float32
        loss.total.backward()
        assert all(gradient.isfinite().all() for gradient in tiny.gradients(side).values())
        numbers.append(torch.tensor(list(loss.numbers().values())))
    torch.testing.assert_close(*numbers, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("weight", [0.0, 0.2])
def test_mixed_precision_shares_exactly_too(weight):
    family, side, decoders, batch = _setup()
    results = []
    for shared in (family.shared(), contextlib.nullcontext()):
        side.zero_grad()
        with shared, torch.autocast("cpu", torch.bfloat16):
            loss = arm_loss(family, side, decoders, batch, LISA, weight, prior(family, batch))
        loss.total.backward()
        assert loss.total.dtype == torch.float32
        results.append((loss.numbers(), tiny.gradients(side)))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(value, results[1][1][name]) for name, value in results[0][1].items())


def test_no_tap_or_a_decoder_of_another_size_is_refused():
    family, side, _, batch = _setup()
    free = prior(family, batch)
    with pytest.raises(LisaError, match="at least one tap"):
        arm_loss(family, side, {}, batch, LISA, 0.2, free)
    wrong = ScoreDecoder(16, 4, 4)
    with pytest.raises(LisaError, match=r"tap down_5 gives \(2, 4, 16, 16\)"):
        arm_loss(family, side, {"down_5": wrong}, batch, LISA, 0.2, free)
