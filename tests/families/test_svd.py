from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from PIL import Image

from lisa.errors import LisaError
from lisa.families._svd_side import SVDControlNet, controlled, injected
from lisa.families.base import FAMILIES, Sampling, load_family
from lisa.noise import EDMPath
from tests import tiny
from tests.families import contract, tiny_svd

PIXELS = tiny_svd.PIXELS


def _opened(seed=0):
    return tiny_svd.open_control(contract.family("svd").new_side(seed))


def _picture(seed):
    values = np.random.default_rng(seed).integers(0, 256, (PIXELS, PIXELS, 3), dtype=np.uint8)
    return Image.fromarray(values)


def _pixels(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def _sampling(made, sides=1, clips=1, **options):
    noise = torch.randn((clips, *made.latent_shape(PIXELS, PIXELS)), generator=torch.Generator().manual_seed(0))
    conditions = [[[_picture(10 * i + j) for j in range(made.frames)] for i in range(clips)]] * sides
    first = [_picture(100 + i) for i in range(clips)]
    plain = Sampling([""] * clips, "", noise, conditions, [1.0] * sides, 2, 2.0, images=first)
    return replace(plain, **options)


def _arrays(clips):
    return np.stack([[np.asarray(frame) for frame in clip] for clip in clips]).astype(int)


def _clean(network):
    hooks = [each for m in network.modules() for each in (m._forward_hooks, m._forward_pre_hooks) if each]
    return not hooks and "forward" not in network.__dict__


def test_injected_residuals_equal_those_that_a_unet_takes_itself():
    made = tiny.cached_family("sd15")
    side = tiny.open_control(made.new_side(0))
    batch = contract.batch(made, tiny.PIXELS)
    call = (batch.latents, batch.timesteps, batch.text["states"])
    with torch.no_grad():
        down, mid = side(*call, batch.condition, return_dict=False)
        own = made.main(*call, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
        with injected(made.main, down, mid):
            by_hooks = made.main(*call).sample
        free = made.main(*call).sample
    assert torch.equal(own, by_hooks)
    assert not torch.equal(own, free)
    assert _clean(made.main)


def test_an_error_leaves_nothing_behind():
    made = contract.family("svd")
    batch = contract.batch(made, PIXELS)
    with pytest.raises(ZeroDivisionError), injected(made.main, [torch.zeros(1)] * 4, torch.zeros(1)):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), controlled(made.main, lambda call, **_: 1 / call):
        made.main(sample=batch.latents)
    with pytest.raises(ValueError, match="shorter"), controlled(made.main, lambda call, **_: [([], torch.zeros(1))]):
        made.main(**made._inputs(batch.latents, batch.timesteps, batch.text, made.dtype))
    assert _clean(made.main)


def test_a_new_side_network_copies_the_encoder_and_starts_at_zero():
    made = contract.family("svd")
    side, again, main = made.new_side(0), made.new_side(0), made.main.state_dict()
    added = {name for name in side.state_dict() if name.startswith("controlnet_")}
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in side.state_dict().items())
    assert all(torch.equal(value, main[name]) for name, value in side.state_dict().items() if name not in added)
    zero = [name for name in added if name.startswith(("controlnet_down", "controlnet_mid")) or "conv_out" in name]
    assert zero and all(side.state_dict()[name].count_nonzero() == 0 for name in zero)
    wide = made.new_side(0, conditioning_embedding_out_channels=(8, 16))
    assert wide.controlnet_cond_embedding.conv_in.out_channels == 8


def test_an_exported_side_network_is_the_same_again(tmp_path):
    made = contract.family("svd")
    side, batch = _opened(), contract.batch(made, PIXELS)
    side.save_pretrained(tmp_path, safe_serialization=True)
    again = SVDControlNet.from_pretrained(tmp_path)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
    x_t = made.path.add_noise(batch.latents, batch.noise, batch.timesteps)
    values = [
        made.predict(x_t, batch.timesteps, batch.text, each, batch.condition).value
        for each in (side, again, made.load_side(tmp_path))
    ]
    assert torch.equal(values[0], values[1]) and torch.equal(values[0], values[2])
    FAMILIES.get("svd").check_side(FAMILIES.get("svd"), str(contract.folder("svd")), "", tmp_path)


def test_half_precision_keeps_its_type_and_acts():
    made = load_family("svd", str(contract.folder("svd")), dtype=torch.bfloat16)
    batch, side = contract.batch(made, PIXELS), tiny_svd.open_control(made.new_side(0))
    free, ruled = (
        made.predict(batch.latents, batch.timesteps, batch.text, *control).value
        for control in ((), (side, batch.condition))
    )
    assert free.dtype == ruled.dtype == torch.bfloat16
    assert next(side.parameters()).dtype == torch.float32
    assert not torch.equal(free, ruled)


