from __future__ import annotations

import contextlib
import copy
import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lisa import fsdp
from lisa.checkpoint import load_arm, save_arm
from lisa.decoder import ScoreDecoder
from lisa.errors import LisaError
from lisa.families.base import FAMILIES, Sampling, load_family
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


def test_the_table_says_whether_clips_start_from_a_picture(name):
    made, size = contract.family(name), contract.kind(name).PIXELS
    assert made.spec.starts_from_picture == bool(made.encode_first_frame(torch.zeros(1, 3, size, size)))


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


@pytest.fixture
def one_process(tmp_path):
    """A group of one process: FSDP does in it all that it does in several, except for sending."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_networks_spread_by_fsdp_equal_whole_ones(name, tmp_path, one_process):
    made, side = contract.loaded(name), _opened(name)
    batch = contract.batch(made, contract.kind(name).PIXELS)
    decoders = _decoders(made, made.default_taps(side))
    free, whole = _losses(made, [side, copy.deepcopy(side)], decoders, batch, shared=True)
    spread = [copy.deepcopy(side), copy.deepcopy(side)]
    for network in (made.main, *spread):
        fsdp.shard(network)
    same, parts = _losses(made, spread, decoders, batch, shared=True)
    assert torch.equal(free, same)
    for (numbers, gradients), (others, other) in zip(whole, parts, strict=True):
        assert numbers == pytest.approx(others, rel=1e-5)
        assert gradients and gradients.keys() == other.keys()
        for key, value in gradients.items():
            torch.testing.assert_close(fsdp.whole(other[key]), value)
    save_arm(tmp_path / "side", fsdp.gathered(spread[0]), decoders)
    fsdp.load_weights(spread[1], {key: torch.zeros_like(value) for key, value in side.state_dict().items()})
    load_arm(tmp_path / "side", spread[1], decoders)
    stored = fsdp.gathered(spread[1])
    assert type(stored) is type(side)
    assert all(torch.equal(value, side.state_dict()[key]) for key, value in stored.state_dict().items())
    assert _pixels(made.sample(spread[:1], _sampling(made, contract.kind(name).PIXELS))).std() > 0


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


def _one_sentence(caught):
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 400
    return text


def test_a_pipeline_that_lacks_a_part_is_refused_in_a_sentence(name, tmp_path):
    spec, source = FAMILIES.get(contract.kind(name).NAME), contract.folder(name)
    parts = sorted(path.name for path in source.iterdir() if path.is_dir())
    for part in parts:
        (tmp_path / part).mkdir()
        for other in parts:
            if other != part:
                (tmp_path / part / other).symlink_to(source / other)
        with pytest.raises(LisaError) as caught:
            load_family(spec.name, str(tmp_path / part))
        assert part.removesuffix("_3") in _one_sentence(caught).replace("motion-adapter", "motion_adapter")


def test_another_familys_pipeline_is_refused_in_a_sentence(name):
    alike = {"sd3", "scenes_dit"}
    for other in contract.KINDS:
        if other != name and not {name, other} <= alike:
            with pytest.raises(LisaError) as caught:
                load_family(contract.kind(name).NAME, str(contract.folder(other)))
            _one_sentence(caught)


def test_side_networks_of_another_class_or_of_other_channels_are_refused_in_a_sentence(name, tmp_path):
    made, source = contract.family(name), str(contract.folder(name))
    other = contract.family("sdxl" if made.spec.side_class != "ControlNetModel" else "sd3").new_side(0)
    config = {key: value for key, value in made.new_side(0).config.items() if not key.startswith("_")}
    wide = type(made.new_side(0)).from_config({**config, "in_channels": 2 * config["in_channels"]})
    other.save_pretrained(tmp_path / "other")
    wide.save_pretrained(tmp_path / "wide")
    words = {
        "other": f"holds the class {type(other).__name__}, but {made.spec.side_class} is needed",
        "wide": f"in_channels is {2 * config['in_channels']}, but must be {config['in_channels']}",
    }
    for folder, expected in words.items():
        for refuse in (made.load_side, lambda path: made.spec.check_side(made.spec, source, "", path)):
            with pytest.raises(LisaError) as caught:
                refuse(tmp_path / folder)
            assert expected in _one_sentence(caught)


def test_gradient_checkpointing_changes_no_gradient(name):
    made, side = contract.loaded(name), _opened(name)
    batch = contract.batch(made, contract.kind(name).PIXELS)
    decoders, sides = _decoders(made, made.default_taps(side)), [side, copy.deepcopy(side)]
    _, plain = _losses(made, sides, decoders, batch, shared=True)
    for network in (made.main, *sides):
        network.enable_gradient_checkpointing()
    _, again = _losses(made, sides, decoders, batch, shared=True)
    for (numbers, gradients), (others, other) in zip(plain, again, strict=True):
        assert numbers == pytest.approx(others, rel=1e-5)
        assert gradients and gradients.keys() == other.keys()
        for key, value in gradients.items():
            torch.testing.assert_close(other[key], value, rtol=1e-4, atol=1e-5)


def test_a_bfloat16_main_network_trains_a_float32_side_network(name):
    made, side = contract.loaded(name, dtype=torch.bfloat16), _opened(name)
    batch = contract.batch(made, contract.kind(name).PIXELS)
    decoders = _decoders(made, made.default_taps(side))
    with torch.autocast("cpu", torch.bfloat16):
        free, ((numbers, _), (_, gradients)) = _losses(made, [side, side], decoders, batch, shared=True)
    assert (made.dtype, free.dtype, side.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    assert gradients and all(value.dtype == torch.float32 for value in gradients.values())
    assert all(value.isfinite().all() for value in gradients.values())
    _, ((exact, _), _) = _losses(contract.family(name), [_opened(name)] * 2, decoders, _noisy(name)[1], shared=True)
    assert numbers["control"] == pytest.approx(exact["control"], rel=0.1)


def test_freed_text_encoders_leave_the_texts_that_were_kept(name):
    made = contract.loaded(name)
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
