"""Training data as cached tensors: latents, condition images and captions.

Two sources: the built-in scenes, and whatever ``lisa.data.source`` makes a folder of images. Latents are posterior
means, computed once and kept in the cache folder under a fingerprint of the autoencoder and the pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lisa.annotators.base import annotate, annotator_for
from lisa.checkpoint import kept_tensor
from lisa.data.imagefolder import read_imagefolder
from lisa.data.source import resolve_data
from lisa.errors import LisaError
from lisa.families.base import Family
from lisa.pixels import to_pixels
from lisa.scenes.pool import Pool, cache_folder, load_pool, people_for

Progress = Callable[[str, int, int], None]
_ENCODE_BATCH = 16


@dataclass(frozen=True)
class TrainingData:
    """N samples, ready for the training loop.

    Attributes:
        latents: (N, C, h, w) float32, scaled as the main network expects.
        conditions: (N, 3, H, W) uint8 condition images.
        captions: N texts.
        names: N names for error messages and logs: seeds or file names.
    """

    latents: Tensor
    conditions: Tensor
    captions: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True)
class Pictures:
    """N pictures (N, H, W, 3) uint8 with their condition images (N, H, W, 3) uint8, captions and names."""

    images: np.ndarray
    conditions: np.ndarray
    captions: tuple[str, ...]
    names: tuple[str, ...]


def load_data(
    family: Family, data: str, condition: str, split: str, count: int, progress: Progress | None = None
) -> TrainingData:
    """Prepare the samples of one split.

    Args:
        family: encodes the pictures and sets their size.
        data: "scenes" for the built-in world, else a folder, zip or hub data set; see ``resolve_data``.
        condition: condition name; an annotator makes the maps that the source does not have.
        split: "train", "validation" or "test"; a folder without splits keeps every tenth image for validation.
        count: how many samples at most.
        progress: called with (what is being done, done, in all).

    Raises:
        LisaError: if the source holds no usable sample, or nothing can make the condition.
    """
    pictures = (
        scene_pictures(condition_pool(condition, split, count, progress), condition, family.resolution)
        if data == "scenes"
        else folder_pictures(resolve_data(data), condition, split, count, family.resolution)
    )
    latents = _cached_latents(family, pictures.images, progress)
    conditions = torch.from_numpy(np.ascontiguousarray(pictures.conditions.transpose(0, 3, 1, 2)))
    return TrainingData(latents, conditions, pictures.captions, pictures.names)


def condition_pool(condition: str, split: str, count: int, progress: Progress | None = None) -> Pool:
    """Rendered scenes that show a condition."""
    report = (lambda done, total: progress("rendering scenes", done, total)) if progress else None
    return load_pool(split, count, people=people_for(condition), progress=report)


def scene_pictures(pool: Pool, condition: str, size: int) -> Pictures:
    """Scenes with their conditions: exact maps where the world has them, else an annotator's."""
    images = np.stack([_resized(image, size) for image in pool.images])
    maps = [pool.condition(condition, i) for i in range(len(pool))]
    conditions = [
        _annotated(image, condition) if m is None else _resized(m, size, nearest=True)
        for m, image in zip(maps, images, strict=True)
    ]
    return Pictures(images, np.stack(conditions), pool.captions, tuple(f"scene {seed}" for seed in pool.seeds))


def folder_pictures(folder: Path, condition: str, split: str, count: int, size: int) -> Pictures:
    """Images of a folder, cropped to their central square, with conditions from a column or from an annotator."""
    rows = read_imagefolder(folder, split)[:count]
    if not rows:
        raise LisaError(f"{folder} holds no image for the split '{split}': add images or a metadata.jsonl.")
    images = [_resized(np.asarray(_square(row.load_image())), size) for row in rows]
    conditions = []
    for row, image in zip(rows, images, strict=True):
        given = row.load_condition(condition)
        conditions.append(
            _annotated(image, condition) if given is None else _resized(np.asarray(_square(given)), size, nearest=True)
        )
    return Pictures(
        np.stack(images), np.stack(conditions), tuple(row.caption for row in rows), tuple(row.name for row in rows)
    )


def _annotated(image: np.ndarray, condition: str) -> np.ndarray:
    return np.asarray(annotate(Image.fromarray(image), annotator_for(condition)))


def _square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _resized(image: np.ndarray, size: int, nearest: bool = False) -> np.ndarray:
    if image.shape[:2] == (size, size):
        return image
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize((size, size), how))


def _cached_latents(family: Family, images: np.ndarray, progress: Progress | None) -> Tensor:
    digest = hashlib.sha256(f"{family.fingerprint()} {images.shape}".encode())
    digest.update(np.ascontiguousarray(images))
    path = cache_folder() / "latents" / f"{digest.hexdigest()[:32]}.safetensors"
    return kept_tensor(path, lambda: encode_images(family, images, progress))


def encode_images(family: Family, images: np.ndarray, progress: Progress | None = None) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, C, h, w) float32 latents on the CPU."""
    parts = []
    for i in range(0, len(images), _ENCODE_BATCH):
        pixels = to_pixels(images[i : i + _ENCODE_BATCH])
        parts.append(family.encode_image(pixels).float().cpu().contiguous())
        if progress:
            progress("encoding images", min(i + _ENCODE_BATCH, len(images)), len(images))
    return torch.cat(parts)
