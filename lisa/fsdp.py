"""Networks spread over processes by PyTorch's FSDP2, for those that one GPU cannot hold.

Every process keeps a part of every parameter, and a block's parameters are gathered for as long as the block runs. Only
where parameters lie changes, not their type nor what is computed: losses are those of a run that is not spread.
Functions that gather are collective: all processes must call them, in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn
from torch.distributed import init_device_mesh
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from lisa.errors import LisaError


def asked_for() -> bool:
    """Tell whether accelerate's launcher asks for it, by ``distributed_type: FSDP`` in its config.

    Raises:
        LisaError: If the config asks for what is not served: version 1, parameters on the CPU, or weights that only
            the first process reads.
    """
    if not parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return False
    if (version := os.environ.get("FSDP_VERSION", "1")) != "2":
        raise LisaError(f"The launcher's config has fsdp_version {version}: set it to 2.")
    # With the second, transformers leaves the networks of all processes but the first without weights.
    for name in ("FSDP_OFFLOAD_PARAMS", "FSDP_CPU_RAM_EFFICIENT_LOADING"):
        if parse_flag_from_env(name):
            raise LisaError(f"The launcher's config has {name.lower()} true, which is not supported: set it to false.")
    return True


def shard(network: nn.Module) -> None:
    """Spread a network over all processes, in place: each block of its lists by itself, then what remains.

    Args:
        network: With the same weights in every process; an optimizer must be made after this.
    """
    # Not FSDP's own choice of devices, which is the GPUs wherever there are some.
    mesh = init_device_mesh(next(network.parameters()).device.type, (torch.distributed.get_world_size(),))
    for child in network.children():
        for block in child if isinstance(child, nn.ModuleList) else ():
            fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def is_sharded(network: nn.Module) -> bool:
    """Tell whether a network was spread, so that FSDP averages its gradients over the processes."""
    return isinstance(network, FSDPModule)


def plain_class(network: nn.Module) -> type[nn.Module]:
    """Class of a network before it was spread."""
    return type(network).__bases__[-1] if is_sharded(network) else type(network)


def gathered(network: nn.Module) -> nn.Module:
    """Gather a diffusers network; collective.

    Args:
        network: Spread or not.

    Returns:
        In the first process a network of its plain class, on the CPU; elsewhere, or if it is not spread, itself.
    """
    if not is_sharded(network):
        return network
    weights = get_model_state_dict(network, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not weights:  # only the first process gets them
        return network
    config = {name: value for name, value in network.config.items() if not name.startswith("_")}
    with torch.device("meta"):
        whole = plain_class(network).from_config(config)
    whole.load_state_dict(weights, assign=True)
    return whole


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put whole weights, which every process must have, into a network that may be spread; collective."""
    if is_sharded(network):
        set_model_state_dict(network, dict(weights), options=StateDictOptions(full_state_dict=True))
    else:
        network.load_state_dict(weights)


def whole(value: Any) -> Tensor:
    """Gather a tensor, such as a gradient's norm or an optimizer's moment; collective."""
    return value.full_tensor() if isinstance(value, DTensor) else torch.as_tensor(value)


def spread_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Spread a whole tensor, which every process must have, as a parameter of its shape is; scalars stay whole."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
