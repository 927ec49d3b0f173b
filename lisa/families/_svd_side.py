"""A side network for Stable Video Diffusion, and how its features enter a UNet that takes none: by hooks."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from diffusers import ModelMixin, UNetSpatioTemporalConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_3d_blocks import UNetMidBlockSpatioTemporal, get_down_block
from torch import Tensor, nn

Residuals = tuple[Sequence[Tensor], Tensor]
"""What a side network adds: to each skip connection, in the encoder's order, and to the middle's output."""

_DOWN_BLOCKS = (*("CrossAttnDownBlockSpatioTemporal",) * 3, "DownBlockSpatioTemporal")
_COPIED = ("conv_in", "time_embedding", "add_embedding", "down_blocks", "mid_block")
_STATES = "res_hidden_states_tuple"


class SVDControlNet(ModelMixin, ConfigMixin):
    """A ControlNet (Zhang et al. 2023, arXiv 2302.05543) whose encoder is UNetSpatioTemporalConditionModel's.

    The arguments are those of the UNet with the same names, and those of diffusers' ControlNetModel for the condition.

    Args:
        in_channels: Channels of the noisy latents and the first frame's latent together.
        down_block_types: Kinds of the encoder's blocks.
        block_out_channels: Channels of each block.
        addition_time_embed_dim: Width of the embedding of each added time id.
        projection_class_embeddings_input_dim: Width of the embedding of all added time ids.
        layers_per_block: Layers of each block.
        cross_attention_dim: Width of the first frame's image embedding.
        transformer_layers_per_block: Transformer layers in each layer that attends to the image embedding.
        num_attention_heads: Attention heads of each block.
        conditioning_channels: Channels of a condition image.
        conditioning_embedding_out_channels: Channels of the condition's embedding at factors 1, 2, 4, ...
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 8,
        down_block_types: tuple[str, ...] = _DOWN_BLOCKS,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        addition_time_embed_dim: int = 256,
        projection_class_embeddings_input_dim: int = 768,
        layers_per_block: int | tuple[int, ...] = 2,
        cross_attention_dim: int | tuple[int, ...] = 1024,
        transformer_layers_per_block: int | tuple[int, ...] = 1,
        num_attention_heads: int | tuple[int, ...] = (5, 10, 20, 20),
        conditioning_channels: int = 3,
        conditioning_embedding_out_channels: tuple[int, ...] = (16, 32, 96, 256),
    ) -> None:
        super().__init__()
        width, last = block_out_channels[0], block_out_channels[-1]
        attention = {
            "cross_attention_dim": cross_attention_dim,
            "transformer_layers_per_block": transformer_layers_per_block,
            "num_attention_heads": num_attention_heads,
        }
        self.conv_in = nn.Conv2d(in_channels, width, kernel_size=3, padding=1)
        self.time_proj = Timesteps(width, True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(width, 4 * width)
        self.add_time_proj = Timesteps(addition_time_embed_dim, True, downscale_freq_shift=0)
        self.add_embedding = TimestepEmbedding(projection_class_embeddings_input_dim, 4 * width)
        self.down_blocks = _encoder(down_block_types, block_out_channels, attention | {"num_layers": layers_per_block})
        self.mid_block = UNetMidBlockSpatioTemporal(last, temb_channels=4 * width, **_of_block(attention, -1))
        self.controlnet_cond_embedding = ControlNetConditioningEmbedding(
            width, conditioning_channels, conditioning_embedding_out_channels
        )
        skips = [width]
        for channels, block in zip(block_out_channels, self.down_blocks, strict=True):
            skips += [channels] * (len(block.resnets) + (block.downsamplers is not None))
        self.controlnet_down_blocks = nn.ModuleList(map(_zero_convolution, skips))
        self.controlnet_mid_block = _zero_convolution(last)

    @classmethod
    def from_unet(cls, unet: UNetSpatioTemporalConditionModel, **overrides: Any) -> Self:
        """Make a side network that changes nothing yet: the encoder is a copy, the layers to the UNet are zero.

        Args:
            unet: The main network.
            **overrides: Arguments of the constructor that differ from the UNet's.

        Returns:
            The side network in float32.
        """
        own = inspect.signature(cls).parameters
        config = {name: value for name, value in unet.config.items() if name in own}
        side = cls(**config | overrides)
        for name in _COPIED:
            getattr(side, name).load_state_dict(getattr(unet, name).state_dict())
        return side

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        added_time_ids: Tensor,
        controlnet_cond: Tensor,
        conditioning_scale: float = 1.0,
    ) -> Residuals:
        """Compute what to add to the UNet's features; the first four arguments are the UNet's own.

        Args:
            sample: Scaled noisy latents and the first frame's latents, (B, F, channels, h, w).
            timestep: Time, (B,) or a scalar.
            encoder_hidden_states: Image embeddings, (B, 1, D).
            added_time_ids: (B, 3).
            controlnet_cond: Condition clips in [0, 1], (B, F, 3, H, W).
            conditioning_scale: Factor on all that is returned.

        Returns:
            For each skip connection (B F, channels, h / stride, w / stride), from conv_in on; and for the middle.
        """
        frames = sample.shape[1]
        shared = {
            "temb": self._times(sample, timestep, added_time_ids).repeat_interleave(frames, 0),
            "image_only_indicator": torch.zeros(sample.shape[:2], dtype=sample.dtype, device=sample.device),
        }
        attended = {"encoder_hidden_states": encoder_hidden_states.repeat_interleave(frames, 0)}

        hidden = self.conv_in(sample.flatten(0, 1)) + self.controlnet_cond_embedding(controlnet_cond.flatten(0, 1))
        skips = [hidden]
        for block in self.down_blocks:
            attends = getattr(block, "has_cross_attention", False)
            hidden, states = block(hidden_states=hidden, **shared, **(attended if attends else {}))
            skips += states
        hidden = self.mid_block(hidden_states=hidden, **shared, **attended)

        layers = zip(self.controlnet_down_blocks, skips, strict=True)
        down = [layer(skip) * conditioning_scale for layer, skip in layers]
        return down, self.controlnet_mid_block(hidden) * conditioning_scale

    def _times(self, sample: Tensor, timestep: Tensor, added_time_ids: Tensor) -> Tensor:
        """Embed time and added time ids, (B, width), in the sample's type."""
        time = self.time_proj(timestep.expand(len(sample))).to(sample.dtype)
        ids = self.add_time_proj(added_time_ids.flatten()).reshape(len(sample), -1).to(sample.dtype)
        return self.time_embedding(time) + self.add_embedding(ids)


