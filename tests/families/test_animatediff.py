from __future__ import annotations

import pytest
import torch
from diffusers import MotionAdapter

from lisa.errors import LisaError
from lisa.families.base import FAMILIES, load_family
from tests import tiny
from tests.families import contract


def test_one_frame_after_another_is_what_the_image_family_makes():
    clips, images = contract.family("animatediff"), tiny.cached_family("sd15")
    batch = contract.batch(clips, 64, size=1)
    side = contract.kind("animatediff").open_control(clips.new_side(0))
    names = ["down_5"]
    together = clips.side_features(batch.latents, batch.timesteps, batch.text, side, batch.condition, names)["down_5"]
    for i in (0, 7):
        alone = images.side_features(
            batch.latents[:, :, i], batch.timesteps, batch.text, side, batch.condition[:, i], names
        )["down_5"]
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)


def test_clips_are_encoded_frame_by_frame():
    made = contract.family("animatediff")
    pixels = torch.rand(2, made.frames, 3, 64, 64) * 2 - 1
    latents = made.encode_image(pixels)
    assert latents.shape == (2, *made.latent_shape(64, 64))
    alone = made.vae.encode(pixels[1, 3:4]).latent_dist.mode() * made.vae.config.scaling_factor
    torch.testing.assert_close(latents[1:, :, 3], alone, atol=1e-5, rtol=1e-5)
    assert made.decode_latents(latents).shape == pixels.shape


def test_the_motion_modules_own_schedule_is_used():
    made = contract.family("animatediff")
    assert made.scheduler.config.beta_schedule == "linear"
    assert not torch.equal(made.path.alphas_cumprod, tiny.cached_family("sd15").path.alphas_cumprod)


def test_wrong_clips_and_adapters_are_refused(tmp_path):
    made = contract.family("animatediff")
    with pytest.raises(LisaError, match=r"must be \(B, 16, 3, H, W\)"):
        made.encode_image(torch.zeros(1, 4, 3, 64, 64))
    source = contract.folder("animatediff")
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        (tmp_path / part).symlink_to(source / part)
    MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=2, motion_norm_num_groups=4, motion_num_attention_heads=2
    ).save_pretrained(tmp_path / "motion_adapter")
    with pytest.raises(LisaError, match="does not fit this UNet"):
        load_family("animatediff", str(tmp_path))
    MotionAdapter(
        block_out_channels=(8, 16, 16, 16), motion_layers_per_block=2, motion_norm_num_groups=4,
        motion_num_attention_heads=2, motion_max_seq_length=8,
    ).save_pretrained(tmp_path / "motion_adapter")  # fmt: skip
    with pytest.raises(LisaError, match="Clips of 16 frames do not fit this motion adapter: it takes at most 8"):
        load_family("animatediff", str(tmp_path))


def test_the_image_side_network_fits_the_clips():
    spec = FAMILIES.get("animatediff")
    made = contract.family("animatediff")
    folder = contract.folder("animatediff").parent / "image-side"
    made.new_side(0).save_pretrained(folder)
    spec.check_side(spec, str(contract.folder("animatediff")), "", folder)
    assert tiny.cached_family("sd15").load_side(folder).config.block_out_channels == [8, 16, 16, 16]


def test_what_shows_images_only_says_so():
    from lisa.features import build_probe
    from lisa.settings import FeatureSettings

    with pytest.raises(LisaError, match="for families that make images, but animatediff makes clips"):
        build_probe(contract.family("animatediff"), "depth", FeatureSettings())
