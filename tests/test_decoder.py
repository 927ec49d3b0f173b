from __future__ import annotations

import json
import pickle

import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch.nn import functional

from lisa.decoder import CONFIG, WEIGHTS, ScoreDecoder, time_embedding
from lisa.errors import LisaError


def _trained(*sizes, **more):
    """A decoder whose last layer is not zero any more."""
    torch.manual_seed(0)
    decoder = ScoreDecoder(*sizes, **more)
    torch.nn.init.normal_(decoder.out.weight, std=0.1)
    torch.nn.init.normal_(decoder.out.bias, std=0.1)
    return decoder


@pytest.mark.parametrize(
    ("sizes", "layers"),
    [
        # (channels, stride, out): kernel and channels of every convolution of the published recipe
        ((640, 2, 4), [(640, 320, 1), (320, 4, 3)]),  # down_5 of Stable Diffusion
        ((320, 1, 4), [(320, 160, 3), (160, 4, 3)]),  # down_0
        ((1280, 8, 4), [(1280, 640, 1), (640, 320, 3), (320, 160, 3), (160, 4, 3)]),  # mid
        ((512, 4, 8), [(512, 256, 1), (256, 128, 3), (128, 8, 3)]),
        ((511, 2, 8), [(511, 255, 3), (255, 8, 3)]),
        ((1280, 1, 4), [(1280, 640, 3), (640, 4, 3)]),
        ((128, 16, 4), [(128, 64, 3), (64, 64, 3), (64, 64, 3), (64, 64, 3), (64, 4, 3)]),
        ((100, 2, 4), [(100, 64, 3), (64, 4, 3)]),
        ((32, 4, 4), [(32, 32, 3), (32, 32, 3), (32, 4, 3)]),
    ],
)
def test_layers_follow_the_recipe(sizes, layers):
    decoder = ScoreDecoder(*sizes)
    convolutions = [m for m in decoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convolutions] == layers
    channels, stride, out = sizes
    feature = torch.randn(2, channels, 2, 3)
    assert decoder(feature, torch.tensor([5, 900])).shape == (2, out, 2 * stride, 3 * stride)


def test_numbers_equal_the_recipe_written_out():
    decoder, t = _trained(24, 4, 5, width=8), torch.tensor([3.0, 871.5])
    weights = {name: value.clone() for name, value in decoder.state_dict().items()}
    feature = torch.randn(2, 24, 3, 2)
    embedding = get_timestep_embedding(t, 256, flip_sin_to_cos=True, downscale_freq_shift=0)
    embedding = functional.silu(embedding @ weights["time.0.weight"].T + weights["time.0.bias"])
    x = feature + embedding[:, :, None, None]
    for layer in ("blocks.0", "blocks.3"):
        x = functional.conv2d(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"], padding=1)
        x = functional.silu(x)
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    x = functional.conv2d(x, weights["out.weight"], weights["out.bias"], padding=1)
    torch.testing.assert_close(decoder(feature, t), x)


def test_times_are_embedded_as_diffusers_does():
    t = torch.tensor([0, 1, 500, 999])
    wanted = get_timestep_embedding(t, 256, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(time_embedding(t), wanted, rtol=0, atol=2e-5)


def test_it_starts_at_zero_and_learns_at_once():
    decoder = ScoreDecoder(16, 2, 4)
    value = decoder(torch.randn(2, 16, 4, 4), torch.tensor([1, 2]))
    assert torch.equal(value, torch.zeros(2, 4, 8, 8))
    (value - 1).square().mean().backward()
    assert decoder.out.weight.grad.abs().max() > 0


@pytest.mark.parametrize("sizes", [(8, 3, 4), (8, 0, 4), (8, -2, 4), (0, 2, 4), (8, 2, 0), (8, 2, 4, 0)])
def test_sizes_that_cannot_be_are_refused(sizes):
    with pytest.raises(LisaError, match="A score decoder"):
        ScoreDecoder(*sizes)


def test_save_and_load(tmp_path):
    decoder = _trained(24, 2, 4, width=8)
    decoder.save(tmp_path / "decoder" / "down_3")
    assert sorted(path.name for path in (tmp_path / "decoder" / "down_3").iterdir()) == [CONFIG, WEIGHTS]
    loaded = ScoreDecoder.load(tmp_path / "decoder" / "down_3")
    feature, t = torch.randn(1, 24, 2, 2), torch.tensor([7])
    assert torch.equal(loaded(feature, t), decoder(feature, t))


def _pickled(folder):
    (folder / WEIGHTS).write_bytes(pickle.dumps({"weight": 1}))


def _other_sizes(folder, channels=8):
    sizes = {"channels": channels, "stride": 2, "out_channels": 4, "width": 8}
    (folder / CONFIG).write_text(json.dumps(sizes))


def _huge(folder):
    _other_sizes(folder, 1 << 40)


@pytest.mark.parametrize(
    "damage",
    [
        _pickled,
        _other_sizes,
        _huge,
        lambda folder: (folder / WEIGHTS).unlink(),
        lambda folder: (folder / CONFIG).unlink(),
        lambda folder: (folder / CONFIG).write_text("{"),
        lambda folder: (folder / CONFIG).write_text("[]"),
        lambda folder: (folder / CONFIG).write_text(json.dumps({"channels": True})),
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9]),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path, damage):
    ScoreDecoder(24, 2, 4, width=8).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(LisaError) as caught:
        ScoreDecoder.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
