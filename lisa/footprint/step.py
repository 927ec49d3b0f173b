"""The passes of an optimizer step as ``lisa.train`` does them, and what counts their operations and their memory."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from lisa.families.base import Family
from lisa.objective import Batch, arm_loss, prior
from lisa.train import Arm

_ATEN = torch.ops.aten


def run_batch(family: Family, arms: Sequence[Arm], batch: Batch, share: bool) -> None:
    """Go through one batch forward and backward, as ``lisa.train.Trainer`` does.

    Args:
        family: Holds the main network.
        arms: Trained in lockstep; their gradients are accumulated.
        batch: B samples.
        share: Whether what control cannot change is computed once for all passes.
    """
    with family.shared() if share else contextlib.nullcontext():
        free = prior(family, batch)
        for arm in arms:
            loss = arm_loss(family, arm.side, arm.decoders, batch, arm.lisa, arm.lisa.weight, free)
            loss.total.backward()


def decoding_flops(family: Family, arm: Arm, batch: Batch) -> int:
    """Count the operations of an arm's score decoders, forward and backward; at weight 0 they end at the features."""
    taps = tuple(arm.decoders)
    with torch.no_grad():
        features = family.side_features(batch.latents, batch.timesteps, batch.text, arm.side, batch.condition, taps)
    with Ledger() as ledger:
        for name, decoder in arm.decoders.items():
            feature = features[name].detach().requires_grad_(arm.lisa.weight > 0)
            times = batch.timesteps.repeat_interleave(len(feature) // len(batch.timesteps))
            decoder(feature, times).float().square().mean().backward()
    return ledger.flops


class Ledger(TorchDispatchMode):
    """Keeps count inside the context; tensors without content count as equal if they have the same shape.

    Attributes:
        flops: Floating-point operations of matrix products, convolutions and attention; a multiply-add is two.
        now: Bytes of tensors made inside the context that are still there.
        most: The most of these bytes at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.now = self.most = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is _ATEN.equal.default:
            return args[0].shape == args[1].shape
        for tensor in _tensors((args, kwargs)):  # what was there before the context is not counted
            self._see(tensor, 0)
        output = function(*args, **kwargs)
        for tensor in _tensors(output):
            self._see(tensor, tensor.untyped_storage().nbytes())
        self.most = max(self.most, self.now)
        if count := _FORMULAS.get(function._overloadpacket):
            self.flops += count(*args, **kwargs, out_val=output)
        return output

    def _see(self, tensor: Tensor, size: int) -> None:
        storage = tensor.untyped_storage()
        if id(storage) not in self._known:
            self.now += size
            self._known[id(storage)] = weakref.ref(storage, self._forget(id(storage), size))

    def _forget(self, key: int, size: int) -> Callable[[Any], None]:
        def forget(_reference: Any) -> None:
            del self._known[key]
            self.now -= size

        return forget


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape)


# For attention on CPUs what torch counts for the kernels of GPUs.
_FORMULAS = {
    **flop_registry,
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


@contextlib.contextmanager
def gpu_autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """Inside the context operations have the types that mixed precision gives them on a GPU.

    Args:
        dtype: torch.bfloat16; float16 takes as much. None is full precision.

    Yields:
        Nothing.
    """
    if dtype is None:
        yield
    else:
        with torch.autocast("cpu", dtype=dtype), _norms_in_float():
            yield


@contextlib.contextmanager
def _norms_in_float() -> Iterator[None]:
    """Normalizes in float32, as autocast does on GPUs but not on CPUs; also where activations are computed again."""
    before = {name: getattr(functional, name) for name in ("group_norm", "layer_norm")}
    for name, norm in before.items():
        setattr(functional, name, _in_float(norm))
    try:
        yield
    finally:
        for name, norm in before.items():
            setattr(functional, name, norm)


def _in_float(norm: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrapped(*args: Any, **kwargs: Any) -> Tensor:
        args, kwargs = tree_map_only(Tensor, Tensor.float, (args, kwargs))
        with torch.autocast("cpu", enabled=False):
            return norm(*args, **kwargs)

    return wrapped


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
