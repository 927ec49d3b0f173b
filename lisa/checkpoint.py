"""Training state as safetensors: weights and optimizer moments, without pickle, written atomically.

Only tensors are saved here. Scalars (step, seed, settings) live in the JSON files beside them, and the learning rate
follows from the step, so nothing else is needed to go on bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lisa import fsdp
from lisa.decoder import ScoreDecoder
from lisa.errors import LisaError
from lisa.files import replacing

# Git hosts and reviewers choke on large files; diffusers reads shards without being told.
SHARD_SIZE = "9MB"
DECODER_FOLDER = "decoder"


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimizer's per-parameter state to ``"<parameter number>.<name>"`` -> whole tensor on the CPU.

    Collective where the parameters are spread over processes.
    """
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": fsdp.whole(value).cpu() for i, entry in state.items() for name, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` gave; the optimizer must hold the same parameters in the same order."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = fsdp.spread_like(value, parameters[int(number)])
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save_tensors(path: Path, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write named groups of tensors to one safetensors file, atomically.

    Args:
        path: the file.
        groups: group -> name -> tensor of any shape and dtype; saved contiguous and on the CPU.
    """
    flat = {
        f"{group}/{name}": value.detach().cpu().contiguous().clone()
        for group, tensors in groups.items()
        for name, value in tensors.items()
    }
    with replacing(path) as temporary:
        save_file(flat, temporary)


def load_tensors(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read what ``save_tensors`` wrote.

    Raises:
        LisaError: if the file is missing or is not a safetensors file.
    """
    try:
        flat = load_file(path)
    except (OSError, SafetensorError) as error:
        raise LisaError(f"{path} cannot be read as a safetensors file: resume from another checkpoint.") from error
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        group, name = key.split("/", 1)
        groups.setdefault(group, {})[name] = value
    return groups


def kept_tensor(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """Read the tensor that an earlier call left at ``path``, else make it and leave it there."""
    if path.exists():
        return load_tensors(path)["data"]["tensor"]
    value = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, {"data": {"tensor": value}})
    return value


def training_state(modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """Groups for ``save_tensors``: every module's weights and the optimizer's moments."""
    return {
        **{name: module.state_dict() for name, module in modules.items()},
        "optimizer": optimizer_tensors(optimizer),
    }


def restore_training_state(
    modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, groups: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Put weights and moments back into modules and optimizer built the same way as when they were saved."""
    for name, module in modules.items():
        module.load_state_dict(groups[name])
    restore_optimizer(optimizer, groups.get("optimizer", {}))


def save_arm(folder: Path, side: nn.Module, decoders: nn.ModuleDict) -> None:
    """Write one arm of a checkpoint: the side network as a diffusers folder, and each tap's decoder beside it.

    Args:
        folder: receives ``config.json`` and weights in shards below 10 MB, and ``decoder/<tap>/``.
        side: a diffusers model; its weights keep their dtype.
        decoders: tap name -> ScoreDecoder.
    """
    side.save_pretrained(folder, safe_serialization=True, max_shard_size=SHARD_SIZE)
    for tap, decoder in decoders.items():
        decoder.save(folder / DECODER_FOLDER / tap)


def load_arm(folder: Path, side: nn.Module, decoders: nn.ModuleDict) -> None:
    """Put the weights of ``save_arm`` into modules of the same shape.

    Raises:
        LisaError: if the folder does not hold them.
    """
    try:
        stored = fsdp.plain_class(side).from_pretrained(
            folder, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise LisaError(f"{folder} holds no side network of this kind: resume from another checkpoint.") from error
    fsdp.load_weights(side, stored.state_dict())
    for tap, decoder in decoders.items():
        decoder.load_state_dict(ScoreDecoder.load(folder / DECODER_FOLDER / tap).state_dict())
