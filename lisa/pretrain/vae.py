"""First stage: the autoencoder, and the latents of a pool of scenes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from lisa.pixels import to_pixels
from lisa.pretrain.architecture import new_vae
from lisa.pretrain.principal import silence_residuals, write_principal_encoder
from lisa.pretrain.stage import PretrainStep, Stage
from lisa.recipes import PretrainSettings
from lisa.scenes.pool import Pool

_ENCODER_SCENES = 2048
# The decoder grows (Karras et al. 2018): (pixels per side that one output position stands for, share of the steps
# after which the next block joins). The coarse blocks learn most, and a step of theirs sees more pictures.
_GROWTH = ((4, 0.12), (2, 0.3), (1, 1.0))


class VaeStage(Stage):
    """Train the decoder on pixels, L1 + squared error; the encoder is known in closed form and stays as it is."""

    def __init__(self, settings: PretrainSettings, pool: Pool) -> None:
        torch.manual_seed(settings.seed)
        vae = new_vae()
        write_principal_encoder(vae, pool.images[:_ENCODER_SCENES])
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
        silence_residuals(vae.decoder)
        super().__init__(settings, {"vae": vae, "heads": new_heads(vae)}, len(pool))
        self.pool = pool
        self.together.to(memory_format=torch.channels_last)

    def run_stage(self) -> Iterator[PretrainStep]:
        """Train; see ``Stage.run``."""
        return self.run(self._loss)

    def _loss(self, index: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        factor = next(factor for factor, share in _GROWTH if self.step < share * self.settings.steps)
        index = np.concatenate([index, *(self._more(index, generator) for _ in range(factor - 1))])
        flip = torch.randint(2, (len(index),), generator=generator).bool().numpy()
        images = self.pool.images[index]
        images[flip] = images[flip, :, ::-1]
        pixels = to_pixels(images).to(self.accelerator.device).contiguous(memory_format=torch.channels_last)
        vae: AutoencoderKL = self.together["vae"]
        with torch.no_grad():
            posterior = vae.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(pixels.device)
        output = decode_grown(vae, self.together["heads"], posterior.mean + posterior.std * noise, factor).float()
        difference = output - functional.pixel_unshuffle(pixels, factor)
        error = difference.square().mean()
        return difference.abs().mean() + error, {"mse": float(error.detach())}

    def _more(self, index: np.ndarray, generator: torch.Generator) -> np.ndarray:
        return torch.randint(self.size, (len(index),), generator=generator).numpy()


def new_heads(vae: AutoencoderKL) -> nn.ModuleDict:
    """Factor -> 1 x 1 convolution from the features that the decoder has at that factor to the pixels of a patch."""
    blocks = vae.decoder.up_blocks
    return nn.ModuleDict(
        {
            str(factor): nn.Conv2d(blocks[i].upsamplers[0].conv.out_channels, 3 * factor**2, 1)
            for i, (factor, _) in enumerate(_GROWTH[:-1])
        }
    )


def decode_grown(vae: AutoencoderKL, heads: nn.ModuleDict, latents: Tensor, factor: int) -> Tensor:
    """Decode latents (B, C, h, w) as far as the decoder has grown: (B, 3 * factor ** 2, 8h / factor, 8w / factor).

    Factor 1 is the whole decoder. The others stop after the block whose features have the asked size and let a
    1 x 1 convolution say the factor x factor pixels of every position, in the order of ``pixel_unshuffle``.
    """
    if factor == 1:
        return vae.decode(latents).sample
    decoder = vae.decoder
    features = decoder.mid_block(decoder.conv_in(vae.post_quant_conv(latents)))
    stop = [f for f, _ in _GROWTH].index(factor)
    for block in decoder.up_blocks[: stop + 1]:
        features = block(features)
    return heads[str(factor)](features)


@torch.no_grad()
def encode_pool(vae: AutoencoderKL, images: np.ndarray, batch: int = 32) -> Tensor:
    """Posterior means (N, C, h, w) float32 of images (N, H, W, 3) uint8, not scaled."""
    device = next(vae.parameters()).device
    parts = [
        vae.encode(to_pixels(images[i : i + batch]).to(device)).latent_dist.mean.float().cpu()
        for i in range(0, len(images), batch)
    ]
    return torch.cat(parts)


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, images: np.ndarray, batch: int = 32) -> float:
    """Mean over images of the PSNR in dB of decode(encode(image)), both rounded to 8 bits."""
    device = next(vae.parameters()).device
    values = []
    for i in range(0, len(images), batch):
        pixels = to_pixels(images[i : i + batch]).to(device)
        output = vae.decode(vae.encode(pixels).latent_dist.mean).sample.clamp(-1, 1)
        error = ((output * 127.5).round() - (pixels * 127.5).round()).square().mean((1, 2, 3))
        values += (10 * torch.log10(255**2 / error)).tolist()
    return float(np.mean(values))
