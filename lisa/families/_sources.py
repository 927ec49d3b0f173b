"""Finding and reading the parts of a diffusers pipeline, from a folder or from the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from lisa.errors import LisaError

if TYPE_CHECKING:
    import torch

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_PIPELINE = "model_index.json"
# Side networks that never see the noisy sample, by class and by what people call them.
_BLIND = {"T2IAdapter": "T2I-Adapter", "MultiAdapter": "T2I-Adapter", "SparseControlNetModel": "SparseCtrl"}
# What diffusers, transformers, huggingface_hub and safetensors raise for absent, foreign and damaged files.
_LOAD_ERRORS = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError)
Maker = Callable[[Any, str, str, "torch.dtype | None"], Any]
_maker: ContextVar[Maker | None] = ContextVar("maker", default=None)


def refuse_blind(name: Any) -> None:
    """Refuse side networks that LISA cannot align.

    Args:
        name: of a diffusers class, or a family's such as "t2i-adapter".

    Raises:
        LisaError: for T2I-Adapter and SparseCtrl.
    """
    plain = {title.lower(): title for title in _BLIND.values()} | {"t2iadapter": "T2I-Adapter"}
    title = _BLIND.get(name) or plain.get(str(name).lower())
    if title:
        raise LisaError(
            f"{title} cannot be aligned: its side network never sees the noisy sample, so that its features cannot "
            "carry a score; use a ControlNet."
        )


def missing(source: str, revision: str, parts: Iterable[str]) -> str:
    """Say what a source lacks, without a network.

    Args:
        source: Folder or hub id.
        revision: Revision of a hub repository.
        parts: Subfolders that must be there.

    Returns:
        One sentence; empty when all is here.
    """
    if Path(source).is_dir():
        absent = [part for part in parts if not (Path(source) / part).is_dir()]
        return f"{source} has no {', no '.join(absent)}." if absent else ""
    if not _HUB_ID.fullmatch(source):
        return f"There is no folder {source}."
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, _PIPELINE, revision=revision or None)
    return "" if isinstance(found, str) else f"{source} is not on this machine."


def cached_folder(source: str, revision: str = "") -> Path | None:
    """Find where a pipeline lies: the source itself if it is a folder, else the hub's cache; None if in neither."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, _PIPELINE, revision=revision or None) if _HUB_ID.fullmatch(source) else None
    return Path(found).parent if isinstance(found, str) else None


def weights_here(folder: Path) -> bool:
    """Tell whether every network in a pipeline's folder has its weights as safetensors, not only its config."""
    networks = [path.parent for path in folder.glob("*/config.json")]
    return bool(networks) and all(any(part.glob("*.safetensors")) for part in networks)


def is_folder(source: str, revision: str = "") -> bool:
    """Tell whether a source is a folder rather than a hub id.

    Args:
        source: Folder or hub id; an existing folder wins.
        revision: Revision of a hub repository.

    Returns:
        True for a folder.

    Raises:
        LisaError: If it is neither, or a folder is given with a revision.
    """
    if Path(source).is_dir():
        if revision:
            raise LisaError(f"Revision {revision[:80]!r} is for hub repositories, but {source} is a folder: drop it.")
        return True
    if not _HUB_ID.fullmatch(source):
        raise LisaError(f"There is no folder {source[:200]!r}: give a folder or a hub id such as owner/name.")
    return False


@contextlib.contextmanager
def parts_made_by(make: Maker) -> Iterator[None]:
    """Inside the context load_part() loads nothing but returns ``make(cls, source, part, dtype)``."""
    token = _maker.set(make)
    try:
        yield
    finally:
        _maker.reset(token)


def load_part(cls: Any, source: str, revision: str, part: str = "", dtype: torch.dtype | None = None) -> Any:
    """Load one part with its class's from_pretrained; weights only as safetensors, and complete.

    Args:
        cls: A diffusers or transformers class.
        source: Folder or hub id.
        revision: Revision of a hub repository.
        part: Subfolder; empty for the source itself.
        dtype: Floating-point type of a network; None for parts without weights.

    Returns:
        The part.

    Raises:
        LisaError: If it is missing, damaged or incomplete.
    """
    make = _maker.get()
    if make is not None:
        return make(cls, source, part, dtype)
    local = is_folder(source, revision)
    place = f"{source}/{part}" if part else source
    if local and not Path(place).is_dir():
        raise LisaError(f"{source} has no folder {part}: give a pipeline folder written by save_pretrained.")
    where = {"revision": revision or None, **({"subfolder": part} if part else {})}
    try:
        if dtype is None:
            return cls.from_pretrained(source, **where)
        if hasattr(cls, "load_config"):
            _check_class(cls, cls.load_config(source, **where), place)
        with _default_dtype_kept():
            network, info = cls.from_pretrained(
                source, use_safetensors=True, output_loading_info=True, dtype=dtype, **where
            )
    except LisaError:
        raise
    except _LOAD_ERRORS as error:
        raise LisaError(_failure(cls, place, local)) from error
    _check_complete(info, place)
    return network


@contextlib.contextmanager
def _default_dtype_kept() -> Iterator[None]:
    """Undo what diffusers leaves behind when a network in half precision cannot be made from its config."""
    import torch

    before = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def has_part(source: str, revision: str, part: str) -> bool:
    """Tell whether a pipeline has a part, by its folder, or of a hub repository by its model_index.json."""
    if is_folder(source, revision):
        return (Path(source) / part).is_dir()
    from diffusers import DiffusionPipeline

    try:
        index = DiffusionPipeline.load_config(source, revision=revision or None)
    except _LOAD_ERRORS as error:
        raise LisaError(_failure(DiffusionPipeline, source, False)) from error
    return (index.get(part) or [None])[0] is not None


def load_config(cls: Any, source: str, revision: str = "", part: str = "") -> dict[str, Any]:
    """Read the config of a network without its weights.

    Args:
        cls: The diffusers class it must be of.
        source: Folder or hub id.
        revision: Revision of a hub repository.
        part: Subfolder; empty for the source itself.

    Returns:
        The config as it is stored; what it leaves out has the class's defaults.

    Raises:
        LisaError: If it is missing, damaged or of another class.
    """
    local = is_folder(source, revision)
    place = f"{source}/{part}" if part else source
    try:
        config = cls.load_config(source, revision=revision or None, **({"subfolder": part} if part else {}))
        _check_class(cls, config, place)
    except LisaError:
        raise
    except _LOAD_ERRORS as error:
        raise LisaError(_failure(cls, place, local)) from error
    return config


def _check_class(cls: Any, config: dict[str, Any], place: str) -> None:
    """Refuse another class by its config, before a network of the wrong size is made."""
    name = config.get("_class_name")
    refuse_blind(name)
    if name != cls.__name__:
        raise LisaError(f"{place} holds the class {name}, but {cls.__name__} is needed: choose another.")


def _failure(cls: Any, place: str, local: bool) -> str:
    if local:
        return (
            f"{place} holds no {cls.__name__} that can be read: "
            "give what save_pretrained wrote, with weights as safetensors."
        )
    return (
        f"{place} cannot be had from the Hugging Face Hub or its cache as {cls.__name__} with safetensors "
        "weights: check name, revision and connection, or give a folder."
    )


def _check_complete(info: dict[str, Any], place: str) -> None:
    wrong = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if wrong:
        raise LisaError(f"{place} lacks {len(wrong)} weights such as {wrong[0]}: restore it.")