def test_the_path_is_the_pipelines_sampler():
    made = contract.family("svd")
    scheduler, path = EulerDiscreteScheduler.from_config(made.scheduler.config), made.path
    scheduler.set_timesteps(7)
    assert isinstance(path, EDMPath)
    for t in scheduler.timesteps:
        x0, noise = (torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
        x_t = path.add_noise(x0, noise, t[None])
        torch.testing.assert_close(x_t, scheduler.add_noise(x0, noise, t[None]), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            scheduler.scale_model_input(x_t, t), x_t * path.input_scale(t[None]), rtol=1e-5, atol=1e-5
        )
        step = scheduler.step(path.target(x0, noise, t[None]), t, x_t)
        torch.testing.assert_close(step.pred_original_sample, x0, rtol=1e-3, atol=1e-3)


def test_the_plain_loss_is_that_of_karras():
    made = contract.family("svd")
    batch = contract.batch(made, PIXELS)
    t, x0 = torch.tensor([-0.3, 0.4]), batch.latents
    x_t = made.path.add_noise(x0, batch.noise, t)
    with torch.no_grad():
        value = made.predict(x_t, t, batch.text).value
    s = torch.exp(4 * t).reshape(-1, 1, 1, 1, 1)
    denoised = x_t / (1 + s**2) - s / (1 + s**2).sqrt() * value
    wanted = ((1 + s**2) / s**2 * (denoised - x0).square()).mean()
    torch.testing.assert_close((value - made.path.target(x0, batch.noise, t)).square().mean(), wanted)


@pytest.mark.parametrize("sides", [0, 1])
def test_predict_computes_what_the_pipeline_does(sides):
    made, side = contract.family("svd"), _opened().requires_grad_(False)
    sampling, calls = _sampling(made, sides), []
    watch = made.main.register_forward_hook(lambda m, a, kw, out: calls.append((a, kw, out[0])), with_kwargs=True)
    made.sample([side] * sides, sampling)
    watch.remove()
    assert len(calls) == sampling.steps

    first = made.encode_first_frame(_pixels(sampling.images[0]) * 2 - 1, torch.Generator().manual_seed(0))
    control = ()
    if sides:
        clip = torch.cat([_pixels(frame) for frame in sampling.conditions[0][0]])
        control = (side, made.encode_condition(clip[None]))
    free = made.encode_text([""])
    for (sample, t), inputs, output in calls:
        x_t = sample[:1, :, :4].transpose(1, 2) / made.path.input_scale(t[None])
        for i, text in enumerate((free, free | first)):  # guidance runs without a first frame, then with it
            ours = made._inputs(x_t, t[None], text, made.dtype)
            torch.testing.assert_close(ours["sample"][0], sample[i], rtol=1e-4, atol=1e-5)
            assert torch.equal(ours["encoder_hidden_states"][0], inputs["encoder_hidden_states"][i])
            assert torch.equal(ours["added_time_ids"][0], inputs["added_time_ids"][i])
            value = made.predict(x_t, t[None], text, *control).value
            torch.testing.assert_close(value.transpose(1, 2)[0], output[i], rtol=1e-3, atol=1e-4)


def test_control_obeys_its_range_and_strengths_and_adds_up():
    made, side = contract.family("svd"), _opened()
    free = _arrays(made.sample([], _sampling(made, 0)))
    seen = []
    watch = side.register_forward_hook(lambda *_: seen.append(1))
    assert np.array_equal(_arrays(made.sample([side], _sampling(made, start=0.6, end=0.9))), free)
    assert not seen
    made.sample([side], _sampling(made, end=0.5))
    assert len(seen) == 1
    watch.remove()
    one = _arrays(made.sample([side], _sampling(made)))
    halves = _arrays(made.sample([side, side], _sampling(made, 2, strengths=[0.5, 0.5])))
    assert np.abs(one - halves).max() <= 1
    assert not np.array_equal(one, free)
    assert np.array_equal(_arrays(made.sample([side], _sampling(made, strengths=[0.0]))), free)
    assert _clean(made.main) and _clean(side)


def test_the_first_frame_counts_and_is_grey_where_none_is_given():
    made = contract.family("svd")
    shown, other, grey, none = (
        _arrays(made.sample([], _sampling(made, 0, images=images)))
        for images in ([_picture(1)], [_picture(2)], [Image.new("RGB", (PIXELS, PIXELS), (128, 128, 128))], [])
    )
    assert not np.array_equal(shown, other)
    assert np.array_equal(grey, none)
    with pytest.raises(LisaError, match="2 first frames for 1 clips"):
        made.sample([], _sampling(made, 0, images=[_picture(1)] * 2))


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_clip_does_not_depend_on_the_others_of_its_batch(guidance):
    made, side = contract.family("svd"), _opened()
    sampling = _sampling(made, clips=2, guidance=guidance)
    both = _arrays(made.sample([side], sampling))
    singly = np.concatenate([_arrays(made.sample([side], one)) for one in sampling.singly()])
    assert np.abs(both - singly).max() <= 1
    assert not np.array_equal(both[0], both[1])


def test_clips_are_encoded_frame_by_frame_and_decoded_together():
    made, pipeline = contract.family("svd"), contract.family("svd").pipeline()
    pixels = torch.rand(2, 4, 3, PIXELS, PIXELS) * 2 - 1
    latents = made.encode_image(pixels)
    assert latents.shape == (2, *made.latent_shape(PIXELS, PIXELS))
    with torch.no_grad():
        one = made.vae.encode(pixels[1, 2:3]).latent_dist.mode()[0] * made.vae.config.scaling_factor
        wanted = pipeline.decode_latents(latents.transpose(1, 2), 4, 4).transpose(1, 2).clamp(-1, 1)
    torch.testing.assert_close(latents[1, :, 2], one)
    torch.testing.assert_close(made.decode_latents(latents), wanted)
    with pytest.raises(LisaError, match=r"clip has shape .* must be \(B, F, 3, H, W\)"):
        made.encode_image(pixels[0])
    with pytest.raises(LisaError, match="first frame has values from"):
        made.encode_first_frame(pixels[:, 0] * 9)


def test_gradients_are_the_same_with_checkpoints():
    made = load_family("svd", str(contract.folder("svd")))
    batch, side = contract.batch(made, PIXELS), tiny_svd.open_control(made.new_side(0))
    call = (batch.latents, batch.timesteps, batch.text, side, batch.condition)
    made.predict(*call).value.square().mean().backward()
    plain = {name: value.grad.clone() for name, value in side.named_parameters()}
    side.zero_grad()
    side.enable_gradient_checkpointing()
    made.main.enable_gradient_checkpointing()
    made.predict(*call).value.square().mean().backward()
    for name, value in side.named_parameters():
        torch.testing.assert_close(value.grad, plain[name])
    assert plain["conv_in.weight"].count_nonzero() > 0


def test_another_number_of_frames_is_refused():
    made, side = contract.family("svd"), _opened()
    batch = contract.batch(made, PIXELS)
    with pytest.raises(LisaError, match="condition has 3 frames, but these latents need 4"):
        made.predict(batch.latents, batch.timesteps, batch.text, side, batch.condition[:, :3])


def test_folders_of_another_kind_are_refused(tmp_path):
    with pytest.raises(LisaError, match="UNetSpatioTemporalConditionModel is needed"):
        load_family("svd", str(tiny.folder("sd15")))
    made, spec, folder = contract.family("svd"), FAMILIES.get("svd"), str(contract.folder("svd"))
    tiny.cached_family("sd15").new_side(0).save_pretrained(tmp_path / "image")
    SVDControlNet.from_unet(tiny_svd.unet(block_out_channels=(32, 96))).save_pretrained(tmp_path / "wide")
    made.new_side(0, conditioning_embedding_out_channels=(8, 8, 8)).save_pretrained(tmp_path / "far")
    wrong = {"image": "holds the class ControlNetModel", "wide": "block_out_channels", "far": "conditions 4 times"}
    for name, message in wrong.items():
        with pytest.raises(LisaError, match=message):
            made.load_side(tmp_path / name)
        with pytest.raises(LisaError, match=message):
            spec.check_side(spec, folder, "", tmp_path / name)


def test_parts_that_do_not_fit_are_refused():
    made = contract.family("svd")
    kind, parts = type(made), made.parts
    with pytest.raises(LisaError, match="timestep_type 'discrete'"):
        kind(made.spec, parts | {"scheduler": EulerDiscreteScheduler(prediction_type="v_prediction")})
    with pytest.raises(LisaError, match="cross_attention_dim is 8, but the image_encoder's projection_dim is 16"):
        kind(made.spec, parts | {"unet": tiny_svd.unet(cross_attention_dim=8)})


def test_the_published_sizes_fit():
    with torch.device("meta"):
        side, unet = SVDControlNet(), UNetSpatioTemporalConditionModel()
    shapes = {name: value.shape for name, value in unet.state_dict().items()}
    own = {name: value.shape for name, value in side.state_dict().items() if not name.startswith("controlnet_")}
    assert own == {
        name: shape for name, shape in shapes.items() if not name.startswith(("up_blocks", "conv_norm", "conv_out"))
    }
    taps = {tap.name: tap for tap in contract.family("svd").taps(side)}
    assert list(taps) == [*(f"down_{i}" for i in range(12)), "mid"]
    assert (taps["down_5"].channels, taps["down_5"].stride, taps["mid"].stride) == (640, 2, 8)
