"""Which of torch's attention kernels is the fast one."""

from __future__ import annotations

import contextlib

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

_FEW_TOKENS = 1024


def quick_attention(device: torch.device, latents: torch.Tensor) -> contextlib.AbstractContextManager[None]:
    """Choose the kernel for training.

    Over few tokens torch's fused attention takes longer on a CPU, backwards above all: without it a training step of
    the embedded networks takes a fifth to a third less. Over many it saves the memory of all pairs of tokens.

    Args:
        device: That attention runs on.
        latents: Of which each position is a token at most, (..., h, w).

    Returns:
        A context in which attention is not fused if that is quicker.
    """
    quick = device.type == "cpu" and latents.shape[-2:].numel() <= _FEW_TOKENS
    return sdpa_kernel(SDPBackend.MATH) if quick else contextlib.nullcontext()