@contextlib.contextmanager
def injected(unet: nn.Module, down: Sequence[Tensor], mid: Tensor) -> Iterator[None]:
    """Inside the context a UNet adds residuals as if its forward took them; no hook stays behind, also on an error.

    Args:
        unet: One with mid_block and up_blocks that take their skip connections by keyword.
        down: One residual for each skip connection, from conv_in on.
        mid: The residual of the middle's output.

    Yields:
        Nothing.
    """
    with contextlib.ExitStack() as hooks:
        handle = unet.mid_block.register_forward_hook(lambda _module, _inputs, output: output + mid)
        hooks.callback(handle.remove)
        end = len(down)
        for block in unet.up_blocks:  # they take the skip connections from the last to the first
            start = end - len(block.resnets)
            handle = block.register_forward_pre_hook(_adding(down[start:end]), with_kwargs=True)
            hooks.callback(handle.remove)
            end = start
        yield


@contextlib.contextmanager
def controlled(unet: nn.Module, residuals: Callable[..., Iterable[Residuals]]) -> Iterator[None]:
    """Inside the context every call of a UNet gets residuals; it has its own forward back at the end.

    Args:
        unet: As injected() takes it.
        residuals: Gives for (number of the call from 0, the call's arguments) what each side network adds.

    Yields:
        Nothing.
    """
    own, plain, calls = unet.__dict__.get("forward"), unet.forward, itertools.count()

    def forward(*args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for down, mid in residuals(next(calls), *args, **kwargs):
                stack.enter_context(injected(unet, down, mid))
            return plain(*args, **kwargs)

    unet.forward = forward
    try:
        yield
    finally:
        if own is None:
            del unet.forward
        else:
            unet.forward = own


def _adding(residuals: Sequence[Tensor]) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        states = zip(kwargs[_STATES], residuals, strict=True)
        return args, {**kwargs, _STATES: tuple(state + residual for state, residual in states)}

    return hook


def _encoder(kinds: Sequence[str], widths: Sequence[int], options: Mapping[str, int | Sequence[int]]) -> nn.ModuleList:
    """Make the encoder's blocks as UNetSpatioTemporalConditionModel does."""
    blocks = nn.ModuleList()
    for i, kind in enumerate(kinds):
        block = get_down_block(
            kind,
            in_channels=widths[max(0, i - 1)],
            out_channels=widths[i],
            temb_channels=4 * widths[0],
            add_downsample=i < len(widths) - 1,
            resnet_eps=1e-5,
            resnet_act_fn="silu",
            **_of_block(options, i),
        )
        blocks.append(block)
    return blocks


def _of_block(options: Mapping[str, int | Sequence[int]], i: int) -> dict[str, int]:
    """Read options that are one number for all blocks or one for each."""
    return {name: value if isinstance(value, int) else value[i] for name, value in options.items()}


def _zero_convolution(channels: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, channels, kernel_size=1)
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    return convolution
