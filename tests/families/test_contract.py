from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lisa.decoder import ScoreDecoder
from lisa.errors import LisaError
from lisa.families.base import Sampling
from lisa.objective import arm_loss, prior
from lisa.settings import LisaSettings
from tests.families import contract

LISA = LisaSettings(width=8)


@pytest.fixture(params=contract.KINDS, scope="module")
def name(request):
    return request.param


def _opened(name, seed=0):
    return contract.kind(name).open_control(contract.family(name).new_side(seed))


def _noisy(name, **options):
    made = contract.family(name)
    batch = contract.batch(made, contract.kind(name).PIXELS, **options)
    return made, batch, made.path.add_noise(batch.latents, batch.noise, batch.timesteps)


def _decoders(made, taps, trained=True):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = nn.ModuleDict({t.name: ScoreDecoder(t.channels, t.stride, made.latent_channels, 8) for t in taps})
        for decoder in made.values():
            if trained:
                nn.init.normal_(decoder.out.weight, std=0.1)
    return made


def test_control_changes_nothing_at_the_start(name):
    made, batch, x_t = _noisy(name)
    free = made.predict(x_t, batch.timesteps, batch.text).value
    side = made.new_side(0)
    assert torch.equal(made.predict(x_t, batch.timesteps, batch.text, side, batch.condition).value, free)
    assert free.shape == batch.latents.shape


def test_control_acts_once_it_is_open(name):
    made, batch, x_t = _noisy(name)
    free = made.predict(x_t, batch.timesteps, batch.text).value
    side = _opened(name)
    strong, half, none = (
        made.predict(x_t, batch.timesteps, batch.text, side, batch.condition, strength=strength).value
        for strength in (1.0, 0.5, 0.0)
    )
    assert torch.equal(none, free)
    assert (strong - free).abs().mean() > (half - free).abs().mean() > 0


def test_every_tap_has_the_declared_shape(name):
    made, batch, x_t = _noisy(name)
    side = made.new_side(0)
    taps = made.taps(side)
    names = [tap.name for tap in taps]
    assert len(set(names)) == len(names)
    features = made.predict(x_t, batch.timesteps, batch.text, side, batch.condition, taps=names).features
    for tap in taps:
        frames = made.frames or 1
        shape = (2 * frames, tap.channels, x_t.shape[-2] // tap.stride, x_t.shape[-1] // tap.stride)
        assert tuple(features[tap.name].shape) == shape
    alone = made.side_features(x_t, batch.timesteps, batch.text, side, batch.condition, names)
    assert all(torch.equal(alone[each], features[each]) for each in names)
    assert set(made.default_taps(side)) <= set(taps)
    assert not any(module._forward_pre_hooks for module in side.modules())


def _losses(made, sides, decoders, batch, shared):
    results = []
    with made.shared() if shared else contextlib.nullcontext():
        free = prior(made, batch)
        for side, weight in zip(sides, (0.0, 0.5), strict=True):
            side.zero_grad()
            loss = arm_loss(made, side, decoders, batch, LISA, weight, free)
            loss.total.backward()
            gradients = {key: p.grad.clone() for key, p in side.named_parameters() if p.grad is not None}
            results.append((loss.numbers(), gradients))
    return free, results


def test_shared_equals_unshared_exactly(name):
    made, batch, _ = _noisy(name)
    sides = [_opened(name, seed) for seed in (0, 1)]
    decoders = _decoders(made, made.default_taps(sides[0]))
    free, plain = _losses(made, sides, decoders, batch, shared=False)
    same, shared = _losses(made, sides, decoders, batch, shared=True)
    assert torch.equal(free, same)
    for (numbers, gradients), (others, other) in zip(plain, shared, strict=True):
        assert numbers == others
        assert gradients
        assert gradients.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in gradients.items())
    assert all(parameter.grad is None for parameter in made.main.parameters())


def test_weight_zero_is_the_familys_plain_loss(name):
    made, batch, x_t = _noisy(name)
    side = _opened(name)
    free = prior(made, batch)
    loss = arm_loss(made, side, _decoders(made, made.default_taps(side)), batch, LISA, 0.0, free)
    loss.total.backward()
    seen = {key: p.grad.clone() for key, p in side.named_parameters() if p.grad is not None}
    side.zero_grad()
    value = made.predict(x_t, batch.timesteps, batch.text, side, batch.condition).value
    target = made.path.target(batch.latents, batch.noise, batch.timesteps)
    plain = nn.functional.mse_loss(value.float(), target.float())
    plain.backward()
    assert torch.equal(loss.total.detach(), plain.detach())
    assert all(torch.equal(p.grad, seen[key]) for key, p in side.named_parameters() if p.grad is not None)


