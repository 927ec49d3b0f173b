"""First stage: the autoencoder, and the latents of a pool of scenes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from lisa.pixels import to_pixels
from lisa.pretrain.architecture import new_vae
from lisa.pretrain.stage import PretrainStep, Stage
from lisa.recipes import PretrainSettings
from lisa.scenes.pool import Pool

_KL_WEIGHT = 1e-4


class VaeStage(Stage):
    """Train the autoencoder on pixels: L1 + squared error, with a light pull of the latents to a unit normal."""

    def __init__(self, settings: PretrainSettings, pool: Pool) -> None:
        torch.manual_seed(settings.seed)
        vae = new_vae()
        if settings.freeze_encoder:
            vae.encoder.requires_grad_(False)
            vae.quant_conv.requires_grad_(False)
        super().__init__(settings, {"vae": vae}, len(pool))
        self.pool = pool
        self.together.to(memory_format=torch.channels_last)

    def run_stage(self) -> Iterator[PretrainStep]:
        """Train; see ``Stage.run``."""
        return self.run(self._loss)

    def _loss(self, index: np.ndarray, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        flip = torch.randint(2, (len(index),), generator=generator).bool().numpy()
        images = self.pool.images[index]
        images[flip] = images[flip, :, ::-1]
        pixels = to_pixels(images).to(self.accelerator.device).contiguous(memory_format=torch.channels_last)
        vae: AutoencoderKL = self.together["vae"]
        posterior = vae.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(pixels.device)
        output = vae.decode(posterior.mean + posterior.std * noise).sample.float()
        error = (output - pixels).square().mean()
        kl = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        loss = (output - pixels).abs().mean() + error + _KL_WEIGHT * kl
        return loss, {"mse": float(error.detach()), "kl": float(kl.detach())}


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
