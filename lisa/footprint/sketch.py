"""A family without weights: its own code runs on tensors that have a shape and a type but no content."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lisa.errors import LisaError
from lisa.families._sources import cached_folder, load_config, parts_made_by, weights_here
from lisa.families.base import Family, FamilySpec, family_spec
from lisa.families.published import PUBLISHED, config_name, write_published
from lisa.files import read_json
from lisa.objective import Batch

_ADAPTER = "motion_adapter"


@contextlib.contextmanager
def without_content() -> Iterator[None]:
    """Inside the context new tensors have no content, and networks may still change type and device."""
    with FakeTensorMode(allow_non_fake_inputs=True), _converted_by_replacing():
        yield


@contextlib.contextmanager
def _converted_by_replacing() -> Iterator[None]:
    """Gives networks new tensors as they change; torch itself exchanges tensors in place, which these ones refuse."""

    def apply(network: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        made: dict[Tensor, nn.Parameter] = {}  # one for each, also where modules share one
        for module in network.modules() if recurse else [network]:
            for name, value in module._parameters.items():
                if value is not None and value not in made:
                    made[value] = _changed(value, change)
                module._parameters[name] = made.get(value)
            for name, value in module._buffers.items():
                module._buffers[name] = None if value is None else change(value)
        return network

    before, nn.Module._apply = nn.Module._apply, apply
    try:
        yield
    finally:
        nn.Module._apply = before


def _changed(value: nn.Parameter, change: Callable[[Tensor], Tensor]) -> nn.Parameter:
    old = value.data
    new = change(old)
    return value if new is old else nn.Parameter(new, value.requires_grad)


def sketch_family(spec: FamilySpec, folder: Path, dtype: torch.dtype | None = None) -> Family:
    """Make a family of the right sizes, inside without_content().

    Args:
        spec: The family as data.
        folder: Holds the configs of its parts in diffusers' layout.
        dtype: Floating-point type of the frozen networks; None is float32.

    Returns:
        The family on the CPU. Its tokenizers give texts of the right length.

    Raises:
        LisaError: If a config is missing or damaged.
    """
    with parts_made_by(_sketch_part):
        return spec.load(spec, str(folder), "", "cpu", dtype)


def sketch_batch(family: Family, size: int) -> Batch:
    """Make a batch of a sketched family's samples, inside without_content()."""
    pixels = family.resolution
    latents = torch.empty(size, *family.latent_shape(pixels, pixels))
    frames = (family.frames,) if family.frames else ()
    condition = latents if family.latent_conditions else torch.empty(size, *frames, 3, pixels, pixels)
    with unset_fake_temporarily():  # pipelines make schedulers
        text = family.encode_text([""] * size)
    return Batch(latents, condition, text, torch.empty_like(latents), family.path.sample_t(size))


@contextlib.contextmanager
def config_folder(family: str, source: str = "", revision: str = "") -> Iterator[tuple[Path, str]]:
    """Find the configs of a pipeline without a network: those here, or else the published ones.

    Args:
        family: Its name in the registry.
        source: Hub id or folder of the main network; empty takes the family's own.
        revision: Revision of a hub repository.

    Yields:
        The folder, and the hub id if the configs are the published ones, else an empty text.

    Raises:
        LisaError: If the family is unknown, or its configs are neither here nor known.
    """
    spec = family_spec(family)
    source = source or spec.source
    here = cached_folder(source, revision)
    if here and _whole(spec, here):
        yield here, ""
    elif not revision and source in PUBLISHED and not Path(source).is_dir():
        with tempfile.TemporaryDirectory() as made:
            write_published(source, Path(made))
            if spec.motion_adapter:
                write_published(spec.motion_adapter, Path(made))
            yield Path(made), source
    else:
        reason = spec.missing(source, revision).rstrip(".") or f"{source} is not whole on this machine"
        raise LisaError(f"{reason}, and its sizes are not known: leave source and revision empty, or give a folder.")


def local_source(family: str, source: str = "", revision: str = "") -> str:
    """Find the folder from which a family can be loaded without a connection; arguments as config_folder().

    Returns:
        The source itself if it is a folder, so that loading it says what it lacks; the folder in the hub's cache if
        everything is there; else an empty text.
    """
    spec = family_spec(family)
    source = source or spec.source
    here = cached_folder(source, revision)
    return str(here) if here and (Path(source).is_dir() or (_whole(spec, here) and weights_here(here))) else ""


def _whole(spec: FamilySpec, folder: Path) -> bool:
    adapter = not spec.motion_adapter or (folder / _ADAPTER).is_dir() or Path(spec.motion_adapter).is_dir()
    return adapter and not spec.missing(str(folder), "")


def _sketch_part(cls: Any, source: str, part: str, dtype: torch.dtype | None) -> Any:
    """Make one part of a pipeline from its config; as ``lisa.families._sources.load_part``."""
    if issubclass(cls, nn.Module):
        return nn.Module.to(_network(cls, source, part), dtype)
    with unset_fake_temporarily():  # schedulers compute with numbers
        if issubclass(cls, PreTrainedTokenizerBase):
            path = Path(source) / part / config_name(part)
            return _Tokenizer(read_json(path)["model_max_length"])
        return cls.from_pretrained(source, subfolder=part)


def _network(cls: Any, source: str, part: str) -> nn.Module:
    if not issubclass(cls, PreTrainedModel):
        return cls.from_config(load_config(cls, source, "", part))
    try:
        return cls(cls.config_class.from_pretrained(source, subfolder=part))
    except (OSError, ValueError) as error:
        raise LisaError(f"{source}/{part} has no config that can be read: restore it.") from error


class _Tokenizer:
    """Gives texts without words their length: the full one where they are padded to it."""

    def __init__(self, length: int) -> None:
        self.model_max_length = length

    def tokenize(self, text: str) -> list[str]:  # noqa: ARG002  (there are no words to find)
        return []

    def __call__(self, texts: list[str], padding: str = "", max_length: int = 0, **_: Any) -> SimpleNamespace:
        length = 1 if padding == "longest" else max_length or self.model_max_length
        ids = torch.zeros(len(texts), length, dtype=torch.long)
        return SimpleNamespace(input_ids=ids, attention_mask=torch.ones_like(ids))