@pytest.mark.parametrize("weight", [0.0, 0.2], ids=["baseline", "lisa"])
def test_ten_steps_lower_the_loss_on_a_fixed_batch(name, weight):
    made, batch, _ = _noisy(name)
    side = made.new_side(0)
    decoders = _decoders(made, made.default_taps(side), trained=False)
    optimizer = torch.optim.AdamW([*side.parameters(), *decoders.parameters()], lr=3e-3)
    free = prior(made, batch)
    totals, controls = [], []
    for _ in range(11):
        loss = arm_loss(made, side, decoders, batch, LISA, weight, free)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        totals.append(float(loss.total.detach()))
        controls.append(float(loss.control))
    assert totals[-1] < totals[0]
    assert controls[-1] < controls[0]


def _sampling(made, pixels, sides=1):
    noise = torch.randn((1, *made.latent_shape(pixels, pixels)), generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(np.arange(pixels * pixels * 3, dtype=np.uint8).reshape(pixels, pixels, 3))
    condition = [picture] * made.frames if made.frames else picture
    return Sampling(["a red cube"], "", noise, [[condition]] * sides, [1.0] * sides, 2, 2.0)


def _pixels(samples):
    return np.stack([np.asarray(image) for image in (samples[0] if isinstance(samples[0], list) else samples)])


def test_the_saved_side_network_runs_in_the_stock_pipeline(name, tmp_path):
    made, pixels = contract.family(name), contract.kind(name).PIXELS
    _opened(name).save_pretrained(tmp_path / "side", safe_serialization=True)
    side = made.load_side(tmp_path / "side")
    drawn = _pixels(made.sample([side], _sampling(made, pixels)))
    assert np.array_equal(drawn, _pixels(made.sample([side], _sampling(made, pixels))))
    assert drawn.shape[-3:] == (pixels, pixels, 3)
    assert not np.array_equal(drawn, _pixels(made.sample([], _sampling(made, pixels, sides=0))))


def test_two_side_networks_act_at_once_where_the_family_composes(name):
    made, pixels = contract.family(name), contract.kind(name).PIXELS
    if not made.spec.composes:
        pytest.skip("the family takes one side network at a time")
    sides = [_opened(name, seed).eval() for seed in (0, 1)]
    both = _sampling(made, pixels, sides=2)
    together = _pixels(made.sample(sides, both))
    silent = _pixels(made.sample(sides, dataclasses.replace(both, strengths=[1.0, 0.0])))
    alone = _pixels(made.sample(sides[:1], _sampling(made, pixels)))
    assert not np.array_equal(together, alone)
    assert np.abs(silent.astype(int) - alone.astype(int)).max() <= 1


def test_what_does_not_belong_together_is_refused(name, tmp_path):
    made, batch, x_t = _noisy(name)
    side, t = made.new_side(0), batch.timesteps
    with pytest.raises(LisaError, match="needs a condition"):
        made.predict(x_t, t, batch.text, side)
    with pytest.raises(LisaError, match="latents need"):
        made.predict(x_t, t, batch.text, side, batch.condition[..., : batch.condition.shape[-1] // 2])
    with pytest.raises(LisaError, match="Unknown tap"):
        made.predict(x_t, t, batch.text, side, batch.condition, taps=["nowhere"])
    with pytest.raises(LisaError):
        made.load_side(tmp_path)


def test_freed_text_encoders_leave_the_texts_that_were_kept(name):
    from lisa.families.base import load_family

    made = load_family(contract.kind(name).NAME, str(contract.folder(name)))
    before = made.encode_text(["a red cube", ""])
    made.keep_text(["a red cube", "", "a red cube"])
    after = made.encode_text(["a red cube", ""])
    for key, value in before.items():
        torch.testing.assert_close(after[key], value)
    if any(part.startswith("text_encoder") for part in made.parts):
        with pytest.raises(LisaError, match="not among the texts kept"):
            made.encode_text(["a blue cone"])
    drawn = _pixels(made.sample([], _sampling(made, contract.kind(name).PIXELS, sides=0)))
    assert drawn.std() > 0
