"""Pretraining: resume without a trace, averaged weights, starting from others' weights, and the embedded sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, MotionAdapter, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn

from lisa.errors import LisaError
from lisa.files import read_json
from lisa.pretrain.architecture import MAX_TOKENS, new_scheduler, new_text_encoder, new_tokenizer, new_unet, new_vae
from lisa.pretrain.flow import load_base
from lisa.pretrain.main import draw_timesteps
from lisa.pretrain.run import _record
from lisa.pretrain.stage import Stage, learning_rate
from lisa.pretrain.vae import VaeStage, reconstruction_psnr
from lisa.recipes import PretrainSettings
from lisa.scenes.captions import caption
from lisa.scenes.example import sample_scene
from lisa.scenes.pool import Pool

SETTINGS = PretrainSettings(steps=6, batch_size=3, save_every=3, warmup=2, learning_rate=0.1, ema=0.9)


class Line(Stage):
    """Fits one number to noise that depends on the step."""

    def __init__(self, settings):
        torch.manual_seed(settings.seed)
        super().__init__(settings, {"line": nn.Linear(4, 1)}, 50)

    def run_stage(self):
        return self.run(self._loss)

    def _loss(self, index, generator):
        x = torch.randn((len(index), 4), generator=generator) + torch.from_numpy(index)[:, None] / 50
        return (self.together["line"](x) - x.sum(1, keepdim=True)).square().mean(), {}


def weights(stage):
    return torch.cat([p.detach().flatten() for p in stage.together.parameters()])


def test_resume_equals_uninterrupted(tmp_path):
    whole = Line(replace(SETTINGS, work=str(tmp_path / "whole")))
    losses = [r.losses for r in whole.run_stage()]
    first = Line(replace(SETTINGS, work=str(tmp_path / "parts")))
    for record in first.run_stage():
        if record.step == 4:  # the state on disk is that of step 3
            break
    second = Line(replace(SETTINGS, work=str(tmp_path / "parts")))
    assert second.step == 3
    assert [r.losses for r in second.run_stage()] == losses[3:]
    assert torch.equal(weights(whole), weights(second))
    assert torch.equal(weights_of(whole.averaged()), weights_of(second.averaged()))


def weights_of(modules):
    return torch.cat([p.detach().flatten() for p in modules.parameters()])


def test_resume_refuses_another_recipe_and_start_takes_averaged_weights(tmp_path):
    stage = Line(replace(SETTINGS, work=str(tmp_path)))
    assert len(list(stage.run_stage())) == 6
    with pytest.raises(LisaError, match="batch_size 3, not 5"):
        Line(replace(SETTINGS, work=str(tmp_path), batch_size=5))
    fresh = Line(replace(SETTINGS, work=str(tmp_path / "other"), start=str(tmp_path / "vae"), seed=1))
    assert torch.equal(weights(fresh), torch.cat([p.flatten() for p in stage.ema.shadow_params]))


def test_learning_rate_warms_up_and_decays():
    rates = [learning_rate(SETTINGS, step) for step in range(6)]
    assert rates[0] == pytest.approx(0.05) and max(rates) == rates[1] and rates[5] < 0.02


def test_sizes_of_the_embedded_models():
    side = ControlNetModel.from_unet(new_unet())
    assert 5e6 < sum(p.numel() for p in new_unet().parameters()) < 6e6
    assert sum(p.numel() for p in side.parameters()) < 3.5e6
    latents = new_vae().encode(torch.zeros(1, 3, 128, 128)).latent_dist.mean
    assert latents.shape[1:] == (new_unet().config.in_channels, 16, 16)


def test_every_word_of_the_world_is_one_token_and_captions_fit():
    captions = [caption(sample_scene(seed)) for seed in range(150)]
    tokenizer = new_tokenizer(captions)
    for text in captions:
        tokens = tokenizer(text).input_ids
        assert len(tokens) <= MAX_TOKENS
        assert len(tokens) - 2 <= len(text.replace(",", " ,").split()) + 2
    assert new_text_encoder(tokenizer)(torch.tensor([[0, 1]])).last_hidden_state.shape == (1, 2, 128)


def test_scheduler_ends_in_pure_noise():
    assert new_scheduler().alphas_cumprod[-1] < 1e-4


def test_the_card_names_every_training_before(tmp_path):
    """A state that was started from another's weights goes back to that one's beginnings too."""
    folders = [tmp_path / name for name in ("first", "second", "third")]
    starts = ["", *(str(folder / "line") for folder in folders[:-1])]
    for folder, start, steps in zip(folders, starts, (2, 3, 4), strict=True):
        stage = Line(replace(SETTINGS, stage="line", work=str(folder), start=start, steps=steps))
        list(stage.run_stage())
    settings = replace(SETTINGS, stage="line", start=str(folders[1] / "line"))
    _record(tmp_path, settings, {"final": 1.0})
    card = read_json(tmp_path / "training.json")["line"]
    assert [state["step"] for state in card["started_from"]] == [3, 2] and card["final"] == 1.0
    _record(tmp_path, replace(settings, start=""), {})
    assert "started_from" not in read_json(tmp_path / "training.json")["line"]


@pytest.mark.parametrize(("power", "median"), [(1.0, 500), (0.5, 707)])
def test_timesteps_dwell_where_the_power_says(power, median):
    times = draw_timesteps(64, 1000, power, torch.Generator().manual_seed(0))
    assert times.dtype == torch.int64 and times.min() >= 0 and times.max() < 1000
    assert abs(float(times.float().median()) - median) < 20
    assert (times.diff() >= 0).all()


def test_a_frozen_encoder_keeps_its_latents(tmp_path):
    rng = np.random.default_rng(0)
    empty = np.zeros((6, 128, 128), np.uint8)
    images = rng.integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)
    pool = Pool(np.arange(6), images, empty, empty, images, ("",) * 6)
    settings = replace(SETTINGS, work=str(tmp_path), steps=2, batch_size=2, learning_rate=1e-3)
    stage = VaeStage(settings, pool)
    pixels = torch.zeros(1, 3, 128, 128)
    before = stage.together["vae"].encode(pixels).latent_dist.mean.detach().clone()
    psnr = reconstruction_psnr(stage.together["vae"], images)
    assert len(list(stage.run_stage())) == 2
    vae = stage.averaged()["vae"]
    assert torch.equal(before, vae.encode(pixels).latent_dist.mean)
    assert reconstruction_psnr(vae, images) != psnr


def test_the_main_stage_trains_and_reads_its_latents_again(tmp_path, monkeypatch):
    from lisa.pretrain import main

    rng = np.random.default_rng(0)
    empty = np.zeros((4, 128, 128), np.uint8)
    images = rng.integers(0, 256, (4, 128, 128, 3), dtype=np.uint8)
    pool = Pool(np.arange(4), images, empty, empty, images, ("a red cube", "a blue cone", "a cube", "a cone"))
    settings = replace(SETTINGS, stage="main", work=str(tmp_path), steps=2, batch_size=2, learning_rate=1e-3)
    vae = new_vae().eval()
    first = main.MainStage(settings, pool, vae)
    records = list(first.run_stage())
    assert len(records) == 2 and all(np.isfinite(r.losses["loss"]) for r in records)
    monkeypatch.setattr(main, "encode_pool", None)
    again = main.MainStage(settings, pool, vae)
    assert again.step == 2 and torch.equal(first.latents, again.latents)
    main.save_pipeline(again.pipeline(), tmp_path / "out")
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path / "out", safety_checker=None)
    assert loaded.unet.dtype == loaded.text_encoder.dtype == torch.float32
    image = loaded("a red cube", num_inference_steps=1, height=128, width=128).images[0]
    assert image.size == (128, 128)
    assert max(path.stat().st_size for path in (tmp_path / "out").rglob("*.safetensors")) < 10e6


@pytest.fixture
def base(tmp_path):
    """A finished pipeline in the embedded shape, with random weights."""
    from lisa.pretrain.main import save_pipeline

    tokenizer = new_tokenizer(["a red cube", "a blue cone"])
    pipeline = StableDiffusionPipeline(
        vae=new_vae(), unet=new_unet(), text_encoder=new_text_encoder(tokenizer), tokenizer=tokenizer,
        scheduler=new_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    save_pipeline(pipeline, tmp_path / "base")
    return tmp_path / "base"


def _pictures(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 128, 128, 3), dtype=np.uint8)


def test_the_flow_stage_trains_a_pipeline_that_loads_as_the_embedded_family(tmp_path, base):
    from lisa.families.base import load_family
    from lisa.pretrain.flow import FlowStage
    from lisa.pretrain.main import save_pipeline

    empty = np.zeros((3, 128, 128), np.uint8)
    pool = Pool(np.arange(3), _pictures(3), empty, empty, empty, ("a red cube", "a blue cone", "a cube"))
    settings = replace(SETTINGS, stage="flow", base=str(base), work=str(tmp_path), steps=2, learning_rate=1e-3)
    stage = FlowStage(settings, pool)
    before = stage.together["transformer"].pos_embed.proj.weight.detach().clone()
    assert len(list(stage.run_stage())) == 2
    assert not torch.equal(stage.together["transformer"].pos_embed.proj.weight, before)
    save_pipeline(stage.pipeline(), tmp_path / "out")
    family = load_family("scenes-dit", str(tmp_path / "out"))
    plain = load_base(str(base))[1]
    tokens = family.parts["tokenizer"](["a red cube"], padding="max_length", return_tensors="pt").input_ids
    states = plain(tokens, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(
        family.encode_text(["a red cube"])["states"], torch.cat([states, states], -1), atol=5e-3, rtol=5e-3
    )


def test_the_motion_stage_starts_from_the_images_and_trains_the_motion_alone(tmp_path, base):
    from lisa.pretrain.motion import MotionStage, save_adapter
    from lisa.scenes.motion import ClipPool

    empty = np.zeros((2, 3, 128, 128), np.uint8)
    pool = ClipPool(np.arange(2), _pictures(2, 3), empty, empty, empty, ("a red cube", "a blue cone"))
    settings = replace(SETTINGS, stage="motion", base=str(base), work=str(tmp_path), steps=2, batch_size=1)
    stage = MotionStage(settings, pool)
    assert stage.latents.shape == (2, 16, 3, 16, 16)
    frozen = {name: v.clone() for name, v in stage.unet.state_dict().items() if "motion_modules" not in name}
    plain = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    states = torch.randn(3, 5, 128)
    together = stage.unet(stage.latents[:1], torch.tensor([500]), states).sample[:, :, 1]
    alone = plain(stage.latents[:1, :, 1], torch.tensor([500]), states[1:2]).sample
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert len(list(stage.run_stage())) == 2
    after = stage.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())
    stage.pipeline()
    save_adapter(stage.unet, tmp_path / "motion_adapter")
    loaded = MotionAdapter.from_pretrained(tmp_path / "motion_adapter").state_dict()
    kept = {name: value for name, value in after.items() if "motion_modules" in name}
    assert loaded.keys() == kept.keys()
    assert any(value.abs().max() > 0 for name, value in loaded.items() if name.endswith("proj_out.weight"))
