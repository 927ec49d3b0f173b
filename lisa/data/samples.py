"""Training data as cached tensors: latents, condition images and captions.

Two sources: the built-in scenes, and whatever ``lisa.data.source`` makes a folder of images. Latents are posterior
means, computed once and kept in the cache folder under a fingerprint of the autoencoder and the pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lisa.checkpoint import kept_tensor
from lisa.data.conditions import annotated
from lisa.data.imagefolder import Row, read_imagefolder
from lisa.data.source import resolve_data
from lisa.errors import LisaError
from lisa.families.base import Family
from lisa.pixels import channels_first, to_pixels
from lisa.report import Report, tell_nobody
from lisa.scenes.motion import ClipPool, load_clips
from lisa.scenes.pool import Pool, cache_folder, load_pool, people_for
from lisa.strips import frames_of

_ENCODE_BATCH = 16


@dataclass(frozen=True)
class TrainingData:
    """N samples, ready for the training loop.

    Attributes:
        latents: (N, C, h, w) float32, scaled as the main network expects; of clips (N, C, F, h, w).
        conditions: (N, 3, H, W) uint8 condition images; of clips (N, F, 3, H, W).
        captions: N texts.
        names: N names for error messages and logs: seeds or file names.
        first: What the clips start from, by Family.encode_first_frame, N rows each; empty for most families.
    """

    latents: Tensor
    conditions: Tensor
    captions: tuple[str, ...]
    names: tuple[str, ...]
    first: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.captions)

    def text(self, family: Family, captions: Sequence[str], index: np.ndarray | slice) -> dict[str, Tensor]:
        """Encode captions, with what the clips of these rows start from."""
        return family.encode_text(captions) | {name: v[index].to(family.device) for name, v in self.first.items()}


@dataclass(frozen=True)
class Pictures:
    """N pictures (N, H, W, 3) uint8 with their condition images (N, H, W, 3) uint8, captions and names.

    Clips have their frames before the height, (N, F, H, W, 3).
    """

    images: np.ndarray
    conditions: np.ndarray
    captions: tuple[str, ...]
    names: tuple[str, ...]


def load_data(
    family: Family, data: str, condition: str, split: str, count: int, report: Report = tell_nobody
) -> TrainingData:
    """Prepare the samples of one split.

    Args:
        family: encodes the pictures and sets their size.
        data: "scenes" for the built-in world, else a folder, zip or hub data set; see ``resolve_data``.
        condition: condition name; an annotator makes the maps that the source does not have.
        split: "train", "validation" or "test"; a folder without splits keeps every tenth image for validation.
        count: how many samples at most.
        report: called with (what is being done, done, in all).

    Raises:
        LisaError: if the source holds no usable sample, or nothing can make the condition.
    """
    size, frames = family.resolution, family.frames
    pictures = (
        scene_pictures(condition_pool(condition, split, count, report, frames), condition, size, report)
        if data == "scenes"
        else folder_pictures(resolve_data(data), condition, split, count, size, frames, report)
    )
    latents = _cached_latents(family, pictures.images, report)
    return training_data(family, pictures, latents)


def training_data(family: Family, pictures: Pictures, latents: Tensor) -> TrainingData:
    """Put pictures and their latents together, with what clips start from."""
    first: dict[str, list[Tensor]] = {}
    for i in range(0, len(latents) if family.frames else 0, _ENCODE_BATCH):
        some = to_pixels(pictures.images[i : i + _ENCODE_BATCH, 0]).to(family.device)
        for name, value in family.encode_first_frame(some).items():
            first.setdefault(name, []).append(value.cpu())
    joined = {name: torch.cat(parts) for name, parts in first.items()}
    return TrainingData(latents, channels_first(pictures.conditions), pictures.captions, pictures.names, joined)


def condition_pool(
    condition: str, split: str, count: int, report: Report = tell_nobody, frames: int = 0
) -> Pool | ClipPool:
    """Rendered scenes that show a condition; moving ones where frames are asked for."""
    rendered = partial(report, "rendering scenes")
    if frames:
        return load_clips(split, count, frames, people=people_for(condition), progress=rendered)
    return load_pool(split, count, people=people_for(condition), progress=rendered)


def scene_pictures(pool: Pool | ClipPool, condition: str, size: int, report: Report = tell_nobody) -> Pictures:
    """Scenes with their conditions: exact maps where the world has them, else an annotator's."""
    images = np.stack([_resized(image, size) for image in pool.images])
    exact = [pool.condition(condition, i) for i in range(len(pool))]
    given = [None if each is None else _resized(each, size, nearest=True) for each in exact]
    return Pictures(
        images,
        _completed(given, images, condition, report),
        pool.captions,
        tuple(f"scene {seed}" for seed in pool.seeds),
    )


def folder_pictures(
    folder: Path,
    condition: str,
    split: str,
    count: int,
    size: int,
    frames: int = 0,
    report: Report = tell_nobody,
) -> Pictures:
    """Images of a folder, cropped to their central square, with conditions from a column or from an annotator.

    A clip is a strip of its frames from left to right, and so is its condition; see ``lisa.strips.frames_of``.
    """
    rows = read_imagefolder(folder, split)[:count]
    if not rows:
        raise LisaError(f"{folder} holds no image for the split '{split}': add images or a metadata.jsonl.")
    images, given = [], []
    for done, row in enumerate(rows, 1):
        images.append(_resized(_square(row.load_image(), frames), size))
        given.append(_given_map(row, condition, size, frames))
        report("reading pictures", done, len(rows))
    conditions = _completed(given, images, condition, report)
    return Pictures(np.stack(images), conditions, tuple(row.caption for row in rows), tuple(row.name for row in rows))


def _given_map(row: Row, condition: str, size: int, frames: int) -> np.ndarray | None:
    picture = row.load_condition(condition)
    return None if picture is None else _resized(_square(picture, frames), size, nearest=True)


def _completed(
    given: Sequence[np.ndarray | None], images: Sequence[np.ndarray], condition: str, report: Report
) -> np.ndarray:
    """The given maps, with an annotator's in place of those that are missing."""
    made = iter(annotated([i for i, m in zip(images, given, strict=True) if m is None], condition, report))
    return np.stack([next(made) if each is None else each for each in given])


def _square(image: Image.Image, frames: int) -> np.ndarray:
    if frames:
        return np.stack([_square(frame, 0) for frame in frames_of(image, frames)])
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))


def _resized(image: np.ndarray, size: int, nearest: bool = False) -> np.ndarray:
    if image.ndim == 4:
        return np.stack([_resized(frame, size, nearest) for frame in image])
    if image.shape[:2] == (size, size):
        return image
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize((size, size), how))


def _cached_latents(family: Family, images: np.ndarray, report: Report) -> Tensor:
    digest = hashlib.sha256(f"{family.fingerprint()} {images.shape}".encode())
    digest.update(np.ascontiguousarray(images))
    path = cache_folder() / "latents" / f"{digest.hexdigest()[:32]}.safetensors"
    return kept_tensor(path, lambda: encode_images(family, images, report))


def encode_images(family: Family, images: np.ndarray, report: Report = tell_nobody) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, C, h, w) float32 latents on the CPU; clips -> (N, C, F, h, w)."""
    parts = []
    for i in range(0, len(images), _ENCODE_BATCH):
        pixels = to_pixels(images[i : i + _ENCODE_BATCH])
        parts.append(family.encode_image(pixels).float().cpu().contiguous())
        report("encoding images", min(i + _ENCODE_BATCH, len(images)), len(images))
    return torch.cat(parts)
