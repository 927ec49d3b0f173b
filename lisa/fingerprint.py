"""Telling whether two networks compute the same."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def hash_weights(module: nn.Module) -> str:
    """Hash a module's parameters and buffers by name, shape and value.

    Args:
        module: Any module.

    Returns:
        SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
